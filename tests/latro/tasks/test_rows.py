"""Tables described by configuration alone, from files written here."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from latro.errors import InputError
from latro.tasks.rows import Rows
from latro.types import Example, Graded

CAPITALS = [
    {"q": f"Capital of land {n}?", "a": f"City {n}.", "why": f"Land {n} is ruled from City {n}.", "land": n}
    for n in range(200)
]
OPTIONS: dict[str, Any] = {
    "question": "Which is cold?",
    "options": ["fire.", "ice.", "steam."],
    "answer": "ice",
}


def written(file: Path, rows: list[dict[str, Any]]) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def folder(path: Path, *rows: dict[str, Any]) -> str:
    """A folder with those rows as train; its other files are empty, so that nothing is carved from train."""
    for name in ("validation", "test"):
        written(path / f"{name}.jsonl", [])
    written(path / "train.jsonl", list(rows))
    return str(path)


def shout(example: Example, output: str) -> Graded:
    """A grader from outside the package."""
    return Graded(extracted=output.upper(), correct=output.upper() == example.gold.upper())


def test_a_single_file_gives_all_three_splits(tmp_path: Path) -> None:
    path = written(tmp_path / "capitals.jsonl", CAPITALS)
    task = Rows(path=path, name="capitals", question="q", answer="a", rationale="why", validation_one_in=10)
    task.open_test()
    splits = {split: task.examples(split) for split in ("train", "validation", "test")}
    assert {split: len(examples) for split, examples in splits.items()} == {
        "train": 160,
        "validation": 21,
        "test": 19,
    }
    first = splits["train"][0]
    assert first.id == "capitals/train/0"
    assert first.prompt == "Capital of land 0? Let's think step by step."
    assert (first.gold, first.answer) == ("City 0", "The answer is City 0.")


def test_templates_name_any_column(tmp_path: Path) -> None:
    path = written(tmp_path / "capitals.jsonl", CAPITALS)
    task = Rows(
        path=path,
        question="q",
        answer="a",
        prompt_template="Land {land}: {question} Think.",
        answer_template="\\boxed{{gold}}",
    )
    example = task.examples("train")[0]
    assert example.prompt == "Land 1: Capital of land 1? Think."
    assert example.answer == "\\boxed{City 1}"
    assert task.grade(example, example.answer)["final"].correct


def test_a_template_with_an_unknown_column_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "capitals.jsonl", CAPITALS)
    with pytest.raises(InputError) as caught:
        Rows(path=path, question="q", answer="a", prompt_template="{country}?").examples("train")
    there = "question, q, a, why, land"
    assert str(caught.value) == f"task.prompt_template: {path}, line 1 has no {{country}}; use one of {there}"


def test_options_without_choices_are_a_column_like_any_other(tmp_path: Path) -> None:
    path = folder(tmp_path, OPTIONS)
    with pytest.raises(InputError) as caught:
        Rows(path=path, prompt_template="{question} {options}").examples("train")
    assert str(caught.value) == (
        f"task.prompt_template: {path}/train.jsonl, line 1, column 'options' holds ['fire.', 'ice.', 'steam.']; a "
        "template takes texts: name a list of options by task.choices=options"
    )
    path = folder(tmp_path, OPTIONS | {"options": "fire or ice"})
    (example,) = Rows(path=path, prompt_template="{question} {options}").examples("train")
    assert example.prompt == "Which is cold? fire or ice"


def test_a_row_without_an_answer_is_left_out_or_refused_as_asked(tmp_path: Path) -> None:
    rows = [
        {"q": "Capital of Atlantis?", "a": None},
        {"q": "Of Eldorado?", "a": " "},
        {"q": "?", "a": math.nan},
    ]
    path = folder(tmp_path, CAPITALS[0], *rows)
    task = Rows(path=path, question="q", answer="a")
    assert len(task.examples("train")) == 1
    assert [left.reason for left in task.left_out] == ["column 'a' is empty"] * 3
    with pytest.raises(InputError) as caught:
        Rows(path=path, question="q", answer="a", on_bad_row="error").examples("train")
    place = f"{path}/train.jsonl, line 2"
    assert str(caught.value) == f"{place}: column 'a' is empty; mend the row or set task.on_bad_row=skip"
    with pytest.raises(InputError, match="no column 'b'"):
        Rows(path=path, question="q", answer="b").examples("train")


@pytest.mark.parametrize(
    ("kind", "answer", "choices"),
    [
        ("text", "ice", "options"),
        ("letter", "B", "options"),
        ("letter", "2", "options"),
        ("index", 1, "options"),
        ("text", "ice", ["one", "two", "three"]),
    ],
)
def test_choices_come_in_every_common_shape(tmp_path: Path, kind: str, answer: object, choices: Any) -> None:
    row = OPTIONS | {"answer": answer, "one": "fire.", "two": "ice.", "three": "steam."}
    task = Rows(path=folder(tmp_path, row), choices=choices, answer_kind=kind)
    (example,) = task.examples("train")
    assert (example.gold, example.choices) == ("ice", ("fire.", "ice.", "steam."))
    assert example.prompt.startswith(
        "Question: Which is cold?\nOptions: ['fire.', 'ice.', 'steam.']\nLet's think"
    )
    assert task.likelihood_request(example)[1] == (" fire.", " ice.", " steam.")
    assert task.grade(example, example.answer)["final"].correct
    for wrong in ("fire", "steam", "D"):
        assert not task.grade(example, f"The answer is {wrong}.")["final"].correct


@pytest.mark.parametrize(
    ("kind", "answer", "reason"),
    [
        (
            "text",
            "water",
            "the gold answer 'water' is none of ['fire', 'ice', 'steam']; task.answer_kind=text",
        ),
        ("letter", "D", "the gold answer 'D' is none of ['A', 'B', 'C']; task.answer_kind=letter"),
        ("index", 3, "the gold index '3' is not one of 0 to 2"),
    ],
)
def test_a_gold_answer_among_no_options_is_left_out(
    tmp_path: Path, kind: str, answer: object, reason: str
) -> None:
    good = {"text": "ice", "letter": "B", "index": 1}[kind]
    path = folder(tmp_path, OPTIONS | {"answer": answer}, OPTIONS | {"answer": good})
    task = Rows(path=path, choices="options", answer_kind=kind)
    assert len(task.examples("train")) == 1
    assert [left.reason for left in task.left_out] == [reason]


def test_a_gold_answer_that_its_own_grader_refuses_is_left_out(tmp_path: Path) -> None:
    rows = [{"question": "What is 1/2?", "answer": "0.5"}, {"question": "Who?", "answer": "Ada"}]
    task = Rows(path=folder(tmp_path, *rows), graders=["final_number"], main_grader="final_number")
    assert [example.gold for example in task.examples("train")] == ["0.5"]
    assert task.left_out[0].reason == "grader final_number gives the gold answer 'Ada' no marks"


def test_graders_come_by_name_or_import_path(tmp_path: Path) -> None:
    path = folder(tmp_path, {"question": "Who?", "answer": "Ada"})
    task = Rows(path=path, graders={"final": "final", "loud": f"{__name__}.shout"})
    (example,) = task.examples("train")
    assert task.grade(example, "ada") == {
        "final": Graded(extracted="ada", correct=True),
        "loud": Graded(extracted="ADA", correct=True),
    }
    with pytest.raises(
        InputError, match=r"task\.main_grader='strict' is not in task\.graders \(final\); add it"
    ):
        Rows(path=path, main_grader="strict")


def test_files_may_have_any_name(tmp_path: Path) -> None:
    written(tmp_path / "mine.jsonl", CAPITALS[:150])
    written(tmp_path / "held_out.jsonl", CAPITALS[150:])
    task = Rows(
        path=str(tmp_path), files={"train": "mine.jsonl", "test": "held_out.jsonl"}, question="q", answer="a"
    )
    task.open_test()
    assert len(task.examples("test")) == 50
    assert len(task.examples("train")) + len(task.examples("validation")) == 150


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"answer_kind": "word"}, "task.answer_kind='word'; use text, letter, index"),
        ({"answer_template": "It is so."}, "task.answer_template='It is so.' lacks {gold}; add it"),
        (
            {"answer_template": "It is {gold}.", "answer_markers": ["The answer is", "Answer:"]},
            "task.answer_template='It is {gold}.' begins with none of "
            "task.answer_markers=['The answer is', 'Answer:'], so a rationale would not end where the model writes "
            "this line; add its first words to the markers, or begin it with one of them",
        ),
    ],
)
def test_odd_settings_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Rows(path="a.jsonl", **setting)
    assert str(caught.value) == message


def test_an_answer_line_may_begin_as_a_marker_does_whatever_the_case() -> None:
    Rows(path="a.jsonl", answer_template="answer: {gold}")
    Rows(path="a.jsonl", answer_template="It is {gold}.", answer_markers=("It is",))

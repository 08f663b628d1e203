"""ARC-Challenge from a folder of rows written here, without the dataset and without the hub."""

import json
from pathlib import Path
from typing import Any

import pytest

from latro.errors import InputError
from latro.grading.likelihood import likelihood_grades
from latro.tasks.arc_challenge import ArcChallenge
from latro.tasks.base import LikelihoodTask
from latro.tasks.gsm8k import Gsm8k


def row(key: str, texts: list[str], labels: str = "ABCDE", id: str = "one") -> dict[str, Any]:
    choices = {"text": texts, "label": list(labels[: len(texts)])}
    return {"id": id, "question": "Which one melts?", "choices": choices, "answerKey": key}


ICE = row("B", ["A stone.", "An ice cube.", "A spoon.", "A cup."])


def task(folder: Path, *rows: dict[str, Any], on_bad_row: str = "skip") -> ArcChallenge:
    (folder / "train.jsonl").write_text("".join(json.dumps(values) + "\n" for values in rows))
    return ArcChallenge(path=str(folder), on_bad_row=on_bad_row)


def test_a_row_becomes_the_papers_prompt_and_answer_line(tmp_path: Path) -> None:
    (example,) = task(tmp_path, ICE).examples("train")
    assert example.id == "one"
    assert example.prompt == (
        "Question: Which one melts?\nOptions: ['A stone.', 'An ice cube.', 'A spoon.', 'A cup.']\n"
        "Let's think step by step first then print your answer like 'The answer is (one of the options)'."
    )
    assert (example.gold, example.answer) == ("An ice cube", "The answer is An ice cube.")
    assert example.choices == ("A stone.", "An ice cube.", "A spoon.", "A cup.")


def test_direct_answers_are_asked_for_strictly_and_under_another_version(tmp_path: Path) -> None:
    cot = task(tmp_path, ICE)
    direct = ArcChallenge(path=str(tmp_path), prompt="direct")
    (example,) = direct.examples("train")
    assert example.prompt == (
        "Question: Which one melts?\nOptions: ['A stone.', 'An ice cube.', 'A spoon.', 'A cup.']\n"
        "Reply with 'The answer is (one of the options)' and nothing else."
    )
    assert example.answer == "The answer is An ice cube."
    assert (cot.version, direct.version) == ("4", "4-direct")
    with pytest.raises(InputError, match=r"^task\.prompt='short'; use cot or direct$"):
        ArcChallenge(path=str(tmp_path), prompt="short")


@pytest.mark.parametrize(
    ("key", "texts", "labels", "gold"),
    [
        ("3", ["a", "b", "c", "d"], "1234", "c"),
        ("C", ["ant", "bee", "cow"], "ABC", "cow"),
        ("E", ["ant", "bee", "cow", "dog", "eel"], "ABCDE", "eel"),
        ("2", ["ant", "bee", "cow", "dog"], "ABCD", "bee"),
    ],
)
def test_labels_become_letters_and_any_number_of_options_will_do(
    tmp_path: Path, key: str, texts: list[str], labels: str, gold: str
) -> None:
    arc = task(tmp_path, row(key, texts, labels))
    (example,) = arc.examples("train")
    assert example.gold == gold
    letter = "ABCDE"[texts.index(gold)]
    for output in (example.answer, f"The answer is {letter}) {gold}", f"\\boxed{{{gold}}}"):
        verdicts = arc.grade(example, output)
        assert (verdicts["final"].correct, verdicts["exact"].correct) == (True, True)
    assert all(verdict.correct for verdict in arc.grade(example, example.answer).values())


def test_three_wrong_answers_get_no_marks(tmp_path: Path) -> None:
    arc = task(tmp_path, ICE)
    (example,) = arc.examples("train")
    for wrong in ("A stone.", "A spoon.", "A cup."):
        assert not any(verdict.correct for verdict in arc.grade(example, f"The answer is {wrong}").values())


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row("F", ["a", "b", "c", "d"]), "answerKey 'F' is none of the labels A, B, C, D"),
        (row("A", ["same.", "same", "c"]), "two options are the same, or one is empty"),
        (row("A", ["", "b", "c"]), "two options are the same, or one is empty"),
    ],
)
def test_rows_that_cannot_be_graded_are_left_out_or_refused(
    tmp_path: Path, bad: dict[str, Any], reason: str
) -> None:
    arc = task(tmp_path, bad, ICE | {"id": "two"})
    assert [example.id for example in arc.examples("train")] == ["two"]
    assert [(left.id, left.reason) for left in arc.left_out] == [("arc_challenge/train/0", reason)]
    with pytest.raises(InputError) as caught:
        task(tmp_path, bad, on_bad_row="error").examples("train")
    place = f"{tmp_path}/train.jsonl, line 1"
    assert str(caught.value) == f"{place}: {reason}; mend the row or set task.on_bad_row=skip"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            ICE | {"choices": "A stone"},
            "options are 'A stone'; give a list of texts, or {text: [...], label: [...]}",
        ),
        (
            ICE | {"choices": {"text": ["a", "b"], "label": ["A"]}},
            "2 options, 1 labels; give two or more, labelled",
        ),
        (ICE | {"answerKey": ""}, "column 'answerKey' is empty; fill it in or delete the row"),
    ],
)
def test_malformed_rows_are_refused(tmp_path: Path, bad: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        task(tmp_path, bad).examples("train")
    assert str(caught.value) == f"{tmp_path}/train.jsonl, line 1: {message}"


def test_options_are_scored_by_likelihood_as_in_lm_eval(tmp_path: Path) -> None:
    arc = task(tmp_path, ICE)
    (example,) = arc.examples("train")
    assert arc.likelihood_request(example) == (
        "Question: Which one melts?\nAnswer:",
        (" A stone.", " An ice cube.", " A spoon.", " A cup."),
    )
    verdicts = likelihood_grades(example, [-9.0, -10.0, -11.0, -12.0])  # lengths 8, 12, 8, 6
    assert (verdicts["acc"].extracted, verdicts["acc_norm"].extracted) == ("A stone", "An ice cube")
    assert (verdicts["acc"].correct, verdicts["acc_norm"].correct) == (False, True)
    assert isinstance(arc, LikelihoodTask)
    assert not isinstance(Gsm8k(path=str(tmp_path)), LikelihoodTask)

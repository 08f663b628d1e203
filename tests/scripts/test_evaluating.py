"""An evaluation taken up again, and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

import scripts.entry  # noqa: F401 - registers the resolvers of the configuration
from latro.errors import InputError
from latro.evaluation import EvaluationConfig, Item
from latro.tasks.rows import Rows
from latro.types import Example, Graded
from scripts.evaluating import (
    evaluate_model,
    read_items,
    refuse_launcher,
    refuse_outdated,
    rewrite,
    tell_carved,
)
from scripts.training import fitting_rows


def item(id: str, output: str) -> Item:
    return Item(
        id=id,
        prompt="What is 1 + 1?",
        gold="2",
        output=output,
        finished=True,
        tokens=3,
        greedy={"final_number": Graded(extracted="2", correct=True)},
    )


def test_items_are_read_back_whatever_line_ends_their_texts_hold(tmp_path: Path) -> None:
    table = tmp_path / "items.jsonl"
    items = {"a": item("a", "1\u2028+\u20291\x85is\x0c2\r\n"), "b": item("b", "2")}
    rewrite(table, items)
    with table.open("a") as file:
        file.write(json.dumps({"id": "c"})[:-1])
    assert read_items(table) == [items["a"], items["b"]]


def test_answers_are_scored_with_gold_rationales_those_of_an_earlier_session_too(tmp_path: Path) -> None:
    asked = (
        "task=running_sums", "model=tiny", "model.reasoning_updates=0", "model.guessing_updates=0",
        "split=validation", "limit=3", "chunk=2", "evaluation.majority=0", "evaluation.max_tokens=4",
        f"model.cache={tmp_path}/cache", f"output_dir={tmp_path}/run",
    )  # fmt: skip
    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose("evaluate_latro", [*asked])
    items = evaluate_model(cfg)
    assert [list(found.log_answer) for found in items] == [["own", "none", "gold", "other"]] * 3
    results = json.loads((tmp_path / "run/results.json").read_text())["results"]["running_sums"]
    gap = fmean(found.log_answer["gold"] - found.log_answer["none"] for found in items)
    assert results["logp_answer,gold_minus_none"] == pytest.approx(gap)
    (tmp_path / "run/results.json").unlink()
    for found in items:
        del found.log_answer["gold"], found.log_answer["other"]
    rewrite(tmp_path / "run/items.jsonl", {found.id: found for found in items[:2]})
    assert [list(found.log_answer) for found in evaluate_model(cfg)] == [["own", "none", "gold", "other"]] * 3
    assert results == json.loads((tmp_path / "run/results.json").read_text())["results"]["running_sums"]


@pytest.mark.parametrize(
    "changed",
    [{"prompt": "1 + 1?"}, {"gold": "3"}, {"greedy": {"final": Graded(extracted="2", correct=True)}}],
)
def test_an_item_of_another_prompt_answer_or_grader_is_not_taken_up(
    changed: dict[str, Any], tmp_path: Path
) -> None:
    example = Example(id="a", question="", prompt="What is 1 + 1?", answer="", gold="2")
    grading: Any = SimpleNamespace(
        grade=lambda example, output: {"final_number": Graded(extracted="2", correct=True)}
    )
    refuse_outdated({"a": item("a", "It is 2.")}, [example], grading, tmp_path / "items.jsonl")
    with pytest.raises(
        InputError, match=r"items.jsonl: a was evaluated under another prompt, answer or grader"
    ):
        refuse_outdated(
            {"a": replace(item("a", "It is 2."), **changed)}, [example], grading, tmp_path / "items.jsonl"
        )


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"max_tokens": None}, "evaluation.max_tokens=null must be at least 1"),
        ({"max_tokens": 0}, "evaluation.max_tokens=0 must be at least 1"),
        ({"majority": -1}, "evaluation.majority=-1 must be at least 0"),
        ({"temperature": 0}, "evaluation.temperature=0 must be a finite number above zero"),
        ({"temperature": -1.0}, "evaluation.temperature=-1.0 must be a finite number above zero"),
        ({"temperature": float("inf")}, "evaluation.temperature=inf must be a finite number above zero"),
    ],
)
def test_settings_that_cannot_be_evaluated_with_are_refused(setting: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=f"^{words}"):
        EvaluationConfig(**setting)


def test_validation_rows_have_room_for_the_output_that_is_decoded_for_them() -> None:
    """Prompt 4, answer 2, context 20: 14 more fit, so an output of 15 does not."""
    model = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=20))
    encoder: Any = SimpleNamespace(
        prompt_ids=lambda prompt: [0] * (3 if prompt == "short" else 4), answer_ids=lambda _: [0] * 2
    )
    row = Example(id="a", question="", prompt="long", answer="", gold="")
    short = Example(id="b", question="", prompt="short", answer="", gold="")
    task: Any = SimpleNamespace(left_out=[])
    examples, validation, left_out = fitting_rows(
        OmegaConf.create({"on_long_prompt": "skip"}),
        task,
        ([row, short], [row, short]),
        encoder,
        model,
        room=10,
        evaluated=15,
    )
    assert examples == [row, short]
    assert validation == [short]
    assert [(found.id, "15 tokens" in found.reason) for found in left_out] == [("a", True)]


def test_a_split_carved_out_of_one_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "held_out.jsonl"
    file.write_text("".join(json.dumps({"question": f"{n}?", "answer": "x"}) + "\n" for n in range(60)))
    task = Rows(path=str(file))
    task.open_test()
    tell_carved(task, "test", len(task.examples("test")))
    assert capsys.readouterr().err == (
        f"2 examples: split=test is carved out of {file}: one row in 15, and no other; to name all rows of a file: "
        "task.path=FOLDER 'task.files={test: FILE}'\n"
    )
    whole = Rows(path=str(tmp_path), files={"test": file.name})
    whole.open_test()
    tell_carved(whole, "test", len(whole.examples("test")))
    assert capsys.readouterr().err == ""
    assert len(whole.examples("test")) == 60


def test_an_evaluation_by_several_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_launcher()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=r"^evaluate_latro is one process, and 2 were launched: start it by"):
        refuse_launcher()

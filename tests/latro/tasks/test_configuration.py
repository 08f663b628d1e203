"""Every task file instantiated as the scripts do it, and a task from outside the repository."""

import sys
from dataclasses import fields
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from latro.errors import InputError
from latro.tasks.rows import Rows

CONF = Path(__file__).parents[3] / "conf" / "task"

OUTSIDE = """
from latro.types import Example, Graded


class Colours:
    name = "colours"
    version = "1"
    answer_markers = ("The answer is",)
    answer_separator = "\\n"
    main_grader = "exact"

    def __init__(self, colour: str) -> None:
        self.left_out = []
        self.colour = colour

    def examples(self, split):
        line = f"The answer is {self.colour}."
        return [Example(id="c/0", question="Which?", prompt="Which?", answer=line, gold=self.colour)]

    def open_test(self):
        pass

    def grade(self, example, output):
        return {"exact": Graded(extracted=output, correct=output == example.gold)}
"""


@pytest.mark.parametrize("name", ["gsm8k", "arc_challenge", "arithmetic", "reasoning_gym"])
def test_a_task_file_makes_its_task(name: str) -> None:
    task = instantiate(OmegaConf.load(CONF / f"{name}.yaml"))
    assert task.name == name
    assert task.main_grader in task.grader_table()


def test_generators_take_nested_settings_from_yaml() -> None:
    pytest.importorskip("reasoning_gym")
    part = {"name": "chain_sum", "weight": 1.0, "config": {"min_terms": 2, "max_terms": 2}}
    parts = {"datasets": [part | {"_target_": "reasoning_gym.composite.DatasetSpec"}]}
    sizes = {"train_size": 2, "validation_size": 1, "test_size": 1}
    config = OmegaConf.load(CONF / "reasoning_gym.yaml")
    task = instantiate(OmegaConf.merge(config, {"generator": "composite", "config": parts}, sizes))
    (first, *_) = task.examples("train")
    assert task.grade(first, first.answer)["score"].correct


def test_rows_are_described_in_yaml_alone(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"q": "Is ice cold?", "a": "yes", "o1": "yes", "o2": "no"}\n')
    config = OmegaConf.load(CONF / "rows.yaml")
    config = OmegaConf.merge(
        config,
        {
            "path": str(tmp_path),
            "question": "q",
            "answer": "a",
            "choices": ["o1", "o2"],
            "graders": ["final", "symbolic"],
        },
    )
    task = instantiate(config)
    (example,) = task.examples("train")
    assert (example.choices, example.gold) == (("yes", "no"), "yes")
    assert list(task.grade(example, "The answer is no.")) == ["final", "symbolic"]


def test_the_yaml_of_rows_lists_every_key_with_its_default() -> None:
    listed = OmegaConf.to_container(OmegaConf.load(CONF / "rows.yaml"))
    assert isinstance(listed, dict)
    task = Rows()
    defaults = {key.name: getattr(task, key.name) for key in fields(Rows) if key.init}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()}
    assert {name: value for name, value in listed.items() if not str(name).startswith("_")} == plain


def test_rows_without_a_source_say_what_to_set() -> None:
    with pytest.raises(InputError, match=r"^task\.path and task\.hub are both empty; set task\.path=FOLDER"):
        instantiate(OmegaConf.load(CONF / "rows.yaml")).examples("train")


def test_a_task_may_live_outside_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_colours.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(str(tmp_path))
    task = instantiate(OmegaConf.create({"_target_": "my_colours.Colours", "colour": "blue"}))
    assert task.grade(task.examples("train")[0], "blue")["exact"].correct
    del sys.modules["my_colours"]

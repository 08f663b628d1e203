"""Whole runs that decode by vLLM, for which a stand-in plays, end as those that do not."""

import json
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException

from latro.errors import InputError
from scripts.evaluating import evaluate_model
from scripts.supervising import train as train_sft
from scripts.training import train
from tests.latro.rollout import vllm_stand_in

CONF = str(Path(__file__).parents[2] / "conf")
TOY = ("model.reasoning_updates=0", "model.guessing_updates=0")


def config(script: str, folder: Path, *overrides: str) -> Any:
    import scripts.entry  # noqa: F401 - registers the resolvers of the configuration

    with initialize_config_dir(CONF, version_base="1.3"):
        return compose(script, [*overrides, f"output_dir={folder}"])


def rows(folder: Path, table: str) -> list[dict]:
    return [json.loads(line) for line in (folder / f"{table}.jsonl").read_text().splitlines()]


@pytest.fixture
def llm(monkeypatch: pytest.MonkeyPatch) -> type[vllm_stand_in.LLM]:
    return vllm_stand_in.install(monkeypatch)


def test_a_training_by_vllm_ends_as_one_without(llm, tmp_path: Path) -> None:
    def trained(name: str, *overrides: str) -> Path:
        toy = ("experiment=latro/smoke", *TOY, "validation_limit=4", "show_samples=0")
        train(config("train_latro", tmp_path / name, *toy, f"model.cache={tmp_path / 'cache'}", *overrides))
        return tmp_path / name

    plain = trained("plain")
    ours = trained("vllm", "sampling.engine=vllm")
    [started] = llm.started
    assert (
        started.asked == 4 * 4 * 4 + 4 * 4
    )  # of the steps, and of the validations at 0, 2, 4 and of what is kept
    for table in ("samples", "validation", "health"):
        mine, theirs = rows(ours, table), rows(plain, table)
        for row in (*mine, *theirs):  # other rows beside it round it otherwise
            row.pop("log_drawn", None)
        assert mine == theirs, table
    weights = [(folder / "best" / "model.safetensors").read_bytes() for folder in (ours, plain)]
    assert weights[0] == weights[1]


def test_an_evaluation_by_vllm_ends_as_one_without(llm, tmp_path: Path) -> None:
    def evaluated(name: str, *overrides: str) -> Path:
        toy = (
            "task=running_sums", "model=tiny", *TOY, "split=validation", "limit=5", "chunk=2", "evaluation.majority=3",
            "evaluation.max_tokens=20", f"model.cache={tmp_path / 'cache'}",
        )  # fmt: skip
        evaluate_model(config("evaluate_latro", tmp_path / name, *toy, *overrides))
        return tmp_path / name

    plain = evaluated("plain")
    ours = evaluated("vllm", "evaluation.engine=vllm")
    [started] = llm.started
    assert started.asked == 5 * (1 + 3)
    assert len(rows(ours, "items")) == 5
    assert rows(ours, "items") == rows(plain, "items")


def test_vllm_is_refused_before_anything_is_loaded_or_written(tmp_path: Path) -> None:
    missing = r"engine=vllm needs the package vllm; run: pip install 'latro-pract\[vllm\]'"
    toy = ("experiment=latro/smoke", *TOY)
    for knob in ("sampling.engine", "evaluation.engine"):
        with pytest.raises(InputError, match=missing):
            train(config("train_latro", tmp_path / "run", *toy, f"{knob}=vllm"))
    with pytest.raises(InputError, match=missing):
        evaluate_model(config("evaluate_latro", tmp_path / "run", "evaluation.engine=vllm"))
    with pytest.raises(InstantiationException, match=r"vllm\.mode=server: vllm\.server_base_url is missing"):
        train(config("train_latro", tmp_path / "run", *toy, "vllm=server", "sampling.engine=vllm"))
    with pytest.raises(InputError, match=r"engine=vllm: only train_latro and evaluate_latro have one"):
        train_sft(config("train_sft", tmp_path / "run", "experiment=sft/smoke", "evaluation.engine=vllm"))
    assert list(tmp_path.iterdir()) == []

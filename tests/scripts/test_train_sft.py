"""The supervised baseline from configuration to results, on a toy model that is pretrained in a second."""

import json
import shutil
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from transformers import TrainerCallback

from scripts.supervising import train
from tests.latro.tiny_models import tiny_folder

CONF = str(Path(__file__).parents[2] / "conf")


class Stopped(Exception):
    """Stands for a kill."""


class StopAfter(TrainerCallback):
    """Stops the run as soon as a step is done."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise Stopped


def config(folder: Path, *overrides: str) -> DictConfig:
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose("train_sft", ["experiment=sft/smoke", f"output_dir={folder}", *overrides])


def rows(folder: Path, table: str) -> list[dict]:
    return [json.loads(line) for line in (folder / f"{table}.jsonl").read_text().splitlines()]


def without_count(table: list[dict]) -> list[dict]:
    """Without trl's running token count, which it begins anew when a run is taken up."""
    return [{name: value for name, value in row.items() if name != "num_tokens"} for row in table]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sft") / "run"
    train(config(folder))
    return folder


def test_run_folder_holds_what_scripts_rely_on(finished: Path) -> None:
    evaluations = [row for row in rows(finished, "metrics") if "eval/accuracy_greedy" in row]
    assert [row["step"] for row in evaluations] == [0, 2, 4]
    results = json.loads((finished / "results.json").read_text())
    assert results["n-samples"]["running_sums"] == {"original": 1000, "effective": 16}
    assert results["training"]["examples_with_rationale"] == results["training"]["examples"] > 1000
    assert (finished / "best" / "model.safetensors").exists()
    assert "supervised baseline" in (finished / "best" / "README.md").read_text()


def test_loss_falls(finished: Path) -> None:
    losses = [row["loss"] for row in rows(finished, "metrics") if "loss" in row]
    assert len(losses) == 4
    assert losses[-1] < losses[0]


def test_stopped_run_goes_on_and_ends_the_same(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Stopped):
        train(config(folder), [StopAfter(3)])
    train(config(folder))
    assert without_count(rows(folder, "metrics")) == without_count(rows(finished, "metrics"))
    assert (folder / "best/model.safetensors").read_bytes() == (
        finished / "best/model.safetensors"
    ).read_bytes()


def test_taken_up_behind_its_last_step_it_makes_no_other(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    (folder / "results.json").unlink()
    shutil.rmtree(folder / "best")
    train(config(folder))
    assert rows(folder, "metrics") == rows(finished, "metrics")
    assert rows(folder, "validation") == rows(finished, "validation")
    assert (folder / "best/model.safetensors").read_bytes() == (
        finished / "best/model.safetensors"
    ).read_bytes()


def test_adapter_on_a_chat_model_learns_direct_answers(tmp_path: Path) -> None:
    """A toy model of Llama's kind with its chat template; the data has no rationales."""
    model = tiny_folder("llama", tmp_path / "model")
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps({"question": f"{n}+1?", "answer": n + 1}) + "\n" for n in range(60)))
    folder = tmp_path / "run"
    overrides = [
        "task=rows", f"task.path={data}", "model=base", "model/lora=rank16", f"model.path={model}",
        "max_steps=2", "validation_limit=4", "trainer.per_device_train_batch_size=2",
    ]  # fmt: skip
    train(config(folder, *overrides))
    training = json.loads((folder / "results.json").read_text())["training"]
    assert (training["steps"], training["examples_with_rationale"]) == (2, 0)
    assert (folder / "best" / "adapter_model.safetensors").exists()
    losses = [row["loss"] for row in rows(folder, "metrics") if "loss" in row]
    assert losses[0] == pytest.approx(5.86, abs=0.1)  # log of the vocabulary: the model is random

"""Whole trainings of a toy model: no download, no network."""

import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
TOY = (
    "experiment=latro/smoke",
    "model.reasoning_updates=0",
    "model.guessing_updates=0",
    "validation_limit=4",
    "show_samples=0",
)
RECORDS = ("metrics.jsonl", "samples.jsonl", "validation.jsonl", "prompts.jsonl", "health.jsonl")


@pytest.fixture(scope="module")
def processes():
    """Processes that start with everything imported, and can be killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.scripts.training_worker"])
    return context


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def start(processes, cache, folder: Path, *overrides: str, terminated: int | None = None):
    from tests.scripts import training_worker

    arguments = [*TOY, f"model.cache={cache}", f"output_dir={folder}", *overrides]
    process = processes.Process(target=training_worker.run, args=(arguments, None, terminated))
    process.start()
    return process


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_leaves_everything_that_is_promised(processes, cache, tmp_path):
    process = start(processes, cache, tmp_path / "run")
    process.join(120)
    assert process.exitcode == 0
    folder = tmp_path / "run"
    assert {path.name for path in folder.iterdir()} == {
        "best", "checkpoints", "config.yaml", "environment.json", "health.jsonl", "left_out.jsonl", "metrics.jsonl",
        "prompts.jsonl", "report.html", "results.json", "samples.jsonl", "timing.jsonl", "validation.jsonl",
    }  # fmt: skip
    assert [row["step"] for row in rows(folder / "metrics.jsonl")] == [0, 1, 2, 2, 3, 4, 4]
    samples = rows(folder / "samples.jsonl")
    assert len(samples) == 4 * 4 * 4  # steps, prompts, rationales
    for sample in samples:
        parts = sample["answer_reward"] - 0.05 * sample["log_ratio"] - sample["penalty"]
        assert sample["reward"] == pytest.approx(parts, abs=1e-5)
    first_step = [sample for sample in samples if sample["step"] == 1]
    assert max(abs(sample["log_ratio"]) for sample in first_step) < 1e-4  # the policy still is the reference
    assert sum(sample["advantage"] for sample in first_step) == pytest.approx(0, abs=1e-4)
    results = json.loads((folder / "results.json").read_text())
    assert results["n-samples"]["running_sums"]["effective"] == 4
    assert "accuracy_greedy_stderr,exact" in results["results"]["running_sums"]


def test_killed_twenty_times_a_run_ends_bit_identical(processes, cache, tmp_path):
    steps = ("max_steps=160", "trainer.eval_steps=2", "validation_limit=2")
    whole = start(processes, cache, tmp_path / "whole", *steps)
    whole.join(120)
    assert whole.exitcode == 0
    folder, chance, kills = tmp_path / "killed", random.Random(0), 0
    while True:
        process = start(processes, cache, folder, *steps)
        victim = kills < 20
        if victim:
            await_progress(folder / "samples.jsonl", process)
            time.sleep(chance.random() * 0.15)
            process.kill()
        process.join(120)
        if process.exitcode == 0:
            break
        kills += 1
        assert process.exitcode == -9
    assert kills == 20
    for name in RECORDS:
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    for name in ("checkpoints/checkpoint-160/model.safetensors", "checkpoints/checkpoint-160/optimizer.pt"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert (folder / "best/model.safetensors").read_bytes() == (
        tmp_path / "whole/best/model.safetensors"
    ).read_bytes()


def test_told_to_end_a_run_saves_its_step_and_ends_bit_identical(processes, cache, tmp_path):
    """SIGTERM within the second of four steps, of which none but the last would be saved."""
    rare = ("trainer.eval_steps=4", "trainer.save_steps=4")
    for name, terminated, status in (("whole", None, 0), ("told", 2, 143), ("told", None, 0)):
        process = start(processes, cache, tmp_path / name, *rare, terminated=terminated)
        process.join(120)
        assert process.exitcode == status
        if terminated:
            assert [path.name for path in (tmp_path / name / "checkpoints").iterdir()] == ["checkpoint-2"]
            said = (tmp_path / f"{name}.log").read_text()
            assert "stopped by SIGTERM: step 2 is saved, the same command goes on" in said
    for name in RECORDS:
        assert (tmp_path / "told" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    weights = "best/model.safetensors"
    assert (tmp_path / "told" / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()


def test_taken_up_behind_its_last_step_a_run_makes_no_other(processes, cache, tmp_path):
    """The step is not the last of its pass over the data, where transformers would stop by itself."""
    folder = tmp_path / "run"
    steps = ("max_steps=3", "trainer.eval_steps=3", "trainer.save_steps=3", "validation_limit=2")
    first = start(processes, cache, folder, *steps)
    first.join(120)
    assert first.exitcode == 0
    left = (*RECORDS, "results.json", "best/model.safetensors")
    before = {name: (folder / name).read_bytes() for name in left}
    (folder / "results.json").unlink()
    shutil.rmtree(folder / "best")
    second = start(processes, cache, folder, *steps)
    second.join(120)
    assert second.exitcode == 0
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["checkpoint-3"]
    for name in (*RECORDS, "best/model.safetensors"):
        assert (folder / name).read_bytes() == before[name], name
    training = [
        json.loads(text)["training"]
        for text in (before["results.json"], (folder / "results.json").read_text())
    ]
    assert training[0]["steps"] == training[1]["steps"] == 3


def await_progress(samples: Path, process, timeout: float = 60) -> None:
    """Wait until the process has finished two steps and saved the second, or has ended."""
    before = time.monotonic()
    known: int | None = None
    while process.is_alive() and time.monotonic() - before < timeout:
        content = samples.read_bytes() if samples.exists() else b""  # may end within a letter
        count = content.count(b"\n")
        # The table first shrinks to the last checkpoint, then grows by 16 rows a step.
        if known is None or count < known:
            known = count
        if count >= known + 2 * 16 and content:
            return
        time.sleep(0.002)


def test_a_training_that_does_not_get_better_ends_when_patience_does(cache, tmp_path, capsys):
    """At a rate of zero nothing changes: the start, and two evaluations that are no better."""
    knobs = (
        "patience=2",
        "max_steps=9",
        "trainer.learning_rate=0",
        "trainer.eval_steps=1",
        "trainer.save_steps=1",
    )
    from scripts.training import train
    from tests.scripts.training_worker import configuration

    for session in ("first", "killed before its results were written"):
        train(configuration([*TOY, f"model.cache={cache}", f"output_dir={tmp_path}/run", *knobs]))
        assert json.loads((tmp_path / "run/results.json").read_text())["training"]["steps"] == 2, session
        assert "2 evaluations without a better accuracy_greedy" in capsys.readouterr().err
        (tmp_path / "run/results.json").unlink()


PAIR = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone")


def first_gradient(
    cache, folder: Path, prompts: int, *overrides: str, launcher: tuple[str, ...] = ()
) -> dict:
    """The first step's gradient of a toy run with `prompts` prompts a process."""
    arguments = [*TOY, f"model.cache={cache}", "max_steps=1", "trainer.optim=sgd", "trainer.save_strategy=no"]
    arguments += [
        "trainer.load_best_model_at_end=false",
        "trainer.eval_strategy=no",
        "trainer.eval_on_start=false",
        f"output_dir={folder}",
        f"trainer.per_device_train_batch_size={prompts}",
        *overrides,
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, *launcher, "-m", "tests.scripts.training_worker", f"{folder}.pt", *arguments]
    subprocess.run(command, check=True, env=environment, timeout=300)
    return torch.load(f"{folder}.pt")


@pytest.fixture(scope="module")
def alone(cache, tmp_path_factory) -> tuple[Path, dict]:
    """One process's run folder and gradient."""
    folder = tmp_path_factory.mktemp("alone") / "one"
    return folder, first_gradient(cache, folder, 8)


def rationales(folder: Path) -> dict[tuple[str, int], str]:
    """By example and k."""
    return {(row["id"], row["k"]): row["rationale"] for row in rows(folder / "samples.jsonl")}


@pytest.mark.parametrize("scoring", ["fused_head=true", "share_prompt=true", "rows=5", "fused_head=false"])
def test_two_processes_give_the_gradient_of_one(scoring, cache, alone, tmp_path):
    one_folder, one = alone
    two = first_gradient(cache, tmp_path / "two", 4, f"scoring.{scoring}", launcher=PAIR)
    assert json.loads((tmp_path / "two/environment.json").read_text())["world_size"] == 2
    assert len(rows(tmp_path / "two/samples.jsonl")) == 8 * 4
    assert rationales(one_folder) == rationales(tmp_path / "two")
    scale = max(gradient.abs().max() for gradient in one.values())
    assert scale > 1e-3
    for name, gradient in one.items():
        assert (gradient - two[name]).abs().max() < 1e-5 * max(scale, 1), name


def test_two_processes_of_which_one_is_told_to_end_save_the_step_and_end_bit_identical(cache, tmp_path):
    """SIGTERM reaches the second process alone, within the second of four steps."""
    knobs = ("trainer.per_device_train_batch_size=2", "trainer.eval_steps=4", "trainer.save_steps=4")
    for name, told in (("whole", ""), ("told", "2 1"), ("told", "")):
        folder = tmp_path / name
        command = [sys.executable, *PAIR, "-m", "tests.scripts.training_worker", "", *TOY, f"model.cache={cache}",
                   f"output_dir={folder}", *knobs]  # fmt: skip
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        done = subprocess.run(
            command, check=False, env=environment | ({"TERMINATED": told} if told else {}), timeout=300
        )
        assert (done.returncode != 0) == bool(told)
        assert json.loads((folder / "environment.json").read_text())["world_size"] == 2
        if told:
            assert [path.name for path in (folder / "checkpoints").iterdir()] == ["checkpoint-2"]
            assert "stopped by SIGTERM: step 2 is saved" in (tmp_path / f"{name}.log").read_text()
    for record in (*RECORDS, "best/model.safetensors"):
        assert (tmp_path / "told" / record).read_bytes() == (tmp_path / "whole" / record).read_bytes(), record


@pytest.mark.parametrize("fused", ["true", "false"])
def test_two_processes_under_zero3_give_the_gradient_of_one(fused, cache, alone, tmp_path, monkeypatch):
    """Every weight is sharded, the head's too, whose log-probabilities are taken without the matrix of logits."""
    pytest.importorskip("deepspeed")
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    settings = json.loads((ROOT / "conf/deepspeed/zero3.json").read_text())
    settings["bf16"]["enabled"] = False
    settings["zero_optimization"]["stage3_param_persistence_threshold"] = 0
    (tmp_path / "zero3.json").write_text(json.dumps(settings))
    _, one = alone
    knobs = (f"trainer.deepspeed={tmp_path}/zero3.json", f"scoring.fused_head={fused}")
    two = first_gradient(cache, tmp_path / "two", 4, *knobs, launcher=PAIR)
    assert json.loads((tmp_path / "two/environment.json").read_text())["world_size"] == 2
    assert two.keys() == one.keys()
    scale = max(gradient.abs().max() for gradient in one.values())
    assert scale > 1e-3
    for name, gradient in one.items():
        assert (gradient - two[name]).abs().max() < 1e-5 * max(scale, 1), name

"""Trackers for real: W&B offline and TensorBoard on a toy run, its files read back; nothing reaches a network."""

import itertools
import json
import struct
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from transformers import TrainerCallback

from latro.errors import InputError
from scripts.tracking import report_to, tracker
from scripts.training import train

CONF = str(Path(__file__).parents[2] / "conf")
METRICS = {  # trl's names, and ours
    "reward", "reward_std", "frac_reward_zero_std", "kl", "completions/mean_length", "completions/clipped_ratio",
    "latro/logp_answer", "latro/bound", "latro/advantage_std", "loss", "grad_norm", "learning_rate",
}  # fmt: skip


class Stopped(Exception):
    """Stands for a kill."""


class StopAfter(TrainerCallback):
    """Stops the run as soon as a step is done."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise Stopped


def config(folder: Path, *overrides: str):
    import scripts.entry  # noqa: F401 - registers the resolvers of the configuration

    toy = [
        "experiment=latro/smoke",
        "model.reasoning_updates=0",
        "model.guessing_updates=0",
        "validation_limit=4",
    ]
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose("train_latro", [*toy, "show_samples=0", f"output_dir={folder}", *overrides])


def log_entries(content: bytes) -> Iterator[bytes]:
    """Entries of a log of LevelDB's format: blocks of 32 KiB, fragments behind headers of 7 bytes; W&B's own before.

    A fragment that is not whole yet ends them: the file is read while it is written.
    """
    place, entry = 7, b""
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        length, kind = struct.unpack("<HB", content[place + 4 : place + 7])
        if place + 7 + length > len(content):
            return
        entry += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last fragment
            yield entry
            entry = b""


def finished_entries(file: Path) -> list[bytes]:
    """The entries of a run's file once its last, the exit, is written: W&B's service writes it behind our back."""
    from wandb.proto import wandb_internal_pb2

    for _ in range(200):
        entries = list(log_entries(file.read_bytes()))
        last = wandb_internal_pb2.Record()
        if entries:
            last.ParseFromString(entries[-1])
        if last.WhichOneof("record_type") == "exit":
            return entries
        time.sleep(0.1)
    raise AssertionError(f"{file.name} has no exit record after 20 s")


def wandb_records(file: Path) -> tuple[list[dict], str, list[str]]:
    """History rows, run id and files of an offline W&B file."""
    from wandb.proto import wandb_internal_pb2

    rows, run_id, files = [], "", []
    for data in finished_entries(file):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "history":
            items = record.history.item
            rows.append({i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items})
        if kind == "run":
            run_id = record.run.run_id
        if kind == "files":
            files += [found.path for found in record.files.files]
    return rows, run_id, files


def test_wandb_offline_holds_metrics_and_samples_and_is_resumed(tmp_path, monkeypatch) -> None:
    """Stopped after step 3 and taken up from step 2: the second part has the first one's id."""
    monkeypatch.setenv("WANDB_API_KEY", "s3cret" * 7)
    monkeypatch.setenv("WANDB_SILENT", "true")
    folder = tmp_path / "run"
    cfg = config(folder, "logger=wandb", "logger.mode=offline")
    with pytest.raises(Stopped):
        train(cfg, [StopAfter(3)])
    rows = [{"step": 3, "loss": 0.5}, {"step": 4, "eval/a": 1.0}]  # as if it had been stopped later
    with (folder / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    train(config(folder, "logger=wandb", "logger.mode=offline"))
    parts = sorted(folder.glob("wandb/offline-run-*/*.wandb"))
    assert len(parts) == 2
    known = (folder / "wandb_run_id.txt").read_text().strip()
    found = [wandb_records(part) for part in parts]
    assert [run_id for _, run_id, _ in found] == [known, known]
    rows = list(itertools.chain.from_iterable(rows for rows, _, _ in found))
    steps = [
        (row["train/global_step"], "train/loss" in row) for row in found[1][0] if "train/global_step" in row
    ]
    assert [step for step, trained in steps if trained] == [4]  # the third was sent before
    assert not any(name.startswith("eval/") for row in found[1][0] for name in row)
    names = set().union(*rows)
    for metric in METRICS:
        assert f"train/{metric}" in names or metric in names, metric
    assert "eval/accuracy_greedy" in names
    tables = {"/".join(name.split("/")[:2]) for name in names if name.startswith("completions/step_")}
    assert tables == {"completions/step_2", "completions/step_4"}
    written = [
        json.loads(path.read_text()) for path in folder.glob("wandb/*/files/media/table/completions/*.json")
    ]
    assert {row[0] for table in written for row in table["data"]} == {2, 4}
    assert all(len(table["data"]) == 16 for table in written)  # 4 prompts, 4 rationales
    assert {"rationale", "reward", "advantage", "log_answer"} <= set(written[0]["columns"])
    for file in folder.rglob("*"):
        assert not file.is_file() or b"s3crets3cret" not in file.read_bytes(), file


def test_tensorboard_files_hold_every_metric(tmp_path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(config(tmp_path / "run", "logger=tensorboard"))
    events = sorted((tmp_path / "run").rglob("events.out.tfevents.*"))
    assert len(events) == 1
    accumulated = EventAccumulator(str(events[0])).Reload()
    tags = set(accumulated.Tags()["scalars"])
    assert {f"train/{metric}" for metric in METRICS} <= tags
    assert "eval/accuracy_greedy" in tags
    logged = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    rewards = [event.value for event in accumulated.Scalars("train/reward")]
    assert rewards == pytest.approx([row["reward"] for row in logged if "reward" in row], rel=1e-6)


def test_no_logger_leaves_nothing_and_the_best_model_is_pushed_on_request(tmp_path, monkeypatch) -> None:
    """The hub is a fake that takes what it is given."""
    from huggingface_hub import HfApi

    calls: list[tuple[str, object]] = []
    monkeypatch.setattr(HfApi, "create_repo", lambda self, name, **_: calls.append(("create", name)))
    monkeypatch.setattr(
        HfApi, "upload_folder", lambda self, **given: calls.append((given["repo_id"], given["folder_path"]))
    )
    monkeypatch.setenv("HF_TOKEN", "hf_made_up")
    train(config(tmp_path / "run", "push_to_hub=someone/toy"))
    assert calls == [("create", "someone/toy"), ("someone/toy", tmp_path / "run/best")]
    assert (tmp_path / "run/best/README.md").exists()
    assert not list((tmp_path / "run").rglob("*tfevents*"))
    assert not (tmp_path / "run/wandb").exists()


@pytest.mark.parametrize(
    ("logger", "words"),
    [
        ({"name": "mlflow"}, "choose one of none, wandb, tensorboard"),
        ({"name": "wandb", "mode": "on"}, "logger.mode='on'"),
    ],
)
def test_unknown_tracker_or_mode_is_refused(logger, words) -> None:
    with pytest.raises(InputError, match=words):
        report_to(OmegaConf.create(logger))


@pytest.mark.parametrize(("error", "told"), [(None, None), (SystemExit(143), None), (ValueError("x"), 1)])
def test_wandb_is_told_of_a_run_that_failed(error, told, tmp_path, monkeypatch) -> None:
    ended: list[int | None] = []
    tracked = SimpleNamespace(id="a", finish=lambda exit_code: ended.append(exit_code))
    monkeypatch.setattr("scripts.tracking.start_wandb", lambda *_: tracked)
    run: Any = SimpleNamespace(folder=tmp_path, writes=True)
    with (
        pytest.raises(type(error)) if error else nullcontext(),
        tracker(OmegaConf.create({"name": "wandb"}), run),
    ):
        if error:
            raise error
    assert ended == [told]


def test_tensorboard_that_is_not_installed_is_refused(monkeypatch) -> None:
    logger = OmegaConf.create({"name": "tensorboard"})
    assert report_to(logger) == ["tensorboard"]
    monkeypatch.setattr("scripts.tracking.find_spec", lambda name: None)
    with pytest.raises(InputError) as caught:
        report_to(logger)
    assert str(caught.value) == (
        "logger=tensorboard needs the package tensorboard; run: pip install 'latro-pract[tensorboard]'"
    )

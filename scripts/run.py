"""A run folder: what a run was, what it did, and how it is taken up again.

config.yaml        the resolved configuration, no secrets
environment.json   versions, git commit, command, hardware, weights; of later sessions too, where it was taken up
metrics.jsonl      one row per logged step and per evaluation
samples.jsonl      one row per sampled rationale, every step
validation.jsonl   one row per validation example and evaluation; prompts.jsonl has the prompts, once
timing.jsonl       seconds and rates, kept apart so that the other files are the same in every run
left_out.jsonl     rows and prompts that the run did without, with the reason
checkpoints/       Hugging Face checkpoints; best/ the one chosen on validation
results.json       the outcome
.lock              held while a session is at work
"""

import errno
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from latro.errors import InputError
from latro.processor import CPUINFO, described, features
from scripts.folders import LOCK, finished, read_config, read_json
from scripts.masking import masked, masked_command
from scripts.sessions import refuse_unlike, with_session
from scripts.tables import (
    EVALUATIONS,
    cut_table,
    has_evaluation,
    is_behind,
    lines,
    plain,
    was_evaluated,
    write_text,
)

PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "accelerate",
    "peft",
    "datasets",
    "tokenizers",
    "hydra-core",
    "numpy",
)
PLAN_KEYS = ("plan", "hardware", "devices", "sharding")
FREE_KEYS = ("output_dir", "resume", "overwrite", "logger", "show_samples", "push_to_hub", *PLAN_KEYS)
"""Keys that may differ when a run is taken up again."""
COST_KEYS = (
    "chunk", "sampling.batch_rows", "sampling.balance", "evaluation.batch_rows", "scoring.rows", "scoring.head_memory",
    "scoring.liger_head", "vllm", "model.cache_dir",
)  # fmt: skip
"""Further ones, whose value is a matter of time and memory: figures change by rounding, if at all."""
BEGUN = frozenset({LOCK, "events.jsonl", "config.yaml"})
"""What a run may leave that was killed before it wrote its configuration and environment."""
WRITTEN = frozenset({"environment.json", "results.json"})
"""What tells a run's folder from another that has a config.yaml, one of them at least."""
EMPTIED_LAST = ("environment.json", "results.json", "config.yaml")
"""What says whose folder it is, and that the run is finished: a folder half emptied is no run to go on with."""
RUN_ID = "wandb_run_id.txt"
"""What W&B calls the run."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says when there is no room left on the disk, or in the user's share of it."""


class Run:
    """The folder of one run. Only the main process writes; the others hold the same object and write nothing."""

    def __init__(self, cfg: DictConfig, *, writes: bool = True, opens: bool = True) -> None:
        """Look at the folder of `cfg.output_dir`, and open it unless `opens` is False.

        A script that still has a model or a dataset to load opens it later, by `open()`: so whatever is wrong with
        them is said before anything is made or deleted. Raises InputError for a folder that cannot be written,
        that holds a finished run, or one of another configuration, unless `cfg.overwrite` is true.
        """
        self.folder = Path(cfg.output_dir)
        self.writes = writes
        self.overwrite = bool(cfg.get("overwrite", False))
        self.resumes = bool(cfg.get("resume", True))
        self.config = resolved(cfg)
        self.forgotten: set[tuple[int, bool]] = set()
        """Rows of metrics that `rewind` dropped, by step and whether they are an evaluation's: trackers have them."""
        self.model: dict[str, str | None] | None = None
        """Which weights are run, by `scripts.sessions.model_record`; given before the folder is opened."""
        self.data: dict[str, Any] | None = None
        """What is trained on, by `scripts.sessions.data_record`; likewise."""
        if writes and self.overwrite and self.resumes and self._begun_by_the_same():
            self.overwrite = False
            print(
                f"{self.folder}: the unfinished run of this command goes on; delete it to begin anew",
                file=sys.stderr,
            )
        if writes:
            self.refuse()
        if writes and opens:
            self.open(overwrite=self.overwrite)

    def open(self, *, overwrite: bool) -> None:
        """Make the folder, emptied first if it is to be overwritten; what it holds is gone on with.

        Raises InputError if that was made by other weights, on other data, or by another number of processes.
        """
        place = self.folder / "environment.json"
        told = {"model": self.model, "data": self.data}
        present = environment() | {name: value for name, value in told.items() if value}
        before = read_json(place) if self.resumes and not overwrite else None
        if before and self.begun():
            refuse_unlike(self.folder, before, present)
        if overwrite and self.folder.exists():
            self._empty()
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(self.config)))
        write_text(place, json.dumps(with_session(before, present), indent=2) + "\n")

    def _empty(self) -> None:
        """Delete all but the lock, which this process holds."""
        last = {name: place for place, name in enumerate(EMPTIED_LAST)}
        for path in sorted(self.folder.iterdir(), key=lambda path: last.get(path.name, -1)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != LOCK:
                path.unlink()

    def _begun_by_the_same(self) -> bool:
        """Whether the folder holds an unfinished run of this configuration, begun by overwriting as well.

        So the same command, given again by hand or by a cluster's queue, does not delete what it did itself.
        """
        try:
            before = read_config(self.folder)
            unfinished = self.begun() and not finished(self.folder)
        except InputError:  # no run, or a damaged one
            return False
        unlike = [key for key in differing(before, self.config) if not under(key, FREE_KEYS)]
        return unfinished and before.get("overwrite") is True and not unlike

    def refuse(self) -> None:
        """Raise InputError for a folder that cannot be written, or holds what must not be lost."""
        written = self.folder / "config.yaml"
        refuse_unwritable(self.folder)
        if self.overwrite:
            there = {path.name for path in self.folder.iterdir()} if self.folder.exists() else set()
            if not ("config.yaml" in there and there & WRITTEN) and there - BEGUN:
                raise InputError(
                    f"output_dir={self.folder} is no run folder; overwrite=true would delete its files"
                )
        elif written.exists():
            self.refuse_other_run()

    def refuse_other_run(self) -> None:
        """Raise InputError if the folder holds a finished run, or one of another configuration."""
        different = sorted(differing(read_config(self.folder), self.config))
        # Wherever the weights lie now, they are held against those that the run was begun with, by their fingerprint.
        changed = [key for key in different if not under(key, (*FREE_KEYS, *COST_KEYS, "model.path"))]
        if changed:
            names = ", ".join(changed[:4]) + (" ..." if len(changed) > 4 else "")
            raise InputError(
                f"{self.folder} holds a run with another configuration ({names}); "
                "choose another output_dir, or overwrite=true"
            )
        if (self.folder / "results.json").exists():
            raise InputError(
                f"{self.folder} holds a finished run; choose another output_dir, or overwrite=true"
            )
        costs = [key for key in different if under(key, COST_KEYS)]
        if costs:
            print(f"gone on with under another {', '.join(costs)}: same up to rounding", file=sys.stderr)

    def begun(self) -> bool:
        """Whether there is something of a model's to go on with: a checkpoint, or items of an evaluation."""
        return (self.folder / "items.jsonl").exists() or self.last_checkpoint() is not None

    @property
    def checkpoints(self) -> Path:
        """Where the trainer keeps its checkpoints."""
        return self.folder / "checkpoints"

    def append(self, table: str, rows: Iterable[Any]) -> None:
        """Add rows (mappings or dataclasses) to `{table}.jsonl`."""
        if not self.writes:
            return
        with (self.folder / f"{table}.jsonl").open("a", encoding="utf-8") as file:
            file.write(lines(rows))

    def write_table(self, table: str, rows: Iterable[Any]) -> None:
        """Write `{table}.jsonl` whole or not at all, in place of what was there."""
        if self.writes:
            write_text(self.folder / f"{table}.jsonl", lines(rows))

    def rows(self, table: str) -> list[dict[str, Any]]:
        """The rows of `{table}.jsonl`."""
        text = (self.folder / f"{table}.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.split("\n") if line]

    def write_json(self, name: str, value: Any) -> None:
        """Write `{name}.json` whole or not at all."""
        if self.writes:
            write_text(
                self.folder / f"{name}.json", json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n"
            )

    def last_checkpoint(self) -> Path | None:
        """The newest complete checkpoint; None if there is none."""
        steps = {step_of(path): path for path in self.checkpoints.glob("checkpoint-*")}
        for step in sorted(steps, reverse=True):
            if is_complete(steps[step]):
                return steps[step]
        return None

    def rewind(self, step: int) -> None:
        """Forget everything behind `step`: later rows of the tables, torn lines, later and incomplete checkpoints.

        An evaluation of the step that its checkpoint does not know is behind it, too: a run that is killed while it
        finishes makes it once more.
        """
        if not self.writes:
            return
        state = read_json(self.checkpoints / f"checkpoint-{step}" / "trainer_state.json")
        known = state is None or was_evaluated(step, state.get("log_history", ()))
        for table in self.folder.glob("*.jsonl"):
            again = not known and table.stem in EVALUATIONS
            dropped = cut_table(table, partial(is_behind, step=step, evaluated_again=again))
            if table.stem == "metrics":
                self.forgotten = {(row["step"], has_evaluation(row)) for row in dropped}
        for path in self.checkpoints.glob("checkpoint-*"):
            if not is_complete(path) or step_of(path) > step:
                shutil.rmtree(path)


def forget_trackers(run: Run) -> None:
    """Let the trackers of a run that begins anew begin anew as well."""
    run.forgotten = set()
    if run.writes:
        (run.folder / RUN_ID).unlink(missing_ok=True)
        shutil.rmtree(
            run.checkpoints / "runs", ignore_errors=True
        )  # TensorBoard's, where transformers puts them


def under(key: str, names: Iterable[str]) -> bool:
    """Whether a dotted key is one of the names, or stands below one."""
    return any(key == name or key.startswith(f"{name}.") for name in names)


def refuse_unwritable(folder: Path, key: str = "output_dir") -> None:
    """Raise InputError if no file can be made in the folder, or in the first above it that exists.

    key: what names the folder on the command line.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise InputError(f"{key}={folder}: {there} is a file; choose another {key}")
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        if error.errno in FULL:
            raise  # said by the entry, like any other full disk
        reason = f"{there} cannot be written ({error.strerror})"
        raise InputError(f"{key}={folder}: {reason}; choose another {key}") from error


def step_of(checkpoint: Path) -> int:
    """The step in the name of a checkpoint's folder."""
    return int(checkpoint.name.split("-")[1])


def is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end: the trainer's state is its last file."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text())
    except (OSError, json.JSONDecodeError):
        return False
    return True


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """The configuration with every reference resolved; values under secret-looking names are masked."""
    container = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(container, dict)
    return {str(key): masked(str(key), value) for key, value in container.items()}


def differing(a: Mapping[Any, Any], b: Mapping[Any, Any], prefix: str = "") -> list[str]:
    """Dotted names of the keys in which two configurations differ."""
    names = []
    for key in [*a, *(key for key in b if key not in a)]:
        left, right = a.get(key), b.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            names += differing(left, right, f"{prefix}{key}.")
        elif left != right:
            names.append(f"{prefix}{key}")
    return names


def environment() -> dict[str, Any]:
    """Versions, commit, command and hardware."""
    versions: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "command": shlex.join([Path(sys.argv[0]).stem, *masked_command(sys.argv[1:])]),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "cpus": os.cpu_count(),
        "world_size": int(os.environ.get("WORLD_SIZE", "1")),
        "versions": versions,
        "git_hash": git("rev-parse", "HEAD"),
        "git_dirty": bool(git("status", "--porcelain")),
    }


def processor(cpuinfo: Path = CPUINFO) -> str | None:
    """Vendor, name, and whether it has AVX-512, as `model.products` goes by them; None where nothing tells."""
    fields = described(cpuinfo)
    wide = "AVX-512" if "avx512f" in features(fields) else None
    return ", ".join(filter(None, (fields.get("vendor_id"), fields.get("model name"), wide))) or None


def git(*arguments: str) -> str | None:
    """What git says of the checkout this file is in; None without git or checkout."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()

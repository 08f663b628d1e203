"""What a job's folder holds already: its own run, finished or begun, or another's."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from latro.errors import InputError
from scripts.folders import read_config
from scripts.recording import FURTHER, may_differ
from scripts.run import COST_KEYS, FREE_KEYS, differing, resolved, under
from scripts.sweep_plan import Job
from scripts.sweep_results import read_outcome, read_whole

BUDGET = "budget"
"""The key of what a run may spend; one that was ended by it goes on under another."""
LOGGED = ("optimize_pract", "evaluate_pract")
"""Scripts whose runs are rebuilt from their event log, and taken further by some keys (`scripts.recording`)."""


def is_finished(job: Job, cfg: DictConfig) -> bool:
    """Whether nothing of the job is left to do."""
    outcome = read_outcome(job.folder)
    if outcome is None:
        return False
    changed = _changed(job, cfg)
    if outcome.get("stopped") and any(under(key, (BUDGET,)) for key in changed):
        return False
    further = [key for key in FURTHER if key != BUDGET]
    return job.script not in LOGGED or not (
        cfg.get("retry_failed") or any(under(key, further) for key in changed)
    )


def refuse_outdated(job: Job, missing: Collection[Path]) -> None:
    """Raise InputError for a finished job that took up another which is missing: it tells of what is gone."""
    if job.needs in missing:
        raise InputError(
            f"{job.folder} is finished, but not {job.needs}, which it took up: it tells of an earlier run; delete it "
            "too"
        )


def refuse_other_runs(job: Job, cfg: DictConfig) -> None:
    """Raise InputError if the job's folder holds a damaged outcome, or a run of another configuration."""
    path = job.folder / "results.json"
    if path.is_file() and read_whole(path) is None:
        raise InputError(
            f"{path}: damaged or cut off; delete it and start again: the run goes on from what its folder holds"
        )
    config = resolved(cfg)
    changed = [
        key for key in changed_keys(job, cfg) if job.script not in LOGGED or not may_differ(key, config)
    ]
    if changed:
        raise InputError(
            f"{job.folder} holds a run with another configuration ({', '.join(sorted(changed)[:4])}); "
            "delete it, or give another folder: sweep_dir= of a sweep, folder= of a reproduction"
        )


def changed_keys(job: Job, cfg: DictConfig) -> list[str]:
    """The keys in which the run that the job's folder holds, if any, is of another configuration."""
    outcome = read_outcome(job.folder) or {}
    free = (*FREE_KEYS, *COST_KEYS, *((BUDGET,) if outcome.get("stopped") else ()))
    return [key for key in _changed(job, cfg) if not under(key, free)]


def _changed(job: Job, cfg: DictConfig) -> list[str]:
    written = job.folder / "config.yaml"
    if not written.is_file():
        return []
    # A job may run on another kind of machine than this one, and compares such keys itself.
    return [key for key in differing(read_config(job.folder), resolved(cfg)) if not _of_machine(cfg, key)]


def _of_machine(cfg: DictConfig, key: str) -> bool:
    """Whether the value of a dotted key depends on where it is resolved."""
    value: Any = OmegaConf.to_container(cfg, resolve=False)
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return "where_bfloat16_is_fast" in str(value)

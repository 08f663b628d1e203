"""Run folders as they are found on the disk: what kind of run one holds, and its tables, read with care.

A damaged or cut-off file is one line that says where. In a run that is not finished a torn last line is no damage: it
is being written, or was when the run was killed.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from latro.errors import InputError

Row = Mapping[str, Any]
AGAIN = "start it again to go on, or with overwrite=true"
DAMAGED = (KeyError, TypeError, ValueError, AttributeError, StopIteration)
"""What reading a run raises that lacks what this version writes."""
LOCK = ".lock"
"""Held by the process that is at work in a folder."""
FAST_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Kind(Enum):
    """What made a run folder."""

    TRAINING = "training"
    """train_latro, train_sft"""
    EVALUATION = "evaluation"
    """evaluate_latro"""
    LEARNING = "learning"
    """optimize_pract"""
    ARMS = "arms"
    """evaluate_pract"""


KEYS = {
    "arms": Kind.ARMS,  # before the next: with experiment= an evaluation has the recipe's `rpo` as well
    "rpo": Kind.LEARNING,
    "trainer": Kind.TRAINING,
    "evaluation": Kind.EVALUATION,
}
"""A key of the configuration that tells the kind, the first that is there."""


def read_config(folder: Path) -> dict[str, Any]:
    """The resolved configuration of a run, finished or not. Raises InputError for a folder that holds no run."""
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; name run folders")
    path = folder / "config.yaml"
    if not path.is_file():
        what = "holds no config.yaml" if any(folder.iterdir()) else "is empty"
        raise InputError(f"{folder} {what}: no run was begun in it; name run folders")
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), FAST_YAML)
    except (yaml.YAMLError, UnicodeDecodeError):
        config = None
    if not isinstance(config, dict):
        raise InputError(f"{path}: damaged or cut off; start the run again with overwrite=true")
    return config


def kind_of(folder: Path) -> Kind:
    """What kind of run a folder holds. Raises InputError if it holds none."""
    config = read_config(folder)
    for key, kind in KEYS.items():
        if key in config:
            return kind
    raise InputError(f"{folder}/config.yaml is of no script of this project; name run folders")


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object; None if there is no such file. Raises InputError for one that is cut off."""
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: damaged or cut off ({error}); {AGAIN}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: damaged, it holds no object; {AGAIN}")
    return found


def finished(folder: Path) -> bool:
    """Whether the run came to its end; a run of PRAct that was stopped has an outcome too, and says so in it."""
    outcome = read_json(folder / "results.json")
    return outcome is not None and not outcome.get("stopped")


def rows(path: Path, *, torn: bool = False, heads: tuple[str, ...] = ("",)) -> Iterator[dict[str, Any]]:
    """The rows of a table. Raises InputError with the line that is cut off or no JSON.

    torn: leave out a last line without its end instead. heads: only rows whose line begins with one of these; the
    others are not looked into.
    """
    for number, line in numbered(path):
        whole = line.endswith("\n")
        if not whole and torn:
            return
        if line.startswith(heads) or not whole:
            yield parsed(path, number, line)


def numbered(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a table, counted from 1; a torn letter is no error."""
    with path.open(encoding="utf-8", errors="replace") as file:
        yield from enumerate(file, 1)


def parsed(path: Path, number: int, line: str) -> dict[str, Any]:
    """A line of a table. Raises InputError if it is no JSON object."""
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{path}, line {number}: damaged or cut off; {AGAIN}")
    return found


def table(folder: Path, name: str, heads: tuple[str, ...] = ("",)) -> list[dict[str, Any]]:
    """The rows of `{name}.jsonl`; none if the run has not written it yet."""
    path = folder / f"{name}.jsonl"
    return list(rows(path, torn=not finished(folder), heads=heads)) if path.is_file() else []


@contextmanager
def locked(folder: Path, others: str, otherwise: str) -> Iterator[None]:
    """Make the folder and keep it for this process. Raises InputError at once if another has it.

    others: who might be at work there; otherwise: what to do instead of waiting for them. The file stays: to delete it
    would let in two at a time.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"{folder}: another {others} is at work there; wait for it, or {otherwise}"
        ) from None
    try:
        yield
    finally:
        lock.release()


def refuse_missing(path: Path, held: int, told: int, of: str = "") -> None:
    """Raise InputError for a table that holds fewer rows than the results tell of, or more."""
    if held != told or not told:
        raise InputError(f"{path} holds {held} rows{of}, and results.json tells of {told}; {AGAIN}")

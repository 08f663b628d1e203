"""From an engine's name to the engine."""

from collections.abc import Callable

from latro.errors import InputError
from latro.rollout.base import Rollout
from latro.rollout.continuous import ContinuousEngine
from latro.rollout.plain import GenerateEngine

ENGINES: dict[str, Callable[[int | None], Rollout]] = {
    "continuous": ContinuousEngine,
    "generate": GenerateEngine,
}


def make_engine(name: str, batch_rows: int | None) -> Rollout:
    """`continuous` or `generate`, with so many rows in flight; None: as many as fit into memory."""
    return ENGINES[name](batch_rows)


def check_engine(group: str, name: str, batch_rows: int | None) -> None:
    """Refuse an unknown engine or an impossible number of rows; `group` names the knobs' place."""
    if name not in ENGINES:
        raise InputError(f"{group}.engine={name!r}: choose {' or '.join(ENGINES)}")
    if batch_rows is not None and batch_rows < 1:
        raise InputError(f"{group}.batch_rows={batch_rows} must be at least 1, or null to choose from memory")

"""From an engine's name to the engine."""

from typing import TYPE_CHECKING

from latro.errors import InputError

if TYPE_CHECKING:
    from latro.rollout.base import Rollout

ENGINES = ("continuous", "generate")
VLLM = "vllm"
"""The engine that has weights of its own, so that it is made once for a run: see `latro.rollout.vllm`."""


def make_engine(name: str, batch_rows: int | None, *, share_prompt: bool = True) -> "Rollout":
    """`continuous` or `generate`, with so many rows in flight; None: as many as fit into memory.

    `share_prompt` is `ContinuousEngine`'s.
    """
    if name == VLLM:
        raise InputError(
            "engine=vllm: only train_latro and evaluate_latro have one; choose continuous or generate here"
        )
    # Not at the top: the engines need torch, and `check_engine` is asked before it is imported.
    from latro.rollout.continuous import ContinuousEngine
    from latro.rollout.plain import GenerateEngine

    if name == "generate":
        return GenerateEngine(batch_rows)
    return ContinuousEngine(batch_rows, share_prompt=share_prompt)


def check_engine(group: str, name: str, batch_rows: int | None) -> None:
    """Refuse an unknown engine or an impossible number of rows; `group` names the knobs' place."""
    if name not in (*ENGINES, VLLM):
        raise InputError(f"{group}.engine={name!r}: choose {', '.join(ENGINES)} or {VLLM}")
    if batch_rows is not None and batch_rows < 1:
        raise InputError(f"{group}.batch_rows={batch_rows} must be at least 1, or null to choose from memory")

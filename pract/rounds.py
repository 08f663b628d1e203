"""What the loop yields: rounds, each with all that it rests on."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from pract.acceptance import Comparison
from pract.budget import Spent
from pract.diagnosis import Finding
from pract.episode import fatal
from pract.events import OUTAGE, EventLog
from pract.llm.base import ChatErrorKind
from pract.optimizer import Change
from pract.records import to_json
from pract.types import Episode, Principles, Reflection, Status

_FATAL = tuple(f"chat_error: {kind.value}:" for kind in ChatErrorKind if kind.fatal)


class Decision(Enum):
    """What became of a round's candidate."""

    START = "start"
    """Round 0: the principles that the run begins with."""
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    """The candidate failed the gate; the next round begins from the old principles."""
    UNCHANGED = "unchanged"
    """No usable rewrite."""
    STOPPED = "stopped"
    """The budget was spent or the model cannot be used; the run ends here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One turn of the loop, with all that it rests on."""

    index: int
    before: Principles
    candidate: Principles
    after: Principles
    decision: Decision
    reason: str
    best: Principles
    """The principles to use if the run ended here: highest validation mean, or the latest where there is none."""
    episodes: tuple[Episode, ...] = ()
    """Training episodes."""
    reflections: tuple[Reflection, ...] = ()
    changes: tuple[Change, ...] = ()
    versions: tuple[Principles, ...] = ()
    """Principles written on the way to the candidate."""
    findings: tuple[Finding, ...] = ()
    """SpecTool error patterns over the training episodes."""
    validation: tuple[Episode, ...] = ()
    """Validation episodes under the candidate (in round 0: under the start)."""
    comparison: Comparison | None = None
    spent: Spent = field(default_factory=Spent)
    """By the whole run, up to the end of this round."""


def round_record(round_: Round) -> dict[str, Any]:
    """The round as JSON, with the ids of its episodes and reflections in place of their contents."""
    slim = {
        name: [item.id for item in getattr(round_, name)]
        for name in ("episodes", "reflections", "validation")
    }
    bare = replace(round_, episodes=(), reflections=(), validation=())
    return {**to_json(bare), **slim}


def mean_by_task(episodes: Sequence[Episode], measure: str) -> dict[str, float]:
    """The mean measure of each task over its episodes that say something about the agent."""
    values: dict[str, list[float]] = {}
    for episode in episodes:
        if episode.status.counts:
            values.setdefault(episode.task_id, []).append(float(getattr(episode, measure)))
    return {task: sum(found) / len(found) for task, found in values.items()}


def stop_reason(
    episodes: Sequence[Episode], reflections: Sequence[Reflection] = (), changes: Sequence[Change] = ()
) -> str:
    """Why the run cannot go on after this, or nothing."""
    for episode in episodes:
        if episode.status is Status.BUDGET or fatal(episode):
            return f"{episode.status.value}: {episode.failure}"
    problems = [reflection.problem for reflection in reflections] + [change.problem for change in changes]
    for problem in problems:
        if problem.startswith("budget:") or problem.startswith(_FATAL):
            return problem
    if _unplayed(episodes):
        return f"no episode could be played: {episodes[0].failure}"
    return ""


def log_outage(log: EventLog, key: str, episodes: Sequence[Episode]) -> None:
    """If none of the episodes could be played, log that they are to be tried again when the run is taken up.

    key: the place in the run where it stopped. One failed episode among others is an outcome, and stays one.
    """
    if _unplayed(episodes):
        log.append(OUTAGE, key, {"episodes": [episode.id for episode in episodes]})


def _unplayed(episodes: Sequence[Episode]) -> bool:
    return bool(episodes) and all(episode.status is Status.CHAT_ERROR for episode in episodes)

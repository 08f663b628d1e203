"""What the loop yields: rounds, each with all that it rests on."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from pract.acceptance import Comparison
from pract.budget import Spent
from pract.diagnosis import Finding
from pract.episode import fatal
from pract.events import OUTAGE, ROUND, EventLog
from pract.llm.base import ChatErrorKind
from pract.optimizer import Change
from pract.records import from_json, to_json
from pract.schedule import rewrite_tags
from pract.types import Episode, Principles, Reflection, Status

_FATAL = tuple(f"chat_error: {kind.value}:" for kind in ChatErrorKind if kind.fatal)
_SILENT = tuple(
    f"chat_error: {kind.value}:"
    for kind in (
        ChatErrorKind.CONNECTION,
        ChatErrorKind.SERVER,
        ChatErrorKind.TIMEOUT,
        ChatErrorKind.RATE_LIMITED,
        ChatErrorKind.BAD_RESPONSE,
        ChatErrorKind.CONTEXT_LENGTH,
    )
)
"""How a call ends, after all attempts, whose server is away or has no use for what it is sent."""

LEFT_OUT = 0.2
"""Of the validation tasks: if more could not be played, on one side or the other, nothing is decided by the rest."""


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


def logged(log: EventLog, key: str, round_: Round) -> Round:
    """The round, logged; what an earlier session had spent by its end stands if all else is the same."""
    past = log.past(ROUND, key)
    if past is not None:
        told = replace(round_, spent=from_json(Spent, past["spent"]))
        if round_record(told) == past:
            return told
    log.append(ROUND, key, round_record(round_), at=round_.spent.seconds)
    return round_


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
    return _silent_role(reflections, changes)


def _silent_role(reflections: Sequence[Reflection], changes: Sequence[Change]) -> str:
    """That the reflector or the optimizer answered not one of its calls, or nothing."""
    asked = [r.problem for r in reflections if r.problem != "solved" and not r.problem.startswith("episode:")]
    for role, problems in (("reflector", asked), ("optimizer", [change.problem for change in changes])):
        if problems and all(problem.startswith(_SILENT) for problem in problems):
            return f"the {role} answered no call: {problems[0].removeprefix('chat_error: ')}"
    return ""


def incomplete(episodes: Sequence[Episode]) -> str:
    """Why validation episodes are too few to judge by, or nothing."""
    tasks = {episode.task_id for episode in episodes}
    played = {episode.task_id for episode in episodes if episode.status.counts}
    if len(tasks) - len(played) <= LEFT_OUT * len(tasks):
        return ""
    failure = next(e.failure for e in episodes if e.task_id not in played)
    return f"validation is incomplete: {len(tasks) - len(played)} of {len(tasks)} tasks could not be played: {failure}"


def log_outage(log: EventLog, key: str, episodes: Sequence[Episode], *, validation: bool = False) -> None:
    """If none of the episodes could be played, log that they are to be tried again when the run is taken up.

    key: the place in the run where it stopped. validation: too few are as good as none. Else one failed episode among
    others is an outcome, and stays one.
    """
    if _unplayed(episodes) or (validation and incomplete(episodes)):
        log.append(OUTAGE, key, {"episodes": [episode.id for episode in episodes]})


def log_silence(log: EventLog, key: str, round_: Round) -> None:
    """If the reflector or the optimizer answered no call, log which calls are to be made again on taking the run up."""
    if _silent_role(round_.reflections, round_.changes):
        calls = [*(r.id for r in round_.reflections), *rewrite_tags(key, len(round_.episodes))]
        log.append(OUTAGE, f"{key}/learning", {"episodes": calls})


def _unplayed(episodes: Sequence[Episode]) -> bool:
    """Whether not one counts. An environment that failed in the only episode may well not fail in the next."""
    broken = [episode.status for episode in episodes if not episode.status.counts]
    return len(broken) == len(episodes) > 0 and broken != [Status.ENVIRONMENT_ERROR]

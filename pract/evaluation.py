"""Episodes on held-out tasks, one outcome each. Statistics over outcomes are the caller's affair."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from pract.agent import Agent
from pract.diagnosis import diagnose, pooled
from pract.episode import STRIDE, Job, attempt_seed, play_many
from pract.events import EventLog, key_of
from pract.seats import Seats
from pract.types import Episode, Status, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one episode says about an agent; a line of a results table, paired with others by task and attempt."""

    task: str
    attempt: int
    group: str | None
    status: Status
    counts: bool
    """False if the agent is not to blame: left out of means, and counted apart."""
    score: float
    progress: float
    success: bool
    steps: int
    refused: int
    """Calls the environment did not carry out."""
    unread: int
    """Replies in which no action was found."""
    prompt_tokens: int
    completion_tokens: int
    usd: float
    seconds: float


async def evaluate(
    agent: Agent,
    tasks: Iterable[Task],
    seats: Seats,
    *,
    arm: str,
    attempts: int = 1,
    seed: int = 0,
    log: EventLog | None = None,
    watch: Callable[[Episode], None] | None = None,
) -> AsyncIterator[Episode]:
    """The agent's episodes on the tasks, in order, `attempts` of each, under seeds that no other evaluation has.

    arm: the name of this agent in the comparison, the first part of the episodes' ids. Which split the tasks come
    from is for the caller to know.
    """
    async with aclosing(play_many(_jobs(agent, tasks, arm, attempts, seed), seats, log)) as playing:
        async for episode in playing:
            if watch is not None:
                watch(episode)
            yield episode


def _jobs(agent: Agent, tasks: Iterable[Task], arm: str, attempts: int, seed: int) -> Iterator[Job]:
    for task in tasks:
        for attempt in range(attempts):
            key = key_of("evaluate", arm, task.id, str(attempt))
            yield Job(key=key, task=task, agent=agent, seed=attempt_seed(seed, attempt))


def outcome(episode: Episode, *, seed: int = 0) -> Outcome:
    """The episode as a line of a table. seed: of the evaluation, from which the attempt follows."""
    return Outcome(
        task=episode.task_id,
        attempt=(episode.seed - seed) // STRIDE,
        group=episode.group,
        status=episode.status,
        counts=episode.status.counts,
        score=episode.score,
        progress=episode.progress,
        success=episode.success,
        steps=len(episode.steps),
        refused=sum(step.refused for step in episode.steps),
        unread=sum(step.action is None for step in episode.steps),
        prompt_tokens=episode.prompt_tokens,
        completion_tokens=episode.completion_tokens,
        usd=sum(step.reply.usd for step in episode.steps),
        seconds=episode.seconds,
    )


def unrecorded(episode: Episode) -> int:
    """Requests that the record behind an environment could not answer, as its steps tell: they made the task harder."""
    return max((int(step.info.get("unrecorded", 0)) for step in episode.steps), default=0)


def error_counts(episodes: Sequence[Episode], agent: Agent) -> dict[str, dict[str, int]]:
    """SpecTool error patterns over episodes: action -> pattern -> count."""
    table: dict[str, dict[str, int]] = {}
    for finding in pooled(diagnose(episode, agent.actions, reward_shown=True) for episode in episodes):
        table.setdefault(finding.action, {})[finding.pattern.value] = finding.count
    return table

"""From tasks and principles to a candidate: the three ways to arrange playing, reflecting and rewriting.

RPO-Batch plays a batch, then rewrites once from all reflections. RPO-Traj rewrites after every trajectory: either
in sequence, each task played under the principles that the one before led to, or independently from the same
principles, the resulting sets then merged.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

from pract.agent import Agent, AgentConfig
from pract.episode import Job, play_each
from pract.events import REFLECTION, EventLog, key_of
from pract.fitting import fitting
from pract.llm.base import Chat
from pract.optimizer import Change, Optimizer, Rewrite
from pract.records import to_json
from pract.reflector import Reflector
from pract.seats import Seats
from pract.types import ActionSpec, Episode, Principles, Reflection, Task

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What one round of playing, reflecting and rewriting gave."""

    candidate: Principles
    episodes: tuple[Episode, ...]
    reflections: tuple[Reflection, ...]
    changes: tuple[Change, ...]
    """In the order made; with schedules that rewrite more than once an action may come up again."""
    versions: tuple[Principles, ...]
    """Every set of principles that was written on the way, the candidate last."""


class Crew:
    """The three roles at work in one environment, on record."""

    def __init__(
        self,
        *,
        chat: Chat,
        agent: AgentConfig,
        actions: Sequence[ActionSpec],
        reflector: Reflector,
        optimizer: Optimizer,
        seats: Seats,
        log: EventLog,
        seed: int,
        watch: Callable[[Episode], None] | None = None,
    ) -> None:
        """watch: told of every episode as it ends, for a progress bar."""
        self.chat, self.agent, self.actions = chat, agent, list(actions)
        self.reflector, self.optimizer = reflector, optimizer
        self.seats, self.log, self.seed, self.watch = seats, log, seed, watch

    async def play(
        self, tasks: Iterable[tuple[str, Task, int]], principles: Principles
    ) -> tuple[Episode, ...]:
        """The episodes of (key, task, seed), in order, played under the principles."""

        async def nothing(episode: Episode) -> None:
            pass

        return tuple([episode for episode, _ in await self.play_then(tasks, principles, nothing)])

    async def play_then(
        self,
        tasks: Iterable[tuple[str, Task, int]],
        principles: Principles,
        then: Callable[[Episode], Awaitable[T]],
    ) -> list[tuple[Episode, T]]:
        """The episodes in order, each with what `then` made of it as soon as it had ended."""
        agent = Agent(self.chat, self.agent, self.actions, principles)
        jobs = (Job(key=key, task=task, agent=agent, seed=seed) for key, task, seed in tasks)

        async def both(episode: Episode) -> tuple[Episode, T]:
            return episode, await then(episode)

        found = []
        async with aclosing(play_each(jobs, self.seats, self.log, both)) as playing:
            async for episode, outcome in playing:
                found.append((episode, outcome))
                if self.watch is not None:
                    self.watch(episode)
        return found

    async def reflect(self, episode: Episode, principles: Principles) -> Reflection:
        """The reflection on an episode, logged."""
        tag = f"{episode.id}/reflect"
        reflection = await self.reflector.reflect(episode, principles, tag=tag, seed=self.seed)
        self.log.record(REFLECTION, reflection.id, to_json(reflection))
        return reflection

    async def improve(self, before: Principles, reflections: Sequence[Reflection], *, tag: str) -> Rewrite:
        """The optimizer's rewrite, within what leaves the agent room."""
        return self._fitting(
            await self.optimizer.improve(before, reflections, tag=tag, seed=self.seed), before
        )

    async def merge(self, before: Principles, versions: Sequence[Principles], *, tag: str) -> Rewrite:
        """The optimizer's merged set, within what leaves the agent room."""
        return self._fitting(await self.optimizer.merge(before, versions, tag=tag, seed=self.seed), before)

    def _fitting(self, rewrite: Rewrite, before: Principles) -> Rewrite:
        def prefix(principles: Principles) -> int:
            return Agent(self.chat, self.agent, self.actions, principles).prefix_tokens

        return fitting(rewrite, before, prefix=prefix, context=self.chat.context_tokens)


def rewrite_tags(key: str, episodes: int) -> list[str]:
    """Every tag that a lesson's rewrites from so many episodes may have, whatever the schedule."""
    return [_of_all(key), *(_of_one(key, number) for number in range(episodes)), _of_merge(key)]


def _of_all(key: str) -> str:
    return f"{key}/optimize"


def _of_one(key: str, number: int) -> str:
    return f"{key}/optimize-{number:03d}"


def _of_merge(key: str) -> str:
    return f"{key}/merge"


async def batch_lesson(crew: Crew, tasks: Sequence[Task], before: Principles, key: str) -> Lesson:
    """RPO-Batch: one rewrite from all reflections of the batch, each made as soon as its episode has ended."""

    async def reflect(episode: Episode) -> Reflection:
        return await crew.reflect(episode, before)

    played = await crew.play_then(_places(crew, tasks, key), before, reflect)
    reflections = [reflection for _, reflection in played]
    rewrite = await crew.improve(before, reflections, tag=_of_all(key))
    return _lesson([episode for episode, _ in played], reflections, [rewrite], before)


async def merged_lesson(crew: Crew, tasks: Sequence[Task], before: Principles, key: str) -> Lesson:
    """RPO-Traj, independent then merged: one rewrite for each trajectory, then one set from all of them.

    Episodes do not wait for each other: each is reflected on and rewritten from as soon as it has ended.
    """
    places = _places(crew, tasks, key)
    position = {place: number for number, (place, _, _) in enumerate(places)}

    async def learn(episode: Episode) -> tuple[Reflection, Rewrite]:
        reflection = await crew.reflect(episode, before)
        tag = _of_one(key, position[episode.id])
        return reflection, await crew.improve(before, [reflection], tag=tag)

    learned = await crew.play_then(places, before, learn)
    rewrites = [rewrite for _, (_, rewrite) in learned]
    versions = [rewrite.principles for rewrite in rewrites if rewrite.principles.version != before.version]
    if versions:
        rewrites.append(await crew.merge(before, versions, tag=_of_merge(key)))
    return _lesson(
        [episode for episode, _ in learned], [reflection for _, (reflection, _) in learned], rewrites, before
    )


async def sequential_lesson(crew: Crew, tasks: Sequence[Task], before: Principles, key: str) -> Lesson:
    """RPO-Traj, sequential: each trajectory is played under the principles that the one before led to."""
    current = before
    episodes: list[Episode] = []
    reflections: list[Reflection] = []
    rewrites: list[Rewrite] = []
    for place in _places(crew, tasks, key):
        (episode,) = await crew.play([place], current)
        reflection = await crew.reflect(episode, current)
        rewrite = await crew.improve(current, [reflection], tag=_of_one(key, len(episodes)))
        current = rewrite.principles
        episodes.append(episode)
        reflections.append(reflection)
        rewrites.append(rewrite)
    return _lesson(episodes, reflections, rewrites, before)


def _places(crew: Crew, tasks: Sequence[Task], key: str) -> list[tuple[str, Task, int]]:
    return [
        (f"{key}/{key_of(f'train-{number:03d}', task.id)}", task, crew.seed)
        for number, task in enumerate(tasks)
    ]


def _lesson(
    episodes: Sequence[Episode],
    reflections: Sequence[Reflection],
    rewrites: Sequence[Rewrite],
    before: Principles,
) -> Lesson:
    written = {r.principles.version: r.principles for r in rewrites if r.principles.version != before.version}
    return Lesson(
        candidate=rewrites[-1].principles if rewrites else before,
        episodes=tuple(episodes),
        reflections=tuple(reflections),
        changes=tuple(change for rewrite in rewrites for change in rewrite.changes),
        versions=tuple(written.values()),
    )

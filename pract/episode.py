"""Play one task to its end; play many at once. Every episode ends with a named status."""

import asyncio
import logging
import math
import traceback
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pract.agent import FINISH, Agent, Turn, shown
from pract.budget import BudgetExhausted
from pract.envs.base import Environment
from pract.errors import InputError
from pract.events import EPISODE, EventLog
from pract.llm.base import ChatError, ChatErrorKind
from pract.parsing import ParseError
from pract.records import from_json, to_json
from pract.repeats import first_of_same, retold
from pract.seats import Seat, Seats
from pract.types import Action, Episode, Observation, Status, Step, StepResult, Task

T = TypeVar("T")

logger = logging.getLogger(__name__)

WINDOW = 4
"""Episodes under way or waiting to be handed on, per seat: what bounds memory when thousands are queued."""


STRIDE = 1_000_003
"""Between the seeds of two attempts at a task: counted up by one, they would be another seed's attempts as well, and
runs under several seeds would share their episodes."""


def attempt_seed(seed: int, attempt: int) -> int:
    """The seed of an attempt at a task, in a run of this seed."""
    return seed + STRIDE * attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One episode to be played."""

    key: str
    """Its place in the run (`pract.events.key_of`), the beginning of its calls' tags."""
    task: Task
    agent: Agent
    seed: int


def play_many(
    jobs: Iterable[Job], seats: Seats, log: EventLog | None = None
) -> AsyncGenerator[Episode, None]:
    """The episodes of the jobs, in the order of the jobs, as many at once as there are seats.

    Jobs are taken from the iterable as room becomes free, so it may be long. Episodes found in the log are not
    played again. Raises InputError only; all other faults are an episode's status.
    """
    return play_each(jobs, seats, log, _as_it_is)


async def _as_it_is(episode: Episode) -> Episode:
    return episode


async def play_each(
    jobs: Iterable[Job], seats: Seats, log: EventLog | None, then: Callable[[Episode], Awaitable[T]]
) -> AsyncGenerator[T, None]:
    """As `play_many`, but what `then` makes of each episode as soon as it has ended, while others are under way.

    An episode keeps its seat until `then` is done, so that no more is asked of the models at once than there are
    seats. Raises what `then` raises. Whoever may leave the loop early closes it (`aclosing`), which ends what is under
    way.
    """
    waiting: deque[asyncio.Task[T]] = deque()
    try:
        for job in jobs:
            waiting.append(asyncio.ensure_future(_play(job, seats, log, then)))
            if len(waiting) >= WINDOW * seats.count:
                yield await waiting[0]
                waiting.popleft()
        while waiting:
            yield await waiting[0]
            waiting.popleft()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _play(job: Job, seats: Seats, log: EventLog | None, then: Callable[[Episode], Awaitable[T]]) -> T:
    known = log.past(EPISODE, job.key) if log is not None else None
    async with seats.one() as seat:
        episode = None if known is None else from_json(Episode, known)
        if episode is None or episode.principles != _version(job.agent):
            episode = await play_episode(seat, job)
            if log is not None and not _to_be_retried(episode):
                log.append(EPISODE, job.key, episode)
        return await then(episode)


def _to_be_retried(episode: Episode) -> bool:
    """Whether a resumed run should play it again: what stopped it may have been mended meanwhile."""
    return episode.status is Status.BUDGET or fatal(episode)


def fatal(episode: Episode) -> bool:
    """Whether it failed in a way in which every other episode will fail too."""
    kind = episode.failure.partition(":")[0]
    return episode.status is Status.CHAT_ERROR and any(k.fatal for k in ChatErrorKind if k.value == kind)


def _version(agent: Agent) -> str:
    return "" if agent.principles is None else agent.principles.version


async def play_episode(seat: Seat, job: Job) -> Episode:
    """Play a task from reset to its end. Raises InputError only."""
    play = _Play(seat, job)
    try:
        await play.run()
    except InputError:
        raise
    except BudgetExhausted as error:
        play.end(Status.BUDGET, f"{error.limit}: {error}")
    except ChatError as error:
        # how long its prompt grows is the agent's own doing: left out of means, long episodes would flatter it
        own = error.kind is ChatErrorKind.CONTEXT_LENGTH
        play.end(Status.OUT_OF_CONTEXT if own else Status.CHAT_ERROR, str(error))
    except _EnvironmentFault as fault:
        await seat.renew()  # what raised once is not to be trusted with the next episode
        play.end(Status.ENVIRONMENT_ERROR, str(fault))
    return play.episode()


class _EnvironmentFault(Exception):
    """The environment raised, or gave what the contract forbids."""


class _Play:
    """One episode under way."""

    def __init__(self, seat: Seat, job: Job) -> None:
        self.seat, self.job = seat, job
        self.environment = self.version = self.first = self.failure = ""
        self.steps: list[Step] = []
        self.status = Status.OUT_OF_STEPS
        self.score = self.progress = 0.0
        self.success = False

    def end(self, status: Status, failure: str = "") -> None:
        self.status = status
        self.failure = " ".join(failure.split())[:300].encode("utf-8", "replace").decode("utf-8")

    def episode(self) -> Episode:
        """What was played so far."""
        task = self.job.task
        return Episode(
            id=self.job.key,
            task_id=task.id,
            instruction=task.instruction,
            group=task.group,
            environment=self.environment,
            environment_version=self.version,
            principles=_version(self.job.agent),
            seed=self.job.seed,
            first_observation=self.first,
            steps=tuple(self.steps),
            status=self.status,
            failure=self.failure,
            score=self.score,
            progress=self.progress,
            success=self.success,
        )

    async def run(self) -> None:
        task, seed, agent = self.job.task, self.job.seed, self.job.agent
        hints = (await self._reset()).hints
        for index in range(min(agent.config.max_steps, task.max_steps or agent.config.max_steps)):
            tag = f"{self.job.key}/step-{index:02d}"
            turn = await agent.take_turn(task, self.first, self.steps, hints, seed=seed, tag=tag)
            step, result = await self._carry_out(index, turn)
            self.steps.append(step)
            if result is not None:
                self._note(result)
                hints = result.observation.hints
            status = _ending(step, result)
            if status is not None:
                self.end(status)
                return

    async def _reset(self) -> Observation:
        task, seed = self.job.task, self.job.seed

        def begin(environment: Environment) -> tuple[str, str, Observation]:
            return environment.name, environment.version, _seen(environment.reset(task, seed))

        self.environment, self.version, observation = await self._ask(begin)
        self.first = shown(observation, self.job.agent.config.observation_chars)
        return observation

    async def _carry_out(self, index: int, turn: Turn) -> tuple[Step, StepResult | None]:
        """The step that a turn became, and the environment's answer where it was asked."""
        facts: dict[str, Any] = {
            "index": index,
            "reply": turn.reply,
            "dropped": turn.dropped,
            "prompt": turn.prompt,
            "score": self.score,
            "progress": self.progress,
        }
        if isinstance(turn.outcome, ParseError):
            problem = turn.outcome
            facts |= self._told(None, turn, problem.message, refused=True)
            return Step(**facts, action=None, problem=problem.kind), None
        action = turn.outcome.action
        facts |= {"action": action, "thought": turn.outcome.thought}
        if action.name in self.job.agent.inner:
            return Step(**facts, observation="OK", inner=True), None
        result, info = await self._ask(lambda environment: _checked(environment.step(action)))
        facts |= {"score": float(result.score), "progress": float(result.progress)}
        answer = shown(result.observation, self.job.agent.config.observation_chars)
        facts |= self._told(action, turn, answer, refused=result.refused)
        return Step(
            **facts,
            refused=bool(result.refused),
            reward=float(result.reward),
            info=info,
        ), result

    def _told(self, action: Action | None, turn: Turn, answer: str, *, refused: bool) -> dict[str, Any]:
        """What the agent is shown, and whether it is nothing new."""
        first = first_of_same(self.steps, action, turn.reply.text, answer)
        if first is None or not self.job.agent.config.tell_repeats:
            return {"observation": answer, "repeated": first is not None}
        since = self.steps[first.index :]
        just_seen = first.index + 1 >= turn.dropped and all(step.action == action for step in since)
        told = retold(answer, made=action is not None, refused=refused, just_seen=just_seen)
        return {"observation": told, "repeated": True}

    def _note(self, result: StepResult) -> None:
        self.score = float(result.score)
        self.progress = max(self.progress, float(result.progress))
        self.success = result.score >= 1 - 1e-9 if result.success is None else bool(result.success)

    async def _ask(self, act: Callable[[Environment], T]) -> T:
        """The environment's answer. Raises _EnvironmentFault for whatever it raises but InputError."""
        try:
            return await self.seat.call(act)
        except InputError:
            raise
        except Exception as error:
            logger.warning("environment error in episode %s", self.job.key, exc_info=error)
            raise _EnvironmentFault(f"{type(error).__name__}: {error}{_place(error)}") from error


def _ending(step: Step, result: StepResult | None) -> Status | None:
    """How the episode ends with this step, or None if it goes on."""
    if result is None:
        gave_up = step.inner and step.action is not None and step.action.name == FINISH.name
        return Status.FINISHED if gave_up else None
    if result.terminated:
        return Status.FINISHED
    return Status.TRUNCATED if result.truncated else None


def _place(error: Exception) -> str:
    """Where it was raised, for the record: ` (todo.py, line 88)`."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


def _checked(result: StepResult) -> tuple[StepResult, Any]:
    """The result and its info as JSON. Raises ValueError or TypeError for what cannot be recorded."""
    _seen(result.observation)
    for name in ("score", "progress"):
        value = getattr(result, name)
        if not 0 <= value <= 1:
            raise ValueError(f"{name}={value!r} is outside 0 to 1")
    if not math.isfinite(result.reward):
        raise ValueError(f"reward={result.reward!r} is not finite")
    return result, to_json(result.info)


def _seen(observation: Observation) -> Observation:
    """The observation. Raises TypeError if it is none."""
    if not isinstance(observation, Observation) or not isinstance(observation.text, str):
        raise TypeError(f"{str(observation)[:60]!r} is not an Observation with a text")
    return observation

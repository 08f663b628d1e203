"""Reflective principle optimisation: play, reflect, rewrite, accept; again. A generator of rounds.

Reward-RPO or Self-RPO (whether the reflector sees the reward), RPO-Batch or RPO-Traj (when principles are
rewritten; `pract.schedule`). Beyond the paper: a candidate must pass a gate on validation tasks, unless
`acceptance=off`. Nothing here writes a file or tells the time: the log and the ledger are handed in, and whoever
runs the generator writes what it yields.
"""

import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from pract.acceptance import RULES, Comparison, accepts, compare
from pract.budget import Ledger
from pract.diagnosis import diagnose, pooled
from pract.episode import attempt_seed
from pract.errors import InputError
from pract.events import key_of
from pract.optimizer import OptimizerConfig
from pract.reflector import ReflectorConfig
from pract.rounds import (
    LEFT_OUT,
    Decision,
    Round,
    incomplete,
    log_outage,
    log_silence,
    logged,
    mean_by_task,
    stop_reason,
)
from pract.schedule import Crew, Lesson, batch_lesson, merged_lesson, sequential_lesson
from pract.types import Episode, Principles, Task

_CHOICES = {
    "schedule": ("traj", "batch"),
    "traj_mode": ("sequential", "merged"),
    "reflection": ("reward", "self"),
    "acceptance": RULES,
    "measure": ("score", "progress", "success"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RpoConfig:
    """How principles are learned."""

    schedule: str = "batch"
    """`batch`: one rewrite for a batch; `traj`: one for each trajectory."""
    traj_mode: str = "sequential"
    """For `traj`: `sequential`, or `merged` (independent rewrites, then merged)."""
    reflection: str = "reward"
    """`reward`: the reflector sees the environment's reward; `self`: it does not. A gate sees it in any case:
    learning without any reward takes `acceptance=off` as well."""
    acceptance: str = "improve"
    """Gate on validation tasks: `off` (the paper), `improve` or `not_worse`."""
    min_gain: float = 0.0
    """For `improve`: the mean must rise by more than this."""
    alpha: float = 0.2
    """For `not_worse`: a fall of the mean is forgiven if its one-sided p is above this."""
    measure: str = "score"
    """What the gate compares: `score`, `progress` or `success`."""
    rounds: int = 3
    patience: int | None = None
    """The run ends after so many rounds in a row without an accepted candidate; None: after `rounds` alone."""
    batch_size: int = 8
    """Training tasks in a round, whatever the schedule."""
    train_split: str = "train"
    validation_split: str = "validation"
    train_tasks: int | None = None
    """Use this many of the training tasks, drawn by the seed; None: all."""
    validation_tasks: int | None = None
    """The same for validation."""
    validation_attempts: int = 1
    """Episodes per validation task; their mean counts."""
    seed: int = 0
    reflector: ReflectorConfig = field(default_factory=ReflectorConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"rpo.{name}={getattr(self, name)!r} is none of {', '.join(allowed)}")
        for name in (
            "rounds",
            "patience",
            "batch_size",
            "train_tasks",
            "validation_tasks",
            "validation_attempts",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"rpo.{name}={value} is below 1: give a positive number")
        if self.patience is not None and self.acceptance == "off":
            raise InputError(
                f"rpo.patience={self.patience} counts rounds that the gate turned down, and rpo.acceptance=off has "
                "none: set rpo.patience=null, or a gate"
            )
        for name in ("train_split", "validation_split"):
            if getattr(self, name) == "test":
                raise InputError(
                    f"rpo.{name}=test: the test split is for evaluate_pract alone; name another split"
                )
        if self.train_split == self.validation_split:
            raise InputError(
                f"rpo.validation_split={self.validation_split!r} is the training split: name another"
            )


async def optimize(
    crew: Crew,
    train: Sequence[Task],
    validation: Sequence[Task],
    start: Principles,
    config: RpoConfig,
    ledger: Ledger,
) -> AsyncIterator[Round]:
    """The rounds of a run, the first being the start itself.

    Ends after the last, the first STOPPED one, or the one that exhausts `patience`, whose reason says so.

    Raises InputError; what models and environments do wrong is in the rounds.
    """
    loop = _Loop(crew, validation, start, config, ledger)
    yield await loop.start()
    for index, tasks in enumerate(task_batches(train, config), start=1):
        if loop.ended:
            return
        yield await loop.round(index, tasks)


def task_batches(tasks: Sequence[Task], config: RpoConfig) -> Iterator[list[Task]]:
    """`rounds` batches of training tasks: every task once, shuffled by the seed, then again in another order."""
    queue: list[Task] = []
    passes = 0
    for _ in range(config.rounds):
        while len(queue) < config.batch_size:
            queue.extend(shuffled(tasks, f"{config.seed}/{passes}"))
            passes += 1
        yield queue[: config.batch_size]
        del queue[: config.batch_size]


def shuffled(tasks: Sequence[Task], seed: str) -> list[Task]:
    """The tasks in an order that depends on the seed alone."""
    return random.Random(seed).sample(list(tasks), len(tasks))


def learning_tasks(
    splits: Sequence[str],
    tasks: Callable[[str], Sequence[Task]],
    config: RpoConfig,
    *,
    validates: bool = True,
) -> tuple[list[Task], list[Task]]:
    """Training and validation tasks; of the latter none if nothing is validated.

    Raises InputError if a split that is needed is missing or empty, or both share a task.
    """
    chosen = []
    wanted = [(config.train_split, config.train_tasks), (config.validation_split, config.validation_tasks)]
    for split, limit in wanted if validates else wanted[:1]:
        if split not in splits:
            raise InputError(
                f"there is no split {split!r}; the environment has {', '.join(splits)}: name one of these"
            )
        found = list(tasks(split))
        if not found:
            raise InputError(f"the split {split!r} is empty: give the environment's data or another split")
        if limit is not None and limit < len(found):
            found = shuffled(found, f"{config.seed}/{split}")[:limit]
        chosen.append(found)
    train, validation = chosen if validates else (chosen[0], [])
    shared = {task.id for task in train} & {task.id for task in validation}
    if shared:
        raise InputError(
            f"task {min(shared)!r} is in both {config.train_split} and {config.validation_split}: part them"
        )
    return train, validation


class _Loop:
    """The state that rounds hand on to each other."""

    def __init__(
        self, crew: Crew, validation: Sequence[Task], start: Principles, config: RpoConfig, ledger: Ledger
    ) -> None:
        self.crew, self.validation, self.config, self.ledger = crew, validation, config, ledger
        self.current = self.best = start
        self.scores: dict[str, dict[str, float]] = {}
        """Validation scores by task, by version of the principles."""
        self.ended = False
        self.in_vain = 0
        """Rounds since a candidate was accepted."""

    async def start(self) -> Round:
        """Round 0: the start, validated if there is a gate."""
        episodes = await self._validate("round-000", self.current)
        problem = stop_reason(episodes) or incomplete(episodes)
        self._keep_best(self.current)
        return self._recorded(
            Round(
                index=0,
                before=self.current,
                candidate=self.current,
                after=self.current,
                decision=Decision.STOPPED if problem else Decision.START,
                reason=problem,
                best=self.best,
                validation=episodes,
            )
        )

    async def round(self, index: int, tasks: Sequence[Task]) -> Round:
        """Learn from the tasks, then decide on what was learned."""
        key = f"round-{index:03d}"
        before = self.current
        lesson = await self._lesson(tasks, key)
        problem = stop_reason(lesson.episodes, lesson.reflections, lesson.changes)
        played: tuple[Episode, ...] = ()
        comparison = None
        if lesson.candidate.version == before.version:
            decision, reason = Decision.UNCHANGED, _why_unchanged(lesson)
        else:
            if not problem:
                played = await self._validate(key, lesson.candidate)
                problem = stop_reason(played) or incomplete(played)
            decision, reason, comparison = self._judge(lesson.candidate, bool(problem))
        if problem:  # what was only half learned is not adopted, gate or no gate
            decision, reason = Decision.STOPPED, problem
        if decision is Decision.ACCEPTED:
            self.current = lesson.candidate
            self._keep_best(self.current)
        findings = [diagnose(e, self.crew.actions, reward_shown=True) for e in lesson.episodes]
        return self._recorded(
            Round(
                index=index,
                before=before,
                candidate=lesson.candidate,
                after=self.current,
                decision=decision,
                reason=reason,
                best=self.best,
                episodes=lesson.episodes,
                reflections=lesson.reflections,
                changes=lesson.changes,
                versions=lesson.versions,
                findings=pooled(findings),
                validation=played,
                comparison=comparison,
            )
        )

    async def _lesson(self, tasks: Sequence[Task], key: str) -> Lesson:
        if self.config.schedule == "batch":
            return await batch_lesson(self.crew, tasks, self.current, key)
        teach = sequential_lesson if self.config.traj_mode == "sequential" else merged_lesson
        return await teach(self.crew, tasks, self.current, key)

    async def _validate(self, key: str, principles: Principles) -> tuple[Episode, ...]:
        """Validation episodes; none if there is no gate or these principles were validated before."""
        if self.config.acceptance == "off" or principles.version in self.scores:
            return ()
        places = [
            (
                f"{key}/{key_of('validation', task.id, str(attempt))}",
                task,
                attempt_seed(self.crew.seed, attempt),
            )
            for task in self.validation
            for attempt in range(self.config.validation_attempts)
        ]
        episodes = await self.crew.play(places, principles)
        if not (stop_reason(episodes) or incomplete(episodes)):
            self.scores[principles.version] = mean_by_task(episodes, self.config.measure)
        return episodes

    def _judge(self, candidate: Principles, incomplete: bool) -> tuple[Decision, str, Comparison | None]:
        config = self.config
        if config.acceptance == "off":
            return Decision.ACCEPTED, "acceptance is off", None
        old, new = self.scores.get(self.current.version), self.scores.get(candidate.version)
        if incomplete or old is None or new is None:
            return Decision.REJECTED, "validation is incomplete", None
        comparison = compare(old, new, seed=config.seed)
        accepted = accepts(config.acceptance, comparison, min_gain=config.min_gain, alpha=config.alpha)
        reason = (
            f"{config.measure} {comparison.old_mean:.3f} -> {comparison.new_mean:.3f} on {comparison.tasks} "
            f"validation tasks, {len(comparison.won)} won, {len(comparison.lost)} lost"
        )
        left_out = len(self.validation) - comparison.tasks
        if left_out:
            reason += f", {left_out} left out"
        if left_out > LEFT_OUT * len(self.validation):
            return Decision.REJECTED, f"too few pairs: {reason}", comparison
        return Decision.ACCEPTED if accepted else Decision.REJECTED, reason, comparison

    def _keep_best(self, principles: Principles) -> None:
        """Take them for the best if there is no gate, or they did better on the tasks that both played."""
        old, new = self.scores.get(self.best.version), self.scores.get(principles.version)
        if not (old and new):
            self.best = principles
            return
        gains = [new[task] - old[task] for task in old if task in new]
        if sum(gains) > 1e-9:
            self.best = principles

    def _recorded(self, round_: Round) -> Round:
        """The round with what was spent by its end, logged; an earlier session's account of it stands."""
        stopped = round_.decision is Decision.STOPPED
        self.in_vain = 0 if round_.decision in (Decision.START, Decision.ACCEPTED) else self.in_vain + 1
        out_of_patience = not stopped and self.in_vain == self.config.patience
        self.ended = stopped or out_of_patience
        if out_of_patience:
            ends = f"the run ends: rpo.patience={self.in_vain} is spent without an accepted candidate"
            round_ = replace(round_, reason=f"{round_.reason}; {ends}")
        key = f"round-{round_.index:03d}"
        if stopped:
            log_outage(self.crew.log, f"{key}/train", round_.episodes)
            log_outage(self.crew.log, f"{key}/validation", round_.validation, validation=True)
            log_silence(self.crew.log, key, round_)
        return logged(self.crew.log, key, replace(round_, spent=self.ledger.spent))


def _why_unchanged(lesson: Lesson) -> str:
    """What became of each rewrite, or why none was tried."""
    if lesson.changes:
        return "; ".join(dict.fromkeys(f"{change.action}: {change.problem}" for change in lesson.changes))[
            :300
        ]
    problems = dict.fromkeys(reflection.problem for reflection in lesson.reflections if reflection.problem)
    if not problems:
        return "no reflection is evidence for an action"
    return f"no reflection to learn from: {'; '.join(problems)}"[:300]

"""The check that tells an author whether theirs is an environment."""

import json
import math
import random
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator, SchemaError

from pract.envs.base import Environment, EpisodeOver, HasOracle
from pract.envs.tools.arguments import sample_arguments
from pract.errors import InputError
from pract.parsing import NAME
from pract.records import to_json
from pract.types import SPLITS, Action, ActionSpec, Observation, StepResult, Task


class BrokenContract(AssertionError):
    """An environment breaks a rule of the contract; `rule` names it."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(f"{rule}: {message}")
        self.rule = rule


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What `check_environment` looked at."""

    environment: str
    version: str
    content_hash: str
    rules: tuple[str, ...]
    """Names of the rules that were tried and hold."""
    tasks: dict[str, int]
    """Tasks by split."""
    oracle_tasks: int
    """Tasks on which the oracle reached score 1; 0 without an oracle."""


def check_environment(environment: Environment, *, tasks_per_split: int = 3, seed: int = 0) -> CheckReport:
    """What held when the contract was tried. Raises BrokenContract naming the first broken rule.

    Plays `tasks_per_split` tasks of each split with drawn actions, twice each, and with the oracle if there
    is one. It cannot see that score or reward leak through a text; the author must.
    """
    check = _Check(environment, tasks_per_split, seed)
    tried: list[str] = []
    for rule in (
        check.identity,
        check.splits,
        check.unknown_split,
        check.actions,
        check.content,
        check.same_seed_same_episode,
        check.mistakes_are_observations,
        check.oracle,
        check.closing,
    ):
        rule()
        tried.append(rule.__name__)
    return CheckReport(
        environment=environment.name,
        version=environment.version,
        content_hash=environment.content_hash(),
        rules=tuple(tried),
        tasks={split: len(environment.tasks(split)) for split in environment.splits()},
        oracle_tasks=check.solved,
    )


WALK = 8
"""Drawn actions in each trial episode."""
ORACLE_STEPS = 500
MOST_ACTIONS = 50


class _Check:
    """One method per rule; the method's name is the rule's."""

    def __init__(self, environment: Environment, tasks_per_split: int, seed: int) -> None:
        self.environment, self.seed = environment, seed
        self.tasks_per_split = tasks_per_split
        self.solved = 0

    def identity(self) -> None:
        """Name, version and licence are told."""
        for field in ("name", "version", "licence"):
            value = getattr(self.environment, field, None)
            _hold(
                "identity",
                isinstance(value, str) and bool(value.strip()),
                f"{field} is {value!r}, not a text",
            )
        _hold("identity", bool(re.fullmatch(r"\w+", self.environment.name)), "name must be one word")

    def splits(self) -> None:
        """Splits are known ones; tasks are in a fixed order, survive JSON, and no id occurs twice."""
        names = list(self.environment.splits())
        _hold("splits", 0 < len(names) == len(set(names)), f"splits() gave {names}")
        _hold("splits", set(names) <= set(SPLITS), f"splits() gave {names}; allowed are {SPLITS}")
        seen: dict[str, str] = {}
        for split in names:
            tasks = self.environment.tasks(split)
            _hold("splits", len(tasks) > 0, f"split {split!r} has no tasks")
            again = [task.id for task in self.environment.tasks(split)]
            _hold("splits", again == [task.id for task in tasks], f"{split!r}: order changed")
            for task in tasks:
                _hold("splits", isinstance(task, Task), f"{split!r} holds {task!r}, not a Task")
                _hold("splits", task.id not in seen, f"id {task.id!r} in {split!r} and {seen.get(task.id)!r}")
                _hold("splits", bool(task.instruction.strip()), f"task {task.id!r} has no instruction")
                seen[task.id] = split
            _jsonable("splits", to_json(tasks[0]), f"task {tasks[0].id!r}")

    def unknown_split(self) -> None:
        """A split that is not there is refused as bad input."""
        try:
            self.environment.tasks("no_such_split")
        except InputError:
            return
        _hold("unknown_split", False, "tasks('no_such_split') must raise InputError")

    def actions(self) -> None:
        """One to fifty actions, each a word with a description and a valid schema."""
        specs = list(self.environment.actions())
        _hold(
            "actions",
            1 <= len(specs) <= MOST_ACTIONS,
            f"{len(specs)} actions; 1 to {MOST_ACTIONS} are allowed",
        )
        _hold("actions", specs == list(self.environment.actions()), "actions() changed between two calls")
        names = [spec.name for spec in specs]
        small = {name.lower() for name in names}
        _hold("actions", len(small) == len(names), f"a name occurs twice, but for its case: {names}")
        for spec in specs:
            _hold("actions", bool(NAME.fullmatch(spec.name)), f"{spec.name!r} is not a word")
            _hold("actions", bool(spec.description.strip()), f"{spec.name}: no description")
            _hold(
                "actions", spec.parameters.get("type") == "object", f"{spec.name}: parameters are no object"
            )
            try:
                Draft202012Validator.check_schema(dict(spec.parameters))
            except SchemaError as error:
                raise BrokenContract("actions", f"{spec.name}: {error.message}") from None
            fields = {field for _, field, _, _ in string.Formatter().parse(spec.template or "") if field}
            unknown = fields - set(spec.parameters.get("properties", {}))
            _hold("actions", not unknown, f"{spec.name}: template names {unknown}, no parameters of it")

    def content(self) -> None:
        """The content hash is a text and stays."""
        digest = self.environment.content_hash()
        _hold("content", isinstance(digest, str) and len(digest) >= 8, f"content_hash() gave {digest!r}")
        _hold(
            "content", digest == self.environment.content_hash(), "content_hash() changed between two calls"
        )

    def same_seed_same_episode(self) -> None:
        """Equal task, seed and actions give equal texts and scores, all within their bounds."""
        for task in self._trial_tasks():
            first, second = self._walk(task), self._walk(task)
            _hold(
                "same_seed_same_episode",
                first == second,
                f"task {task.id!r} went differently the second time",
            )

    def mistakes_are_observations(self) -> None:
        """An unknown action and a senseless argument are refused by an observation; the episode goes on."""
        rule = "mistakes_are_observations"
        for task in self._trial_tasks()[:1]:
            self.environment.reset(task, self.seed)
            for action in (
                Action(name="no_such_action"),
                Action(name=""),
                Action(name="x", arguments={"x": [{}]}),
            ):
                result = self._step(action)
                _hold(rule, result.refused, f"{action} must be answered with refused=True")
                _hold(rule, bool(result.observation.text.strip()), f"{action} was refused without a word")
                _hold(rule, not result.terminated, f"{action} ended the episode")
            for spec in self.environment.actions():
                self.environment.reset(task, self.seed)
                self._step(Action(name=spec.name, arguments={"no such argument": None}))

    def oracle(self) -> None:
        """The oracle, where there is one, reaches score 1, and a step after the end raises EpisodeOver."""
        if not isinstance(self.environment, HasOracle):
            return
        for task in self._trial_tasks():
            actions = self.environment.oracle(task)
            _hold("oracle", len(actions) <= ORACLE_STEPS, f"task {task.id!r}: {len(actions)} actions")
            self.environment.reset(task, self.seed)
            result = StepResult(observation=Observation(text=""))
            for action in actions:
                result = self._step(action)
                _hold("oracle", not result.refused, f"{action} refused: {result.observation.text}")
                if result.terminated or result.truncated:
                    break
            _hold("oracle", result.score == 1.0, f"task {task.id!r} ends with score {result.score}")
            self.solved += 1
            if result.terminated or result.truncated:
                self._must_be_over(actions[-1])

    def closing(self) -> None:
        """Closing works, twice too."""
        self.environment.close()
        self.environment.close()

    def _must_be_over(self, action: Action) -> None:
        try:
            self.environment.step(action)
        except EpisodeOver:
            return
        _hold("oracle", False, "step after the end must raise EpisodeOver")

    def _trial_tasks(self) -> list[Task]:
        tasks = (self.environment.tasks(split) for split in self.environment.splits())
        return [task for some in tasks for task in some[: self.tasks_per_split]]

    def _walk(self, task: Task) -> list[Any]:
        rng = random.Random(f"{self.seed}/{task.id}")
        observation = self.environment.reset(task, self.seed)
        _hold("same_seed_same_episode", bool(observation.text.strip()), f"task {task.id!r}: empty first text")
        walked: list[Any] = [observation.text]
        for _ in range(WALK):
            result = self._step(draw_action(self.environment.actions(), observation, rng))
            observation = result.observation
            walked.append(
                (observation.text, result.score, result.progress, result.terminated, result.refused)
            )
            if result.terminated or result.truncated:
                break
        return walked

    def _step(self, action: Action) -> StepResult:
        result = self.environment.step(action)
        _hold("step", isinstance(result, StepResult), f"{action} gave {type(result).__name__}")
        _hold("step", math.isfinite(result.reward), f"{action}: reward {result.reward}")
        for field in ("score", "progress"):
            value = getattr(result, field)
            _hold("step", 0.0 <= value <= 1.0, f"{action}: {field} {value} is not within 0 to 1")
        _jsonable("step", to_json(result), f"result of {action}")
        known = {spec.name for spec in self.environment.actions()}
        for hint in result.observation.hints.get("admissible", ()):
            _hold("step", hint.get("name") in known, f"hint {hint!r} names no action")
        return result


def draw_action(specs: Sequence[ActionSpec], observation: Observation, rng: random.Random) -> Action:
    """An action drawn from the admissible ones if the observation hints at them, else from the schemas."""
    admissible = observation.hints.get("admissible")
    if admissible and rng.random() < 0.8:
        hint = rng.choice(list(admissible))
        return Action(name=hint["name"], arguments=hint.get("arguments", {}))
    spec = rng.choice(list(specs))
    return Action(name=spec.name, arguments=sample_arguments(spec.parameters, rng))


def _hold(rule: str, condition: bool, message: str) -> None:
    if not condition:
        raise BrokenContract(rule, message)


def _jsonable(rule: str, value: Any, what: str) -> None:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BrokenContract(rule, f"{what} does not survive JSON: {error}") from None

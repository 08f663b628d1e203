"""An environment made of functions: typed Python methods of a state, tasks, and a checker.

Write one class whose object is the world of a single episode, with a method for every action; raise `Refused`
where an action is impossible. `FunctionTools` turns it into an environment:

    class Counter:
        def __init__(self) -> None:
            self.value = 0
            self.finished = False

        def add(self, amount: int) -> str:
            "Adds the amount to the counter."
            self.value += amount
            return f"The counter shows {self.value}."

        def finish(self) -> str:
            "Ends the task."
            self.finished = True
            return "Done."

    FunctionTools(
        name="counter", version="1", licence="MIT",
        splits={"train": [Task(id="t1", instruction="Reach 3.", data={"goal": 3})]},
        actions=[action_of(Counter.add), action_of(Counter.finish)],
        start=lambda task, seed: Counter(),
        verdict=lambda task, world: Verdict(score=float(world.finished and world.value == task.data["goal"])),
    )
"""

import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pract.envs.base import EpisodeOver
from pract.envs.tools.arguments import ArgumentReader, shortened
from pract.envs.tools.datafiles import digest, tasks_of
from pract.records import to_json
from pract.types import Action, ActionSpec, Observation, StepResult, Task

JSON_KINDS = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}


_ENCODE = json.JSONEncoder(ensure_ascii=False).encode


class Refused(Exception):
    """The agent asked for something impossible; the message is what it reads."""


class World(Protocol):
    """State of one episode; every action is a method of the same name that returns what the agent sees."""

    finished: bool
    """Set by the action that ends the task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a world stands against its task, as fractions from 0 to 1."""

    score: float
    progress: float | None = None
    """Partial credit; None means: the score."""
    success: bool | None = None
    info: Mapping[str, Any] = field(default_factory=dict)


class FunctionTools:
    """An environment over a world of functions; see the head of this file for an example."""

    def __init__(
        self,
        *,
        name: str,
        version: str,
        licence: str,
        splits: Mapping[str, Sequence[Task]],
        actions: Sequence[ActionSpec],
        start: Callable[[Task, int], Any],
        verdict: Callable[[Task, Any], Verdict],
        first_text: Callable[[Task, Any], str] | None = None,
        hints: Callable[[Task, Any], Mapping[str, Any]] | None = None,
        content: str = "",
        lenient: bool = False,
    ) -> None:
        """`lenient`: values of the wrong type reach the functions, which then answer for themselves."""
        self.name, self.version, self.licence = name, version, licence
        self._splits = splits
        self._actions = tuple(actions)
        self._readers = {spec.name: ArgumentReader(spec) for spec in self._actions}
        self._fitting: set[tuple[str, tuple[str, ...]]] = set()
        """Functions and names of arguments that fit them: to find out takes long."""
        self._start, self._verdict = start, verdict
        self._first_text, self._hints = first_text, hints
        self._content, self._lenient = content, lenient
        self._digest = ""
        self._task: Task | None = None
        self._world: Any = None
        self._progress = 0.0

    def splits(self) -> Sequence[str]:
        """The splits it has tasks for."""
        return tuple(split for split, tasks in self._splits.items() if tasks)

    def tasks(self, split: str) -> Sequence[Task]:
        """All tasks of a split. Raises InputError for one it has not."""
        return tasks_of(self._splits, split, self.name)

    def actions(self) -> Sequence[ActionSpec]:
        """The functions, as actions."""
        return self._actions

    def content_hash(self) -> str:
        """Digest of name, version, data, tasks and actions."""
        if self._digest:
            return self._digest
        tasks = {split: [to_json(task) for task in tasks] for split, tasks in self._splits.items()}
        told = [to_json(spec) for spec in self._actions]
        self._digest = digest(
            self.name, self.version, self._content, json.dumps([tasks, told], sort_keys=True)
        )
        return self._digest

    def reset(self, task: Task, seed: int = 0) -> Observation:
        """A fresh world."""
        self._task, self._world = task, self._start(task, seed)
        self._progress = 0.0
        text = self._first_text(task, self._world) if self._first_text else task.instruction
        return Observation(text=text, hints=self._hinted())

    def step(self, action: Action) -> StepResult:
        """Calls the function of that name."""
        if self._task is None:
            raise EpisodeOver(f"{self.name}: no episode is under way; call reset first")
        text, refused = self._answer(action)
        verdict = self._verdict(self._task, self._world)
        # Partial credit is the best so far, so that a later mistake does not hide what was reached.
        self._progress = max(self._progress, verdict.score if verdict.progress is None else verdict.progress)
        ended = bool(self._world.finished)
        result = StepResult(
            observation=Observation(text=text, hints={} if ended else self._hinted()),
            reward=verdict.score if ended else 0.0,
            score=verdict.score,
            progress=self._progress,
            terminated=ended,
            refused=refused,
            success=verdict.success,
            info=verdict.info,
        )
        if ended:
            self._task = self._world = None
        return result

    def read_arguments(self, action: Action) -> dict[str, Any]:
        """The arguments in the types that the action's schema asks for."""
        return self._readers[action.name].read(action.arguments)[0]

    def close(self) -> None:
        """Forgets the episode."""
        self._task = self._world = None

    def _hinted(self) -> Mapping[str, Any]:
        return self._hints(self._task, self._world) if self._hints and self._task else {}

    def _answer(self, action: Action) -> tuple[str, bool]:
        """What the agent reads, and whether the action was refused."""
        reader = self._readers.get(action.name)
        if reader is None:
            known = ", ".join(self._readers)
            return f"There is no action {shortened(repr(action.name), 80)}. Actions: {known}.", True
        arguments, problem = reader.read(action.arguments)
        if problem and not self._lenient:
            return f"{action.name} was not carried out: {problem}.", True
        function = getattr(self._world, action.name)
        # A published schema may forget which arguments are required; the function knows.
        problem = self._misfit(action.name, tuple(arguments))
        if problem:
            return f"{action.name} was not carried out: {problem}.", True
        try:
            answer = function(**arguments)
        except Refused as refusal:
            return str(refusal), True
        return answer if isinstance(answer, str) else _ENCODE(answer), False

    def _misfit(self, name: str, given: tuple[str, ...]) -> str:
        """What is wrong with giving these arguments to the function, by their names; empty if nothing is."""
        if (name, given) in self._fitting:
            return ""
        try:
            inspect.signature(getattr(self._world, name)).bind(**dict.fromkeys(given))
        except TypeError as error:
            return str(error)
        self._fitting.add((name, given))
        return ""


def action_of(function: Callable[..., Any]) -> ActionSpec:
    """The function's name, docstring and annotations as an action; parameters with a default are optional."""
    hints = typing.get_type_hints(function)
    properties, required = {}, []
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "self":
            continue
        properties[name] = _schema_of(hints.get(name, str))
        if parameter.default is inspect.Parameter.empty:
            required.append(name)
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        schema["required"] = required
    description = " ".join((inspect.getdoc(function) or "").split())
    return ActionSpec(name=function.__name__, description=description, parameters=schema)


def _schema_of(kind: Any) -> dict[str, Any]:
    if typing.get_origin(kind) is typing.Literal:
        return {"type": "string", "enum": list(typing.get_args(kind))}
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        kinds = [part for part in typing.get_args(kind) if part is not type(None)]
        return _schema_of(kinds[0]) if len(kinds) == 1 else {"anyOf": [_schema_of(part) for part in kinds]}
    if typing.get_origin(kind) is list:
        return {"type": "array", "items": _schema_of(typing.get_args(kind)[0])}
    return {"type": JSON_KINDS[kind]} if kind in JSON_KINDS else {}

"""What a text game engine offers, and how named actions become its commands and back."""

import contextlib
import importlib
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from types import ModuleType
from typing import Any, Protocol

from pract.errors import InputError
from pract.types import Action, ActionSpec, Task

PARAMETERS = {
    "direction": "north, south, east or west",
    "thing": "the thing, named as the game names it",
    "place": "where, named as the game names it",
    "tool": "the tool or device, named as the game names it",
    "object": "the object with its number, e.g. `mug 1`",
    "receptacle": "the receptacle or appliance with its number, e.g. `cabinet 2`",
    "gesture": "the gesture or sound, in the words of the game",
    "where": "`around`, `at THING` or `in THING`",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What a game says after a command, or at its start."""

    text: str
    score: float = 0.0
    """A fraction from 0 to 1."""
    ended: bool = False
    won: bool = False
    admissible: tuple[str, ...] = ()
    """Commands possible now, as the game spells them; empty where the engine does not list them."""
    understood: bool = True
    """Whether the command was carried out."""


class TextEngine(Protocol):
    """A family of text games."""

    name: str
    version: str
    licence: str

    def actions(self) -> Sequence[ActionSpec]:
        """Named actions, each with its template."""
        ...

    def splits(self) -> Mapping[str, Sequence[Task]]:
        """All tasks by split."""
        ...

    def fingerprint(self) -> str:
        """What decides the games beyond the tasks: package version, game files."""
        ...

    def begin(self, task: Task, seed: int) -> Turn:
        """Starts a game."""
        ...

    def do(self, command: str) -> Turn:
        """Carries out a command."""
        ...

    def gold(self, task: Task) -> list[str]:
        """Commands that win the game; empty if the engine knows none."""
        ...

    def close(self) -> None:
        """Ends processes and files."""
        ...


def verb(name: str, template: str, description: str) -> ActionSpec:
    """An action spelled by a template; its parameters are the names in braces, all required."""
    names = re.findall(r"\{(\w+)\}", template)
    properties = {field: {"type": "string", "description": PARAMETERS[field]} for field in names}
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if names:
        schema["required"] = names
    return ActionSpec(name=name, description=description, parameters=schema, template=template)


def command_of(spec: ActionSpec, arguments: Mapping[str, str]) -> str:
    """The command that the action spells with these arguments, on one line."""
    filled = re.sub(r"\{(\w+)\}", lambda found: str(arguments[found[1]]), spec.template or spec.name)
    # Neither control characters nor lone surrogates reach a game: they break the bridge to Java.
    clean = "".join(char if char.isprintable() else " " for char in filled)
    return " ".join(clean.split())[:200]


class CommandReader:
    """Reads commands of a game as named actions."""

    def __init__(self, specs: Sequence[ActionSpec]) -> None:
        # Longer templates first, so that `take X from Y` is not read as taking a thing called `X from Y`.
        ordered = sorted(specs, key=lambda spec: -len(re.sub(r"\{\w+\}", "", spec.template or "")))
        self._patterns = [(spec.name, re.compile(_pattern(spec.template or spec.name))) for spec in ordered]

    def read(self, command: str) -> Action | None:
        """The action that spells this command; None if none does."""
        for name, pattern in self._patterns:
            found = pattern.fullmatch(command.strip())
            if found:
                return Action(name=name, arguments=found.groupdict())
        return None


def _pattern(template: str) -> str:
    parts = re.split(r"\{(\w+)\}", template)
    return "".join(f"(?P<{part}>.+?)" if number % 2 else re.escape(part) for number, part in enumerate(parts))


def imported(module: str, extra: str) -> ModuleType:
    """The module of an optional package. Raises InputError naming the extra if it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"the environment needs the package of extra {extra!r} ({error}); pip install 'latro-pract[{extra}]'"
        ) from None


def installed(*packages: str) -> str:
    """The packages with their versions. Raises InputError for one whose version is not known."""
    try:
        return " ".join(f"{package} {metadata.version(package)}" for package in packages)
    except metadata.PackageNotFoundError as error:
        raise InputError(
            f"the version of package {error.name!r} is not known, and results hold it; install it by pip"
        ) from None


def end_java(env: Any) -> None:
    """Closes a game and its Java process, whose pipes both packages leave open."""
    env.close()
    process = getattr(getattr(env, "_gateway", None), "java_process", None)
    if process is None:
        return
    for pipe in (process.stdin, process.stdout, process.stderr):
        with contextlib.suppress(OSError):
            if pipe is not None:
                pipe.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)


def require_java(extra: str) -> None:
    """Raises InputError without Java on the path."""
    if shutil.which("java") is None:
        raise InputError(f"extra {extra!r} needs Java, which is not on the path; install a JRE 8 or newer")

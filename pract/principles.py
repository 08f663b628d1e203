"""Reading principles: from a model's reply, and from what a file holds."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pract.errors import InputError
from pract.llm.base import Chat
from pract.records import to_json
from pract.types import ActionSpec, Principles

_STOP = r"[.!?][\"'*`)\]]*+(?=\s|$)|[。！？।][\"'”’」』）]*+"
_END = re.compile(_STOP)
"""Where a sentence ends."""
_SURE_END = re.compile(rf"(?<!\d){_STOP}")
"""The same in a text that may be cut off, where a number's point may be that of a fraction."""


def initial_principles(
    actions: Sequence[ActionSpec], texts: Mapping[str, Any] | None, place: str
) -> Principles:
    """Principles to begin with: the texts given, an empty one for every other action.

    place: where the texts come from, for messages. Raises InputError for an action that does not exist or a
    principle that is not text.
    """
    names = [spec.name for spec in actions]
    for name, text in (texts or {}).items():
        if name not in names:
            raise InputError(
                f"{place}: there is no action {name!r}; the actions are {', '.join(names)}: correct the name"
            )
        if not isinstance(text, str):
            raise InputError(
                f"{place}: the principle of {name!r} is {text!r}, not text: write it as one string"
            )
    return Principles(texts={name: " ".join((texts or {}).get(name, "").split()) for name in names})


def without(principles: Principles, action: str) -> Principles:
    """The principles but for one action's: is the text needed? Raises InputError for an action that has none."""
    told = [name for name, text in principles.texts.items() if text]
    if action not in told:
        raise InputError(
            f"{principles.author}: {action!r} has no principle to leave out; there are {', '.join(told) or 'none'}"
        )
    texts = {name: "" if name == action else text for name, text in principles.texts.items()}
    return replace(principles, texts=texts, author=f"{principles.author}, without {action}")


def misplaced(principles: Principles) -> Principles:
    """Each text under the next action that has one, or where it is alone under the next action.

    As many words as before that say the same: is it the text or its place that matters? Raises InputError where there
    is no text, or one action alone.
    """
    texts = dict(principles.texts)
    told = [name for name, text in texts.items() if text]
    places = told if len(told) > 1 else list(texts)
    if not told or len(places) < 2:
        raise InputError(f"{principles.author}: there are no principles that could change their places")
    moved = {there: texts[here] for here, there in zip(places, [*places[1:], places[0]], strict=True)}
    return replace(principles, texts={**texts, **moved}, author=f"{principles.author}, misplaced")


def in_order(texts: Mapping[str, str], actions: Sequence[ActionSpec]) -> dict[str, str]:
    """The texts in the environment's order of actions, then any others."""
    names = [spec.name for spec in actions if spec.name in texts]
    return {name: texts[name] for name in [*names, *(name for name in texts if name not in names)]}


def read_principles(text: str, names: Sequence[str]) -> dict[str, str]:
    """The principles in a reply, by action: headed lines, or for one action without a head the whole of it.

    In the order in which the reply comes to them; one that comes up twice is read where it does so last.
    """
    text = re.sub(r"```\w*", "", text)
    found: dict[str, list[str]] = {}
    current = names[0] if len(names) == 1 else None
    headed = False
    for line in text.splitlines():
        head = _head(line, names)
        if head is not None:
            if headed and len(names) == 1 and any(found[names[0]]):
                break  # the model begins again
            current, headed = head[0], True
            found.pop(current, None)
            found[current] = [head[1]]  # for one action, what stood before its head was an introduction
        elif current is not None:
            if re.match(r"\s*(#|\**New Principle)", line) and found.get(current):
                break  # it goes on to something that was not asked for
            found.setdefault(current, []).append(line)
    return {name: " ".join(" ".join(lines).split()).strip("\"'*`") for name, lines in found.items()}


def _head(line: str, names: Sequence[str]) -> tuple[str, str] | None:
    """The action that a line like `- **search**: text` opens, and its text."""
    match = re.match(
        r"^[\s\-*#`\d.]*+(?:New Principle for\s++)?+[\"'*`]*+(\w++)[\"'*`]*+\s*+:[\s*]*+(.*)$",
        line,
        re.IGNORECASE,
    )
    if match is None:
        return None
    name = next((name for name in names if name.lower() == match.group(1).lower()), None)
    return None if name is None else (name, match.group(2))


def principles_record(principles: Principles) -> dict[str, Any]:
    """The principles as JSON, with their version."""
    return {"version": principles.version, **to_json(principles)}


def whole_sentences(text: str) -> str:
    """The text up to its last sentence that ends; empty if none does. A number's point ends no sentence."""
    ends = [found.end() for found in _SURE_END.finditer(text)]
    return text[: ends[-1]] if ends else ""


def cut_to_tokens(text: str, limit: int, chat: Chat) -> str:
    """The text, or as many of its first sentences as fit into so many tokens; empty if not even one does."""
    ends = [found.end() for found in _END.finditer(text)]
    fitting = (text[:end] for end in (len(text), *reversed(ends)) if chat.count_tokens(text[:end]) <= limit)
    return next(fitting, "")

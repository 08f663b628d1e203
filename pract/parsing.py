"""From a model's reply to an Action, or to a ParseError whose message becomes the observation. Never raises.

The form asked for is `Name[{json}]` on one line. Read as well: `Name({json})`, `Name{json}`, `Name[text]` for
an action with one text argument, `Name(key="value")`, JSON objects {"name": ..., "arguments": {...}} or with the
arguments beside the name, and `Action: Name` with `Action Input: ...` on the line below. A call on the first line
comes before one behind the mark `Action:`, and that before any other.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pract.call_arguments import (
    MAX_ARGUMENTS,
    encodable,
    given_arguments,
    properties_of,
    read_arguments,
    read_object,
    too_large,
)
from pract.errors import InputError
from pract.prompts import call_form
from pract.types import Action, ActionSpec, Reply

MAX_REPLY = 20_000
"""Characters of a reply that are looked at."""
MAX_ALONE = 8
"""Lines with nothing but an action's name whose arguments are looked for on the line below."""

INVALID_FORMAT = "invalid_format"
UNKNOWN_ACTION = "unknown_action"
NO_ACTION = "no_action"
TOO_LONG = "too_long"

NAME = re.compile(r"[A-Za-z_]\w{0,63}")
"""What is read as an action's name."""

# Possessive (`*+`): a model may write "Action: " two thousand times, and going back over it would take for ever.
_MARK = r"Action[\s*`]*+(?:\d++[\s*`]*+)?+:"
_CALL = re.compile(
    rf"^[\s>*`\-]*+(?:{_MARK}[\s`*]*+)*+({NAME.pattern})(?:[*`]++|\s*+)(?=[\[({{])", re.IGNORECASE
)
_MARKED = re.compile(rf"^[\s>*`\-]*+{_MARK}", re.IGNORECASE)
_OBSERVATION = re.compile(r"^[\s>*`\-]*+Observation[\s*`\d]*+:", re.IGNORECASE)
_INPUT = re.compile(r"^[\s>*`\-]*+(?:Action\s+)?Input[\s*`\d]*+:[\s*]*+", re.IGNORECASE)
_FENCE = re.compile(r"\A\s*+(?:```\w*+\s*+)*+")
_THOUGHT = re.compile(r"^\s*(?:Thought\s*(?:\d+\s*)?:\s*)+", re.IGNORECASE)
_NAMES = ("name", "action", "tool", "function")
_ARGUMENTS = ("arguments", "parameters", "action_input", "args", "input")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """An action read from a reply, and the words before it."""

    action: Action
    thought: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseError:
    """Why a reply holds no action."""

    kind: str
    """`invalid_format`, `unknown_action`, `no_action` or `too_long`."""
    message: str
    """Said to the agent as its next observation."""


def refuse_unreadable(actions: Sequence[ActionSpec], calls: str) -> None:
    """Raise InputError for a name that no call in a text could hold, or that two actions share but for its case."""
    seen: dict[str, str] = {}
    for spec in actions:
        other = seen.setdefault(spec.name.lower(), spec.name)
        if other != spec.name:
            raise InputError(
                f"the actions {other!r} and {spec.name!r} differ in their case alone, which no call is told apart by: "
                "rename one"
            )
        if calls != "native" and not NAME.fullmatch(spec.name):
            raise InputError(
                f"the action {spec.name!r} cannot be called in a text: its name must be letters, digits and _, begin "
                "with a letter and have at most 64 characters; rename it, or use agent.calls=native"
            )


def by_name(actions: Sequence[ActionSpec]) -> dict[str, ActionSpec]:
    """The actions under their names in small letters, as replies are read by."""
    return {spec.name.lower(): spec for spec in actions}


def parse_reply(reply: Reply, known: Mapping[str, ActionSpec]) -> Call | ParseError:
    """The call that a reply makes, native tool calls before text. Names are matched without regard to case.

    known: the actions `by_name`.

    Of a reply that was cut off at its longest, a call that is not closed is not made: half an answer would be given.
    """
    cut = reply.finish_reason == "length"
    if reply.tool_calls:
        first = reply.tool_calls[0]
        spec = known.get(first.name.lower())
        if spec is None:
            return _unknown(first.name, known)
        arguments = read_arguments(spec, first.arguments.strip() or "{}", cut=cut)
        return _finish(spec, arguments, reply.text.strip(), cut)
    return parse_text(reply.text, known, cut=cut)


def parse_text(text: str, known: Mapping[str, ActionSpec], *, cut: bool = False) -> Call | ParseError:
    """The call that a text makes; cut: whether it was cut off at its longest. known: the actions `by_name`."""
    text = encodable(text[:MAX_REPLY])
    lines = text.splitlines()
    unknown, alone = "", 0
    for number in _in_turn(lines):
        line = lines[number]
        match = _CALL.match(line)
        if match is None:
            spec = _alone(line, known) if alone < MAX_ALONE else None
            alone += spec is not None
            found = None if spec is None else _over_its_input(spec, lines, number, cut)
            if found is not None:
                return found
            continue
        spec = known.get(match.group(1).lower())
        if spec is not None:
            rest = "\n".join([line[match.end() :], *lines[number + 1 :]])
            return _finish(spec, read_arguments(spec, rest, cut=cut), _thought(lines[:number]), cut)
        if not unknown and (_MARKED.match(line) or number == 0):
            unknown = match.group(1)
    found = _from_json_object(text, known, cut)
    if found is not None:
        return found
    if unknown:
        return _unknown(unknown, known)
    return _bare_name(lines, known, cut) or _nothing(text, known)


def _in_turn(lines: Sequence[str]) -> Iterator[int]:
    """Places of the lines in the order in which a call is looked for.

    The first with words in it; those marked `Action:`, up to an observation that the model made up; all others. So a
    call that prose before the marked one only mentions is not made.
    """
    numbers = range(len(lines))
    first = next((number for number in numbers if lines[number].strip()), 0)
    yield from numbers[first : first + 1]  # mostly it holds the call, and nothing else need be looked at
    seen = next((number for number in numbers if _OBSERVATION.match(lines[number])), len(lines))
    marked = [number for number in numbers[:seen] if _MARKED.match(lines[number])]
    yield from (number for number in dict.fromkeys([*marked, *numbers]) if number != first)


def _finish(
    spec: ActionSpec, arguments: dict[str, Any] | None, thought: str, cut: bool = False
) -> Call | ParseError:
    if arguments is None:
        wrong = (
            f"The reply was cut off before the call of {spec.name} was complete. Be brief: write"
            if cut
            else f"The arguments of {spec.name} could not be read. Write"
        )
        return ParseError(kind=INVALID_FORMAT, message=f"{wrong} {call_form(spec)} in JSON.")
    wrong = too_large(arguments)
    if wrong:
        return ParseError(kind=TOO_LONG, message=f"The arguments of {spec.name} are {wrong}.")
    return Call(action=Action(name=spec.name, arguments=arguments), thought=thought[:MAX_ARGUMENTS])


def _over_its_input(
    spec: ActionSpec, lines: Sequence[str], number: int, cut: bool
) -> Call | ParseError | None:
    """A name alone on its line, with `Action Input: ...` or a JSON object of its arguments below."""
    below = _FENCE.sub("", "\n".join(lines[number + 1 :]))
    head = _INPUT.match(below)
    text = _FENCE.sub("", below[head.end() :]) if head else below
    if text.startswith("{"):
        if head is None and not set(read_object(text) or ("",)) <= set(properties_of(spec)):
            return None  # a call in JSON, or something else
        return _finish(spec, given_arguments(spec, text, cut=cut), _thought(lines[:number]), cut)
    first, _, more = text.partition("\n")
    if head is None or (not first and spec.parameters.get("required")):
        return None
    half = cut and not more.strip()
    arguments = {} if not properties_of(spec) else None if half else given_arguments(spec, first.strip("` "))
    return _finish(spec, arguments, _thought(lines[:number]), cut)


def _from_json_object(text: str, known: Mapping[str, ActionSpec], cut: bool) -> Call | ParseError | None:
    """A call written as a JSON object somewhere in the text; the first four objects are tried."""
    start = -1
    for _ in range(4):
        start = text.find("{", start + 1)
        if start < 0:
            return None
        value = read_object(text[start:]) or {}
        names = (key for key in _NAMES if isinstance(value.get(key), str) and value[key].lower() in known)
        name = next(names, None)
        if name is not None:
            spec = known[value[name].lower()]
            arguments = given_arguments(spec, _arguments_in(value, name, spec))
            return _finish(spec, arguments, _thought(text[:start].splitlines()), cut)
    return None


def _arguments_in(value: Mapping[str, Any], name: str, spec: ActionSpec) -> Any:
    """What stands under `arguments` or a like key; without one, the arguments that stand beside the name."""
    properties = properties_of(spec)
    for key in _ARGUMENTS:
        if key in value and (isinstance(value[key], dict) or key not in properties):
            return value[key]
    return {key: item for key, item in value.items() if key != name and key in properties}


def _alone(line: str, known: Mapping[str, ActionSpec]) -> ActionSpec | None:
    """The action whose name is all that a line holds."""
    return known.get(_MARKED.sub("", line).strip(" \t.`*:-").lower())


def _bare_name(lines: Sequence[str], known: Mapping[str, ActionSpec], cut: bool) -> Call | ParseError | None:
    """An action's name alone on a line, for actions that need no argument."""
    for number, line in enumerate(lines):
        spec = _alone(line, known)
        if spec is None:
            continue
        if spec.parameters.get("required"):
            return ParseError(
                kind=INVALID_FORMAT, message=f"{spec.name} needs arguments. Write {call_form(spec)}."
            )
        half = cut and bool(properties_of(spec)) and not any(below.strip() for below in lines[number + 1 :])
        return _finish(spec, None if half else {}, _thought(lines[:number]), cut)
    return None


def _thought(lines: Sequence[str]) -> str:
    words = [line for line in lines if not line.strip().startswith(("```", "<tool_call>"))]
    return _THOUGHT.sub("", " ".join(" ".join(words).split()))


def _unknown(name: str, known: Mapping[str, ActionSpec]) -> ParseError:
    names = [spec.name for spec in known.values()]
    near = get_close_matches(name[:60], names, n=1, cutoff=0.75)
    meant = f" Did you mean {near[0]}?" if near else ""
    message = f"There is no action {name[:60]!r}.{meant} The actions are: {', '.join(names)}."
    return ParseError(kind=UNKNOWN_ACTION, message=message)


def _nothing(text: str, known: Mapping[str, ActionSpec]) -> ParseError:
    form = f" Write one action, like {call_form(next(iter(known.values())))}." if known else ""
    if not text.strip():
        return ParseError(kind=NO_ACTION, message=f"The reply was empty.{form}")
    return ParseError(kind=INVALID_FORMAT, message=f"No action was found in the reply.{form}")

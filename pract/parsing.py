"""From a model's reply to an Action, or to a ParseError whose message becomes the observation. Never raises.

The form asked for is `Name[{json}]` on one line. Read as well: `Name({json})`, `Name{json}`, `Name[text]` for
an action with one text argument, `Name(key="value")`, and JSON objects {"name": ..., "arguments": {...}}.
"""

import ast
import json
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pract.prompts import call_form
from pract.types import Action, ActionSpec, Reply

MAX_REPLY = 20_000
"""Characters of a reply that are looked at."""
MAX_ARGUMENTS = 4_000
"""Characters that the arguments of one call may have."""

INVALID_FORMAT = "invalid_format"
UNKNOWN_ACTION = "unknown_action"
NO_ACTION = "no_action"
TOO_LONG = "too_long"

# Possessive (`*+`): a model may write "Action: " two thousand times, and going back over it would take for ever.
_CALL = re.compile(
    r"^[\s>*`\-]*+(?:Action\s*+(?:\d++\s*+)?+:[\s`*]*+)*+([A-Za-z_]\w{0,63})\s*+(?=[\[({])", re.IGNORECASE
)
_MARKED = re.compile(r"^[\s>*`\-]*Action\s*(?:\d+\s*)?:", re.IGNORECASE)
_THOUGHT = re.compile(r"^\s*(?:Thought\s*(?:\d+\s*)?:\s*)+", re.IGNORECASE)
_ENCODE = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_CLOSING = {"[": "]", "(": ")"}
_ONE_TEXT = re.compile(r'\{\s*"(\w{1,64})"\s*:\s*"([^\n]*)"\s*\}')
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


def parse_reply(reply: Reply, actions: Sequence[ActionSpec]) -> Call | ParseError:
    """The first call in a reply, native tool calls before text. Names are matched without regard to case."""
    known = {spec.name.lower(): spec for spec in actions}
    if reply.tool_calls:
        first = reply.tool_calls[0]
        spec = known.get(first.name.lower())
        if spec is None:
            return _unknown(first.name, actions)
        return _finish(spec, first.arguments.strip() or "{}", reply.text.strip())
    return parse_text(reply.text, actions)


def parse_text(text: str, actions: Sequence[ActionSpec]) -> Call | ParseError:
    """The first call in a text."""
    known = {spec.name.lower(): spec for spec in actions}
    text = _encodable(text[:MAX_REPLY])
    lines = text.splitlines()
    unknown = ""
    for number, line in enumerate(lines):
        match = _CALL.match(line)
        if match is None:
            continue
        spec = known.get(match.group(1).lower())
        if spec is not None:
            rest = "\n".join([line[match.end() :], *lines[number + 1 :]])
            return _finish(spec, rest, _thought(lines[:number]))
        if not unknown and (_MARKED.match(line) or number == 0):
            unknown = match.group(1)
    found = _from_json_object(text, known)
    if found is not None:
        return found
    if unknown:
        return _unknown(unknown, actions)
    return _bare_name(lines, known) or _nothing(text, actions)


def _finish(spec: ActionSpec, rest: str, thought: str) -> Call | ParseError:
    arguments = read_arguments(spec, rest)
    if arguments is None:
        return ParseError(
            kind=INVALID_FORMAT,
            message=f"The arguments of {spec.name} could not be read. Write {call_form(spec)} in JSON.",
        )
    if len(_ENCODE(arguments)) > MAX_ARGUMENTS:
        return ParseError(kind=TOO_LONG, message=f"The arguments of {spec.name} are too long.")
    return Call(action=Action(name=spec.name, arguments=arguments), thought=thought[:MAX_ARGUMENTS])


def read_arguments(spec: ActionSpec, rest: str) -> dict[str, Any] | None:
    """The arguments in the text that follows an action's name; None if they cannot be read."""
    rest = rest.strip()
    opening = rest[:1]
    inside = rest[1:].lstrip() if opening in _CLOSING else rest
    if inside.startswith("{"):
        value = read_object(inside)
        return value if value is not None else _repaired(inside) or _inner_quotes(spec, inside)
    if opening not in _CLOSING:
        return None
    content = _until_closing(inside, opening)
    if not content.strip():
        return {}
    keywords = _keywords(content) if opening == "(" else None
    return keywords if keywords is not None else _single(spec, content.strip())


def read_object(text: str) -> dict[str, Any] | None:
    """The JSON object (or Python dict, with single quotes) that a text begins with; None if none."""
    try:
        value, _ = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        value = _python_object(text)
    return _plain(value)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large")
    return value


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, strict=False)


def _plain(value: Any) -> dict[str, Any] | None:
    """The value if it is a dict that JSON and UTF-8 can hold, otherwise None."""
    if not isinstance(value, dict):
        return None
    try:
        packed = _ENCODE(value)
        return dict(json.loads(_encodable(packed)))
    except (TypeError, ValueError, RecursionError):
        return None


def _encodable(text: str) -> str:
    """The text with lone surrogates replaced, so that it can be written as UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _python_object(text: str) -> Any:
    end = text[:MAX_ARGUMENTS].rfind("}")
    return _literal(text[: end + 1]) if end > 0 else None


def _literal(text: str) -> Any:
    """A Python literal; None for anything else."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return None


def _repaired(text: str) -> dict[str, Any] | None:
    """An object cut off before its end: the same with the end put back, if that makes it one."""
    line = text.splitlines()[0].rstrip("]) ") if text else ""
    for tail in ("}", '"}', "]}", '"]}'):
        value = read_object(line + tail)
        if value:
            return value
    return None


def _inner_quotes(spec: ActionSpec, text: str) -> dict[str, Any] | None:
    """The one text argument of an action, with quotes in it that should have been escaped: `{"size": "23" x 15""}`."""
    properties: Mapping[str, Any] = spec.parameters.get("properties", {})
    match = _ONE_TEXT.match(text)
    if match is None or list(properties) != [match[1]] or properties[match[1]].get("type") != "string":
        return None
    return _plain({match[1]: match[2]})


def _until_closing(text: str, opening: str) -> str:
    """Up to the bracket that closes, on the first line; all of the line if none does."""
    line = text.splitlines()[0] if text else ""
    end = line.rfind(_CLOSING[opening])
    return line[:end] if end >= 0 else line


def _keywords(content: str) -> dict[str, Any] | None:
    """The arguments of `key="value", other=3`; None if that is not what the text is."""
    if len(content) > MAX_ARGUMENTS or "=" not in content:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(f"f({content})", mode="eval").body
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
        if not isinstance(tree, ast.Call) or tree.args or not tree.keywords:
            return None
        try:
            values = {
                word.arg: ast.literal_eval(word.value) for word in tree.keywords if word.arg is not None
            }
        except (ValueError, TypeError, MemoryError, RecursionError):
            return None
    return _plain(values)


def _single(spec: ActionSpec, content: str) -> dict[str, Any] | None:
    """Bare text for an action that has one argument, or of which one text argument is required."""
    properties: Mapping[str, Any] = spec.parameters.get("properties", {})
    names = list(properties)
    required = [name for name in spec.parameters.get("required", ()) if name in properties]
    name = names[0] if len(names) == 1 else required[0] if len(required) == 1 else None
    if name is None:
        return None
    if properties[name].get("type", "string") == "string":
        quoted = len(content) > 1 and content[0] == content[-1] and content[0] in "\"'"
        return {name: content[1:-1] if quoted else content}
    return _plain({name: _literal(content)})


def _from_json_object(text: str, known: Mapping[str, ActionSpec]) -> Call | ParseError | None:
    """A call written as a JSON object somewhere in the text; the first four objects are tried."""
    start = -1
    for _ in range(4):
        start = text.find("{", start + 1)
        if start < 0:
            return None
        value = read_object(text[start:])
        name = next((value[key] for key in _NAMES if isinstance(value.get(key), str)), "") if value else ""
        if value is None or name.lower() not in known:
            continue
        arguments: Any = next((value[key] for key in _ARGUMENTS if key in value), {})
        spec = known[name.lower()]
        if isinstance(arguments, dict):
            return _finish(
                spec, json.dumps(arguments, ensure_ascii=False), _thought(text[:start].splitlines())
            )
        return _finish(spec, f"[{arguments}]", _thought(text[:start].splitlines()))
    return None


def _bare_name(lines: Sequence[str], known: Mapping[str, ActionSpec]) -> Call | ParseError | None:
    """An action's name alone on a line, for actions that need no argument."""
    for number, line in enumerate(lines):
        word = _MARKED.sub("", line).strip(" \t.`*:-")
        spec = known.get(word.lower())
        if spec is not None and not spec.parameters.get("required"):
            return Call(action=Action(name=spec.name), thought=_thought(lines[:number]))
        if spec is not None:
            return ParseError(
                kind=INVALID_FORMAT, message=f"{spec.name} needs arguments. Write {call_form(spec)}."
            )
    return None


def _thought(lines: Sequence[str]) -> str:
    words = [line for line in lines if not line.strip().startswith(("```", "<tool_call>"))]
    return _THOUGHT.sub("", " ".join(" ".join(words).split()))


def _unknown(name: str, actions: Sequence[ActionSpec]) -> ParseError:
    names = [spec.name for spec in actions]
    near = get_close_matches(name[:60], names, n=1, cutoff=0.75)
    meant = f" Did you mean {near[0]}?" if near else ""
    message = f"There is no action {name[:60]!r}.{meant} The actions are: {', '.join(names)}."
    return ParseError(kind=UNKNOWN_ACTION, message=message)


def _nothing(text: str, actions: Sequence[ActionSpec]) -> ParseError:
    form = f" Write one action, like {call_form(actions[0])}." if actions else ""
    if not text.strip():
        return ParseError(kind=NO_ACTION, message=f"The reply was empty.{form}")
    return ParseError(kind=INVALID_FORMAT, message=f"No action was found in the reply.{form}")

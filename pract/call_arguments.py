"""The arguments of a call: what follows an action's name in a reply, or what a call's JSON holds. Never raises."""

import ast
import json
import math
import re
import warnings
from collections.abc import Mapping
from typing import Any

from pract.records import packed
from pract.types import ActionSpec

MAX_ARGUMENTS = 4_000
"""Characters that the arguments of one call may have."""
MAX_DEPTH = 32
"""Levels of lists and objects that they may have; Python itself gives up at some hundred."""
MAX_ENDS = 16
"""Closing brackets that are tried as the end of a Python dict or of keyword arguments."""

_ENCODE = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_CLOSING = {"[": "]", "(": ")"}
_ONE_TEXT = re.compile(r'\{\s*"(\w{1,64})"\s*:\s*"([^\n]*?)"\s*\}')


def read_arguments(spec: ActionSpec, rest: str, *, cut: bool = False) -> dict[str, Any] | None:
    """The arguments in the text that follows an action's name; None if they cannot be read.

    cut: the reply was cut off at its longest, so that what is not closed may be half of what was meant.
    """
    rest = rest.strip()
    opening = rest[:1]
    inside = rest[1:].lstrip() if opening in _CLOSING else rest
    if inside.startswith("{"):
        return _object(spec, inside, cut)
    if opening not in _CLOSING:
        return None
    line = inside.splitlines()[0] if inside else ""
    if cut and _CLOSING[opening] not in line:
        return None
    content = line[: _end(line, opening)]
    keywords = _keywords(line) if opening == "(" else _named(spec, content)
    return keywords if keywords is not None else bare_arguments(spec, content)


def given_arguments(spec: ActionSpec, value: Any, *, cut: bool = False) -> dict[str, Any] | None:
    """The arguments that a call's JSON names, or the text after `Action Input:`; None if they are none."""
    if isinstance(value, dict):
        return value
    text = "" if value is None else str(value).strip()
    return _object(spec, text, cut) if text.startswith("{") else bare_arguments(spec, text)


def bare_arguments(spec: ActionSpec, content: str) -> dict[str, Any] | None:
    """Bare text for an action that has one argument, or of which one text argument is required."""
    content = content.strip()
    if not content:
        return {}
    properties = properties_of(spec)
    names = list(properties)
    required = [name for name in spec.parameters.get("required", ()) if name in properties]
    name = names[0] if len(names) == 1 else required[0] if len(required) == 1 else None
    if name is None:
        return None
    if properties[name].get("type", "string") == "string":
        quoted = len(content) > 1 and content[0] == content[-1] and content[0] in "\"'"
        return {name: content[1:-1] if quoted else content}
    return _plain({name: _literal(content)})


def properties_of(spec: ActionSpec) -> Mapping[str, Any]:
    """The schemas of an action's arguments, by name."""
    properties: Mapping[str, Any] = spec.parameters.get("properties", {})
    return properties


def read_object(text: str) -> dict[str, Any] | None:
    """The JSON object (or Python dict, with single quotes) that a text begins with; None if none."""
    try:
        value, _ = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return _plain(_python_dict(text[:MAX_ARGUMENTS]))
    if not text.isascii() or "\\u" in text:  # there may be lone surrogates in it
        return _plain(value)
    return value if isinstance(value, dict) else None


def too_large(arguments: Mapping[str, Any]) -> str:
    """`too long` or `nested too deep`, or an empty text."""
    if deeper(arguments):
        return "nested too deep"
    if 2 * len(packed(arguments)) <= MAX_ARGUMENTS:  # spaces add half at most, and an encoder takes long
        return ""
    return "too long" if len(_ENCODE(arguments)) > MAX_ARGUMENTS else ""


def deeper(value: Any, levels: int = MAX_DEPTH) -> bool:
    """Whether lists and objects stand in one another more than so many levels deep."""
    if not isinstance(value, dict | list):
        return False
    items = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(deeper(item, levels - 1) for item in items)


def encodable(text: str) -> str:
    """The text with lone surrogates replaced, so that it can be written as UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


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
        return dict(json.loads(encodable(packed)))
    except (TypeError, ValueError, RecursionError):
        return None


def _object(spec: ActionSpec, text: str, cut: bool) -> dict[str, Any] | None:
    value = read_object(text)
    if value is not None:
        return value
    return _inner_quotes(spec, text) or (None if cut else _repaired(text))


def _python_dict(text: str) -> Any:
    """The dict that the text begins with: up to the first closing brace that makes it one."""
    ends = [place for place, sign in enumerate(text, 1) if sign == "}"]
    found = (_literal(text[:end]) for end in dict.fromkeys([*ends[:MAX_ENDS], *ends[-1:]]))
    return next((value for value in found if isinstance(value, dict)), None)


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
    properties = properties_of(spec)
    match = _ONE_TEXT.match(text)
    if match is None or list(properties) != [match[1]] or properties[match[1]].get("type") != "string":
        return None
    return _plain({match[1]: match[2]})


def _end(line: str, opening: str) -> int:
    """Where the bracket closes: after a quoted text, else at its own partner, else at the last; or the line's end."""
    closing = _CLOSING[opening]
    if line[:1] in ('"', "'"):
        quoted = re.compile(rf"{line[0]}\s*\{closing}").search(line, 1)
        if quoted is not None:
            return quoted.start() + 1
    depth = 1
    for place, sign in enumerate(line):
        depth += (sign == opening) - (sign == closing)
        if depth == 0:
            return place
    last = line.rfind(closing)
    return last if last >= 0 else len(line)


def _keywords(line: str) -> dict[str, Any] | None:
    """The arguments of `key="value", other=3)`, closed or not; None if that is not what the line begins with."""
    if "=" not in line:
        return None
    line = line[: MAX_ARGUMENTS + 1]
    ends = [place for place, sign in enumerate(line) if sign == ")"] or [len(line)]
    found = (_keywords_in(line[:end]) for end in dict.fromkeys([*ends[:MAX_ENDS], ends[-1]]))
    return next((values for values in found if values is not None), None)


def _named(spec: ActionSpec, content: str) -> dict[str, Any] | None:
    """The arguments of `key="value"` between square brackets, if all keys are the action's; else it is a bare text."""
    found = _keywords_in(content) if "=" in content and len(content) <= MAX_ARGUMENTS else None
    return found if found and found.keys() <= properties_of(spec).keys() else None


def _keywords_in(content: str) -> dict[str, Any] | None:
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

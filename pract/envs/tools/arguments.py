"""Arguments of an action: repaired schemas, lenient reading, and samples drawn from a schema."""

import json
import random
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator

from pract.call_arguments import MAX_DEPTH, deeper
from pract.types import ActionSpec

JSON_TYPES = ("string", "number", "integer", "boolean", "array", "object", "null")
LONGEST_VALUE = 80
TOO_DEEP = f"arguments are nested more than {MAX_DEPTH} levels deep"


class ArgumentReader:
    """Reads the arguments of one action as a model writes them."""

    def __init__(self, spec: ActionSpec) -> None:
        self._properties: Mapping[str, Any] = spec.parameters.get("properties", {})
        self._validator = Draft202012Validator(dict(spec.parameters))
        self._plain = _plain_texts(spec.parameters)

    def read(self, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        """The arguments in the schema's types, and what is wrong with them in one line (empty if nothing is).

        Numbers, booleans, lists and objects written as text are read as what the schema asks for, because
        that is how most models write them.
        """
        if arguments.keys() == self._plain and all(type(value) is str for value in arguments.values()):
            return writable(dict(arguments)), ""
        if deeper(arguments):
            return {}, TOO_DEEP
        clean = writable(dict(arguments))
        values = {name: _coerced(value, self._properties.get(name, {})) for name, value in clean.items()}
        if deeper(values):  # a text may hold as much
            return {}, TOO_DEEP
        error = next(iter(self._validator.iter_errors(values)), None)
        if error is None:
            return values, ""
        place = "/".join(str(part) for part in error.absolute_path)
        message = shortened(error.message)
        return values, f"argument {place!r}: {message}" if place else message


def _plain_texts(parameters: Mapping[str, Any]) -> frozenset[str] | None:
    """The arguments, if any text will do for each of them: then nothing is left to validate, which takes long."""
    properties: Mapping[str, Any] = parameters.get("properties", {})
    known = parameters.keys() <= {"type", "properties", "required", "additionalProperties"}
    plain = all(
        s.get("type") == "string" and s.keys() <= {"type", "description"} for s in properties.values()
    )
    complete = set(parameters.get("required", ())) <= set(properties)
    return frozenset(properties) if known and plain and complete else None


def shortened(text: str, limit: int = 3 * LONGEST_VALUE) -> str:
    """The text on one line, cut in the middle to at most `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit // 2]} ... {line[-limit // 2 :]}"


def writable(value: Any) -> Any:
    """The value with lone surrogates replaced, which JSON lets a model write but no file can hold."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, list):
        return [writable(item) for item in value]
    if isinstance(value, dict):
        return {writable(key): writable(item) for key, item in value.items()}
    return value


def closed_schema(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A published parameter declaration as valid JSON Schema that takes no argument beyond those it names.

    AgentBoard's declarations leave the object out where there are no parameters, use type names that JSON
    Schema has not (`None`, `re.RegexObject`), and demand arguments that do not exist in a `oneOf`.
    """
    properties = {name: _repaired(schema) for name, schema in parameters.get("properties", {}).items()}
    closed: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    required = [name for name in parameters.get("required", []) if name in properties]
    if required:
        closed["required"] = required
    return closed


def _repaired(schema: Mapping[str, Any]) -> dict[str, Any]:
    fixed = dict(schema)
    kinds = fixed.get("type")
    if isinstance(kinds, list):
        known = [kind for kind in kinds if kind in JSON_TYPES]
        fixed["type"] = known[0] if len(known) == 1 else known
    if isinstance(fixed.get("items"), Mapping):
        fixed["items"] = _repaired(fixed["items"])
    return fixed


def _coerced(value: Any, schema: Mapping[str, Any]) -> Any:
    kind = schema.get("type")
    if kind == "array" and isinstance(value, str | list):
        items = _read_json(value) if isinstance(value, str) else value
        return (
            [_coerced(item, schema.get("items", {})) for item in items] if isinstance(items, list) else value
        )
    if kind == "string" and isinstance(value, int | float):
        return str(value)
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str):
        return value
    if kind in ("integer", "number", "boolean", "object"):
        read = _read_json(value.lower() if kind == "boolean" else value)
        return value if isinstance(read, str) else _coerced(read, schema)
    return value


def _read_json(text: str) -> Any:
    """What the text means as JSON, or with Python's single quotes; the text itself if it means nothing."""
    for candidate in (text, text.replace("'", '"')):
        try:
            return json.loads(candidate)
        except (ValueError, RecursionError):
            continue
    return text


def sample_arguments(parameters: Mapping[str, Any], rng: random.Random) -> dict[str, Any]:
    """Arguments that the schema allows, drawn with the generator; optional ones half of the time."""
    required = parameters.get("required", ())
    return {
        name: _sample(schema, rng)
        for name, schema in parameters.get("properties", {}).items()
        if name in required or rng.random() < 0.5
    }


def _sample(schema: Mapping[str, Any], rng: random.Random) -> Any:
    if "enum" in schema:
        return rng.choice(list(schema["enum"]))
    kind = schema.get("type", "string")
    if isinstance(kind, list):
        kind = rng.choice(kind)
    if kind in ("integer", "number"):
        low, high = schema.get("minimum", 0), schema.get("maximum", 9)
        return rng.randint(int(low), int(high))
    if kind == "boolean":
        return rng.random() < 0.5
    if kind == "array":
        return [_sample(schema.get("items", {}), rng) for _ in range(rng.randint(0, 3))]
    if kind == "object":
        return sample_arguments(schema, rng)
    if kind == "null":
        return None
    return rng.choice(("A1", "1", "2015-06-01", "red shoes", "Sheet1", "", "é\n[x] ' \" { %"))

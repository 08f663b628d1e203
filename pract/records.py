"""Dataclasses to JSON values and back, by their annotations; nothing is lost on the way."""

import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Hashable, Mapping
from enum import Enum
from typing import Any, TypeVar, Union

import orjson

T = TypeVar("T")


_AS_THEY_ARE = frozenset({str, int, bool, type(None)})


def to_json(value: Any) -> Any:
    """The value as dicts, lists and scalars. Raises TypeError for what JSON cannot hold."""
    kind: Any = type(value)
    if kind in _AS_THEY_ARE:
        return value
    names = _field_names(kind)
    if names is not None:
        return {name: to_json(getattr(value, name)) for name in names}
    if isinstance(value, Enum):
        return value.value
    if kind is dict or isinstance(value, Mapping):  # to ask for the abstract type takes long
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"JSON keys must be text, not {list(value)!r}")
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, str | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise TypeError(f"{value!r} of type {kind.__name__} does not survive JSON")


def packed(value: Any) -> bytes:
    """The JSON of the value in UTF-8, lone surrogates replaced: what `to_json` gives, in a tenth of the time.

    Floats are taken to be finite, as all that stand in records are; others become null. Raises TypeError for what
    JSON cannot hold.
    """
    try:
        return orjson.dumps(value, default=_as_dict)
    except TypeError:
        # What it cannot hold is refused here, in words; lone surrogates, whole numbers beyond 64 bits and what is
        # nested deeper than 254 are packed all the same.
        return json.dumps(to_json(value), ensure_ascii=False).encode("utf-8", "replace")


def _as_dict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError


@functools.cache
def _field_names(kind: Hashable) -> tuple[str, ...] | None:
    """The fields of a dataclass, None for any other type; asked for every value of every event."""
    return tuple(field.name for field in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else None


def from_json(kind: type[T], data: Any) -> T:
    """The value of that kind which `to_json` turned into data. Raises TypeError where the two do not fit."""
    return typing.cast(T, _read(kind, data))


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _read(kind: Any, data: Any) -> Any:
    if kind is Any:
        return data
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return _read_union(arguments, data)
    if origin is tuple:
        return _read_tuple(arguments, data)
    if origin is list:
        return [_read(arguments[0], item) for item in _expect(list, data)]
    if origin is not None and issubclass(origin, Mapping):
        return {key: _read(arguments[1], item) for key, item in _expect(dict, data).items()}
    if dataclasses.is_dataclass(kind):
        return _read_record(typing.cast(type, kind), data)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(data)
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    return _expect(kind, data)


def _read_record(kind: type, data: Any) -> Any:
    hints = _hints(kind)
    unknown = set(_expect(dict, data)) - set(hints)
    if unknown:
        raise TypeError(f"{kind.__name__} has no field {sorted(unknown)[0]!r}")
    return kind(**{name: _read(hints[name], item) for name, item in data.items()})


def _read_tuple(arguments: tuple[Any, ...], data: Any) -> tuple[Any, ...]:
    items = _expect(list, data)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_read(arguments[0], item) for item in items)
    return tuple(_read(kind, item) for kind, item in zip(arguments, items, strict=True))


def _read_union(kinds: tuple[Any, ...], data: Any) -> Any:
    for kind in kinds:
        try:
            return _read(kind, data)
        except (TypeError, ValueError):
            continue
    raise TypeError(f"{data!r} is none of {kinds}")


def _expect(kind: Any, data: Any) -> Any:
    wrong_bool = isinstance(data, bool) and kind in (int, float)
    if not isinstance(data, kind) or wrong_bool:
        raise TypeError(f"expected {getattr(kind, '__name__', kind)}, found {data!r}")
    return data

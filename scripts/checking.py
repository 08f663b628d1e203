"""Keys and values of a configuration, checked against the classes it names before anything is loaded."""

import difflib
import inspect
import math
import pydoc
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from latro.errors import InputError
from latro.evaluation_config import EvaluationConfig
from latro.model_config import LoraSettings, ModelConfig
from latro.objective_config import ObjectiveConfig
from latro.sampling_config import SamplingConfig
from latro.scoring_config import ScoringConfig

LIGHT = {
    "latro.objective.ObjectiveConfig": ObjectiveConfig,
    "latro.sampling.SamplingConfig": SamplingConfig,
    "latro.scored_tokens.ScoringConfig": ScoringConfig,
    "latro.evaluation.EvaluationConfig": EvaluationConfig,
    "latro.models.ModelConfig": ModelConfig,
    "latro.adapters.LoraSettings": LoraSettings,
}
"""Classes that need no torch, by targets whose modules import it. Run folders hold these targets, so they stay."""

ROOT: dict[str, Any] = {
    "name": str,
    "seed": int,
    "output_dir": str,
    "overwrite": bool,
    "resume": bool,
    "limit": int | None,
    "validation_limit": int | None,
    "on_long_prompt": str,
    "separator": str,
    "epochs": float,
    "max_steps": int | None,
    "patience": int | None,
    "show_samples": int,
    "push_to_hub": str | None,
    "plan": bool,
    "hardware": str | None,
    "sharding": str,
    "split": str,
    "chunk": int,
    "evaluation.max_tokens": int | None,
    "trainer.eval_steps": int,
    "trainer.save_steps": int,
    "trainer.gradient_accumulation_steps": int,
    "trainer.per_device_train_batch_size": int,
    "trainer.learning_rate": float,
    "trainer.warmup_steps": float,
    "trainer.weight_decay": float,
    "trainer.max_grad_norm": float,
    "trainer.save_total_limit": int | None,
}
"""Types that no dataclass declares, that differ from its own (the library reads 0.5 steps as a share), or that are
looked at before the library is imported."""

LEAST = {
    "seed": 0,
    "limit": 1,
    "validation_limit": 1,
    "max_steps": 1,
    "patience": 1,
    "show_samples": 0,
    "chunk": 1,
    "trainer.eval_steps": 1,
    "trainer.save_steps": 1,
    "trainer.save_total_limit": 1,
    "trainer.per_device_train_batch_size": 1,
    "trainer.gradient_accumulation_steps": 1,
    "trainer.learning_rate": 0,
    "trainer.max_grad_norm": 0,
    "trainer.weight_decay": 0,
    "trainer.warmup_steps": 0,
}
"""Smallest values that mean anything."""
MOST = {"seed": 2**32 - 1}
ABOVE_ZERO = ("epochs",)
NOT_EMPTY = ("name", "output_dir")
FILES = ("trainer.deepspeed", "trainer.fsdp_config")

WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "null"}


def check_config(cfg: DictConfig) -> None:
    """Raise InputError for the first key or value that cannot be meant, by its dotted name."""
    container = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(container, dict)
    values = {str(key): value for key, value in container.items()}
    check_named(values)
    for name, value, hint in typed(values):
        check_value(name, value, ROOT.get(name, hint))


def check_early(cfg: DictConfig) -> None:
    """Raise InputError for a value that can be refused without torch and transformers, which take seconds to import.

    What only their classes know is left to `check_config`, as are the values that depend on the machine.
    """
    values = without_machine(cfg)
    check_named(values)
    for group, chosen in values.items():
        if not isinstance(chosen, dict) or chosen.get("_target_") not in LIGHT:
            continue
        for name, value, hint in typed(chosen, f"{group}."):
            check_value(name, value, ROOT.get(name, hint))
        if group == "evaluation" and "sampling" in values and not chosen.get("max_tokens"):
            chosen.pop("max_tokens", None)  # train_latro makes it of the sampling's
        instantiate(light(chosen), _convert_="all")


def without_machine(cfg: DictConfig) -> dict[str, Any]:
    """The resolved values but those that ask what the machine is fast in: torch tells that."""
    written = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(written, dict)
    values: dict[str, Any] = {}
    for key, text in written.items():
        if isinstance(text, dict):
            values[str(key)] = without_machine(cfg[key])
        elif "where_bfloat16_is_fast" not in str(text):
            value = cfg[key]
            values[str(key)] = (
                OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
            )
    return values


def light(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with the classes of `LIGHT` in place of their targets, at any depth."""
    return {
        key: light(value)
        if isinstance(value, Mapping)
        else LIGHT.get(value, value)
        if key == "_target_"
        else value
        for key, value in values.items()
    }


def check_named(values: Mapping[str, Any]) -> None:
    """Raise InputError for a value that is named here: by its type, or out of its range."""
    for name in dict.fromkeys((*ROOT, *LEAST, *MOST, *FILES)):
        if has(values, name):
            check_value(name, at(values, name), ROOT.get(name, Any))
            check_range(name, at(values, name))


def check_range(name: str, value: Any) -> None:
    """Raise InputError for a value of the right type that no run can be meant to have."""
    if value is None or (name in LEAST and isinstance(value, str)):
        return  # null means none, and a text is refused by its type
    if name in LEAST and not value >= LEAST[name]:
        raise InputError(f"{name}={value!r}: give at least {LEAST[name]}")
    if name in MOST and value > MOST[name]:
        raise InputError(f"{name}={value!r}: give at most {MOST[name]}")
    if name in ABOVE_ZERO and not 0 < value < math.inf:
        raise InputError(f"{name}={value!r}: give a finite number above zero")
    if name in NOT_EMPTY and not value.strip():
        raise InputError(f"{name}={value!r}: give a text that is not empty")
    if name in FILES and isinstance(value, str) and not Path(value).is_file():
        raise InputError(f"{name}={value!r}: no such file; give one that exists, or null")


def has(values: Mapping[str, Any], name: str) -> bool:
    """Whether a dotted name is in a nested mapping."""
    first, _, rest = name.partition(".")
    if first not in values:
        return False
    return has(values[first], rest) if rest and isinstance(values[first], Mapping) else not rest


def at(values: Mapping[str, Any], name: str) -> Any:
    """The value under a dotted name."""
    first, _, rest = name.partition(".")
    return at(values[first], rest) if rest else values[first]


def typed(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted name, value and declared type of every key under a `_target_` that is a dataclass.

    Raises InputError for a target that does not exist, and for a key that it does not know.
    """
    declared = declared_types(values["_target_"], prefix) if "_target_" in values else {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from typed(value, f"{prefix}{key}.")
        if key.startswith("_"):
            continue
        if declared and key not in declared:
            near = difflib.get_close_matches(key, declared, n=1)
            hint = (
                f"did you mean {prefix}{near[0]}?"
                if near
                else f"leave it out; there are: {', '.join(declared)}"
            )
            raise InputError(f"there is no key {prefix}{key} in {values['_target_']}; {hint}")
        if declared and not (isinstance(value, Mapping) and "_target_" in value):
            yield f"{prefix}{key}", value, declared[key]


def declared_types(target: str, prefix: str) -> dict[str, Any]:
    """Field names of a dataclass with their types; empty for anything else that can be called."""
    try:
        kind = LIGHT.get(target) or pydoc.locate(target)
    except pydoc.ErrorDuringImport as error:
        raise InputError(f"{prefix}_target_={target}: cannot be imported ({error.value})") from error
    if kind is None:
        raise InputError(f"{prefix}_target_={target}: there is no such class; check the name and PYTHONPATH")
    if not (inspect.isclass(kind) and is_dataclass(kind)):
        return {}
    hints = get_type_hints(kind)
    return {field.name: hints.get(field.name, Any) for field in fields(kind) if field.init}


def check_value(name: str, value: Any, hint: Any) -> None:
    """Raise InputError if the value is not of the type."""
    if fits(value, hint):
        return
    known = dict.fromkeys(WORDS[kind] for kind in alternatives(hint) if kind in WORDS)
    raise InputError(
        f"{name}={'null' if value is None else repr(value)}: give {' or '.join(known) or f'a value of type {hint}'}"
    )


def alternatives(hint: Any) -> tuple[Any, ...]:
    """The members of a union; of any other type, itself."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def fits(value: Any, hint: Any) -> bool:
    """Whether a value from YAML is of a declared type; what YAML cannot hold is left to its owner."""
    return any(fits_one(value, kind) for kind in alternatives(hint))


def fits_one(value: Any, kind: Any) -> bool:
    """Whether a value is of one type that is no union."""
    origin = get_origin(kind) or kind
    if origin is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if origin is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin in (bool, str):
        return isinstance(value, origin)
    if origin in (None, type(None)):
        return value is None
    if not inspect.isclass(origin):
        return True
    if issubclass(origin, Enum | Path):
        return isinstance(value, str | Enum | Path)
    if origin is not object and issubclass(origin, Mapping):
        return isinstance(value, Mapping)
    if issubclass(origin, Sequence | set | frozenset):
        return isinstance(value, list | tuple)
    return not isinstance(value, int | float | str | bool) if is_dataclass(origin) else True

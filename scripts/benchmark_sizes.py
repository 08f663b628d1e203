"""Sizes that are measured in place of a benchmark's own, as `vary` lists them."""

from collections.abc import Collection, Mapping, Sequence
from itertools import product

from latro.errors import InputError

LEAST = {"prompt": 1, "rationale": 2, "K": 2, "vocabulary": 2}
"""The smallest of each size; a leave-one-out baseline takes two rationales."""


def choices(vary: Mapping[str, Sequence[int]], known: Collection[str]) -> list[dict[str, int]]:
    """Every value of each list with every one of the others, of the sizes that a part knows.

    A single empty choice, the benchmark's own sizes, where nothing varies. Raises InputError for what is no size.
    """
    for name, values in vary.items():
        wrong = [value for value in values if value < LEAST[name]]
        if wrong:
            raise InputError(f"vary.{name}={list(values)}: {wrong[0]} is below {LEAST[name]}")
    lists = {name: values for name, values in vary.items() if name in known and values}
    return [dict(zip(lists, values, strict=True)) for values in product(*lists.values())]


def named(name: str, chosen: Mapping[str, int]) -> str:
    """A shape's name with what was chosen for it: `40M, K = 4, prompt = 50`."""
    return ", ".join([name, *(f"{size} = {value}" for size, value in chosen.items())])

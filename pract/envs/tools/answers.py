"""Whether an answer given by an agent says the same as the expected one."""

import ast
import math
import re
import string
import sys
from collections import Counter
from typing import Any

RELATIVE_TOLERANCE = 1e-6
LONGEST_LITERAL = 20_000
"""Characters; no expected answer comes near, and parsing a model's megabytes would stall the run."""


def same_answer(given: Any, expected: Any) -> bool:
    """Whether the two agree: numbers by value, lists as sets of their items, texts ignoring case and spacing.

    A number, list or dictionary may arrive as text, a list of one as its item. AgentBoard compares in the same way;
    its order of list items is free.
    """
    if isinstance(expected, bool):
        return _plain(given) == _plain(expected)
    if isinstance(expected, int | float):
        number = _number(given)
        return number is not None and math.isclose(number, expected, rel_tol=RELATIVE_TOLERANCE, abs_tol=1e-9)
    if isinstance(expected, list):
        items = _items(given)
        return items is not None and _bag(items) == _bag(expected)
    if isinstance(expected, dict):
        read = _literal(given) if isinstance(given, str) else given
        return isinstance(read, dict) and _plain(read) == _plain(expected)
    if isinstance(given, list) and len(given) == 1:
        return same_answer(given[0], expected)
    return _plain(given) == _plain(expected)


def exact_match(given: str, expected: str) -> bool:
    """SQuAD's exact match, as HotpotQA uses it: without case, punctuation and articles."""
    return squad_tokens(given) == squad_tokens(expected)


def token_f1(given: str, expected: str) -> float:
    """SQuAD's F1 over tokens, as HotpotQA uses it: a yes, no or noanswer must be met exactly. In 0 to 1."""
    found, wanted = squad_tokens(given), squad_tokens(expected)
    closed = (["yes"], ["no"], ["noanswer"])
    if found != wanted and (found in closed or wanted in closed):
        return 0.0
    common = sum((Counter(found) & Counter(wanted)).values())
    if not common:
        return 0.0
    precision, recall = common / len(found), common / len(wanted)
    return 2 * precision * recall / (precision + recall)


def squad_tokens(text: str) -> list[str]:
    """Lower-case tokens without punctuation and the articles a, an, the."""
    kept = "".join(char for char in text.lower() if char not in set(string.punctuation))
    return [token for token in kept.split() if token not in ("a", "an", "the")]


def _plain(value: Any) -> str:
    return " ".join(str(value).split()).strip(" .'\"").casefold()


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if abs(value) <= sys.float_info.max else None
    if isinstance(value, list) and len(value) == 1:
        return _number(value[0])
    text = str(value).replace(",", "").lstrip(" $").rstrip(" .$")
    return float(text) if re.fullmatch(r"[-+]?(\d{1,300}(\.\d+)?|\.\d+)", text) else None


def _items(value: Any) -> list[Any] | None:
    if isinstance(value, list):
        return value
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "("):  # without brackets `1,250` is one number
        read = _literal(value)
        if isinstance(read, list):
            return read
    return [value] if isinstance(value, str | int | float) else None


def _bag(items: list[Any]) -> Counter[str]:
    return Counter(str(number) if (number := _number(item)) is not None else _plain(item) for item in items)


def _literal(text: str) -> Any:
    """What the text says in Python's notation, with tuples as lists; None if it says nothing."""
    if len(text) > LONGEST_LITERAL:
        return None
    try:
        return _listed(ast.literal_eval(text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _listed(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_listed(item) for item in value]
    return {key: _listed(item) for key, item in value.items()} if isinstance(value, dict) else value

"""Whether a learned principle repeats its training tasks instead of saying something general."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pract.types import Task

_SIGNS = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
"""Kana, Chinese characters and Hangul: written without spaces, so that each counts as a word."""
_WORD = re.compile(rf"[{_SIGNS}]|[^\W_{_SIGNS}]+(?:[.,][0-9]+)*")
_NAME = re.compile(r"[A-Z][a-z]{2,39}")
_WITHIN = re.compile(r"(?<=[a-z,;:(\"'] )[\"'(]?([A-Z][a-z]{2,39})\b")
"""A capitalised word that no sentence begins with: there every word is capitalised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """Words of a training task found in a principle."""

    task_id: str
    words: str
    kind: str
    """`instruction`: a run of words of the task's text; `data`: a value of its hidden data."""


class LeakCheck:
    """Finds words of training tasks in a text.

    A leak is (1) a run of `ngram` words that also stands in a task's instruction, (2) a value in a task's data of
    several words or with a digit, standing in the text in full, or (3) a name in its data, one word that is
    capitalised there and within a sentence of the text, unless an instruction has it. What the actions' descriptions
    say, a tenth of the instructions or a third of the data have in common is not a task's own and may be said.
    """

    def __init__(self, tasks: Sequence[Task], *, ngram: int = 6, allowed: Iterable[str] = ()) -> None:
        """allowed: texts that may be repeated, e.g. the actions' descriptions."""
        self._ngram = ngram
        free = " \n ".join(allowed)
        common = max(2, len(tasks) // 10)
        self._runs = _own(tasks, common, _runs(_words(free), ngram), self._instruction_runs)
        shared = max(2, (len(tasks) - 1) // 3)
        self._values = _own(tasks, shared, set(), _data_values)
        told = set(_words(free)).union(*(_words(task.instruction) for task in tasks))
        self._names = {
            name: owner
            for name, owner in _own(tasks, shared, set(), _names).items()
            if name.lower() not in told
        }
        self._free = f" {' '.join(_words(free))} "
        self._longest = max((len(value.split(" ")) for value in self._values), default=0)

    def _instruction_runs(self, task: Task) -> set[str]:
        return _runs(_words(task.instruction), self._ngram)

    def find(self, text: str, *, known: str = "") -> Leak | None:
        """The first leak in a text that was not in the text known before; None if there is none."""
        words = _words(text)
        before = f" {' '.join(_words(known))} "
        for run in _ordered_runs(words, self._ngram):
            if run in self._runs and f" {run} " not in before:
                return Leak(task_id=self._runs[run], words=run, kind="instruction")
        for length in range(1, self._longest + 1):
            for value in _ordered_runs(words, length):
                if value in self._values and f" {value} " not in before and f" {value} " not in self._free:
                    return Leak(task_id=self._values[value], words=value, kind="data")
        for name in _WITHIN.findall(text) if self._names else ():
            if name in self._names and f" {name.lower()} " not in before:
                return Leak(task_id=self._names[name], words=name, kind="data")
        return None


def _own(tasks: Sequence[Task], common: int, free: set[str], pieces_of: Any) -> dict[str, str]:
    """Pieces of text that belong to few tasks, each with the first task that has it."""
    counts: Counter[str] = Counter()
    owner: dict[str, str] = {}
    for task in tasks:
        for piece in pieces_of(task):
            counts[piece] += 1
            owner.setdefault(piece, task.id)
    return {piece: owner[piece] for piece, count in counts.items() if count <= common and piece not in free}


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]


def _ordered_runs(words: Sequence[str], length: int) -> Iterator[str]:
    return (" ".join(words[i : i + length]) for i in range(len(words) - length + 1))


def _runs(words: Sequence[str], length: int) -> set[str]:
    return set(_ordered_runs(words, length))


def _data_values(task: Task) -> set[str]:
    """The values of a task's data that are long or odd enough to tell it from others."""
    values = set()
    for leaf in _leaves(task.data):
        words = _words(str(leaf))
        value = " ".join(words)
        telling = len(words) > 1 or any(character.isdigit() for character in value)
        if telling and 3 <= len(value) <= 200:
            values.add(value)
    return values


def _names(task: Task) -> set[str]:
    """The values of a task's data that are one capitalised word, such as `Aarhus`."""
    return {leaf for leaf in map(str, _leaves(task.data)) if _NAME.fullmatch(leaf)}


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield value

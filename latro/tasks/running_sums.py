"""Running sums modulo m over a string of digits: the generated task of the wind tunnel."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from latro.errors import InputError
from latro.types import Example, Graded, LeftOut

MARKER = "#"
_ANSWER = re.compile(rf"{MARKER}(\d+)")
_ORDER_SEED = 2411_04282


def reasoning(question: str, modulus: int) -> str:
    """Each digit with the sum so far, e.g. `33 14 43 20` for 3142 modulo 5."""
    total, steps = 0, []
    for digit in question:
        total = (total + int(digit)) % modulus
        steps.append(f"{digit}{total}")
    return " ".join(steps)


@dataclass(kw_only=True)
class RunningSums:
    """What is the sum of these digits modulo m?

    A text of the task reads `3142=33 14 43 20#0`: prompt, rationale, answer line; a guess is `3142=#1`. No
    separator stands between the parts. Splits are slices of one fixed shuffle of all digit strings, so they
    are disjoint and the same in every run.
    """

    digits: int = 4
    """Digits of a question; there are `10 ** digits` questions."""
    modulus: int = 5
    train_size: int = 8000
    validation_size: int = 1000
    test_size: int = 1000
    name: str = "running_sums"
    """Names the task in ids, results and run folders."""
    version: str = field(default="1", init=False)
    answer_markers: tuple[str, ...] = field(default=(MARKER,), init=False)
    answer_separator: str = field(default="", init=False)
    main_grader: str = field(default="exact", init=False)
    left_out: list[LeftOut] = field(default_factory=list, init=False)
    _test_is_open: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.digits <= 18:
            raise InputError(f"task.digits={self.digits}: give 1 to 18 digits")
        if self.modulus < 2:
            raise InputError(f"task.modulus={self.modulus}: give at least 2")
        sizes = (self.train_size, self.validation_size, self.test_size)
        if min(sizes) < 1 or sum(sizes) > 10**self.digits:
            raise InputError(
                f"task.train_size, validation_size, test_size = {sizes}: give at least 1 each, and together "
                f"at most the {10**self.digits} questions of {self.digits} digits, or raise task.digits"
            )

    def open_test(self) -> None:
        """Unlock the test split."""
        self._test_is_open = True

    def examples(self, split: str) -> Sequence[Example]:
        """All examples of a split, in a shuffled order: the same in every run of these sizes, another of others."""
        first_train = self.test_size + self.validation_size
        slices = {
            "test": slice(0, self.test_size),
            "validation": slice(self.test_size, first_train),
            "train": slice(first_train, None),
        }
        if split not in slices:
            raise InputError(f"split={split}: running_sums has train, validation and test")
        if split == "test" and not self._test_is_open:
            raise InputError("split=test is closed during training: evaluate with scripts.evaluate_latro")
        shuffled = random.Random(_ORDER_SEED).sample(range(10**self.digits), first_train + self.train_size)
        return [self._example(f"{number:0{self.digits}d}") for number in shuffled[slices[split]]]

    def grade(self, example: Example, output: str) -> dict[str, Graded]:
        """Exact match of the number after the first answer marker."""
        found = _ANSWER.search(output)
        extracted = found[1] if found else None
        return {"exact": Graded(extracted=extracted, correct=extracted == example.gold)}

    def _example(self, question: str) -> Example:
        rationale = reasoning(question, self.modulus)
        gold = str(sum(map(int, question)) % self.modulus)
        return Example(
            id=f"running_sums-{self.modulus}-{question}",
            question=question,
            prompt=f"{question}=",
            answer=f"{MARKER}{gold}",
            gold=gold,
            rationale=rationale,
            place=f"generated, digits={self.digits}, modulus={self.modulus}",
        )

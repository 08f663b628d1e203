"""Any of reasoning-gym's generators by name, marked by its own scorer (package reasoning-gym, Apache-2.0)."""

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from latro.errors import InputError
from latro.grading.commitment import commitments, last_line
from latro.grading.named import Grader
from latro.grading.symbolic import explodes
from latro.tasks.dataset import SplitTask
from latro.types import Example, Graded, LeftOut

_SEEDS_PER_SPLIT = 1_000_000
_MOST_SEEDS = 1000
_LONGEST_ANSWER = 20_000
_ANSWER_TAG = re.compile(r"<answer>(.*?)</answer>", re.S)


@dataclass(kw_only=True)
class ReasoningGym(SplitTask):
    """Questions of one generator, with a range of a million item seeds for each split of each `seed`.

    Small generators repeat questions. A question is kept once, in test rather than validation rather than
    train, so that no split holds a question of another; the repeats are in `left_out`. Five generators
    (such as `propositional_logic`) name no gold answer; their rows are left out too.

    An answer is right if the generator's scorer gives it 1.0; many scorers give a wrong one a little.
    """

    generator: str = "chain_sum"
    """Name of the generator, such as `gsm_symbolic`."""
    seed: int = 0
    """Chooses the questions."""
    train_size: int = 2000
    """Questions generated for train, before repeats are left out."""
    validation_size: int = 200
    """The same for validation."""
    test_size: int = 500
    """The same for test."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Further settings of the generator, such as `{min_terms: 3}`."""
    name: str = "reasoning_gym"
    version: str = field(default="2", init=False)
    main_grader: str = field(default="score", init=False)
    _seen: dict[str, str] = field(default_factory=dict, init=False, repr=False)
    _entries: dict[str, tuple[Any, dict[str, Any]]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = (self.train_size, self.validation_size, self.test_size)
        if min(sizes) < 1 or max(sizes) > _SEEDS_PER_SPLIT or not 0 <= self.seed < _MOST_SEEDS:
            raise InputError(
                f"sizes {sizes}, task.seed={self.seed}; use sizes from 1 to {_SEEDS_PER_SPLIT} "
                f"and a seed from 0 to {_MOST_SEEDS - 1}"
            )

    def read(self, split: str) -> Mapping[str, tuple[Example, ...]]:
        """The examples of `split`, and of those whose questions it must avoid."""
        read: dict[str, tuple[Example, ...]] = {}
        for name in ("test", "validation", "train"):
            if name not in self._read:
                read[name] = tuple(self._generated(name))
            if name == split:
                break
        return read

    def grader_table(self) -> Mapping[str, Grader]:
        """The generator's own scorer."""
        return {"score": self._score}

    def _generated(self, split: str) -> Iterator[Example]:
        dataset = self._dataset(split)
        for index in range(len(dataset)):
            id = f"{self.name}/{self.generator}/{split}/{self.seed}/{index}"
            entry = dataset[index]
            question, gold = str(entry["question"]).strip(), entry["answer"]
            place = f"reasoning_gym {self.generator}, item seed {dataset.seed + index}"
            if question in self._seen:
                self.left_out.append(
                    LeftOut(id=id, place=place, reason=f"same question as {self._seen[question]}")
                )
                continue
            if not isinstance(gold, str) or not gold.strip():
                self.left_out.append(LeftOut(id=id, place=place, reason="the generator names no gold answer"))
                continue
            self._entries[id] = dataset, entry
            example = Example(
                id=id,
                question=question,
                prompt=f"{question}\nLet's think step by step.",
                answer=_answer_line(gold),
                gold=gold,
                place=place,
            )
            if not self._score(example, example.answer).correct:
                self.left_out.append(
                    LeftOut(id=id, place=place, reason=f"its scorer refuses its gold {gold!r:.60}")
                )
                continue
            self._seen[question] = id
            yield example

    def _dataset(self, split: str) -> Any:
        try:
            import reasoning_gym
        except ImportError as error:
            raise InputError(
                "task reasoning_gym needs a package that is not installed; pip install 'latro-pract[reasoning-gym]'"
            ) from error
        position = ("train", "validation", "test").index(split)
        start = (3 * self.seed + position) * _SEEDS_PER_SPLIT
        size = (self.train_size, self.validation_size, self.test_size)[position]
        if self.generator not in reasoning_gym.factory.DATASETS:
            known = ", ".join(sorted(reasoning_gym.factory.DATASETS))
            raise InputError(
                f"task.generator={self.generator!r} is no generator of reasoning-gym; use one of {known}"
            )
        settings = dict(self.config)
        try:
            return reasoning_gym.create_dataset(self.generator, seed=start, size=size, **settings)
        except (AssertionError, AttributeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"task.config={settings!r} does not suit {self.generator} ({reason}); mend it"
            ) from error

    def _score(self, example: Example, output: str) -> Graded:
        dataset, entry = self._entry(example)
        readings = list(_readings(output, several_lines="\n" in example.gold.strip()))
        right = any(
            len(reading) <= _LONGEST_ANSWER and not explodes(reading) and _is_right(dataset, reading, entry)
            for reading in readings
        )
        # The vote must not know which reading the scorer takes: it is over the barest one.
        return Graded(extracted=readings[-1] if readings else None, correct=right)

    def _entry(self, example: Example) -> tuple[Any, dict[str, Any]]:
        if example.id not in self._entries:  # an example of another instance of this task
            *_, split, _, index = example.id.split("/")
            dataset = self._dataset(split)
            self._entries[example.id] = dataset, dataset[int(index)]
        return self._entries[example.id]


def _is_right(dataset: Any, answer: str, entry: dict[str, Any]) -> bool:
    try:
        return float(dataset.score_answer(answer, entry)) == 1.0
    except Exception as error:  # noqa: BLE001 - a hundred scorers meet model output and may raise anything
        logging.getLogger(__name__).debug("scorer failed on %r: %r", answer, error)
        return False


def _answer_line(gold: str) -> str:
    gold = gold.rstrip("\n")
    if "\n" in gold.strip():
        return f"The answer is:\n{gold}"
    return f"The answer is {gold}" if gold.endswith(".") else f"The answer is {gold}."


def _readings(output: str, *, several_lines: bool) -> Iterator[str]:
    """The answer in `output` as the scorer may want it: as it stands, and without the sentence's full stop.

    It is the last `<answer>` tag, else the last commitment, else the last line (all of it for answers of
    several lines). All readings are of one and the same passage, the barest one last.
    """
    tags = _ANSWER_TAG.findall(output)
    committed = next((commitment.text for commitment in commitments(output)), None)
    if tags:
        passage = tags[-1].strip("\n")
    elif several_lines:
        passage = (output if committed is None else committed).strip("\n")
    else:
        lines = (committed or "").strip().splitlines()
        passage = lines[0].strip() if lines else last_line(output)
    for reading in dict.fromkeys(
        (passage, passage.removesuffix("."), passage.removesuffix(".").strip(" *_`\"'$").removesuffix("."))
    ):
        if reading:
            yield reading

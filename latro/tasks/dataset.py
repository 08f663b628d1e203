"""What tasks over a table of rows share: splits, the carved validation set, bad rows, the lock on test."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from latro.errors import InputError
from latro.grading.named import Grader
from latro.tasks.base import SPLITS
from latro.tasks.loading import Row, Source
from latro.types import Example, Graded, LeftOut

ANSWER_MARKERS = (
    "The answer is",
    "The final answer is",
    "The correct answer is",
    "Final answer:",
    "Final answer**",
    "Answer:",
    "\\boxed{",
)
"""Texts at which a rationale ends, matched ignoring case.

Two are missing with intent, because instruction-tuned models write them in mid-derivation: `####` (a Markdown
heading) and a bare `final answer` (as in `to find the final answer, we add ...`).
"""


class UngradableRow(Exception):
    """A row that is well formed but has no gold answer that could be graded; the message says why."""


def bucket(text: str, count: int) -> int:
    """A number below `count` that depends on `text` alone (its SHA-256, first eight bytes, big-endian)."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % count


@dataclass(kw_only=True)
class SplitTask(ABC):
    """Splits read once, in a fixed order, and the lock on the test split. The base of all our tasks.

    A subclass sets `name`, `version` and `main_grader`, and says how to read a split.
    """

    answer_markers: tuple[str, ...] = ANSWER_MARKERS
    """Texts at which a rationale ends."""
    answer_separator: str = "\n"
    """Stands between a rationale and the answer line."""
    name: str = "task"
    """Names the task in ids, results and run folders."""
    version: str = field(default="4", init=False)
    main_grader: str = field(default="final", init=False)
    left_out: list[LeftOut] = field(default_factory=list, init=False)
    _test_is_open: bool = field(default=False, init=False, repr=False)
    _read: dict[str, tuple[Example, ...]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.answer_markers = tuple(self.answer_markers)  # a configuration hands over a list

    def examples(self, split: str) -> Sequence[Example]:
        """All examples of `train`, `validation` or `test`, always in the same order.

        Raises InputError for bad rows, for a split without a usable row, and for `test` unless `open_test()`
        was called before.
        """
        if split not in SPLITS:
            raise InputError(f"no split {split!r}; the splits are {', '.join(SPLITS)}")
        if split == "test" and not self._test_is_open:
            raise InputError(f"the test split of {self.name} is locked; only evaluation opens it (open_test)")
        if split not in self._read:
            self._read.update(self.read(split))
        if not self._read[split]:
            reason = f"; the first one left out: {self.left_out[0].reason}" if self.left_out else ""
            raise InputError(f"{self.name}: the {split} split has no usable row{reason}; give it more rows")
        return self._read[split]

    def open_test(self) -> None:
        """Unlock the test split. Only the evaluation script calls this."""
        self._test_is_open = True

    @abstractmethod
    def read(self, split: str) -> Mapping[str, tuple[Example, ...]]:
        """The examples of `split`, and of any other split that had to be read with it."""

    def grade(self, example: Example, output: str) -> dict[str, Graded]:
        """Every grader's verdict on a generated output, by grader name. Never raises for a strange output."""
        return {name: grader(example, output) for name, grader in self.grader_table().items()}

    @abstractmethod
    def grader_table(self) -> Mapping[str, Grader]:
        """The graders by name, `main_grader` among them."""


@dataclass(kw_only=True)
class DatasetTask(SplitTask):
    """A task over rows of a folder or of the hub. A subclass turns one row into one example.

    Validation is the dataset's own where it has one. Otherwise it is carved from train: a row belongs to it
    if `bucket(question, validation_one_in)` is 0, and to train if not. So membership depends on the question's
    text alone, not on order, file length or seed, and a repeated question never sits on both sides.
    """

    path: str | None = None
    """Folder with `train`, `validation`, `test` as .jsonl or .parquet; None takes the hub dataset."""
    hub: str | None = None
    """Hub id of the dataset; read from the local cache alone where `HF_HUB_OFFLINE=1` is set."""
    hub_config: str | None = None
    """Configuration of the hub dataset, such as `main`."""
    on_bad_row: str = "skip"
    """What to do with rows that cannot be graded: `skip` records them in `left_out`, `error` refuses them."""
    validation_one_in: int = 15
    """Where validation is carved: one row in so many, on average."""
    _places: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    carved: ClassVar[tuple[str, ...]] = ("validation",)
    """Splits to carve from train where the source has none."""
    hub_splits: ClassVar[tuple[str, ...] | None] = None
    """Splits that the hub dataset is known to have; None asks the hub."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.on_bad_row not in ("skip", "error"):
            raise InputError(f"task.on_bad_row={self.on_bad_row!r}; use skip or error")
        if self.validation_one_in < 3:
            raise InputError(f"task.validation_one_in={self.validation_one_in}; it must be 3 or more")

    @abstractmethod
    def example(self, row: Row, id: str) -> Example:
        """The example that `row` makes, under `id` unless the row has its own.

        Raises InputError for a malformed row, UngradableRow for one whose gold answer cannot be graded.
        """

    def source(self) -> Source:
        """Where the rows come from."""
        return Source(path=self.path, hub=self.hub, hub_config=self.hub_config)

    def read(self, split: str) -> Mapping[str, tuple[Example, ...]]:
        """The examples of `split`; with train also those carved from it."""
        source = self.source()
        carve = self._to_carve(source)
        if not carve or split not in ("train", *carve):
            return {split: self._parsed(source, split)}
        parts: dict[str, list[Example]] = {name: [] for name in ("train", *carve)}
        # A split has its bucket whichever others there are: it holds the same rows once another one is given.
        carved = {self.carved.index(name): name for name in carve}
        for example in self._parsed(source, "train"):
            parts[carved.get(bucket(example.question, self.validation_one_in), "train")].append(example)
        return {name: tuple(examples) for name, examples in parts.items()}

    def _to_carve(self, source: Source) -> tuple[str, ...]:
        if source.path is None and self.hub_splits is not None:
            return tuple(name for name in self.carved if name not in self.hub_splits)
        return tuple(name for name in self.carved if not source.has(name))

    def _parsed(self, source: Source, split: str) -> tuple[Example, ...]:
        places = dict(self._places)
        examples = []
        for row in source.rows(split):
            id = f"{self.name}/{split}/{row.index}"
            try:
                example = self.example(row, id)
                self._check_gradable(example)
            except UngradableRow as error:
                self._leave_out(LeftOut(id=id, place=row.place, reason=str(error)))
                continue
            if example.id in places:
                where = f"{row.place}: id {example.id!r} is already that of {places[example.id]}"
                raise InputError(f"{where}; results are paired by id, so make it unique")
            places[example.id] = row.place
            examples.append(example)
        self._places = places
        return tuple(examples)

    def _check_gradable(self, example: Example) -> None:
        if not self.grader_table()[self.main_grader](example, example.answer).correct:
            raise UngradableRow(f"grader {self.main_grader} gives the gold answer {example.gold!r} no marks")

    def _leave_out(self, row: LeftOut) -> None:
        if self.on_bad_row == "error":
            raise InputError(f"{row.place}: {row.reason}; mend the row or set task.on_bad_row=skip")
        self.left_out.append(row)

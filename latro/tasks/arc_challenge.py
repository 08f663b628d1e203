"""ARC-Challenge: school science questions with three to five options (allenai/ai2_arc, CC BY-SA 4.0)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from latro.errors import InputError
from latro.grading.named import Grader, final
from latro.grading.options import LETTERS, bare_option, exact_option, paper_option
from latro.tasks.dataset import DatasetTask, UngradableRow
from latro.tasks.loading import Row
from latro.types import Example

_REQUESTS = {
    "cot": "Let's think step by step first then print your answer like 'The answer is (one of the options)'.",
    "direct": "Reply with 'The answer is (one of the options)' and nothing else.",
}


@dataclass(kw_only=True)
class ArcChallenge(DatasetTask):
    """ARC-Challenge with LaTRO's chain-of-thought prompt and answer line (arXiv 2411.04282, appendix B).

    The paper's supervised baseline is asked for the answer alone, under a strict request; its wording here is ours.

    Columns: `id`, `question`, `choices` = {text, label}, `answerKey`. The answer is the option's text, not
    its letter, and loses the full stop at its end, because the answer line brings its own. Labels 1 to 5
    become letters; questions with three or five options stay.
    """

    hub: str | None = "allenai/ai2_arc"
    hub_config: str | None = "ARC-Challenge"
    name: str = "arc_challenge"
    prompt: str = "cot"
    """`cot` asks for a rationale and then the answer, `direct` for the answer alone; the version tells them apart."""

    hub_splits = ("train", "validation", "test")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prompt not in _REQUESTS:
            raise InputError(f"task.prompt={self.prompt!r}; use {' or '.join(_REQUESTS)}")
        if self.prompt != "cot":
            self.version = f"{self.version}-{self.prompt}"

    def example(self, row: Row, id: str) -> Example:
        """The example that `row` makes."""
        question = row.text("question")
        choices, labels = option_table(row, row.value("choices"))
        key = letter(row.text("answerKey"))
        if key not in labels:
            raise UngradableRow(f"answerKey {key!r} is none of the labels {', '.join(labels)}")
        bare = [bare_option(choice) for choice in choices]
        if len(set(bare)) < len(bare) or not all(bare):
            raise UngradableRow("two options are the same, or one is empty")
        gold = bare[labels.index(key)]
        return Example(
            id=row.text("id"),
            question=question,
            # The released code prints the Python list of option texts; so do we.
            prompt=f"Question: {question}\nOptions: {choices}\n{_REQUESTS[self.prompt]}",
            answer=f"The answer is {gold}.",
            gold=gold,
            choices=tuple(choices),
            place=row.place,
        )

    def likelihood_request(self, example: Example) -> tuple[str, tuple[str, ...]]:
        """The request of lm-eval's `arc_challenge`: `Question: ..`, `Answer:`, and a space and an option."""
        return lm_eval_request(example)

    def grader_table(self) -> Mapping[str, Grader]:
        """Ours, the exact option match, and the paper's substring test."""
        return {"final": final, "exact": exact_option, "paper": paper_option}


def lm_eval_request(example: Example) -> tuple[str, tuple[str, ...]]:
    """Context and continuations as in lm-eval's multiple-choice question answering."""
    return f"Question: {example.question}\nAnswer:", tuple(f" {choice}" for choice in example.choices)


def option_table(row: Row, cell: Any) -> tuple[list[str], list[str]]:
    """Option texts and their letters from a cell {text: [...], label: [...]}, or from a plain list of texts.

    Raises InputError if the cell has another shape.
    """
    texts, labels = cell, None
    if isinstance(cell, Mapping):
        texts, labels = cell.get("text"), cell.get("label")
    if not _is_list(texts) or (labels is not None and not _is_list(labels)):
        raise InputError(
            f"{row.place}: options are {cell!r:.60}; give a list of texts, or {{text: [...], label: [...]}}"
        )
    letters = [letter(str(label)) for label in labels] if labels is not None else list(LETTERS[: len(texts)])
    if len(letters) != len(texts) or len(texts) < 2:
        raise InputError(
            f"{row.place}: {len(texts)} options, {len(letters)} labels; give two or more, labelled"
        )
    return [str(text).strip() for text in texts], letters


def letter(label: str) -> str:
    """`1` to `9` as `A` to `I`, other labels in upper case."""
    return LETTERS[int(label) - 1] if label in tuple("123456789") else label.strip().upper()


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)

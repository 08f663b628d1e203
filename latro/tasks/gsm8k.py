"""GSM8K: grade-school word problems with a whole number as answer (openai/gsm8k, MIT licence)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from latro.errors import InputError
from latro.grading.named import Grader, final
from latro.grading.numbers import cot_strict, flexible, paper_number, strict
from latro.grading.quantities import canonical_number
from latro.grading.symbolic import symbolic
from latro.tasks.dataset import DatasetTask, UngradableRow
from latro.tasks.loading import Row
from latro.types import Example

_CALCULATOR_MARK = re.compile(r"<<[^<>]*>>")


@dataclass(kw_only=True)
class Gsm8k(DatasetTask):
    """GSM8K with LaTRO's prompt and answer line (arXiv 2411.04282, appendix B).

    Columns: `question`, and `answer` = rationale, `#### `, gold. The gold number loses its thousands
    separators (79 of the 7,473 train rows have some), so that answer lines are uniform; no grader minds.
    The rationale loses the calculator marks `<<48/2=24>>`. About 500 of the 7,473 train rows are validation.
    """

    hub: str | None = "openai/gsm8k"
    hub_config: str | None = "main"
    name: str = "gsm8k"

    hub_splits = ("train", "test")

    def example(self, row: Row, id: str) -> Example:
        """The example that `row` makes."""
        question = row.text("question")
        rationale, hashes, gold = row.text("answer").rpartition("####")
        if not hashes or not gold.strip():
            raise InputError(f"{row.place}: column 'answer' has no gold answer; end it with '#### NUMBER'")
        number = canonical_number(gold)
        if number is None:
            raise UngradableRow(f"the gold answer {gold.strip()!r} is not a number")
        return Example(
            id=id,
            question=question,
            prompt=f"{question} Let's think step by step.",
            answer=f"The answer is {number}.",
            gold=number,
            rationale=_CALCULATOR_MARK.sub("", rationale).strip(),
            place=row.place,
        )

    def grader_table(self) -> Mapping[str, Grader]:
        """Ours, the paper's, lm-eval's three, and math-verify's."""
        return {
            "final": final,
            "paper": paper_number,
            "strict": strict,
            "cot_strict": cot_strict,
            "flexible": flexible,
            "symbolic": symbolic,
        }

r"""Verdicts on numeric answers: a robust one of our own, the paper's, and lm-eval's.

| name         | what it extracts                                                   | compares       |
|--------------|--------------------------------------------------------------------|----------------|
| final_number | number of the last commitment (see `commitment.py`), else the last | canonical text |
| paper_number | first number after the last `The answer is`, else the last         | as floats      |
| strict       | lm-eval `gsm8k`, strict-match: first `#### N`                      | lm-eval text   |
| cot_strict   | lm-eval `gsm8k_cot`, strict-match: first `The answer is N`         | lm-eval text   |
| flexible     | lm-eval, flexible-extract: last number-like span                   | lm-eval text   |
"""

import math
import re

from latro.grading.commitment import Commitment, Kind, commitments, first_line, first_sentence
from latro.grading.quantities import (
    canonical_number,
    canonical_quantity,
    first_quantity,
    quantities,
    unadorned,
)
from latro.types import Example, Graded

_LABEL_WORDS = 8

# The paper's code takes these from a public GSM8K notebook for Gemma; `[0-9,]*` may start with a comma.
_PAPER_NUMBER = re.compile(r"-?[\d,]*\.?\d+")
_PAPER_MARKER = "The answer is"

# lm_eval/tasks/gsm8k/gsm8k.yaml and gsm8k-cot.yaml, version 3.0.
_STRICT = re.compile(r"#### (\-?[0-9\.\,]+)")
_COT_STRICT = re.compile(r"The answer is (\-?[0-9\.\,]+).")
_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_IGNORED = (re.compile(","), re.compile(r"\$"), re.compile(r"(?s).*#### "), re.compile(r"\.$"))


def final_number(example: Example, output: str) -> Graded:
    """Our main verdict: the number the text last commits itself to, compared as canonical decimals.

    The last commitment that holds a number decides. In it, the first sentence's first quantity counts (`3/4` and
    `5 million` are one each), or the result of a computation that starts there (`3 * 4 = 12` gives 12). `Answer:`
    counts only with at most eight words on its line, because some models write it before a whole derivation.
    Without a commitment, the last quantity of the text counts.
    """
    extracted = _final_number(unadorned(output))
    return Graded(extracted=extracted, correct=extracted is not None and extracted == _gold(example))


def paper_number(example: Example, output: str) -> Graded:
    """LaTRO's own extraction: case-sensitive marker, floats compared (arXiv 2411.04282, released code).

    `extracted` is the canonical decimal, so that `18` and `18.00` vote together as they are compared.
    """
    found: list[str] = []
    if _PAPER_MARKER in output:
        found = _PAPER_NUMBER.findall(output.rsplit(_PAPER_MARKER, 1)[-1])[:1]
    if not found:
        found = _PAPER_NUMBER.findall(output)[-1:]
    if not found:
        return Graded(extracted=None, correct=False)
    extracted = found[0].replace(",", "")
    gold = example.gold.replace(",", "")
    try:
        value, wanted = float(extracted), float(gold)
    except ValueError:  # the original falls back to comparing texts
        return Graded(extracted=extracted, correct=extracted == gold)
    return Graded(
        extracted=canonical_number(extracted) or extracted, correct=math.isfinite(value) and value == wanted
    )


def strict(example: Example, output: str) -> Graded:
    """lm-eval `gsm8k`, filter strict-match: the first `#### N`; None without one."""
    return _lm_eval(example, next(iter(_STRICT.findall(output)), None))


def cot_strict(example: Example, output: str) -> Graded:
    """lm-eval `gsm8k_cot`, filter strict-match: the first `The answer is N`, case-sensitive.

    The pattern wants one more character after the number, so a text that ends in `The answer is 42` without
    a full stop loses its last digit. That is lm-eval's behaviour, kept for comparability.
    """
    return _lm_eval(example, next(iter(_COT_STRICT.findall(output)), None))


def flexible(example: Example, output: str) -> Graded:
    """lm-eval, filter flexible-extract: the last span of two or more of `$0-9.,`, or of digits."""
    spans = [wide or narrow for wide, narrow in _FLEXIBLE.findall(output)]
    return _lm_eval(example, spans[-1] if spans else None)


def _lm_eval(example: Example, span: str | None) -> Graded:
    if span is None:
        return Graded(extracted=None, correct=False)
    extracted = _lm_eval_text(span.strip())
    return Graded(extracted=extracted, correct=extracted == _lm_eval_text(example.gold))


def _lm_eval_text(text: str) -> str:
    for pattern in _IGNORED:
        text = pattern.sub("", text)
    return text.lower()


def _gold(example: Example) -> str:
    return canonical_quantity(example.gold) or example.gold


def _final_number(output: str) -> str | None:
    for commitment in commitments(output):
        number = _committed_number(commitment)
        if number is not None:
            return number
    return next(reversed(list(quantities(output))), None)


def _committed_number(commitment: Commitment) -> str | None:
    if commitment.kind is Kind.LABEL and len(first_line(commitment.text).split()) > _LABEL_WORDS:
        return None
    sentence = first_sentence(commitment.text) if commitment.kind is not Kind.BOX else commitment.text
    return first_quantity(sentence)

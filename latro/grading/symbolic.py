"""Verdict by math-verify: is the committed expression mathematically equal to the gold one?"""

import logging
import re
import threading
from functools import lru_cache
from typing import Any

from latro.grading.commitment import Kind, commitments, first_line, last_line
from latro.grading.quantities import canonical_number
from latro.types import Example, Graded

_TIME_LIMIT_S = 5
_LONGEST = 300
# Evaluating these would take hours or all memory, and in a thread no time limit can stop it.
_POWER = r"(?:\^|\*\*)"
_EXPLOSIVE = re.compile(
    rf"{_POWER}[\s{{(]*[\w.]+[\s{{(]*{_POWER}"  # a tower: 9^9^9
    rf"|[)}}]\s*{_POWER}[\s{{(]*[0-9]{{2,}}"  # (9^99)^99
    rf"|{_POWER}[\s{{(]*[0-9]{{4,}}"
    r"|[0-9]{3,}\s*!"
)


def symbolic(example: Example, output: str) -> Graded:
    r"""Equality by math-verify of the last commitment (`\boxed{...}`, phrase, label), else of the last line.

    `extracted` is a canonical number where there is one, else the expression as sympy prints it, else None.
    Expressions that explode when evaluated (towers of powers, factorials of large numbers) and texts longer
    than 300 characters count as not found. math-verify's own time limit works by a signal, hence in the main
    thread only; elsewhere it is off. Odd text is never an exception.
    """
    committed = next(iter(commitments(output)), None)
    if committed is None:
        text = last_line(output)
    else:
        text = committed.text.strip() if committed.kind is Kind.BOX else first_line(committed.text)
    number = canonical_number(text.removesuffix("."))
    gold_number = canonical_number(example.gold)
    if number is not None and gold_number is not None:  # sympy is a thousand times slower and agrees
        return Graded(extracted=number, correct=number == gold_number)
    if not text or len(text) > _LONGEST or explodes(text):
        return Graded(extracted=None, correct=False)
    boxed = committed is not None and committed.kind is Kind.BOX
    return _verified(example.gold, rf"\boxed{{{text}}}" if boxed else text)


def explodes(text: str) -> bool:
    """Whether evaluating `text` as an expression could take hours: towers of powers, huge factorials."""
    return _EXPLOSIVE.search(text) is not None


def _verified(gold: str, text: str) -> Graded:
    math_verify = _math_verify()
    limit = _TIME_LIMIT_S if threading.current_thread() is threading.main_thread() else None
    try:
        parsed = math_verify.parse(text, parsing_timeout=limit)
        wanted = math_verify.parse(rf"\boxed{{{gold}}}", parsing_timeout=limit)
        if not parsed:
            return Graded(extracted=None, correct=False)
        correct = bool(math_verify.verify(wanted, parsed, timeout_seconds=limit))
        extracted = str(parsed[0])
    except Exception as error:  # noqa: BLE001 - the parser meets model output and may raise anything
        logging.getLogger(__name__).debug("math-verify failed on %r: %r", text, error)
        return Graded(extracted=None, correct=False)
    return Graded(extracted=canonical_number(extracted) or extracted, correct=correct)


@lru_cache(maxsize=1)
def _math_verify() -> Any:
    """math-verify, imported when first needed, with its remarks on time limits silenced."""
    import math_verify

    for name in ("math_verify.parser", "math_verify.grader"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return math_verify

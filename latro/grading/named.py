"""Graders by the names under which a configuration asks for them."""

from collections.abc import Callable, Mapping
from importlib import import_module

from latro.errors import InputError
from latro.grading.commitment import commitments, first_line, last_line, sentence_prefixes
from latro.grading.numbers import cot_strict, final_number, flexible, paper_number, strict
from latro.grading.options import bare_option, exact_option, final_option, paper_option
from latro.grading.quantities import canonical_quantity
from latro.grading.symbolic import symbolic
from latro.types import Example, Graded

Grader = Callable[[Example, str], Graded]
"""A pure function from an example and an output to a verdict. It must not raise for a strange output."""


def final_text(example: Example, output: str) -> Graded:
    """Free text: the last commitment (else the last line) equals the gold text, case and spacing aside.

    It is right if the committed line, whole or up to one of its sentence ends, is the gold text. What is extracted is
    the whole line without its last full stop, whatever the gold text is, so that a vote does not know it.
    """
    committed = next((commitment.text for commitment in commitments(output)), None)
    prefixes = sentence_prefixes(first_line(committed) if committed is not None else last_line(output))
    whole, *shorter = (bare_option(prefix).casefold() for prefix in prefixes)
    gold = bare_option(example.gold).casefold()
    return Graded(extracted=whole or None, correct=bool(gold) and gold in (whole, *shorter))


def final(example: Example, output: str) -> Graded:
    """The robust main verdict for any example: by option, number or text, as its gold answer demands."""
    if example.choices:
        return final_option(example, output)
    if canonical_quantity(example.gold) is not None:
        return final_number(example, output)
    return final_text(example, output)


def answer_line(example: Example, output: str) -> Graded:
    """The output's last line is the gold answer line, letter by letter: for answers that a program reads."""
    said = output.rstrip().rpartition("\n")[2].strip()
    return Graded(extracted=said or None, correct=said == example.answer.strip())


GRADERS: Mapping[str, Grader] = {
    "final": final,
    "final_number": final_number,
    "final_option": final_option,
    "final_text": final_text,
    "paper_number": paper_number,
    "paper_option": paper_option,
    "strict": strict,
    "cot_strict": cot_strict,
    "flexible": flexible,
    "exact_option": exact_option,
    "symbolic": symbolic,
    "answer_line": answer_line,
}
"""Our own graders; any other is named by its import path."""


def named_grader(name: str) -> Grader:
    """The grader of that name, or the function at that import path (`my_package.grading.my_grader`).

    Raises InputError for a name that is neither.
    """
    if name in GRADERS:
        return GRADERS[name]
    module, _, function = name.rpartition(".")
    try:
        grader = getattr(import_module(module), function) if module else None
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"task.graders: cannot import {name!r} ({error}); check the path and PYTHONPATH"
        ) from error
    if not callable(grader):
        known = ", ".join(GRADERS)
        raise InputError(f"task.graders: no grader {name!r}; use one of {known}, or an import path")
    return grader

"""Verdicts on multiple-choice answers: which option does a text choose?

| name         | when an option counts as chosen                                                   |
|--------------|-----------------------------------------------------------------------------------|
| exact_option | the committed text *is* one option's text, or its letter, or both: `(B) wet palms` |
| final_option | the same; else the committed line mentions just one option, or just one letter    |
| paper_option | the paper's substring test, with its faults                                       |

Options are compared without the full stop at their end. Case decides where case is all that tells two options
apart (`Tt` and `tt`). Letter and text that point to different options choose nothing.
"""

import re
from collections.abc import Sequence

from latro.grading.commitment import commitments, first_line, first_sentence, last_line, sentence_prefixes
from latro.types import Example, Graded

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Letters of the first 26 options, in order."""

_LETTER = re.compile(r"\(?([A-Z])[).:]?")
_LETTERED = re.compile(r"(?:\(([A-Z])\)|([A-Z])[).:])\s*(\S.*)")
_REASON = re.compile(r"['\"”*]*[,;]?\s+(?:because|since|as|due to)\b")
_LETTER_MENTION = re.compile(
    r"\(([A-Z])\)|\b(?:[Oo]ption|[Cc]hoice|[Ll]etter)\s+\(?([A-Z])\b|^([A-Z])(?=[).:,;]|\s+(?:because|since)\b)"
)

_FILLER = (
    r"(?:(?:an?|the|be|been|going|to|for|likely|possibly|really|option|choice|(?:is|can|could|would)\s+it"
    r"|(?:think|believe)(?:\s+that)?\s+it(?:['’]s|\s+is))\s+)*['\"“‘(*]*"
)
# Words that deny the mention behind them, with nothing between that could be a clause of its own.
_DENIAL = re.compile(
    rf"(?:\b(?:not|cannot|never|neither|nor|rul(?:e|es|ed|ing)\s+out|except)|n['’]t)\s+{_FILLER}$", re.I
)
_REACH = 80
"""Letters before a mention in which its denial is looked for, so that no text can take long."""
# What may stand between one denied mention and the next: `(A) or (B)`, `(A) dry palms`.
_LIKEWISE = re.compile(rf"['\"”’*)]*(?:,?\s+n?or\s+|\s+and\s+|\s+){_FILLER}", re.I)
_ASSERTED = re.compile(r"['\"”’*)]*\s+(?:is|are|was|were|must|would|will)\b", re.I)
"""What makes a mention behind `and` one of a clause of its own: `not (A) and (B) is right`."""


def bare_option(option: str) -> str:
    """`option` with single spaces and without one full stop at its end (an ellipsis stays)."""
    return without_full_stop(" ".join(option.split()))


def without_full_stop(text: str) -> str:
    """`text` without one full stop at its end; an ellipsis stays."""
    return text[:-1].rstrip() if text.endswith(".") and not text.endswith("..") else text


def gold_index(example: Example) -> int:
    """Position of the gold answer among the choices. Raises ValueError if it is none of them."""
    return [bare_option(choice) for choice in example.choices].index(bare_option(example.gold))


def exact_option(example: Example, output: str) -> Graded:
    """The option that the last commitment, else the last line, consists of; None if it is no option.

    The committed line is read whole first, then up to each of its sentence ends, longest first, so that an
    explanation may follow and an option may hold a full stop. A commitment on the same line as its letter
    (`B. wet palms`) counts if the two agree.
    """
    committed = next((commitment.text for commitment in commitments(output)), None)
    line = first_line(committed) if committed is not None else last_line(output)
    return _graded(example, _exact(line, _bare(example)))


def final_option(example: Example, output: str) -> Graded:
    """Our main verdict: the last commitment (else the last line) that names exactly one option.

    A commitment names an option exactly, as in `exact_option`, or by mentioning one option's text as whole
    words (an option inside a longer mentioned one does not count), or by mentioning one letter as `(B)`,
    `option B`, or `B.` at its start. The clause before a `because` is read first, then the sentence, then the
    line. A text that mentions two options names none. Neither the 2 of `2.5` nor what is denied (`not going to be`,
    `cannot be`, `rule out`, ...) is a mention.
    """
    options = _bare(example)
    lines = [first_line(commitment.text) for commitment in commitments(output)] or [last_line(output)]
    for line in lines:
        sentence = first_sentence(line)
        chosen = _exact(line, options)
        for text in (_REASON.split(sentence)[0], sentence, line):
            chosen = chosen or _exact(text, options) or _mentioned(text, options)
        if len(chosen) == 1:
            return _graded(example, chosen)
    return Graded(extracted=None, correct=False)


def paper_option(example: Example, output: str) -> Graded:
    """LaTRO's own verdict (arXiv 2411.04282, released code): is the gold text part of the answer fragment?

    The lower-cased text is cut at every full stop; the fragment is what follows `the answer is` in the last
    fragment that has it, else the last fragment. Faults kept: a short option inside a longer wrong one is
    right (`cell` in `cell wall`), naming every option is right, an option holding a full stop is always
    wrong, and case is ignored. For a vote `extracted` is the one option that the fragment holds, None where it
    holds none, and the fragment itself where it holds several.
    """
    fragments = output.lower().split(".")
    marked = [fragment for fragment in fragments if "the answer is" in fragment]
    fragment = marked[-1].rsplit("the answer is", 1)[-1] if marked else fragments[-1]
    held = {option for choice in example.choices if (option := bare_option(choice).lower()) in fragment}
    extracted = next(iter(held)) if len(held) == 1 else fragment.strip() if held else None
    return Graded(extracted=extracted, correct=bool(example.gold) and example.gold.lower() in fragment)


def _bare(example: Example) -> list[str]:
    return [bare_option(choice) for choice in example.choices]


def _graded(example: Example, chosen: set[int]) -> Graded:
    if len(chosen) != 1:
        return Graded(extracted=None, correct=False)
    extracted = bare_option(example.choices[next(iter(chosen))])
    return Graded(extracted=extracted, correct=extracted == bare_option(example.gold))


def _exact(line: str, options: Sequence[str]) -> set[int]:
    """The option that `line`, or the longest beginning of it, consists of; two options if it is ambiguous."""
    for prefix in sentence_prefixes(line):
        chosen = _indices(prefix, options)
        if chosen:
            return chosen
    return set()


def _indices(text: str, options: Sequence[str]) -> set[int]:
    """Options that `text` can mean: by its text, by its letter, or by both; two of them make it ambiguous."""
    chosen = _by_text(text, options)
    letter = _LETTER.fullmatch(text)
    if letter:
        chosen |= _by_letter(letter[1], options)
    lettered = _LETTERED.fullmatch(text)
    if lettered and not chosen:
        named = _by_text(lettered[3], options)
        chosen = named | _by_letter(lettered[1] or lettered[2], options) if named else set()
    return chosen


def _by_text(text: str, options: Sequence[str]) -> set[int]:
    wanted = bare_option(re.sub(r"^\\text\{(.*)\}$", r"\1", text)).strip("()[]'\"") or text
    if text in options:
        return {options.index(text)}
    if wanted in options:
        return {options.index(wanted)}
    folded = [index for index, option in enumerate(options) if option.casefold() == wanted.casefold()]
    return set(folded) if len(folded) == 1 else set()


def _by_letter(letter: str, options: Sequence[str]) -> set[int]:
    index = LETTERS.index(letter)
    return {index} if index < len(options) else set()


def _mentioned(line: str, options: Sequence[str]) -> set[int]:
    case_matters = len({option.casefold() for option in options}) < len(set(options))
    flags = 0 if case_matters else re.I
    spans = [
        (match.start(), match.end(), index)
        for index, option in enumerate(options)
        for match in re.finditer(_whole(option), line, flags)
    ]
    outer = [
        (start, end, index)
        for start, end, index in spans
        if not any(s <= start and end <= e and e - s > end - start for s, e, _ in spans)
    ]
    letters = [
        (match.start(), match.end(), index)
        for match in _LETTER_MENTION.finditer(line)
        for index in _by_letter(next(group for group in match.groups() if group), options)
    ]
    chosen: set[int] = set()
    denied = len(line)
    """Where the last denied mention ends."""
    for start, end, index in sorted(outer + letters):
        likewise = _LIKEWISE.fullmatch(line, denied, start)
        if likewise and "and" in likewise[0].lower().split() and _ASSERTED.match(line, end):
            likewise = None
        if likewise or _DENIAL.search(line, max(0, start - _REACH), start):
            denied = end
        else:
            chosen.add(index)
    return chosen


def _whole(option: str) -> str:
    """A pattern for the option's text as whole words; a number must not go on before or behind it."""
    before = r"(?<![\w\-−])" + (r"(?<![.,/])" if option[:1].isdigit() else "")
    return before + re.escape(option) + (r"(?!\w|[.,/]\d)" if option[-1:].isdigit() else r"(?!\w)")

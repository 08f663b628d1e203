r"""Numbers as texts write them: `$1,234.50`, `3/4`, `1 1/2`, `\frac{3}{4}`, `10^6`, `5 million`, `3 + 4 = 7`."""

import re
from collections.abc import Iterator
from fractions import Fraction

_INTEGER = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"
# A hyphen before a digit is a sign unless it stands between two terms: `10-3`, `5 -3` and `(2+3) -3` hold a 3.
_SIGN = r"(?:(?<![\w)])(?<![\d)]\s)-)?"
_NUMBER = rf"{_SIGN}\$?{_SIGN}(?:{_INTEGER}(?:\.[0-9]+)?|\.[0-9]+)"
_FRAC = r"\\[dt]?frac\s*\{%s\}\s*\{%s\}"
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_SCALE = rf"(?:\s*(?P<scale>{'|'.join(_SCALES)})\b)?"
_QUANTITY = re.compile(
    rf"(?P<sign>{_SIGN})(?:(?P<whole>[0-9]+)\s*)?{_FRAC % (rf'(?P<top>{_NUMBER})', rf'(?P<bottom>{_NUMBER})')}"
    rf"|(?P<number>{_NUMBER})"
    r"(?:\s+(?P<mixed_top>[0-9]+)/(?P<mixed_bottom>[0-9]+)"
    rf"|\s*/\s*(?P<over>{_NUMBER})"
    r"|\s*\^\s*\{?(?P<power>-?[0-9]+)\}?"
    r"|\s*[×x*]\s*10\s*\^\s*\{?(?P<ten>-?[0-9]+)\}?)?" + _SCALE,
    re.I,
)
# A unit may stand between a number and the sign that follows it: `3 apples + 4 apples = 7 apples`.
_UNIT = r"(?:\s+(?!(?:because|since|as|where|when|if|for|with|and|or|so)\b)[A-Za-z]+){0,2}"
_TERM = rf"[(]*(?:{_FRAC % (_NUMBER, _NUMBER)}|{_NUMBER})%?{_UNIT}[)]*"
# `of` and a parenthesis right behind a number, closed before the result, multiply: `60% of 50 = 30`, `2(3+4) = 14`.
_OPERATOR = r"(?:\s*[-+*/x×÷·]\s*|\s+of\s+|(?<=[\d)])(?=\([^=]*\)))"
_EQUATION = re.compile(rf"{_TERM}(?:{_OPERATOR}{_TERM})+\s*=\s*(?=[($]*{_SIGN}[\\.$0-9])")
_LATEX_NOISE = re.compile(r"\{,\}|\\[,!;: ]|\\(?=[$%])")
_LATEX_SIGNS = {"−": "-", r"\times": "×", r"\cdot": "·", r"\div": "÷"}
_MOST_DIGITS = 60
"""What is more than a plain number is computed only below this many digits, so that no text can take long."""


def canonical_number(text: str) -> str | None:
    """`text` as a plain decimal (`$1,234.50` gives `1234.5`, `-0` gives `0`); None if it is no number."""
    match = re.fullmatch(_NUMBER, unadorned(text).strip())
    if match is None:
        return None
    sign = "-" if "-" in match[0] else ""
    whole, _, fraction = re.sub(r"[^0-9.]", "", match[0]).partition(".")
    digits = (whole.lstrip("0") or "0") + ("." + fraction).rstrip("0").rstrip(".")
    return digits if digits == "0" else sign + digits


def canonical_quantity(text: str) -> str | None:
    """The same for all that is read as one quantity: `3/4` gives `0.75`, `1/3` itself, `5 million` `5000000`."""
    match = _QUANTITY.fullmatch(unadorned(text).strip())
    return _value(match) if match else None


def quantities(text: str) -> Iterator[str | None]:
    """Every quantity of an unadorned text in canonical form; None for one that is too large, or over zero."""
    return (_value(match) for match in _QUANTITY.finditer(text))


def first_quantity(text: str) -> str | None:
    """The first quantity of an unadorned text; where a computation stands there, its result (`3 * 4 = 12`: 12)."""
    first = _QUANTITY.search(text)
    if first is None:
        return None
    start = first.start()
    while equation := _EQUATION.match(text, start):
        start = equation.end()
    found = _QUANTITY.search(text, start)
    return _value(found) if found else None


def unadorned(text: str) -> str:
    """`text` with LaTeX's spaces and signs written plainly."""
    for written, sign in _LATEX_SIGNS.items():
        text = text.replace(written, sign)
    return _LATEX_NOISE.sub("", text)


def _value(match: re.Match[str]) -> str | None:
    """A quantity computed exactly: a decimal where it has an end, else a fraction in lowest terms."""
    part = match.groupdict()
    if part["number"] and not any(part[name] for name in ("mixed_bottom", "over", "power", "ten", "scale")):
        return canonical_number(part["number"])
    if len(match[0]) > _MOST_DIGITS:
        return None
    try:
        return _decimal(_fraction(part) * 10 ** _SCALES.get((part["scale"] or "").lower(), 0))
    except (ZeroDivisionError, OverflowError):
        return None


def _fraction(part: dict[str, str | None]) -> Fraction:
    """Raises ZeroDivisionError for nothing below the line, OverflowError for a power beyond reach."""
    if part["bottom"]:
        value = Fraction(part["whole"] or 0) + _plain(part["top"]) / _plain(part["bottom"])
        return -value if part["sign"] else value
    number = _plain(part["number"])
    if part["mixed_bottom"]:
        share = Fraction(int(part["mixed_top"] or 0), int(part["mixed_bottom"]))
        return number - share if number < 0 else number + share
    if part["over"]:
        return number / _plain(part["over"])
    exponent = int(part["power"] or part["ten"] or 0)
    if abs(exponent) > _MOST_DIGITS:
        raise OverflowError
    if part["power"]:
        return number**exponent
    return number * Fraction(10) ** exponent


def _plain(number: str | None) -> Fraction:
    return Fraction(canonical_number(number or "") or 0)


def _decimal(value: Fraction) -> str:
    """`0.75` for 3/4, `1/3` for what no decimal equals."""
    places, rest = 0, value.denominator
    while rest % 10 == 0 or rest % 5 == 0 or rest % 2 == 0:
        rest //= 10 if rest % 10 == 0 else 5 if rest % 5 == 0 else 2
        places += 1
    if rest != 1:
        return str(value)
    scaled = str(abs(int(value * 10**places))).rjust(places + 1, "0")
    text = f"{scaled[:-places]}.{scaled[-places:]}".rstrip("0").rstrip(".") if places else scaled
    return f"-{text}" if value < 0 else text

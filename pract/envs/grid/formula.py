"""Formulas over cells: a few functions, the four operations, nothing else."""

import ast
import math
import operator
import re
from collections.abc import Callable

Number = float | int
Lookup = Callable[[str], object]
"""Cell position to its value."""

LONGEST_FORMULA = 300
AGGREGATES: dict[str, Callable[[list[float]], float]] = {
    "SUM": math.fsum,
    "AVERAGE": lambda values: math.fsum(values) / len(values),
    "COUNT": lambda values: float(len(values)),
    "MAX": max,
    "MIN": min,
    "MINUS": lambda values: values[0] - math.fsum(values[1:]),
    "PRODUCT": math.prod,
}
OPERATIONS: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class BadFormula(ValueError):
    """The formula cannot be computed; the message says why."""


def aggregate(name: str, values: list[object]) -> float:
    """The function over the numbers among the values.

    Raises BadFormula without numbers, for one that is not finite, or for another name.
    """
    function = AGGREGATES.get(name.strip().upper())
    if function is None:
        raise BadFormula(f"{name[:40]!r} is no operator; choose one of {', '.join(AGGREGATES)}")
    numbers = [_finite(float(value)) for value in values if isinstance(value, int | float)]
    if not numbers:
        raise BadFormula("there is no number in these cells")
    return _finite(function(numbers))


def evaluate(text: str, lookup: Lookup, spread: Callable[[str, str], list[object]]) -> float:
    """The value of a formula such as `=C2*D2` or `=SUM(C2:G2)/5`. Raises BadFormula."""
    if len(text) > LONGEST_FORMULA:
        raise BadFormula(f"the formula is longer than {LONGEST_FORMULA} characters")
    source = re.sub(r"\b([A-Z]{1,2}\d+):([A-Z]{1,2}\d+)\b", r'("\1", "\2")', text.removeprefix("=").upper())
    try:
        tree = ast.parse(source.strip(), mode="eval").body
        return _finite(_value(tree, lookup, spread))
    except (SyntaxError, ZeroDivisionError, OverflowError, RecursionError, MemoryError) as error:
        raise BadFormula(f"the formula cannot be computed ({type(error).__name__})") from None


def _value(node: ast.expr, lookup: Lookup, spread: Callable[[str, str], list[object]]) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=position):
            return _number(lookup(position), position)
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_value(inner, lookup, spread)
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in OPERATIONS:
            return OPERATIONS[type(sign)](_value(left, lookup, spread), _value(right, lookup, spread))
        case ast.Call(func=ast.Name(id=name), args=parts, keywords=[]):
            return aggregate(name, [value for part in parts for value in _values(part, lookup, spread)])
    raise BadFormula("only cells, numbers, + - * / and the known operators can stand in a formula")


def _values(part: ast.expr, lookup: Lookup, spread: Callable[[str, str], list[object]]) -> list[object]:
    match part:
        case ast.Tuple(elts=[ast.Constant(value=str() as start), ast.Constant(value=str() as end)]):
            return spread(start, end)
        case ast.Name(id=position):
            return [lookup(position)]
    return [_value(part, lookup, spread)]


def _number(value: object, position: str) -> float:
    if value == "":
        return 0.0
    if not isinstance(value, int | float):
        raise BadFormula(f"cell {position} holds no number")
    return float(value)


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise BadFormula("a number is too large")
    return number

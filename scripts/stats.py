"""Intervals of means over examples. The distributions are scipy's, which loads them when they are first asked for."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean, stdev

import scipy

LEVEL = 0.95
"""Of every interval."""
SMALLEST = 1e-12
"""A difference below this is a rounding error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean with its standard error and 95% interval over n examples."""

    value: float
    stderr: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        """As `0.450 [0.307, 0.602] n=40`."""
        return f"{self.value:.3f} {interval_text(self.low, self.high)} n={self.n}"


def interval_text(low: float | None, high: float | None, digits: int = 3, *, signed: bool = False) -> str:
    """`[0.307, 0.602]`, or `unbounded`."""
    if low is None or high is None or not math.isfinite(low):
        return "unbounded"
    form = f"{'+' * signed}.{digits}f"
    return f"[{low:{form}}, {high:{form}}]"


def finite(value: float) -> float | None:
    """The value; None for an infinite bound or no number, for which JSON has no word."""
    return value if math.isfinite(value) else None


def as_json(estimate: Estimate) -> dict[str, float | int | None]:
    """The estimate as JSON: an unbounded interval has no bounds."""
    return {name: finite(value) for name, value in asdict(estimate).items()}


def proportion(successes: int, n: int) -> Estimate:
    """A share of n examples with Wilson's interval. The standard error is lm-eval's, with n - 1."""
    interval = scipy.stats.binomtest(successes, n).proportion_ci(LEVEL, method="wilson")
    share = successes / n
    stderr = math.sqrt(share * (1 - share) / (n - 1)) if n > 1 else math.nan
    return Estimate(value=share, stderr=stderr, low=float(interval.low), high=float(interval.high), n=n)


def mean(values: Sequence[float]) -> Estimate:
    """A mean with Student's interval; unbounded with one value, or where one is no finite number."""
    n = len(values)
    if n < 2 or not all(map(math.isfinite, values)):
        return Estimate(value=sum(values) / n, stderr=math.nan, low=-math.inf, high=math.inf, n=n)
    centre = fmean(values)
    stderr = stdev(values) / math.sqrt(n)
    half = float(scipy.stats.t.ppf((1 + LEVEL) / 2, n - 1)) * stderr
    return Estimate(value=centre, stderr=stderr, low=centre - half, high=centre + half, n=n)


def within(found: Estimate, low: float, high: float) -> Estimate:
    """The estimate with its interval cut to what is possible; an unbounded one stays unbounded."""
    if not math.isfinite(found.low):
        return found
    return replace(found, low=max(low, found.low), high=min(high, found.high))


def unbounded_without_spread(found: Estimate) -> Estimate:
    """The estimate, without bounds where its values are all alike: no spread seen is no certainty."""
    return replace(found, low=-math.inf, high=math.inf) if found.stderr <= SMALLEST else found


def share_or_mean(values: Sequence[float]) -> Estimate:
    """A mean of values in [0,1]: with Wilson's interval where all are 0 or 1, else with Student's, cut to [0,1]."""
    if all(value in (0.0, 1.0) for value in values):
        return proportion(round(sum(values)), len(values))
    return within(unbounded_without_spread(mean(values)), 0.0, 1.0)


def paired_difference(after: Sequence[float], before: Sequence[float]) -> Estimate:
    """Mean of the pairwise differences with Student's interval; unbounded where the differences are all alike."""
    return unbounded_without_spread(mean([a - b for a, b in zip(after, before, strict=True)]))


def score_difference(after: Sequence[float], before: Sequence[float]) -> Estimate:
    """Mean difference of paired values in [0,1]: as `share_difference` where all are 0 or 1, else Student's, cut."""
    if all(value in (0.0, 1.0) for value in (*after, *before)):
        won, lost, _ = mcnemar([value == 1 for value in after], [value == 1 for value in before])
        return share_difference(won, lost, len(after))
    return within(paired_difference(after, before), -1.0, 1.0)


def share_difference(won: int, lost: int, n: int) -> Estimate:
    """Difference of two paired shares of n examples, of which `won` became right and `lost` became wrong.

    The interval is Bonett and Price's (2012): Wald's after one more example of each kind, so that it has a width
    even where nothing changed. The standard error is that of the plain difference.
    """
    value = (won - lost) / n
    up, down = (won + 1) / (n + 2), (lost + 1) / (n + 2)
    half = float(scipy.stats.norm.ppf((1 + LEVEL) / 2)) * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    return Estimate(
        value=value,
        stderr=math.sqrt(max(0.0, (won + lost) / n - value**2) / n),
        low=max(-1.0, up - down - half),
        high=min(1.0, up - down + half),
        n=n,
    )


def mcnemar(after: Sequence[bool], before: Sequence[bool]) -> tuple[int, int, float]:
    """Examples won, examples lost, and the exact two-sided p-value of McNemar's test."""
    won = sum(a and not b for a, b in zip(after, before, strict=True))
    lost = sum(b and not a for a, b in zip(after, before, strict=True))
    p = float(scipy.stats.binomtest(won, won + lost).pvalue) if won + lost else 1.0
    return won, lost, p

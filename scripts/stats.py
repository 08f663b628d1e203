"""Intervals of means over examples. The distributions are scipy's, which loads them when they are first asked for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import scipy


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
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] n={self.n}"


def proportion(successes: int, n: int, level: float = 0.95) -> Estimate:
    """A share of n examples with Wilson's interval. The standard error is lm-eval's, with n - 1."""
    interval = scipy.stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    share = successes / n
    stderr = math.sqrt(share * (1 - share) / (n - 1)) if n > 1 else math.nan
    return Estimate(value=share, stderr=stderr, low=float(interval.low), high=float(interval.high), n=n)


def mean(values: Sequence[float], level: float = 0.95) -> Estimate:
    """A mean with Student's interval; with one value the interval is unbounded."""
    centre, n = fmean(values), len(values)
    if n < 2:
        return Estimate(value=centre, stderr=math.nan, low=-math.inf, high=math.inf, n=n)
    stderr = stdev(values) / math.sqrt(n)
    half = float(scipy.stats.t.ppf((1 + level) / 2, n - 1)) * stderr
    return Estimate(value=centre, stderr=stderr, low=centre - half, high=centre + half, n=n)


def share_or_mean(values: Sequence[float]) -> Estimate:
    """A mean with Wilson's interval where all values are 0 or 1, as Student's has no width where they are alike."""
    if all(value in (0.0, 1.0) for value in values):
        return proportion(round(sum(values)), len(values))
    return mean(values)


def paired_difference(after: Sequence[float], before: Sequence[float], level: float = 0.95) -> Estimate:
    """Mean of the pairwise differences with Student's interval."""
    return mean([a - b for a, b in zip(after, before, strict=True)], level)


def share_difference(won: int, lost: int, n: int, level: float = 0.95) -> Estimate:
    """Difference of two paired shares of n examples, of which `won` became right and `lost` became wrong.

    The interval is Bonett and Price's (2012): Wald's after one more example of each kind, so that it has a width
    even where nothing changed. The standard error is that of the plain difference.
    """
    value = (won - lost) / n
    up, down = (won + 1) / (n + 2), (lost + 1) / (n + 2)
    half = float(scipy.stats.norm.ppf((1 + level) / 2)) * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
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

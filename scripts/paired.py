"""Is one of two better on the same items? Tests and intervals for pairs; the distributions are scipy's.

Right and wrong: McNemar's exact test (`stats.mcnemar`). Scores and log-likelihoods: the sign-flip test. Several seeds
a side: seeds and items both vary, and both count.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # loads its parts when they are first asked for, which keeps --help quick
from numpy.typing import ArrayLike, NDArray

from scripts.stats import LEVEL, SMALLEST, Estimate

RESAMPLES = 9999


def sign_flip(
    after: Sequence[float], before: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES
) -> float:
    """Two-sided p of the mean difference, if the sign of each were a coin's.

    Exact up to 13 unequal pairs; above, from 9999 random flips, with the observed one counted among them. Equal pairs
    stay what they are under any flip and are left out of it.
    """
    differences = np.subtract(after, before)
    unequal = differences[np.abs(differences) > SMALLEST]
    if len(unequal) < 2:  # one alone is as far from zero under either sign
        return 1.0
    found = scipy.stats.permutation_test(
        (unequal,),
        np.sum,
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, 2_000_000 // len(unequal)),
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def bootstrap(
    after: Sequence[float],
    before: Sequence[float],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Mean difference with the paired bootstrap's percentile interval over items; for 20 items or more."""
    differences = np.subtract(after, before)
    n = len(differences)
    if n < 2:
        return Estimate(value=float(differences.mean()), stderr=math.nan, low=-math.inf, high=math.inf, n=n)
    found = scipy.stats.bootstrap(
        (differences,),
        np.mean,
        confidence_level=LEVEL,
        n_resamples=resamples,
        batch=max(1, 2_000_000 // n),
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    interval = found.confidence_interval
    return Estimate(
        value=float(differences.mean()),
        stderr=float(found.standard_error),
        low=float(interval.low),
        high=float(interval.high),
        n=n,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossed:
    """What makes a mean over seeds and items uncertain: variances of that mean, with their degrees of freedom."""

    items: float
    """Variance that comes from the choice of items."""
    seeds: float
    """Variance that comes from the choice of seeds; some of it is the rest, which items share."""
    rest: float
    """Variance from what neither the seed nor the item explains."""
    items_freedom: int
    seeds_freedom: int

    @property
    def shown(self) -> bool:
        """Whether the mean over seeds or that over items varies at all; if neither does, it tells no uncertainty."""
        return max(self.items, self.seeds) > SMALLEST**2

    def half_width(self, alpha: float) -> float:
        """Half of the interval that misses with probability `alpha`; without bound where no spread is shown.

        Each variance comes with Student's quantile of its own degrees of freedom. The rest is in both, and counted
        once; and the interval is never narrower than seeds alone make it.
        """
        if not self.shown:
            return math.inf
        by_seeds = float(scipy.special.stdtrit(self.seeds_freedom, alpha / 2)) ** 2
        by_items = float(scipy.special.stdtrit(self.items_freedom, alpha / 2)) ** 2 if self.items else 0.0
        whole = by_items * self.items + by_seeds * max(self.seeds - self.rest, 0.0)
        return math.sqrt(max(whole, by_seeds * self.seeds))

    def p_value(self, value: float) -> float:
        """Two-sided p of a mean: the `alpha` at which its interval just touches zero."""
        least = 1e-12
        if abs(value) <= SMALLEST or self.half_width(1 - least) >= abs(value):
            return 1.0
        if self.half_width(least) <= abs(value):
            return least
        return float(
            scipy.optimize.brentq(
                lambda alpha: self.half_width(alpha) - abs(value), least, 1 - least, xtol=1e-14
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Clustered:
    """A difference between two settings, of which each was run under several seeds."""

    difference: Estimate
    """`n` counts items."""
    spread: Crossed

    @property
    def p(self) -> float:
        """Two-sided."""
        return self.spread.p_value(self.difference.value)

    def detectable(self, alpha: float = 0.05, power: float = 0.8) -> float:
        """As `minimum_detectable`."""
        return self.spread.half_width(alpha) + self.spread.half_width(2 * (1 - power))


def clustered(after_SN: ArrayLike, before_SN: ArrayLike, *, matched: bool) -> Clustered:
    """Mean difference over seeds and items, as evidence on other seeds and other items than these.

    after_SN, before_SN: a row for each seed, a column for each item; one side at least has several rows, and a side
    with one is taken as it is: what is said holds for that very run, not for its setting under other seeds. matched:
    row s of both sides has the same seed, and seeds are paired; else the sides' seeds are independent, and their
    numbers may differ: then both are taken to spread alike, as in Student's test.

    Seeds and items are crossed random effects (two-way analysis of variance without replication).
    """
    after, before = np.asarray(after_SN, dtype=float), np.asarray(before_SN, dtype=float)
    by_item_N = after.mean(axis=0) - before.mean(axis=0)
    items, value = len(by_item_N), float(by_item_N.mean())
    sides = [side for side in ([after - before] if matched else [after, before]) if len(side) > 1]
    freedom = sum(len(side) - 1 for side in sides)
    share = sum(1 / len(side) for side in sides) / freedom
    """What a sum of squares over seeds adds to the variance of the difference."""
    spread = Crossed(
        items=float(by_item_N.var(ddof=1)) / items if items > 1 else 0.0,
        seeds=share * sum(_squares(side.mean(axis=1)) for side in sides),
        rest=share * sum(_interaction(side) for side in sides) / (items * (items - 1)) if items > 1 else 0.0,
        items_freedom=items - 1,
        seeds_freedom=freedom,
    )
    half = spread.half_width(1 - LEVEL)
    stderr = math.sqrt(max(spread.items + max(spread.seeds - spread.rest, 0.0), spread.seeds))
    return Clustered(
        difference=Estimate(value=value, stderr=stderr, low=value - half, high=value + half, n=items),
        spread=spread,
    )


def _interaction(values_SN: NDArray[np.float64]) -> float:
    """Sum of squares of what neither the seed nor the item explains."""
    left = values_SN - values_SN.mean(axis=1, keepdims=True) - values_SN.mean(axis=0) + values_SN.mean()
    return float((left**2).sum())


def _squares(values_S: NDArray[np.float64]) -> float:
    """Sum of squares around the mean."""
    return float(((values_S - values_S.mean()) ** 2).sum())


def minimum_detectable(
    stderr: float, freedom: float = math.inf, *, alpha: float = 0.05, power: float = 0.8
) -> float:
    """The true difference that a two-sided test at `alpha` finds with probability `power`, given this standard error.

    It says what this comparison could have seen, for one test alone; a table of many can see less.
    """
    distribution = scipy.stats.t(freedom) if math.isfinite(freedom) else scipy.stats.norm()
    return float((distribution.ppf(1 - alpha / 2) + distribution.ppf(power)) * stderr)


def detectable_share(won: int, lost: int, n: int, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """As `minimum_detectable`, for the exact test of McNemar on n pairs; infinite where no change reaches the power.

    So many pairs as seen (and one more) are taken to flip against the change; the test then finds it with a chance
    that is a sum over how many flip in all, as it cannot reach alpha with less than six.
    """
    against = (min(won, lost) + 1) / (n + 2)
    flips_F = np.arange(n + 1)
    # The most flips of the rarer kind with which the test still rejects.
    rarer_F = scipy.stats.binom.ppf(alpha / 2, flips_F, 0.5) - 1

    def chance(change: float) -> float:
        flipping = 2 * against + change
        towards = (against + change) / flipping
        rejects_F = scipy.stats.binom.cdf(rarer_F, flips_F, towards)
        rejects_F = rejects_F + scipy.stats.binom.sf(flips_F - rarer_F - 1, flips_F, towards)
        return float((scipy.stats.binom.pmf(flips_F, n, flipping) * rejects_F).sum())

    most = 1 - 2 * against
    if most <= 0 or chance(most) < power:
        return math.inf
    return float(scipy.optimize.brentq(lambda change: chance(change) - power, 0.0, most))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: below alpha is what survives when all are asked at once."""
    if not p_values:
        return []
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(p_values, method="holm")[1]]


def pass_hat_k(solved: int, attempts: int, k: int) -> float:
    """Unbiased estimate of the chance that k attempts at a task all succeed, from `solved` of `attempts`."""
    return math.comb(solved, k) / math.comb(attempts, k)

"""Paired statistics: against scipy and statsmodels, against figures by hand, and against simulation."""

import itertools
import math
from functools import cache

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from scripts import paired, stats


def shares(found: list[bool]) -> float:
    return sum(found) / len(found)


def test_sign_flip_of_few_pairs_counts_every_flip() -> None:
    differences = [0.5, 0.25, -0.1, 0.4]
    sums = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=4)
    ]
    exact = sum(value >= sum(differences) - 1e-12 for value in sums) / 16
    assert exact == 0.25
    assert paired.sign_flip([0.5, 0.25, 0.0, 0.4], [0.0, 0.0, 0.1, 0.0]) == pytest.approx(0.25)
    assert paired.sign_flip([0.5, 0.25, 0.0, 0.4, 1.0], [0.0, 0.0, 0.1, 0.0, 1.0]) == pytest.approx(0.25)


def test_sign_flip_without_a_difference_says_nothing() -> None:
    assert paired.sign_flip([0.1, 0.7], [0.1, 0.7]) == 1.0
    assert paired.sign_flip([0.1, 0.7], [0.1, 0.2]) == 1.0  # a single one has two signs, both as extreme
    assert paired.sign_flip([0.9, 0.7], [0.1, 0.2]) == 0.5


def test_sign_flip_agrees_with_the_gate_of_pract() -> None:
    from pract.acceptance import sign_flip as gate

    draw = np.random.default_rng(5)
    for _ in range(5):
        after, before = draw.random(11), draw.random(11)
        better, worse = gate(list(after - before))
        assert paired.sign_flip(after, before) == pytest.approx(min(1.0, 2 * min(better, worse)), abs=1e-9)


def test_holm_by_hand_and_by_statsmodels() -> None:
    assert paired.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert paired.holm([]) == []
    draw = np.random.default_rng(1).random(12) ** 3
    assert paired.holm(list(draw)) == pytest.approx(multipletests(draw, method="holm")[1], abs=1e-12)


def test_mcnemar_is_that_of_statsmodels() -> None:
    draw = np.random.default_rng(2)
    for _ in range(20):
        after, before = draw.random(60) < 0.6, draw.random(60) < 0.4
        won, lost, p = stats.mcnemar(after, before)
        table = [[int((after & before).sum()), won], [lost, int((~after & ~before).sum())]]
        assert p == pytest.approx(statsmodels_mcnemar(table, exact=True).pvalue, abs=1e-9)


def test_pass_hat_k_by_hand() -> None:
    assert [paired.pass_hat_k(2, 3, k) for k in (1, 2, 3)] == pytest.approx([2 / 3, 1 / 3, 0])


@pytest.mark.parametrize(
    ("won", "lost", "n"), [(0, 0, 40), (2, 1, 40), (6, 0, 30), (10, 10, 100), (0, 0, 1319)]
)
def test_detectable_share_is_found_four_times_in_five_by_mcnemars_test(won: int, lost: int, n: int) -> None:
    found = paired.detectable_share(won, lost, n)
    against = (min(won, lost) + 1) / (n + 2)
    draw = np.random.default_rng(5)
    counts = draw.multinomial(n, [against + found, against, 1 - 2 * against - found], size=4000)
    alarms = [flips(int(up), int(down), n)[1] < 0.05 for up, down, _ in counts]
    assert 0.78 <= shares(alarms) <= 0.82


def test_detectable_share_is_infinite_where_no_change_is_found() -> None:
    assert paired.detectable_share(0, 1, 8) == math.inf
    assert paired.detectable_share(0, 0, 5) == math.inf
    assert paired.detectable_share(0, 0, 1319) == pytest.approx(0.00732, abs=1e-5)


def test_detectable_difference_is_found_four_times_in_five() -> None:
    n, sd = 40, 0.7
    effect = TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8)
    assert paired.minimum_detectable(sd / math.sqrt(n), n - 1) == pytest.approx(effect * sd, rel=2e-3)
    assert paired.minimum_detectable(0.1) == pytest.approx(0.1 * (1.959964 + 0.841621), rel=1e-5)
    draws = np.random.default_rng(3).normal(effect * sd, sd, (4000, n))
    assert (scipy_stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05).mean() == pytest.approx(0.8, abs=0.02)


def test_two_seeds_a_side_by_hand() -> None:
    after, before = [[1, 1, 0, 1], [1, 0, 1, 1]], [[0, 1, 0, 0], [0, 0, 0, 1]]
    found = paired.clustered(after, before, matched=True)
    # Differences by seed: [1,0,0,1], [1,0,1,0]: means 0.5 and 0.5; by item [1, 0, 0.5, 0.5]: variance 1/6.
    # What is left after both is +-0.5 at two of four items: mean square 4 * 0.25 / (1 * 3).
    by_items = (1 / 6) / 4
    assert found.difference.value == 0.5
    assert found.difference.stderr == pytest.approx(math.sqrt(by_items))
    half = scipy_stats.t.ppf(0.975, 3) * math.sqrt(by_items)
    assert (found.difference.low, found.difference.high) == pytest.approx((0.5 - half, 0.5 + half))
    assert found.p == pytest.approx(2 * scipy_stats.t.sf(0.5 / math.sqrt(by_items), 3), abs=1e-9)
    assert found.detectable() == pytest.approx(half + scipy_stats.t.ppf(0.8, 3) * math.sqrt(by_items))


def test_items_that_are_all_alike_leave_students_test_over_seeds() -> None:
    after = np.repeat([[0.5], [0.8], [0.9]], 6, axis=1)
    before = np.repeat([[0.4], [0.5], [0.5]], 6, axis=1)
    matched = paired.clustered(after, before, matched=True)
    expected = scipy_stats.ttest_rel([0.5, 0.8, 0.9], [0.4, 0.5, 0.5])
    assert matched.p == pytest.approx(expected.pvalue, abs=1e-9)
    interval = expected.confidence_interval()
    assert (matched.difference.low, matched.difference.high) == pytest.approx((interval.low, interval.high))
    free = paired.clustered(after, before, matched=False)
    assert free.p == pytest.approx(scipy_stats.ttest_ind([0.5, 0.8, 0.9], [0.4, 0.5, 0.5]).pvalue, abs=1e-9)


def test_one_item_and_equal_sides_do_not_break_it() -> None:
    assert paired.clustered([[1.0], [0.0]], [[0.0], [0.0]], matched=True).p == pytest.approx(0.5)
    still = paired.clustered([[1, 0], [1, 0]], [[1, 0], [1, 0]], matched=True)
    assert (still.difference.low, still.difference.high, still.p) == (-math.inf, math.inf, 1.0)


def test_no_spread_is_no_proof() -> None:
    for after, before in (
        ([[0.51], [0.51]], [[0.5], [0.5]]),  # one item
        ([[1, 1], [1, 1]], [[0, 0], [0, 0]]),
        (
            [[1, 0], [0, 1]],
            [[0, 0], [0, 0]],
        ),  # which varies, and yet neither over the seeds' means nor the items'
    ):
        found = paired.clustered(after, before, matched=True)
        assert not found.spread.shown
        assert (found.p, found.difference.low, found.detectable()) == (1.0, -math.inf, math.inf)


# Simulation. 95% intervals must hold the truth in 93 to 97% of the samples, and a test of nothing may raise at most 6%
# false alarms. Draws are seeded; intervals of counts are made once for each count.


@cache
def wilson(right: int, n: int) -> stats.Estimate:
    return stats.proportion(right, n)


@cache
def flips(won: int, lost: int, n: int) -> tuple[stats.Estimate, float]:
    found = stats.share_difference(won, lost, n)
    p = scipy_stats.binomtest(won, won + lost).pvalue if won + lost else 1.0
    return found, float(p)


@pytest.mark.parametrize("share", [0.1, 0.45, 0.8])
def test_wilsons_interval_covers(share: float) -> None:
    counts = np.random.default_rng(4).binomial(200, share, 4000)
    covered = [wilson(int(c), 200).low <= share <= wilson(int(c), 200).high for c in counts]
    assert 0.93 <= shares(covered) <= 0.97


@pytest.mark.parametrize(("up", "down"), [(0.1, 0.1), (0.25, 0.05), (0.02, 0.08)])
def test_interval_of_a_paired_share_difference_covers(up: float, down: float) -> None:
    counts = np.random.default_rng(6).multinomial(200, [up, down, 1 - up - down], 4000)
    found = [flips(int(won), int(lost), 200)[0] for won, lost, _ in counts]
    assert 0.93 <= shares([e.low <= up - down <= e.high for e in found]) <= 0.97


def scores(draw: np.random.Generator, runs: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Two agents' progress on the same tasks: skewed, in [0,1], alike on a task; their means are the same."""
    easy = draw.beta(0.6, 0.9, (runs, n))
    return tuple(np.clip(easy + draw.normal(0, 0.2, (runs, n)), 0, 1).round(2) for _ in range(2))  # type: ignore[return-value]


def test_students_and_the_bootstrap_interval_of_scores_cover() -> None:
    after, before = scores(np.random.default_rng(7), 500, 60)
    student = [stats.paired_difference(a, b) for a, b in zip(after.tolist(), before.tolist(), strict=True)]
    assert 0.93 <= shares([e.low <= 0 <= e.high for e in student]) <= 0.97
    drawn = [paired.bootstrap(a, b, resamples=499) for a, b in zip(after, before, strict=True)]
    assert 0.93 <= shares([e.low <= 0 <= e.high for e in drawn]) <= 0.97


def test_tests_of_nothing_raise_few_alarms() -> None:
    counts = np.random.default_rng(8).multinomial(200, [0.1, 0.1, 0.8], 4000)
    assert shares([flips(int(won), int(lost), 200)[1] < 0.05 for won, lost, _ in counts]) <= 0.06
    after, before = scores(np.random.default_rng(9), 400, 40)
    alarms = [paired.sign_flip(a, b, resamples=499) < 0.05 for a, b in zip(after, before, strict=True)]
    assert 0.03 <= shares(alarms) <= 0.06


def test_holm_keeps_the_chance_of_any_alarm_in_a_table_of_ten() -> None:
    tables = np.random.default_rng(10).random((4000, 10))
    alarms = tables.min(axis=1) < 0.05 / 10
    assert shares(alarms.tolist()) <= 0.06
    for chosen in (tables[alarms][:12], tables[~alarms][:12]):
        assert [min(paired.holm(list(table))) < 0.05 for table in chosen] == [chosen[0].min() < 0.005] * 12


def test_sides_of_unlike_numbers_of_seeds_share_their_spread() -> None:
    after = np.repeat([[0.5], [0.8], [0.9], [0.6]], 6, axis=1)
    before = np.repeat([[0.4], [0.5]], 6, axis=1)
    found = paired.clustered(after, before, matched=False)
    assert found.p == pytest.approx(scipy_stats.ttest_ind([0.5, 0.8, 0.9, 0.6], [0.4, 0.5]).pvalue, abs=1e-9)


@pytest.mark.parametrize(("after", "before"), [(10, 2), (5, 2)])
def test_interval_over_unlike_numbers_of_seeds_covers(after: int, before: int) -> None:
    draw = np.random.default_rng(12)
    covered = []
    for _ in range(1000):
        items = draw.normal(0, 0.3, (1, 50))  # alike for both sides, as their items are
        sides = [
            draw.normal(0, 0.1, (seeds, 1)) + items + draw.normal(0, 0.3, (seeds, 50))
            for seeds in (after, before)
        ]
        found = paired.clustered(*sides, matched=False)
        covered.append(found.difference.low <= 0 <= found.difference.high)
    assert 0.94 <= shares(covered) <= 0.97


@pytest.mark.parametrize("matched", [True, False])
@pytest.mark.parametrize(("between_seeds", "seeds"), [(0.05, 3), (0.2, 3), (0.1, 5)])
def test_interval_over_seeds_and_items_covers(between_seeds: float, seeds: int, matched: bool) -> None:
    draw = np.random.default_rng(11)
    covered = []
    for _ in range(1000):
        sides = [
            draw.normal(0, between_seeds, (seeds, 1))
            + draw.normal(0, 0.3, (1, 50))
            + draw.normal(0, 0.3, (seeds, 50))
            for _ in range(2)
        ]
        found = paired.clustered(*sides, matched=matched)
        covered.append(found.difference.low <= 0 <= found.difference.high)
        if len(covered) < 20:
            assert (found.p >= 0.05) == covered[-1]  # so the false alarms are what is not covered
    assert 0.94 <= shares(covered) <= 0.97


def test_leaving_the_seeds_out_would_have_raised_alarms() -> None:
    """What the clusters are for: with three seeds that differ, items alone see gains that are not there."""
    draw = np.random.default_rng(12)
    alarms = []
    for _ in range(300):
        sides = [
            draw.normal(0, 0.1, (3, 1)) + draw.normal(0, 0.3, (1, 50)) + draw.normal(0, 0.3, (3, 50))
            for _ in range(2)
        ]
        alarms.append(scipy_stats.ttest_rel(sides[0].mean(axis=0), sides[1].mean(axis=0)).pvalue < 0.05)
    assert shares(alarms) > 0.1

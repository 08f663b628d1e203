"""Intervals against known figures; the formulas are written out by hand beside scipy's."""

import math

import pytest

from scripts import stats


def test_wilson_interval_of_eighteen_in_forty() -> None:
    estimate = stats.proportion(18, 40)
    z = 1.959963984540054
    centre = (18 + z * z / 2) / (40 + z * z)
    half = z / (40 + z * z) * math.sqrt(18 * 22 / 40 + z * z / 4)
    assert (estimate.low, estimate.high) == pytest.approx((centre - half, centre + half))
    assert (round(estimate.low, 3), round(estimate.high, 3)) == (0.307, 0.602)
    assert estimate.stderr == pytest.approx(math.sqrt(0.45 * 0.55 / 39))
    assert str(estimate) == "0.450 [0.307, 0.602] n=40"


@pytest.mark.parametrize(("right", "low", "high"), [(0, 0.0, 0.193608), (16, 0.806392, 1.0)])
def test_wilson_interval_stays_inside_zero_and_one(right: int, low: float, high: float) -> None:
    estimate = stats.proportion(right, 16)
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=1e-6)


def test_students_interval_of_one_to_five() -> None:
    estimate = stats.mean([1, 2, 3, 4, 5])
    assert (estimate.value, estimate.n) == (3, 5)
    assert estimate.stderr == pytest.approx(math.sqrt(2.5 / 5))
    assert (estimate.low, estimate.high) == pytest.approx((3 - 1.963243, 3 + 1.963243), abs=1e-5)


def test_one_value_has_an_unbounded_interval() -> None:
    estimate = stats.mean([2.0])
    assert (estimate.value, estimate.low, estimate.high) == (2.0, -math.inf, math.inf)
    assert math.isnan(estimate.stderr)
    assert math.isnan(stats.proportion(1, 1).stderr)


def test_pairing_takes_the_spread_between_examples_out() -> None:
    before, after = [0.0, 10.0, 20.0, 30.0], [1.1, 10.9, 21.1, 30.9]
    paired = stats.paired_difference(after, before)
    assert paired.value == pytest.approx(1.0)
    assert paired.low > 0.8
    assert stats.mean(after).low < stats.mean(before).high


def test_differences_that_are_all_alike_have_no_bounds() -> None:
    alike = stats.paired_difference([0.3, 0.4], [0.2, 0.3])  # whose differences are not quite equal as floats
    assert (alike.value, alike.low, alike.high) == (pytest.approx(0.1), -math.inf, math.inf)
    assert str(stats.share_or_mean([0.5, 0.5])) == "0.500 unbounded n=2"


def test_intervals_of_shares_end_at_what_is_possible() -> None:
    assert str(stats.share_or_mean([0.5, 1.0, 1.0, 1.0])) == "0.875 [0.477, 1.000] n=4"
    assert str(stats.share_or_mean([0.0] * 10)) == "0.000 [0.000, 0.278] n=10"
    cut = stats.score_difference([1.0, 1.0, 0.9], [0.0, 0.0, 0.3])
    assert (cut.value, round(cut.low, 3), cut.high) == (pytest.approx(2.6 / 3), 0.293, 1.0)
    assert stats.within(stats.mean([0.5]), 0.0, 1.0).low == -math.inf


def test_differences_of_right_and_wrong_are_bonetts_and_prices() -> None:
    assert stats.score_difference([1, 1, 1, 0], [0, 0, 1, 1]) == stats.share_difference(2, 1, 4)
    assert stats.score_difference([1.0] * 10, [0.0] * 10).low == pytest.approx(0.5206, abs=1e-4)


def test_pairs_must_match() -> None:
    with pytest.raises(ValueError, match="longer"):
        stats.paired_difference([1.0], [1.0, 2.0])


def test_mcnemar_counts_only_the_examples_that_changed() -> None:
    before = [False] * 9 + [True] + [True] * 50
    after = [True] * 9 + [False] + [True] * 50
    won, lost, p = stats.mcnemar(after, before)
    assert (won, lost) == (9, 1)
    assert p == pytest.approx(2 * (1 + 10) / 2**10)


def test_mcnemar_without_any_change_says_nothing() -> None:
    assert stats.mcnemar([True, False], [True, False]) == (0, 0, 1.0)


def test_difference_of_paired_shares_has_a_width_even_where_nothing_changed() -> None:
    still = stats.share_difference(0, 0, 10)
    half = 1.959963984540054 * math.sqrt((2 / 12) / 12)
    assert (still.value, still.stderr) == (0, 0)
    assert (still.low, still.high) == (pytest.approx(-half), pytest.approx(half))
    moved = stats.share_difference(3, 1, 10)
    assert (moved.value, round(moved.low, 3), round(moved.high, 3)) == (0.2, -0.222, 0.555)
    assert moved.stderr == pytest.approx(math.sqrt((0.4 - 0.04) / 10))

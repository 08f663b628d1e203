"""What the pictures of a sweep's knobs show, read off their axes."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from scripts.sweep_plan import Job
from scripts.sweep_plots import draw, over_seeds
from scripts.sweep_results import Result, balanced


def result(value: float | None, **knobs: str) -> Result:
    job = Job(name=str(knobs), knobs=knobs, overrides=(), folder=Path("x"), script="train_latro")
    figures: Mapping[str, float] = {} if value is None else {"eval/accuracy_greedy@best": value}
    return Result(job=job, status="failed" if value is None else "finished", figures=figures)


def drawn(results: list[Result]) -> tuple[object, list[tuple[float, float]]]:
    """The axes, and the means with their places."""
    _, axis = plt.subplots()
    draw(axis, results, "eval/accuracy_greedy@best", "lr")
    means = [
        (float(line.get_xdata()[0]), round(float(line.get_ydata()[0]), 9))
        for line in axis.get_lines()
        if line.get_markersize() == 8
    ]
    plt.close("all")
    return axis, means


def test_numbers_stand_in_their_order_with_short_labels_and_a_unit() -> None:
    axis, means = drawn([result(0.1, lr="10"), result(0.2, lr="0.98765432"), result(0.3, lr="9")])
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0.988", "9", "10"]
    assert means == [(0.0, 0.2), (1.0, 0.3), (2.0, 0.1)]
    assert axis.get_ylabel() == "eval/accuracy_greedy@best (share)"


def test_words_stay_in_the_order_given() -> None:
    axis, _ = drawn([result(0.1, lr="paper"), result(0.2, lr="official_code")])
    assert [label.get_text() for label in axis.get_xticklabels()] == ["paper", "official_code"]


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        (("1e-6", "1e-5", "1e-3"), "log"),
        (tuple(map(str, range(1, 10))), "linear"),
        (("0", "1e-5", "1e-3"), "values"),
        (("0.01", "0.05"), "values"),
    ],
)
def test_many_numbers_or_a_wide_range_have_an_axis_of_numbers(values: tuple[str, ...], scale: str) -> None:
    axis, means = drawn([result(0.5, lr=value) for value in values])
    places = list(map(float, range(len(values)))) if scale == "values" else list(map(float, values))
    assert [place for place, _ in means] == places
    assert axis.get_xscale() == ("linear" if scale == "values" else scale)


def test_where_a_job_failed_means_are_over_the_settings_that_all_values_have() -> None:
    grid = {("1", "a"): 0.2, ("1", "b"): 0.9, ("2", "a"): 0.3, ("2", "b"): None}
    _, means = drawn([result(value, lr=lr, beta=beta) for (lr, beta), value in grid.items()])
    assert means == [(0.0, 0.2), (1.0, 0.3)]


def test_where_a_job_failed_each_seeds_mean_is_over_the_same_settings() -> None:
    grid = {
        ("a", "0"): 0.901,
        ("a", "1"): 0.9,
        ("a", "2"): 0.899,
        ("b", "0"): 0.1,
        ("b", "1"): 0.1,
        ("b", "2"): None,
    }
    found = over_seeds(
        [result(value, beta=beta, seed=seed) for (beta, seed), value in grid.items() if value is not None],
        "eval/accuracy_greedy@best",
    )
    assert found is not None
    assert (round(found.value, 9), found.n) == (0.9, 3)
    assert found.high - found.low < 0.01


def test_settings_that_no_seed_shares_are_averaged_over_the_seeds_that_have_all() -> None:
    def named(*jobs: str) -> list[tuple[tuple[str, str], ...]]:
        return [(("beta", job[0]), ("seed", job[1])) for job in jobs]

    assert balanced(named("a0", "b0", "a1", "b1")) == named("a0", "b0", "a1", "b1")
    assert balanced(named("a0", "b0", "c0", "a1", "c1", "b2")) == named("a0", "b0", "c0")
    assert balanced(named("a0", "b1")) == []
    assert balanced([]) == []

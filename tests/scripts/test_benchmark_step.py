"""The benchmark of whole steps at its smallest: what each scheme does is what is claimed, and a missed bar is said."""

import pytest

from scripts.benchmark_step import SIZES, step_failures, step_rows


def test_the_smallest_step_is_ahead_of_the_published_one() -> None:
    rows = step_rows("small", rounds=1, say=lambda line: None)
    published, stock, mine = rows
    assert [row["scheme"] for row in rows] == ["published", "stock RLOO", "ours"]
    assert published["tokens"] == 12 * 8 * 48  # every row to its last token
    assert (
        mine["tokens"] < stock["tokens"] < published["tokens"]
    )  # trl knows one end of a text, we the task's as well
    assert published["times_faster"] == 1.0
    seconds = f"{mine['clock']}_seconds"
    assert mine["times_faster"] == published[seconds] / mine[seconds]
    assert mine["times_faster"] > 1.0


@pytest.mark.parametrize("clock", ["cpu", "wall"])
def test_a_bar_that_is_missed_is_said_with_both_figures(clock: str) -> None:
    took = {"published": 30.0, "stock RLOO": 14.0, "ours": 10.0}
    rows = [
        {"scheme": name, "clock": clock, "cpu_seconds": 1.0, "wall_seconds": 1.0, f"{clock}_seconds": seconds}
        for name, seconds in took.items()
    ]
    name = "SmolLM2-135M on GSM8K, 6 prompts, K=8, up to 300 tokens"
    assert step_failures("full", rows) == [
        f"{name}: 'published' takes 3.00 times as long as our step, not 4.0",
        f"{name}: 'stock RLOO' takes 1.40 times as long as our step, not 1.5",
    ]


@pytest.mark.parametrize("size", SIZES)
def test_the_prompts_of_a_step_fill_whole_batches_of_every_scheme(size: str) -> None:
    step = SIZES[size]
    assert step.rollout.prompts % step.rollout.published_prompts == 0
    assert step.rollout.prompts % step.prompts_scored == 0

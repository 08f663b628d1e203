"""The health monitor's sentences, from metrics written by hand; nothing is trained."""

from collections.abc import Callable

import pytest

from latro.health import (
    HealthMonitor,
    drift,
    gradient_spikes,
    length_collapse,
    not_finishing,
    off_policy,
    rationale_harmful,
    rationale_ignored,
    runaway_kl,
    weights_still,
    zero_variance,
)


def steps(name: str, *values: float) -> list[dict[str, float]]:
    return [{name: value} for value in values]


@pytest.mark.parametrize(
    ("check", "name", "bad", "good", "words"),
    [
        (zero_variance, "frac_reward_zero_std", [0.75] * 5, [0.25] * 5, "75% of the prompts"),
        (not_finishing, "completions/clipped_ratio", [0.6] * 5, [0.4] * 5, "60% of the rationales"),
        (length_collapse, "completions/mean_length", [40] * 5 + [8] * 5, [40] * 5 + [12] * 5, "from 40 to 8"),
        (drift, "latro/logp_answer", [-1] * 5 + [-1.5] * 5, [-1] * 5 + [-0.5] * 5, "from -1.00 to -1.50"),
        (weights_still, "grad_norm", [0, 0, 0], [0, 0, 0.1], "gradient is exactly zero"),
        (runaway_kl, "kl", [60] * 5, [40] * 5, "60 nats"),
        (off_policy, "latro/sampler_kl", [0.5] * 5, [0.05] * 5, "drawn 0.50 nats away"),
    ],
)
def test_check_speaks_when_it_should_and_only_then(
    check: Callable, name: str, bad: list[float], good: list[float], words: str
) -> None:
    assert words in check(steps(name, *bad))
    assert check(steps(name, *good)) is None
    assert check([{}] * 10) is None


def test_drift_within_the_noise_is_silent() -> None:
    noisy = steps("latro/logp_answer", -1, -3, -1, -3, -1, -2, -3, -1, -3, -2)
    assert drift(noisy) is None


def test_gradient_spikes_compare_the_largest_norm_with_the_median() -> None:
    assert "norm 64.0 is 64 times the usual" in (gradient_spikes(steps("grad_norm", 1, 1, 1, 64, 1)) or "")
    assert gradient_spikes(steps("grad_norm", 1, 2, 3, 40, 1)) is None
    assert gradient_spikes(steps("grad_norm", 1e-4, 1e-4, 1e-4, 0.5, 1e-4)) is None  # too small to matter
    assert gradient_spikes(steps("grad_norm", 1, 64)) is None  # too few steps to know the usual


def test_rationale_that_makes_no_difference_is_reported() -> None:
    ignored = {"logp_answer/own": -2.0, "logp_answer/other": -2.05, "logp_answer/none": -3.0}
    assert "rationales are ignored" in (rationale_ignored(ignored) or "")
    assert rationale_harmful(ignored) is None


def test_rationale_that_is_worse_than_none_is_reported() -> None:
    harmful = {"logp_answer/own": -5.0, "logp_answer/other": -9.0, "logp_answer/none": -4.0}
    assert "likelier with no rationale (-4.00 nats)" in (rationale_harmful(harmful) or "")
    assert rationale_ignored(harmful) is None


def test_monitor_waits_for_five_steps_and_says_each_trouble_once() -> None:
    monitor = HealthMonitor()
    said = [monitor.step({"kl": 60.0}) for _ in range(8)]
    assert [len(sentences) for sentences in said] == [0, 0, 0, 0, 1, 0, 0, 0]


def test_monitor_speaks_again_when_a_trouble_returns() -> None:
    monitor = HealthMonitor(steps=5)
    for _ in range(5):
        monitor.step({"kl": 60.0})
    for _ in range(5):
        assert monitor.step({"kl": 1.0}) == []
    assert sum(len(monitor.step({"kl": 90.0})) for _ in range(5)) == 1


def test_monitor_reads_an_evaluation() -> None:
    monitor = HealthMonitor()
    metrics = {"logp_answer/own": -2.0, "logp_answer/other": -2.0, "logp_answer/none": -1.0}
    assert len(monitor.evaluation(metrics)) == 2
    assert monitor.evaluation(metrics) == []


def test_monitor_compares_lengths_with_the_start_of_the_run_however_slowly_they_shrink() -> None:
    monitor = HealthMonitor()
    said = [monitor.step({"completions/mean_length": 160.0 - 2 * step}) for step in range(70)]
    (when,) = [step for step, sentences in enumerate(said) if sentences]
    assert when == 63  # the mean of the last five steps is below a quarter of 156, that of the first five
    assert "rationales shrank from 156 to 38 tokens" in said[when][0]

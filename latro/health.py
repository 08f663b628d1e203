"""Says in words when learning goes wrong, before the accuracy does.

Each check looks at the metrics of the last steps and returns a sentence or None. A sentence is said once until its
check has been silent again.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, median
from typing import Any

Window = Sequence[Mapping[str, float]]
"""Metrics of the last steps, oldest first."""


def zero_variance(window: Window) -> str | None:
    """Most prompts' K advantages are equal: the policy gradient of those prompts is exactly zero."""
    share = mean(window, "frac_reward_zero_std")
    if share is None or share < 0.5:
        return None
    return (
        f"{share:.0%} of the prompts give K equal rewards, so they teach nothing: raise the temperature or K, "
        "or use harder prompts (easier ones, if none is answered)"
    )


def not_finishing(window: Window) -> str | None:
    """Most rationales are cut off at the length limit."""
    share = mean(window, "completions/clipped_ratio")
    if share is None or share < 0.5:
        return None
    return (
        f"{share:.0%} of the rationales do not finish within the limit: raise sampling.max_rationale_tokens, "
        "check the answer markers, or raise objective.penalty_weight"
    )


def length_collapse(window: Window) -> str | None:
    """Rationales have shrunk to less than a quarter of what they were: the later half against the earlier."""
    half = len(window) // 2
    before, after = (
        mean(window[:half], "completions/mean_length"),
        mean(window[half:], "completions/mean_length"),
    )
    if half < 5 or before is None or after is None or before < 4 or after > before / 4:
        return None
    return (
        f"rationales shrank from {before:.0f} to {after:.0f} tokens: the model learns to answer without reasoning; "
        "raise objective.kl_weight or lower objective.answer_weight"
    )


def drift(window: Window) -> str | None:
    """The answer's likelihood under the rationales falls although the reward should rise."""
    half = len(window) // 2
    before, after = window[:half], window[half:]
    low, high = mean(after, "latro/logp_answer"), mean(before, "latro/logp_answer")
    if half < 5 or low is None or high is None:
        return None
    noise = standard_error(before, "latro/logp_answer") + standard_error(after, "latro/logp_answer")
    if low > high - max(3 * noise, 0.1):
        return None
    return (
        f"log π(answer) fell from {high:.2f} to {low:.2f} nats: steps are too large for the noise of the gradient; "
        "lower trainer.learning_rate, set trainer.max_grad_norm, or raise objective.kl_weight"
    )


def gradient_spikes(window: Window) -> str | None:
    """One step's gradient is far larger than the usual: a single rationale decides where the step goes."""
    norms = [row["grad_norm"] for row in window if "grad_norm" in row]
    if len(norms) < 5:
        return None
    largest, usual = max(norms), median(norms)
    if largest < 1 or largest < 50 * usual:
        return None
    return (
        f"a gradient of norm {largest:.1f} is {largest / max(usual, 1e-9):.0f} times the usual: single rationales "
        "decide the steps; set trainer.max_grad_norm, or lower trainer.learning_rate"
    )


def weights_still(window: Window) -> str | None:
    """No gradient reaches the weights."""
    norms = [row["grad_norm"] for row in window if "grad_norm" in row]
    if len(norms) < 3 or any(norm > 0 for norm in norms):
        return None
    return "the gradient is exactly zero: the weights do not move; check LoRA targets, frozen weights and the reward"


def runaway_kl(window: Window) -> str | None:
    """The policy has moved far from its start."""
    kl = mean(window, "kl")
    if kl is None or kl < 50:
        return None
    return f"the KL divergence to the start is {kl:.0f} nats: raise objective.kl_weight or lower trainer.learning_rate"


def off_policy(window: Window) -> str | None:
    """What draws the rationales is not what learns from them."""
    kl = mean(window, "latro/sampler_kl")
    if kl is None or kl < 0.1:
        return None
    return (
        f"rationales are drawn {kl:.2f} nats away from the policy that learns from them: set "
        "objective.importance_cap=2, or draw with the policy itself (sampling.dtype=null, sampling.engine=continuous)"
    )


STEP_CHECKS: tuple[Callable[[Window], str | None], ...] = (
    zero_variance,
    not_finishing,
    drift,
    gradient_spikes,
    weights_still,
    runaway_kl,
    off_policy,
)


def rationale_ignored(metrics: Mapping[str, float]) -> str | None:
    """Validation: the answer is as likely with another prompt's rationale as with the own one."""
    own, other = metrics.get("logp_answer/own"), metrics.get("logp_answer/other")
    if own is None or other is None or own > other + 0.1:
        return None
    return (
        f"the answer is as likely with another prompt's rationale ({other:.2f} nats) as with its own ({own:.2f}): "
        "rationales are ignored"
    )


def rationale_harmful(metrics: Mapping[str, float]) -> str | None:
    """Validation: the answer is likelier without any rationale."""
    own, none = metrics.get("logp_answer/own"), metrics.get("logp_answer/none")
    if own is None or none is None or own > none:
        return None
    return f"the answer is likelier with no rationale ({none:.2f} nats) than with the model's own ({own:.2f})"


EVALUATION_CHECKS: tuple[Callable[[Mapping[str, float]], str | None], ...] = (
    rationale_ignored,
    rationale_harmful,
)


START = 5
"""Steps at a run's beginning with which its present is compared."""


class HealthMonitor:
    """Remembers the last steps and says each new trouble once."""

    def __init__(self, steps: int = 20) -> None:
        self.window: deque[Mapping[str, float]] = deque(maxlen=steps)
        self.start: list[Mapping[str, float]] = []
        self.said: set[str] = set()

    def step(self, metrics: Mapping[str, float]) -> list[str]:
        """New warnings after a training step."""
        if len(self.start) < START:
            self.start.append(metrics)
        self.window.append(metrics)
        if len(self.window) < 5:
            return []
        sentences = {check.__name__: check(list(self.window)) for check in STEP_CHECKS}
        # Lengths shrink slowly: the last steps are compared with the run's first.
        sentences["length_collapse"] = length_collapse([*self.start, *list(self.window)[-START:]])
        return self.news(sentences)

    def evaluation(self, metrics: Mapping[str, float]) -> list[str]:
        """New warnings after an evaluation."""
        return self.news({check.__name__: check(metrics) for check in EVALUATION_CHECKS})

    def news(self, sentences: Mapping[str, str | None]) -> list[str]:
        """The sentences whose check was silent before."""
        fresh = [sentence for name, sentence in sentences.items() if sentence and name not in self.said]
        for name, sentence in sentences.items():
            (self.said.add if sentence else self.said.discard)(name)
        return fresh


def mean(window: Window, name: str) -> float | None:
    """Mean of a metric over the steps that have it; None if none has."""
    values: list[Any] = [row[name] for row in window if name in row]
    return fmean(values) if values else None


def standard_error(window: Window, name: str) -> float:
    """Standard error of a metric's mean over the steps; 0 for fewer than two."""
    values = [row[name] for row in window if name in row]
    if len(values) < 2:
        return 0.0
    centre = fmean(values)
    variance = sum((value - centre) ** 2 for value in values) / (len(values) - 1)
    return float((variance / len(values)) ** 0.5)

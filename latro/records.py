"""What a training step leaves: one record per sampled rationale, and the step's metrics computed from them."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from latro.encoding import Rationale
from latro.objective import Objective, Scores
from latro.types import Example


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One sampled rationale with everything its reward was made of. Nats, unless said otherwise."""

    step: int
    """The optimizer step that learned from it, counted from 1."""
    id: str
    k: int
    prompt: str
    rationale: str
    answer: str
    finished: bool
    length: int
    """Rationale tokens, the decision to stop not counted."""
    ending: int
    """Tokens of the decision to stop, where it is scored: `log_rationale` has them in it."""
    log_answer: float
    """log π(y|x,z)."""
    answer_reward: float
    log_ratio: float
    """log π(z|x) - log π0(z|x): an unbiased one-sample estimate of the KL divergence to the start."""
    log_rationale: float
    log_drawn: float | None
    """log μ(z|x), as the sampler drew it; null where that is not known."""
    penalty: float
    reward: float
    advantage: float
    loss: float

    def row(self) -> dict[str, Any]:
        """The record as a JSON object."""
        return asdict(self)


def make_samples(
    step: int,
    examples: Sequence[Example],
    rationales: Sequence[Rationale],
    scores: Scores,
    result: Objective,
    *,
    score_stop: bool,
) -> list[Sample]:
    """One record per row of a micro-batch, in prompt order. score_stop: whether `scores` hold the endings."""
    K = len(rationales) // len(examples)
    columns = {
        "log_answer": scores.answer_NKT.detach().sum(-1),
        "answer_reward": result.answer_reward_NK,
        "log_ratio": result.log_ratio_NK,
        "log_rationale": scores.rationale_NK.detach(),
        "penalty": result.penalty_NK,
        "reward": result.reward_NK,
        "advantage": result.advantage_NK,
        "loss": result.loss_NK.detach(),
    }
    rows: dict[str, list[Any]] = {name: values.flatten().tolist() for name, values in columns.items()}
    drawn = scores.drawn_NK
    rows["log_drawn"] = [None] * len(rationales) if drawn is None else drawn.flatten().tolist()
    return [
        Sample(
            step=step,
            id=examples[b // K].id,
            k=b % K,
            prompt=examples[b // K].prompt,
            rationale=rationale.text,
            answer=examples[b // K].answer,
            finished=rationale.finished,
            length=len(rationale.ids),
            ending=len(rationale.ending) if score_stop else 0,
            **{name: values[b] for name, values in rows.items()},
        )
        for b, rationale in enumerate(rationales)
    ]


def step_metrics(samples: Sequence[Sample]) -> dict[str, float]:
    """Metrics of one step over all processes, under trl's names where trl has one, else under `latro/`.

    A prompt teaches nothing where its advantages are equal. Rewards do not tell that of the multi-sample bound, whose
    K are one number by construction; for all others the two agree.
    """
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.id, []).append(sample)
    # Equal up to rounding, whatever the size of the rewards: some are likelihoods, which can be very small.
    rounding = [1e-6 * max(abs(sample.reward) for sample in group) for group in groups.values()]
    spreads = [spread([sample.reward for sample in group]) for group in groups.values()]
    lessons = [spread([sample.advantage for sample in group]) for group in groups.values()]
    lengths = [sample.length for sample in samples]
    scored = sum(sample.length + sample.ending for sample in samples)
    ended = [sample.length for sample in samples if sample.finished]
    gaps = [sample.log_drawn - sample.log_rationale for sample in samples if sample.log_drawn is not None]
    sampler = {"latro/sampler_kl": fmean(gaps), "latro/sampler_gap": max(map(abs, gaps))} if gaps else {}
    return {
        "reward": fmean(sample.reward for sample in samples),
        "reward_std": fmean(spreads),
        "frac_reward_zero_std": fmean(value <= least for value, least in zip(lessons, rounding, strict=True)),
        "kl": fmean(sample.log_ratio for sample in samples),
        "entropy": -sum(sample.log_rationale for sample in samples) / max(1, scored),
        "completions/mean_length": fmean(lengths),
        "completions/min_length": min(lengths),
        "completions/max_length": max(lengths),
        "completions/mean_terminated_length": fmean(ended) if ended else 0.0,
        "completions/clipped_ratio": fmean(not sample.finished for sample in samples),
        "latro/logp_answer": fmean(sample.log_answer for sample in samples),
        "latro/answer_reward": fmean(sample.answer_reward for sample in samples),
        "latro/bound": fmean(sample.log_answer - sample.log_ratio for sample in samples),
        "latro/logp_rationale": fmean(sample.log_rationale for sample in samples),
        "latro/penalty": fmean(sample.penalty for sample in samples),
        "latro/advantage_std": spread([sample.advantage for sample in samples]),
        "latro/advantage_max": max(abs(sample.advantage) for sample in samples),
        "latro/empty_rationales": fmean(sample.length == 0 for sample in samples),
        **sampler,
    }


def spread(values: Sequence[float]) -> float:
    """Standard deviation with n - 1, 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    mean = fmean(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))

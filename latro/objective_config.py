"""The knobs of the objective; they need no torch, so that a value that cannot work is refused before it is imported."""

import math
from dataclasses import dataclass
from enum import StrEnum

from latro.errors import InputError


class Reward(StrEnum):
    """What a rationale is worth."""

    LOG_LIKELIHOOD = "log_likelihood"
    """log π(y|x,z): LaTRO, section 4."""
    MEAN_LOG_LIKELIHOOD = "mean_log_likelihood"
    """log π(y|x,z) / |y|, the mean over answer tokens: compared with the others in 2602.03979."""
    LIKELIHOOD = "likelihood"
    """π(y|x,z): VeriFree, eq. 4."""
    MEAN_TOKEN_PROBABILITY = "mean_token_probability"
    """Mean of π(y_t|x,z,y_<t) over t, less the same mean without a rationale, clipped to [0, 1]: RLPR, section 3."""
    RELATIVE_PERPLEXITY = "relative_perplexity"
    """Share of the prompt's other rationales under which the answer is more perplexing: NOVER, section 3."""
    MULTI_SAMPLE_BOUND = "multi_sample_bound"
    """log mean_k π(y|x,z_k), one bound for the whole group: JEPO, section 3 (an importance-weighted bound)."""


class AnswerMask(StrEnum):
    """Which tokens count as the answer."""

    ANSWER = "answer"
    OFF_BY_ONE = "off_by_one"
    """The answer and the one token before it, as in the published LaTRO code."""


class Penalty(StrEnum):
    """What a rationale pays for being cut off at the length limit."""

    CONSTANT = "constant"
    """The penalty weight is subtracted from the reward: LaTRO, section 4.2."""
    BATCH_MEAN = "batch_mean"
    """The reward becomes penalty weight times the mean reward of the local batch, as in the published code."""


PRESETS: dict[str, dict[str, object]] = {
    "paper": {
        "answer_weight": 1.0,
        "answer_mask": AnswerMask.ANSWER,
        "penalty": Penalty.CONSTANT,
        "score_stop": True,
        "epoch_unit": "prompts",
    },
    "official_code": {
        "answer_weight": 0.0,
        "answer_mask": AnswerMask.OFF_BY_ONE,
        "penalty": Penalty.BATCH_MEAN,
        "score_stop": False,
        "epoch_unit": "samples",
    },
}


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """The knobs of the objective. A knob left at None takes the value of the preset."""

    preset: str = "paper"
    """`paper`, or `official_code`: the departures of the published code, so that both can be compared."""
    reward: Reward = Reward.LOG_LIKELIHOOD
    kl_weight: float = 0.05
    """β: nats of reward per nat of log-ratio to the reference."""
    answer_weight: float | None = None
    """λ: weight of the gradient of the reward itself, `∇ log π(y|x,z)` in LaTRO."""
    answer_mask: AnswerMask | None = None
    penalty: Penalty | None = None
    penalty_weight: float = 2.0
    """γ of the paper, for rationales cut off at the length limit."""
    score_stop: bool | None = None
    """Whether log π(z|x) includes the decision to stop. Without it the gradient is biased."""
    epoch_unit: str | None = None
    """What `epochs` counts: passes over `prompts`, or over `samples` (an epoch is then 1/K of a pass)."""
    shuffle_rewards: bool = False
    """A control that teaches the rationales nothing: advantages are permuted among a prompt's K. The answer term still
    learns, so that a control which must not learn at all has `answer_weight=0` besides."""
    importance_cap: float | None = None
    """Weigh each rationale by π(z|x) / μ(z|x), at most this, where another model μ draws than learns, such as a copy in
    another precision: without a cap that bites the gradient is unbiased again. None takes all for on-policy."""

    def __post_init__(self) -> None:
        """Fill what is None from the preset; refuse what makes no sense."""
        if self.preset not in PRESETS:
            raise InputError(
                f"objective.preset={self.preset!r} is unknown; choose one of {', '.join(PRESETS)}"
            )
        for name, value in PRESETS[self.preset].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        for name, kind in (("reward", Reward), ("answer_mask", AnswerMask), ("penalty", Penalty)):
            value = getattr(self, name)
            if value not in list(kind):
                raise InputError(f"objective.{name}={value!r} is unknown; choose one of {', '.join(kind)}")
            object.__setattr__(self, name, kind(value))
        for name in ("kl_weight", "answer_weight", "penalty_weight"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
                raise InputError(f"objective.{name}={value!r} must be a finite number, zero or more")
        if self.epoch_unit not in ("prompts", "samples"):
            raise InputError(
                f"objective.epoch_unit={self.epoch_unit!r} is unknown; choose prompts or samples"
            )
        separable = self.reward not in (Reward.MULTI_SAMPLE_BOUND, Reward.RELATIVE_PERPLEXITY)
        if self.penalty == Penalty.BATCH_MEAN and not separable:
            raise InputError(
                f"objective.penalty=batch_mean has no meaning for reward={self.reward}; use constant"
            )
        cap = self.importance_cap
        if cap is None:
            return
        if isinstance(cap, bool) or not isinstance(cap, int | float) or not cap >= 1:
            raise InputError(
                f"objective.importance_cap={cap!r} must be 1 or more (2 is usual), or null for no weights"
            )
        if not separable:
            raise InputError(
                f"objective.importance_cap={cap:g} has no meaning for reward={self.reward}, which compares a prompt's "
                "rationales with each other; set it to null"
            )

    @property
    def needs_plain_answer(self) -> bool:
        """Whether the reward compares with the answer's likelihood without a rationale."""
        return self.reward == Reward.MEAN_TOKEN_PROBABILITY

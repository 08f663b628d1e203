"""How rationales are drawn, as knobs; they need no torch."""

import math
from dataclasses import dataclass

from latro.errors import InputError
from latro.rollout.choosing import VLLM, check_engine


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How rationales are drawn."""

    rationales_per_prompt: int = 16
    """K; the leave-one-out baseline needs at least 2."""
    max_rationale_tokens: int = 500
    """L: a rationale is cut off here."""
    temperature: float = 1.0
    """The policy that is sampled, scored and trained is softmax(logits / temperature)."""
    batch_rows: int | None = 64
    """Rows in flight: memory against speed; the draws do not depend on it. Null takes as many as fit into half of the
    free memory, 256 at most."""
    engine: str = "continuous"
    """`continuous` gives a finished row's place to the next one; `generate` is transformers' own, on fixed batches;
    `vllm` draws elsewhere, nearly on-policy (`latro.rollout.vllm`)."""
    share_prompt: bool = True
    """`continuous` reads a prompt's keys and values once for all its rows, on a processor and for the architectures of
    `latro.attending` with sdpa attention; it draws the same up to rounding. False, and elsewhere: each row has a
    copy."""
    balance: bool = True
    """Among several processes, deal a step's prompts by how much there is to draw (`latro.balancing`); the draws and
    the gradient are the same. False: each takes what its data loader gives, as it does with
    `objective.penalty=batch_mean`."""
    dtype: str | None = None
    """`bfloat16` samples and evaluates with a copy of the policy in that precision, renewed every step: faster where
    the machine multiplies it in hardware (`latro.precision`), several times slower elsewhere, and off-policy by
    rounding: `latro/sampler_kl` tells how far, `objective.importance_cap` weighs by it. Null samples with the policy
    itself."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        if self.rationales_per_prompt < 2:
            raise InputError(
                f"sampling.rationales_per_prompt={self.rationales_per_prompt}: "
                "the leave-one-out baseline compares a rationale with its siblings; use 2 or more"
            )
        if self.dtype not in (None, "bfloat16", "float16"):
            raise InputError(f"sampling.dtype={self.dtype!r}: choose null, bfloat16 or float16")
        if self.max_rationale_tokens < 1:
            raise InputError(f"sampling.max_rationale_tokens={self.max_rationale_tokens} must be at least 1")
        check_engine("sampling", self.engine, self.batch_rows)
        if self.engine == VLLM and self.dtype:
            raise InputError(
                f"sampling.dtype={self.dtype} with sampling.engine=vllm: vLLM has a copy of its own, in the model's "
                "precision; leave sampling.dtype null"
            )
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise InputError(f"sampling.temperature={self.temperature} must be a finite number above zero")

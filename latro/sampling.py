"""Drawing rationales: the exact distribution of the policy, cut where the answer begins.

Every row is drawn by inverting the cumulative distribution at uniform numbers that belong to that row alone,
seeded by (seed, step, prompt, k). So a resumed run, and a run split over more processes, draws the same
rationales. What decodes is an engine of `latro.rollout`.
"""

import copy
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from latro.encoding import Encoder, Rationale
from latro.errors import InputError
from latro.precision import cast_weights
from latro.rollout.base import Request, Rollout
from latro.rollout.choosing import VLLM, check_engine, make_engine
from latro.rollout.ending import find_marker


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
    the gradient are the same. False: each takes what its data loader gives. The preset `official_code` does that."""
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


class LowPrecisionCopy:
    """A copy of the policy that only samples, in a precision that decodes fast."""

    def __init__(self, policy: Any, dtype: torch.dtype) -> None:
        self.model = cast_weights(copy.deepcopy(policy), dtype).eval().requires_grad_(False)

    @torch.no_grad()
    def renewed(self, policy: Any) -> Any:
        """The copy with the policy's present weights."""
        for mine, theirs in zip(self.model.parameters(), policy.parameters(), strict=True):
            mine.copy_(theirs)
        return self.model


def row_seed(*parts: object) -> int:
    """A seed that depends on every part, the same on every machine; torch's generator takes 32 bits of it."""
    digest = hashlib.blake2b("\x1f".join(str(part) for part in parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def cut(
    encoder: Encoder, tokens: Sequence[int], markers: Sequence[str], logprobs: Sequence[float] = ()
) -> Rationale:
    """The rationale in a continuation: what stands before the stop token or the first answer marker.

    The cut is found in text and moved back to a token border, then over the separator if the model wrote it as the
    answer line has it. What was generated behind the cut is the model's decision to stop. So the row that is scored
    has the model's own white space, and the ending's tokens are the answer's own: see `Encoder.answer_ids`.
    """
    stop = next((i for i, token in enumerate(tokens) if token in encoder.stop_token_ids), len(tokens))
    generated = tuple(tokens[: stop + 1])
    ids = list(generated[:stop])
    start = find_marker(encoder.text(ids), markers)
    while start is not None and len(encoder.text(ids)) > start:
        ids.pop()
    own = encoder.separator_ids
    if (
        own
        and len(ids) < len(generated)
        and ids[-len(own) :] == own
        and not encoder.separated(ids[: -len(own)])
    ):
        ids = ids[: -len(own)]
    return Rationale(
        ids=tuple(ids),
        text=encoder.text(ids),
        ending=generated[len(ids) :],
        logprobs=tuple(logprobs[: len(generated)]),
    )


def sample_rationales(
    model: Any,
    encoder: Encoder,
    prompts: Sequence[Sequence[int]],
    keys: Sequence[object],
    config: SamplingConfig,
    *,
    markers: Sequence[str],
    seed: int,
    step: int,
    engine: Rollout | None = None,
) -> list[Rationale]:
    """K rationales per prompt, [N·K] in prompt order. LaTRO, algorithm 1, line 4.

    `keys` name the prompts: the draws depend on (seed, step, key, k) and on nothing else. `engine` stands in for the
    one that `config` names.
    """
    K = config.rationales_per_prompt
    outputs = (
        engine or make_engine(config.engine, config.batch_rows, share_prompt=config.share_prompt)
    ).continuations(
        model,
        encoder,
        Request(
            prompts=[prompt for prompt in prompts for _ in range(K)],
            seeds=[row_seed(seed, step, key, k) for key in keys for k in range(K)],
            max_tokens=config.max_rationale_tokens,
            markers=markers,
            temperature=config.temperature,
        ),
    )
    return [cut(encoder, output.tokens, markers, output.logprobs) for output in outputs]

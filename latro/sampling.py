"""Drawing rationales: the exact distribution of the policy, cut where the answer begins.

Every row is drawn by inverting the cumulative distribution at uniform numbers that belong to that row alone,
seeded by (seed, step, prompt, k). So a resumed run, and a run split over more processes, draws the same
rationales. What decodes is an engine of `latro.rollout`.
"""

import copy
import hashlib
from collections.abc import Sequence
from typing import Any

import torch

from latro.encoding import Encoder, Rationale
from latro.precision import cast_weights
from latro.rollout.base import Request, Rollout
from latro.rollout.choosing import make_engine
from latro.rollout.ending import find_marker
from latro.sampling_config import SamplingConfig as SamplingConfig


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

"""Drawing tokens by inverting the cumulative distribution at uniform numbers that belong to one row alone."""

from collections.abc import Sequence

import torch
from torch import Tensor

from latro.errors import InputError
from latro.rollout.base import NOT_FINITE

BLOCK = 256
"""Tokens summed at once: cumulative sums are taken over blocks, and then within the one block that is drawn from."""
ROWS = 32
"""Drawn at once on a processor: what so few leave in memory is taken again; more would be asked of the system anew."""


def uniforms(seeds: Sequence[int], length: int) -> Tensor:
    """[B, length] uniform numbers in [0, 1) of 53 bits, each row from its own seed."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return torch.stack([torch.rand(length, generator=g, dtype=torch.float64) for g in generators])


def draw(logits_BV: Tensor, uniform_B: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """[B] token ids, and their log-probabilities, nats.

    Drawn is the first token whose cumulative probability exceeds the row's uniform number, found in two stages: the
    block, then the token in it. Cumulative sums are taken in double precision: in single, a vocabulary's rare tokens
    vanish beside a sum near 1. A block's own sum is rounded as the probabilities are, so the place within the block is
    found by the share of it that is left, of a sum that is not rounded.
    """
    if logits_BV.device.type == "cpu" and len(logits_BV) > ROWS:
        parts = zip(logits_BV.split(ROWS), uniform_B.split(ROWS), strict=True)
        tokens, logprobs = zip(*(draw(*part, temperature) for part in parts), strict=True)
        return torch.cat(tokens), torch.cat(logprobs)
    wide_BV = logits_BV if logits_BV.dtype == torch.float64 else logits_BV.float()
    if temperature != 1.0:
        wide_BV = wide_BV / temperature
    probability_BV = wide_BV.softmax(-1)
    whole = probability_BV.shape[-1] // BLOCK * BLOCK
    sums = [
        probability_BV[:, :whole].unflatten(-1, (-1, BLOCK)).sum(-1),
        probability_BV[:, whole:].sum(-1, keepdim=True),
    ]
    block_BC = torch.cat(sums, -1).double()
    upto_BC = block_BC.cumsum(-1)
    total_B = upto_BC[:, -1]
    if not total_B.isfinite().all():
        raise InputError(f"the model's {NOT_FINITE}")
    threshold_B = below(uniform_B.double() * total_B, total_B)
    block_B = torch.searchsorted(upto_BC, threshold_B[:, None], right=True)[:, 0]
    mass_B = block_BC.gather(1, block_B[:, None])[:, 0]
    before_B = torch.where(block_B > 0, upto_BC.gather(1, (block_B - 1).clamp(min=0)[:, None])[:, 0], 0.0)
    token_BI = block_B[:, None] * BLOCK + torch.arange(BLOCK, device=logits_BV.device)
    inside_BI = probability_BV.gather(1, token_BI.clamp(max=probability_BV.shape[-1] - 1)).double()
    inside_BI = inside_BI.masked_fill(token_BI >= probability_BV.shape[-1], 0.0).cumsum(-1)
    rest_B = below((threshold_B - before_B) / mass_B * inside_BI[:, -1], inside_BI[:, -1])
    token_B = block_B * BLOCK + torch.searchsorted(inside_BI, rest_B[:, None], right=True)[:, 0]
    return token_B, probability_BV.gather(1, token_B[:, None])[:, 0].log()


def likeliest(logits_BV: Tensor) -> Tensor:
    """[B] ids of the likeliest tokens. Raises InputError for scores that are no numbers."""
    token_B = logits_BV.argmax(-1)
    if not logits_BV.gather(-1, token_B[:, None]).isfinite().all():
        raise InputError(f"the model's {NOT_FINITE}")
    return token_B


def below(threshold_B: Tensor, total_B: Tensor) -> Tensor:
    """[B] the thresholds, moved under the totals where rounding put them at or above: some token must exceed them."""
    return torch.minimum(threshold_B, torch.nextafter(total_B, torch.zeros_like(total_B)))

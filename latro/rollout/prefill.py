"""Prompts on their first way through the model: each once, several together.

Legend: N prompts, T tokens of the longest, V vocabulary.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from latro.encoding import Encoder, pad_right
from latro.rollout.base import Request

PREFILL_TOKENS = 1024
"""Prompts are prefilled up to so many tokens at once, padding included: enough to keep a matrix product busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefilled:
    """A prompt that has been through the model, with the rows that still have to start from it."""

    number: int
    """Among the distinct prompts of the request, as they are prefilled."""
    cache: DynamicCache
    position: int
    """Its place in the cache, which it shares with the prompts it was prefilled with."""
    length: int
    logits_V: Tensor
    rows: deque[int]


def prefill_all(model: Any, encoder: Encoder, request: Request) -> Iterator[Prefilled]:
    """Each distinct prompt with its rows, longest first; the next ones are prefilled when they are asked for."""
    rows: dict[tuple[int, ...], deque[int]] = {}
    for index, prompt in enumerate(request.prompts):
        rows.setdefault(tuple(prompt), deque()).append(index)
    # Longest first, so that memory runs out at once or never.
    order = sorted(rows, key=lambda prompt: -len(prompt))
    first = 0
    while first < len(order):
        prompts = order[first : first + max(1, PREFILL_TOKENS // len(order[first]))]
        cache, logits_NV = prefill(model, prompts, encoder.pad_token_id)
        for position, prompt in enumerate(prompts):
            yield Prefilled(
                number=first + position,
                cache=cache,
                position=position,
                length=len(prompt),
                logits_V=logits_NV[position],
                rows=rows[prompt],
            )
        first += len(prompts)


def prefill(model: Any, prompts: list[tuple[int, ...]], pad_token_id: int) -> tuple[DynamicCache, Tensor]:
    """Keys and values of N prompts, and the logits behind each, [N, V].

    Padding is on the right, where no real token sees it, so the causal mask is mask enough.
    """
    ids_NT = pad_right(prompts, pad_token_id).to(model.device)
    last_NT = torch.zeros(ids_NT.shape, dtype=torch.bool, device=model.device)
    last_NT[torch.arange(len(prompts)), [len(prompt) - 1 for prompt in prompts]] = True
    cache = DynamicCache()
    output = model(input_ids=ids_NT, past_key_values=cache, use_cache=True, logits_to_keep=last_NT)
    return cache, output.logits

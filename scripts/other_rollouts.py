"""Rollouts of others, to measure ours against: transformers' `generate`, as each of them calls it.

`published_rollout` is the released LaTRO code's, built again from a description of it: the end-of-turn token is
switched off, so every row is decoded to the last of its L tokens; the scores of every step over the whole vocabulary
and all hidden states are asked for and kept. `stock_rollout` is that of trl's RLOOTrainer without vLLM: rows end with
a token that ends a turn of the model, and the batch with its longest row. In both each of a prompt's K rows prefills
the prompt again, and tokens are drawn by transformers' own multinomial sampling at temperature 1. What ends a rationale
is looked for afterwards.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from latro.encoding import Encoder, pad_left
from latro.rollout.plain import without_own_settings


def published_rollout(
    model: Any, encoder: Encoder, prompts: Sequence[Sequence[int]], K: int, max_tokens: int, seed: int
) -> list[tuple[int, ...]]:
    """[N·K] continuations in prompt order, each of `max_tokens` tokens, in one batch."""
    config = drawing(
        encoder,
        max_tokens,
        eos_token_id=None,
        return_dict_in_generate=True,
        output_scores=True,
        output_hidden_states=True,
    )
    return [tuple(row) for row in continued(model, encoder, prompts, K, config, seed).tolist()]


def stock_rollout(
    model: Any, encoder: Encoder, prompts: Sequence[Sequence[int]], K: int, max_tokens: int, seed: int
) -> list[tuple[int, ...]]:
    """[N·K] continuations in prompt order, each to its first end of a turn, in one batch."""
    named = model.generation_config.eos_token_id
    ends = {encoder.tokenizer.eos_token_id, *([named] if isinstance(named, int) else named or ())}
    config = drawing(encoder, max_tokens, eos_token_id=sorted(ends), disable_compile=True)
    rows = continued(model, encoder, prompts, K, config, seed).tolist()
    lengths = [next((at + 1 for at, token in enumerate(row) if token in ends), len(row)) for row in rows]
    return [tuple(row[:length]) for row, length in zip(rows, lengths, strict=True)]


def drawing(encoder: Encoder, max_tokens: int, **more: Any) -> GenerationConfig:
    """What both ask of `generate`."""
    return GenerationConfig(
        max_new_tokens=max_tokens,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        pad_token_id=encoder.pad_token_id,
        **more,
    )


@torch.no_grad()
def continued(
    model: Any,
    encoder: Encoder,
    prompts: Sequence[Sequence[int]],
    K: int,
    config: GenerationConfig,
    seed: int,
) -> Tensor:
    """[N·K, L] what `generate` puts behind K copies of each prompt, L as long as its longest row."""
    ids_BT, mask_BT = pad_left([prompt for prompt in prompts for _ in range(K)], encoder.pad_token_id)
    ids_BT, mask_BT = ids_BT.to(model.device), mask_BT.to(model.device)
    gpus = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus), without_own_settings(model):  # its end of turn is among them
        torch.manual_seed(seed)
        output = model.generate(ids_BT, attention_mask=mask_BT, generation_config=config)
    sequences = output.sequences if config.return_dict_in_generate else output
    continuation: Tensor = sequences[:, ids_BT.shape[1] :]
    return continuation

"""The published LaTRO code's rollout, built again from a description of it, to measure ours against.

The end-of-turn token is switched off, so every row is decoded to the last of its L tokens; each of a prompt's K rows
prefills the prompt again; the scores of every step over the whole vocabulary and all hidden states are asked for and
kept. Tokens are drawn by transformers' own multinomial sampling at temperature 1. What ends a rationale is looked for
afterwards.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from latro.encoding import Encoder, pad_left
from latro.rollout.plain import without_own_settings


@torch.no_grad()
def published_rollout(
    model: Any, encoder: Encoder, prompts: Sequence[Sequence[int]], K: int, max_tokens: int, seed: int
) -> list[tuple[int, ...]]:
    """[N·K] continuations in prompt order, each of `max_tokens` tokens, in one batch."""
    ids_BT, mask_BT = pad_left([prompt for prompt in prompts for _ in range(K)], encoder.pad_token_id)
    ids_BT, mask_BT = ids_BT.to(model.device), mask_BT.to(model.device)
    gpus = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus), without_own_settings(model):  # its end of turn is among them
        torch.manual_seed(seed)
        output = model.generate(
            ids_BT,
            attention_mask=mask_BT,
            generation_config=GenerationConfig(
                max_new_tokens=max_tokens,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                eos_token_id=None,
                pad_token_id=encoder.pad_token_id,
                return_dict_in_generate=True,
                output_scores=True,
                output_hidden_states=True,
            ),
        )
    return [tuple(row) for row in output.sequences[:, ids_BT.shape[1] :].tolist()]

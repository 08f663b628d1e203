"""One forward pass over a prompt for all K rationales behind it.

A prompt's keys and values are computed once, repeated for its rows, and the rows' own tokens are run behind them;
gradients flow back through the repetition. The first token of a rationale is predicted by the prompt's last position.
With a prompt of p tokens and rows of r, the body runs p + K·r tokens instead of K·(p + r).

Legend: N prompts, K rationales per prompt, B = N·K rows, R ≥ B rows with the side rows, P tokens of the longest prompt,
S tokens of the longest row behind its prompt, A scored tokens.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from latro.encoding import RationaleBatch
from latro.errors import InputError
from latro.fused_head import unwrapped
from latro.rollout.limits import base_model, other_layers
from latro.scored_tokens import ScoredTokens, ScoringConfig, token_logprob


def logprob_behind_shared_prompt(
    model: Callable[..., Any], batch: RationaleBatch, tokens: ScoredTokens, scoring: ScoringConfig
) -> Tensor:
    """[A] log-probabilities of the batch's tokens. Raises `InputError` for a model that fills no cache of keys."""
    from transformers import DynamicCache

    if kinds := other_layers(base_model(unwrapped(model))):
        raise InputError(f"scoring.share_prompt=true: {kinds}; set it to false")
    K, owner_R = batch.rationales_per_prompt, batch.owner_R
    prompt_R = batch.prompt_length_B[owner_R]
    prompt_N, P = batch.prompt_length_B[::K], int(prompt_R.max())
    # Prompts end together, so that no row has a gap between prompt and rationale: sliding windows count positions.
    column_NP = torch.arange(P, device=prompt_R.device) - (P - prompt_N)[:, None]
    real_NP = column_NP >= 0
    column_NP = column_NP.clamp(min=0)
    cache = DynamicCache(config=unwrapped(model).config.get_text_config())
    prompt_A = prompt_R[tokens.row_A]
    in_prompt_A = tokens.position_A < prompt_A
    first = token_logprob(
        model,
        batch.ids_BT[::K].gather(1, column_NP),
        tokens.where(in_prompt_A, owner_R[tokens.row_A] // K, tokens.position_A + P - prompt_A),
        scoring,
        attention_mask=real_NP.long(),
        position_ids=column_NP,
        past_key_values=cache,
        use_cache=True,
    )
    if cache.get_seq_length() != P:
        raise InputError(
            f"{type(unwrapped(model)).__name__} gave no keys and values of the prompt (activation checkpointing "
            "discards them): set scoring.share_prompt=false"
        )
    cache.batch_select_indices(owner_R // K)

    T = batch.ids_RT.shape[1]
    S = max(1, T - int(prompt_R.min()))  # every process runs two passes, also where all rationales are empty
    column_RS = prompt_R[:, None] + torch.arange(S, device=prompt_R.device)
    real_RP = real_NP[owner_R // K]
    rest = token_logprob(
        model,
        batch.ids_RT.gather(1, column_RS.clamp(max=T - 1)),
        tokens.where(~in_prompt_A, tokens.row_A, tokens.position_A - prompt_A),
        scoring,
        attention_mask=torch.cat([real_RP, torch.ones_like(column_RS, dtype=torch.bool)], 1).long(),
        # Behind a row's end stands padding: its positions must not reach where a model has none, or changes its own.
        position_ids=column_RS.clamp(max=T - 1),
        past_key_values=cache,
        use_cache=True,
    )
    order_A = torch.cat([in_prompt_A.nonzero()[:, 0], (~in_prompt_A).nonzero()[:, 0]])
    return torch.cat([first, rest])[order_A.argsort()]

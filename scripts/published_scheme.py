"""The published LaTRO code's update, built again from a description of it, to measure ours against. Never trained with.

Three forward passes without gradient (policy and reference over prompt + rationale, policy over prompt + rationale +
answer) give rewards and advantages; two with gradient give the loss: RLOO on the rationale, plus a weight times the
answer. Every pass computes logits at all positions and a log-softmax of all of them. What it does besides, asking for
all hidden states and emptying caches, is left out here. The answer's mask is the right one, not the published
off-by-one, so that both schemes have the same gradient.

Legend: B rows, T tokens, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor

from latro.encoding import RationaleBatch
from latro.objective import leave_one_out


def published_update(
    model: Any, reference: Any, batch: RationaleBatch, *, kl_weight: float, answer_weight: float
) -> None:
    """Leave the gradient of one group's or several groups' mean loss in the parameters of `model`."""
    K, short = batch.rationales_per_prompt, batch.without_answers()
    with torch.no_grad():
        policy_B = masked_sum(model, short.ids_BT, short.rationale_mask_BT)
        reference_B = masked_sum(reference, short.ids_BT, short.rationale_mask_BT)
        answer_B = masked_sum(model, batch.ids_BT, batch.answer_mask_BT)
    reward_B = answer_B - kl_weight * (policy_B - reference_B)
    advantage_B = leave_one_out(reward_B.view(-1, K)).flatten()
    rationale_B = masked_sum(model, short.ids_BT, short.rationale_mask_BT)
    graded_B = masked_sum(model, batch.ids_BT, batch.answer_mask_BT)
    (-(advantage_B * rationale_B) - answer_weight * graded_B).mean().backward()


def masked_sum(model: Any, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """[B] sum of the log-probabilities of the masked tokens, from a log-softmax over every position's vocabulary."""
    logits_BTV = model(input_ids=ids_BT, use_cache=False).logits[:, :-1]
    every_BTV = logits_BTV.log_softmax(-1)
    logprob_BT = every_BTV.gather(-1, ids_BT[:, 1:, None])[..., 0]
    return (logprob_BT * mask_BT[:, 1:]).sum(-1)

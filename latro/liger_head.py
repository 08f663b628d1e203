"""The fused head as Liger computes it, in Triton kernels on a GPU: `scoring.liger_head=true`.

Legend: A scored tokens, H hidden width, V vocabulary.
"""

from importlib.util import find_spec

import torch
from torch import Tensor

from latro.errors import InputError


def refuse_without_liger(device: str) -> None:
    """Raise InputError where Liger's kernels cannot run. device: what the training computes on, as torch names it."""
    if device == "cpu":
        raise InputError(
            "scoring.liger_head=true: its kernels run on a GPU, and this is a processor; leave it out"
        )
    if find_spec("liger_kernel") is None:
        raise InputError("scoring.liger_head=true: Liger is not installed; pip install 'latro-pract[liger]'")


def liger_logprob(hidden_AH: Tensor, weight_VH: Tensor, token_A: Tensor, scale_A: Tensor) -> Tensor:
    """[A] log softmax(scale · hidden @ weightᵀ) at the given tokens, nats, in float32; see `fused_head.head_logprob`.

    Liger knows no scale of its own, so the hidden states are scaled and rounded to their precision once more where a
    temperature is not 1. One token's weight in the loss is unknown until the backward pass, which therefore computes
    the logits once more, and none are kept (`head_memory` is without effect).
    """
    from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

    scaled_AH = (hidden_AH * scale_A[:, None]).to(hidden_AH.dtype)
    loss_A = liger_fused_linear_cross_entropy(
        scaled_AH, weight_VH, token_A, reduction="none", accum_dtype=torch.float32
    )
    return -loss_A.to(scale_A.dtype)

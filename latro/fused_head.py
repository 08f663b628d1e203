"""Log-probabilities of given tokens straight from hidden states, without the [A, V] logits of a language-model head.

The head's product, its softmax and their gradient are taken in chunks of rows. What the backward pass needs again is
kept as far as a memory budget allows, else computed once more. With a frozen head (LoRA) nothing is kept at all: the
gradient of log p(token) in the hidden state is linear in what comes from above, so it is found in the forward pass.

Legend: A scored tokens, C rows of a chunk, H hidden width, V vocabulary.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel

from latro.head_products import add_weights, write_hidden, write_logits
from latro.liger_head import liger_logprob
from latro.onednn import GRAIN, close_gaps
from latro.products import OneDnnLinear, takes

CHUNK = 2**26
"""Bytes of logits held at once. Fewer make the products by the weight narrow, and in bfloat16 add up a gradient of the
whole weight too often."""
GPU_CHUNK = 2**29
"""The same on a GPU, where adding up that gradient would cost more than the products do."""
BLOCK = 2**19
"""Elements that pass through the softmax at once: few enough to stay in a processor's cache."""
GPU_BLOCK = 2**25
"""The same on a GPU: few enough for their float32 copies to take little memory."""
LOGIT_KNOBS = (
    "final_logit_softcapping",
    "logit_scale",
    "logits_scaling",
    "lm_head_multiplier",
    "logits_soft_cap",
    "output_logit_soft_cap",
    "output_multiplier",
)
"""Names under which configurations say that logits are changed behind the head."""


def wide(dtype: torch.dtype) -> torch.dtype:
    """The precision in which a softmax is taken: float32 at least."""
    return torch.promote_types(dtype, torch.float32)


def unwrapped(model: Any) -> Any:
    """The model inside whatever wraps it for training (DDP, DeepSpeed)."""
    while hasattr(model, "module"):
        model = model.module
    return model


def plain_reason(model: Any) -> str | None:
    """Why the model's head has to compute its logits itself; None where `head_logprob` may stand in for it."""
    inner = unwrapped(model)
    if not hasattr(inner, "get_output_embeddings"):
        return "it offers no get_output_embeddings"
    head = inner.get_output_embeddings()
    if type(head) not in (nn.Linear, OneDnnLinear):
        return f"its head is a {type(head).__name__}"
    if head.bias is not None:
        return "its head has a bias"
    # ZeRO-3's is a plain one, which its hooks gather around the head's own call.
    if type(head.weight) is not nn.Parameter:
        return "its head's weight is sharded or quantised"
    if any(isinstance(module, FSDPModule | FullyShardedDataParallel) for module in model.modules()):
        return "FSDP shards it"
    if "forward" in vars(head):
        return "something else has replaced its head's forward"
    config = inner.config.get_text_config()
    changed = [name for name in LOGIT_KNOBS if getattr(config, name, None) not in (None, 0, 1)]
    return f"it changes its logits by {changed[0]}" if changed else None


@contextmanager
def replaced_forward(head: nn.Module, forward: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within the block the head computes `forward`; it is still the module that the model calls, hooks and all."""
    head.forward = forward
    try:
        yield
    finally:
        del head.forward


def head_logprob(
    hidden_AH: Tensor,
    weight_VH: Tensor,
    token_A: Tensor,
    scale_A: Tensor,
    memory: float,
    *,
    liger: bool = False,
    onednn: bool = False,
) -> Tensor:
    """[A] log softmax(scale · hidden @ weightᵀ) at the given tokens, nats, in float32 at least.

    `memory` bytes of logits may be kept for the backward pass. liger: by Liger's kernels, which keep none. onednn:
    products that it takes are its own, see `latro.products`.
    """
    kind = hidden_AH.device.type
    if torch.is_autocast_enabled(
        kind
    ):  # its gradient is taken outside autocast, so the precision is settled here
        low = torch.get_autocast_dtype(kind)
        hidden_AH, weight_VH = hidden_AH.to(low), weight_VH.to(low)
    if liger and len(token_A):
        return liger_logprob(hidden_AH, weight_VH, token_A, scale_A)
    onednn = onednn and takes(hidden_AH, weight_VH)
    if not torch.is_grad_enabled() or not (hidden_AH.requires_grad or weight_VH.requires_grad):
        parts = [
            chunk_logprob(logits_CV, token_A[rows], scale_A[rows])[0]
            for rows, logits_CV in logit_chunks(hidden_AH, weight_VH, onednn)
        ]
        return torch.cat(parts) if parts else scale_A.clone()
    if onednn:
        close_gaps(CHUNK + weight_VH.nbytes)  # here, where most is held
    if not weight_VH.requires_grad:
        return FrozenHead.apply(hidden_AH, weight_VH, token_A, scale_A, onednn)
    return TrainedHead.apply(hidden_AH, weight_VH, token_A, scale_A, memory, onednn)


class TrainedHead(torch.autograd.Function):
    """The head when its weight is trained too."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_AH: Tensor,
        weight_VH: Tensor,
        token_A: Tensor,
        scale_A: Tensor,
        memory: float,
        onednn: bool,
    ) -> Tensor:
        """Log-probabilities; the first rows' logits are kept as far as `memory` goes."""
        A, V = hidden_AH.shape[0], weight_VH.shape[0]
        kept = min(A, int(memory / (V * hidden_AH.element_size())))
        kept_CV = hidden_AH.new_empty(kept, V)
        logprob_A, normaliser_A = torch.empty_like(scale_A), torch.empty_like(scale_A)
        for rows, logits_CV in logit_chunks(hidden_AH, weight_VH, onednn, kept_CV):
            logprob_A[rows], normaliser_A[rows] = chunk_logprob(logits_CV, token_A[rows], scale_A[rows])
        # By this way alone does checkpointing know of the logits, and drop them in a pass that is run again.
        ctx.save_for_backward(hidden_AH, weight_VH, token_A, scale_A, normaliser_A, kept_CV)
        ctx.spent, ctx.onednn = False, onednn
        return logprob_A

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        """What the softmax and the product pass on: grad · scale · (one-hot - softmax), in the place of the logits.

        The kept logits are used up by it. Another backward pass over the same graph computes them again.
        """
        hidden_AH, weight_VH, token_A, scale_A, normaliser_A, kept_CV = ctx.saved_tensors
        A, V = hidden_AH.shape[0], weight_VH.shape[0]
        kept, ctx.spent = 0 if ctx.spent else kept_CV.shape[0], True
        hidden_grad_AH = torch.empty_like(hidden_AH)
        weight_grad_VH = torch.zeros_like(weight_VH, dtype=wide(weight_VH.dtype))
        buffer_CV = hidden_AH.new_empty(min(chunk_rows(weight_VH), A - kept), V)
        for rows in row_chunks(hidden_AH, weight_VH, kept):
            if rows.stop <= kept:
                logits_CV = kept_CV.data[rows]  # unseen by autograd: `spent` keeps all others from them
            else:
                place = buffer_CV[: rows.stop - rows.start]
                logits_CV = write_logits(hidden_AH[rows], weight_VH, place, onednn=ctx.onednn)
            logit_gradient(
                logits_CV, token_A[rows], scale_A[rows], normaliser_A[rows], grads[0][rows], out=logits_CV
            )
            write_hidden(logits_CV, weight_VH, hidden_grad_AH[rows], onednn=ctx.onednn)
            add_weights(weight_grad_VH, logits_CV, hidden_AH[rows], onednn=ctx.onednn)
        return hidden_grad_AH, weight_grad_VH.to(weight_VH.dtype), None, None, None, None


class FrozenHead(torch.autograd.Function):
    """The head when only what lies below it is trained."""

    @staticmethod
    def forward(
        ctx: Any, hidden_AH: Tensor, weight_VH: Tensor, token_A: Tensor, scale_A: Tensor, onednn: bool
    ) -> Tensor:
        """Log-probabilities, and with them their gradients in the hidden states."""
        logprob_A, unit_AH = torch.empty_like(scale_A), torch.empty_like(hidden_AH)
        for rows, logits_CV in logit_chunks(hidden_AH, weight_VH, onednn):
            token_C, scale_C = token_A[rows], scale_A[rows]
            logprob_A[rows], normaliser_C = chunk_logprob(logits_CV, token_C, scale_C)
            logit_gradient(logits_CV, token_C, scale_C, normaliser_C, torch.ones_like(scale_C), out=logits_CV)
            write_hidden(logits_CV, weight_VH, unit_AH[rows], onednn=onednn)
        ctx.save_for_backward(unit_AH)
        return logprob_A

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        """The kept gradients, times what comes from above."""
        (unit_AH,) = ctx.saved_tensors
        return unit_AH * grads[0][:, None].to(unit_AH.dtype), None, None, None, None


def chunk_rows(weight_VH: Tensor) -> int:
    """Rows whose logits are held at once."""
    held = CHUNK if weight_VH.device.type == "cpu" else GPU_CHUNK
    fit = max(1, held // (weight_VH.shape[0] * weight_VH.element_size()))
    return fit // GRAIN * GRAIN or fit


def row_chunks(hidden_AH: Tensor, weight_VH: Tensor, kept: int) -> Iterator[slice]:
    """Slices that cover all rows; none reaches over the border of the `kept` ones."""
    A, start = hidden_AH.shape[0], 0
    while start < A:
        stop = min(start + chunk_rows(weight_VH), kept if start < kept else A)
        yield slice(start, stop)
        start = stop


def logit_chunks(
    hidden_AH: Tensor, weight_VH: Tensor, onednn: bool, kept_CV: Tensor | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """Every chunk's rows and logits: in their places in `kept_CV` as far as it goes, then in one passing buffer."""
    kept = 0 if kept_CV is None else kept_CV.shape[0]
    room = min(chunk_rows(weight_VH), hidden_AH.shape[0] - kept)
    buffer_CV = hidden_AH.new_empty(room, weight_VH.shape[0])
    for rows in row_chunks(hidden_AH, weight_VH, kept):
        place = (
            kept_CV[rows]
            if kept_CV is not None and rows.stop <= kept
            else buffer_CV[: rows.stop - rows.start]
        )
        yield rows, write_logits(hidden_AH[rows], weight_VH, place, onednn=onednn)


def row_blocks(logits_CV: Tensor) -> Iterator[slice]:
    """Slices of a few rows each, for work that makes wider copies of them."""
    C, V = logits_CV.shape
    size = max(1, (BLOCK if logits_CV.device.type == "cpu" else GPU_BLOCK) // V)
    return (slice(start, start + size) for start in range(0, C, size))


def chunk_logprob(logits_CV: Tensor, token_C: Tensor, scale_C: Tensor) -> tuple[Tensor, Tensor]:
    """[C] log softmax(scale · logits) at the tokens, and [C] the softmax's logarithmic normaliser."""
    normaliser_C = torch.empty_like(scale_C)
    for rows in row_blocks(logits_CV):
        scaled = logits_CV[rows] * scale_C[rows, None]
        normaliser_C[rows] = scaled.logsumexp(-1)
    picked_C = logits_CV.gather(1, token_C[:, None])[:, 0] * scale_C
    return picked_C - normaliser_C, normaliser_C


def logit_gradient(
    logits_CV: Tensor, token_C: Tensor, scale_C: Tensor, normaliser_C: Tensor, grad_C: Tensor, *, out: Tensor
) -> None:
    """Write grad · scale · (one-hot(token) - softmax(scale · logits)) to `out`, which may be the logits themselves."""
    factor_C = grad_C * scale_C
    for rows in row_blocks(logits_CV):
        softmax = (logits_CV[rows] * scale_C[rows, None]).sub_(normaliser_C[rows, None]).exp_()
        softmax.mul_(-factor_C[rows, None]).scatter_add_(1, token_C[rows, None], factor_C[rows, None])
        out[rows] = softmax

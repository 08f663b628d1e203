"""Which tokens of a batch have to be scored, and the forward pass that does it.

Legend: B rows, T tokens, A scored tokens, S positions that predict one or more of them, V vocabulary, H hidden width.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from accelerate.utils import DistributedType
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from latro.errors import InputError
from latro.fused_head import head_logprob, plain_reason, replaced_forward, unwrapped, wide
from latro.liger_head import refuse_without_liger
from latro.products import OneDnnLinear
from latro.scoring_config import ScoringConfig as ScoringConfig

logger = logging.getLogger(__name__)

CHUNK = 1024
"""Positions whose softmax is held at once where the model computes its own logits."""


def refuse_misfits(
    scoring: ScoringConfig, checkpointing: bool, kind: DistributedType, device: str | None = None
) -> None:
    """Raise InputError for knobs of the scoring that this training cannot follow.

    checkpointing: whether layers are run again, by the trainer or by FSDP itself. device: what is computed on, as torch
    names it; None where it is another machine's.
    """
    if scoring.liger_head and device is not None:
        refuse_without_liger(device)
    if scoring.share_prompt and checkpointing:
        raise InputError(
            "scoring.share_prompt=true with trainer.activation_checkpointing (or FSDP's): checkpointing keeps no keys "
            "and values to share; choose one of the two"
        )
    if scoring.rows and kind in (DistributedType.DEEPSPEED, DistributedType.FSDP):
        raise InputError(
            f"scoring.rows={scoring.rows} with {kind.value}: a backward pass cannot gather the weights of a forward "
            "inside it; use trainer.activation_checkpointing=true and fewer prompts a micro-batch"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredTokens:
    """Tokens whose log-probability is wanted, each with the place where it is predicted."""

    row_A: Tensor
    position_A: Tensor
    """Index of the token before it, whose hidden state predicts it."""
    token_A: Tensor
    sampled_A: Tensor
    """True where the distribution is softmax(logits / temperature), False where it is softmax(logits)."""
    temperature: float

    def scale_A(self, dtype: torch.dtype) -> Tensor:  # noqa: N802
        """What the logits are multiplied by."""
        one = torch.ones(self.token_A.shape, dtype=dtype, device=self.token_A.device)
        return one.masked_fill(self.sampled_A, 1 / self.temperature)

    def where(self, chosen_A: Tensor, row_A: Tensor, position_A: Tensor) -> "ScoredTokens":
        """Some of the tokens, in other rows and positions (given for all)."""
        return ScoredTokens(
            row_A=row_A[chosen_A],
            position_A=position_A[chosen_A],
            token_A=self.token_A[chosen_A],
            sampled_A=self.sampled_A[chosen_A],
            temperature=self.temperature,
        )


def token_logprob(
    model: Callable[..., Any], ids_BT: Tensor, tokens: ScoredTokens, scoring: ScoringConfig, **inputs: Any
) -> Tensor:
    """[A] log-probabilities of the tokens by one forward pass over `ids_BT`; `inputs` go to the model as they are.

    They are the model's own output: what wraps a model in training (DDP) sees no gradient by another way.
    """
    keep_BT = torch.zeros_like(ids_BT, dtype=torch.bool)
    keep_BT[tokens.row_A, tokens.position_A] = True
    place_BT = keep_BT.flatten().cumsum(0).view_as(ids_BT) - 1
    place_A = place_BT[tokens.row_A, tokens.position_A]

    if scoring.fused_head and not plain_reason(model):
        head, made = unwrapped(model).get_output_embeddings(), []

        def forward(hidden: Tensor) -> Tensor:
            """[A, 1] log-probabilities in place of logits."""
            hidden_SH = hidden[keep_BT] if hidden.ndim == 3 else hidden
            scale_A = tokens.scale_A(wide(hidden.dtype))
            made.append(
                head_logprob(
                    hidden_SH[place_A],
                    head.weight,
                    tokens.token_A,
                    scale_A,
                    scoring.head_memory * 2**30,
                    liger=scoring.liger_head,
                    onednn=isinstance(head, OneDnnLinear),
                )
            )
            return made[0][:, None]

        with replaced_forward(head, forward):
            logprob_A = model(input_ids=ids_BT, logits_to_keep=keep_BT, **inputs).logits.flatten()
        # Numbers that are none stay what they are: a second pass in one process alone would hang the others.
        if torch.equal(logprob_A.detach().nan_to_num(), made[0].detach().nan_to_num()):
            return logprob_A
        warn_of_changed_logits(type(unwrapped(model)).__name__)

    logits_SV = model(input_ids=ids_BT, logits_to_keep=keep_BT, **inputs).logits
    if logits_SV.ndim == 3:  # an architecture that knows no mask of positions gives them all
        logits_SV = logits_SV[keep_BT]
    return logprob_of_logits(logits_SV, place_A, tokens)


@cache
def warn_of_changed_logits(name: str) -> None:
    """Say once that a model's passes are run twice."""
    logger.warning(
        "%s changes its logits behind the head, so every pass is run again with whole logits: set "
        "scoring.fused_head=false",
        name,
    )


def logprob_of_logits(logits_SV: Tensor, place_A: Tensor, tokens: ScoredTokens) -> Tensor:
    """[A] log-probabilities from whole logits, in float32 at least, in chunks that the backward pass takes again."""
    scale_A = tokens.scale_A(wide(logits_SV.dtype))
    parts, order = [], []
    for number, logits_CV in enumerate(logits_SV.split(CHUNK)):
        inside = (place_A // CHUNK == number).nonzero()[:, 0]
        arguments = (logits_CV, place_A[inside] % CHUNK, tokens.token_A[inside], scale_A[inside])
        if torch.is_grad_enabled() and logits_SV.requires_grad:
            parts.append(checkpoint(chunk_logprob, *arguments, use_reentrant=False))
        else:
            parts.append(chunk_logprob(*arguments))
        order.append(inside)
    return torch.cat(parts)[torch.cat(order).argsort()]


def chunk_logprob(logits_CV: Tensor, place_A: Tensor, token_A: Tensor, scale_A: Tensor) -> Tensor:
    """[A] log softmax(scale · logits[place]) at the tokens."""
    wide_AV = logits_CV[place_A].to(wide(logits_CV.dtype)) * scale_A[:, None]
    return wide_AV.gather(1, token_A[:, None])[:, 0] - wide_AV.logsumexp(-1)

"""The three products of a language-model head, by torch or by oneDNN, written where they belong.

Legend: C rows of a chunk, H hidden width, V vocabulary.
"""

import torch
from torch import Tensor

from latro.onednn import BLOCK, COLUMNS, GRAIN, filled_up, multiplied


def write_logits(hidden_CH: Tensor, weight_VH: Tensor, out_CV: Tensor, *, onednn: bool) -> Tensor:
    """`out`, filled with hidden @ weightᵀ."""
    if not onednn:
        return torch.mm(hidden_CH, weight_VH.T, out=out_CV)
    for hidden, block in zip(hidden_CH.split(BLOCK), out_CV.split(BLOCK), strict=True):
        full = filled_up(hidden, GRAIN)
        for weight, place in zip(weight_VH.split(COLUMNS), block.split(COLUMNS, dim=1), strict=True):
            place.copy_(multiplied(full, weight)[: len(place)])
    return out_CV


def write_hidden(logits_CV: Tensor, weight_VH: Tensor, out_CH: Tensor, *, onednn: bool) -> Tensor:
    """`out`, filled with logits @ weight, as the gradient passes back."""
    if not onednn:
        return torch.mm(logits_CV, weight_VH, out=out_CH)
    for block, place in zip(logits_CV.split(BLOCK), out_CH.split(BLOCK), strict=True):
        total = filled_up(torch.zeros_like(place), GRAIN)
        for logits, weight in zip(block.split(COLUMNS, dim=1), weight_VH.split(COLUMNS), strict=True):
            total = multiplied(filled_up(logits, GRAIN), weight.T, onto=total)
        place.copy_(total[: len(place)])
    return out_CH


def add_weights(total_VH: Tensor, logits_CV: Tensor, hidden_CH: Tensor, *, onednn: bool) -> None:
    """Add logitsᵀ @ hidden to the total, which may be wider than they are."""
    if onednn:
        for block, hidden in zip(logits_CV.split(BLOCK), hidden_CH.split(BLOCK), strict=True):
            full = filled_up(hidden, GRAIN).T
            for total, logits in zip(total_VH.split(COLUMNS), block.split(COLUMNS, dim=1), strict=True):
                total.copy_(multiplied(filled_up(logits, GRAIN).T, full, onto=total))
    elif total_VH.dtype == logits_CV.dtype:
        total_VH.addmm_(logits_CV.T, hidden_CH)
    else:
        total_VH += logits_CV.T @ hidden_CH

"""Products of matrices by oneDNN: rows in blocks, sums as long as is told.

For every shape that it meets oneDNN makes a kernel of 0.5 to 1.8 MB, and keeps up to a thousand. Rows are therefore
multiplied a block at a time, and filled up with zeros to one of few numbers.

Legend: R rows, I width of the input, O of the output.
"""

import ctypes
import math
import sys

import torch
from torch import Tensor
from torch.nn import functional

from latro.resident import resident_bytes

LONGEST_SUM = 128
"""Products that a layer adds up in one sum: gradients of whole updates are then as near to others' as with MKL."""
BLOCK = 512
"""Rows multiplied at once. Fewer in all, as where tokens are drawn, are made of one sum: the weight's parts would have
to be copied for too little."""
GRAIN = 64
"""What rows are filled up to a multiple of: the last of many, and those that a weight's gradient or a head takes."""
COLUMNS = 2**12
"""Of a wide product that are made at once before they are written where they belong: few enough to stay in a cache."""


def product(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, longest_sum: int = LONGEST_SUM
) -> Tensor:
    """[..., O] input @ weightᵀ + bias, without a gradient; of a block of rows or more in sums of so many products."""
    input_RI, shape = rows(input), (*input.shape[:-1], len(weight))
    if (R := len(input_RI)) < BLOCK:
        return multiplied(filled_up(input_RI, grain(R)), weight, bias)[:R].view(shape)
    out = input.new_empty(shape)  # before what is not to stay, which would leave gaps in memory
    for first in range(0, len(weight), COLUMNS):
        columns = slice(first, first + COLUMNS)
        write_blocks(
            input_RI,
            weight[columns],
            None if bias is None else bias[columns],
            longest_sum,
            rows(out)[:, columns],
        )
    return out


def write_blocks(
    input_RI: Tensor, weight: Tensor, bias: Tensor | None, longest_sum: int, out_RO: Tensor
) -> None:
    """Fill `out` with input @ weightᵀ + bias, block by block, so that a block's sums stay in a cache."""
    (first, begun), *others = [(part, plain(weight[:, part])) for part in sums(weight.shape[1], longest_sum)]
    for some, place in zip(input_RI.split(BLOCK), out_RO.split(BLOCK), strict=True):
        full = filled_up(some, GRAIN)
        total = multiplied(full[:, first], begun, bias)
        for part, weights in others:
            total = multiplied(full[:, part], weights, onto=total)
        place.copy_(total[: len(some)])


def rows(states: Tensor) -> Tensor:
    """[R, width] of [..., width]."""
    return states.reshape(-1, states.shape[-1])


def sums(width: int, longest: int) -> list[slice]:
    """What is added up in one sum each: slices that cover the width, of like length, in sixteens but for the last.

    longest: of a sum, a multiple of sixteen.
    """
    length = 16 * math.ceil(width / math.ceil(width / longest) / 16)
    return [slice(start, min(start + length, width)) for start in range(0, width, length)]


def grain(R: int) -> int:
    """A fourth of the power of two that R rows reach: four numbers to fill up to before the next one."""
    return max(1, 1 << R.bit_length() >> 3)


def filled_up(some_RI: Tensor, multiple: int) -> Tensor:
    """The rows, and zeros up to the next such multiple."""
    missing = -len(some_RI) % multiple
    return functional.pad(some_RI, (0, 0, 0, missing)) if missing else some_RI


def weight_gradient(grad_RO: Tensor, input_RI: Tensor) -> Tensor:
    """[O, I] gradᵀ @ input."""
    total = grad_RO.new_zeros(grad_RO.shape[1], input_RI.shape[1])
    for grads, inputs in zip(grad_RO.split(BLOCK), input_RI.split(BLOCK), strict=True):
        total = multiplied(filled_up(grads, GRAIN).T, filled_up(inputs, GRAIN).T, onto=total)
    return total


def plain(matrix: Tensor) -> Tensor:
    """The matrix with strides of its own, or of a turned one; others take oneDNN a hundred times as long."""
    return matrix if matrix.is_contiguous() or matrix.T.is_contiguous() else matrix.contiguous()


def close_gaps(ahead: int) -> None:
    """Give back to the system what glibc keeps of freed memory, if with so many bytes more the process would hold more
    than it ever did.

    What oneDNN keeps lies in the middle of what was freed, so that large tensors fit in no more: 0.3 of the 2.3 GB that
    an update of 91M parameters took. What is given back has to be got again, so it is not done for less.
    """
    if sys.platform != "linux" or (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is None:
        return
    if resident_bytes("VmRSS") + ahead > resident_bytes("VmHWM"):
        trim.argtypes = [ctypes.c_size_t]
        trim(0)


def multiplied(left: Tensor, right: Tensor, bias: Tensor | None = None, onto: Tensor | None = None) -> Tensor:
    """left @ rightᵀ + bias, or else + onto, without a gradient, each number one sum."""
    made: Tensor
    if onto is None:
        made = torch.ops.mkldnn._linear_pointwise(left, plain(right), bias, "none", [], "")
    else:
        made = torch.ops.mkldnn._linear_pointwise.binary(left, onto, plain(right), None, "add")
    return made

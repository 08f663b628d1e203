"""float32 products of linear layers by oneDNN, for processors on which torch's own library (MKL) is half as fast.

MKL has AVX-512 kernels for Intel's processors alone; oneDNN, which torch brings along and multiplies bfloat16 by, has
them for all. The numbers are the same but for the order in which products are added up. oneDNN adds all up in one
running sum, whose rounding errors grow to twice those of MKL; what a layer passes on where rows are scored is therefore
made of shorter ones. Draws and gradients, whose own errors weigh less, are not.
"""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from latro.errors import InputError

LEAST_WEIGHTS = 2**16
"""Of a layer: below, the calls cost more than the products."""
LONGEST_SUM = 128
"""Products that a layer adds up in one sum: gradients of whole updates are then as near to others' as with MKL."""
FEW_ROWS = 512
"""Fewer, as where tokens are drawn, are made of one sum: the weight's parts would have to be copied for too little.
More are multiplied so many at a time."""
COLUMNS = 2**12
"""Of a product that are made at once before they are written where they belong: few enough to stay in a cache."""


def onednn_pays(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor has AVX-512 and is not Intel's, so that MKL leaves it idle; False where nothing tells."""
    if not torch.backends.mkldnn.is_available() or not cpuinfo.exists():
        return False
    found: dict[str, str] = {}
    for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), value.strip())
    return "avx512f" in found.get("flags", "").split() and found.get("vendor_id") != "GenuineIntel"


def by_onednn(products: str) -> bool:
    """Whether `onednn`, `torch` or `auto` means oneDNN here; `auto`: where it pays, and there is no GPU."""
    return products == "onednn" or (products == "auto" and not torch.cuda.is_available() and onednn_pays())


def choose_products(model: nn.Module, products: str) -> None:
    """Have the model's linear layers of some size multiply by `onednn` or by `torch`, see `by_onednn`.

    Layers that are more than torch's own stay as they are. Weights, names and checkpoints do not change.
    Raises InputError for `onednn` where torch was built without it.
    """
    if products == "onednn" and not torch.backends.mkldnn.is_available():
        raise InputError("model.products=onednn: this torch was built without oneDNN; take auto or torch")
    before, after = (nn.Linear, OneDnnLinear) if by_onednn(products) else (OneDnnLinear, nn.Linear)
    for layer in model.modules():
        if type(layer) is before and layer.weight.numel() >= LEAST_WEIGHTS:
            layer.__class__ = after


class OneDnnLinear(nn.Linear):
    """A linear layer whose float32 products on a processor are oneDNN's; all others are torch's."""

    def forward(self, input: Tensor) -> Tensor:
        """[..., out] of [..., in]."""
        if not takes(input, self.weight):
            return functional.linear(input, self.weight, self.bias)
        learned = (each is not None and each.requires_grad for each in (input, self.weight, self.bias))
        if torch.is_grad_enabled() and any(learned):
            product: Tensor = OneDnnProduct.apply(input, self.weight, self.bias)
            return product
        return passed_on(input, self.weight, self.bias)


class OneDnnProduct(torch.autograd.Function):
    """input @ weightᵀ + bias, with the gradients of all three."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """[..., out] of [..., in] and [out, in]."""
        wants_input, wants_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(input if wants_weight else None, weight if wants_input else None)
        return passed_on(input, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Those that are asked for."""
        (grad,), (input, weight) = grads, ctx.saved_tensors
        grad_RO = rows(grad)
        return (
            None if weight is None else multiplied(grad, weight.T),
            None if input is None else multiplied(grad_RO.T, rows(input).T),
            grad_RO.sum(0) if ctx.needs_input_grad[2] else None,
        )


def rows(states: Tensor) -> Tensor:
    """[R, width] of [..., width]."""
    return states.reshape(-1, states.shape[-1])


def takes(input: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN is asked for the product: of plain float32 on a processor, and of something."""
    return (
        input.dtype == weight.dtype == torch.float32
        and input.device.type == "cpu"
        and type(weight) is nn.Parameter
        and input.numel() > 0
        and not torch.is_autocast_enabled("cpu")
    )


def passed_on(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """input @ weightᵀ + bias, without a gradient; of more than few rows in sums of at most `LONGEST_SUM` products."""
    width = weight.shape[1]
    if input.numel() < FEW_ROWS * width:
        return multiplied(input, weight, bias)
    # Before what is not to stay, which would leave gaps in memory.
    product = input.new_empty(*input.shape[:-1], weight.shape[0])
    (first, begun), *others = [(part, weight[:, part].contiguous()) for part in sums(width)]
    blocks = zip(rows(input).split(FEW_ROWS), rows(product).split(FEW_ROWS), strict=True)
    for some, place in blocks:  # whose sums stay in a cache
        total = multiplied(some[:, first], begun, bias)
        for part, weights in others:
            total = multiplied(some[:, part], weights, onto=total)
        place.copy_(total)
    return product


def sums(width: int) -> list[slice]:
    """What is added up in one sum each: slices that cover the width, of like length, in sixteens but for the last."""
    length = 16 * math.ceil(width / math.ceil(width / LONGEST_SUM) / 16)
    return [slice(start, min(start + length, width)) for start in range(0, width, length)]


def multiplied(left: Tensor, right: Tensor, bias: Tensor | None = None, onto: Tensor | None = None) -> Tensor:
    """left @ rightᵀ + bias, or else + onto, without a gradient, each number one sum."""
    if not (right.is_contiguous() or right.T.is_contiguous()):  # other strides are a hundred times slower
        right = right.contiguous()
    product: Tensor
    if onto is None:
        product = torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")
    else:
        product = torch.ops.mkldnn._linear_pointwise.binary(left, onto, right, None, "add")
    return product


def write_product(left: Tensor, right: Tensor, out: Tensor, *, onednn: bool) -> Tensor:
    """`out`, filled with left @ rightᵀ; by oneDNN, which takes no place to write to, some columns at a time."""
    if not onednn:
        return torch.mm(left, right.T, out=out)
    if not right.is_contiguous():  # its parts would have to be copied
        return out.copy_(multiplied(left, right))
    for start in range(0, out.shape[1], COLUMNS):
        columns = slice(start, start + COLUMNS)
        out[:, columns] = multiplied(left, right[columns])
    return out

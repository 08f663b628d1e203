"""float32 products of linear layers by oneDNN, for processors on which torch's own library (MKL) is half as fast.

MKL has AVX-512 kernels for Intel's processors alone; oneDNN, which torch brings along and multiplies bfloat16 by, has
them for all. The numbers are the same but for the order in which products are added up. oneDNN adds all up in one
running sum, whose rounding errors grow to twice those of MKL; what a layer passes on, of as many rows as are scored at
a time, is therefore made of shorter ones. Draws and gradients of inputs, whose own errors weigh less, are not.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from latro.errors import InputError
from latro.onednn import product, rows, weight_gradient
from latro.processor import CPUINFO, described, features

LEAST_WEIGHTS = 2**16
"""Of a layer: below, the calls cost more than the products."""


def has_onednn() -> bool:
    """Whether torch was built with oneDNN and gives it to linear layers."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def onednn_pays(cpuinfo: Path = CPUINFO) -> bool:
    """Whether the processor has AVX-512 and is not Intel's, so that MKL leaves it idle; False where nothing tells."""
    fields = described(cpuinfo)
    return has_onednn() and "avx512f" in features(fields) and fields.get("vendor_id") != "GenuineIntel"


def by_onednn(products: str) -> bool:
    """Whether `onednn`, `torch` or `auto` means oneDNN here; `auto`: where it pays, and there is no GPU."""
    return products == "onednn" or (products == "auto" and not torch.cuda.is_available() and onednn_pays())


def choose_products(model: nn.Module, products: str) -> None:
    """Have the model's linear layers of some size multiply by `onednn` or by `torch`, see `by_onednn`.

    Layers that are more than torch's own stay as they are. Weights, names and checkpoints do not change.
    Raises InputError for `onednn` where torch was built without it.
    """
    if products == "onednn" and not has_onednn():
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
            made: Tensor = OneDnnProduct.apply(input, self.weight, self.bias)
            return made
        return product(input, self.weight, self.bias)


class OneDnnProduct(torch.autograd.Function):
    """input @ weightᵀ + bias, with the gradients of all three."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """[..., out] of [..., in] and [out, in]."""
        wants_input, wants_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(input if wants_weight else None, weight if wants_input else None)
        made = product(input, weight, bias)
        # A view that is made in here may not be changed in place.
        return made.clone() if made._is_view() else made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Those that are asked for."""
        (grad,), (input, weight) = grads, ctx.saved_tensors
        grad_RO = rows(grad)
        return (
            None if weight is None else product(grad, weight.T, longest_sum=len(weight)),
            None if input is None else weight_gradient(grad_RO, rows(input)),
            grad_RO.sum(0) if ctx.needs_input_grad[2] else None,
        )


def takes(input: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN is asked for the product: of plain float32 on a processor, and of something."""
    return (
        input.dtype == weight.dtype == torch.float32
        and input.device.type == "cpu"
        and type(weight) is nn.Parameter
        and input.numel() > 0
        and not torch.is_autocast_enabled("cpu")
    )

"""Precision: which one this machine computes fast (bfloat16 takes hardware for it), and a model's change to another."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from latro.processor import CPUINFO, described, features

if TYPE_CHECKING:
    import torch

CPU_FEATURES = {"avx512_bf16", "amx_bf16", "bf16"}
"""Names by which Linux lists a processor's bfloat16 products (x86, x86, ARM)."""


def bfloat16_is_fast(cpuinfo: Path = CPUINFO) -> bool:
    """Whether the GPU, or else the processor, multiplies bfloat16 matrices in hardware; False where nothing tells."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return processor_is_fast(cpuinfo)


def processor_is_fast(cpuinfo: Path = CPUINFO) -> bool:
    """Whether the processor multiplies bfloat16 matrices in hardware; False where nothing tells."""
    return bool(CPU_FEATURES & features(described(cpuinfo)))


def cast_weights(model: Any, dtype: "torch.dtype") -> Any:
    """`model` itself, its parameters in `dtype`, its buffers as they were; tied weights stay tied.

    `model.to(dtype)` would round the rotary frequencies too, which every precision computes in float32: in bfloat16
    an angle is off by 0.13 rad at a distance of 300 tokens.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model

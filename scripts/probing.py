"""What the machine at hand does at most, for a plan that was given no other."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from latro.errors import InputError
from latro.hardware import Hardware, gpu
from latro.onednn import product
from latro.planning import ModelSizes

CACHES = 2**28
"""Bytes of weights that few processors' caches hold."""


def probe(onednn: bool = False, size: int = 1024, seconds: float = 0.5) -> Hardware:
    """The machine at hand: a GPU by its name, else a processor's measured matrix-product rates and read bandwidth.

    onednn: whether float32 products are oneDNN's.
    """
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        known = gpu(name)
        if known is None:
            raise InputError(f"the GPU {name} is not in the plan's table; give hardware=FLOP/s,bytes/s,GB")
        return replace(known, memory=torch.cuda.get_device_properties(0).total_memory)
    import psutil

    rates = []
    for dtype in (torch.bfloat16, torch.float32):
        a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
        multiply = product if onednn and dtype == torch.float32 else torch.matmul
        rates.append(2 * size**3 / fastest(partial(multiply, a, b), seconds))
    numbers = torch.randn(2**26)
    return Hardware(
        name=f"this processor, {torch.get_num_threads()} threads",
        flops=rates[0],
        float32_flops=rates[1],
        bandwidth=numbers.numel() * 4 / fastest(numbers.sum, seconds),
        memory=psutil.virtual_memory().total,
    )


def fastest(call: Callable[[], object], seconds: float) -> float:
    """The shortest time that a call took, tried for so many seconds and three times at least."""
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return min(times)


def narrow_rate(
    model: ModelSizes, rows: int, dtype: torch.dtype, onednn: bool = False, seconds: float = 0.5
) -> float:
    """FLOP per second of products of so many rows with a layer's weights, as decoding makes them, from memory.

    onednn: see `probe`.
    """
    count = max(
        1, min(model.layers, math.ceil(CACHES / (model.intermediate * model.hidden * dtype.itemsize)))
    )
    weights = [torch.randn(model.intermediate, model.hidden).to(dtype) for _ in range(count)]
    states = torch.randn(rows, model.hidden).to(dtype)
    multiply = product if onednn and dtype == torch.float32 else torch.nn.functional.linear

    def layers() -> None:
        for weight in weights:
            multiply(states, weight)

    return 2.0 * rows * model.hidden * model.intermediate * count / fastest(layers, seconds)

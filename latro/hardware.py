"""What a device can do at most: a table of GPUs, or figures that are given."""

import re
from dataclasses import dataclass

from latro.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What one device can do at most."""

    name: str
    flops: float
    """FLOP per second in matrix products of half precision."""
    bandwidth: float
    """Bytes read per second."""
    memory: float | None = None
    """Bytes."""
    bfloat16: bool = True
    """Whether `flops` holds for bfloat16 too, and not for float16 alone."""
    float32_flops: float | None = None
    """The same of float32, without TF32, which torch leaves off; None: `flops`, the one rate that was given."""

    narrow_flops: float | None = None
    """FLOP per second of products as narrow as decoding makes them, measured; None: as wide ones'."""

    def rate(self, size: int, half: str) -> float:
        """FLOP per second in matrix products of numbers of `size` bytes; of two bytes, in the format `half`.

        Half precision that the hardware does not compute is taken to be as slow as float32.
        """
        if size == 2 and (self.bfloat16 or half == "float16"):
            return self.flops
        return self.float32_flops or self.flops


GPUS = {
    "B200": (2250e12, 75e12, 8.0e12, 180e9),
    "H200": (989e12, 67e12, 4.8e12, 141e9),
    "H100 PCIe": (756e12, 51e12, 2.0e12, 80e9),
    "H100": (989e12, 67e12, 3.35e12, 80e9),
    "A100-SXM4-40GB": (312e12, 19.5e12, 1.56e12, 40e9),
    "A100-PCIE-40GB": (312e12, 19.5e12, 1.56e12, 40e9),
    "A100": (312e12, 19.5e12, 2.0e12, 80e9),
    "L40S": (362e12, 91.6e12, 0.86e12, 48e9),
    "L40": (181e12, 90.5e12, 0.86e12, 48e9),
    "RTX 4090": (165e12, 82.6e12, 1.0e12, 24e9),
    "RTX 3090": (71e12, 35.6e12, 0.94e12, 24e9),
    "A10G": (70e12, 35e12, 0.6e12, 24e9),
    "A10": (125e12, 31.2e12, 0.6e12, 24e9),
    "L4": (121e12, 30.3e12, 0.3e12, 24e9),
    "V100-SXM2-16GB": (125e12, 15.7e12, 0.9e12, 16e9),
    "V100": (125e12, 15.7e12, 0.9e12, 32e9),
    "T4": (65e12, 8.1e12, 0.32e12, 16e9),
}
"""FLOP/s of dense half-precision products and of float32 without TF32, bytes/s, and bytes, by words of a name, as
their makers give them."""
WITHOUT_BFLOAT16 = ("V100-SXM2-16GB", "V100", "T4")
"""Those of before Ampere: their half precision is float16, and bfloat16 is emulated."""


def gpu(name: str) -> Hardware | None:
    """The table's entry for a GPU's name; None for one that is not in it."""
    for known, (flops, float32_flops, bandwidth, memory) in GPUS.items():
        if re.search(rf"\b{re.escape(known)}\b", name, re.IGNORECASE):
            return Hardware(
                name=name,
                flops=flops,
                float32_flops=float32_flops,
                bandwidth=bandwidth,
                memory=memory,
                bfloat16=known not in WITHOUT_BFLOAT16,
            )
    return None


def hardware_given(text: str) -> Hardware:
    """From a GPU's name, or from `FLOP/s,bytes/s,GB`, such as 90e12,1.5e12,40. Raises `InputError` for others.

    Hardware that is given by numbers is taken to compute bfloat16, and float32 as fast.
    """
    known = gpu(text)
    if known:
        return known
    try:
        flops, bandwidth, gigabytes = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(
            f"hardware={text!r}: give FLOP/s,bytes/s,GB as in hardware='90e12,1.5e12,40', or one of {', '.join(GPUS)}"
        ) from None
    return Hardware(name=text, flops=flops, bandwidth=bandwidth, memory=gigabytes * 1e9)

"""Which precision this machine computes fast: bfloat16 takes hardware for it, and is several times slower without."""

from pathlib import Path

CPU_FEATURES = {"avx512_bf16", "amx_bf16", "bf16"}
"""Names by which Linux lists a processor's bfloat16 products (x86, x86, ARM)."""


def bfloat16_is_fast(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the GPU, or else the processor, multiplies bfloat16 matrices in hardware; False where nothing tells."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if not cpuinfo.exists():
        return False
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    listed = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return bool(CPU_FEATURES & set(listed.split()))

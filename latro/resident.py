"""How much memory this process holds, as Linux says."""

from pathlib import Path


def resident_bytes(field: str) -> int:
    """Resident memory: `VmRSS` now, or `VmHWM` at its highest. Raises RuntimeError where Linux does not say."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")

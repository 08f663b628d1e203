"""What Linux says of the processor; needs no torch."""

from collections.abc import Mapping
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def described(cpuinfo: Path = CPUINFO) -> dict[str, str]:
    """The first processor's fields by their names in lower case; none where the file is missing."""
    if not cpuinfo.exists():
        return {}
    first, _, _ = cpuinfo.read_text(encoding="utf-8", errors="replace").partition("\n\n")
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def features(fields: Mapping[str, str]) -> set[str]:
    """Names of what a processor with these fields can do."""
    return set(fields.get("flags", fields.get("features", "")).split())

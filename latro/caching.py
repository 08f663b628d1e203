"""Where what takes long to make is kept between runs."""

import os
from pathlib import Path


def kept_in(kind: str) -> Path:
    """`$LATRO_CACHE_DIR/KIND`, or else `latro-pract/KIND` in the user's caches (`$XDG_CACHE_HOME`, `~/.cache`)."""
    if root := os.environ.get("LATRO_CACHE_DIR"):
        return Path(root).expanduser() / kind
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "latro-pract" / kind

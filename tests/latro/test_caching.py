"""One place for everything that is kept."""

from pathlib import Path

import pytest

from latro.caching import kept_in
from latro.models import ModelConfig


def test_the_cache_follows_the_users_cache_folder_or_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("LATRO_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert kept_in("gguf") == Path.home() / ".cache" / "latro-pract" / "gguf"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kept_in("wind_tunnel") == tmp_path / "latro-pract" / "wind_tunnel"
    monkeypatch.setenv("LATRO_CACHE_DIR", str(tmp_path / "mine"))
    assert kept_in("wind_tunnel") == tmp_path / "mine" / "wind_tunnel"
    assert ModelConfig(hub_id="org/model").cache == tmp_path / "mine" / "gguf"
    assert ModelConfig(hub_id="org/model", cache_dir="here").cache == Path("here")

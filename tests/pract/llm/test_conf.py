"""Every configuration of a chat model composes at two places at once, and builds what can be built unaided."""

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf

from pract.llm.openai import OpenAIChat
from pract.llm.replay import ReplayChat
from pract.llm.scripted import ScriptedChat

CONF = Path(__file__).parents[3] / "conf"
NAMES = sorted(path.stem for path in (CONF / "llm").glob("*.yaml"))


def composed(*overrides: str) -> Any:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(overrides=list(overrides))


def test_all_are_here() -> None:
    assert NAMES == [
        "bundled",
        "bundled_shop",
        "gguf",
        "llama_cpp",
        "local",
        "ollama",
        "openai",
        "replay",
        "scripted",
        "vllm",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_role_of_its_own_gets_the_same_keys(name: str) -> None:
    cfg = composed(f"+llm={name}", f"+llm@reflector={name}")
    assert cfg.llm == cfg.reflector
    assert callable(get_object(cfg.llm._target_))


@pytest.mark.parametrize("name", ["openai", "vllm", "ollama", "llama_cpp"])
def test_served_models_are_built_without_a_key_or_a_server(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    cfg = composed(f"+llm={name}", "llm.model=some-model", "llm.concurrency=3")
    chat = instantiate(cfg.llm)
    assert isinstance(chat, OpenAIChat)
    assert (chat.model, chat.concurrency, chat.base_url) == ("some-model", 3, cfg.llm.base_url)


def test_the_address_comes_from_the_environment_and_the_key_stays_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    cfg = composed("+llm=openai")
    assert cfg.llm.base_url == "http://127.0.0.1:9/v1"
    assert "sk-secret" not in OmegaConf.to_yaml(cfg, resolve=True)


def test_a_recording_is_made_around_any_model(tmp_path: Path) -> None:
    cfg = composed(
        "+llm=replay", f"llm.path={tmp_path}/calls.jsonl", "llm.mode=record", "+llm@llm.inner=scripted"
    )
    chat = instantiate(cfg.llm)
    assert isinstance(chat, ReplayChat)
    assert (chat.model, chat.context_tokens) == ("scripted", 32768)
    assert isinstance(instantiate(composed("+llm=scripted").llm), ScriptedChat)

"""The YAML of agents, schedules and methods builds what the package defines; no model."""

from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from pract.agent import AgentConfig
from pract.optimizer import OptimizerConfig
from pract.principles import initial_principles
from pract.reflector import ReflectorConfig
from pract.rpo import RpoConfig

CONF = Path(__file__).resolve().parents[2] / "conf"


def built(group: str, name: str, *overrides: str) -> object:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(overrides=[f"+{group}={name}", "+seed=7", *overrides])
    return instantiate(config[group], _convert_="all")


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "agent").glob("*.yaml")))
def test_every_agent_is_built(name: str) -> None:
    assert isinstance(built("agent", name), AgentConfig)


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "rpo").glob("*.yaml")))
def test_every_schedule_is_built(name: str) -> None:
    config = built("rpo", name)
    assert isinstance(config, RpoConfig)
    assert config.seed == 7


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "method").glob("*.yaml")))
def test_every_method_is_a_factory(name: str) -> None:
    assert callable(built("method", name))


def test_the_base_files_repeat_the_defaults_of_the_dataclasses() -> None:
    assert built("agent", "act") == AgentConfig(style="act")
    assert built("rpo", "batch") == RpoConfig(seed=7)
    assert built("rpo", "paper") == RpoConfig(
        seed=7,
        acceptance="off",
        reflector=ReflectorConfig(observation_chars=4_000, failures=False),
        optimizer=OptimizerConfig(targets="all", principle_tokens=1000, max_tokens=1000, leak="off"),
    )


def test_a_command_line_reaches_the_innermost_setting() -> None:
    config = built("rpo", "traj", "rpo.optimizer.calls=all", "rpo.reflection=self", "rpo.acceptance=off")
    assert isinstance(config, RpoConfig)
    assert (config.schedule, config.reflection, config.acceptance) == ("traj", "self", "off")
    assert config.optimizer.calls == "all"


def test_hand_written_principles_belong_to_actions_of_their_environment() -> None:
    for path in sorted((CONF / "hand_written").glob("*.yaml")):
        environment = built("env", path.stem)
        texts = yaml.safe_load(path.read_text())
        principles = initial_principles(environment.actions(), texts, str(path))  # type: ignore[attr-defined]
        environment.close()  # type: ignore[attr-defined]
        assert all(len(text.split()) <= OptimizerConfig().words for text in principles.texts.values())

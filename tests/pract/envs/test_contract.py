"""Every bundled environment holds the contract and stands 10,000 senseless actions. No network, no model."""

import json
import random
import socket
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from pract.envs.academia import Academia
from pract.envs.base import Environment
from pract.envs.contract import check_environment, draw_action
from pract.envs.gymnasium import FromGymnasium
from pract.envs.hotpotqa import HotpotQA
from pract.envs.loading import BUNDLED, load_environment
from pract.envs.movie import Movie
from pract.envs.qa import QuestionAnswering
from pract.envs.sheet import Sheet
from pract.envs.textgame import TextGame
from pract.envs.todo import Todo
from pract.envs.weather import Weather
from pract.envs.webshop import WebShop
from pract.errors import InputError
from pract.records import to_json
from pract.types import Action
from tests.pract.envs.test_qa import Sums
from tests.pract.envs.test_textgame import Chest


def nested(levels: int) -> list[Any]:
    """Lists in one another."""
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


BUNDLED_KINDS: list[Callable[[], Environment]] = [WebShop, Todo, Sheet, HotpotQA, Academia, Movie, Weather]
ADAPTERS: list[Callable[[], Environment]] = [
    partial(QuestionAnswering, Sums()),
    partial(TextGame, Chest()),
    partial(FromGymnasium, "FrozenLake-v1", "Walk.", {"left": 0, "down": 1, "right": 2, "up": 3}),
]
"""Around sources, games and environments of others: here our own small ones."""
FUZZED = 10_000
JUNK: list[Any] = [
    None,
    True,
    -1,
    0,
    10**30,
    float("1e308"),
    "",
    "x" * 5000,
    "[" * 2000,
    "'); DROP TABLE shelf; --",
    '" OR "',
    "../../etc/passwd",
    "=A1",
    "=__import__('os').getcwd()",
    "re.compile('(a|a)*$')",
    "\x00\ud800\u202e",
    [],
    [[]],
    [[1, [2]]],
    {"a": {"b": []}},
    nested(31),
    nested(5000),
    "[" * 900 + "]" * 900,
    "A1",
    "Sheet1",
    "2031-02-30",
    "9" * 50,
]


@pytest.mark.parametrize("kind", BUNDLED_KINDS)
def test_every_bundled_environment_holds_the_contract(kind: Callable[[], Environment]) -> None:
    report = check_environment(kind(), tasks_per_split=4)
    assert set(report.tasks) == {"train", "validation", "test"}
    assert report.oracle_tasks >= 3
    assert len(report.rules) == 9


@pytest.mark.parametrize("kind", BUNDLED_KINDS)
def test_two_objects_of_a_kind_have_the_same_content(kind: Callable[[], Environment]) -> None:
    assert kind().content_hash() == kind().content_hash()
    assert kind().licence == "Apache-2.0"


def kind_name(kind: Any) -> str:
    return str(getattr(kind, "func", kind).__name__)


def fuzzed_action(env: Environment, observation: Any, rng: random.Random) -> Action:
    """An action that is sometimes possible, often senseless."""
    if rng.random() < 0.4:
        return draw_action(env.actions(), observation, rng)
    spec = rng.choice(list(env.actions()))
    name = spec.name if rng.random() < 0.9 else rng.choice(["", "Search", "__init__", "finished", "x" * 300])
    names = [*spec.parameters.get("properties", {}), "self", "extra", ""]
    chosen = rng.sample(names, rng.randint(0, len(names)))
    return Action(name=name, arguments={field: rng.choice(JUNK) for field in chosen})


@pytest.mark.parametrize("kind", [*BUNDLED_KINDS, *ADAPTERS], ids=kind_name)
def test_ten_thousand_fuzzed_actions_do_no_harm(
    kind: Callable[[], Environment], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if getattr(kind, "func", None) is FromGymnasium:
        pytest.importorskip("gymnasium", reason="extra gymnasium is not installed")
    env = kind()
    tasks = [task for split in env.splits() for task in env.tasks(split)]
    rng = random.Random(7)

    observation = env.reset(tasks[0])  # what is imported late is read from files

    def forbidden(*args: object, **kwargs: object) -> None:
        raise AssertionError(f"touched the outside: {args}")

    for owner, name in ((subprocess, "Popen"), (socket, "socket"), (Path, "open"), (Path, "write_text")):
        monkeypatch.setattr(owner, name, forbidden)
    monkeypatch.setattr("builtins.open", forbidden)
    monkeypatch.chdir(tmp_path)
    playing = True
    for _ in range(FUZZED):
        if not playing or rng.random() < 0.02:
            observation = env.reset(rng.choice(tasks), rng.randrange(5))
        result = env.step(fuzzed_action(env, observation, rng))
        observation, playing = result.observation, not (result.terminated or result.truncated)
        assert observation.text
        assert 0.0 <= result.score <= 1.0
        assert result.score <= result.progress <= 1.0
        assert len(observation.text.encode("utf-8")) < 200_000
        json.dumps(to_json(result), ensure_ascii=False).encode("utf-8")
    assert list(tmp_path.iterdir()) == []


def test_environments_are_loaded_by_name_and_by_path() -> None:
    assert load_environment("todo").name == "todo"
    assert load_environment("pract.envs.webshop.WebShop", page_size=5).version == "3-fts5-product-5-0"


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("shopping", {}, "unknown environment 'shopping'; known are academia, bfcl"),
        ("no.such.Thing", {}, "there is no module 'no'"),
        ("pract.envs.todo.Nothing", {}, "has no 'Nothing'"),
        ("todo", {"colour": "red"}, "unexpected keyword argument 'colour'"),
        ("movie", {"data": "/nowhere"}, "nothing can answer for movie"),
    ],
)
def test_what_leads_nowhere_is_refused_in_one_line(name: str, arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_environment(name, **arguments)
    assert "\n" not in str(caught.value)


def test_another_packages_environment_is_found_by_its_entry_point(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An installed package is stood in for by a folder on the path with its metadata."""
    (tmp_path / "my_worlds.py").write_text(
        "from pract.envs.todo import Todo\n\n\nclass MyWorld(Todo):\n    pass\n", encoding="utf-8"
    )
    metadata = tmp_path / "my_worlds-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: my-worlds\nVersion: 1.0\n", encoding="utf-8"
    )
    points = "[pract.environments]\nmy_world = my_worlds:MyWorld\n"
    (metadata / "entry_points.txt").write_text(points, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    env = load_environment("my_world")
    assert type(env).__name__ == "MyWorld"
    assert check_environment(env).oracle_tasks == 9
    with pytest.raises(InputError, match="my_world, qa, sheet"):
        load_environment("nothing")


@pytest.mark.parametrize("name", sorted(set(BUNDLED) - {"qa", "textgame", "bfcl", "gymnasium"}))
def test_every_configuration_makes_its_environment(name: str) -> None:
    folder = Path(__file__).parents[3] / "conf" / "env"
    settings = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
    assert settings.pop("_target_") == BUNDLED[name]
    assert load_environment(name, **settings).name == name


def test_every_name_has_its_configuration() -> None:
    folder = Path(__file__).parents[3] / "conf" / "env"
    assert {path.stem for path in folder.glob("*.yaml")} >= set(BUNDLED)

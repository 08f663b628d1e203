"""The text-game adapter over a game made here; the real engines where their extra (and Java) is installed."""

import gc
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from pract.envs.contract import check_environment
from pract.envs.games import engine as engines
from pract.envs.games.alfworld import AlfWorld
from pract.envs.games.engine import CommandReader, TextEngine, Turn, command_of, verb
from pract.envs.games.scienceworld import ScienceWorld
from pract.envs.games.textworld import TextWorld
from pract.envs.games.textworld_express import GAMES, TextWorldExpress
from pract.envs.textgame import TextGame
from pract.errors import InputError
from pract.types import Action, ActionSpec, Task

VERBS = (
    verb("take", "take {thing}", "Takes a thing."),
    verb("take_from", "take {thing} from {place}", "Takes a thing out of something."),
    verb("look", "look around", "Looks."),
)


class Chest:
    """A key lies in a chest, and whoever takes it wins."""

    name, version, licence = "chest", "1", "MIT"

    def actions(self) -> Sequence[ActionSpec]:
        return VERBS

    def splits(self) -> Mapping[str, Sequence[Task]]:
        return {"train": [Task(id="c1", instruction="Take the key.")]}

    def fingerprint(self) -> str:
        return "none"

    def begin(self, task: Task, seed: int) -> Turn:
        return Turn(text="There is a chest.", admissible=("look around", "take key from chest", "sing"))

    def do(self, command: str) -> Turn:
        won = command == "take key from chest"
        text = "You have the key." if won else "Nothing happens."
        return Turn(text=text, score=float(won), ended=won, won=won, understood=won)

    def gold(self, task: Task) -> list[str]:
        return ["take key from chest"]

    def close(self) -> None:
        pass


def test_commands_are_read_by_the_longest_template() -> None:
    reader = CommandReader(VERBS)
    taken = reader.read("take red key from oak chest")
    assert taken == Action(name="take_from", arguments={"thing": "red key", "place": "oak chest"})
    assert reader.read("take red key") == Action(name="take", arguments={"thing": "red key"})
    assert reader.read("sing") is None


def test_a_command_stays_on_one_line() -> None:
    assert command_of(VERBS[0], {"thing": "key\nquit\n{place}"}) == "take key quit {place}"
    assert command_of(VERBS[0], {"thing": "\x00key\ud800 "}) == "take key"


def test_the_adapter_holds_the_contract() -> None:
    report = check_environment(TextGame(Chest()))
    assert report.oracle_tasks == 1


def test_named_actions_reach_the_game_and_hints_come_back() -> None:
    game = TextGame(Chest())
    seen = game.reset(game.tasks("train")[0])
    assert seen.hints["admissible"] == [
        {"name": "look", "arguments": {}},
        {"name": "take_from", "arguments": {"thing": "key", "place": "chest"}},
    ]
    refused = game.step(Action(name="take", arguments={}))
    assert refused.observation.text == "take was not carried out: 'thing' is a required property."
    won = game.step(Action(name="take_from", arguments={"thing": "key", "place": "chest"}))
    assert (won.score, won.success, won.terminated, won.reward) == (1.0, True, True, 1.0)


def test_a_missing_package_or_java_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"pip install 'latro-pract\[nothing\]'"):
        engines.imported("no_such_package", "nothing")
    monkeypatch.setattr(engines.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match="needs Java"):
        TextWorldExpress()
    with pytest.raises(InputError, match="choose from cookingworld"):
        TextWorldExpress(game="chess")


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Stand-ins for the packages of ALFWorld and TextWorld, and the versions that they are installed in."""
    for name in ("textworld", "alfworld.agents.environment.alfred_tw_env"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    known = {"alfworld": "0.4.2", "textworld": "1.7.0"}
    monkeypatch.setattr(engines.metadata, "version", known.__getitem__)
    return known


PUT, MOVE = "put {o} in/on {r}", "move {o} to {r}"


def household(data: Path, trial: str, spelling: str, pddl: str = "(mug 1)") -> Path:
    """A game file as ALFWorld's are, cut to what is read."""
    grammar = f"""
        action PutObject {{ template :: "{spelling}"; }}
        action PutInside {{ template :: "put {{o}} into {{outero}}"; }}
        rule :: "{{o.indefinite}} {{o.name}} (in/on the {{r.name}})"
        intro :: "Your task is to: heat some mug."
    """
    game = data / "json_2.1.1/valid_train/heat-Mug" / trial / "game.tw-pddl"
    game.parent.mkdir(parents=True, exist_ok=True)
    game.write_text(json.dumps({"pddl_problem": pddl, "grammar": grammar}), encoding="utf-8")
    return game


@pytest.mark.parametrize(
    ("spelling", "template"),
    [(PUT, "put {object} in/on {receptacle}"), (MOVE, "move {object} to {receptacle}")],
)
def test_alfworld_spells_putting_down_as_its_games_do(
    spelling: str, template: str, versions: dict[str, str], tmp_path: Path
) -> None:
    household(tmp_path, "trial_1", spelling)
    engine = AlfWorld(str(tmp_path))
    assert [spec.template for spec in engine.actions() if spec.name == "put"] == [template]
    assert [task.instruction for task in engine.splits()["train"]] == ["heat some mug."]
    assert engine.version == "2"


def test_alfworld_refuses_games_of_two_releases_or_of_none(versions: dict[str, str], tmp_path: Path) -> None:
    games = [household(tmp_path, f"trial_{n}", spelling) for n, spelling in enumerate([PUT, PUT, MOVE])]
    with pytest.raises(InputError) as refused:
        AlfWorld(str(tmp_path))
    assert str(refused.value) == (
        f"games of two releases: {games[0]} has 'put {{o}} in/on {{r}}' and {games[2]} has 'move {{o}} to {{r}}'; "
        "unpack those of one into a folder of their own"
    )
    household(tmp_path, "trial_2", "drop {o}")
    with pytest.raises(InputError) as refused:
        AlfWorld(str(tmp_path))
    assert str(refused.value) == (
        f"{games[2]}: spells putting down in no way that is known, perhaps cut off; unpack the game files again"
    )


def test_alfworlds_content_is_its_games_and_its_packages(versions: dict[str, str], tmp_path: Path) -> None:
    household(tmp_path, "trial_1", PUT)
    hashes = [TextGame(AlfWorld(str(tmp_path))).content_hash() for _ in range(2)]
    household(tmp_path, "trial_1", PUT, pddl="(cup 1)")  # as long as before
    hashes.append(TextGame(AlfWorld(str(tmp_path))).content_hash())
    for package in ("alfworld", "textworld"):
        versions[package] += ".1"
        hashes.append(TextGame(AlfWorld(str(tmp_path))).content_hash())
    assert [hashes.index(one) for one in hashes] == [0, 0, 2, 3, 4]


def test_textworlds_content_is_its_files_and_its_package(versions: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "coin.z8").write_bytes(b"story")
    hashes = []
    for version, facts in (("1.7.0", "{}"), ("1.7.0", "{}"), ("1.7.0", "[]"), ("1.7.1", "[]")):
        versions["textworld"] = version
        (tmp_path / "coin.json").write_text(json.dumps({"objective": "Take it.", "facts": facts}))
        hashes.append(TextGame(TextWorld(str(tmp_path))).content_hash())
    assert [hashes.index(one) for one in hashes] == [0, 0, 2, 3]


def test_a_package_without_a_version_is_refused() -> None:
    with pytest.raises(InputError, match=r"the version of package 'no_such_package' is not known"):
        engines.installed("no_such_package")


def needs(package: str) -> pytest.MarkDecorator:
    there = importlib.util.find_spec(package) is not None and shutil.which("java") is not None
    return pytest.mark.skipif(not there, reason=f"{package} or Java is not installed")


# The bridge to Java leaves its sockets to the garbage collector.
bridge = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::DeprecationWarning"
)


def solved(game: TextGame, tasks: Sequence[Task]) -> list[str]:
    """Ids of the tasks whose oracle does not reach the full score."""
    lost = []
    for task in tasks:
        actions = game.oracle(task)
        game.reset(task)
        results = []
        for action in actions:
            results.append(game.step(action))
            if results[-1].terminated:
                break
        if results[-1].score != 1.0:
            lost.append(task.id)
    return lost


def played(engine: Callable[[], TextEngine], per_split: int) -> None:
    game = TextGame(engine())
    try:
        check_environment(game, tasks_per_split=1)
        assert solved(game, [task for split in game.splits() for task in game.tasks(split)[:per_split]]) == []
    finally:
        game.close()
        gc.collect()


@needs("textworld_express")
@bridge
@pytest.mark.parametrize("name", GAMES)
def test_textworld_express_is_won_by_its_oracle(name: str) -> None:
    played(lambda: TextWorldExpress(game=name, tasks_per_split=5), 5)


@needs("textworld_express")
@bridge
def test_simon_does_not_say_whether_the_game_was_won() -> None:
    engine = TextWorldExpress(game="simonsays", tasks_per_split=1)
    try:
        (task,) = engine.splits()["train"]
        asked = engine.gold(task)
        begun = engine.begin(task, 0)
        won = [engine.do(command) for command in asked][-1]
        engine.begin(task, 0)
        lost = engine.do(next(command for command in begun.admissible if command != asked[0]))
        assert (won.won, won.text) == (True, "The game is over.")
        assert (lost.won, lost.ended, lost.text) == (False, True, "The game is over.")
        assert engine.version == "2-default"
    finally:
        engine.close()
        gc.collect()


@needs("scienceworld")
@bridge
@pytest.mark.slow
def test_scienceworld_is_won_by_its_oracle() -> None:
    played(lambda: ScienceWorld(tasks=("find-animal",), variations=2), 2)


@pytest.mark.skipif(
    "PRACT_ALFWORLD" not in os.environ, reason="PRACT_ALFWORLD names no folder of unpacked games"
)
@pytest.mark.slow
def test_alfworld_is_won_by_its_planner() -> None:
    played(lambda: AlfWorld(os.environ["PRACT_ALFWORLD"]), 1)


@pytest.mark.skipif(importlib.util.find_spec("textworld") is None, reason="textworld is not installed")
@pytest.mark.slow
def test_textworld_is_won_by_its_oracle(tmp_path: Path) -> None:
    for seed in (1, 2, 3, 4):
        made = ["tw-make", "tw-coin_collector", "--level", "3", "--seed", str(seed)]
        subprocess.run(
            [*made, "--output", str(tmp_path / f"coin-{seed}.z8"), "--force"], check=True, timeout=120
        )
    played(lambda: TextWorld(str(tmp_path)), 2)

"""The function adapter and the contract check, on a counter; no data, no model."""

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pract.envs.base import EpisodeOver, stamp_of
from pract.envs.contract import BrokenContract, check_environment
from pract.envs.hotpotqa import HotpotQA
from pract.envs.todo import Todo
from pract.envs.tools.arguments import ArgumentReader
from pract.envs.tools.functions import FunctionTools, Refused, Verdict, action_of
from pract.envs.webshop import WebShop
from pract.types import Action, Task


class Counter:
    def __init__(self, goal: int) -> None:
        self.value = 0
        self.goal = goal
        self.finished = False

    def add(self, amount: int, twice: bool = False) -> str:
        """Adds the amount to the counter."""
        if amount > 5:
            raise Refused("At most 5 at a time.")
        self.value += amount * (1 + twice)
        return f"The counter shows {self.value}."

    def finish(self) -> str:
        """Ends the task."""
        self.finished = True
        return "Done."


class CounterWorld(FunctionTools):
    def __init__(self) -> None:
        super().__init__(
            name="counter",
            version="1",
            licence="MIT",
            splits={
                "train": [Task(id="t3", instruction="Reach 3.", data={"goal": 3})],
                "test": [Task(id="t4", instruction="Reach 4.", data={"goal": 4})],
            },
            actions=[action_of(Counter.add), action_of(Counter.finish)],
            start=lambda task, seed: Counter(task.data["goal"]),
            verdict=lambda task, world: Verdict(
                score=float(world.finished and world.value == world.goal),
                progress=max(0.0, 1 - abs(world.goal - world.value) / world.goal),
            ),
        )

    def oracle(self, task: Task) -> list[Action]:
        return [Action(name="add", arguments={"amount": task.data["goal"]}), Action(name="finish")]


def test_an_annotated_method_becomes_an_action_with_a_schema() -> None:
    spec = action_of(Counter.add)
    assert spec.name == "add"
    assert spec.description == "Adds the amount to the counter."
    assert spec.parameters == {
        "type": "object",
        "properties": {"amount": {"type": "integer"}, "twice": {"type": "boolean"}},
        "additionalProperties": False,
        "required": ["amount"],
    }


def test_an_environment_of_functions_holds_the_contract() -> None:
    report = check_environment(CounterWorld())
    assert report.tasks == {"train": 1, "test": 1}
    assert report.oracle_tasks == 2
    assert "oracle" in report.rules
    assert len(report.rules) == 9


def test_progress_keeps_its_best_and_score_comes_at_the_end() -> None:
    world = CounterWorld()
    world.reset(world.tasks("test")[0])
    first = world.step(Action(name="add", arguments={"amount": "3"}))
    assert (first.observation.text, first.score, first.progress) == ("The counter shows 3.", 0.0, 0.75)
    second = world.step(Action(name="add", arguments={"amount": -3}))
    assert (second.score, second.progress) == (0.0, 0.75)
    last = world.step(Action(name="finish"))
    assert (last.score, last.terminated, last.refused) == (0.0, True, False)
    with pytest.raises(EpisodeOver, match="no episode"):
        world.step(Action(name="finish"))


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (Action(name="jump"), "There is no action 'jump'. Actions: add, finish."),
        (Action(name="add"), "add was not carried out: 'amount' is a required property."),
        (
            Action(name="add", arguments={"amount": "many"}),
            "add was not carried out: argument 'amount': 'many' is not of type 'integer'.",
        ),
        (Action(name="add", arguments={"amount": 9}), "At most 5 at a time."),
    ],
)
def test_a_mistake_is_answered_by_an_observation(action: Action, said: str) -> None:
    world = CounterWorld()
    world.reset(world.tasks("train")[0])
    result = world.step(action)
    assert result.refused
    assert result.observation.text == said


class LeakyIds(CounterWorld):
    def tasks(self, split: str) -> list[Task]:
        return [replace(task, id="same") for task in super().tasks(split)]


class Restless(CounterWorld):
    episodes = 0

    def reset(self, task: Task, seed: int = 0):
        self.episodes += 1
        return replace(super().reset(task, seed), text=f"Episode {self.episodes}")


class TooGood(CounterWorld):
    def step(self, action: Action):
        return replace(super().step(action), score=1.5)


class Strict(CounterWorld):
    def step(self, action: Action):
        if action.name == "no_such_action":
            raise KeyError(action.name)
        return super().step(action)


class WrongOracle(CounterWorld):
    def oracle(self, task: Task) -> list[Action]:
        return [Action(name="finish")]


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        (LeakyIds, "splits"),
        (Restless, "same_seed_same_episode"),
        (TooGood, "step"),
        (WrongOracle, "oracle"),
    ],
)
def test_the_check_names_the_broken_rule(kind: type[CounterWorld], rule: str) -> None:
    with pytest.raises(BrokenContract) as caught:
        check_environment(kind())
    assert caught.value.rule == rule


def test_an_exception_for_an_agents_mistake_is_let_through_as_a_broken_environment() -> None:
    with pytest.raises(KeyError, match="no_such_action"):
        check_environment(Strict())


def test_arguments_that_need_no_validation_are_judged_as_the_schema_would() -> None:
    draw = random.Random(0)
    unlike: list[Any] = ["x", "", "é \ud800", "2031-01-01", 1, 2.5, None, True, [], {}]
    for kind in (Todo, HotpotQA, WebShop):
        for spec in kind().actions():
            reader, validator = ArgumentReader(spec), Draft202012Validator(dict(spec.parameters))
            names = [*spec.parameters["properties"], "unknown"]
            for _ in range(100):
                given = {name: draw.choice(unlike) for name in names if draw.random() < 0.6}
                values, problem = reader.read(given)
                assert (problem == "") == validator.is_valid(values)
                assert json.dumps(values, ensure_ascii=False).encode()


def test_a_stamp_says_which_environment_it_is() -> None:
    world = CounterWorld()
    assert stamp_of(world) == {
        "environment": "counter",
        "environment_version": world.version,
        "licence": world.licence,
        "content_hash": world.content_hash(),
    }

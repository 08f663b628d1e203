"""Gymnasium both ways, with its own frozen lake and our to-do list; extra `gymnasium`."""

import json
from typing import Any

import pytest

pytest.importorskip("gymnasium", reason="extra gymnasium is not installed")

import gymnasium

from pract.envs.contract import check_environment
from pract.envs.gymnasium import FromGymnasium, to_gymnasium
from pract.envs.todo import Todo
from pract.errors import InputError
from pract.types import Action

MOVES = {"left": 0, "down": 1, "right": 2, "up": 3}


def lake() -> "gymnasium.Env[Any, Any]":
    return gymnasium.make("FrozenLake-v1", is_slippery=False)


def test_a_frozen_lake_holds_the_contract_and_is_crossed() -> None:
    env = FromGymnasium(lake, "Walk to field 15.", MOVES)
    assert check_environment(env, tasks_per_split=2).tasks == {"train": 20, "validation": 20, "test": 20}
    env = FromGymnasium(lake, "Walk to field 15.", MOVES)
    assert env.reset(env.tasks("train")[0]).text == "Walk to field 15.\n0"
    results = [env.step(Action(name=name)) for name in ("down", "down", "right", "right", "down", "right")]
    assert [result.observation.text for result in results] == ["4", "8", "9", "10", "14", "15"]
    assert (results[-1].score, results[-1].terminated) == (1.0, True)


class Walk(gymnasium.Env[int, int]):
    """A way of three steps that cost one each; the first observation is the seed it began with."""

    observation_space = gymnasium.spaces.Discrete(2**31)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        self.steps = 0
        return seed or 0, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        self.steps += action
        return self.steps, -1.0, self.steps == 3, False, {}


def test_play_that_is_not_over_has_no_score_though_each_step_costs() -> None:
    env = FromGymnasium(Walk, "Walk.", {"wait": 0, "go": 1}, returns=(-10, -3))
    assert check_environment(env, tasks_per_split=1).version == "2"
    env.reset(env.tasks("train")[0])
    names = ("fly", "go", "go", "go")
    results = [env.step(Action(name=name)) for name in names]
    assert [(r.score, r.progress, r.refused, r.terminated) for r in results] == [
        (0.0, 0.0, True, False), (0.0, 0.0, False, False), (0.0, 0.0, False, False), (1.0, 1.0, False, True),
    ]  # fmt: skip


def test_rewards_on_the_way_are_progress_and_count_at_the_end() -> None:
    env = FromGymnasium(Walk, "Walk.", {"wait": 0, "go": 1}, returns=(0, 6))
    env._env.step = lambda action: (1, 2.0, False, env._total == 2, {})
    env.reset(env.tasks("train")[0])
    results = [env.step(Action(name="go")) for _ in range(2)]
    assert [(r.score, r.progress) for r in results] == [
        (0.0, pytest.approx(1 / 3)),
        (pytest.approx(2 / 3),) * 2,
    ]


def test_no_attempt_at_a_task_begins_like_one_at_another() -> None:
    env = FromGymnasium(Walk, "Walk.", {"wait": 0, "go": 1})
    tasks = [task for split in env.splits() for task in env.tasks(split)]
    first = [env.reset(task, seed).text for task in tasks for seed in range(5)]
    assert len(set(first)) == 60 * 5
    assert env.reset(tasks[0], 0).text == first[0]


def test_an_unnamed_action_space_is_refused() -> None:
    with pytest.raises(InputError, match="name its actions"):
        FromGymnasium(lake, "Walk.")


def test_our_environment_is_played_through_gymnasium() -> None:
    todo = Todo()
    env = to_gymnasium(todo, "train")
    _, info = env.reset(seed=3)
    assert env.reset(seed=3)[1]["task_id"] == info["task_id"]
    task = next(task for task in todo.tasks("train") if task.id == info["task_id"])
    reward = 0.0
    for action in todo.oracle(task):
        call = json.dumps({"name": action.name, "arguments": dict(action.arguments)})
        _, gained, terminated, truncated, info = env.step(call)
        reward += gained
    assert (reward, terminated, truncated, info["score"]) == (1.0, True, False, 1.0)


@pytest.mark.parametrize("text", ["", "get projects", "[1]", '{"name": 3}', "{" * 5000])
def test_what_is_no_call_is_refused(text: str) -> None:
    env = to_gymnasium(Todo(), "train")
    env.reset(seed=0)
    assert env.step(text)[4]["refused"] is True


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(InputError, match="no task 'x'"):
        to_gymnasium(Todo()).reset(options={"task_id": "x"})


def test_what_a_choice_does_is_part_of_the_environments_hash() -> None:
    there, swapped = {"wait": 0, "go": 1}, {"wait": 1, "go": 0}
    hashes = {FromGymnasium(Walk, "Walk.", choices).content_hash() for choices in (there, swapped)}
    assert len(hashes) == 2
    backwards = dict(reversed(there.items()))
    assert FromGymnasium(Walk, "Walk.", backwards).content_hash() in hashes

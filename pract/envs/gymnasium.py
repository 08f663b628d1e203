"""Gymnasium both ways: its environments as ours, ours as its (extra `gymnasium`).

`FromGymnasium` takes an environment whose actions are text or a few named choices; a task is a seed. `to_gymnasium`
gives one of ours with text spaces: an action is the JSON `{"name": ..., "arguments": {...}}`.
"""

import hashlib
import json
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pract.envs.base import Environment, EpisodeOver
from pract.envs.tools.arguments import shortened
from pract.envs.tools.datafiles import digest, tasks_of
from pract.errors import InputError
from pract.types import SPLITS, Action, ActionSpec, Observation, StepResult, Task

try:
    import gymnasium
except ImportError as missing:
    raise InputError(
        f"the environment needs the package of extra 'gymnasium' ({missing}); pip install 'latro-pract[gymnasium]'"
    ) from None

LONGEST_TEXT = 1_000_000


class FromGymnasium:
    """A Gymnasium environment with text or named actions. The score is the return at the end, brought to 0 to 1.

    Until then it is 0: where each step costs reward, an episode that has hardly begun has the highest return.
    """

    licence = "see the environment"

    def __init__(
        self,
        make: str | Callable[[], "gymnasium.Env[Any, Any]"],
        instruction: str,
        choices: Mapping[str, Any] | None = None,
        returns: tuple[float, float] = (0.0, 1.0),
        tasks_per_split: int = 20,
        describe: Callable[[Any], str] = str,
    ) -> None:
        """`make`: an id or a factory; `choices`: action name to the value that Gymnasium wants, none for text.

        `returns`: the returns that count 0 and 1; `describe`: an observation as text.
        """
        low, high = returns
        if not low < high or tasks_per_split < 1:
            raise InputError(
                f"env.returns {returns} must rise, env.tasks_per_split {tasks_per_split} be positive"
            )
        self._env = gymnasium.make(make) if isinstance(make, str) else make()
        if choices is None and not isinstance(self._env.action_space, gymnasium.spaces.Text):
            raise InputError(f"env.choices: {self._env.action_space} is no text space; name its actions")
        self.name = "".join(c if c.isalnum() else "_" for c in make) if isinstance(make, str) else "gymnasium"
        self.version = f"2-{self._env.spec.id}" if self._env.spec else "2"
        self._choices, self._returns, self._describe = dict(choices or {}), (low, high), describe
        self._instruction = instruction
        self._splits = {
            split: [self._task(split, first + number) for number in range(tasks_per_split)]
            for split, first in zip(SPLITS, (0, 10**6, 2 * 10**6), strict=True)
        }
        self._playing, self._total, self._best = False, 0.0, 0.0

    def splits(self) -> Sequence[str]:
        """The three splits: seeds from 0, one million and two million."""
        return SPLITS

    def tasks(self, split: str) -> Sequence[Task]:
        """The seeds of a split. Raises InputError for another split."""
        return tasks_of(self._splits, split, self.name)

    def actions(self) -> Sequence[ActionSpec]:
        """The named choices, or one action `act` that takes a text."""
        if self._choices:
            return [ActionSpec(name=name, description=f"Does {name}.") for name in self._choices]
        text = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
        return [ActionSpec(name="act", description="Does what the text says.", parameters=text)]

    def content_hash(self) -> str:
        """Digest of the environment's id, instruction and choices."""
        return digest(
            self.name,
            self.version,
            self._instruction,
            repr(sorted(self._choices.items(), key=lambda choice: choice[0])),
            repr(self._returns),
        )

    def reset(self, task: Task, seed: int = 0) -> Observation:
        """Resets with a seed drawn from the task's and the episode's: no two tasks share one."""
        drawn = hashlib.sha256(f"{task.data['seed']}/{seed}".encode()).digest()
        seen, _ = self._env.reset(seed=int.from_bytes(drawn[:4], "big") >> 1)
        self._playing, self._total, self._best = True, 0.0, 0.0
        return Observation(text=f"{task.instruction}\n{self._describe(seen)}")

    def step(self, action: Action) -> StepResult:
        """Steps with the named value or the text."""
        if not self._playing:
            raise EpisodeOver(f"{self.name}: no episode is under way; call reset first")
        value, problem = self._value(action)
        if problem:
            return StepResult(observation=Observation(text=problem), progress=self._best, refused=True)
        seen, reward, terminated, truncated, _ = self._env.step(value)
        self._total += float(reward)
        self._playing = not (terminated or truncated)
        score = 0.0 if self._playing else self._scaled(self._total)
        gained = self._scaled(self._total) if self._scaled(0.0) == 0 else 0.0
        self._best = max(self._best, score, gained)
        return StepResult(
            observation=Observation(text=self._describe(seen) or "Done."),
            reward=float(reward),
            score=score,
            progress=self._best,
            terminated=bool(terminated),
            truncated=bool(truncated),
        )

    def close(self) -> None:
        """Closes the Gymnasium environment."""
        self._playing = False
        self._env.close()

    def _value(self, action: Action) -> tuple[Any, str]:
        if self._choices:
            known = ", ".join(self._choices)
            problem = f"There is no action {shortened(repr(action.name), 80)}. Actions: {known}."
            return self._choices.get(action.name), "" if action.name in self._choices else problem
        text = action.arguments.get("text")
        if action.name != "act" or not isinstance(text, str):
            return None, "Use the action act with a text."
        if text not in self._env.action_space:
            return None, f"The text does not fit {shortened(str(self._env.action_space))}."
        return text, ""

    def _scaled(self, total: float) -> float:
        low, high = self._returns
        return min(1.0, max(0.0, (total - low) / (high - low)))

    def _task(self, split: str, seed: int) -> Task:
        return Task(id=f"{self.name}-{split}-{seed}", instruction=self._instruction, data={"seed": seed})


class _ToGymnasium(gymnasium.Env[str, str]):
    """One of our environments with text spaces; the reward is what the score gained."""

    def __init__(self, environment: Environment, split: str) -> None:
        letters = string.printable
        self.observation_space = gymnasium.spaces.Text(LONGEST_TEXT, min_length=0, charset=letters)
        self.action_space = gymnasium.spaces.Text(LONGEST_TEXT, min_length=0, charset=letters)
        self._ours, self._tasks = environment, list(environment.tasks(split))
        self._score = 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """A task drawn with the seed, or the one that `options={"task_id": ...}` names."""
        super().reset(seed=seed)
        wanted = (options or {}).get("task_id")
        found = [task for task in self._tasks if task.id == wanted]
        if wanted is not None and not found:
            raise InputError(f"there is no task {wanted!r} in this split")
        task = found[0] if found else self._tasks[int(self.np_random.integers(len(self._tasks)))]
        self._score = 0.0
        seen = self._ours.reset(task, seed or 0)
        return seen.text, {"task_id": task.id, "instruction": task.instruction, **seen.hints}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Reads the JSON call; what is none is refused like any other mistake."""
        result = self._ours.step(_read_call(action))
        gained, self._score = result.score - self._score, result.score
        info = {"score": result.score, "progress": result.progress, "refused": result.refused}
        seen = result.observation
        return seen.text, gained, result.terminated, result.truncated, {**info, **seen.hints}

    def close(self) -> None:
        """Closes our environment."""
        self._ours.close()


def to_gymnasium(environment: Environment, split: str = "train") -> "gymnasium.Env[str, str]":
    """The environment's split with Gymnasium's interface."""
    return _ToGymnasium(environment, split)


def _read_call(text: str) -> Action:
    try:
        call = json.loads(text)
    except (ValueError, RecursionError):
        return Action(name=text[:80])
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return Action(name=shortened(text, 80))
    arguments = call.get("arguments")
    return Action(name=call["name"], arguments=arguments if isinstance(arguments, dict) else {})

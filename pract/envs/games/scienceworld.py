"""ScienceWorld (Wang et al. 2022): thirty tasks of school science in a simulated house.

Extra `scienceworld`, and Java, whose process takes up to 2.8 GB: one for each environment object. Licence
Apache-2.0. The score is the game's dense 0 to 100, as a fraction; a fatal mistake (below zero) counts 0.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from pract.envs.games.engine import Turn, end_java, imported, installed, require_java, verb
from pract.errors import InputError
from pract.types import SPLITS, ActionSpec, Task

EXTRA = "scienceworld"
VERBS = (
    verb("activate", "activate {thing}", "Switches a device on."),
    verb("deactivate", "deactivate {thing}", "Switches a device off."),
    verb("open", "open {thing}", "Opens a container or door."),
    verb("close", "close {thing}", "Closes a container or door."),
    verb("connect", "connect {thing} to {place}", "Connects electrical parts."),
    verb("disconnect", "disconnect {thing}", "Takes an electrical part off."),
    verb("eat", "eat {thing}", "Eats a food."),
    verb("flush", "flush {thing}", "Flushes a toilet."),
    verb(
        "focus",
        "focus on {thing}",
        "Signals that this thing is what the task is about; a wrong one ends the task.",
    ),
    verb("go", "go {place}", "Walks through an open door to a place."),
    verb("inventory", "inventory", "Lists what you carry."),
    verb("look", "look {where}", "Describes the room (around), or a thing (at or in it)."),
    verb("mix", "mix {thing}", "Mixes what a container holds."),
    verb("move", "move {thing} to {place}", "Moves a thing into a container or place."),
    verb("pick_up", "pick up {thing}", "Takes a thing into your inventory."),
    verb("pour", "pour {thing} into {place}", "Pours a liquid into a container."),
    verb("put_down", "put down {thing}", "Puts a thing down."),
    verb("read", "read {thing}", "Reads a note or book."),
    verb("use", "use {tool} on {thing}", "Uses a tool, such as a thermometer, on a thing."),
    verb("examine", "examine {thing}", "Says what a thing is."),
    verb("wait", "wait1", "Lets one step of time pass."),
    verb("wait_long", "wait", "Lets ten steps of time pass."),
)
UNKNOWN = "No known action matches that input."
AMBIGUOUS = "Ambiguous request"


def in_fixed_order(text: str) -> str:
    """The text with neighbouring indented lines sorted: the game lists things in an order that changes by run."""
    runs = groupby(text.split("\n"), key=lambda line: line[:1] == "\t")
    return "\n".join(line for indented, run in runs for line in (sorted(run) if indented else run))


class ScienceWorld:
    """Some of the thirty tasks, with the first variations of each split."""

    def __init__(
        self,
        tasks: Sequence[str] = ("boil", "find-animal", "use-thermometer"),
        variations: int = 5,
        simplification: str = "easy",
        list_valid: bool = False,
    ) -> None:
        """`variations`: of each task in each split; `list_valid`: hint at valid commands, which is slow."""
        require_java(EXTRA)
        self._module = imported("scienceworld", EXTRA)
        self.name, self.version, self.licence = "scienceworld", f"1-{simplification}", "Apache-2.0"
        self._names, self._count, self._simplification = tuple(tasks), variations, simplification
        self._list_valid = list_valid
        self._env: Any = None
        self._splits: dict[str, list[Task]] = {}

    def actions(self) -> Sequence[ActionSpec]:
        """The game's verbs, teleporting apart."""
        return VERBS

    def splits(self) -> Mapping[str, Sequence[Task]]:
        """The game's own splits, cut to the first variations of each task."""
        if not self._splits:
            env = self._running()
            unknown = [name for name in self._names if name not in env.get_task_names()]
            if unknown:
                raise InputError(
                    f"env.engine.tasks: ScienceWorld has no {unknown}; it has {env.get_task_names()}"
                )
            self._splits = {split: [] for split in SPLITS}
            for name in self._names:
                self._list(name)
        return self._splits

    def fingerprint(self) -> str:
        """The package's version."""
        return f"{installed(EXTRA)} {self._simplification}"

    def begin(self, task: Task, seed: int) -> Turn:
        """Starts a variation; the episode's seed changes nothing."""
        self._load(task, gold=False)
        text, info = self._running().reset()
        return self._turn(f"{task.instruction}\n{text}", info)

    def do(self, command: str) -> Turn:
        """Carries out a command; where the game asks which of several is meant, the first."""
        text, _, done, info = self._running().step(command)
        if text.startswith(AMBIGUOUS):
            text, _, done, info = self._running().step("0")
        return self._turn(text, info, done, understood=not text.startswith(UNKNOWN))

    def gold(self, task: Task) -> list[str]:
        """The engine's own winning path."""
        self._load(task, gold=True)
        return [str(command) for command in self._running().get_gold_action_sequence()]

    def close(self) -> None:
        """Ends the Java process."""
        if self._env is not None:
            end_java(self._env)
            self._env = None

    def _running(self) -> Any:
        if self._env is None:
            self._env = self._module.ScienceWorldEnv("", envStepLimit=10**6)
        return self._env

    def _list(self, name: str) -> None:
        env = self._running()
        env.load(name, 0, self._simplification, generateGoldPath=False)
        numbers = {
            "train": env.get_variations_train(),
            "validation": env.get_variations_dev(),
            "test": env.get_variations_test(),
        }
        for split, some in numbers.items():
            for number in list(some)[: self._count]:
                env.load(name, number, self._simplification, generateGoldPath=False)
                told = " ".join(str(env.get_task_description()).split())
                data = {"task": name, "variation": int(number)}
                self._splits[split].append(
                    Task(id=f"{name}-{number}", instruction=told, data=data, group=name)
                )

    def _load(self, task: Task, gold: bool) -> None:
        self._running().load(
            task.data["task"], task.data["variation"], self._simplification, generateGoldPath=gold
        )

    def _turn(self, text: str, info: Mapping[str, Any], done: bool = False, understood: bool = True) -> Turn:
        score = int(info["score"]) / 100
        valid = tuple(sorted(map(str, info["valid"]))) if self._list_valid else ()
        return Turn(
            text=in_fixed_order(text.strip()) or "Nothing happens.",
            score=min(1.0, max(0.0, score)),
            ended=bool(done) or score < 0,
            won=score >= 1.0,
            admissible=valid,
            understood=understood,
        )

"""TextWorldExpress (Jansen and Cote 2022): eight small games, fast, with folds, dense score and winning paths.

Extra `textworld-express`, and Java. Start 0.4 s; some 2,000 steps a second. Licence Apache-2.0.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pract.envs.games.engine import Turn, end_java, imported, installed, require_java, verb
from pract.errors import InputError
from pract.types import SPLITS, ActionSpec, Task

EXTRA = "textworld-express"
VERBS = {
    spec.name: spec
    for spec in (
        verb("move", "move {direction}", "Walks to the next room in a direction."),
        verb("open", "open {thing}", "Opens a container, or `door to DIRECTION`."),
        verb("close", "close {thing}", "Closes a container, or `door to DIRECTION`."),
        verb("take", "take {thing}", "Takes a thing into your inventory."),
        verb("put", "put {thing} in {place}", "Puts a thing from your inventory into or onto something."),
        verb("look", "look around", "Describes the room again."),
        verb("inventory", "inventory", "Lists what you carry."),
        verb("examine", "examine {thing}", "Looks closely at a thing."),
        verb("read", "read {thing}", "Reads a text, such as a cookbook, map or problem."),
        verb("slice", "slice {thing}", "Slices a food; you need a knife in your inventory."),
        verb("chop", "chop {thing}", "Chops a food; you need a knife in your inventory."),
        verb("dice", "dice {thing}", "Dices a food; you need a knife in your inventory."),
        verb(
            "cook",
            "cook {thing} in {tool}",
            "Cooks a food in a device: stove fries, oven roasts, barbeque grills.",
        ),
        verb("prepare", "prepare meal", "Makes the meal once all ingredients are ready."),
        verb("eat", "eat {thing}", "Eats a food or the meal."),
        verb("task", "task", "Tells the task again."),
        verb("smell", "smell {thing}", "Smells a thing."),
        verb("touch", "touch {thing}", "Touches a thing."),
        verb("act", "{gesture}", "Does a gesture or makes a sound, such as `jump up and down`."),
    )
}
ROOMS = ("move", "open", "close", "look", "inventory")
GAMES = {
    "cookingworld": (
        *ROOMS,
        *("take", "put", "read", "examine", "slice", "chop", "dice", "cook", "prepare", "eat"),
    ),
    "twc": (*ROOMS, "take", "put"),
    "coin": (*ROOMS, "take"),
    "mapreader": (*ROOMS, "take", "put", "read", "task"),
    "arithmetic": ("take", "put", "read", "look", "inventory"),
    "sorting": ("take", "put", "look", "inventory"),
    "simonsays": ("smell", "examine", "slice", "take", "eat", "touch", "act"),
    "peckingorder": ("take", "put", "read", "look", "inventory"),
}
VERSIONS = {"simonsays": "2"}
"""Of the games that are told otherwise than they once were."""
VERDICT = re.compile(r"Simon says, you have completed the game\.\s*You win!|\b(?:Inc|C)orrect!")
"""What tells whether the game was won, or a call was right."""
FOLDS = {"train": "train", "validation": "dev", "test": "test"}


class TextWorldExpress:
    """One of the eight games."""

    def __init__(self, game: str = "cookingworld", params: str = "", tasks_per_split: int = 100) -> None:
        """`params`: the game's settings, e.g. `numLocations=3,includeDoors=0`; a task is a seed of a fold."""
        if game not in GAMES:
            raise InputError(f"env.engine.game is {game!r}; choose from {', '.join(GAMES)}")
        if not 1 <= tasks_per_split <= 1000:
            raise InputError(f"env.engine.tasks_per_split is {tasks_per_split}; a fold has 1 to 1000 games")
        require_java(EXTRA)
        self._module = imported("textworld_express", EXTRA)
        self.name, self.licence = f"twx_{game}", "Apache-2.0"
        self.version = f"{VERSIONS.get(game, '1')}-{params or 'default'}"
        self._game, self._params, self._count = game, params, tasks_per_split
        self._env: Any = None
        self._splits: dict[str, list[Task]] = {}

    def actions(self) -> Sequence[ActionSpec]:
        """What this game understands."""
        return [VERBS[name] for name in GAMES[self._game]]

    def splits(self) -> Mapping[str, Sequence[Task]]:
        """The first seeds of each fold."""
        if not self._splits:
            self._splits = {
                split: [self._task(split, seed) for seed in self._seeds(split)] for split in SPLITS
            }
        return self._splits

    def fingerprint(self) -> str:
        """The package's version."""
        return f"{installed(EXTRA)} {self._params}"

    def begin(self, task: Task, seed: int) -> Turn:
        """Starts the game of the task's seed; the episode's seed changes nothing, as the game is fixed by its own."""
        text, info = self._reset(task.data["fold"], task.data["seed"], gold=False)
        return self._turn(f"{task.instruction}\n{text.strip()}", info)

    def do(self, command: str) -> Turn:
        """Carries out a command; one that is not among the valid ones is not understood."""
        known = command in self._valid
        text, _, _, info = self._running().step(command)
        return self._turn(text.strip(), info, understood=known)

    def gold(self, task: Task) -> list[str]:
        """The engine's own winning path."""
        self._reset(task.data["fold"], task.data["seed"], gold=True)
        return [str(command) for command in self._running().getGoldActionSequence()]

    def close(self) -> None:
        """Ends the Java process."""
        if self._env is not None:
            end_java(self._env)
            self._env = None

    def _running(self) -> Any:
        if self._env is None:
            self._env = self._module.TextWorldExpressEnv(envStepLimit=10**6)
            self._env.load(gameName=self._game, gameParams=self._params)
        return self._env

    def _seeds(self, split: str) -> list[int]:
        env = self._running()
        seeds = {
            "train": env.getValidSeedsTrain,
            "validation": env.getValidSeedsDev,
            "test": env.getValidSeedsTest,
        }
        return list(seeds[split]())[: self._count]

    def _task(self, split: str, seed: int) -> Task:
        _, info = self._reset(FOLDS[split], seed, gold=False)
        data = {"fold": FOLDS[split], "seed": int(seed)}
        told = str(info["taskDescription"]).strip()
        return Task(id=f"{self._game}-{split}-{seed}", instruction=told, data=data, group=self._game)

    def _reset(self, fold: str, seed: int, gold: bool) -> tuple[str, dict[str, Any]]:
        text, info = self._running().reset(seed=seed, gameFold=fold, generateGoldPath=gold)
        return str(text), info

    def _turn(self, text: str, info: Mapping[str, Any], understood: bool = True) -> Turn:
        self._valid = tuple(sorted(map(str, info["validActions"])))
        # In peckingorder the engine reports failure on its own winning paths, so only success ends it.
        ended = bool(info["tasksuccess"] or (info["taskfailure"] and self._game != "peckingorder"))
        return Turn(
            text=VERDICT.sub("The game is over." if ended else "Done.", text) or "Nothing happens.",
            score=min(1.0, max(0.0, float(info["score"]))),
            ended=ended,
            won=bool(info["tasksuccess"]),
            admissible=self._valid,
            understood=understood,
        )

"""ALFWorld (Shridhar et al. 2021) in text: household tasks from ALFRED's rooms.

Extra `alfworld` (its planner is compiled at installation, about four minutes). Game files come from a folder:
`json_2.1.1/{valid_train,valid_seen,valid_unseen}/TASK/TRIAL/game.tw-pddl`, unpacked. The splits are train
(valid_train), validation (valid_seen) and test (valid_unseen). 5 to 25 steps a second. Licence MIT.
The score is 1 when the task is done, else 0: this release tells no progress.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pract.envs.games.engine import Turn, imported, installed, verb
from pract.envs.tools.datafiles import digest, read_text
from pract.errors import InputError
from pract.types import ActionSpec, Task

EXTRA = "alfworld"
FOLDERS = {"train": "valid_train", "validation": "valid_seen", "test": "valid_unseen"}
VERBS = (
    verb("go", "go to {receptacle}", "Walks to a receptacle or appliance."),
    verb("open", "open {receptacle}", "Opens a receptacle you stand at."),
    verb("close", "close {receptacle}", "Closes a receptacle you stand at."),
    verb("take", "take {object} from {receptacle}", "Takes an object from where you stand."),
    verb("heat", "heat {object} with {receptacle}", "Heats an object you carry, with a microwave."),
    verb("cool", "cool {object} with {receptacle}", "Cools an object you carry, with a fridge."),
    verb("clean", "clean {object} with {receptacle}", "Cleans an object you carry, with a sink basin."),
    verb("use", "use {object}", "Switches a lamp on or off."),
    verb("examine", "examine {thing}", "Looks closely at an object or receptacle."),
    verb("look", "look", "Describes where you stand."),
    verb("inventory", "inventory", "Lists what you carry."),
)
TASK_LINE = re.compile(r"Your task is to: ([^\"\\\n]+)")
PUT = re.compile(r'template :: "(put \{o\} in/on \{r\}|move \{o\} to \{r\})"')
"""How a game's grammar spells putting down: releases differ."""
WELCOME = "-= Welcome to TextWorld, ALFRED! =-"
REFUSED = "Nothing happens."


class AlfWorld:
    """The games in a folder."""

    def __init__(self, data: str) -> None:
        """`data`: the folder that holds json_2.1.1 (or that folder itself)."""
        self._textworld = imported("textworld", EXTRA)
        self._wrappers = imported("alfworld.agents.environment.alfred_tw_env", EXTRA)
        self.name, self.version, self.licence = "alfworld", "2", "MIT"
        root = Path(data).expanduser()
        self._root = root / "json_2.1.1" if (root / "json_2.1.1").is_dir() else root
        self._spelled: dict[str, Path] = {}
        """Spellings of putting down, each with the first game that has it."""
        self._splits = {split: self._list(folder) for split, folder in FOLDERS.items()}
        if not any(self._splits.values()):
            raise InputError(
                f"{self._root}: no {FOLDERS['train']}/*/*/game.tw-pddl below; unpack the game files"
            )
        if len(self._spelled) > 1:
            told = " and ".join(f"{path} has {spelling!r}" for spelling, path in self._spelled.items())
            raise InputError(f"games of two releases: {told}; unpack those of one into a folder of their own")
        self._env: Any = None

    def actions(self) -> Sequence[ActionSpec]:
        """The eleven verbs, and putting down as these game files spell it."""
        (spelling,) = self._spelled
        spelled = spelling.replace("{o}", "{object}").replace("{r}", "{receptacle}")
        put = verb("put", spelled, "Puts an object you carry into or onto the receptacle you stand at.")
        return [*VERBS[:4], put, *VERBS[4:]]

    def splits(self) -> Mapping[str, Sequence[Task]]:
        """All games by split."""
        return self._splits

    def fingerprint(self) -> str:
        """Digest of the packages' versions and the game files."""
        games = [self._root / task.data["game"] for tasks in self._splits.values() for task in tasks]
        return digest(installed("alfworld", "textworld"), *games)

    def begin(self, task: Task, seed: int) -> Turn:
        """Starts a game; the seed changes nothing."""
        self.close()
        self._env = self._start(task, policy=False)
        state = self._env.reset()
        return self._turn(state)

    def do(self, command: str) -> Turn:
        """Carries out a command."""
        state, _, done = self._env.step(command)
        return self._turn(state, bool(done))

    def gold(self, task: Task) -> list[str]:
        """The planner's commands; they take some seconds."""
        env = self._start(task, policy=True)
        try:
            return [str(command) for command in env.reset()["policy_commands"]]
        finally:
            env.close()

    def close(self) -> None:
        """Lets the game go."""
        if self._env is not None:
            self._env.close()
            self._env = None

    def _start(self, task: Task, policy: bool) -> Any:
        wanted = self._textworld.EnvInfos(won=True, admissible_commands=True, policy_commands=policy)
        path = str(self._root / task.data["game"])
        return self._textworld.start(path, wanted, wrappers=[self._wrappers.AlfredDemangler()])

    def _turn(self, state: Mapping[str, Any], done: bool = False) -> Turn:
        text = str(state["feedback"]).replace(WELCOME, "").strip()
        won = bool(state["won"])
        return Turn(
            text=text or REFUSED,
            score=float(won),
            ended=done or won,
            won=won,
            admissible=tuple(sorted(state["admissible_commands"] or ())),
            understood=text != REFUSED,
        )

    def _list(self, folder: str) -> list[Task]:
        return [self._task(path) for path in sorted((self._root / folder).glob("*/*/game.tw-pddl"))]

    def _task(self, path: Path) -> Task:
        text = read_text(path).replace("\\n", "\n").replace('\\"', '"')
        told, spelled = TASK_LINE.search(text), set(PUT.findall(text))
        if not told or len(spelled) != 1:
            lacking = "spells putting down in no way that is known" if told else "names no task"
            raise InputError(f"{path}: {lacking}, perhaps cut off; unpack the game files again")
        self._spelled.setdefault(spelled.pop(), path)
        game = path.relative_to(self._root)
        kind = game.parts[1].split("-")[0]
        name = "/".join(game.parts[:3])
        return Task(id=name, instruction=told[1].strip(), data={"game": game.as_posix()}, group=kind)

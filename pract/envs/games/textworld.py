"""TextWorld (Cote et al. 2018): games made beforehand by `tw-make`, from a folder.

Extra `textworld`. Make games once, each with its .json beside it, e.g.

    tw-make tw-simple --rewards dense --goal detailed --seed 3 --output GAMES/simple-3.z8

Files are split by name. 30 to 180 steps a second. Licence MIT; the Z-machine interpreter that the package brings
(Jericho) is GPL-2.0-or-later.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pract.envs.games.engine import Turn, imported, installed, verb
from pract.envs.tools.datafiles import carve, digest, read_json
from pract.errors import InputError
from pract.types import ActionSpec, Task

EXTRA = "textworld"
VERBS = (
    verb("go", "go {direction}", "Walks in a direction."),
    verb("take_from", "take {thing} from {place}", "Takes a thing out of or off something."),
    verb("take", "take {thing}", "Takes a thing from the floor."),
    verb("put", "put {thing} on {place}", "Puts a thing onto something."),
    verb("insert", "insert {thing} into {place}", "Puts a thing into a container."),
    verb("drop", "drop {thing}", "Puts a thing on the floor."),
    verb("open", "open {thing}", "Opens a door or container."),
    verb("close", "close {thing}", "Closes a door or container."),
    verb("unlock", "unlock {thing} with {tool}", "Unlocks a door or container with a key."),
    verb("lock", "lock {thing} with {tool}", "Locks a door or container with a key."),
    verb("cook", "cook {thing} with {tool}", "Cooks a food with a device."),
    verb("slice", "slice {thing} with {tool}", "Slices a food."),
    verb("chop", "chop {thing} with {tool}", "Chops a food."),
    verb("dice", "dice {thing} with {tool}", "Dices a food."),
    verb("prepare", "prepare meal", "Makes the meal."),
    verb("eat", "eat {thing}", "Eats a food or the meal."),
    verb("examine", "examine {thing}", "Looks closely at a thing."),
    verb("look", "look", "Describes the room again."),
    verb("inventory", "inventory", "Lists what you carry."),
)
STATUS_LINE = re.compile(r"^\s*>.*$", re.MULTILINE)
SCORE_LINES = re.compile(
    r"^.*(?:Your score has just|You scored |\*\*\* The End \*\*\*|\*\*\* You lost! \*\*\*|RESTART, RESTORE).*$",
    re.MULTILINE,
)


class TextWorld:
    """The games in a folder."""

    def __init__(self, data: str) -> None:
        """`data`: a folder with .z8 files and their .json files."""
        self._textworld = imported("textworld", EXTRA)
        self.name, self.version, self.licence = "textworld", "1", "MIT AND GPL-2.0-or-later"
        self._root = Path(data).expanduser()
        files = sorted(self._root.glob("*.z8"))
        if not files:
            raise InputError(f"{self._root}: no .z8 files; make some with tw-make and name their folder")
        self._splits = carve([self._task(path) for path in files], lambda task: task.id)
        self._files = files
        self._env: Any = None

    def actions(self) -> Sequence[ActionSpec]:
        """The verbs of generated games."""
        return VERBS

    def splits(self) -> Mapping[str, Sequence[Task]]:
        """All games by split."""
        return self._splits

    def fingerprint(self) -> str:
        """Digest of the package's version and the game files; what is admissible comes from the .json beside."""
        return digest(installed(EXTRA), *self._files, *(path.with_suffix(".json") for path in self._files))

    def begin(self, task: Task, seed: int) -> Turn:
        """Starts a game; the seed changes nothing."""
        self.close()
        self._env, state = self._start(task, policy=False)
        shown = f"{task.instruction}\n{state['description'] or ''}"
        return self._turn(state, shown)

    def do(self, command: str) -> Turn:
        """Carries out a command."""
        known = command in self._valid
        state, _, done = self._env.step(command)
        return self._turn(state, str(state["feedback"]), bool(done), known)

    def gold(self, task: Task) -> list[str]:
        """The generator's winning commands."""
        env, state = self._start(task, policy=True)
        env.close()
        return [str(command) for command in state["policy_commands"]]

    def close(self) -> None:
        """Lets the game go."""
        if self._env is not None:
            self._env.close()
            self._env = None

    def _start(self, task: Task, policy: bool) -> tuple[Any, Mapping[str, Any]]:
        wanted = self._textworld.EnvInfos(
            won=True,
            lost=True,
            score=True,
            max_score=True,
            description=True,
            admissible_commands=True,
            policy_commands=policy,
        )
        env = self._textworld.start(str(self._root / task.data["game"]), wanted)
        return env, env.reset()

    def _turn(self, state: Mapping[str, Any], text: str, done: bool = False, known: bool = True) -> Turn:
        won, most = bool(state["won"]), float(state["max_score"] or 0)
        self._valid = tuple(sorted(state["admissible_commands"] or ()))
        shown = SCORE_LINES.sub("", STATUS_LINE.sub("", text))
        score = float(won) if won or not most else float(state["score"] or 0) / most
        return Turn(
            text=re.sub(r"\n\s*\n+", "\n", shown).strip() or "Done.",
            score=min(1.0, max(0.0, score)),
            ended=done or won or bool(state["lost"]),
            won=won,
            admissible=self._valid,
            understood=known,
        )

    def _task(self, path: Path) -> Task:
        facts = path.with_suffix(".json")
        if not facts.is_file():
            raise InputError(f"{facts}: missing beside {path.name}; tw-make writes both, keep them together")
        told = " ".join(str(read_json(facts).get("objective", "")).split())
        return Task(id=path.stem, instruction=told or "Find out what to do.", data={"game": path.name})

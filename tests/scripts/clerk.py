"""A made-up clerk in place of a model: it keeps the bundled to-do list, badly at first, by the book once it has one.

The recordings that `experiment=pract/smoke` and `scripts.reproduce table=pract size=tiny` replay are the clerk's. They
have to be made anew when a prompt, the bundled list or what they hold changes:  python -m tests.scripts.clerk
"""

import lzma
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from pract.envs.todo import Todo
from pract.llm.base import estimate_tokens
from pract.prompts import call_text
from pract.types import Action, Message, Reply, Task
from scripts.comparing import compare_arms
from scripts.learning import learn
from scripts.pract_rows import tiny
from scripts.reproduction import chains

RECORDING = Path(__file__).parents[2] / "pract" / "llm" / "recordings" / "todo_clerk.jsonl"
STUDY = RECORDING.with_name("todo_clerk_study.jsonl.xz")
"""What every variant and baseline of `size=tiny` asks."""
TOLD_TO_LOOK = ("- finish: Finish only", "- finish: Finish when an observation", "look first")
"""A principle of its own, one written by hand, a reflection among the notes."""
EVALUATED = ("env=todo", "agent=act", "agent.max_steps=8", "llm=bundled", "limit=4")
"""The evaluation that the recording holds besides the smoke run; its arms are act, react and learned."""
PRINCIPLES = {
    "get_projects": "Begin with it: every other action wants ids, and they stand in its answer.",
    "get_tasks": "Call it for each project in question before you answer. Read names and due dates from it.",
    "finish": (
        "Finish only after an observation has shown the answer or confirmed the change. Give the bare value, "
        "without words around it."
    ),
}
CRITIQUE = (
    "finish came before any observation had shown the answer. The principles should say to look first, with "
    "get_projects and then get_tasks, and to finish only when the answer or the change has been seen."
)


class Clerk:
    """Satisfies `Chat`. Until something tells it to look first it guesses; then it mostly gets it right."""

    model = "clerk (made up)"
    context_tokens = 8192

    def __init__(self) -> None:
        self._world = Todo()
        self._tasks = [task for split in self._world.splits() for task in self._world.tasks(split)]

    async def reply(self, messages: Sequence[Message], *, tag: str, **_: object) -> Reply:
        text = self._said(messages[0].content, messages[-1].content)
        tokens = sum(self.count_tokens(message.content) for message in messages)
        return Reply(
            text=text,
            prompt_tokens=tokens,
            completion_tokens=self.count_tokens(text),
            usd=round(tokens * 4e-7, 9),
            model=self.model,
        )

    def _said(self, system: str, user: str) -> str:
        cue = re.search(r"New Principle for (\w+):", user)
        if cue is not None:
            if "- finish: Finish only" in system and cue.group(1) == "finish":
                return "Finish at once. Looking around costs time."
            return PRINCIPLES.get(cue.group(1), "")
        if user.endswith("Reflection:"):
            return (
                CRITIQUE
                if "not solved" in user
                else "All went well; keep to get_projects first, then finish."
            )
        return call_text(self._next(any(words in system for words in TOLD_TO_LOOK), user))

    def _next(self, careful: bool, user: str) -> Action:
        task = next(task for task in self._tasks if f"Task: {task.instruction}\n" in user + "\n")
        plan = self._plan(task, careful)
        return plan[min(user.count("\nObservation: "), len(plan) - 1)]

    def _plan(self, task: Task, careful: bool) -> list[Action]:
        oracle = list(self._world.oracle(task))
        if task.id == "list-20":  # too hard for it, principles or not
            oracle = oracle[-1:]
        if careful:
            return [
                Action(name="get_projects"),
                Action(name="get_tasks", arguments={"project_id": "100"}),
                *oracle,
            ]
        return [*oracle[:-1], Action(name="finish", arguments={"answer": "done"})]

    def count_tokens(self, text: str) -> int:
        return estimate_tokens(text)

    async def close(self) -> None:
        """There is nothing to give back."""


def configuration(root: str, *overrides: str) -> DictConfig:
    """A script's configuration with these overrides."""
    with initialize_config_module("conf", version_base="1.3"):
        return compose(root, list(overrides))


def record(path: Path, folder: Path) -> None:
    """Record the clerk in a whole smoke run, and in the evaluation after it."""
    learned = ("experiment=pract/smoke", f"output_dir={folder}/learned")
    learn(configuration("optimize_pract", *learned, *recorder(path)))
    evaluated = (*EVALUATED, f"output_dir={folder}/compared", f"principles={folder}/learned/principles.json")
    compare_arms(configuration("evaluate_pract", *evaluated, *recorder(path)))


def recorder(path: Path) -> tuple[str, ...]:
    """Overrides that put the clerk behind a recording."""
    return (
        "llm=replay",
        f"llm.path={path}",
        "llm.mode=record",
        "+llm.inner._target_=tests.scripts.clerk.Clerk",
    )


def record_study(path: Path, folder: Path) -> None:
    """Record the clerk in all that `size=tiny` runs with it, in the order in which it runs."""
    rows = [row for row in tiny().rows if "clerk" in row.section and not row.impossible]
    for chain in chains(rows, folder):
        for job in chain:
            asked = [override for override in job.overrides if not override.startswith("llm")]
            start = {"optimize_pract": learn, "evaluate_pract": compare_arms}[job.script]
            start(configuration(job.script, *asked, f"output_dir='{job.folder}'", *recorder(path)))


if __name__ == "__main__":
    RECORDING.parent.mkdir(exist_ok=True)
    RECORDING.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as place:
        record(RECORDING, Path(place))
        record_study(Path(place) / "study.jsonl", Path(place) / "study")
        STUDY.write_bytes(lzma.compress((Path(place) / "study.jsonl").read_bytes(), preset=9))

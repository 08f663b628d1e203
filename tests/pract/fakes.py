"""A scripted chat and a toy environment: no network, no model, no clock. Only tests use them."""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pract.envs.base import EpisodeOver
from pract.errors import InputError
from pract.types import Action, ActionSpec, Message, Observation, Reply, StepResult, Task

COLOURS = ("red", "blue", "green", "white", "black", "amber", "ivory", "olive", "pearl", "coral")
SPLITS = {"train": COLOURS[:4], "validation": COLOURS[4:7], "test": COLOURS[7:]}

LOOK = ActionSpec(name="look", description="Look around the hall.")
TAKE = ActionSpec(
    name="take",
    description="Take a key.",
    parameters={
        "type": "object",
        "properties": {"key": {"type": "string", "description": "its colour"}},
        "required": ["key"],
        "additionalProperties": False,
    },
)
OPEN = ActionSpec(
    name="open",
    description="Open a door.",
    parameters={
        "type": "object",
        "properties": {"door": {"type": "string", "enum": list(COLOURS)}},
        "required": ["door"],
        "additionalProperties": False,
    },
)


class Doors:
    """A hall of doors: a door opens to who has taken the key of its colour first."""

    name = "doors"
    version = "1"
    licence = "Apache-2.0"

    def __init__(self) -> None:
        self._task: Task | None = None
        self._key: str | None = None

    def splits(self) -> Sequence[str]:
        return tuple(SPLITS)

    def tasks(self, split: str) -> Sequence[Task]:
        if split not in SPLITS:
            raise InputError(f"no split {split!r}")
        return [
            Task(id=f"door/{c}", instruction=f"Open the {c} door.", data={"colour": c}, max_steps=4)
            for c in SPLITS[split]
        ]

    def actions(self) -> Sequence[ActionSpec]:
        return (LOOK, TAKE, OPEN)

    def content_hash(self) -> str:
        return "doors-1"

    def reset(self, task: Task, seed: int = 0) -> Observation:
        self._task, self._key = task, None
        return self._seen("You stand in a hall.")

    def step(self, action: Action) -> StepResult:
        if self._task is None:
            raise EpisodeOver("reset first")
        progress = 0.5 if self._key == self._task.data["colour"] else 0.0
        if action.name == "look":
            return StepResult(observation=self._seen("Keys of every colour hang here."), progress=progress)
        if action.name == "take" and isinstance(action.arguments.get("key"), str):
            self._key = action.arguments["key"]
            progress = 0.5 if self._key == self._task.data["colour"] else 0.0
            return StepResult(observation=self._seen(f"You hold the {self._key} key."), progress=progress)
        if action.name == "open" and action.arguments.get("door") in COLOURS:
            if progress and action.arguments["door"] == self._key:
                self._task = None
                return StepResult(
                    observation=Observation(text="The door swings open."), score=1.0, terminated=True
                )
            return StepResult(observation=self._seen("The lock holds."), progress=progress)
        return StepResult(observation=self._seen("That cannot be done."), progress=progress, refused=True)

    def oracle(self, task: Task) -> Sequence[Action]:
        colour = task.data["colour"]
        return (
            Action(name="take", arguments={"key": colour}),
            Action(name="open", arguments={"door": colour}),
        )

    def close(self) -> None:
        self._task = None

    def _seen(self, text: str) -> Observation:
        calls = [{"name": "look", "arguments": {}}]
        if self._task is not None:
            calls.append({"name": "take", "arguments": {"key": self._task.data["colour"]}})
            calls.append({"name": "open", "arguments": {"door": self._task.data["colour"]}})
        return Observation(text=text, hints={"admissible": calls})


@dataclass
class Clock:
    """Seconds that pass only when somebody says so."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class ScriptedChat:
    """Answers by a function of messages and tag; keeps what it was asked."""

    script: Callable[[Sequence[Message], str], str | Reply]
    """A reply is given with its text and its reason to end."""
    model: str = "scripted"
    context_tokens: int = 100_000
    clock: Clock | None = None
    delay: float = 0.0
    asked: list[tuple[str, list[Message]]] = field(default_factory=list)
    options: list[dict[str, object]] = field(default_factory=list)

    async def reply(self, messages: Sequence[Message], *, tag: str, **options: object) -> Reply:
        await asyncio.sleep(self.delay)
        self.asked.append((tag, list(messages)))
        self.options.append(options)
        said = self.script(messages, tag)
        text = said.text if isinstance(said, Reply) else said
        if self.clock is not None:
            self.clock.now += 1.0
        tokens = sum(self.count_tokens(message.content) for message in messages)
        return Reply(
            text=text,
            prompt_tokens=tokens,
            completion_tokens=self.count_tokens(text),
            usd=0.001,
            seconds=1.0,
            model=self.model,
            finish_reason=said.finish_reason if isinstance(said, Reply) else "stop",
        )

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    async def close(self) -> None:
        pass


def doors_script(messages: Sequence[Message], tag: str) -> str:
    """Plays Doors: opens at once, unless the principle of `open` says to take the key first."""
    system, user = messages[0].content, messages[-1].content
    if user.endswith("Reflection:"):
        colour = re.findall(r"Open the (\w+) door", user)[0]
        known = "not solved" if "not solved" in user else "solved" if "# Reward" in user else "unknown"
        return f"Outcome {known}. For {colour}: open must wait until take has fetched the matching key."
    cue = re.search(r"New Principle for (\w+):", user)
    if cue is not None:
        lessons = re.findall(r"For (\w)", system) + re.findall(r"\b(\w)\b(?=[\w ]*;)", system)
        outcome = "judged" if re.search(r"Outcome (not )?solved|; judged", system) else "unjudged"
        texts = {"look": "Look when you do not know the keys.", "take": "Take the key that matches the door."}
        first = f"Take the key first, then open. ({' '.join(sorted(set(lessons)))}; {outcome})"
        text = texts.get(cue.group(1), first)
        return f"New Principle for {cue.group(1)}: {text}"
    if user.endswith("New Principles:"):
        return "take: Take the key that matches the door.\n- **open**: Take the key first, then open."
    colour = re.findall(r"Open the (\w+) door", user)[-1]
    if "take the key first" in system.lower() and f"You hold the {colour} key" not in user:
        return f'take[{{"key": "{colour}"}}]'
    return f'open[{{"door": "{colour}"}}]'

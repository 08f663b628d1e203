"""Facts that flow through PRAct and RPO. Everyone may import this file, it imports nobody.

All of them survive JSON by `pract.records.to_json` and `from_json`, which is how they reach the event log.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionSpec:
    """One action that an environment offers. Principles are keyed by its name."""

    name: str
    """A word of letters, digits and underscores, unique within the environment, e.g. `search`."""
    description: str
    """What the action does, in one or two sentences, as the agent reads it."""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    """JSON Schema of the arguments: an object with `properties`, and `required` where some must be given."""
    template: str | None = None
    """How a text game spells it, with the arguments in braces, e.g. `go to {receptacle}`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One call of an action."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task of an environment."""

    id: str
    """Unique over all splits of its environment, stable over runs: results are paired by it."""
    instruction: str
    """What the agent is asked to do, as it reads it."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """What the environment needs to set it up and to score it; survives JSON. Never shown to a model."""
    max_steps: int | None = None
    """Steps this task allows; None leaves it to the run."""
    group: str | None = None
    """What kind of task it is, or which tasks belong together (the product in a shop)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What the agent sees. The text never names reward, score or success: those have fields of their own."""

    text: str
    hints: Mapping[str, Any] = field(default_factory=dict)
    """Extras. `admissible`: a list of {"name", "arguments"}, the calls possible now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """An environment's answer to one action."""

    observation: Observation
    reward: float = 0.0
    """Reward of this step, in the environment's own unit."""
    score: float = 0.0
    """The final measure of the episode as it stands now, a fraction from 0 to 1."""
    progress: float = math.nan
    """Best partial credit so far, a fraction from 0 to 1; left out, it is the score."""
    terminated: bool = False
    """The task ended: solved, failed or answered."""
    truncated: bool = False
    """The environment stopped the episode before the task ended."""
    refused: bool = False
    """Not carried out (unknown name, bad argument, impossible now); the observation says why."""
    success: bool | None = None
    """Whether the task counts as solved; None means: it does when the score is 1."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """More for the record; survives JSON. Never shown to a model."""

    def __post_init__(self) -> None:
        if math.isnan(self.progress):
            object.__setattr__(self, "progress", self.score)


class Status(Enum):
    """How an episode ended."""

    FINISHED = "finished"
    """The task ended by itself, solved or not."""
    OUT_OF_STEPS = "out_of_steps"
    """The step limit was reached."""
    OUT_OF_CONTEXT = "out_of_context"
    """The prompt outgrew the model's context even without old observations."""
    TRUNCATED = "truncated"
    """The environment stopped it."""
    ENVIRONMENT_ERROR = "environment_error"
    """The environment raised: the fault is not the agent's."""
    CHAT_ERROR = "chat_error"
    """The model could not be reached or did not answer; `Episode.failure` begins with the kind."""
    BUDGET = "budget"
    """A limit of the run was reached."""

    @property
    def counts(self) -> bool:
        """Whether the score says something about the agent; the others are left out of means, and counted."""
        return self not in (Status.ENVIRONMENT_ERROR, Status.CHAT_ERROR, Status.BUDGET)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A native tool call in a model's reply or in the history shown to it."""

    id: str
    name: str
    arguments: str
    """The arguments as the model wrote them: JSON, or what it took for JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation with a chat model."""

    role: str
    """`system`, `user`, `assistant` or `tool`."""
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    """Calls that this assistant turn made."""
    tool_call_id: str | None = None
    """Which call this `tool` turn answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A chat model's answer to one call, with what it cost."""

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int | None = None
    """Prompt tokens that the server took from its prefix cache; part of `prompt_tokens`. None: it did not tell."""
    usd: float = 0.0
    """Price of the call by the price list in use; 0 where none is known."""
    seconds: float = 0.0
    """Wall time from request to reply, waiting and retries included."""
    model: str = ""
    finish_reason: str = "stop"
    """`stop`, `length` (cut at max_tokens), `tool_calls`, or what else the server said."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.usd) and math.isfinite(self.seconds)):
            raise ValueError(
                f"usd={self.usd!r}, seconds={self.seconds!r}: what a reply cost is a finite number"
            )


def sum_told(first: int | None, second: int | None) -> int | None:
    """The sum of what was told; None if neither was."""
    return first if second is None else second + (first or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One turn of an episode: a reply, what was read in it, and what came of it."""

    index: int
    reply: Reply
    action: Action | None
    """None if the reply held no action; then `problem` says why."""
    observation: str
    """What the agent was shown: the environment's text, `OK` after an inner action, the parser's message."""
    problem: str = ""
    """Kind of parse error (`pract.parsing.ParseError.kind`), empty if an action was read."""
    thought: str = ""
    """What stood before the call in the reply."""
    inner: bool = False
    """Think and Plan never reach the environment."""
    refused: bool = False
    repeated: bool = False
    """An earlier call (or unreadable reply) again, with the answer of then: it brought nothing new."""
    reward: float = 0.0
    score: float = 0.0
    progress: float = 0.0
    dropped: int = 0
    """Oldest observations left out of the prompt so that it fitted the model's context."""
    prompt: str = ""
    """Digest of the messages that led to the reply."""
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One task, played to its end. It alone is enough for reflection, diagnosis and evaluation."""

    id: str
    """Unique within a run, and the key that its calls begin with in the event log: `round-001/train-000/TASK`,
    `round-001/validation/TASK/ATTEMPT`, `evaluate/ARM/TASK/ATTEMPT` or `gepa/evaluate-0001/000/TASK`."""
    task_id: str
    instruction: str
    group: str | None = None
    environment: str
    environment_version: str
    principles: str
    """Version of the principles it was played under; empty without principles."""
    seed: int
    first_observation: str
    steps: tuple[Step, ...]
    status: Status
    failure: str = ""
    """What broke, in one line, where something did: `kind: message`."""
    score: float = 0.0
    progress: float = 0.0
    success: bool = False

    @property
    def prompt_tokens(self) -> int:
        """Prompt tokens over all steps."""
        return sum(step.reply.prompt_tokens for step in self.steps)

    @property
    def completion_tokens(self) -> int:
        """Tokens written by the model over all steps."""
        return sum(step.reply.completion_tokens for step in self.steps)

    @property
    def seconds(self) -> float:
        """Time spent waiting for the model."""
        return sum(step.reply.seconds for step in self.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reflection:
    """The reflector's critique of one episode, or the record that it gave none."""

    id: str
    episode_id: str
    task_id: str
    principles: str
    """Version of the principles it judges."""
    text: str
    actions: tuple[str, ...] = ()
    """Actions it is evidence for: those the episode tried, and those the text names."""
    reward_shown: bool
    """Reward-RPO (True) or Self-RPO (False)."""
    problem: str = ""
    """Why it is of no use, e.g. `empty`, `chat_error: ...`; empty if it is."""

    @property
    def usable(self) -> bool:
        """Whether the optimizer may read it."""
        return not self.problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Principles:
    """One text per action, never changed in place. Equal texts have equal versions."""

    texts: Mapping[str, str]
    """Action name to principle, in the environment's order; an empty text means: no principle."""
    parent: str | None = None
    """Version it was rewritten from."""
    evidence: tuple[str, ...] = ()
    """Ids of the reflections that it was written from."""
    author: str = "hand"
    """Who wrote it: `hand`, or the optimizer's call, e.g. `optimizer/round-2`."""
    notes: tuple[str, ...] = ()
    """Texts shown beside the principles, whatever the action: a memory of lessons. RPO leaves it empty."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "texts", MappingProxyType(dict(self.texts)))

    @property
    def version(self) -> str:
        """Twelve hexadecimal digits of the texts' SHA-256."""
        content: Any = [dict(self.texts), list(self.notes)] if self.notes else dict(self.texts)
        packed = json.dumps(content, ensure_ascii=False, sort_keys=True)
        return hashlib.sha256(packed.encode()).hexdigest()[:12]

"""The agent: task, history and principles become a prompt, the model's reply becomes an action.

Act, ReAct, plan-and-act, and PRAct, which is any of them under principles. As in AgentLite, Think and Plan are
actions of their own (argument `response`, observed as `OK`) and count as steps; `thoughts: inline` writes the
thought before the call instead and so halves the number of calls.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pract import prompts
from pract.calls import digest
from pract.errors import InputError
from pract.llm.base import Chat, ChatError, ChatErrorKind
from pract.llm.wire import tools_json
from pract.parsing import Call, ParseError, by_name, parse_reply, refuse_unreadable
from pract.prompts import Wording
from pract.types import Action, ActionSpec, Message, Observation, Principles, Reply, Step, Task, ToolCall

STYLES = ("act", "react", "plan_act")
CALLS = ("text", "native", "choice")
TURNS = ("one", "chat")
THOUGHTS = ("action", "inline")

_RESPONSE: Mapping[str, Any] = {
    "type": "object",
    "properties": {"response": {"type": "string"}},
    "required": ["response"],
    "additionalProperties": False,
}
THINK = ActionSpec(name="Think", description="Reason about what to do next.", parameters=_RESPONSE)
PLAN = ActionSpec(name="Plan", description="Write down or revise the plan.", parameters=_RESPONSE)
FINISH = ActionSpec(
    name="Finish", description="End the task; nothing more can be done.", parameters=_RESPONSE
)

INLINE_CUE = (
    "Write `Thought:` with what the last observation shows and what is needed next, "
    "then `Action:` with one call."
)
"""Chat models take a bare `Thought:` at the end of a user's turn for theirs already, and leave it out."""

_MESSAGE_OVERHEAD = 16
"""Tokens that a chat template may add to one message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """How an agent asks and answers."""

    style: str = "react"
    """`act`, `react` or `plan_act`."""
    calls: str = "text"
    """`text`: `Name[{json}]`; `native`: the server's tool calls; `choice`: rank the admissible actions."""
    turns: str = "one"
    """`one`: the execution so far is one user turn, as in the paper; `chat`: the model's calls are its own turns and
    the observations the user's, as chat models are trained on. Native calls are always a chat."""
    thoughts: str = "action"
    """`action`: Think and Plan are steps; `inline`: a thought stands before each call."""
    finish: bool = False
    """Offer an inner Finish action, for environments that have no action to end a task."""
    max_steps: int = 20
    """Steps an episode may take, inner ones included; a task's own limit counts if it is lower."""
    max_tokens: int = 256
    """Tokens of one reply."""
    temperature: float = 0.0
    repeat_temperature: float = 0.7
    """Temperature, if it is higher, of the turn after a call that was made again and brought nothing new: at 0 a
    model that repeats itself goes on until its steps are spent."""
    tell_repeats: bool = True
    """Whether the answer to such a call says that it is one."""
    observation_chars: int = 4_000
    """Characters of one observation that are shown; the rest is cut and the cut is marked."""
    example: str = ""
    """A worked execution; empty: the call form of the first action."""
    example_turns: bool = False
    """Show the worked execution as turns of the chat, before the real ones, and not within the instruction: small
    models do as the turns above did rather than as a text says. Needs `turns: chat`."""
    wording: Wording = field(default_factory=Wording)

    def __post_init__(self) -> None:
        for name, allowed in (("style", STYLES), ("calls", CALLS), ("turns", TURNS), ("thoughts", THOUGHTS)):
            if getattr(self, name) not in allowed:
                raise InputError(f"agent.{name}={getattr(self, name)!r} is none of {', '.join(allowed)}")
        for name in ("max_steps", "max_tokens", "observation_chars"):
            if getattr(self, name) < 1:
                raise InputError(f"agent.{name}={getattr(self, name)} is below 1: give a positive number")
        if self.calls == "choice" and self.style != "act":
            raise InputError(
                f"agent.style={self.style!r} cannot be ranked: with agent.calls=choice set agent.style=act"
            )

        if self.example_turns:
            if self.turns != "chat" or self.calls != "text":
                raise InputError(
                    f"agent.example_turns=true with agent.turns={self.turns}, agent.calls={self.calls}: turns of an "
                    "example belong before those of a chat in text; set agent.turns=chat agent.calls=text"
                )
            prompts.example_turns(self.example, self.cue)

    @property
    def inline(self) -> bool:
        """Whether a thought stands before each call."""
        return self.thoughts == "inline" and self.style != "act"

    @property
    def cue(self) -> str:
        """What the user's turns end with."""
        if self.calls == "native":
            return ""
        return INLINE_CUE if self.inline else "" if self.turns == "chat" else "Action:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One reply of the model and what was read in it."""

    reply: Reply
    outcome: Call | ParseError
    prompt: str
    """Digest of the messages."""
    dropped: int


class Agent:
    """A model that acts on an environment's actions, under principles or without."""

    def __init__(
        self,
        chat: Chat,
        config: AgentConfig,
        actions: Sequence[ActionSpec],
        principles: Principles | None = None,
    ) -> None:
        """Raises InputError if a principle belongs to no action, or no reply could name one of the actions."""
        self.chat = chat
        self.config = config
        self.principles = principles
        self.inner = _inner_actions(config, actions)
        self.actions = [*actions, *self.inner.values()]
        refuse_unreadable(self.actions, config.calls)
        self._known = by_name(self.actions)
        if principles is not None:
            check_names(principles, self.actions)
        self._system = prompts.act_system(
            config.wording,
            style=config.style,
            actions=self.actions,
            principles=principles,
            example="" if config.example_turns else config.example or self._default_example(),
            format_line=self._format_line(),
        )
        self._example = prompts.example_turns(config.example, config.cue) if config.example_turns else []

    async def take_turn(
        self, task: Task, first: str, steps: Sequence[Step], hints: Mapping[str, Any], *, seed: int, tag: str
    ) -> Turn:
        """Ask for the next action. Raises ChatError or BudgetExhausted; never for what the model says."""
        choices = _choices(hints) if self.config.calls == "choice" else None
        messages, dropped = self._fitting_prompt(task, first, steps)
        prompt = digest(messages, choices)
        reply = await self.chat.reply(
            messages,
            max_tokens=self.config.max_tokens,
            temperature=self._temperature(steps),
            stop=() if self.config.calls == "native" else ("\nObservation:", "\nTask:"),
            tools=self.actions if self.config.calls == "native" else None,
            choices=choices,
            seed=seed,
            tag=tag,
        )
        outcome = parse_reply(reply, self._known)
        return Turn(reply=reply, outcome=outcome, prompt=prompt, dropped=dropped)

    def _temperature(self, steps: Sequence[Step]) -> float:
        repeated = bool(steps) and steps[-1].repeated
        return max(self.config.temperature, self.config.repeat_temperature if repeated else 0.0)

    def _fitting_prompt(self, task: Task, first: str, steps: Sequence[Step]) -> tuple[list[Message], int]:
        """The prompt with as few of the oldest observations left out as needed, and how many that are.

        Once the context is full, a quarter of it is freed at a time: each time the beginning changes, the
        server's prefix cache is lost.
        """
        room = self.chat.context_tokens - self.config.max_tokens
        dropped = steps[-1].dropped if steps else 0
        messages = self.prompt(task, first, steps, dropped=dropped)
        if _bytes(messages) + self._tools_size <= room or self._tokens(messages) <= room:
            return messages, dropped
        while dropped < len(steps):
            dropped += 1
            messages = self.prompt(task, first, steps, dropped=dropped)
            if self._tokens(messages) <= room * 3 // 4:
                return messages, dropped
        if self._tokens(messages) <= room:
            return messages, dropped
        raise ChatError(
            ChatErrorKind.CONTEXT_LENGTH,
            f"the prompt does not fit into {self.chat.context_tokens} tokens even without old observations",
        )

    def _tokens(self, messages: Sequence[Message]) -> int:
        calls = sum(
            self.chat.count_tokens(call.arguments) for message in messages for call in message.tool_calls
        )
        texts = sum(self.chat.count_tokens(message.content) + _MESSAGE_OVERHEAD for message in messages[1:])
        return calls + texts + self._system_tokens + self._tools_tokens

    @property
    def prefix_tokens(self) -> int:
        """Tokens of what every prompt begins with: instruction, actions, principles, example."""
        return self._tokens([self._system, *self._example])

    @cached_property
    def _tools(self) -> str:
        """What a server reads of the actions where they are native tools."""
        return json.dumps(tools_json(self.actions)) if self.config.calls == "native" else ""

    @cached_property
    def _tools_tokens(self) -> int:
        return self.chat.count_tokens(self._tools)

    @cached_property
    def _tools_size(self) -> int:
        return _size(self._tools)

    @cached_property
    def _system_tokens(self) -> int:
        return self.chat.count_tokens(self._system.content) + _MESSAGE_OVERHEAD

    def prompt(self, task: Task, first: str, steps: Sequence[Step], *, dropped: int = 0) -> list[Message]:
        """The messages that ask for the next action, with the oldest `dropped` observations left out."""
        config = self.config
        native, chat = config.calls == "native", config.turns == "chat"
        execution = prompts.execution_text(
            task.instruction,
            first,
            () if native or chat else steps,
            dropped=dropped,
            thoughts=config.inline,
        )
        messages = [self._system, *self._example, prompts.act_user(execution, config.cue)]
        if native:
            messages.extend(_native_turns(steps, dropped))
        elif chat:
            messages.extend(prompts.chat_turns(steps, config.cue, dropped=dropped, thoughts=config.inline))
        return messages

    def _format_line(self) -> str:
        if self.config.calls != "text":
            return "Make exactly one call." if self.config.calls == "native" else ""
        if self.config.inline:
            return (
                "Write a short thought, then on a new line `Action:`, an action's name and its arguments as JSON in "
                "square brackets."
            )
        return "Answer with one line: an action's name and its arguments as JSON in square brackets."

    def _default_example(self) -> str:
        if self.config.calls == "native":
            return ""
        thought = "Thought: ...\n" if self.config.inline else ""
        return f"{thought}Action: {prompts.call_form(self.actions[0])}\nObservation: ..."


def _bytes(messages: Sequence[Message]) -> int:
    """Bytes of the messages and then some: no text has more tokens than bytes, and counting these is fast."""
    texts = sum(_size(message.content) + _MESSAGE_OVERHEAD for message in messages)
    return texts + sum(_size(call.arguments) for message in messages for call in message.tool_calls)


def _size(text: str) -> int:
    return len(text) if text.isascii() else 4 * len(text)


def shown(observation: Observation, limit: int) -> str:
    """The observation's text as the agent is shown it, cut to so many characters."""
    text = observation.text
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("utf-8")
    if len(text) <= limit:
        return text
    return f"{text[:limit]} [{len(text) - limit} more characters]"


def check_names(principles: Principles, actions: Sequence[ActionSpec]) -> None:
    """Raises InputError if a principle belongs to none of the actions."""
    names = [spec.name for spec in actions]
    for name in principles.texts:
        if name not in names:
            raise InputError(
                f"principles name the action {name!r}, but the actions are {', '.join(names)}: remove it"
            )


def _inner_actions(config: AgentConfig, actions: Sequence[ActionSpec]) -> dict[str, ActionSpec]:
    """The actions that never reach the environment; an environment's own action of that name comes first."""
    if not actions:
        raise InputError("the environment offers no actions: it must declare at least one")
    wanted = []
    if config.thoughts == "action" and config.style == "plan_act":
        wanted.append(PLAN)
    if config.thoughts == "action" and config.style in ("react", "plan_act"):
        wanted.append(THINK)
    if config.finish:
        wanted.append(FINISH)
    taken = {spec.name.lower() for spec in actions}
    return {spec.name: spec for spec in wanted if spec.name.lower() not in taken}


def _choices(hints: Mapping[str, Any]) -> list[str]:
    """The admissible calls as texts. Raises InputError if the environment names none."""
    admissible = hints.get("admissible")
    if not admissible:
        raise InputError(
            "agent.calls=choice needs the environment's `admissible` hint, which is empty: use agent.calls=text"
        )
    try:
        return [
            prompts.call_text(Action(name=c["name"], arguments=c.get("arguments", {}))) for c in admissible
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"the environment's `admissible` hint {str(admissible)[:80]!r} is not a list of "
            '{"name", "arguments"}: correct the environment'
        ) from error


def _native_turns(steps: Sequence[Step], dropped: int) -> list[Message]:
    """The steps so far as assistant and tool turns."""
    messages = []
    for step in steps:
        seen = prompts.DROPPED if step.index + 1 < dropped else step.observation
        if step.action is None:
            messages.append(Message(role="assistant", content=step.reply.text or prompts.NO_REPLY))
            messages.append(Message(role="user", content=seen))
            continue
        arguments = json.dumps(dict(step.action.arguments), ensure_ascii=False)
        call = ToolCall(id=f"call_{step.index}", name=step.action.name, arguments=arguments)
        messages.append(Message(role="assistant", content=step.thought, tool_calls=(call,)))
        messages.append(Message(role="tool", content=seen, tool_call_id=call.id))
    return messages

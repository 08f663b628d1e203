"""The prompts of the three roles: agent, reflector, optimizer. Pure functions from facts to messages.

Sections stand in the paper's order (PRAct, Figure 2): instruction, actions, principles, example, execution.
That is also the order in which they change, so each prompt of an episode begins with the previous one and a
server with a prefix cache reads only what is new. What is fixed is the system turn, the execution the user's.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from pract.errors import InputError
from pract.types import Action, ActionSpec, Message, Principles, Step

DROPPED = "[observation left out to fit the context]"
NO_REPLY = "[nothing]"

_ENCODE = json.JSONEncoder(ensure_ascii=False).encode
_QUOTE = json.encoder.encode_basestring
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """The sentences that frame each role's prompt. Placeholders are checked when they are set."""

    act: str = (
        "You are an intelligent agent. Given the execution so far, take the next action that brings the task "
        "closer to its end.{format}"
    )
    """Act: environment actions only."""
    react: str = (
        "You are an intelligent agent. Given the execution so far, reason about it and take the next action "
        "that brings the task closer to its end.{format}"
    )
    """ReAct: reasoning and actions take turns."""
    plan_act: str = (
        "You are an intelligent agent. Make a plan for the task first, then follow it action by action and "
        "plan again when an observation contradicts it.{format}"
    )
    """Plan-and-act."""
    under_principles: str = " Follow the action principles when you choose."
    """Added to any of the three when there are principles: this makes the agent a PRAct agent."""
    reflect: str = (
        "You complete a task over several rounds of action and observation. Reflect on the execution below: "
        "were the current action principles effective, and which principles should be changed or newly "
        "introduced to make better decisions in tasks of this kind? Name the actions you mean. Do not repeat "
        "names, numbers or answers of this one task. Use at most {words} words."
    )
    reward: str = (
        "The environment scored this execution {score} of 1, its best progress on the way was {progress} "
        "of 1: the task was {verdict}."
    )
    """Shown to the reflector by Reward-RPO, never by Self-RPO."""
    rewrite: str = (
        "You are an intelligent agent. You have completed several tasks and gathered reflections on them. "
        "Optimize your action principles to do better in future tasks of this kind. A principle is a short "
        "paragraph that says when to use the action, and what to check before and after. Keep what works. Do "
        "not repeat names, numbers or answers of single tasks. Use at most {words} words a principle and "
        "answer with the text alone."
    )
    merge: str = (
        "You are an intelligent agent. Below are several versions of your action principles, each rewritten "
        "after one task. Merge them into one that does well in all tasks of this kind. Keep what they agree "
        "on and what is general. Use at most {words} words a principle and answer with the text alone."
    )

    def __post_init__(self) -> None:
        for field in fields(self):
            allowed = _PLACEHOLDERS.get(field.name, frozenset())
            found = frozenset(_SLOT.findall(getattr(self, field.name)))
            if found != allowed:
                raise InputError(
                    f"wording.{field.name} has placeholders {sorted(found)}, but it needs exactly "
                    f"{sorted(allowed)}: correct the text"
                )


_PLACEHOLDERS: Mapping[str, frozenset[str]] = {
    "act": frozenset({"format"}),
    "react": frozenset({"format"}),
    "plan_act": frozenset({"format"}),
    "reflect": frozenset({"words"}),
    "reward": frozenset({"score", "progress", "verdict"}),
    "rewrite": frozenset({"words"}),
    "merge": frozenset({"words"}),
}


def fill(template: str, **values: str) -> str:
    """The template with `{name}` replaced; braces in values stay as they are."""
    return _SLOT.sub(lambda slot: values.get(slot.group(1), slot.group(0)), template)


def act_system(
    wording: Wording,
    *,
    style: str,
    actions: Sequence[ActionSpec],
    principles: Principles | None,
    example: str,
    format_line: str,
) -> Message:
    """The agent's system turn: everything that stays the same for a whole episode, and for all under the principles."""
    instruction = fill(getattr(wording, style), format=f" {format_line}" if format_line else "")
    text = "" if principles is None else principles_text(principles)
    if text:
        instruction += wording.under_principles
    parts = [instruction, section("Actions Description", actions_text(actions))]
    if text:
        parts.append(section("Action Principles", text))
    if principles is not None and principles.notes:
        parts.append(section("Notes", "\n".join(f"- {note}" for note in principles.notes)))
    if example:
        parts.append(section("Example", example))
    return Message(role="system", content="\n\n".join(parts))


def act_user(execution: str, cue: str) -> Message:
    """The agent's user turn, which only grows from step to step."""
    return Message(role="user", content=section("Execution", execution) + (f"\n{cue}" if cue else ""))


def example_turns(example: str, cue: str) -> list[Message]:
    """A worked execution as turns of a chat, in the form of the real one that follows.

    Lines that begin with `Task:` or `Observation:` are the user's, those with `Thought:` or `Action:` the assistant's,
    others go on with the turn they stand in. Raises InputError unless it begins with a task and ends with a call.
    """
    turns: list[tuple[str, list[str]]] = []
    for line in example.strip().splitlines():
        role = _SPEAKERS.get(line.partition(":")[0], turns[-1][0] if turns else "")
        if not turns or role != turns[-1][0]:
            turns.append((role, []))
        turns[-1][1].append(f"# Execution\n{line}" if line.startswith("Task:") else line)
    if not turns or turns[0][0] != "user" or turns[-1][0] != "assistant":
        raise InputError(
            f"agent.example={example[:40]!r}: with agent.example_turns it begins with a line `Task: ...` and ends with "
            "`Action: ...`; write one out, or set agent.example_turns=false"
        )
    asks = f"\n{cue}" if cue else ""
    return [Message(role=role, content="\n".join(lines) + asks * (role == "user")) for role, lines in turns]


_SPEAKERS = {"Task": "user", "Observation": "user", "Thought": "assistant", "Action": "assistant"}


def reflect_prompt(
    wording: Wording,
    *,
    actions: Sequence[ActionSpec],
    principles: Principles,
    execution: str,
    failures: str,
    reward: str,
    words: int,
) -> list[Message]:
    """The reflector's prompt. An empty `reward` is Self-RPO: nothing about the outcome is in it."""
    parts = [
        fill(wording.reflect, words=str(words)),
        section("Actions Description", actions_text(actions)),
        section("Actions Principle", principles_text(principles) or "(none yet)"),
    ]
    user = [section("Execution", execution)]
    if failures:
        user.append(section("Failed Calls", failures))
    if reward:
        user.append(section("Reward", reward))
    user.append("Reflection:")
    return [
        Message(role="system", content="\n\n".join(parts)),
        Message(role="user", content="\n\n".join(user)),
    ]


def rewrite_prompt(
    instruction: str,
    *,
    actions: Sequence[ActionSpec],
    principles: Principles,
    evidence: str,
    evidence_title: str,
    targets: Sequence[str],
    words: int,
) -> list[Message]:
    """The optimizer's prompt for one action (`New Principle for search:`) or for several at once."""
    parts = [
        fill(instruction, words=str(words)),
        section("Actions Description", actions_text(actions)),
        section("Current Actions Principle", principles_text(principles) or "(none yet)"),
        section(evidence_title, evidence),
    ]
    if len(targets) == 1:
        cue = f"New Principle for {targets[0]}:"
    else:
        names = ", ".join(targets)
        cue = f"Write one line for each of {names}, in the form `name: principle`.\nNew Principles:"
    return [Message(role="system", content="\n\n".join(parts)), Message(role="user", content=cue)]


def section(title: str, text: str) -> str:
    """A headed section of a prompt."""
    return f"# {title}\n{text}"


def actions_text(actions: Sequence[ActionSpec]) -> str:
    """Each action with its call form, its description and its parameters."""
    return "\n".join(_action_text(spec) for spec in actions)


def _action_text(spec: ActionSpec) -> str:
    lines = [f"- {call_form(spec)}: {spec.description}"]
    required = set(spec.parameters.get("required", ()))
    for name, schema in spec.parameters.get("properties", {}).items():
        notes = [str(schema.get("type", "any")), "required" if name in required else "optional"]
        if "enum" in schema:
            notes.append(
                "one of " + ", ".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
            )
        description = f": {schema['description']}" if schema.get("description") else ""
        lines.append(f"    {name} ({', '.join(notes)}){description}")
    return "\n".join(lines)


def call_form(spec: ActionSpec) -> str:
    """How a call of the action is written, with dots for the arguments: `search[{"query": "..."}]`."""
    blanks = dict.fromkeys(spec.parameters.get("properties", {}), "...")
    return f"{spec.name}[{json.dumps(blanks, ensure_ascii=False)}]"


def call_text(action: Action) -> str:
    """A call as the agent writes it: `search[{"query": "red shoes"}]`."""
    pairs = [  # each turn writes all calls before it again, so the encoder is not set up for every text
        f"{_QUOTE(name)}: {_QUOTE(value) if type(value) is str else _ENCODE(value)}"
        for name, value in action.arguments.items()
    ]
    return f"{action.name}[{{{', '.join(pairs)}}}]"


def principles_text(principles: Principles) -> str:
    """One line per action that has a principle."""
    return "\n".join(f"- {name}: {text}" for name, text in principles.texts.items() if text)


def execution_text(
    instruction: str,
    first_observation: str,
    steps: Sequence[Step],
    *,
    dropped: int = 0,
    thoughts: bool = False,
) -> str:
    """The execution so far, with the oldest observations left out as told.

    dropped: how many, the first observation being number one. thoughts: show what stood before the call.
    """
    lines = [f"Task: {instruction}"]
    if first_observation and first_observation != instruction:
        lines.append(f"Observation: {DROPPED if dropped > 0 else first_observation}")
    for step in steps:
        lines.extend(turn_lines(step, thoughts=thoughts))
        lines.append(_observation_line(step, dropped))
    return "\n".join(lines)


def chat_turns(steps: Sequence[Step], cue: str, *, dropped: int, thoughts: bool) -> list[Message]:
    """The steps as turns of a chat: the agent's words are the assistant's, observations the user's."""
    messages = []
    for step in steps:
        messages.append(Message(role="assistant", content="\n".join(turn_lines(step, thoughts=thoughts))))
        seen = _observation_line(step, dropped)
        messages.append(Message(role="user", content=f"{seen}\n{cue}" if cue else seen))
    return messages


def _observation_line(step: Step, dropped: int) -> str:
    return f"Observation: {DROPPED if step.index + 1 < dropped else step.observation}"


def turn_lines(step: Step, *, thoughts: bool) -> list[str]:
    """The agent's own words of one step."""
    if step.action is None:
        said = " ".join(step.reply.text.split())[:200] or NO_REPLY
        return [f"Action: {said}"]
    lines = [f"Thought: {step.thought}"] if thoughts and step.thought else []
    return [*lines, f"Action: {call_text(step.action)}"]

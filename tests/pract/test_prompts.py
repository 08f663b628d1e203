"""The prompts of the three roles against golden files; no model."""

import json
from pathlib import Path

import pytest

from pract.agent import Agent, AgentConfig
from pract.diagnosis import Finding, Pattern, findings_text
from pract.errors import InputError
from pract.prompts import Wording, call_text, fill, reflect_prompt, rewrite_prompt
from pract.types import Action, Message, Principles, Reply, Step, Task
from tests.pract.fakes import LOOK, OPEN, TAKE, ScriptedChat

GOLDEN = Path(__file__).parent / "golden"
ACTIONS = (LOOK, TAKE, OPEN)
PRINCIPLES = Principles(
    texts={"look": "", "take": "Take the matching key.", "open": "Open when you hold the key."}
)
TASK = Task(id="door/red", instruction="Open the red door.")
STEPS = (
    Step(
        index=0,
        reply=Reply(text="open[red]"),
        action=Action(name="open", arguments={"door": "red"}),
        observation="The lock holds.",
    ),
    Step(
        index=1,
        reply=Reply(text="hm"),
        action=None,
        problem="invalid_format",
        observation="No action was found.",
    ),
)


def text_of(messages: list[Message]) -> str:
    return "\n".join(f"<{message.role}>\n{message.content}" for message in messages) + "\n"


def agent(**config: object) -> Agent:
    return Agent(ScriptedChat(lambda *_: ""), AgentConfig(**config), ACTIONS, PRINCIPLES)  # type: ignore[arg-type]


def prompt_of(role: str) -> list[Message]:
    if role == "agent":
        return agent(style="react").prompt(TASK, "You stand in a hall.", STEPS)
    if role == "agent_inline":
        return agent(style="react", thoughts="inline").prompt(TASK, "You stand in a hall.", STEPS, dropped=1)
    if role == "agent_chat":
        return agent(style="act", turns="chat").prompt(TASK, "You stand in a hall.", STEPS)
    if role == "reflector":
        finding = Finding(
            action="open", pattern=Pattern.REPEATED, count=2, example="open[...] -> The lock holds."
        )
        return reflect_prompt(
            Wording(),
            actions=ACTIONS,
            principles=PRINCIPLES,
            execution="Task: Open the red door.\nAction: open",
            failures=findings_text([finding]),
            reward="The environment scored this execution 0.00 of 1.",
            words=120,
        )
    return rewrite_prompt(
        Wording().rewrite,
        actions=ACTIONS,
        principles=PRINCIPLES,
        evidence="1. Take the key before you open.",
        evidence_title="Reflections",
        targets=["open"] if role == "optimizer" else ["take", "open"],
        words=80,
    )


@pytest.mark.parametrize(
    "role", ["agent", "agent_inline", "agent_chat", "reflector", "optimizer", "optimizer_all"]
)
def test_the_prompt_of_a_role_is_the_golden_one(role: str) -> None:
    assert text_of(prompt_of(role)) == (GOLDEN / f"prompt_{role}.txt").read_text()


def test_each_prompt_of_an_episode_begins_with_the_one_before() -> None:
    before = text_of(agent(style="act").prompt(TASK, "You stand in a hall.", STEPS[:1]))
    after = text_of(agent(style="act").prompt(TASK, "You stand in a hall.", STEPS))
    assert after.startswith(before.removesuffix("\n"))


def test_without_principles_nothing_speaks_of_them() -> None:
    plain = Agent(ScriptedChat(lambda *_: ""), AgentConfig(style="react"), ACTIONS)
    assert "rinciple" not in text_of(plain.prompt(TASK, "", ()))


def test_sections_stand_in_the_papers_order() -> None:
    system, user = agent(style="act").prompt(TASK, "", STEPS)
    heads = [line for line in (system.content + "\n" + user.content).splitlines() if line.startswith("# ")]
    assert heads == ["# Actions Description", "# Action Principles", "# Example", "# Execution"]
    assert user.content.endswith("\nAction:")


def test_a_wording_with_a_wrong_placeholder_is_refused_when_set() -> None:
    with pytest.raises(InputError, match=r"wording.reflect has placeholders \['limit'\].*\['words'\]"):
        Wording(reflect="Reflect in {limit} words.")


def test_braces_in_values_stay_as_they_are() -> None:
    assert fill("{a} {b}", a='{"b": 1}', b="{a}") == '{"b": 1} {a}'
    assert call_text(Action(name="take", arguments={"key": 'ré"d'})) == 'take[{"key": "ré\\"d"}]'
    assert call_text(Action(name="look")) == "look[{}]"
    mixed = {"a\n": [1, {"b": None}], "c": 2.5, "d": True, "e": "\u2028\x00/"}
    assert call_text(Action(name="take", arguments=mixed)) == f"take[{json.dumps(mixed, ensure_ascii=False)}]"


def test_notes_are_shown_to_the_agent() -> None:
    noted = Principles(texts={}, notes=("Keys hang in the hall.",))
    shown = Agent(ScriptedChat(lambda *_: ""), AgentConfig(), ACTIONS, noted).prompt(TASK, "", ())
    assert "# Notes\n- Keys hang in the hall." in shown[0].content

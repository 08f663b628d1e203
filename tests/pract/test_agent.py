"""The agent's turns with a scripted chat; no model."""

import asyncio
import json
import re
from dataclasses import replace

import pytest

from pract import prompts
from pract.agent import Agent, AgentConfig, shown
from pract.errors import InputError
from pract.llm.base import ChatError, ChatErrorKind
from pract.llm.wire import tools_json
from pract.parsing import Call
from pract.types import Action, Observation, Principles, Reply, Step, Task, ToolCall
from tests.pract.fakes import LOOK, OPEN, TAKE, ScriptedChat

ACTIONS = (LOOK, TAKE, OPEN)
TASK = Task(id="door/red", instruction="Open the red door.")


def steps(count: int, words: int = 50) -> list[Step]:
    return [
        Step(
            index=i,
            reply=Reply(text="look[]"),
            action=Action(name="look"),
            observation=f"seen-{i} " + "word " * words,
        )
        for i in range(count)
    ]


def turn(agent: Agent, before: list[Step], hints: dict[str, object] | None = None) -> object:
    return asyncio.run(agent.take_turn(TASK, "A hall.", before, hints or {}, seed=0, tag="t"))


def test_old_observations_are_dropped_when_the_context_is_full_and_the_prompt_says_so() -> None:
    chat = ScriptedChat(lambda *_: "look[]", context_tokens=700)
    agent = Agent(chat, AgentConfig(style="act", max_tokens=50), ACTIONS)
    before = steps(12)
    dropped = turn(agent, before).dropped  # type: ignore[attr-defined]
    user = chat.asked[0][1][1].content
    assert 1 < dropped < 12
    assert user.count(prompts.DROPPED) == dropped
    assert "seen-11" in user
    assert "seen-0 " not in user
    assert sum(chat.count_tokens(message.content) for message in chat.asked[0][1]) <= 650 * 3 // 4


def test_what_was_dropped_stays_dropped_so_that_the_prefix_cache_holds() -> None:
    chat = ScriptedChat(lambda *_: "look[]", context_tokens=700)
    agent = Agent(chat, AgentConfig(style="act", max_tokens=50), ACTIONS)
    before = steps(12)
    first = turn(agent, before)
    after = [
        *before,
        Step(index=12, reply=Reply(text=""), action=None, observation="x", dropped=first.dropped),
    ]  # type: ignore[attr-defined]
    second = turn(agent, after)
    assert second.dropped == first.dropped  # type: ignore[attr-defined]
    old, new = (asked[1][1].content.removesuffix("Action:") for asked in chat.asked)
    assert new.startswith(old)


def test_a_prompt_that_never_fits_is_a_context_length_error() -> None:
    agent = Agent(ScriptedChat(lambda *_: "", context_tokens=120), AgentConfig(max_tokens=50), ACTIONS)
    with pytest.raises(ChatError) as error:
        turn(agent, steps(1, words=500))
    assert error.value.kind is ChatErrorKind.CONTEXT_LENGTH


def test_choice_mode_ranks_the_admissible_calls() -> None:
    chat = ScriptedChat(lambda *_: 'take[{"key": "red"}]')
    agent = Agent(chat, AgentConfig(style="act", calls="choice"), ACTIONS)
    hints = {"admissible": [{"name": "look", "arguments": {}}, {"name": "take", "arguments": {"key": "red"}}]}
    outcome = turn(agent, [], hints).outcome  # type: ignore[attr-defined]
    assert chat.options[0]["choices"] == ["look[{}]", 'take[{"key": "red"}]']
    assert outcome == Call(action=Action(name="take", arguments={"key": "red"}))
    with pytest.raises(InputError, match="admissible"):
        turn(agent, [])
    with pytest.raises(InputError, match="is not a list of"):
        turn(agent, [], {"admissible": ["go north"]})
    with pytest.raises(InputError, match="ranked"):
        AgentConfig(style="react", calls="choice")


def test_native_mode_shows_calls_as_calls_and_observations_as_tool_turns() -> None:
    chat = ScriptedChat(lambda *_: "look[]")
    agent = Agent(chat, AgentConfig(style="react", calls="native"), ACTIONS)
    unread = Step(index=1, reply=Reply(text="hm"), action=None, observation="No action was found.")
    turn(agent, [*steps(1, words=1), unread])
    messages = chat.asked[0][1]
    assert [m.role for m in messages] == ["system", "user", "assistant", "tool", "assistant", "user"]
    assert messages[2].tool_calls == (ToolCall(id="call_0", name="look", arguments="{}"),)
    assert messages[3].tool_call_id == "call_0"
    assert chat.options[0]["tools"] == [*ACTIONS, agent.inner["Think"]]
    assert chat.options[0]["stop"] == ()


def test_native_tools_take_room_in_the_context() -> None:
    chat = ScriptedChat(lambda *_: "look[]")
    agent = Agent(chat, AgentConfig(style="act", calls="native", max_tokens=50), ACTIONS)
    words = len(agent.prompt(TASK, "", [])[0].content.split()) + len(json.dumps(tools_json(ACTIONS)).split())
    assert agent.prefix_tokens == words + 16
    chat.context_tokens = words + 16 + 50
    with pytest.raises(ChatError, match="does not fit"):
        turn(agent, [])
    chat.context_tokens += 40
    assert turn(agent, []).dropped == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("config", "inner"),
    [
        ({"style": "act"}, []),
        ({"style": "react"}, ["Think"]),
        ({"style": "plan_act"}, ["Plan", "Think"]),
        ({"style": "plan_act", "thoughts": "inline"}, []),
        ({"style": "act", "finish": True}, ["Finish"]),
    ],
)
def test_the_inner_actions_follow_the_style(config: dict[str, object], inner: list[str]) -> None:
    assert list(Agent(ScriptedChat(lambda *_: ""), AgentConfig(**config), ACTIONS).inner) == inner  # type: ignore[arg-type]


def test_a_principle_for_no_action_is_refused() -> None:
    with pytest.raises(InputError, match="name the action 'fly', but the actions are look, take, open"):
        Agent(
            ScriptedChat(lambda *_: ""), AgentConfig(style="act"), ACTIONS, Principles(texts={"fly": "Up."})
        )


def test_bad_settings_are_refused() -> None:
    with pytest.raises(InputError, match="is none of act, react, plan_act"):
        AgentConfig(style="rect")
    with pytest.raises(InputError, match="max_steps=0 is below 1"):
        AgentConfig(max_steps=0)


def test_a_long_observation_is_cut_and_says_so() -> None:
    assert shown(Observation(text="x" * 30), 10) == "x" * 10 + " [20 more characters]"


@pytest.mark.parametrize(
    ("temperature", "repeated", "asked"), [(0.0, False, 0.0), (0.0, True, 0.7), (1.0, True, 1.0)]
)
def test_the_turn_after_a_repeated_call_is_warmer(temperature: float, repeated: bool, asked: float) -> None:
    chat = ScriptedChat(lambda *_: "look[]")
    agent = Agent(chat, AgentConfig(style="act", temperature=temperature), ACTIONS)
    last = Step(index=0, reply=Reply(text=""), action=Action(name="look"), observation="", repeated=repeated)
    turn(agent, [last])
    assert chat.options[0]["temperature"] == asked


def test_a_chat_only_grows_at_its_end() -> None:
    agent = Agent(ScriptedChat(lambda *_: ""), AgentConfig(style="act", turns="chat"), ACTIONS)
    before = agent.prompt(TASK, "A hall.", steps(3))
    after = agent.prompt(TASK, "A hall.", steps(4))
    assert after[: len(before)] == before
    assert [message.role for message in after] == ["system", "user"] + ["assistant", "user"] * 4


def test_an_unknown_way_of_taking_turns_is_refused() -> None:
    with pytest.raises(InputError, match=r"agent\.turns='none' is none of one, chat"):
        AgentConfig(turns="none")


CUE = "Write `Thought:` with what the last observation shows and what is needed next, then `Action:` with one call."
EXAMPLE = """Task: Find the key.
Action: look[{}]
Observation: A door
and a key.
Action: take[{"item": "key"}]"""


def test_a_worked_execution_is_shown_as_turns_before_the_real_ones() -> None:
    agent = Agent(
        ScriptedChat(["look[{}]"]),
        AgentConfig(style="act", turns="chat", example=EXAMPLE, example_turns=True),
        [LOOK, OPEN],
    )
    system, *told = agent.prompt(Task(id="t", instruction="Leave."), "A room.", [])
    assert "# Example" not in system.content
    assert [(message.role, message.content) for message in told] == [
        ("user", "# Execution\nTask: Find the key."),
        ("assistant", "Action: look[{}]"),
        ("user", "Observation: A door\nand a key."),
        ("assistant", 'Action: take[{"item": "key"}]'),
        ("user", "# Execution\nTask: Leave.\nObservation: A room."),
    ]


def test_the_example_asks_as_the_real_turns_do() -> None:
    config = AgentConfig(
        style="react", turns="chat", thoughts="inline", example="Task: a\nThought: b\nAction: look[{}]",
        example_turns=True,
    )  # fmt: skip
    agent = Agent(ScriptedChat(["look[{}]"]), config, [LOOK, OPEN])
    _, asked, said, real = agent.prompt(Task(id="t", instruction="Leave."), "A room.", [])
    assert asked.content == f"# Execution\nTask: a\n{CUE}"
    assert said.content == "Thought: b\nAction: look[{}]"
    assert real.content.endswith(CUE)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"turns": "one", "example": EXAMPLE}, "agent.turns=one"),
        ({"turns": "chat", "calls": "native", "example": EXAMPLE}, "agent.calls=native"),
        ({"turns": "chat", "example": ""}, "agent.example=''"),
        ({"turns": "chat", "example": "Action: look[{}]"}, "begins with a line `Task: ...`"),
        ({"turns": "chat", "example": "Task: a\nAction: look[{}]\nObservation: b"}, "ends with"),
    ],
)
def test_an_example_that_makes_no_turns_is_refused(settings: dict[str, str], told: str) -> None:
    with pytest.raises(InputError, match=re.escape(told)):
        AgentConfig(style="act", example_turns=True, **settings)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("turn-left", "'turn-left' cannot be called in a text"),
        ("2x", "'2x' cannot be called in a text"),
        ("a" * 65, "cannot be called in a text"),
        ("LOOK", "'look' and 'LOOK' differ in their case alone"),
    ],
)
def test_an_action_that_no_reply_could_name_is_refused(name: str, told: str) -> None:
    actions = (LOOK, replace(TAKE, name=name))
    for calls in ("text", "choice"):
        with pytest.raises(InputError, match=told):
            Agent(ScriptedChat(lambda *_: ""), AgentConfig(style="act", calls=calls), actions)
    if name == "turn-left":
        assert Agent(ScriptedChat(lambda *_: ""), AgentConfig(style="act", calls="native"), actions).actions

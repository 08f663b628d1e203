"""Replies of all kinds, read without a model."""

import json
import random
import time

import pytest

from pract.parsing import Call, ParseError, by_name, parse_reply, parse_text
from pract.types import Action, ActionSpec, Reply, ToolCall
from tests.pract.fakes import LOOK, OPEN, TAKE

ACTIONS = by_name((LOOK, TAKE, OPEN))


@pytest.mark.parametrize(
    "text",
    [
        'take[{"key": "red"}]',
        'Action: take[{"key": "red"}]',
        'Action: Action: take[{"key": "red"}]',
        '  **Action:** take[{"key": "red"}]',
        '`take[{"key": "red"}]`',
        '```\ntake[{"key": "red"}]\n```',
        'Take[{"key": "red"}]',
        'take({"key": "red"})',
        'take{"key": "red"}',
        'take [ {"key": "red"} ]',
        "take[{'key': 'red'}]",
        "take[red]",
        'take["red"]',
        'take(key="red")',
        'take[key="red"]',
        "take[key='red'] and open[door='red']",
        'take[{"key": "red"',
        'take[{"key": "red',
        'take[{"key":\n  "red"}]',
        'take[{"key": "red"}] and then open[{"door": "red"}]',
        'take[{"key": "red"}]\nObservation: made up',
        '{"name": "take", "arguments": {"key": "red"}}',
        '{"action": "take", "action_input": {"key": "red"}}',
        '<tool_call>\n{"name": "take", "parameters": {"key": "red"}}\n</tool_call>',
        '{"action": "take", "action_input": "red"}',
        '{"action": "take", "key": "red"}',
        '{"thought": "now", "name": "take", "key": "red"}',
        '{"action": "take", "arguments": "{\\"key\\": \\"red\\"}"}',
        'Action: take\nAction Input: {"key": "red"}',
        "Action: take\nAction Input: red\nObservation: made up",
        '**Action:** `take`\n\n**Action Input:**\n{"key": "red"}',
        'Action: take\nAction Input:\n```json\n{"key": "red"}\n```',
        "Action: `take`\nAction Input: `red`",
        'Action: take\n```json\n{"key": "red"}\n```',
        'Action: take\nAction Input: {"key": "red"}\nObservation: x\nAction: open[{"door": "red"}]',
        '**Action**: take[{"key": "red"}]',
        'Action: **take**[{"key": "red"}]',
        "Action 2: `take`[red]",
        "take[red] open[red]",
        "take[red] (see paragraph [2])",
        "take(red) and (then) open(red)",
        'take["red"] (see "paragraph [2]")',
        'take(key="red") and open(door="red")',
        "take[{'key': 'red'}]\nopen[{'door': 'red'}]",
        'take[{"key": "red"} and then open[{"door": "red"}]',
    ],
)
def test_a_call_is_read_in_every_common_form(text: str) -> None:
    assert parse_text(text, ACTIONS) == Call(action=Action(name="take", arguments={"key": "red"}))


@pytest.mark.parametrize(
    "text",
    [
        "Thought: two options:\n- open[green] now\n- take[blue] first\nAction: take[red]",
        "I have to\nopen (again) with care.\nAction 2: take[red]",
        "So I will\ntake[blue]\n**Action:** take\nAction Input: red",
        "Perhaps\nAction: fly[moon]\nopen[green]\nAction: take[red]",
        "\ntake[red]\nAction: open[green]",
        "So then\ntake[red]\nObservation: made up\nAction: open[green]",
        "So then\nObservation: made up\ntake[red]\nopen[green]",
    ],
)
def test_a_call_that_is_marked_comes_before_one_that_prose_mentions(text: str) -> None:
    call = parse_text(text, ACTIONS)
    assert isinstance(call, Call)
    assert call.action == Action(name="take", arguments={"key": "red"})


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('take[{"key": "23.6"w x 15.7"d x 29.3"h"}]', '23.6"w x 15.7"d x 29.3"h'),
        ('take[{"key": "9" nail"}] and more', '9" nail'),
        ('take[{"key": "9" nail"}] open[{"door": "x"}]', '9" nail'),
        ('take[9" nail]', '9" nail'),
        ('take[{"key": "nail, 9""}]', 'nail, 9"'),
    ],
)
def test_inches_need_no_escaping_in_the_only_text_argument(text: str, key: str) -> None:
    assert parse_text(text, ACTIONS) == Call(action=Action(name="take", arguments={"key": key}))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("take[a [b] c]", "a [b] c"),
        ("take[a (b] c", "a (b"),
        ("take[see [2]", "see [2"),
        ('take["a ] b"]', "a ] b"),
        ("take[{'key': 'a } b'}]", "a } b"),
        ('take(key="a) b")', "a) b"),
    ],
)
def test_a_bracket_within_a_text_does_not_end_it(text: str, key: str) -> None:
    assert parse_text(text, ACTIONS) == Call(action=Action(name="take", arguments={"key": key}))


CREATE = ActionSpec(
    name="create",
    description="",
    parameters={"type": "object", "properties": {"name": {"type": "string"}, "input": {"type": "string"}}},
)


@pytest.mark.parametrize(
    "text",
    [
        '{"action": "create", "name": "x", "input": "y", "id": 3}',
        'create\n{"name": "x", "input": "y"}',
        'Action: create\nInput: {"name": "x", "input": "y"}',
        '{"function": "create", "arguments": {"name": "x", "input": "y"}}',
    ],
)
def test_an_argument_may_be_called_like_a_part_of_a_call(text: str) -> None:
    outcome = parse_text(text, by_name([CREATE]))
    assert outcome == Call(action=Action(name="create", arguments={"name": "x", "input": "y"}))


@pytest.mark.parametrize(
    "text",
    [
        'Action: take[{"key": "the old re',
        "take[the old re",
        'take(key="the old re',
        'Action: take\nAction Input: {"key": "the old re',
        "Action: take\nAction Input: the old re",
    ],
)
def test_half_an_argument_of_a_reply_that_was_cut_off_is_not_used(text: str) -> None:
    error = ParseError(
        kind="invalid_format",
        message="The reply was cut off before the call of take was complete. "
        'Be brief: write take[{"key": "..."}] in JSON.',
    )
    assert parse_reply(Reply(text=text, finish_reason="length"), ACTIONS) == error
    assert isinstance(parse_reply(Reply(text=text), ACTIONS), Call)
    call = ToolCall(id="1", name="take", arguments='{"key": "the old re')
    assert parse_reply(Reply(text="", tool_calls=(call,), finish_reason="length"), ACTIONS) == error


@pytest.mark.parametrize(
    "text", ['take[{"key": "red"}', "take[red]\nand mo", "take\nAction Input: red\nand mo"]
)
def test_a_whole_call_of_a_reply_that_was_cut_off_is_made(text: str) -> None:
    call = Call(action=Action(name="take", arguments={"key": "red"}))
    assert parse_reply(Reply(text=text, finish_reason="length"), ACTIONS) == call


def test_a_name_at_the_end_of_a_reply_that_was_cut_off_is_a_call_if_no_argument_can_follow() -> None:
    assert parse_text("look", ACTIONS, cut=True) == Call(action=Action(name="look"))
    assert parse_text("create", by_name([CREATE])) == Call(action=Action(name="create"))
    assert isinstance(parse_text("create", by_name([CREATE]), cut=True), ParseError)


def test_inner_quotes_are_not_guessed_at_where_there_are_two_arguments() -> None:
    two = {"type": "object", "properties": {"key": {"type": "string"}, "door": {"type": "string"}}}
    spec = ActionSpec(name="fit", description="Try a key.", parameters=two)
    found = parse_text('fit[{"key": "9" nail", "door": "red"}]', by_name([spec]))
    assert isinstance(found, ParseError)
    assert found.kind == "invalid_format"


@pytest.mark.parametrize("text", ["look[]", "look[{}]", "look()", "look", "Action: look", "`look`", "Look."])
def test_an_action_without_arguments_needs_none(text: str) -> None:
    assert parse_text(text, ACTIONS) == Call(action=Action(name="look"))


def test_the_words_before_a_call_are_its_thought() -> None:
    call = parse_text('Thought: the door is red.\nSo the red key.\nAction: take[{"key": "red"}]', ACTIONS)
    assert isinstance(call, Call)
    assert call.thought == "the door is red. So the red key."
    assert call.action.arguments == {"key": "red"}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "no_action"),
        ("   \n ", "no_action"),
        ("I would rather not.", "invalid_format"),
        ('fly[{"to": "moon"}]', "unknown_action"),
        ('Action: fly[{"to": "moon"}]', "unknown_action"),
        ("take[]", None),
        ("take", "invalid_format"),
        ("open[{]", "invalid_format"),
        ('take[{"key": NaN}]', "invalid_format"),
        ('take[{"key": 1e999}]', "invalid_format"),
        ('take[{"key": "' + "x" * 5000 + '"}]', "too_long"),
        ('take[{"key": ' + "[" * 31 + "]" * 31 + "}]", None),
        ('take[{"key": ' + "[" * 32 + "]" * 32 + "}]", "too_long"),
        ('take[{"key": ' + "[" * 600 + "]" * 600 + "}]", "too_long"),
        ("take[" + "{" * 15_000, "invalid_format"),
        ("take[" + '{"a":' * 3_000, "invalid_format"),
    ],
)
def test_what_cannot_be_read_is_a_value_with_a_kind(text: str, kind: str | None) -> None:
    outcome = parse_text(text, ACTIONS)
    assert (outcome.kind if isinstance(outcome, ParseError) else None) == kind


def test_the_message_names_the_actions_there_are() -> None:
    outcome = parse_text("fly[{}]", ACTIONS)
    assert isinstance(outcome, ParseError)
    assert outcome.message == "There is no action 'fly'. The actions are: look, take, open."


def test_a_native_tool_call_comes_before_text() -> None:
    reply = Reply(text="I take it.", tool_calls=(ToolCall(id="1", name="take", arguments='{"key": "red"}'),))
    assert parse_reply(reply, ACTIONS) == Call(
        action=Action(name="take", arguments={"key": "red"}), thought="I take it."
    )
    broken = Reply(text="", tool_calls=(ToolCall(id="1", name="open", arguments="[1]"),))
    assert parse_reply(broken, ACTIONS) == Call(action=Action(name="open", arguments={"door": "1"}))


def test_a_lone_surrogate_becomes_something_that_can_be_written() -> None:
    outcome = parse_text('take[{"key": "\\ud800"}]', ACTIONS)
    assert isinstance(outcome, Call)
    json.dumps(dict(outcome.action.arguments), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "text",
    [
        "Action: " * 2_000,
        "Action 1 : ` * " * 1_000,
        "Action" + " " * 10_000 + "1" * 9_000,
        "-" * 20_000,
        "take" + " " * 19_000,
        "Thought: " * 2_000,
        'take[{"key": "' + '" ' * 9_000,
        '{"name":' * 2_000,
        "take\n{'x': x}\n" * 1_400,
        "take[{'x': " + "}" * 15_000,
        "take(key=" + ")" * 15_000 + "x",
    ],
)
def test_a_degenerate_reply_is_read_in_no_time(text: str) -> None:
    started = time.process_time()
    parse_text(text, ACTIONS)
    assert time.process_time() - started < 1.0


PIECES = (
    *(
        "take",
        "open",
        "look",
        "fly",
        "Action:",
        "Thought:",
        "Observation:",
        "New Principle",
        "\n",
        " ",
        "```",
    ),
    *(
        "[",
        "]",
        "{",
        "}",
        "(",
        ")",
        '"',
        "'",
        ":",
        ",",
        "=",
        "\\",
        "\\u",
        "\\ud83d",
        "é",
        "漢",
        "\u2028",
        "\x00",
        "\ud800",
    ),
    *(
        '"key"',
        "key=",
        "1e999",
        "NaN",
        "null",
        "true",
        "-",
        "9" * 50,
        '{"name":',
        '"arguments":',
        "<tool_call>",
        "#",
    ),
)


def test_ten_thousand_fuzzed_replies_raise_nothing() -> None:
    draw = random.Random(7)
    wide = ActionSpec(
        name="fly",
        description="",
        parameters={"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}},
    )
    kinds = set()
    for _ in range(10_000):
        text = "".join(draw.choice(PIECES) for _ in range(draw.randint(0, 25)))
        reply = Reply(text=text)
        if draw.random() < 0.2:
            reply = Reply(text="", tool_calls=(ToolCall(id="", name=draw.choice(PIECES), arguments=text),))
        outcome = parse_reply(reply, by_name([*ACTIONS.values(), wide]))
        if isinstance(outcome, Call):
            json.dumps(dict(outcome.action.arguments), allow_nan=False).encode()
            kinds.add(outcome.action.name)
        else:
            outcome.message.encode()
            kinds.add(outcome.kind)
    assert kinds >= {"take", "open", "look", "fly", "invalid_format", "unknown_action", "no_action"}

"""Reading what servers send, as pure functions. No server."""

import json
import math
import random
from typing import Any

import pytest

from pract.llm import wire
from pract.llm.base import ChatError, ChatErrorKind, estimate_tokens
from pract.types import ActionSpec, Message, Reply, ToolCall

ASK = (Message(role="user", content="Find a mug."),)


def read(data: dict[str, Any]) -> Reply:
    return wire.read_reply(data, prompt=ASK, prices=wire.Prices(completion=1.0), model="m", seconds=1.5)


def test_without_usage_tokens_are_estimated() -> None:
    reply = read({"choices": [{"message": {"content": "search blue mug"}}]})
    assert (reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens) == (8, 4, None)
    assert reply.usd == 4e-6


def test_without_usage_calls_and_tools_are_estimated_as_well() -> None:
    call = ToolCall(id="call_0", name="search", arguments='{"q": "mug"}')
    turn = Message(role="assistant", content="", tool_calls=(call,))
    tool = ActionSpec(name="search", description="Search the shop.")
    assert wire.prompt_tokens_of([turn], ()) == 20
    assert wire.prompt_tokens_of([turn], [tool]) == 20 + estimate_tokens(json.dumps(wire.tools_json([tool])))


@pytest.mark.parametrize(
    "usage", [None, [], "x", {"prompt_tokens": -5, "completion_tokens": True}, {"prompt_tokens": 1e9}]
)
def test_nonsense_about_usage_is_not_believed(usage: Any) -> None:
    reply = read({"choices": [{"message": {"content": "search blue mug"}}], "usage": usage})
    assert (reply.prompt_tokens, reply.completion_tokens) == (8, 4)


def test_more_cached_than_read_is_cut_down() -> None:
    details = {"cached_tokens": 99}
    usage = {"prompt_tokens": 20, "completion_tokens": 1, "prompt_tokens_details": details}
    assert read({"choices": [{"message": {"content": "x"}}], "usage": usage}).cached_tokens == 20


@pytest.mark.parametrize(
    ("details", "cached"),
    [
        (None, None),
        ({}, None),
        ({"cached_tokens": None}, None),
        ({"cached_tokens": -1}, None),
        ({"cached_tokens": 0}, 0),
    ],
)
def test_silence_about_cached_tokens_is_not_zero(details: Any, cached: int | None) -> None:
    usage = {"prompt_tokens": 20, "completion_tokens": 1, "prompt_tokens_details": details}
    data = {"choices": [{"message": {"content": "x"}}], "usage": usage}
    assert read(data).cached_tokens == cached
    assert wire.cost_of([data], wire.Prices(prompt=1.0)) == Reply(
        text="", prompt_tokens=20, completion_tokens=1, cached_tokens=cached, usd=20e-6
    )


def test_content_in_parts_is_joined_without_those_that_are_no_text() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "fly[]"}]}
    parts: list[Any] = [thought, {"type": "text", "text": "look"}, {"text": "[]"}, "!"]
    assert read({"choices": [{"message": {"content": parts}}]}).text == "look[]!"
    assert read({"choices": [{"message": {"content": []}}]}).text == ""


@pytest.mark.parametrize("content", [42, {"text": "look[]"}, [{"text": 42}], [None], [{}]])
def test_content_that_is_no_text_is_refused(content: Any) -> None:
    with pytest.raises(ChatError, match="content is not text"):
        read({"choices": [{"message": {"content": content}}]})


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("<think>\nAction: fly[]\n</think>\n\nAction: look[]", "Action: look[]"),
        ("\n<think></think>\n\nlook[] </think>", "look[] </think>"),
        ("Shall I fly[]?\n</think>\nlook[]", "look[]"),
        ("<think>I might fly[]", ""),
        ("I look. <think> fly[] </think>", "I look. <think> fly[] </think>"),
        ("look[]\n", "look[]\n"),
    ],
)
def test_reasoning_before_the_answer_is_no_part_of_it(written: str, text: str) -> None:
    reply = read({"choices": [{"message": {"content": written}}]})
    assert reply.text == text
    assert reply.completion_tokens == estimate_tokens(written)


def test_a_reply_without_text_is_empty_not_an_error() -> None:
    reply = read({"choices": [{"message": {"content": None}, "finish_reason": "length"}]})
    assert (reply.text, reply.finish_reason) == ("", "length")


def test_tool_arguments_sent_as_an_object_become_text() -> None:
    call = {"function": {"name": "search", "arguments": {"q": "mug"}}}
    reply = read({"choices": [{"message": {"content": None, "tool_calls": [call]}}]})
    assert reply.tool_calls == (ToolCall(id="call_0", name="search", arguments='{"q": "mug"}'),)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, "{}", ChatErrorKind.AUTH),
        (402, '{"error": "no money"}', ChatErrorKind.AUTH),
        (403, '{"error": {"message": "Your country is not supported"}}', ChatErrorKind.AUTH),
        (
            403,
            '{"error": {"message": "requires moderation and your input was flagged"}}',
            ChatErrorKind.MODERATED,
        ),
        (400, '{"error": {"code": "content_filter", "message": "the prompt"}}', ChatErrorKind.MODERATED),
        (429, '{"error": {"code": "insufficient_quota"}}', ChatErrorKind.AUTH),
        (429, "", ChatErrorKind.RATE_LIMITED),
        (
            429,
            '[{"error": {"message": "You exceeded your current quota. Quota exceeded. Please retry in 20s."}}]',
            ChatErrorKind.RATE_LIMITED,
        ),
        (429, '{"error": {"message": "You exceeded your current quota, check billing"}}', ChatErrorKind.AUTH),
        (
            400,
            '{"error": {"message": "request (9 tokens) exceeds the available context size"}}',
            "context_length",
        ),
        (413, "", ChatErrorKind.CONTEXT_LENGTH),
        (
            404,
            '{"error": {"message": "model \\"x\\" not found, try pulling it"}}',
            ChatErrorKind.MODEL_NOT_FOUND,
        ),
        (400, '{"detail": "Invalid model name"}', ChatErrorKind.BAD_RESPONSE),
        (422, "[" * 100_000, ChatErrorKind.BAD_RESPONSE),
        (503, "<html>", ChatErrorKind.SERVER),
        (504, "", ChatErrorKind.TIMEOUT),
        (301, "", ChatErrorKind.BAD_RESPONSE),
    ],
)
def test_a_status_has_a_kind(status: int, body: str, kind: ChatErrorKind | str) -> None:
    assert wire.classify(status, body.encode(), tools_offered=False)[0] == ChatErrorKind(kind)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "registry.ollama.ai/m does not support tools"),
        (400, '"auto" tool choice requires --enable-auto-tool-choice'),
        (500, "tools param requires --jinja flag"),
    ],
)
def test_no_tools_is_told_from_other_refusals_only_where_tools_were_offered(status: int, said: str) -> None:
    assert wire.classify(status, said.encode(), tools_offered=True)[0] is ChatErrorKind.NO_TOOLS
    assert wire.classify(status, said.encode(), tools_offered=False)[0] is not ChatErrorKind.NO_TOOLS


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (500, "error parsing tool call: raw='{\"a\": '", ChatErrorKind.SERVER),
        (
            400,
            "tool call validation failed: attempted to call tool 'x' which was not in request.tools",
            ChatErrorKind.BAD_RESPONSE,
        ),
        (400, "parameters for tool x did not match schema", ChatErrorKind.BAD_RESPONSE),
    ],
)
def test_what_a_model_called_wrongly_does_not_say_that_there_are_no_tools(
    status: int, said: str, kind: ChatErrorKind
) -> None:
    assert wire.classify(status, said.encode(), tools_offered=True)[0] is kind


def test_fuzzed_bodies_end_in_a_reply_or_a_chat_error() -> None:
    draw = random.Random(0)
    good = b'{"choices": [{"message": {"content": "a\\u00e9", "tool_calls": [{"function": {"name": "f"}}]}}]}'
    replies, errors = 0, list[ChatError]()
    for _ in range(10_000):
        body = bytearray(good)
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(body))
            body[at : at + draw.randint(0, 6)] = bytes(
                draw.choices(b'{}[]":,0nulltrue\xff\\ud8', k=draw.randint(0, 4))
            )
        try:
            read(wire.decode_json(bytes(body))).text.encode()
            replies += 1
        except ChatError as error:
            errors.append(error)
    assert replies > 100
    assert len(errors) > 100
    assert {error.kind for error in errors} == {ChatErrorKind.BAD_RESPONSE}
    assert all(str(error).isprintable() for error in errors)


def test_what_strict_readers_of_json_refuse_is_read() -> None:
    assert wire.decode_json(b'{"count": 99999999999999999999}') == {"count": 99999999999999999999}
    assert wire.decode_json(b'{"text": "\\ud800"}') == {"text": "\ud800"}
    assert math.isnan(wire.decode_json(b'{"score": NaN}')["score"])


def test_the_text_ends_before_the_first_stop() -> None:
    assert wire.cut_at_stop("act\nObservation: x\nTask:", ["Task:", "\nObservation:", ""]) == "act"


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("search", 2), ("19.99", 5), ("a b", 2), ("杯子", 3), ('[{"q": "x"}]', 8)]
)
def test_the_estimate_of_tokens(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ('{"error": {"message": "Please retry in 37.5s."}}', 37.5),
        ("Rate limit reached. Please try again in 120ms", 0.12),
        ("try again in 2 min", 120.0),
        ("try again in 2 minutes", 120.0),
        ("try again in 20sec", 20.0),
        ("Please try again in 1m26.4s.", 86.4),
        ("again in 12h30m", 45_000.0),
        ("try again in 3 attempts", None),
        ("try again in 3", None),
        ("try again later", None),
        ("", None),
    ],
)
def test_an_error_may_tell_its_pause_in_words(body: str, seconds: float | None) -> None:
    assert wire.told_wait(body.encode()) == seconds


def test_reasoning_that_is_counted_in_the_total_alone_is_paid_for() -> None:
    message = {"content": "yes", "reasoning_content": "x" * 400}

    def read(usage: object) -> Reply:
        data = {"choices": [{"message": message}], "usage": usage}
        return wire.read_reply(data, prompt=[], prices=wire.Prices(completion=1e6), model="m", seconds=0.0)

    told = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 75}
    assert (read(told).completion_tokens, read(told).usd) == (65, 65.0)
    assert read(told | {"total_tokens": 15}).completion_tokens == 5
    assert read(told | {"total_tokens": 2**50}).completion_tokens == 5
    assert read(None).completion_tokens == 81  # of the words that were written, reasoning included


def test_a_price_list_is_its_models() -> None:
    prices = wire.Prices(prompt=2.0, model="small")
    assert prices.of("small") is prices
    assert prices.of("large") == wire.Prices()
    assert wire.Prices(prompt=2.0).of("large").prompt == 2.0

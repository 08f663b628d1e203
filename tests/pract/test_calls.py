"""Calls on record, with a scripted chat."""

import asyncio
from pathlib import Path

import pytest

from pract.budget import Budget, BudgetExhausted
from pract.calls import digest
from pract.events import canonical, read_events
from pract.llm.base import ChatError, ChatErrorKind
from pract.types import Message, Reply, ToolCall
from tests.pract.calling import ASK, close_logs, recorded, say  # noqa: F401 - a fixture


def test_a_logged_call_is_answered_from_the_log_and_costs_nothing_anew(tmp_path: Path) -> None:
    first = recorded(tmp_path / "log")
    reply = say(first, "a")
    first._log.close()
    again = recorded(tmp_path / "log", budget=Budget(calls=1))
    assert say(again, "a") == reply
    assert again._ledger.spent == first._ledger.spent
    with pytest.raises(BudgetExhausted):
        say(again, "b")


def test_another_prompt_under_the_same_tag_is_asked_and_both_calls_count(tmp_path: Path) -> None:
    first = recorded(tmp_path / "log")
    say(first, "a")
    second = recorded(tmp_path / "log")
    say(second, "a", "something else")
    assert second._ledger.spent.calls == 2
    third = recorded(tmp_path / "log")
    assert third._ledger.spent.calls == 2
    assert len(canonical(read_events(tmp_path / "log"))) == 1


def test_a_failure_is_replayed_but_a_fatal_one_is_tried_again(tmp_path: Path) -> None:
    def fail(messages: object, tag: str) -> str:
        raise ChatError(ChatErrorKind.AUTH if tag == "fatal" else ChatErrorKind.SERVER, "no")

    first = recorded(tmp_path / "log", script=fail)
    for tag in ("plain", "fatal"):
        with pytest.raises(ChatError):
            say(first, tag)
    again = recorded(tmp_path / "log")
    with pytest.raises(ChatError, match="server: no"):
        say(again, "plain")
    assert say(again, "fatal").text == "hi fatal"
    assert again._ledger.spent.calls == 2


def test_a_failure_that_was_paid_for_counts_in_this_session_and_the_next(tmp_path: Path) -> None:
    def fail(messages: object, tag: str) -> str:
        cost = Reply(text="", prompt_tokens=100, completion_tokens=10, usd=0.5)
        raise ChatError(ChatErrorKind.BAD_RESPONSE, "no", cost=cost)

    first = recorded(tmp_path / "log", script=fail)
    with pytest.raises(ChatError):
        say(first, "a")
    again = recorded(tmp_path / "log")
    with pytest.raises(ChatError, match="bad_response: no"):
        say(again, "a")
    for chat in (first, again):
        spent = chat._ledger.spent
        assert (spent.calls, spent.prompt_tokens, spent.completion_tokens, spent.usd) == (1, 100, 10, 0.5)


def test_a_cancelled_call_is_not_counted() -> None:
    chat = recorded()
    chat._chat.delay = 5.0  # type: ignore[attr-defined]

    async def cancel() -> None:
        task = asyncio.ensure_future(chat.reply(ASK, max_tokens=9, temperature=0.0, tag="a"))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancel())
    assert (chat._ledger.spent.calls, chat._ledger.in_flight) == (0, 0)


def test_a_reply_with_a_lone_surrogate_can_be_logged(tmp_path: Path) -> None:
    chat = recorded(tmp_path / "log", script=lambda messages, tag: "a\ud800b")
    assert say(chat, "a").text == "a?b"
    assert [e.data["reply"]["text"] for e in read_events(tmp_path / "log")] == ["a?b"]


def test_digests_tell_prompts_and_choices_apart() -> None:
    assert digest(ASK) == digest(list(ASK))
    assert len({digest(ASK), digest(ASK, ["a"]), digest([*ASK, *ASK])}) == 3


def test_a_digest_is_the_same_in_every_version() -> None:
    """Logs and recordings find their calls by it."""
    call = ToolCall(id="call_0", name="search", arguments='{"q": "x"}')
    turns = [
        Message(role="system", content="Act. é"),
        Message(role="assistant", content="", tool_calls=(call,)),
        Message(role="tool", content="seen", tool_call_id="call_0"),
    ]
    assert digest(turns) == "773f5cefb3670c98"
    assert digest(turns, ["a", "b"]) == "2f392d0d54a361c3"
    assert digest(turns[:1]) == "214dc227ef3850dd"
    assert digest([]) == "a683096011db3975"


def test_a_model_that_thinks_until_its_limit_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    silent = recorded(None, script=lambda *_: Reply(text="", finish_reason="length"))
    for tag in ("a", "b"):
        assert say(silent, tag).text == ""
    (said,) = [record.getMessage() for record in caplog.records]
    assert "a reply ended at max_tokens=" in said
    assert "rpo.reflector.max_tokens" in said

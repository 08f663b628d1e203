"""Limits, without a model or a real clock."""

import asyncio

import pytest

from pract.budget import Budget, BudgetExhausted, Ledger, Spent, estimate
from pract.calls import RecordedChat, recorded_roles
from pract.errors import InputError
from pract.events import EventLog
from pract.records import from_json
from pract.types import Reply
from tests.pract.calling import ASK, close_logs, recorded, say  # noqa: F401 - a fixture
from tests.pract.fakes import Clock, ScriptedChat


@pytest.mark.parametrize(
    ("budget", "calls"),
    [
        (Budget(calls=3), 3),
        (Budget(tokens=11), 3),
        (Budget(usd=0.0019), 2),
        (Budget(seconds=2.5), 3),
        (Budget(), 5),
    ],
)
def test_each_limit_ends_the_calls(budget: Budget, calls: int) -> None:
    chat = recorded(budget=budget)
    made = 0
    for number in range(5):
        try:
            say(chat, str(number))
        except BudgetExhausted:
            break
        made += 1
    assert made == calls


def test_calls_in_flight_count_against_the_limit() -> None:
    ledger = Ledger(Budget(calls=2), Clock())
    ledger.reserve()
    ledger.reserve()
    with pytest.raises(BudgetExhausted, match="calls=2 is spent"):
        ledger.reserve()
    ledger.release()
    ledger.reserve()
    ledger.settle(None)
    ledger.settle(Reply(text="", prompt_tokens=5, completion_tokens=2))
    assert (ledger.spent.calls, ledger.spent.tokens, ledger.in_flight) == (2, 7, 0)


def test_a_call_that_waits_for_the_model_is_not_made_once_the_limit_is_reached() -> None:
    """Three chats on record, as the roles have them, around one model that answers two calls at once."""
    model = ScriptedChat(lambda *_: "well then", delay=0.001)
    model.concurrency = 2  # type: ignore[attr-defined]
    ledger = Ledger(Budget(tokens=20), Clock())
    chats = recorded_roles((model, model, model), EventLog(), ledger)

    async def many() -> list[object]:
        calls = [chats[n % 3].reply(ASK, max_tokens=9, temperature=0.0, tag=str(n)) for n in range(12)]
        return list(await asyncio.gather(*calls, return_exceptions=True))

    outcomes = asyncio.run(many())
    made = sum(isinstance(o, Reply) for o in outcomes)
    assert made in (4, 5)  # the fifth, if the third comes back before the fourth
    assert sum(isinstance(o, BudgetExhausted) for o in outcomes) == 12 - made
    assert (ledger.spent.tokens, ledger.in_flight, len(model.asked)) == (5 * made, 0, made)


def test_tokens_are_overrun_by_no_more_than_the_calls_in_flight() -> None:
    """A call takes five; four are in flight when the limit is reached."""
    ledger = Ledger(Budget(tokens=11), Clock())
    chat = RecordedChat(ScriptedChat(lambda *_: "well then"), EventLog(), ledger)

    async def many(numbers: range) -> list[object]:
        calls = [chat.reply(ASK, max_tokens=9, temperature=0.0, tag=str(n)) for n in numbers]
        return list(await asyncio.gather(*calls, return_exceptions=True))

    async def both() -> list[object]:
        return [*await many(range(4)), *await many(range(4, 20))]

    assert [type(outcome) for outcome in asyncio.run(both())] == [Reply] * 4 + [BudgetExhausted] * 16
    assert (ledger.spent.tokens, ledger.in_flight) == (20, 0)


def test_cached_tokens_are_unknown_until_a_server_tells_them() -> None:
    silent, told = Reply(text="", prompt_tokens=9), Reply(text="", prompt_tokens=9, cached_tokens=4)
    spent = Spent().plus(silent)
    assert spent.cached_tokens is None
    assert spent.plus(told).plus(silent).plus(told).cached_tokens == 8
    assert from_json(Spent, {"calls": 1, "cached_tokens": 0}).cached_tokens == 0


def test_a_limit_must_be_above_zero() -> None:
    with pytest.raises(InputError, match=r"budget.calls=0 is not above 0"):
        Budget(calls=0)


def test_an_estimate_counts_the_growing_prompt() -> None:
    found = estimate(
        episodes=10,
        steps=4,
        prefix_tokens=100,
        step_tokens=20,
        reply_tokens=5,
        other_calls=3,
        other_prompt_tokens=200,
        other_reply_tokens=50,
    )
    assert (found.calls, found.likely_calls) == (43, 23)
    assert found.prompt_tokens == 10 * (100 + 120) + 600
    assert found.completion_tokens == 10 * 2 * 5 + 150

"""How work is ended from outside, and which limits in money can be kept. No model, no network."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from pract.errors import InputError
from pract.llm.openai import OpenAIChat
from pract.llm.replay import ReplayChat
from pract.llm.scripted import ScriptedChat
from pract.llm.wire import Prices
from scripts.casting import price, refuse_unpriced, until_stopped


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGHUP])
def test_batch_systems_and_closed_terminals_end_work_as_ctrl_c_does(kind: signal.Signals) -> None:
    saved = []

    async def work() -> None:
        os.kill(os.getpid(), kind)
        try:
            await asyncio.sleep(60)
        finally:
            saved.append(kind)

    def unhandled(*_: object) -> None:
        raise AssertionError("the signal was not handled")

    before = signal.signal(kind, unhandled)
    try:
        with pytest.raises(KeyboardInterrupt):
            until_stopped(work())
    finally:
        signal.signal(kind, before)
    assert saved == [kind]


def test_under_nohup_a_closed_terminal_ends_nothing() -> None:
    async def work() -> str:
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.01)
        return "done"

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert until_stopped(work()) == "done"
    finally:
        signal.signal(signal.SIGHUP, before)


def hosted(prices: Prices) -> OpenAIChat:
    return OpenAIChat(base_url="http://127.0.0.1:9/v1", model="m", prices=prices)


def test_a_recorder_has_the_prices_of_what_it_records(tmp_path: Path) -> None:
    chat = ReplayChat(
        str(tmp_path / "calls.jsonl"), mode="record", inner=hosted(Prices(prompt=2.0, completion=8.0))
    )
    assert price(chat, 1_000_000, 500_000) == 6.0
    refuse_unpriced(1.0, {"llm": chat})
    bare = ReplayChat(str(tmp_path / "bare.jsonl"), mode="record", inner=hosted(Prices()))
    with pytest.raises(
        InputError, match=r"llm has no prices.* give llm\.inner\.prices\.prompt and llm\.inner\.prices"
    ):
        refuse_unpriced(1.0, {"llm": bare})


def test_a_limit_in_money_takes_one_role_with_prices() -> None:
    local, paid = ScriptedChat([]), hosted(Prices(prompt=2.0))
    with pytest.raises(InputError, match=r"budget\.usd=1\.0: no role's model has prices"):
        refuse_unpriced(1.0, {"llm": local, "optimizer": local})
    refuse_unpriced(1.0, {"llm": local, "optimizer": paid})
    refuse_unpriced(None, {"llm": local})


def test_a_replay_costs_what_was_recorded(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    ReplayChat(str(path), mode="record", inner=hosted(Prices()))
    refuse_unpriced(1.0, {"llm": ReplayChat(str(path))})

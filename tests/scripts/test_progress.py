"""The line beside the bar, and the rates in it."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import wraps

from pract.budget import Budget, Ledger, Spent
from pract.types import Reply, Status
from scripts import progress
from scripts.progress import EpisodeBar, rates
from tests.pract.fakes import Clock
from tests.pract.made import episode

REPLY = Reply(text="", prompt_tokens=900, completion_tokens=100, cached_tokens=720, usd=0.03)


def test_rates_are_taken_between_two_moments():
    then = Spent(calls=10, prompt_tokens=1_000, completion_tokens=100, cached_tokens=500, seconds=5.0)
    now = replace(
        then, calls=30, prompt_tokens=41_000, completion_tokens=1_100, cached_tokens=34_500, seconds=15.0
    )
    assert rates(then, now) == ["2 calls/s", "4.1k tokens/s", "85% cached"]
    assert rates(then, then) == []
    assert rates(then, replace(then, calls=11, seconds=7.0)) == ["0.5 calls/s", "0 tokens/s"]


def test_cached_tokens_are_shown_only_where_a_server_tells_them():
    then, now = Spent(seconds=5.0), Spent(calls=10, prompt_tokens=1_000, seconds=15.0)
    assert rates(then, now) == ["1 calls/s", "100 tokens/s"]
    assert rates(then, replace(now, cached_tokens=0)) == ["1 calls/s", "100 tokens/s", "0% cached"]
    assert rates(then, replace(now, cached_tokens=250)) == ["1 calls/s", "100 tokens/s", "25% cached"]


def in_a_loop(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    @wraps(test)
    def run(**fixtures: object) -> None:
        asyncio.run(test(**fixtures))

    return run


def under_way(clock: Clock, before: Spent | None = None) -> tuple[EpisodeBar, Ledger]:
    ledger = Ledger(Budget(), clock, before)
    return EpisodeBar("t", 60, ledger), ledger


def call(ledger: Ledger) -> None:
    ledger.reserve()
    ledger.settle(REPLY)


@in_a_loop
async def test_the_bar_tells_success_tokens_rates_and_cost():
    clock = Clock()
    bar, ledger = under_way(clock, Spent(calls=1000, prompt_tokens=10**6, seconds=900.0))
    for success in (True, False):
        for _ in range(3):
            call(ledger)
        clock.now += 2.0
        bar.show(episode(status=Status.FINISHED, success=success, score=float(success)))
    assert bar.account() == (
        "success 50% (1 of 2), score 0.50, 1.0M tokens, 1.5 calls/s, 1.5k tokens/s, 80% cached, $0.18"
    )
    bar.close()


@in_a_loop
async def test_calls_count_for_the_rates_as_they_end_and_for_half_a_minute():
    clock = Clock()
    bar, ledger = under_way(clock)
    for second in range(80):
        for _ in range(1 if second < 40 else 4):
            call(ledger)
        clock.now += 1.0
        bar.refresh()
        if second == 39:
            assert bar.account() == "40.0k tokens, 1 calls/s, 1.0k tokens/s, 80% cached, $1.20"
    assert ", 4 calls/s, 4.0k tokens/s," in bar.account()
    clock.now += 10.0
    bar.refresh()
    assert ", 2.67 calls/s, 2.7k tokens/s," in bar.account()
    clock.now += 30.0
    bar.refresh()
    assert bar.account().endswith(" 0 calls/s, 0 tokens/s, $6.00")
    bar.close()


@in_a_loop
async def test_episodes_that_are_told_all_at_once_leave_the_rates_as_they_are():
    clock = Clock()
    bar, ledger = under_way(clock)
    for _ in range(100):
        call(ledger)
    clock.now += 20.0
    for _ in range(25):
        bar.show(episode(status=Status.FINISHED))
    assert ", 5 calls/s, 5.0k tokens/s," in bar.account()
    bar.close()


@in_a_loop
async def test_the_bar_moves_while_no_episode_ends_until_it_is_closed(monkeypatch, capsys):
    monkeypatch.setattr(progress, "UNWATCHED", 0.01)
    clock = Clock()
    bar, ledger = under_way(clock)
    call(ledger)
    clock.now += 2.0
    await asyncio.sleep(0.1)
    assert "1.0k tokens, 0.5 calls/s, 500 tokens/s, 80% cached, $0.03" in capsys.readouterr().err
    bar.close()
    capsys.readouterr()
    await asyncio.sleep(0.05)
    assert capsys.readouterr().err == ""

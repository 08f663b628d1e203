"""The line beside the bar, and the rates in it."""

from dataclasses import replace

from pract.budget import Budget, Ledger, Spent
from pract.types import Reply, Status
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


def test_the_bar_tells_success_tokens_rates_and_cost():
    clock = Clock()
    ledger = Ledger(Budget(), clock, Spent(calls=1000, prompt_tokens=10**6, seconds=900.0))
    bar = EpisodeBar("t", 4, ledger)
    for success in (True, False):
        for _ in range(3):
            ledger.reserve()
            ledger.settle(REPLY)
        clock.now += 2.0
        bar.show(episode(status=Status.FINISHED, success=success, score=float(success)))
    assert bar.account() == (
        "success 50% (1 of 2), score 0.50, 1.0M tokens, 1.5 calls/s, 1.5k tokens/s, 80% cached, $0.18"
    )
    bar.close()


def test_only_the_latest_episodes_count_for_the_rates():
    clock = Clock()
    ledger = Ledger(Budget(), clock)
    bar = EpisodeBar("t", 60, ledger)
    for number in range(50):
        ledger.reserve()
        ledger.settle(REPLY)
        clock.now += 10.0 if number < 25 else 1.0
        bar.show(episode(status=Status.FINISHED))
    assert ", 1 calls/s, 1.0k tokens/s," in bar.account()
    bar.close()

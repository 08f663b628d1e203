"""GEPA over principles on a toy environment: a scripted chat, no model, no network."""

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from pract.baselines.gepa import optimize_with_gepa
from pract.budget import Budget
from pract.errors import InputError
from pract.llm.base import ChatError, ChatErrorKind
from pract.rounds import Decision, Round
from pract.types import Reply
from pract.wiring import Learning
from tests.pract.fakes import doors_script
from tests.pract.looping import learning

pytest.importorskip("gepa")


def script(messages: list[object], tag: str) -> str:
    if tag.startswith("gepa/reflect"):
        return "```\nTake the key first, then go on.\n```"
    return doors_script(messages, tag)  # type: ignore[arg-type]


def run(ready: Learning, metric_calls: int = 40) -> list[Round]:
    async def collect() -> list[Round]:
        try:
            return [round_ async for round_ in optimize_with_gepa(ready, metric_calls=metric_calls)]
        finally:
            ready.crew.log.close()

    return asyncio.run(collect())


def test_gepa_learns_the_same_principle_under_the_same_harness() -> None:
    ready, chat = learning(script=script)
    rounds = run(ready)
    found = next(r for r in rounds if r.decision is Decision.ACCEPTED)
    assert found.reason == "gepa: validation mean 1.000"
    assert "Take the key first, then go on." in found.best.texts.values()
    assert found.comparison is not None
    assert (found.comparison.old_mean, found.comparison.new_mean, len(found.comparison.won)) == (0.0, 1.0, 3)
    assert rounds[-1].best == found.best
    assert ready.ledger.spent.calls == len(chat.asked)


def test_each_candidate_of_the_pool_is_a_round_with_what_it_rests_on() -> None:
    ready, _ = learning(script=script)
    rounds = run(ready)
    assert rounds[0].decision is Decision.START
    assert [r.index for r in rounds] == list(range(len(rounds)))
    validation = {task.id for task in ready.validation}
    for found in rounds[:-1]:
        assert {e.task_id for e in found.validation} == validation
        assert {e.principles for e in found.validation} == {found.candidate.version}
    assert all(e.task_id not in validation for r in rounds for e in r.episodes)
    assert rounds[1].candidate.parent == ready.start.version
    assert rounds[-1].reason == f"gepa: the best of {len(rounds) - 1} candidates, validation mean 1.000"


def test_gepa_resumes_from_the_log_without_a_call(tmp_path: Path) -> None:
    ready, _ = learning(tmp_path / "log", script=script)
    first = run(ready)
    again, chat = learning(tmp_path / "log", script=script)
    assert [(r.best, r.decision, r.reason) for r in run(again)] == [
        (r.best, r.decision, r.reason) for r in first
    ]
    assert chat.asked == []


def test_gepa_stops_at_the_budget_and_goes_on_when_it_is_raised(tmp_path: Path) -> None:
    ready, chat = learning(tmp_path / "log", script=script, budget=Budget(calls=25))
    last = run(ready)[-1]
    assert len(chat.asked) == 25
    assert last.decision is Decision.STOPPED
    assert last.reason.startswith("budget: calls: budget.calls=25 is spent")
    more, _ = learning(tmp_path / "log", script=script)
    whole, _ = learning(script=script)
    assert [r.best for r in run(more)] == [r.best for r in run(whole)]


def test_gepa_stops_at_an_outage_and_plays_anew_once_the_server_is_back(tmp_path: Path) -> None:
    def down(messages: list[object], tag: str) -> str:
        if tag.startswith("gepa/evaluate-0002"):
            raise ChatError(ChatErrorKind.CONNECTION, "refused")
        return script(messages, tag)

    ready, _ = learning(tmp_path / "log", script=down)
    last = run(ready)[-1]
    assert (last.decision, last.reason) == (
        Decision.STOPPED,
        "no episode could be played: connection: refused",
    )
    again, _ = learning(tmp_path / "log", script=script)
    assert "Take the key first, then go on." in run(again)[-1].best.texts.values()


def test_gepa_chooses_by_no_validation_that_lost_its_server(tmp_path: Path) -> None:
    def shaky(messages: list[object], tag: str) -> str:
        if tag.startswith("gepa/evaluate-0000/000"):
            raise ChatError(ChatErrorKind.RATE_LIMITED, "slow down")
        return script(messages, tag)

    ready, _ = learning(tmp_path / "log", script=shaky)
    last = run(ready)[-1]
    assert last.decision is Decision.STOPPED
    assert last.reason.startswith("validation is incomplete: 1 of 3 tasks could not be played")
    again, _ = learning(tmp_path / "log", script=script)
    assert all(episode.status.counts for episode in run(again)[0].validation)


@pytest.mark.parametrize("where", ["gepa/evaluate-0000", "gepa/evaluate-0001", "gepa/reflect"])
def test_bad_input_ends_a_run_of_gepa(where: str) -> None:
    def unseen(messages: list[object], tag: str) -> str:
        if tag.startswith(where):
            raise InputError("unseen prompt (3 recorded)")
        return script(messages, tag)

    ready, chat = learning(script=unseen)
    with pytest.raises(InputError, match="unseen prompt"):
        run(ready)
    assert len(chat.asked) <= 26  # GEPA asks for a failed reflection once more


def test_an_interrupted_run_of_gepa_has_told_what_it_found() -> None:
    ready, _ = learning(script=script, delay=0.001)
    told: list[Round] = []

    async def interrupted() -> None:
        async for round_ in optimize_with_gepa(ready, metric_calls=10_000):
            told.append(round_)
            if round_.decision is Decision.ACCEPTED:
                asyncio.current_task().cancel()  # type: ignore[union-attr]

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(interrupted())
    assert (told[0].decision, told[-1].decision) == (Decision.START, Decision.ACCEPTED)


def test_an_interrupted_run_of_gepa_plays_nothing_any_more_when_its_seats_are_closed() -> None:
    main: list[asyncio.Task[None]] = []

    def interrupting(messages: list[object], tag: str) -> str:
        if tag.startswith("gepa/evaluate-0001") and tag.endswith("step-00"):
            main[0].cancel()
        return script(messages, tag)

    ready, _ = learning(script=interrupting, delay=0.01)
    seats, free = ready.crew.seats, []
    close = seats.close

    async def closing() -> None:
        free.append(seats._free.qsize())
        await close()

    seats.close = closing  # type: ignore[method-assign]

    async def interrupted() -> None:
        main.append(asyncio.current_task())  # type: ignore[arg-type]
        async with aclosing(optimize_with_gepa(ready, metric_calls=40)) as rounds:
            async for _ in rounds:
                pass

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(interrupted())
    assert free == [1]


def test_a_reflection_that_was_cut_off_or_failed_proposes_nothing() -> None:
    def cut(messages: list[object], tag: str) -> str | Reply:
        if tag == "gepa/reflect-0000":
            return Reply(text="```\nTake the key first, then", finish_reason="length")
        if tag == "gepa/reflect-0001":
            raise ChatError(ChatErrorKind.TIMEOUT, "no reply")
        return script(messages, tag)

    ready, chat = learning(script=cut)
    rounds = run(ready)
    asked = [tag for tag, _ in chat.asked if tag.startswith("gepa/reflect")]
    assert asked[:3] == ["gepa/reflect-0000", "gepa/reflect-0001", "gepa/reflect-0002"]
    texts = {text for found in rounds for text in found.candidate.texts.values()}
    assert texts == {"", "Take the key first, then go on."}  # the start has none
    played = [n for n, (tag, _) in enumerate(chat.asked) if tag.startswith("gepa/evaluate-0002")]
    tried = [n for n, (tag, _) in enumerate(chat.asked) if tag in asked[:2]]
    assert tried[0] < min(played) < tried[1]  # no candidate between: the next minibatch is the parent's

"""Runs that are killed, stopped, interrupted or failed, and continued; a scripted chat, no real clock."""

import asyncio
import json
from pathlib import Path

import pytest

from pract.budget import Budget
from pract.errors import InputError
from pract.events import canonical, read_events
from pract.llm.base import ChatError, ChatErrorKind
from pract.records import to_json
from pract.rounds import Decision, Round, round_record
from pract.types import Action, Message, StepResult
from pract.wiring import Learning
from tests.pract.fakes import COLOURS, SPLITS, Doors, doors_script
from tests.pract.looping import VARIANTS, learning, run


@pytest.mark.parametrize("variant", VARIANTS)
def test_two_concurrent_runs_leave_the_same_log(variant: str, tmp_path: Path) -> None:
    logs = []
    for name in ("a", "b"):
        ready, _ = learning(tmp_path / name, concurrency=4, delay=0.0005, **VARIANTS[variant])
        run(ready)
        logs.append(canonical(read_events(tmp_path / name)))
    assert logs[0] == logs[1]
    assert len(logs[0]) > 20


def state(rounds: list[Round], ready: Learning) -> object:
    spent = to_json(ready.ledger.spent)
    return (
        [round_record(r) for r in rounds],
        [to_json(e) for r in rounds for e in r.episodes + r.validation],
        spent,
    )


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name.startswith("reward")])
def test_a_run_killed_at_any_event_and_resumed_equals_the_uninterrupted_one(
    variant: str, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    ready, first = learning(whole, **VARIANTS[variant])
    expected = state(run(ready), ready)
    lines = whole.read_bytes().splitlines(keepends=True)
    asked = len(first.asked)
    for cut in range(len(lines) + 1):
        torn = lines[cut][: len(lines[cut]) // 2] if cut < len(lines) else b""
        path = tmp_path / f"cut-{cut}"
        path.write_bytes(b"".join(lines[:cut]) + torn)
        ready, chat = learning(path, **VARIANTS[variant])
        assert state(run(ready), ready) == expected
        logged = sum(json.loads(line)["kind"] == "chat" for line in lines[:cut])
        assert len(chat.asked) == asked - logged
        assert canonical(read_events(path)) == canonical(read_events(whole))


def test_a_concurrent_run_killed_at_any_event_resumes_to_the_same_end(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    ready, _ = learning(whole, concurrency=4)
    expected = state(run(ready), ready)
    lines = whole.read_bytes().splitlines(keepends=True)
    for cut in range(0, len(lines) + 1, 3):
        path = tmp_path / f"cut-{cut}"
        path.write_bytes(b"".join(lines[:cut]))
        ready, _ = learning(path, concurrency=4)
        assert state(run(ready), ready) == expected


def test_an_interrupted_run_leaves_nothing_running_and_resumes_to_the_same_end(tmp_path: Path) -> None:
    ready, _ = learning()
    expected = [round_record(r)["after"] for r in run(ready)]
    ready, _ = learning(tmp_path / "log", concurrency=2, delay=0.005)

    async def interrupt() -> int:
        task = asyncio.ensure_future(_exhaust(ready))
        while ready.ledger.spent.calls < 5:
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        ready.crew.log.close()
        return len(asyncio.all_tasks()) - 1

    assert asyncio.run(interrupt()) == 0
    assert 5 <= ready.ledger.spent.calls < 52
    ready, _ = learning(tmp_path / "log", concurrency=2)
    assert [round_record(r)["after"] for r in run(ready)] == expected
    assert ready.ledger.spent.calls == 52


async def _exhaust(ready: Learning) -> None:
    async for _ in ready.rounds():
        pass


@pytest.mark.parametrize("begins", ["round-000/", "round-001/train", "round-001/validation", "round-002/"])
def test_a_run_that_an_outage_stopped_goes_on_when_it_is_over(begins: str, tmp_path: Path) -> None:
    """And killed at any event of the outage, a run ends likewise."""
    ready, _ = learning(tmp_path / "whole")
    expected = [without_cost(r) for r in run(ready)]
    out = False

    def failing(messages: list[Message], tag: str) -> str:
        nonlocal out
        out = out or tag.startswith(begins)
        if out:
            raise ChatError(ChatErrorKind.CONNECTION, "refused")
        return doors_script(messages, tag)

    log = tmp_path / "log"
    ready, _ = learning(log, script=failing)
    rounds = run(ready)
    assert rounds[-1].reason == "no episode could be played: connection: refused"
    lines = log.read_bytes().splitlines(keepends=True)
    ready, chat = learning(log, script=failing)
    assert run(ready)[-1].reason == rounds[-1].reason
    assert len(chat.asked) == len(rounds[-1].validation or rounds[-1].episodes)
    ready, _ = learning(log)
    assert [without_cost(r) for r in run(ready)] == expected
    ready, chat = learning(log)
    assert [without_cost(r) for r in run(ready)] == expected
    assert not chat.asked
    for cut in range(len(lines) - 3, len(lines)):
        path = tmp_path / f"cut-{cut}"
        path.write_bytes(b"".join(lines[:cut]))
        run(learning(path, script=failing)[0])
        assert [without_cost(r) for r in run(learning(path)[0])] == expected


@pytest.mark.parametrize("variant", ["reward-batch", "reward-traj-sequential", "reward-traj-merged"])
@pytest.mark.parametrize("role", ["reflect", "optimize"])
def test_a_run_whose_reflector_or_optimizer_was_away_makes_these_calls_anew(
    role: str, variant: str, tmp_path: Path
) -> None:
    ready, _ = learning(tmp_path / "whole", **VARIANTS[variant])
    expected = [without_cost(r) for r in run(ready)]

    def failing(messages: list[Message], tag: str) -> str:
        if tag.startswith("round-001/") and role in tag:
            raise ChatError(ChatErrorKind.CONNECTION, "refused")
        return doors_script(messages, tag)

    ready, _ = learning(tmp_path / "log", script=failing, **VARIANTS[variant])
    rounds = run(ready)
    name = {"reflect": "reflector", "optimize": "optimizer"}[role]
    assert rounds[-1].reason == f"the {name} answered no call: connection: refused"
    assert (len(rounds), rounds[-1].decision) == (2, Decision.STOPPED)
    assert rounds[-1].after == rounds[-1].before
    ready, chat = learning(tmp_path / "log", **VARIANTS[variant])
    assert [without_cost(r) for r in run(ready)] == expected
    played_again = [
        tag for tag, _ in chat.asked if tag.startswith("round-001/train") and "reflect" not in tag
    ]
    assert variant == "reward-traj-sequential" or not played_again


def test_one_call_of_the_reflector_among_others_that_fails_stops_nothing(tmp_path: Path) -> None:
    def failing(messages: list[Message], tag: str) -> str:
        if tag.startswith("round-001/train-001") and tag.endswith("/reflect"):
            raise ChatError(ChatErrorKind.CONNECTION, "refused")
        return doors_script(messages, tag)

    rounds = run(learning(tmp_path / "log", script=failing)[0])
    assert [r.decision for r in rounds][-1] is not Decision.STOPPED
    assert [r.problem for r in rounds[1].reflections] == ["", "chat_error: connection: refused", ""]


def test_a_role_whose_every_reply_is_of_no_use_stops_the_run(tmp_path: Path) -> None:
    """As a server's that refuses a field of the request: further rounds would be paid for and change nothing."""

    def failing(messages: list[Message], tag: str) -> str:
        if "/optimize" in tag:
            raise ChatError(ChatErrorKind.BAD_RESPONSE, "no choices")
        return doors_script(messages, tag)

    rounds = run(learning(tmp_path / "log", script=failing)[0])
    assert [r.decision for r in rounds[1:]] == [Decision.STOPPED]
    assert rounds[-1].reason == "the optimizer answered no call: bad_response: no choices"


def without_cost(round_: Round) -> object:
    episodes = [to_json(episode) for episode in round_.episodes + round_.validation]
    return {**round_record(round_), "spent": None}, episodes


def test_one_failed_episode_among_others_stays_an_outcome(tmp_path: Path) -> None:
    def failing(messages: list[Message], tag: str) -> str:
        if "train-001" in tag:
            raise ChatError(ChatErrorKind.TIMEOUT, "none came")
        return doors_script(messages, tag)

    ready, _ = learning(tmp_path / "log", script=failing)
    expected = state(run(ready), ready)
    ready, chat = learning(tmp_path / "log")
    assert state(run(ready), ready) == expected
    assert not chat.asked


@pytest.mark.parametrize("limit", [1, 7, 20, 33])
def test_a_run_whose_budget_ends_resumes_to_the_same_end(limit: int, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    ready, chat = learning(whole, budget=Budget(calls=limit))
    rounds = run(ready)
    expected = state(rounds, ready)
    assert len(chat.asked) == limit == ready.ledger.spent.calls
    assert rounds[-1].decision is Decision.STOPPED
    lines = whole.read_bytes().splitlines(keepends=True)
    for cut in range(len(lines) + 1):
        path = tmp_path / f"cut-{cut}"
        path.write_bytes(b"".join(lines[:cut]))
        ready, _ = learning(path, budget=Budget(calls=limit))
        assert state(run(ready), ready) == expected


def test_a_raised_budget_goes_on_where_the_run_stopped(tmp_path: Path) -> None:
    ready, _ = learning()
    expected = run(ready)
    stopped, _ = learning(tmp_path / "log", budget=Budget(calls=20))
    run(stopped)
    ready, chat = learning(tmp_path / "log", budget=Budget(calls=1000))
    rounds = run(ready)
    assert [r.after for r in rounds] == [r.after for r in expected]
    assert ready.ledger.spent.calls == 20 + len(chat.asked)


def test_a_log_that_does_not_tell_a_thing_yet_is_gone_on_with(tmp_path: Path) -> None:
    ready, _ = learning(tmp_path / "log", rounds=1)
    expected = [r.after for r in run(ready)]
    first, _, rest = (tmp_path / "log").read_text().partition("\n")
    older = json.loads(first)
    del older["data"]["licence"]
    (tmp_path / "log").write_text(f"{json.dumps(older)}\n{rest}")
    ready, chat = learning(tmp_path / "log", rounds=1)
    assert [r.after for r in run(ready)] == expected
    assert chat.asked == []


def test_a_log_of_another_run_is_refused(tmp_path: Path) -> None:
    ready, _ = learning(tmp_path / "log", rounds=1)
    run(ready)
    ready, _ = learning(tmp_path / "log", rounds=1, reflection="self")
    with pytest.raises(InputError, match="event log is of another run: rpo was"):
        run(ready)


def raising(kind: ChatErrorKind, where: str) -> object:
    def script(messages: object, tag: str) -> str:
        if where in tag:
            raise ChatError(kind, "no")
        return doors_script(messages, tag)  # type: ignore[arg-type]

    return script


@pytest.mark.parametrize(
    ("kind", "where", "reason", "rounds"),
    [
        (ChatErrorKind.AUTH, "step", "chat_error: auth: no", 1),
        (ChatErrorKind.CONNECTION, "step", "no episode could be played: connection: no", 1),
        (ChatErrorKind.MODEL_NOT_FOUND, "reflect", "chat_error: model_not_found: no", 2),
        (ChatErrorKind.AUTH, "optimize", "chat_error: auth: no", 2),
    ],
)
def test_a_model_that_cannot_be_used_stops_the_run_and_a_mended_one_continues_it(
    kind: ChatErrorKind, where: str, reason: str, rounds: int, tmp_path: Path
) -> None:
    ready, _ = learning(tmp_path / "log", script=raising(kind, where))
    found = run(ready)
    assert (found[-1].decision, found[-1].reason, len(found)) == (Decision.STOPPED, reason, rounds)
    mended, _ = learning(tmp_path / "log", retry_failed=True)
    assert run(mended)[-1].best.texts["open"].startswith("Take the key first")


class Broken(Doors):
    """Doors of these colours, or all of them, cannot be tried."""

    def __init__(self, *colours: str) -> None:
        super().__init__()
        self.colours = colours or COLOURS

    def step(self, action: Action) -> StepResult:
        assert self._task is not None
        if self._task.data["colour"] in self.colours:
            raise OSError("the database is gone")
        return super().step(action)


def test_a_broken_environment_stops_the_run_and_a_mended_one_continues_it(tmp_path: Path) -> None:
    ready, _ = learning(tmp_path / "log", factory=Broken)
    (start,) = run(ready)
    assert start.decision is Decision.STOPPED
    assert start.reason.startswith("no episode could be played: OSError: the database is gone")
    mended, _ = learning(tmp_path / "log")
    assert [r.decision.value for r in run(mended)] == ["start", "accepted", "rejected"]


def test_an_environment_that_fails_in_one_episode_alone_does_not_stop_the_run() -> None:
    ready, _ = learning(factory=lambda: Broken("red"), batch_size=1, rounds=4, acceptance="off")
    rounds = run(ready)
    assert len(rounds) == 5
    assert [e.status.value for r in rounds for e in r.episodes].count("environment_error") == 1


def test_a_validation_that_many_tasks_are_missing_from_stops_the_run_until_they_can_be_played(
    tmp_path: Path,
) -> None:
    ready, _ = learning(
        tmp_path / "log", script=raising(ChatErrorKind.SERVER, "round-001/validation/door%2Famber")
    )
    last = run(ready)[-1]
    assert (last.index, last.decision) == (1, Decision.STOPPED)
    assert last.reason == "validation is incomplete: 1 of 3 tasks could not be played: server: no"
    mended, _ = learning(tmp_path / "log")
    whole, _ = learning()
    assert [(r.decision, r.reason) for r in run(mended)] == [(r.decision, r.reason) for r in run(whole)]


def test_a_fifth_of_the_validation_tasks_may_be_missing_and_that_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(SPLITS, "validation", COLOURS[4:9])
    ready, _ = learning(script=raising(ChatErrorKind.SERVER, "round-001/validation/door%2Famber"), rounds=1)
    last = run(ready)[-1]
    assert last.decision is Decision.ACCEPTED
    assert last.reason == "score 0.000 -> 1.000 on 4 validation tasks, 4 won, 0 lost, 1 left out"


def test_the_best_is_kept_by_the_tasks_that_both_played(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was rewritten is no better: without the hard task its mean would be higher."""
    monkeypatch.setitem(SPLITS, "validation", COLOURS[4:9])

    def script(messages: list[object], tag: str) -> str:
        if "round-001/validation" in tag and "amber" in tag:
            raise ChatError(ChatErrorKind.SERVER, "no")
        said = doors_script(messages, tag)  # type: ignore[arg-type]
        if "/optimize" in tag:
            return "Open what is asked for."
        colour = tag.rpartition("%2F")[2].partition("/")[0]
        return said if "validation" not in tag or "amber" in tag else solved(messages, colour)

    ready, _ = learning(script=script, rounds=1, acceptance="not_worse")
    start, first = run(ready)
    assert first.decision is Decision.ACCEPTED
    assert first.reason == "score 1.000 -> 1.000 on 4 validation tasks, 0 won, 0 lost, 1 left out"
    assert first.best == start.after


def solved(messages: list[object], colour: str) -> str:
    held = "You hold" in messages[-1].content  # type: ignore[attr-defined]
    return f"open[{colour}]" if held else f"take[{colour}]"


def test_a_passing_failure_costs_one_episode_and_not_the_run() -> None:
    ready, _ = learning(script=raising(ChatErrorKind.TIMEOUT, "train-001"))
    rounds = run(ready)
    assert [e.status.value for e in rounds[1].episodes] == ["out_of_steps", "chat_error", "out_of_steps"]
    assert [r.problem for r in rounds[1].reflections] == ["", "episode: chat_error", ""]
    assert rounds[1].decision is Decision.ACCEPTED

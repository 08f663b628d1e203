"""Episodes on a toy environment with a scripted chat: every one ends with a named status. No model, no network."""

import asyncio
import gc
import json
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from pract.agent import Agent, AgentConfig
from pract.budget import Budget, Ledger
from pract.calls import RecordedChat
from pract.envs.base import Environment
from pract.episode import WINDOW, Job, play_many
from pract.errors import InputError
from pract.events import EventLog
from pract.llm.base import ChatError, ChatErrorKind
from pract.records import from_json, to_json
from pract.seats import Seats
from pract.types import Action, Episode, Observation, Status, StepResult, Task
from tests.pract.fakes import LOOK, OPEN, TAKE, Clock, Doors, ScriptedChat, doors_script

ACTIONS = (LOOK, TAKE, OPEN)


def play(
    script: Callable[..., str],
    *,
    factory: Callable[[], Environment] = Doors,
    count: int = 1,
    seats: int = 1,
    budget: Budget | None = None,
    step_seconds: float = 20.0,
    delay: float = 0.0,
    **config: object,
) -> list[Episode]:
    chat = RecordedChat(ScriptedChat(script, delay=delay), EventLog(), Ledger(budget or Budget(), Clock()))
    agent = Agent(chat, AgentConfig(**{"style": "act", **config}), ACTIONS)  # type: ignore[arg-type]
    tasks = Doors().tasks("train")

    async def all_of_them() -> list[Episode]:
        pool = Seats(factory, seats, step_seconds=step_seconds)
        jobs = (Job(key=f"e/{n}", task=tasks[n % 4], agent=agent, seed=0) for n in range(count))
        try:
            return [episode async for episode in play_many(jobs, pool)]
        finally:
            await pool.close()

    return asyncio.run(all_of_them())


def solve(messages: list[object], tag: str) -> str:
    user = messages[-1].content  # type: ignore[attr-defined]
    colour = user.split("Open the ")[1].split(" ")[0]
    return f"open[{colour}]" if "You hold" in user else f"take[{colour}]"


def test_a_solved_task_is_finished_with_score_one() -> None:
    (episode,) = play(solve)
    assert (episode.status, episode.score, episode.progress, episode.success) == (
        Status.FINISHED,
        1.0,
        1.0,
        True,
    )
    assert [step.action.name for step in episode.steps if step.action] == ["take", "open"]
    assert episode.steps[0].progress == 0.5
    assert (episode.environment, episode.environment_version) == ("doors", "1")


def test_an_episode_survives_json() -> None:
    (episode,) = play(solve)
    assert from_json(Episode, json.loads(json.dumps(to_json(episode)))) == episode


def test_the_step_limit_is_the_tasks_if_that_is_lower() -> None:
    (episode,) = play(lambda *_: "look[]")
    assert (episode.status, len(episode.steps)) == (Status.OUT_OF_STEPS, 4)
    (episode,) = play(lambda *_: "look[]", max_steps=2)
    assert (episode.status, len(episode.steps)) == (Status.OUT_OF_STEPS, 2)


def test_inner_actions_take_a_step_and_never_reach_the_environment() -> None:
    (episode,) = play(lambda *_: "Think[hm]", style="react", max_steps=2)
    assert [(step.inner, step.observation) for step in episode.steps] == [(True, "OK"), (True, "OK")]
    (episode,) = play(lambda *_: "Finish[I give up]", finish=True)
    assert (episode.status, episode.score, len(episode.steps)) == (Status.FINISHED, 0.0, 1)


def test_an_unreadable_reply_becomes_an_observation() -> None:
    (episode,) = play(lambda *_: "no idea", max_steps=1)
    assert episode.steps[0].problem == "invalid_format"
    assert episode.steps[0].observation.startswith("No action was found in the reply.")


def test_a_repeated_call_is_marked_and_told() -> None:
    (episode,) = play(lambda *_: "take[]")
    first, second, third, fourth = episode.steps
    told = "The same call as before, refused for the same reason: That cannot be done. Make a different call."
    assert [s.repeated for s in episode.steps] == [False, True, True, True]
    assert first.observation == "That cannot be done."
    assert second.observation == third.observation == fourth.observation == told
    (episode,) = play(lambda *_: "look[]", max_steps=3)
    stands_above = "The same call as before, and its answer stands above. Make a different call."
    assert [s.observation for s in episode.steps[1:]] == [stands_above] * 2


def test_a_call_that_was_made_in_between_gets_its_whole_answer_again() -> None:
    calls = {"00": "look[]", "01": "take[red]", "02": "look[]"}
    (episode,) = play(lambda _, tag: calls[tag[-2:]], max_steps=3)
    assert [s.repeated for s in episode.steps] == [False, False, True]
    assert episode.steps[2].observation == (
        "The same call as before, with the same answer: Keys of every colour hang here."
    )


def test_an_unreadable_reply_that_is_repeated_is_told_too() -> None:
    (episode,) = play(lambda *_: "no idea", max_steps=2)
    assert episode.steps[1].repeated
    assert episode.steps[1].observation.startswith("The same reply as before. No action was found")


def test_repeats_are_marked_but_not_told_if_that_is_switched_off() -> None:
    (episode,) = play(lambda *_: "take[]", max_steps=2, tell_repeats=False)
    assert [s.repeated for s in episode.steps] == [False, True]
    assert episode.steps[1].observation == "That cannot be done."


@pytest.mark.parametrize("kind", [kind for kind in ChatErrorKind if kind is not ChatErrorKind.CONTEXT_LENGTH])
def test_a_chat_error_is_a_status_with_its_kind(kind: ChatErrorKind) -> None:
    def broken(messages: object, tag: str) -> str:
        raise ChatError(kind, "out of order")

    (episode,) = play(broken)
    assert (episode.status, episode.failure) == (Status.CHAT_ERROR, f"{kind.value}: out of order")


def test_a_prompt_that_outgrows_the_context_is_the_agents_own_outcome() -> None:
    def too_long(messages: object, tag: str) -> str:
        if tag.endswith("step-01"):
            raise ChatError(ChatErrorKind.CONTEXT_LENGTH, "4097 tokens")
        return "take[red]"

    (episode,) = play(too_long)
    assert (episode.status.value, episode.failure) == ("out_of_context", "context_length: 4097 tokens")
    assert (episode.status.counts, episode.score, episode.progress, len(episode.steps)) == (True, 0.0, 0.5, 1)


def test_a_spent_budget_is_a_status() -> None:
    episodes = play(solve, count=3, budget=Budget(calls=3))
    assert [e.status for e in episodes] == [Status.FINISHED, Status.BUDGET, Status.BUDGET]
    assert episodes[2].failure == "calls: budget.calls=3 is spent"


class Broken(Doors):
    def __init__(self, fault: Callable[[], object]) -> None:
        super().__init__()
        self.fault = fault

    def step(self, action: Action) -> StepResult:
        return self.fault()  # type: ignore[return-value]


def raise_it(error: Exception) -> object:
    raise error


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        (lambda: raise_it(KeyError("x")), "KeyError: 'x'"),
        (
            lambda: StepResult(observation=Observation(text=""), score=2.0),
            "ValueError: score=2.0 is outside 0 to 1",
        ),
        (
            lambda: StepResult(observation=Observation(text=""), info={"o": object}),
            "TypeError: <class 'object'>",
        ),
        (lambda: None, "AttributeError: 'NoneType' object has no attribute 'observation' (episode.py, line"),
        (lambda: StepResult(observation="text"), "TypeError: 'text' is not an Observation with a text"),  # type: ignore[arg-type]
        (lambda: time.sleep(0.6), "EnvironmentHung: no answer within 0.2 s"),
        (lambda: next(iter([])), "RuntimeError: the environment raised StopIteration (test_episode.py, line"),
        (
            lambda: raise_it(TimeoutError("its own server")),
            "TimeoutError: its own server",
        ),
    ],
)
def test_a_broken_environment_is_a_status_and_the_next_episode_gets_a_new_one(
    fault: Callable[[], object], failure: str
) -> None:
    made: list[Environment] = []

    def factory() -> Environment:
        made.append(Broken(fault) if not made else Doors())
        return made[-1]

    first, second = play(solve, factory=factory, count=2, step_seconds=0.2)
    assert first.status is Status.ENVIRONMENT_ERROR
    assert first.failure.startswith(failure)
    assert second.status is Status.FINISHED
    assert len(made) == 2
    closed = made[0]._task is None  # type: ignore[attr-defined]
    assert closed == ("EnvironmentHung" not in failure)


def told(*results: StepResult) -> Episode:
    """An episode in which the environment gives these answers in turn."""
    answers = iter(results)
    (episode,) = play(lambda _, tag: f"take[{tag[-2:]}]", factory=lambda: Broken(lambda: next(answers)))
    return episode


def test_progress_is_the_best_on_the_way() -> None:
    seen = Observation(text="")
    found = told(
        StepResult(observation=seen, progress=0.5),
        StepResult(observation=seen, progress=0.0, terminated=True),
    )
    assert (found.progress, [step.progress for step in found.steps]) == (0.5, [0.5, 0.0])


@pytest.mark.parametrize(
    ("said", "score", "success"),
    [(False, 1.0, False), (True, 0.5, True), (None, 1.0, True), (None, 0.9, False)],
)
def test_an_environment_that_says_what_success_is_has_the_last_word(
    said: bool | None, score: float, success: bool
) -> None:
    found = told(
        StepResult(observation=Observation(text=""), score=score, success=said, terminated=True),
    )
    assert (found.score, found.success) == (score, success)


def test_an_environment_that_was_made_too_late_is_closed_and_never_played() -> None:
    made: list[Prompt] = []
    late = threading.Event()

    class Slow(Prompt):
        quick = False

    def factory() -> Prompt:
        first = not made
        made.append(Slow())
        if first:
            late.wait(5)
        return made[0] if first else made[-1]

    def then(messages: list[object], tag: str) -> str:
        late.set()
        time.sleep(0.05)  # the first one is ready now, and the second episode under way
        return solve(messages, tag)

    first, second = play(then, factory=factory, count=2, step_seconds=0.2)
    assert (first.status, second.status) == (Status.ENVIRONMENT_ERROR, Status.FINISHED)
    assert [len(one.played_on) for one in made] == [0, 1]
    assert [one.closed for one in made] == [True, True]


def test_bad_input_found_by_an_environment_ends_the_run() -> None:
    def factory() -> Environment:
        raise InputError("data/goals.jsonl, line 3: not JSON: restore the file")

    with pytest.raises(InputError, match="line 3"):
        play(solve, factory=factory)


def test_an_environment_lives_on_one_thread() -> None:
    threads: list[set[int]] = []

    class Homebody(Doors):
        def __init__(self) -> None:
            super().__init__()
            self.seen = {threading.get_ident()}
            threads.append(self.seen)

        def reset(self, task: Task, seed: int = 0) -> Observation:
            self.seen.add(threading.get_ident())
            return super().reset(task, seed)

        def step(self, action: Action) -> StepResult:
            self.seen.add(threading.get_ident())
            return super().step(action)

    assert all(
        e.status is Status.FINISHED for e in play(solve, factory=Homebody, count=12, seats=3, delay=0.001)
    )
    assert 1 <= len(threads) <= 3
    assert [len(seen) for seen in threads] == [1] * len(threads)


class Prompt(Doors):
    """Doors that promise to be quick."""

    quick = True

    def __init__(self) -> None:
        super().__init__()
        self.made_on, self.played_on, self.closed = threading.get_ident(), set[int](), False

    def step(self, action: Action) -> StepResult:
        self.played_on.add(threading.get_ident())
        return super().step(action)

    def close(self) -> None:
        self.closed = True


def test_a_quick_environment_is_made_aside_and_played_where_its_calls_are_awaited() -> None:
    made: list[Prompt] = []

    def factory() -> Prompt:
        made.append(Prompt())
        return made[-1]

    episodes = play(solve, factory=factory, count=12, seats=3, delay=0.001)
    assert all(e.success for e in episodes)
    assert [one.played_on for one in made] == [{threading.get_ident()}] * len(made)
    assert threading.get_ident() not in {one.made_on for one in made}
    assert all(one.closed for one in made)


def test_a_quick_environment_that_raises_is_closed_and_replaced() -> None:
    made: list[Prompt] = []

    class Faulty(Prompt):
        def step(self, action: Action) -> StepResult:
            raise ValueError("boom")

    def factory() -> Prompt:
        made.append(Prompt() if made else Faulty())
        return made[-1]

    first, second = play(solve, factory=factory, count=2)
    assert (first.status, second.status) == (Status.ENVIRONMENT_ERROR, Status.FINISHED)
    assert first.failure.startswith("ValueError: boom")
    assert [one.closed for one in made] == [True, True]


def test_episodes_come_in_the_order_of_the_jobs() -> None:
    episodes = play(solve, count=20, seats=5, delay=0.001)
    assert [e.id for e in episodes] == [f"e/{n}" for n in range(20)]


def test_a_thousand_queued_episodes_are_taken_as_room_becomes_free() -> None:
    taken, ahead = 0, 0
    agent = Agent(ScriptedChat(solve), AgentConfig(style="act"), ACTIONS)
    task = Doors().tasks("train")[0]

    def jobs() -> Iterator[Job]:
        nonlocal taken
        for number in range(1_000):
            taken += 1
            yield Job(key=str(number), task=task, agent=agent, seed=0)

    async def run() -> int:
        nonlocal ahead
        pool, done = Seats(Doors, 8), 0
        async for _ in play_many(jobs(), pool):
            done += 1
            ahead = max(ahead, taken - done)
        await pool.close()
        return done

    assert asyncio.run(run()) == 1_000
    assert ahead <= WINDOW * 8
    gc.collect()


def test_sixty_four_episodes_at_once_keep_a_slow_chat_busy() -> None:
    """Without a server: each call takes 50 ms, 192 episodes of 2 calls on 64 seats are 6 waves of 50 ms."""
    started = time.perf_counter()
    episodes = play(solve, count=192, seats=64, delay=0.05)
    taken = time.perf_counter() - started
    assert all(e.success for e in episodes)
    assert taken < 2.0


@pytest.mark.parametrize("count", [0, -1])
def test_no_seat_at_all_is_refused(count: int) -> None:
    with pytest.raises(InputError, match=f"concurrency={count} is below 1"):
        Seats(Doors, count)


def test_closing_the_stream_early_leaves_nothing_running() -> None:
    agent = Agent(ScriptedChat(doors_script, delay=0.01), AgentConfig(style="act"), ACTIONS)
    task = Doors().tasks("train")[0]

    async def run() -> int:
        pool = Seats(Doors, 2)
        stream = play_many((Job(key=str(n), task=task, agent=agent, seed=0) for n in range(50)), pool)
        async for _ in stream:
            break
        await stream.aclose()  # type: ignore[attr-defined]
        left = len(asyncio.all_tasks()) - 1
        await pool.close()
        return left

    assert asyncio.run(run()) == 0

"""Outcomes on held-out tasks, with a scripted chat; no model."""

import asyncio

from pract.agent import Agent, AgentConfig
from pract.evaluation import error_counts, evaluate, outcome
from pract.seats import Seats
from pract.types import Episode, Principles, Status
from tests.pract.fakes import Doors, ScriptedChat, doors_script
from tests.pract.made import ACTIONS, episode, step


def evaluated(principles: Principles | None, attempts: int = 1) -> list[Episode]:
    agent = Agent(ScriptedChat(doors_script), AgentConfig(style="act"), ACTIONS, principles)

    async def collect() -> list[Episode]:
        seats = Seats(Doors, 2)
        try:
            played = evaluate(agent, Doors().tasks("test"), seats, arm="pract", attempts=attempts, seed=5)
            return [one async for one in played]
        finally:
            await seats.close()

    return asyncio.run(collect())


def test_arms_are_paired_by_task_and_attempt() -> None:
    plain = [outcome(e, seed=5) for e in evaluated(None, attempts=2)]
    taught = [
        outcome(e, seed=5) for e in evaluated(Principles(texts={"open": "Take the key first."}), attempts=2)
    ]
    assert [(o.task, o.attempt) for o in plain] == [(o.task, o.attempt) for o in taught]
    assert [(o.task, o.attempt) for o in plain][:3] == [
        ("door/olive", 0),
        ("door/olive", 1),
        ("door/pearl", 0),
    ]
    assert [e.seed for e in evaluated(None, attempts=2)][:2] == [5, 1_000_008]
    assert {o.score for o in plain} == {0.0}
    assert {o.score for o in taught} == {1.0}


def test_each_attempt_asks_the_model_under_a_seed_of_its_own() -> None:
    chat = ScriptedChat(doors_script)
    agent = Agent(chat, AgentConfig(style="act", max_steps=1, max_tokens=77), ACTIONS)

    async def collect() -> list[Episode]:
        seats = Seats(Doors, 1)
        try:
            played = evaluate(agent, Doors().tasks("test")[:1], seats, arm="act", attempts=2, seed=5)
            return [one async for one in played]
        finally:
            await seats.close()

    asyncio.run(collect())
    assert [(asked["seed"], asked["max_tokens"], asked["stop"]) for asked in chat.options] == [
        (5, 77, ("\nObservation:", "\nTask:")),
        (1_000_008, 77, ("\nObservation:", "\nTask:")),
    ]


def test_an_outcome_counts_what_an_episode_cost_and_got_wrong() -> None:
    played = episode(
        step(0, None, problem="invalid_format"),
        step(1, "open", refused=True),
        status=Status.OUT_OF_STEPS,
        score=0.5,
    )
    found = outcome(played)
    assert (found.steps, found.unread, found.refused, found.score, found.counts) == (2, 1, 1, 0.5, True)
    assert outcome(episode(status=Status.ENVIRONMENT_ERROR)).counts is False


def test_error_patterns_are_counted_over_episodes() -> None:
    agent = Agent(ScriptedChat(doors_script), AgentConfig(style="act"), ACTIONS)
    played = episode(step(0, None, problem="invalid_format"), status=Status.OUT_OF_STEPS)
    assert error_counts([played, played], agent) == {"(unknown)": {"invalid format": 2}}

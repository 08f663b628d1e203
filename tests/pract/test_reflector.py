"""The reflector, with a scripted chat; no model."""

import asyncio

import pytest

from pract.llm.base import ChatErrorKind
from pract.reflector import Reflector, ReflectorConfig, bounded
from pract.types import Episode, Reflection, Status
from tests.pract.fakes import ScriptedChat
from tests.pract.made import ACTIONS, PRINCIPLES, episode, fail, spent, step


def reflect(script: object, played: Episode, *, reward_shown: bool = True, **config: object) -> Reflection:
    chat = ScriptedChat(script)  # type: ignore[arg-type]
    reflector = Reflector(chat, ReflectorConfig(**config), ACTIONS, reward_shown=reward_shown)  # type: ignore[arg-type]
    return asyncio.run(reflector.reflect(played, PRINCIPLES, tag="r"))


def test_a_reflection_is_evidence_for_actions_tried_or_named() -> None:
    found = reflect(lambda *_: "Reflection: You should take the key.", episode(step(0, "open")))
    assert (found.text, found.actions, found.usable) == ("You should take the key.", ("take", "open"), True)


def test_a_reflection_is_bounded_in_size() -> None:
    assert len(reflect(lambda *_: "word " * 9_000, episode(step(0, "open")), words=10).text.split()) == 21
    assert len(bounded("x" * 90_000, 10)) == 124


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (lambda *_: "  \n", "empty"),
        (fail(ChatErrorKind.SERVER), "chat_error: server: no"),
        (spent, "budget: budget.calls=3 is spent"),
    ],
)
def test_an_unusable_reflection_is_a_record_with_a_reason(script: object, problem: str) -> None:
    found = reflect(script, episode(step(0, "open")))
    assert (found.text, found.problem, found.usable) == ("", problem, False)


def test_an_episode_that_broke_is_not_reflected_on() -> None:
    found = reflect(fail(ChatErrorKind.AUTH), episode(status=Status.ENVIRONMENT_ERROR))
    assert found.problem == "episode: environment_error"


@pytest.mark.parametrize(
    ("success", "reward_shown", "solved", "problem"),
    [
        (True, True, False, "solved"),
        (False, True, False, ""),
        (True, False, False, ""),  # Self-RPO must not be told by what is left out
        (True, True, True, ""),
    ],
)
def test_solved_episodes_may_be_left_alone(
    success: bool, reward_shown: bool, solved: bool, problem: str
) -> None:
    played = episode(step(0, "open"), success=success)
    found = reflect(lambda *_: "Take the key.", played, reward_shown=reward_shown, solved=solved)
    assert found.problem == problem


def test_the_reward_is_in_the_prompt_only_if_it_is_shown() -> None:
    played = episode(step(0, "open", score=0.37, progress=0.62, reward=0.37), score=0.37, progress=0.62)
    for shown in (True, False):
        reflector = Reflector(ScriptedChat(lambda *_: ""), ReflectorConfig(), ACTIONS, reward_shown=shown)
        text = "\n".join(m.content for m in reflector.prompt(played, PRINCIPLES))
        assert ("0.37" in text, "0.62" in text, "not solved" in text) == (shown, shown, shown)


def test_failed_calls_are_in_the_prompt_unless_they_are_switched_off() -> None:
    played = episode(step(0, "open", refused=True))
    for shown in (True, False):
        config = ReflectorConfig(failures=shown)
        reflector = Reflector(ScriptedChat(lambda *_: ""), config, ACTIONS, reward_shown=True)
        text = "\n".join(m.content for m in reflector.prompt(played, PRINCIPLES))
        assert ("# Failed Calls" in text, "wrong argument name" in text) == (shown, shown)


def test_a_long_episode_fits_the_reflectors_context() -> None:
    played = episode(*(step(n, "look", "word " * 400) for n in range(40)))
    chat = ScriptedChat(lambda *_: "", context_tokens=1_500)
    reflector = Reflector(chat, ReflectorConfig(max_tokens=100), ACTIONS, reward_shown=True)
    messages = reflector.prompt(played, PRINCIPLES)
    assert sum(chat.count_tokens(m.content) for m in messages) <= 1_400
    assert "[observation left out to fit the context]" in messages[1].content

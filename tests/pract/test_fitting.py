"""What leaves the agent no room is refused, with a scripted chat; no model."""

from dataclasses import replace

import pytest

from pract.agent import Agent, AgentConfig
from pract.errors import InputError
from pract.fitting import fitting, refuse_no_room
from pract.optimizer import Change, Rewrite
from pract.types import Principles
from tests.pract.fakes import ScriptedChat, doors_script
from tests.pract.looping import learning, run
from tests.pract.made import ACTIONS, PRINCIPLES


def words(principles: Principles) -> int:
    return sum(len(text.split()) for text in (*principles.texts.values(), *principles.notes))


def rewritten(**texts: str) -> Rewrite:
    after = Principles(texts={**PRINCIPLES.texts, **texts}, parent=PRINCIPLES.version)
    changes = [Change(action=n, old=PRINCIPLES.texts[n], new=text) for n, text in texts.items()]
    return Rewrite(principles=after, changes=tuple(changes))


def test_a_rewrite_that_fits_is_left_as_it_is() -> None:
    rewrite = rewritten(open="One two three.")
    assert fitting(rewrite, PRINCIPLES, prefix=words, context=10) is rewrite


def test_the_texts_that_grew_most_are_refused_until_the_rest_fits() -> None:
    rewrite = rewritten(look="One two.", open="One two three four five six seven eight nine.")
    found = fitting(rewrite, PRINCIPLES, prefix=words, context=20)
    assert dict(found.principles.texts) == {"look": "One two.", "take": "Old take.", "open": "Old open."}
    problem = "no_room: the fixed part of the prompt would take 13 of 20 tokens"
    assert [(c.action, c.new, c.problem) for c in found.changes] == [
        ("look", "One two.", ""),
        ("open", "Old open.", problem),
    ]
    assert fitting(rewritten(open="a " * 99), PRINCIPLES, prefix=words, context=20).principles is PRINCIPLES


def test_what_was_too_long_before_may_stay_and_shrink_but_not_grow() -> None:
    for text, taken in (("One.", True), ("One two three.", False)):
        found = fitting(rewritten(open=text), PRINCIPLES, prefix=words, context=2)
        assert (found.principles is not PRINCIPLES) is taken


def test_the_oldest_notes_leave_first() -> None:
    noted = replace(PRINCIPLES, notes=("a b c", "d e f"))
    found = fitting(Rewrite(principles=noted, changes=()), PRINCIPLES, prefix=words, context=14)
    assert found.principles.notes == ("d e f",)


def test_a_loop_never_plays_under_principles_that_fill_half_the_context() -> None:
    def wordy(messages: object, tag: str) -> str:
        said = doors_script(messages, tag)  # type: ignore[arg-type]
        return f"{said} {'So it is. ' * 90}" if "/optimize" in tag else said

    ready, chat = learning(script=wordy, acceptance="off", rounds=1)
    chat.context_tokens = ready.crew.chat.context_tokens = 600
    (_, first) = run(ready)
    assert first.decision.value == "unchanged"
    assert first.reason.startswith("take: no_room: the fixed part of the prompt would take ")
    assert {e.status.value for e in first.episodes} == {"out_of_steps"}


def test_a_context_without_room_for_a_task_is_refused_at_the_door() -> None:
    chat = ScriptedChat(lambda *_: "", context_tokens=60)
    with pytest.raises(
        InputError, match=r"llm\.context_tokens=60 has no room for a task: the fixed part .* takes \d+"
    ):
        refuse_no_room(Agent(chat, AgentConfig(style="act", max_tokens=50), ACTIONS))

"""Repeated calls are recognised by call and answer, and told in words. No model."""

from pract.repeats import first_of_same, retold
from pract.types import Action
from tests.pract.made import step

LOOK = Action(name="look")


def test_a_call_is_a_repeat_if_an_earlier_one_got_the_same_answer() -> None:
    steps = [step(0, "look", "A hall."), step(1, "take", "No."), step(2, "look", "A dark hall.")]
    assert first_of_same(steps, LOOK, "", "A dark hall.") is steps[2]
    assert first_of_same(steps, LOOK, "", "A hall.") is steps[0]
    assert first_of_same(steps, LOOK, "", "Nothing new.") is None
    assert first_of_same(steps, Action(name="look", arguments={"at": "door"}), "", "A hall.") is None
    assert first_of_same(steps, Action(name="open"), "", "No.") is None


def test_a_reply_without_a_call_is_a_repeat_if_its_words_are_the_same() -> None:
    steps = [step(0, None, "No action was found.")]
    assert first_of_same(steps, None, " hm\n", "No action was found.") is steps[0]
    assert first_of_same(steps, None, "hum", "No action was found.") is None


def test_the_words_say_what_is_the_same_and_spare_what_stands_above() -> None:
    assert retold("No key.", made=True, refused=True, just_seen=True) == (
        "The same call as before, refused for the same reason: No key. Make a different call."
    )
    assert retold("A hall.", made=True, refused=False, just_seen=True) == (
        "The same call as before, and its answer stands above. Make a different call."
    )
    assert retold("A hall.", made=True, refused=False, just_seen=False) == (
        "The same call as before, with the same answer: A hall."
    )
    assert retold("No action.", made=False, refused=True, just_seen=True) == (
        "The same reply as before. No action."
    )

"""SpecTool's patterns by rules, with a scripted chat; no model."""

import pytest

from pract.diagnosis import (
    MAX_EXAMPLE,
    MAX_FINDINGS,
    Finding,
    Pattern,
    argument_fault,
    diagnose,
    findings_text,
)
from pract.types import ActionSpec
from tests.pract.fakes import OPEN
from tests.pract.made import ACTIONS, episode, step


def test_each_pattern_is_recognised_by_its_rule() -> None:
    played = episode(
        step(0, None, problem="unknown_action"),
        step(1, None, problem="invalid_format"),
        step(2, "take", arguments={"colour": "red"}, refused=True),
        step(3, "take", arguments={"key": 3}, refused=True),
        step(4, "open", arguments={"door": "pink"}, refused=True),
        step(5, "open", arguments={"door": "red"}, refused=True),
        step(6, "look"),
        step(7, "look", repeated=True),
        step(8, "take", arguments={"key": "red"}),
    )
    found = {(f.action, f.pattern): f.count for f in diagnose(played, ACTIONS, reward_shown=True)}
    assert found == {
        ("(unknown)", Pattern.WRONG_FUNCTION): 1,
        ("(unknown)", Pattern.INVALID_FORMAT): 1,
        ("take", Pattern.WRONG_NAME): 1,
        ("take", Pattern.WRONG_TYPE): 1,
        ("open", Pattern.WRONG_VALUE): 2,
        ("look", Pattern.REPEATED): 1,
        ("take", Pattern.INSUFFICIENT_CALLS): 1,
    }


def test_coming_back_after_something_new_is_no_repeated_call() -> None:
    red, blue, look = {"key": "red"}, {"key": "blue"}, {"repeated": True}
    returned = (
        step(0, "take", arguments=red),
        step(1, "look"),
        step(2, "take", arguments=blue),
        step(3, "look", **look),
    )
    assert diagnose(episode(*returned, success=True), ACTIONS, reward_shown=True) == ()
    around = (
        *returned,
        step(4, "take", arguments=blue, repeated=True),
        step(5, "look", **look),
        step(6, "look", **look),
        step(7, "open", arguments={"door": "red"}),
        step(8, "take", arguments=red, repeated=True, refused=True),
    )
    found = diagnose(episode(*around, success=True), ACTIONS, reward_shown=True)
    assert [(f.action, f.pattern, f.count) for f in found] == [
        ("look", Pattern.REPEATED, 2), ("take", Pattern.REPEATED, 2),
    ]  # fmt: skip


def test_a_number_that_the_environment_took_for_a_text_is_no_failed_call() -> None:
    spec = ActionSpec(
        name="buy",
        description="Buy.",
        parameters={"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
    )
    taken, refused = step(0, "buy", arguments={"id": 100}), step(1, "buy", arguments={"id": 7}, refused=True)
    found = diagnose(episode(taken, refused, success=True), [spec], reward_shown=False)
    assert [(f.pattern, f.count) for f in found] == [(Pattern.WRONG_TYPE, 1)]
    assert "7" in found[0].example


def test_a_flawless_episode_has_no_finding() -> None:
    played = episode(
        step(0, "take", arguments={"key": "red"}), step(1, "open", arguments={"door": "red"}), success=True
    )
    assert diagnose(played, ACTIONS, reward_shown=True) == ()
    assert diagnose(played, ACTIONS, reward_shown=False) == ()


def test_without_the_reward_the_outcome_decides_nothing() -> None:
    for success in (True, False):
        played = episode(step(0, "look"), step(1, "open", arguments={"door": "red"}), success=success)
        assert diagnose(played, ACTIONS, reward_shown=False) == ()


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"door": "red"}, None),
        ({}, Pattern.WRONG_NAME),
        ({"door": "red", "x": 1}, Pattern.WRONG_NAME),
        ({"door": 1}, Pattern.WRONG_TYPE),
        ({"door": "pink"}, Pattern.WRONG_VALUE),
    ],
)
def test_arguments_are_held_against_the_schema(arguments: dict[str, object], fault: Pattern | None) -> None:
    assert argument_fault(OPEN, arguments) is fault


def test_findings_are_bounded_in_size() -> None:
    many = [Finding(action=f"a{n}", pattern=Pattern.REPEATED, count=1, example="x" * 200) for n in range(50)]
    assert findings_text(many).endswith("- and 38 kinds more")
    assert len(findings_text(many).splitlines()) == MAX_FINDINGS + 1
    played = episode(step(0, "take", "y" * 9_000, arguments={"key": "x" * 9_000}, refused=True))
    assert all(len(f.example) <= MAX_EXAMPLE for f in diagnose(played, ACTIONS, reward_shown=True))

"""The whole loop on a toy environment with a scripted chat: no network, no model, no clock."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from pract.baselines.ace import DeltaOptimizer
from pract.budget import Budget
from pract.envs.base import Environment
from pract.errors import InputError
from pract.optimizer import PrincipleOptimizer
from pract.records import to_json
from pract.rounds import Decision, round_record
from pract.rpo import RpoConfig, learning_tasks, task_batches
from pract.types import Message
from tests.pract.fakes import Doors, doors_script
from tests.pract.looping import VARIANTS, learning, run
from tests.pract.test_parsing import PIECES

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_variant_learns_its_golden_principles(variant: str) -> None:
    ready, _ = learning(**VARIANTS[variant])
    rounds = run(ready)
    golden = json.loads((GOLDEN / "final_principles.json").read_text())[variant]
    assert [r.decision.value for r in rounds] == golden["decisions"]
    assert [p.author for r in rounds for p in r.versions] == golden["authors"]
    assert {**to_json(rounds[-1].best), "version": rounds[-1].best.version} == golden["best"]


def test_the_gate_rejects_what_validation_does_not_like_and_keeps_the_best() -> None:
    def worse(messages: object, tag: str) -> str:
        said = doors_script(messages, tag)  # type: ignore[arg-type]
        return "Never open." if "/optimize" in tag else said

    for rule, decision in (
        ("improve", Decision.REJECTED),
        ("not_worse", Decision.ACCEPTED),
        ("off", Decision.ACCEPTED),
    ):
        ready, _ = learning(script=worse, acceptance=rule, rounds=1)
        start, first = run(ready)
        assert first.decision is decision
        assert (first.after == first.before) == (decision is Decision.REJECTED)
        assert (first.best == start.after) == (rule != "off")


ENDS = "; the run ends: rpo.patience=2 is spent without an accepted candidate"


@pytest.mark.parametrize(
    ("good", "decisions"),
    [
        ([], ["start", "rejected", "rejected"]),
        ([2], ["start", "rejected", "accepted", "rejected", "rejected"]),
        ([3], ["start", "rejected", "rejected"]),
    ],
)
def test_a_run_ends_when_its_patience_with_the_gate_does(good: list[int], decisions: list[str]) -> None:
    ready, chat = learning(script=good_in(good), rounds=6, patience=2)
    rounds = run(ready)
    assert [round_.decision.value for round_ in rounds] == decisions
    assert [round_.reason.endswith(ENDS) for round_ in rounds] == [False] * (len(rounds) - 1) + [True]
    assert not [tag for tag, _ in chat.asked if tag.startswith(f"round-{len(rounds):03d}")]
    patient, _ = learning(script=good_in(good), rounds=6)
    assert len(run(patient)) == 7


def good_in(rounds: list[int]) -> object:
    """Rewrites that help in these rounds alone."""

    def script(messages: object, tag: str) -> str:
        helps = any(tag.startswith(f"round-{number:03d}") for number in rounds)
        return "Never open." if "/optimize" in tag and not helps else doors_script(messages, tag)  # type: ignore[arg-type]

    return script


def test_a_round_that_changes_nothing_costs_patience_and_one_that_is_stopped_ends_by_its_own_reason() -> None:
    ready, _ = learning(script=lambda *_: "", rounds=6, patience=2)
    rounds = run(ready)
    assert [round_.decision.value for round_ in rounds] == ["start", "unchanged", "unchanged"]
    assert rounds[-1].reason == f"no reflection to learn from: empty{ENDS}"
    ready, _ = learning(script=good_in([]), rounds=6, patience=1, budget=Budget(calls=15))
    assert run(ready)[-1].reason == "budget: calls: budget.calls=15 is spent"


def test_patience_is_rebuilt_from_the_log_and_may_be_raised(tmp_path: Path) -> None:
    path = tmp_path / "whole"
    expected = [round_record(r) for r in run(learning(path, script=good_in([]), rounds=4, patience=2)[0])]
    lines = path.read_bytes().splitlines(keepends=True)
    for cut in range(0, len(lines) + 1, 7):
        begun = tmp_path / f"cut-{cut}"
        begun.write_bytes(b"".join(lines[:cut]))
        ready, _ = learning(begun, script=good_in([]), rounds=4, patience=2)
        assert [round_record(r) for r in run(ready)] == expected
    ready, chat = learning(path, script=good_in([]), rounds=4, patience=3)
    rounds = run(ready)
    assert [round_.decision.value for round_ in rounds] == ["start", "rejected", "rejected", "rejected"]
    assert "the run ends" not in rounds[2].reason
    assert {tag[:9] for tag, _ in chat.asked} == {"round-003"}


def test_patience_needs_a_gate_and_a_positive_number() -> None:
    with pytest.raises(InputError, match=r"rpo\.patience=2 counts rounds .* rpo\.acceptance=off has none"):
        RpoConfig(patience=2, acceptance="off")
    with pytest.raises(InputError, match=r"rpo\.patience=0 is below 1"):
        RpoConfig(patience=0)


def decisions(script: object, knob: str, *values: object, **config: object) -> list[str]:
    """What the gate decides of the first round's candidate under each value of a knob."""
    found = []
    for value in values:
        ready, _ = learning(script=script, rounds=1, **{knob: value}, **config)
        found.append(run(ready)[1].decision.value)
    return found


def test_the_gate_asks_for_the_least_gain_of_the_configuration() -> None:
    """Three validation tasks lost under the start are won under the candidate."""
    assert decisions(doors_script, "min_gain", 0.99, 1.0) == ["accepted", "rejected"]


def test_the_gate_compares_by_the_measure_of_the_configuration() -> None:
    """Under the candidate the key is taken, which is progress, and no door is opened."""

    def halfway(messages: Sequence[Message], tag: str) -> str:
        said = doors_script(messages, tag)
        return "look[]" if said.startswith("open[") else said

    assert decisions(halfway, "measure", "score", "success", "progress") == [
        "rejected", "rejected", "accepted",
    ]  # fmt: skip


def test_the_gate_forgives_a_fall_by_the_alpha_of_the_configuration() -> None:
    """Three validation tasks won under the start are lost under the candidate: p is 1/8."""

    def spoilt(messages: Sequence[Message], tag: str) -> str:
        if "/optimize" in tag:
            return "Never open."
        system = messages[0].content
        if "Never open." in system:
            return "look[]"
        taught = Message(role="system", content=f"{system}\nTake the key first.")
        return doors_script([taught, *messages[1:]] if "/step-" in tag else messages, tag)

    rule = {"acceptance": "not_worse"}
    assert decisions(spoilt, "alpha", 0.12, 0.125, **rule) == ["accepted", "rejected"]


def test_each_validation_task_is_played_as_often_as_configured_under_seeds_of_its_own() -> None:
    ready, _ = learning(validation_attempts=2, rounds=1)
    start, first = run(ready)
    for played in (start.validation, first.validation):
        assert [(e.task_id, e.seed) for e in played] == [
            (f"door/{colour}", seed) for colour in ("black", "amber", "ivory") for seed in (0, 1_000_003)
        ]


def test_acceptance_off_plays_no_validation_task() -> None:
    ready, chat = learning(acceptance="off")
    rounds = run(ready)
    assert all(not r.validation for r in rounds)
    assert not any("/validation/" in tag for tag, _ in chat.asked)


def test_self_rpo_shows_the_reflector_no_outcome() -> None:
    for reflection, shown in (("reward", True), ("self", False)):
        ready, chat = learning(reflection=reflection)
        run(ready)
        prompts = [
            "\n".join(m.content for m in messages) for tag, messages in chat.asked if tag.endswith("reflect")
        ]
        assert prompts
        for prompt in prompts:
            words = ("score", "progress", "success", "solved", "reward")
            assert any(word in prompt.lower() for word in words) is shown


def test_a_test_split_cannot_be_named() -> None:
    with pytest.raises(InputError, match="evaluate_pract"):
        RpoConfig(train_split="test")
    with pytest.raises(InputError, match="evaluate_pract"):
        RpoConfig(validation_split="test")


def test_no_test_task_is_ever_played() -> None:
    ready, chat = learning()
    run(ready)
    assert not [tag for tag, _ in chat.asked for colour in ("olive", "pearl", "coral") if colour in tag]


def test_unfit_splits_are_refused_in_one_line() -> None:
    doors: Environment = Doors()
    with pytest.raises(InputError, match="no split 'dev'"):
        learning_tasks(doors.splits(), doors.tasks, RpoConfig(validation_split="dev"))
    with pytest.raises(InputError, match="is empty"):
        learning_tasks(doors.splits(), lambda split: [], RpoConfig())
    with pytest.raises(InputError, match="is in both"):
        learning_tasks(doors.splits(), lambda split: doors.tasks("train"), RpoConfig())


def test_without_a_gate_no_validation_split_is_needed() -> None:
    class Untested(Doors):
        def splits(self) -> Sequence[str]:
            return ("train",)

    ready, _ = learning(factory=Untested, acceptance="off")
    assert len(run(ready)) == 3
    with pytest.raises(InputError, match="no split 'validation'"):
        learning(factory=Untested, acceptance="improve")
    with pytest.raises(InputError, match="no split 'validation'"):
        learning(factory=Untested, acceptance="off", validates=True)


def test_every_training_task_comes_up_once_before_any_comes_up_again() -> None:
    tasks = Doors().tasks("train")
    batches = list(task_batches(tasks, RpoConfig(rounds=4, batch_size=2, seed=3)))
    names = [task.id for batch in batches for task in batch]
    assert sorted(names[:4]) == sorted(names[4:]) == sorted(task.id for task in tasks)
    assert names[:4] != names[4:]


def test_a_run_of_unusable_replies_ends_with_everything_on_record() -> None:
    ready, _ = learning(script=lambda messages, tag: "")
    rounds = run(ready)
    assert [r.decision for r in rounds] == [Decision.START, Decision.UNCHANGED, Decision.UNCHANGED]
    assert {r.problem for r in rounds[1].reflections} == {"empty"}
    assert rounds[1].reason == "no reflection to learn from: empty"
    assert {e.status.value for e in rounds[1].episodes} == {"out_of_steps"}
    assert [(f.pattern.value, f.count) for f in rounds[1].findings] == [("invalid format", 12)]


@pytest.mark.parametrize("variant", list(VARIANTS)[:3])
def test_a_run_of_fuzzed_replies_ends_with_every_episode_accounted_for(variant: str, tmp_path: Path) -> None:
    words = (
        *PIECES,
        "take:",
        "open:",
        "EDIT 1:",
        "ADD:",
        'open[{"door": "red"}]',
        "take[red]",
        "New Principle for open:",
    )
    for seed in range(8):
        draw = random.Random(seed)
        ready, _ = learning(
            tmp_path / str(seed),
            script=lambda messages, tag, draw=draw: " ".join(draw.choices(words, k=draw.randint(0, 40))),
            optimizer=DeltaOptimizer if seed % 2 else PrincipleOptimizer,
            acceptance="off",
            **VARIANTS[variant],
        )
        rounds = run(ready)
        assert len(rounds) == 3
        assert all(e.status.counts for r in rounds for e in r.episodes)
        assert all(c.new == c.old for r in rounds for c in r.changes if c.problem)


def test_what_was_half_learned_when_the_budget_ended_is_not_adopted() -> None:
    half = 0
    for calls in range(1, 40):
        ready, _ = learning(acceptance="off", budget=Budget(calls=calls))
        last = run(ready)[-1]
        assert last.decision is not Decision.STOPPED or last.after == last.before
        half += last.decision is Decision.STOPPED and last.candidate != last.before
    assert half > 0


def test_the_estimate_bounds_the_calls_of_a_run() -> None:
    ready, chat = learning()
    bound = ready.estimate()
    run(ready)
    assert len(chat.asked) <= bound.calls
    assert bound.episodes == 15


def test_reflections_on_no_action_change_nothing_and_the_round_says_so() -> None:
    ready, _ = learning(script=lambda messages, tag: "Hm.", rounds=1)
    assert run(ready)[1].reason == "no reflection is evidence for an action"

"""The baselines as optimizers, with a scripted chat; no model."""

import asyncio
import time
from functools import partial

import pytest

from pract.agent import Agent, AgentConfig
from pract.baselines.ace import DeltaOptimizer, apply_edits, items_of
from pract.baselines.reflexion import KEPT, NotesOptimizer
from pract.errors import InputError
from pract.leaks import LeakCheck
from pract.optimizer import Change, OptimizerConfig, PrincipleOptimizer
from pract.types import Principles, Reply, Task
from pract.wiring import OptimizerFactory
from tests.pract.fakes import ScriptedChat, doors_script
from tests.pract.looping import learning, run
from tests.pract.made import ACTIONS, PRINCIPLES, reflection


def test_reflexion_keeps_the_latest_reflections_as_notes() -> None:
    optimizer = NotesOptimizer(ScriptedChat(lambda *_: ""), OptimizerConfig(), ACTIONS)
    lessons = [reflection(f"lesson {n}", n=n) for n in range(KEPT + 2)]
    rewrite = asyncio.run(optimizer.improve(PRINCIPLES, lessons, tag="x"))
    assert rewrite.principles.notes == tuple(f"lesson {n}" for n in range(2, KEPT + 2))
    assert rewrite.principles.texts == PRINCIPLES.texts
    assert rewrite.principles.version != PRINCIPLES.version


def test_ace_edits_items_one_by_one() -> None:
    old = "[1] Look first. [2] Take the key."
    assert items_of(old) == ["Look first.", "Take the key."]
    assert (
        apply_edits(old, "ADD: Then open.\nEDIT 1: Look twice.\nREMOVE 2") == "[1] Look twice. [2] Then open."
    )
    assert apply_edits("Hand-written.", "- ADD: More.") == "[1] Hand-written. [2] More."
    assert apply_edits(old, "EDIT 9: x\nREMOVE 0\nsome words") is None
    assert apply_edits(old, "REMOVE 1\nREMOVE 2") == ""


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("REMOVE 2\nADD: Open.", "[1] Look first. [2] Open."),
        ("ADD:\n\n**Open.**\nand more words", "[1] Look first. [2] Take the key. [3] Open."),
        ("* **EDIT [2]:** [2] Open.", "[1] Look first. [2] Open."),
        ("1. REMOVE 2\n2) ADD: Open.", "[1] Look first. [2] Open."),
        ("**ADD**: Open.", "[1] Look first. [2] Take the key. [3] Open."),
        ("- **EDIT** `2`: Open.", "[1] Look first. [2] Open."),
        ("Additional words: x", None),
        ("EDIT 1:\nREMOVE 2", "[1] Look first."),
    ],
)
def test_each_edit_of_ace_ends_where_the_next_begins(reply: str, text: str | None) -> None:
    assert apply_edits("[1] Look first. [2] Take the key.", reply) == text


def edited(reply: str | Reply, old: str, **config: object) -> Change:
    """What becomes of the principle of `open` after one reply."""
    chat = ScriptedChat(lambda *_: reply)  # type: ignore[arg-type, return-value]
    optimizer = DeltaOptimizer(chat, OptimizerConfig(**config), ACTIONS)  # type: ignore[arg-type]
    before = Principles(texts={"open": old})
    (change,) = asyncio.run(optimizer.improve(before, [reflection(actions=("open",))], tag="x")).changes
    return change


def test_the_last_item_of_a_principle_can_be_removed() -> None:
    change = edited("REMOVE 1", "[1] Guess.")
    assert (change.new, change.problem) == ("", "")
    change = edited("REMOVE 2", "[1] Guess.")
    assert (change.new, change.problem) == ("[1] Guess.", "empty")


@pytest.mark.parametrize(
    ("reply", "new", "problem"),
    [
        ("ADD: Look first.\nEDIT 1: Take the", "[1] Guess. [2] Look first.", ""),
        ("REMOVE 1\nADD: Take the", "", ""),
        ("ADD: Take the", "[1] Guess.", "cut off"),
        ("", "[1] Guess.", "cut off"),
    ],
)
def test_the_last_edit_of_a_reply_that_was_cut_off_is_not_made(reply: str, new: str, problem: str) -> None:
    change = edited(Reply(text=reply, finish_reason="length"), "[1] Guess.")
    assert (change.new, change.problem) == (new, problem)


def test_the_oldest_items_of_ace_leave_first_at_the_cap() -> None:
    optimizer = DeltaOptimizer(ScriptedChat(lambda *_: ""), OptimizerConfig(principle_tokens=7), ACTIONS)
    assert optimizer.cut("[1] Old one. [2] Take the key. [3] Open it.") == "[1] Take the key. [2] Open it."


def test_ace_makes_five_edits_at_most() -> None:
    change = edited("\n".join(f"ADD: {n}." for n in "abcdef"), "[1] Guess.")
    assert change.new == "[1] Guess. [2] a. [3] b. [4] c. [5] d. [6] e."


def test_what_one_version_dropped_does_not_come_back_when_ace_merges() -> None:
    before = Principles(
        texts={"look": "Look.", "take": "[1] Guess.", "open": "[1] Guess. [2] Wait. [3] Push."}
    )
    versions = [
        Principles(texts={**before.texts, "open": "[1] Take the key. [2] Wait. [3] Push."}),
        Principles(texts={**before.texts, "open": "[1] Guess. [2] Push. [3] Look.", "take": ""}),
    ]
    optimizer = DeltaOptimizer(ScriptedChat(lambda *_: ""), OptimizerConfig(), ACTIONS)
    rewrite = asyncio.run(optimizer.merge(before, versions, tag="m"))
    assert dict(rewrite.principles.texts) == {
        "look": "Look.", "take": "", "open": "[1] Take the key. [2] Push. [3] Look.",
    }  # fmt: skip
    assert [change.action for change in rewrite.changes] == ["take", "open"]


def test_a_note_that_leaks_a_task_is_rejected_flagged_or_let_pass() -> None:
    leaks = LeakCheck([Task(id="t7", instruction="Open the red door.", data={"answer": "25.50"})])
    said, found = "The answer was 25.50 then.", "leak: '25.50' of task t7"
    for mode, notes, problem, note in (
        ("reject", (), found, ""),
        ("flag", (said,), "", found),
        ("off", (said,), "", ""),
    ):
        optimizer = NotesOptimizer(ScriptedChat(lambda *_: ""), OptimizerConfig(leak=mode), ACTIONS, leaks)
        rewrite = asyncio.run(optimizer.improve(PRINCIPLES, [reflection(said)], tag="x"))
        (change,) = rewrite.changes
        assert (rewrite.principles.notes, change.problem, change.note) == (notes, problem, note)
        assert change.new == ("" if problem else said)


@pytest.mark.parametrize(
    "reply", ["\n" * 20_000, "ADD a" + "*" * 20_000 + "x", "REMOVE" + " " * 20_000, "`-" * 20_000]
)
def test_ace_reads_a_degenerate_reply_in_no_time(reply: str) -> None:
    started = time.process_time()
    apply_edits("[1] Look first.", reply)
    assert time.process_time() - started < 1.0


def test_ace_learns_by_edits_within_the_cap() -> None:
    chat = ScriptedChat(lambda *_: "ADD: Take the key first.")
    optimizer = DeltaOptimizer(chat, OptimizerConfig(calls="all", principle_tokens=9), ACTIONS)
    rewrite = asyncio.run(optimizer.improve(PRINCIPLES, [reflection(actions=("take", "open"))], tag="x"))
    assert rewrite.principles.texts["open"] == "[1] Old open. [2] Take the key first."
    assert rewrite.principles.author == "ace/x"
    assert [tag for tag, _ in chat.asked] == ["x/take", "x/open"]


@pytest.mark.parametrize(("method", "author"), [(DeltaOptimizer, "ace"), (NotesOptimizer, "reflexion")])
@pytest.mark.parametrize("schedule", [{"schedule": "batch"}, {"schedule": "traj", "traj_mode": "merged"}])
def test_a_baseline_runs_in_the_same_loop(method: type, author: str, schedule: dict[str, str]) -> None:
    def script(messages: list[object], tag: str) -> str:
        return "ADD: Take the key first." if "/optimize" in tag else doors_script(messages, tag)  # type: ignore[arg-type]

    ready, _ = learning(script=script, acceptance="off", optimizer=method, **schedule)
    rounds = run(ready)
    assert rounds[-1].best.author.startswith(f"{author}/round-00")
    agent = Agent(ready.crew.chat, AgentConfig(style="act"), ACTIONS, rounds[-1].best)
    system = agent.prompt(ready.train[0], "", ())[0].content
    assert ("[1] Take the key first." if author == "ace" else "# Notes\n- Outcome") in system


def test_reflexion_begins_with_the_notes_that_it_is_given() -> None:
    ready, chat = learning(acceptance="off", rounds=1, optimizer=NotesOptimizer, notes=["Old lesson."])
    assert ready.start.notes == ("Old lesson.",)
    assert ready.description["notes"] == ["Old lesson."]
    best = run(ready)[-1].best
    assert (best.notes[0], len(best.notes)) == ("Old lesson.", 4)
    assert "# Notes\n- Old lesson." in chat.asked[0][1][0].content


@pytest.mark.parametrize("method", [DeltaOptimizer, PrincipleOptimizer, partial(PrincipleOptimizer)])
def test_a_method_without_notes_refuses_them(method: OptimizerFactory) -> None:
    with pytest.raises(InputError, match="holds a memory of 1 notes, which this method would lose"):
        learning(optimizer=method, notes=["Old lesson."])

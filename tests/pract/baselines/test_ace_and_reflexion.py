"""The baselines as optimizers, with a scripted chat; no model."""

import asyncio
import time

import pytest

from pract.agent import Agent, AgentConfig
from pract.baselines.ace import DeltaOptimizer, apply_edits, items_of
from pract.baselines.reflexion import KEPT, NotesOptimizer
from pract.optimizer import OptimizerConfig
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
    assert apply_edits(old, "EDIT 9: x\nREMOVE 0\nsome words") == ""


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("REMOVE 2\nADD: Open.", "[1] Look first. [2] Open."),
        ("ADD:\n\n**Open.**\nand more words", "[1] Look first. [2] Take the key. [3] Open."),
        ("* **EDIT [2]:** [2] Open.", "[1] Look first. [2] Open."),
        ("1. REMOVE 2\n2) ADD: Open.", "[1] Look first. [2] Open."),
        ("**ADD**: Open.", "[1] Look first. [2] Take the key. [3] Open."),
        ("- **EDIT** `2`: Open.", "[1] Look first. [2] Open."),
        ("Additional words: x", ""),
        ("EDIT 1:\nREMOVE 2", "[1] Look first."),
    ],
)
def test_each_edit_of_ace_ends_where_the_next_begins(reply: str, text: str) -> None:
    assert apply_edits("[1] Look first. [2] Take the key.", reply) == text


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

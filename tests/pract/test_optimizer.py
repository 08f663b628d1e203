"""The optimizer, with a scripted chat; no model."""

import asyncio
import time
from dataclasses import replace

import pytest

from pract.errors import InputError
from pract.leaks import LeakCheck
from pract.llm.base import ChatErrorKind
from pract.optimizer import OptimizerConfig, PrincipleOptimizer, Rewrite
from pract.principles import cut_to_tokens, initial_principles, read_principles, whole_sentences
from pract.types import Principles, Reflection, Reply, Task
from tests.pract.fakes import ScriptedChat
from tests.pract.made import ACTIONS, PRINCIPLES, fail, reflection, spent


def improve(
    script: object, *reflections: Reflection, leaks: LeakCheck | None = None, **config: object
) -> Rewrite:
    optimizer = PrincipleOptimizer(ScriptedChat(script), OptimizerConfig(**config), ACTIONS, leaks)  # type: ignore[arg-type]
    return asyncio.run(
        optimizer.improve(PRINCIPLES, reflections or (reflection(),), tag="round-001/optimize")
    )


def test_only_actions_with_evidence_change() -> None:
    rewrite = improve(lambda *_: "New text.", reflection(actions=("open",)))
    assert dict(rewrite.principles.texts) == {"look": "", "take": "Old take.", "open": "New text."}
    assert rewrite.principles.parent == PRINCIPLES.version
    assert rewrite.principles.evidence == ("r1",)
    assert rewrite.principles.author == "optimizer/round-001/optimize"


def test_every_action_is_rewritten_if_asked_to_unless_there_is_nothing_to_learn_from() -> None:
    rewrite = improve(lambda *_: "New text.", reflection(actions=()), targets="all")
    assert dict(rewrite.principles.texts) == {"look": "New text.", "take": "New text.", "open": "New text."}
    nothing = replace(reflection(), problem="empty")
    assert improve(lambda *_: "New text.", nothing, targets="all") == Rewrite(
        principles=PRINCIPLES, changes=()
    )
    with pytest.raises(InputError, match=r"optimizer\.targets='named' is none of tried, all"):
        OptimizerConfig(targets="named")


def test_one_call_serves_all_actions_if_asked_to() -> None:
    rewrite = improve(lambda *_: "- **take**: New take.\nand more\nopen: New open.", calls="all")
    assert dict(rewrite.principles.texts) == {"look": "", "take": "New take. and more", "open": "New open."}


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (lambda *_: "", "empty"),
        (lambda *_: "x " * 500, "too_long"),
        (lambda *_: "Old open.", "unchanged"),
        (fail(ChatErrorKind.TIMEOUT), "chat_error: timeout: no"),
        (spent, "budget: budget.calls=3 is spent"),
    ],
)
def test_an_unusable_rewrite_keeps_the_old_text_and_says_why(script: object, problem: str) -> None:
    rewrite = improve(script, reflection(actions=("open",)))
    assert rewrite.principles is PRINCIPLES
    assert [(c.new, c.problem) for c in rewrite.changes] == [("Old open.", problem)]


def test_a_principle_over_the_cap_is_cut_after_a_sentence() -> None:
    rewrite = improve(
        lambda *_: "One two three. Four five six. Seven.", reflection(actions=("open",)), principle_tokens=6
    )
    assert rewrite.principles.texts["open"] == "One two three. Four five six."
    assert rewrite.changes[0].note == "cut"
    assert cut_to_tokens("one two", 1, ScriptedChat(lambda *_: "")) == ""


def cut_off(text: str) -> object:
    return lambda *_: Reply(text=text, finish_reason="length")


@pytest.mark.parametrize(
    ("text", "new", "problem"),
    [
        ("Take the key. Then open it with", "Take the key.", ""),
        ("Take the key.", "Take the key.", ""),
        ("It costs 25. Take the key", "Old open.", "cut off"),
        ("Take the key and then", "Old open.", "cut off"),
        ("", "Old open.", "cut off"),
    ],
)
def test_an_unfinished_sentence_of_a_reply_that_was_cut_off_is_dropped(
    text: str, new: str, problem: str
) -> None:
    (change,) = improve(cut_off(text), reflection(actions=("open",))).changes
    assert (change.new, change.problem) == (new, problem)


def test_of_one_reply_for_all_actions_the_last_one_is_unfinished_and_others_never_came() -> None:
    script = cut_off("open: New open\ntake: Use it. Then")
    changes = improve(script, reflection(actions=("look", "take", "open")), calls="all").changes
    assert [(change.action, change.new, change.problem) for change in changes] == [
        ("look", "", "cut off"), ("take", "Use it.", ""), ("open", "New open", ""),
    ]  # fmt: skip
    script = cut_off("open: New open.\ntake: Use it.\nopen: Newer")
    changes = improve(script, reflection(actions=("take", "open")), calls="all").changes
    assert [(change.new, change.problem) for change in changes] == [("Use it.", ""), ("Old open.", "cut off")]


def test_a_leak_is_rejected_flagged_or_let_pass() -> None:
    task = Task(id="t7", instruction="Open the red door.", data={"answer": "25.50"})
    leaks = LeakCheck([task])
    said = "The answer should be 25.50 then."
    for mode, problem, note in (
        ("reject", "leak: '25.50' of task t7", ""),
        ("flag", "", "leak: '25.50' of task t7"),
        ("off", "", ""),
    ):
        (change,) = improve(lambda *_: said, reflection(actions=("open",)), leaks=leaks, leak=mode).changes
        assert (change.problem, change.note) == (problem, note)
        assert change.new == ("Old open." if problem else said)


def test_merging_asks_only_for_what_versions_disagree_on() -> None:
    chat = ScriptedChat(lambda *_: "Merged.")
    optimizer = PrincipleOptimizer(chat, OptimizerConfig(), ACTIONS)
    versions = [
        Principles(texts={**PRINCIPLES.texts, "open": "A."}, evidence=("r1",)),
        Principles(texts={**PRINCIPLES.texts, "open": "B.", "take": "C."}, evidence=("r2",)),
    ]
    rewrite = asyncio.run(optimizer.merge(PRINCIPLES, versions, tag="m"))
    assert dict(rewrite.principles.texts) == {"look": "", "take": "C.", "open": "Merged."}
    assert rewrite.principles.evidence == ("r1", "r2")
    assert [tag for tag, _ in chat.asked] == ["m/open"]


def test_a_reply_is_read_whatever_heads_it() -> None:
    assert read_principles('New Principle for open: "Do it."', ["open"]) == {"open": "Do it."}
    assert read_principles("Do it.\nWell.\n# New Principle for take: x", ["open"]) == {"open": "Do it. Well."}
    assert read_principles("1. take: A\n2. Open: B\nfly: C", ["take", "open"]) == {
        "take": "A",
        "open": "B fly: C",
    }
    assert read_principles("nothing here", ["take", "open"]) == {}


@pytest.mark.parametrize(
    "text",
    [
        "Here is the new principle for take:\n\ntake: Use it.",
        "Here is the new principle:\n**take**: Use it.",
        "New Principle for take:\n\ntake: Use it.",
        "New Principle for take:\nUse it.\n\ntake: Use them all.",
        "I looked at it.\nNew Principle for take: Use it.\n# New Principle for open: Shut it.",
    ],
)
def test_what_stands_before_the_head_of_the_only_principle_is_no_part_of_it(text: str) -> None:
    assert read_principles(text, ["take"]) == {"take": "Use it."}


@pytest.mark.parametrize("text", ["*" * 30_000, "1" * 30_000, "`'" * 15_000, "New Principle for " * 2_000])
def test_a_degenerate_reply_is_read_in_no_time(text: str) -> None:
    started = time.process_time()
    assert read_principles(text, ["take", "open"]) == {}
    assert time.process_time() - started < 1.0


def test_initial_principles_for_no_action_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"hand.json: there is no action 'fly'; the actions are look, take, open"
    ):
        initial_principles(ACTIONS, {"fly": "Up."}, "hand.json")
    with pytest.raises(InputError, match="is 3, not text"):
        initial_principles(ACTIONS, {"open": 3}, "hand.json")
    assert dict(initial_principles(ACTIONS, {"open": " a\n b "}, "").texts) == {
        "look": "",
        "take": "",
        "open": "a b",
    }


def test_sentences_that_end_without_a_space_are_told_apart() -> None:
    chat = ScriptedChat(lambda *_: "")
    chat.count_tokens = len  # type: ignore[method-assign]
    text = "先看价格。再决定！然后"
    assert whole_sentences(text) == "先看价格。再决定！"
    assert cut_to_tokens(text, 10, chat) == "先看价格。再决定！"
    assert cut_to_tokens(text, 8, chat) == "先看价格。"
    assert cut_to_tokens("One. Two", 8, chat) == "One. Two"
    assert cut_to_tokens("Never buy above 50. Show at most 20.", 20, chat) == "Never buy above 50."
    assert whole_sentences("Look. Never buy above 50.") == "Look."

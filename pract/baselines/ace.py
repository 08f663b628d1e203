"""ACE-style learning: each principle is a list of short items, changed by small edits instead of rewritten.

After Zhang et al. 2025 (Agentic Context Engineering): edits keep what was learned before, where a full rewrite may
lose it. The items of an action stand in one text, `[1] ... [2] ...`, so that agent, gate and records stay the same.
"""

import re
import string
from collections.abc import Sequence
from dataclasses import replace

from pract.leaks import LeakCheck
from pract.llm.base import Chat
from pract.optimizer import Change, OptimizerConfig, PrincipleOptimizer, Proposal, Rewrite
from pract.types import ActionSpec, Principles

INSTRUCTION = (
    "You are an intelligent agent. You have completed several tasks and gathered reflections on them. The principles "
    "of your actions are numbered items. Improve them by few edits, one on each line: `ADD: text`, `EDIT n: text` or "
    "`REMOVE n`. An item says one thing that helps in all tasks of this kind. Do not repeat names, numbers or answers "
    "of single tasks. Use at most {words} words an item and answer with edits alone."
)
MAX_EDITS = 5
"""Edits of one reply that are carried out."""

_EDIT = re.compile(
    r"[\s\-*`]*+(?:\d{1,3}[.)][\s*`]*+)?(ADD|EDIT|REMOVE)(?![A-Za-z])[\s*`]*+\[?(\d{0,4})\]?[\s*`]*+:?(.*)",
    re.IGNORECASE | re.DOTALL,
)
"""The beginning of one line; all that follows the kind matches, so that nothing is read twice."""
_AROUND = string.whitespace + "*`"
_ITEM = re.compile(r"\[\d+\]\s*")


class DeltaOptimizer(PrincipleOptimizer):
    """Edits items; one call for each action whatever `optimizer.calls` says, since edits name item numbers."""

    author = "ace"

    def __init__(
        self,
        chat: Chat,
        config: OptimizerConfig,
        actions: Sequence[ActionSpec],
        leaks: LeakCheck | None = None,
    ) -> None:
        super().__init__(chat, replace(config, calls="per_action"), actions, leaks)
        self.instruction = INSTRUCTION

    def read(
        self, text: str, group: Sequence[str], old: Principles, *, cut: bool = False
    ) -> dict[str, Proposal]:
        """The text that results from the edits in a reply; of one that was cut off at its longest without the last."""
        after = apply_edits(old.texts.get(group[0], ""), text, cut=cut)
        return {group[0]: Proposal(text=after or "", cleared=after == "")}

    def cut(self, text: str) -> str:
        """As many items as fit into the token cap, the oldest leaving first."""
        items = items_of(text)
        while items and self.chat.count_tokens(text_of(items)) > self.config.principle_tokens:
            items.pop(0)
        return text_of(items)

    async def merge(
        self, principles: Principles, versions: Sequence[Principles], *, tag: str, seed: int = 0
    ) -> Rewrite:
        """The items of all versions, each once, but for old ones that a version dropped; asks no model."""
        changes = []
        for name, old in principles.texts.items():
            texts = [version.texts.get(name, "") for version in versions]
            if all(text == old for text in texts):
                continue
            lists = [items_of(text) for text in texts]
            dropped = {item for item in items_of(old) if not all(item in items for items in lists)}
            merged = dict.fromkeys(item for items in lists for item in items if item not in dropped)
            new = self.cut(text_of(list(merged)))
            if new != old:
                changes.append(Change(action=name, old=old, new=new))
        ids = tuple(dict.fromkeys(found for version in versions for found in version.evidence))
        return self.rewrite(principles, changes, ids, tag)


def items_of(text: str) -> list[str]:
    """The items of a principle's text; a text without numbers is one item."""
    return [item.strip() for item in _ITEM.split(text) if item.strip()]


def text_of(items: Sequence[str]) -> str:
    """The items, numbered, as one text."""
    return " ".join(f"[{number}] {item}" for number, item in enumerate(items, start=1))


def edits_of(reply: str) -> list[tuple[str, str, str]]:
    """The edits in a reply: kind in capitals, the number's digits, text. A text may begin on the line below."""
    found: list[tuple[str, str, str]] = []
    waiting = False
    for line in reply.split("\n"):
        match = _EDIT.match(line)
        words = _ITEM.sub("", (match[3] if match else line).strip(_AROUND))
        text = " ".join(words.split())
        if match:
            found.append((match[1].upper(), match[2], text))
            waiting = not text and match[1].upper() != "REMOVE"
        elif waiting and text:
            found[-1] = (*found[-1][:2], text)
            waiting = False
    return found


def apply_edits(old: str, reply: str, *, cut: bool = False) -> str | None:
    """The principle after a reply's edits, empty if they take every item away; None if no edit can be carried out.

    cut: the reply was cut off at its longest, and its last edit is not carried out.
    """
    items: list[str | None] = list(items_of(old))
    known = len(items)
    done = 0
    edits = edits_of(reply)
    for kind, number, text in edits[:-1] if cut else edits:
        place = int(number) - 1 if number else -1
        if done == MAX_EDITS:
            break
        if kind == "ADD" and text and text not in items:
            items.append(text)
        elif kind == "EDIT" and text and 0 <= place < known:
            items[place] = text
        elif kind == "REMOVE" and 0 <= place < known:
            items[place] = None
        else:
            continue
        done += 1
    return text_of([item for item in items if item]) if done else None

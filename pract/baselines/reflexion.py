"""Reflexion-style memory: the latest reflections themselves are shown to the agent; nothing is distilled.

After Shinn et al. 2023, with one difference that the comparison needs: the memory is shared by all tasks and tried
on held-out ones, where the original retries the very task that it reflected on.
"""

from collections.abc import Sequence
from dataclasses import replace

from pract.leaks import LeakCheck
from pract.llm.base import Chat
from pract.optimizer import Change, OptimizerConfig, Rewrite
from pract.principles import cut_to_tokens
from pract.types import ActionSpec, Principles, Reflection

KEPT = 5
"""Reflections in the memory, the oldest leaving first."""
MEMORY = "(memory)"
"""Stands for the action in the record of changes."""


class NotesOptimizer:
    """Appends reflections to the notes; asks no model."""

    has_notes = True
    """A run may begin with a memory."""

    def __init__(
        self,
        chat: Chat,
        config: OptimizerConfig,
        actions: Sequence[ActionSpec],
        leaks: LeakCheck | None = None,
    ) -> None:
        self.chat = chat
        self.config = config
        self.leaks = leaks if config.leak != "off" else None

    async def improve(
        self, principles: Principles, reflections: Sequence[Reflection], *, tag: str, seed: int = 0
    ) -> Rewrite:
        """The same principles with the reflections' texts among the notes."""
        notes, taken, changes = list(principles.notes), [], []
        for reflection in reflections:
            text = (
                cut_to_tokens(reflection.text, self.config.principle_tokens, self.chat)
                if reflection.usable
                else ""
            )
            leak = self.leaks.find(text) if self.leaks is not None and text else None
            change = Change(action=MEMORY, old="", new=text)
            if leak is not None:
                found = f"leak: {leak.words!r} of task {leak.task_id}"
                rejected = self.config.leak == "reject"
                change = replace(change, new="", problem=found) if rejected else replace(change, note=found)
            elif not text:
                change = replace(change, problem=reflection.problem or "too_long")
            elif text in notes:
                change = replace(change, new="", problem="unchanged")
            if not change.problem:
                notes.append(text)
                taken.append(reflection.id)
            changes.append(change)
        if not taken:
            return Rewrite(principles=principles, changes=tuple(changes))
        return Rewrite(
            principles=Principles(
                texts=principles.texts,
                parent=principles.version,
                evidence=tuple(taken),
                author=f"reflexion/{tag}",
                notes=tuple(notes[-KEPT:]),
            ),
            changes=tuple(changes),
        )

    async def merge(
        self, principles: Principles, versions: Sequence[Principles], *, tag: str, seed: int = 0
    ) -> Rewrite:
        """The notes of all versions, the latest kept."""
        notes = list(dict.fromkeys(note for version in versions for note in version.notes))
        evidence = tuple(dict.fromkeys(name for version in versions for name in version.evidence))
        merged = Principles(
            texts=principles.texts,
            parent=principles.version,
            evidence=evidence,
            author=f"reflexion/{tag}",
            notes=tuple(notes[-KEPT:]),
        )
        return Rewrite(principles=merged, changes=())

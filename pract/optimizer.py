"""The optimizer: principles and reflections become new principles. What cannot be used leaves the old text in place."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from pract import prompts
from pract.budget import BudgetExhausted
from pract.errors import InputError
from pract.leaks import LeakCheck
from pract.llm.base import Chat, ChatError
from pract.principles import cut_to_tokens, in_order, read_principles, whole_sentences
from pract.prompts import Wording
from pract.reflector import bounded
from pract.types import ActionSpec, Message, Principles, Reflection

CALLS = ("per_action", "all")
TARGETS = ("tried", "all")
LEAKS = ("reject", "flag", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig:
    """How principles are rewritten."""

    calls: str = "per_action"
    """`per_action`: one call for each action, as the paper's prompt suggests; `all`: one for all of them."""
    targets: str = "tried"
    """What is rewritten: `tried`, the actions that an episode tried or its reflection names; `all`, each, as the paper
    has it."""
    words: int = 80
    """Words that a principle is asked to have at most."""
    principle_tokens: int = 200
    """Tokens a principle may have; a longer one is cut after its last whole sentence that fits."""
    max_tokens: int = 300
    """Tokens of a reply, for each principle it holds."""
    temperature: float = 0.0
    leak: str = "reject"
    """What becomes of a text that repeats a training task: `reject`, `flag` (kept, on record) or `off`."""
    leak_ngram: int = 6
    """Words in a row that make a repetition of a task's text."""
    wording: Wording = field(default_factory=Wording)

    def __post_init__(self) -> None:
        for name, allowed in (("calls", CALLS), ("targets", TARGETS), ("leak", LEAKS)):
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"rpo.optimizer.{name}={getattr(self, name)!r} is none of {', '.join(allowed)}"
                )
        for name in ("words", "principle_tokens", "max_tokens", "leak_ngram"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"rpo.optimizer.{name}={getattr(self, name)} is below 1: give a positive number"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What became of one action's principle."""

    action: str
    old: str
    new: str
    """Equal to `old` if `problem` says why."""
    problem: str = ""
    """`empty`, `cut off` (the reply ended at `max_tokens` before a whole sentence), `too_long`, `leak: ...`,
    `no_room: ...`, `chat_error: ...`, `budget: ...`, `unchanged`; empty if it was taken."""
    note: str = ""
    """`cut` if the token cap shortened it, `leak: ...` if a leak was flagged and let pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """New principles with the fate of every action that was to be rewritten."""

    principles: Principles
    changes: tuple[Change, ...]


class Optimizer(Protocol):
    """Anything that learns principles from reflections: RPO's, and the baselines'."""

    async def improve(
        self, principles: Principles, reflections: Sequence[Reflection], *, tag: str, seed: int = 0
    ) -> Rewrite:
        """New principles from usable reflections; without one none changes. Does not raise."""
        ...

    async def merge(
        self, principles: Principles, versions: Sequence[Principles], *, tag: str, seed: int = 0
    ) -> Rewrite:
        """One set of principles from several that were each rewritten from `principles`. Does not raise."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A model's text for one action, or why there is none."""

    text: str = ""
    problem: str = ""
    cleared: bool = False
    """All that the old text says was taken away: the empty text is meant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a rewrite rests on, and how it is asked for."""

    instruction: str
    title: str
    texts: tuple[str, ...]
    ids: tuple[str, ...]
    """Ids of the reflections behind the texts."""
    tag: str
    seed: int


class PrincipleOptimizer:
    """RPO's optimizer: full rewrites."""

    author = "optimizer"

    def __init__(
        self,
        chat: Chat,
        config: OptimizerConfig,
        actions: Sequence[ActionSpec],
        leaks: LeakCheck | None = None,
    ) -> None:
        self.chat = chat
        self.config = config
        self.actions = list(actions)
        self.leaks = leaks if config.leak != "off" else None
        self.instruction = config.wording.rewrite

    async def improve(
        self, principles: Principles, reflections: Sequence[Reflection], *, tag: str, seed: int = 0
    ) -> Rewrite:
        """Principles rewritten from the reflections' texts."""
        usable = [reflection for reflection in reflections if reflection.usable]
        named = {action for reflection in usable for action in reflection.actions}
        evidence = Evidence(
            instruction=self.instruction,
            title="Reflections",
            texts=tuple(reflection.text for reflection in usable),
            ids=tuple(reflection.id for reflection in usable),
            tag=tag,
            seed=seed,
        )
        if usable and self.config.targets == "all":
            named = {spec.name for spec in self.actions}
        targets = [spec.name for spec in self.actions if spec.name in named]
        changes = await self._rewritten(principles, targets, evidence)
        return self.rewrite(principles, changes, evidence.ids, tag)

    async def merge(
        self, principles: Principles, versions: Sequence[Principles], *, tag: str, seed: int = 0
    ) -> Rewrite:
        """Principles that say what the versions agree on; what they changed in one way only is taken as it is."""
        old = {spec.name: principles.texts.get(spec.name, "") for spec in self.actions}
        news = {n: list(dict.fromkeys(v.texts.get(n, "") for v in versions)) for n in old}
        news = {n: [text for text in texts if text != old[n]] for n, texts in news.items()}
        settled = [Change(action=n, old=old[n], new=texts[0]) for n, texts in news.items() if len(texts) == 1]
        disputed = [name for name, texts in news.items() if len(texts) > 1]
        shown = ["\n".join(f"- {n}: {v.texts[n]}" for n in disputed if n in v.texts) for v in versions]
        evidence = Evidence(
            instruction=self.config.wording.merge,
            title="Versions",
            texts=tuple(dict.fromkeys(shown)),
            ids=tuple(dict.fromkeys(name for version in versions for name in version.evidence)),
            tag=tag,
            seed=seed,
        )
        changes = [*settled, *await self._rewritten(principles, disputed, evidence)]
        return self.rewrite(principles, changes, evidence.ids, tag)

    def rewrite(
        self, principles: Principles, changes: Sequence[Change], evidence: tuple[str, ...], tag: str
    ) -> Rewrite:
        """The principles with the changes made that were taken; the same object if none was."""
        taken = {change.action: change.new for change in changes if not change.problem}
        if not taken:
            return Rewrite(principles=principles, changes=tuple(changes))
        after = Principles(
            texts=in_order({**principles.texts, **taken}, self.actions),
            parent=principles.version,
            evidence=evidence,
            author=f"{self.author}/{tag}",
            notes=principles.notes,
        )
        return Rewrite(principles=after, changes=tuple(changes))

    async def _rewritten(self, old: Principles, targets: Sequence[str], evidence: Evidence) -> list[Change]:
        """Ask for a new text for each target, one call each or one for all.

        Prompts differ in their last line alone. So the first call is made by itself, and the others, all at once,
        find its prefix in the server's cache.
        """
        if not targets:
            return []
        groups = [[name] for name in targets] if self.config.calls == "per_action" else [list(targets)]
        first = await self._ask(old, groups[0], evidence)
        others = await asyncio.gather(*(self._ask(old, group, evidence) for group in groups[1:]))
        proposals = {name: proposal for found in (first, *others) for name, proposal in found.items()}
        return [self._judged(n, old.texts.get(n, ""), proposals.get(n, Proposal())) for n in targets]

    async def _ask(self, old: Principles, group: Sequence[str], evidence: Evidence) -> Mapping[str, Proposal]:
        max_tokens = min(self.config.max_tokens * len(group), self.chat.context_tokens // 2)
        whose = group[0] if self.config.calls == "per_action" else "all"
        try:
            reply = await self.chat.reply(
                self.prompt(old, group, evidence, max_tokens),
                max_tokens=max_tokens,
                temperature=self.config.temperature,
                stop=(),
                seed=evidence.seed,
                tag=f"{evidence.tag}/{whose}",
            )
        except ChatError as error:
            return dict.fromkeys(group, Proposal(problem=f"chat_error: {error}"[:300]))
        except BudgetExhausted as error:
            return dict.fromkeys(group, Proposal(problem=f"budget: {error}"))
        cut = reply.finish_reason == "length"
        found = self.read(reply.text, group, old, cut=cut)
        if not cut:
            return found
        lost = Proposal(problem="cut off")
        return {name: found[name] if name in found and _says(found[name]) else lost for name in group}

    def prompt(
        self, old: Principles, group: Sequence[str], evidence: Evidence, max_tokens: int
    ) -> list[Message]:
        """The optimizer's messages; long evidence is shortened evenly until they fit the context."""
        room = self.chat.context_tokens - max_tokens
        words = 4_000
        while True:
            texts = [
                f"{number}. {_shortened(text, words)}" for number, text in enumerate(evidence.texts, start=1)
            ]
            messages = prompts.rewrite_prompt(
                evidence.instruction,
                actions=self.actions,
                principles=old,
                evidence="\n".join(texts),
                evidence_title=evidence.title,
                targets=group,
                words=self.config.words,
            )
            tokens = sum(self.chat.count_tokens(message.content) + 16 for message in messages)
            if tokens <= room or words <= 8:
                return messages
            words //= 2

    def read(
        self, text: str, group: Sequence[str], old: Principles, *, cut: bool = False
    ) -> Mapping[str, Proposal]:
        """The texts that a reply proposes; of one that was cut off at its longest without the unfinished sentence."""
        found = read_principles(text, group)
        if cut and found:
            last = next(reversed(found))
            found[last] = whole_sentences(found[last])
        return {name: Proposal(text=said) for name, said in found.items()}

    def cut(self, text: str) -> str:
        """The text within the token cap; empty if that cannot be."""
        return cut_to_tokens(text, self.config.principle_tokens, self.chat)

    def _judged(self, action: str, old: str, proposal: Proposal) -> Change:
        """The proposal taken, or the old text kept with the reason."""
        kept = Change(action=action, old=old, new=old)
        if proposal.problem:
            return replace(kept, problem=proposal.problem)
        if proposal.cleared:
            return replace(kept, new="")
        if not proposal.text:
            return replace(kept, problem="empty")
        text = self.cut(proposal.text)
        if not text:
            return replace(kept, problem="too_long")
        if text == old:
            return replace(kept, problem="unchanged")
        note = "" if text == proposal.text else "cut"
        leak = self.leaks.find(text, known=old) if self.leaks is not None else None
        if leak is not None:
            found = f"leak: {leak.words!r} of task {leak.task_id}"
            if self.config.leak == "reject":
                return replace(kept, problem=found)
            note = "; ".join(filter(None, (note, found)))
        return replace(kept, new=text, note=note)


def _says(proposal: Proposal) -> bool:
    return bool(proposal.text) or proposal.cleared


def _shortened(text: str, words: int) -> str:
    return bounded(text, words) if "\n" not in text else text[: 12 * words]

"""The reflector: a critique of one episode, with the environment's reward (Reward-RPO) or without it (Self-RPO)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pract import prompts
from pract.budget import BudgetExhausted
from pract.diagnosis import diagnose, findings_text
from pract.errors import InputError
from pract.llm.base import Chat, ChatError
from pract.prompts import Wording
from pract.types import ActionSpec, Episode, Message, Principles, Reflection


@dataclass(frozen=True, slots=True, kw_only=True)
class ReflectorConfig:
    """How episodes are reflected on."""

    words: int = 120
    """Words that a reflection is asked to have at most; what goes beyond twice that is cut."""
    max_tokens: int = 400
    """Tokens of one reply."""
    temperature: float = 0.0
    observation_chars: int = 600
    """Characters of each observation that the reflector is shown."""
    failures: bool = True
    """Whether it is shown the failed calls by pattern, which the paper's prompt has not."""
    solved: bool = True
    """Whether solved episodes are reflected on too. A small model that is asked for the mistake in one invents it. Of
    no effect in Self-RPO, which is not told what was solved."""
    wording: Wording = field(default_factory=Wording)

    def __post_init__(self) -> None:
        for name in ("words", "max_tokens", "observation_chars"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"rpo.reflector.{name}={getattr(self, name)} is below 1: give a positive number"
                )


class Reflector:
    """A model that reads episodes."""

    def __init__(
        self, chat: Chat, config: ReflectorConfig, actions: Sequence[ActionSpec], *, reward_shown: bool
    ) -> None:
        """reward_shown: Reward-RPO (True) or Self-RPO (False)."""
        self.chat = chat
        self.config = config
        self.actions = list(actions)
        self.reward_shown = reward_shown

    async def reflect(
        self, episode: Episode, principles: Principles, *, tag: str, seed: int = 0
    ) -> Reflection:
        """The reflection on an episode; one that is of no use says why. Never raises for what a model may do."""
        blank = Reflection(
            id=tag,
            episode_id=episode.id,
            task_id=episode.task_id,
            principles=principles.version,
            text="",
            reward_shown=self.reward_shown,
        )
        if not episode.status.counts:
            return replace(blank, problem=f"episode: {episode.status.value}")
        if self.reward_shown and episode.success and not self.config.solved:
            return replace(blank, problem="solved")
        try:
            reply = await self.chat.reply(
                self.prompt(episode, principles),
                max_tokens=self.config.max_tokens,
                temperature=self.config.temperature,
                stop=(),
                seed=seed,
                tag=tag,
            )
        except ChatError as error:
            return replace(blank, problem=f"chat_error: {error}"[:300])
        except BudgetExhausted as error:
            return replace(blank, problem=f"budget: {error}")
        text = bounded(reply.text, 2 * self.config.words)
        if not text:
            return replace(blank, problem="empty")
        return replace(blank, text=text, actions=self._evidence(episode, text))

    def prompt(self, episode: Episode, principles: Principles) -> list[Message]:
        """The reflector's messages, with the oldest observations left out as needed to fit its context."""
        room = self.chat.context_tokens - self.config.max_tokens
        for dropped in range(len(episode.steps) + 2):
            messages = self._messages(episode, principles, dropped)
            if sum(self.chat.count_tokens(message.content) + 16 for message in messages) <= room:
                break
        return messages

    def _messages(self, episode: Episode, principles: Principles, dropped: int) -> list[Message]:
        return prompts.reflect_prompt(
            self.config.wording,
            actions=self.actions,
            principles=principles,
            execution=self.execution(episode, dropped),
            failures=self.failures(episode),
            reward=self.reward(episode) if self.reward_shown else "",
            words=self.config.words,
        )

    def execution(self, episode: Episode, dropped: int = 0) -> str:
        """The episode as the reflector is shown it."""
        steps = [replace(step, observation=self._clipped(step.observation)) for step in episode.steps]
        first = self._clipped(episode.first_observation)
        return prompts.execution_text(episode.instruction, first, steps, dropped=dropped, thoughts=True)

    def failures(self, episode: Episode) -> str:
        """The episode's failed calls by pattern; empty if none failed, or they are not to be shown."""
        if not self.config.failures:
            return ""
        return findings_text(diagnose(episode, self.actions, reward_shown=self.reward_shown))

    def reward(self, episode: Episode) -> str:
        """The outcome in words."""
        return prompts.fill(
            self.config.wording.reward,
            score=f"{episode.score:.2f}",
            progress=f"{episode.progress:.2f}",
            verdict="solved" if episode.success else "not solved",
        )

    def _clipped(self, text: str) -> str:
        limit = self.config.observation_chars
        return text if len(text) <= limit else f"{text[:limit]} [...]"

    def _evidence(self, episode: Episode, text: str) -> tuple[str, ...]:
        """Actions that the episode tried or the text names, in the environment's order."""
        tried = {step.action.name for step in episode.steps if step.action is not None and not step.inner}
        words = set(re.findall(r"\w+", text.lower()))
        return tuple(spec.name for spec in self.actions if spec.name in tried or spec.name.lower() in words)


def bounded(text: str, words: int) -> str:
    """The text on one line, without a leading `Reflection:`, cut after so many words and 12 characters a word."""
    flat = " ".join(re.sub(r"^\s*(?:#+\s*)?Reflection:?\s*", "", text, flags=re.IGNORECASE).split())
    parts = flat.split(" ")
    cut = " ".join(parts[:words]) + (" ..." if len(parts) > words else "")
    limit = 12 * words
    return cut if len(cut) <= limit else cut[:limit] + " ..."

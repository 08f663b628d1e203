"""What an engine is asked, and what it answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from latro.encoding import Encoder

Done = Callable[[int], None]
"""Called with the number of rows that are finished so far."""


NOT_FINITE = (
    "scores are not finite numbers: the weights have run away; lower trainer.learning_rate, set trainer.max_grad_norm, "
    "or check the checkpoint"
)


def ignore(done: int) -> None:
    """Report to nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """B rows to be continued.

    Rows with the same prompt may share its forward. A row depends on its own prompt and seed alone, up to the
    rounding of the logits.
    """

    prompts: Sequence[Sequence[int]]
    """[B] ids; no prompt is empty."""
    max_tokens: int
    """A continuation is cut off here."""
    markers: Sequence[str] = ()
    """Texts that end a row as soon as one stands in it, whatever its case."""
    seeds: Sequence[int] | None = None
    """[B] one seed a row; None decodes greedily."""
    temperature: float = 1.0
    """Draws are from softmax(logits / temperature)."""

    @property
    def longest(self) -> int:
        """Tokens of the longest row there can be, prompt included."""
        return max(len(prompt) for prompt in self.prompts) + self.max_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation:
    """What follows one prompt."""

    tokens: tuple[int, ...]
    """Up to and including what ended it."""
    logprobs: tuple[float, ...] = field(default=(), compare=False)
    """Log-probability of each token as it was drawn, nats; none where decoding was greedy. Not compared: the rounding
    of logits depends on the rows beside."""


class Rollout(Protocol):
    """An engine that continues prompts."""

    def continuations(
        self, model: Any, encoder: Encoder, request: Request, done: Done = ignore
    ) -> list[Continuation]:
        """[B] the continuation of each prompt, in order.

        The model's mode is left as it was. Raises `InputError` where the model's scores are not finite.
        """
        ...

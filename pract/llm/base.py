"""What a chat model is to this package, and how it fails."""

import re
from collections.abc import Sequence
from enum import Enum
from typing import Protocol, runtime_checkable

from pract.types import ActionSpec, Message, Reply


class ChatErrorKind(Enum):
    """Why a chat model gave no reply, after all retries."""

    RATE_LIMITED = "rate_limited"
    SERVER = "server"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    AUTH = "auth"
    BAD_RESPONSE = "bad_response"
    MODERATED = "moderated"
    """The provider will not have this prompt answered; others it may."""
    CONTEXT_LENGTH = "context_length"
    NO_TOOLS = "no_tools"
    MODEL_NOT_FOUND = "model_not_found"
    NO_CHOICES = "no_choices"

    @property
    def fatal(self) -> bool:
        """Whether every later call would fail likewise, so that the run should end with one line."""
        return self in (
            ChatErrorKind.AUTH,
            ChatErrorKind.NO_TOOLS,
            ChatErrorKind.MODEL_NOT_FOUND,
            ChatErrorKind.NO_CHOICES,
        )


class ChatError(Exception):
    """No usable reply to one call. The message is one line and holds no secret."""

    def __init__(
        self,
        kind: ChatErrorKind,
        message: str,
        *,
        attempts: int = 1,
        cost: Reply | None = None,
    ) -> None:
        super().__init__(f"{kind.value}: {message}")
        self.kind = kind
        self.message = message
        self.attempts = attempts
        self.cost = cost
        """What answers of no use cost all the same, as a reply without text; None if that is not known."""


class Chat(Protocol):
    """A chat model, wherever it runs."""

    model: str
    """Its name, for records."""
    context_tokens: int
    """Prompt and reply together must fit into this many tokens."""

    async def reply(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        temperature: float,
        stop: Sequence[str] = (),
        tools: Sequence[ActionSpec] | None = None,
        choices: Sequence[str] | None = None,
        seed: int | None = None,
        tag: str,
    ) -> Reply:
        """The model's answer. Raises ChatError; never anything else for what a server may do.

        stop: texts that end the reply and are not part of it. tools: offered as native tool calls.
        choices: the reply's text is the one of these that the model finds most likely as the continuation
        (by mean log-probability of its tokens); a backend that cannot rank raises ChatError with kind
        `no_choices`. tag: what the call is for, as `EPISODE/step-02`, `EPISODE/reflect` or
        `round-001/optimize/ACTION`, for logs and records alone.
        """
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens in a text, exact where the tokenizer is at hand, otherwise an estimate that errs high."""
        ...

    async def close(self) -> None:
        """Give back what it holds; may be called twice."""
        ...


@runtime_checkable
class HasCheck(Protocol):
    """A chat model that can say at the door whether it will work."""

    async def check(self, *, tools: bool = False, choices: bool = False) -> None:
        """Return if it answers under this name, with native tools or choice ranking where asked for.

        Raises InputError with one line: unreachable address, wrong key, model not served (and which are),
        no tool support, no ranking.
        """
        ...


_PIECE = re.compile(r"[A-Za-z]+|[0-9]|[^\sA-Za-z0-9]+|\s+")
_KINDS = bytes(
    ord("a" if c.isalpha() else "0" if c.isdigit() else c if c == " " else "\t" if c.isspace() else ".")
    for c in map(chr, range(128))
) + bytes(128)
"""What an ASCII character is: a letter, a digit, a space, other white space, or anything else."""
_SHARED = (b"aaaaa", b"aaaa", b"aaa", b"aa", b"a", b"..", b".")
"""Letters and signs that are one token together, longest first."""
_RUNS = re.compile(r"\s{2,}|\n")
_SPACED_NUMBER = re.compile(r" [0-9]")


def estimate_tokens(text: str) -> int:
    """About how many tokens a text has under any common tokenizer; meant to err high, by a fifth or so.

    A digit is one token and so is the space before a number (so it is in Qwen's), a word one for every five
    letters or part of them, and anything outside ASCII as many as it has bytes, halved. Pure and fast:
    prompts are fitted by it.
    """
    if text.isascii():  # the same sum, taken eight times faster
        return _ascii_tokens(text)
    tokens = len(_SPACED_NUMBER.findall(text))
    for piece in _PIECE.findall(text):
        if piece[0].isspace():
            tokens += _blank_tokens(piece)
        elif piece.isascii():
            tokens += (len(piece) + 4) // 5 if piece[0].isalpha() else (len(piece) + 1) // 2
        else:
            tokens += (len(piece.encode("utf-8", "replace")) + 1) // 2
    return tokens


def _ascii_tokens(text: str) -> int:
    kinds = text.encode("ascii").translate(_KINDS)
    tokens = kinds.count(b"0") + kinds.count(b" 0") + sum(map(_blank_tokens, _RUNS.findall(text)))
    for shared in _SHARED:
        kinds = kinds.replace(shared, b"x")
    return tokens + kinds.count(b"x")


def _blank_tokens(run: str) -> int:
    """White space in a row: one token with a line break in it, otherwise one for every four beyond the first."""
    return 1 if "\n" in run else (len(run) - 1 + 3) // 4

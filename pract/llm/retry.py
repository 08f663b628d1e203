"""When a failed attempt is repeated, and after what pause. Pure, but for the clock that dates need."""

import email.utils
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass

from pract.errors import InputError
from pract.llm.base import ChatErrorKind

PASSING = frozenset(
    {
        ChatErrorKind.RATE_LIMITED,
        ChatErrorKind.SERVER,
        ChatErrorKind.TIMEOUT,
        ChatErrorKind.CONNECTION,
        ChatErrorKind.BAD_RESPONSE,
    }
)
"""Kinds of failure that may pass by themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Exponential back-off with jitter. Pauses in seconds."""

    attempts: int = 5
    """Tries in all; 1 never repeats."""
    first_pause: float = 0.5
    """Before the second attempt; doubled before each further one, then shortened by up to half at random."""
    rate_pause: float = 5.0
    """The same after a refusal for too many calls, where the server does not say how long to wait: limits are mostly
    a minute's."""
    longest_pause: float = 30.0
    longest_wait: float = 120.0
    """A server that asks for more than this in `Retry-After` is given up at once."""
    seed: int = 0
    """Of the jitter; with the call's tag it decides every pause."""

    def __post_init__(self) -> None:
        pauses = (self.first_pause, self.rate_pause, self.longest_pause, self.longest_wait)
        if self.attempts < 1 or min(pauses) < 0:
            raise InputError(
                f"llm.patience: attempts must be 1 or more and pauses not negative, found {self}"
            )

    def pause(
        self, kind: ChatErrorKind, attempt: int, asked: float | None, jitter: random.Random
    ) -> float | None:
        """Seconds to wait before the next attempt; None if there shall be none.

        attempt: how many were made, from 1. asked: what the server's `Retry-After` said.
        """
        if attempt >= self.attempts or kind not in PASSING:
            return None
        if asked is not None and asked > self.longest_wait:
            return None
        first = self.rate_pause if kind is ChatErrorKind.RATE_LIMITED and asked is None else self.first_pause
        own = min(self.longest_pause, first * 2 ** (attempt - 1)) * jitter.uniform(0.5, 1.0)
        return own if asked is None else asked + own * 0.1  # spread, so that all do not return at once


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait: `retry-after-ms`, or `retry-after` in seconds or as a date."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    said = headers.get("retry-after")
    seconds = _number(said)
    if seconds is not None or said is None:
        return seconds
    try:
        return max(0.0, email.utils.parsedate_to_datetime(said).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < 1e9 else None

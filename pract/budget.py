"""What a run may spend and what it has spent, in calls, tokens, money and wall time."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from pract.errors import InputError
from pract.types import Reply, sum_told


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits of a run; None means no limit."""

    calls: int | None = None
    """Replies asked for, failed ones included."""
    tokens: int | None = None
    """Prompt and completion tokens together, cached ones included."""
    seconds: float | None = None
    """Wall time over all sessions of the run."""
    usd: float | None = None
    """Money by the price list of the chat models."""

    def __post_init__(self) -> None:
        for field in fields(self):
            limit = getattr(self, field.name)
            if limit is not None and (isinstance(limit, bool) or limit <= 0):
                raise InputError(
                    f"budget.{field.name}={limit!r} is not above 0: give a positive number, or null for no limit"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What was spent so far."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int | None = None
    """Of the prompt tokens, as far as servers told; None: none has. vLLM is silent where it found nothing cached, so
    that the silence of one that told before counts as 0."""
    usd: float = 0.0
    seconds: float = 0.0
    """Wall time over all sessions of the run."""

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens."""
        return self.prompt_tokens + self.completion_tokens

    def plus(self, reply: Reply | None) -> "Spent":
        """With one more call; None is a call that failed and is not known to have cost anything."""
        if reply is None:
            return replace(self, calls=self.calls + 1)
        return Spent(
            calls=self.calls + 1,
            prompt_tokens=self.prompt_tokens + reply.prompt_tokens,
            completion_tokens=self.completion_tokens + reply.completion_tokens,
            cached_tokens=sum_told(self.cached_tokens, reply.cached_tokens),
            usd=self.usd + reply.usd,
            seconds=self.seconds,
        )


class BudgetExhausted(Exception):
    """A call was not made because a limit of the run is reached; `limit` names it."""

    def __init__(self, limit: str, message: str) -> None:
        super().__init__(message)
        self.limit = limit


class Ledger:
    """Says before each call whether it may be made, and takes down what it cost.

    Calls are never overrun. Tokens, money and seconds are overrun by what the calls in flight cost at most,
    because a call is refused as soon as what is settled reaches the limit.
    """

    def __init__(self, budget: Budget, clock: Callable[[], float], before: Spent | None = None) -> None:
        """clock: seconds that only grow, e.g. `time.monotonic`. before: spent by earlier sessions of the run."""
        self.budget = budget
        self._limits = {
            field.name: limit
            for field in fields(budget)
            if (limit := getattr(budget, field.name)) is not None
        }
        self._clock = clock
        self._spent = before or Spent()
        self._started = clock() - self._spent.seconds
        self.in_flight = 0

    @property
    def spent(self) -> Spent:
        """Everything settled so far."""
        return replace(self._spent, seconds=self.seconds)

    @property
    def seconds(self) -> float:
        """Wall time so far, over all sessions of the run."""
        return self._clock() - self._started

    def exhausted(self) -> str | None:
        """Name of the limit that forbids one more call, or None."""
        return next((name for name, limit in self._limits.items() if self._used(name) >= limit), None)

    def _used(self, name: str) -> float:
        """How much of a limit is taken."""
        if name == "calls":
            return self._spent.calls + self.in_flight
        return self.seconds if name == "seconds" else float(getattr(self._spent, name))

    def reserve(self) -> None:
        """Announce a call. Raises BudgetExhausted if it may not be made."""
        limit = self.exhausted()
        if limit is not None:
            allowed = getattr(self.budget, limit)
            raise BudgetExhausted(limit, f"budget.{limit}={allowed} is spent")
        self.in_flight += 1

    def settle(self, reply: Reply | None) -> None:
        """Take down an announced call; None for one that failed at no known cost."""
        self.in_flight -= 1
        self._spent = self._spent.plus(reply)

    def release(self) -> None:
        """Take back an announced call that was cancelled before it had an outcome."""
        self.in_flight -= 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a run is expected to need, before its first call."""

    episodes: int
    calls: int
    """If every episode takes all its steps: the most that can be asked for."""
    likely_calls: int
    """If episodes take half their steps."""
    prompt_tokens: int
    """For the likely calls, cached ones included."""
    completion_tokens: int
    """For the likely calls."""


def estimate(
    *,
    episodes: int,
    steps: int,
    prefix_tokens: int,
    step_tokens: int,
    reply_tokens: int,
    other_calls: int,
    other_prompt_tokens: int,
    other_reply_tokens: int,
) -> Estimate:
    """What so many episodes and reflector and optimizer calls need.

    prefix_tokens: the fixed part of the agent's prompt. step_tokens: what one turn adds to it. reply_tokens:
    what the agent writes a turn. The others: calls of reflector and optimizer, and their mean sizes.
    """
    likely = max(1, (steps + 1) // 2)
    grown = prefix_tokens * likely + step_tokens * likely * (likely - 1) // 2
    return Estimate(
        episodes=episodes,
        calls=episodes * steps + other_calls,
        likely_calls=episodes * likely + other_calls,
        prompt_tokens=episodes * grown + other_calls * other_prompt_tokens,
        completion_tokens=episodes * likely * reply_tokens + other_calls * other_reply_tokens,
    )

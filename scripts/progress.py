"""A bar of episodes played, with success so far, tokens, rates, cost and the time left."""

import asyncio
import sys
from collections import deque

from tqdm import tqdm

from pract.budget import Ledger, Spent
from pract.types import Episode

WINDOW = 30.0
"""Seconds over which the rates are taken."""
WATCHED, UNWATCHED = 1.0, 15.0
"""Seconds from one refresh to the next: at a terminal, and where each is one more line of a file."""


class EpisodeBar:
    """Told of every episode as it ends, and refreshed by the running loop between them, since calls go on meanwhile."""

    def __init__(self, title: str, total: int, ledger: Ledger) -> None:
        """Raises RuntimeError where no event loop is running."""
        self._ledger = ledger
        self._counted = self._solved = 0
        self._score = 0.0
        self._lately: deque[Spent] = deque([ledger.spent])
        """The latest that is `WINDOW` old, and what came after it."""
        watched = sys.stderr.isatty()
        self._bar = tqdm(
            total=total, desc=title, unit="episode", dynamic_ncols=True, mininterval=0.5 if watched else 15
        )
        self._every = WATCHED if watched else UNWATCHED
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._every, self._tick)

    def _tick(self) -> None:
        self._timer = self._loop.call_later(self._every, self._tick)
        self.refresh()

    def refresh(self) -> None:
        """Take the rates up to now, and draw."""
        now = self._ledger.spent
        self._lately.append(now)
        while self._lately[1].seconds <= now.seconds - WINDOW:
            self._lately.popleft()
        self._bar.set_postfix_str(self.account())

    def show(self, episode: Episode) -> None:
        """Move on by one episode."""
        if episode.status.counts:
            self._counted += 1
            self._solved += episode.success
            self._score += episode.score
        self._bar.set_postfix_str(self.account(), refresh=False)
        self._bar.update()

    def account(self) -> str:
        """`success 40% (12 of 30), score 0.52, 81k tokens, 1.3 calls/s, 410 tokens/s, 87% cached, $0.12`."""
        spent = self._ledger.spent
        parts = []
        if self._counted:
            parts.append(f"success {self._solved / self._counted:.0%} ({self._solved} of {self._counted})")
            parts.append(f"score {self._score / self._counted:.2f}")
        parts.append(f"{thousands(spent.tokens)} tokens")
        parts.extend(rates(self._lately[0], spent))
        if spent.usd:
            parts.append(f"${spent.usd:.2f}")
        return ", ".join(parts)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._bar.write(line, file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._timer.cancel()
        self._bar.close()


def rates(then: Spent, now: Spent) -> list[str]:
    """Calls and tokens a second between two moments, and the share of prompt tokens that were cached, if told."""
    calls, tokens, prompt = (
        now.calls - then.calls,
        now.tokens - then.tokens,
        now.prompt_tokens - then.prompt_tokens,
    )
    seconds = now.seconds - then.seconds
    if seconds <= 0:
        return []
    found = [f"{calls / seconds:.3g} calls/s", f"{thousands(round(tokens / seconds))} tokens/s"]
    if not prompt or now.cached_tokens is None:
        return found
    return [*found, f"{(now.cached_tokens - (then.cached_tokens or 0)) / prompt:.0%} cached"]


def thousands(count: int) -> str:
    """`950`, `12.3k`, `4.1M`."""
    if count < 1_000:
        return str(count)
    return f"{count / 1_000:.1f}k" if count < 1_000_000 else f"{count / 1_000_000:.1f}M"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

"""A bar of episodes played, with success so far, tokens, rates, cost and the time left."""

import sys
from collections import deque

from tqdm import tqdm

from pract.budget import Ledger, Spent
from pract.types import Episode

LATELY = 20
"""Episodes over which the rates are taken."""


class EpisodeBar:
    """Told of every episode as it ends; quiet when nobody watches."""

    def __init__(self, title: str, total: int, ledger: Ledger) -> None:
        self._ledger = ledger
        self._counted = self._solved = 0
        self._score = 0.0
        self._lately: deque[Spent] = deque([ledger.spent], maxlen=LATELY)
        self._bar = tqdm(
            total=total,
            desc=title,
            unit="episode",
            dynamic_ncols=True,
            mininterval=0.5 if sys.stderr.isatty() else 15,
        )

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
        self._lately.append(spent)
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
        self._bar.close()


def rates(then: Spent, now: Spent) -> list[str]:
    """Calls and tokens a second between two moments, and the share of prompt tokens that were cached, if told."""
    calls, tokens, prompt = (
        now.calls - then.calls,
        now.tokens - then.tokens,
        now.prompt_tokens - then.prompt_tokens,
    )
    seconds = now.seconds - then.seconds
    if not calls or seconds <= 0:
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

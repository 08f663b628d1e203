"""GEPA's pool as rounds: one for the start and one for each candidate that it validates, as that happens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pract.acceptance import compare
from pract.budget import Spent
from pract.rounds import Decision, Round, logged, mean_by_task
from pract.types import Episode, Principles
from pract.wiring import Learning


@dataclass(frozen=True, slots=True, kw_only=True)
class Validated:
    """A candidate of the pool, with all that was played since the one before it."""

    texts: Mapping[str, str]
    parents: Sequence[int | None]
    """Places in the pool."""
    mean: float
    """Over the validation tasks, as GEPA counts: one that could not be played is 0."""
    episodes: Sequence[Episode]
    spent: Spent


class Pool:
    """The candidates so far, and what has to be told of each."""

    def __init__(self, learning: Learning) -> None:
        self.learning = learning
        self.versions: list[Principles] = []
        self.best, self.best_mean = learning.start, float("-inf")
        self._scores: dict[str, dict[str, float]] = {}
        self._validation = {task.id for task in learning.validation}

    def round(self, found: Validated) -> Round:
        """The round of a validated candidate, logged."""
        start, before, index = self.learning.start, self.best, len(self.versions)
        known = [number for number in found.parents if number is not None and number < index]
        parent = self.versions[known[0]].version if known else None
        candidate = Principles(texts=found.texts, parent=parent, author="gepa") if index else start
        self.versions.append(candidate)
        training, validation = self._split(found.episodes)
        scores = mean_by_task(validation, self.learning.config.measure)
        decision = Decision.START if not index else Decision.REJECTED
        old = self._scores.get(before.version)
        if found.mean > self.best_mean:
            self.best, self.best_mean = candidate, found.mean
            decision = Decision.ACCEPTED if index else decision
        self._scores.setdefault(candidate.version, scores)
        return self._logged(
            Round(
                index=index,
                before=before,
                candidate=candidate,
                after=self.best,
                decision=decision,
                reason=f"gepa: validation mean {found.mean:.3f}" if index else "",
                best=self.best,
                episodes=training,
                validation=validation,
                comparison=compare(old, scores, seed=self.learning.config.seed) if index and old else None,
                spent=found.spent,
            )
        )

    def end(self, episodes: Sequence[Episode], stop: str) -> Round | None:
        """The round of what was tried after the last candidate, or of why GEPA had to stop; None if neither is."""
        if not (episodes or stop):
            return None
        training, validation = self._split(episodes)
        count = len(self.versions)
        return self._logged(
            Round(
                index=count,
                before=self.best,
                candidate=self.best,
                after=self.best,
                decision=Decision.STOPPED if stop else Decision.UNCHANGED,
                reason=stop or f"gepa: the best of {count} candidates, validation mean {self.best_mean:.3f}",
                best=self.best,
                episodes=(*training, *validation),  # of no candidate of the pool
                spent=self.learning.ledger.spent,
            )
        )

    def _split(self, episodes: Sequence[Episode]) -> tuple[tuple[Episode, ...], tuple[Episode, ...]]:
        """Those on training tasks, and those on validation tasks."""
        validation = tuple(e for e in episodes if e.task_id in self._validation)
        return tuple(e for e in episodes if e.task_id not in self._validation), validation

    def _logged(self, round_: Round) -> Round:
        return logged(self.learning.crew.log, f"gepa-{round_.index:03d}", round_)


def validated(event: Mapping[str, Any], episodes: Sequence[Episode], spent: Spent) -> Validated:
    """What GEPA's event of a validation says."""
    return Validated(
        texts=event["candidate"],
        parents=tuple(event["parent_ids"] or ()),
        mean=event["average_score"],
        episodes=tuple(episodes),
        spent=spent,
    )

"""Outcomes of episodes as estimates with intervals, paired differences and `results.json` in lm-eval's shape."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pract.budget import Spent
from pract.evaluation import Outcome
from scripts import stats
from scripts.paired import pass_hat_k
from scripts.run import git

MEASURES = ("score", "success", "progress")
TAKEN = ("steps", "refused", "unread")
"""What an episode took, in counts."""


def by_task(outcomes: Sequence[Outcome], measure: str) -> dict[str, float]:
    """Each task's mean over its attempts that say something about the agent."""
    values: dict[str, list[float]] = {}
    for outcome in outcomes:
        if outcome.counts:
            values.setdefault(outcome.task, []).append(float(getattr(outcome, measure)))
    return {task: fmean(found) for task, found in values.items()}


def estimates(outcomes: Sequence[Outcome]) -> dict[str, stats.Estimate]:
    """The measures over tasks, pass^k where tasks were played more than once, and what an episode took.

    Attempts at a task are alike, so each task counts once, by its mean.
    """
    found: dict[str, stats.Estimate] = {}
    for measure in MEASURES:
        values = list(by_task(outcomes, measure).values())
        if values:
            found[measure] = stats.share_or_mean(values)
    found |= pass_hat(outcomes)
    for name in TAKEN:
        values = list(by_task(outcomes, name).values())
        if values:
            found[name] = stats.mean(values)
    prompts, replies = (by_task(outcomes, f"{side}_tokens") for side in ("prompt", "completion"))
    if prompts:
        found["tokens"] = stats.mean([tokens + replies[task] for task, tokens in prompts.items()])
    return found


def pass_hat(outcomes: Sequence[Outcome]) -> dict[str, stats.Estimate]:
    """pass^k: the chance that k attempts at a task all succeed, unbiased; over tasks with all their attempts."""
    attempts = 1 + max((outcome.attempt for outcome in outcomes), default=0)
    solved: Counter[str] = Counter()
    played: Counter[str] = Counter()
    for outcome in outcomes:
        if outcome.counts:
            played[outcome.task] += 1
            solved[outcome.task] += outcome.success
    whole = [task for task in played if played[task] == attempts]
    if attempts < 2 or not whole:
        return {}
    return {
        f"pass^{k}": stats.share_or_mean([pass_hat_k(solved[task], attempts, k) for task in whole])
        for k in range(2, attempts + 1)
    }


def compare_pairs(arms: Mapping[str, Sequence[Outcome]]) -> list[dict[str, Any]]:
    """Every later arm against every earlier one, on the tasks that both could play.

    Bonett and Price's interval where all values are 0 or 1; else Student's, cut to [-1,1].
    """
    rows = []
    for before, after in combinations(arms, 2):
        for measure in MEASURES:
            old, new = by_task(arms[before], measure), by_task(arms[after], measure)
            both = [task for task in old if task in new]
            if not both:
                continue
            pairs = [new[task] for task in both], [old[task] for task in both]
            difference = stats.score_difference(*pairs)
            row: dict[str, Any] = {"arms": [after, before], "measure": measure, **stats.as_json(difference)}
            row["won"] = [task for task in both if new[task] > old[task]]
            row["lost"] = [task for task in both if new[task] < old[task]]
            if measure == "success" and all(value in (0.0, 1.0) for values in pairs for value in values):
                won, lost, p = stats.mcnemar([v == 1 for v in pairs[0]], [v == 1 for v in pairs[1]])
                row["mcnemar"] = {"won": won, "lost": lost, "p": p}
            rows.append(row)
    return rows


def results_json(
    environment: Mapping[str, str],
    arms: Mapping[str, Sequence[Outcome]],
    *,
    split: str,
    config: Mapping[str, Any],
    spent: Spent,
    stopped: str,
) -> dict[str, Any]:
    """The outcome in lm-eval's shape: `metric,arm`, with intervals, pairs, cost and what did not count.

    environment: `environment`, `environment_version`, `licence`, `content_hash` of the run's description.
    """
    name = environment["environment"]
    row: dict[str, Any] = {"alias": name}
    intervals: dict[str, list[float | None]] = {}
    for arm, outcomes in arms.items():
        for metric, estimate in estimates(outcomes).items():
            bounded = stats.as_json(estimate)
            row[f"{metric},{arm}"] = estimate.value
            row[f"{metric}_stderr,{arm}"] = "N/A" if bounded["stderr"] is None else estimate.stderr
            intervals[f"{metric},{arm}"] = [bounded["low"], bounded["high"]]
    return {
        "results": {name: row},
        "intervals_95": {name: intervals},
        "paired": compare_pairs(arms),
        "versions": {name: environment["environment_version"]},
        "licence": {name: environment["licence"]},
        "content_hash": {name: environment["content_hash"]},
        "n-samples": {
            name: {
                arm: {"original": len(found), "effective": sum(outcome.counts for outcome in found)}
                for arm, found in arms.items()
            }
        },
        "statuses": {arm: dict(Counter(o.status.value for o in found)) for arm, found in arms.items()},
        "cost_by_arm": {arm: cost(found) for arm, found in arms.items()},
        "split": split,
        "cost": {**asdict(spent), "tokens": spent.tokens},
        "stopped": stopped,
        "config": dict(config),
        "git_hash": git("rev-parse", "HEAD"),
        "date": time.time(),
        "total_evaluation_time_seconds": str(spent.seconds),
    }


def cost(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """What the agent's calls in these episodes took; seconds are those of the calls, side by side or not."""
    names = ("prompt_tokens", "completion_tokens", "usd", "seconds")
    return {
        "calls": sum(o.steps for o in outcomes),
        **{n: sum(getattr(o, n) for o in outcomes) for n in names},
    }


def print_arms(title: str, arms: Mapping[str, Sequence[Outcome]], console: Console | None = None) -> None:
    """A table of arms with their 95% intervals, then the paired differences of their scores."""
    console = console or Console()
    table = Table(title=title, title_justify="left")
    for column in ("arm", "metric", "value", "95% interval", "tasks", "left out"):
        table.add_column(column, justify="left" if column in ("arm", "metric") else "right", no_wrap=True)
    for arm, outcomes in arms.items():
        left_out = sum(not outcome.counts for outcome in outcomes)
        for metric, estimate in estimates(outcomes).items():
            if metric in MEASURES or metric.startswith("pass^"):
                values = f"{estimate.value:.3f}", stats.interval_text(estimate.low, estimate.high)
                table.add_row(escape(arm), metric, *values, str(estimate.n), str(left_out))
    console.print(table)
    for row in compare_pairs(arms):
        if row["measure"] == "score":
            bounds = stats.interval_text(row["low"], row["high"], signed=True)
            console.print(
                f"{row['arms'][0]} - {row['arms'][1]}: score {row['value']:+.3f} {bounds}, n={row['n']}, "
                f"{len(row['won'])} won, {len(row['lost'])} lost",
                highlight=False,
            )

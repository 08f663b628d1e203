"""`results.json` in lm-eval's shape, and tables with intervals, from the items of an evaluation."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from scripts import stats
from scripts.run import git

if TYPE_CHECKING:  # the report reads items without torch
    from latro.evaluation import Item
    from latro.tasks.base import Task


def estimates(items: "Sequence[Item]", main_grader: str) -> dict[str, stats.Estimate]:
    """Every measured quantity with its interval, by `metric,filter` as lm-eval names them."""
    found: dict[str, stats.Estimate] = {}
    n = len(items)
    for kind in ("greedy", "majority", "choices"):
        label = {
            "greedy": "accuracy_greedy",
            "majority": f"accuracy_maj{len(items[0].samples)}",
            "choices": "",
        }[kind]
        for name in getattr(items[0], kind):
            right = sum(getattr(item, kind)[name].correct for item in items)
            found[f"{label or name},{name if label else 'none'}"] = stats.proportion(right, n)
    if main_grader in items[0].greedy:
        missing = sum(item.greedy[main_grader].extracted is None for item in items)
        found["no_answer_found,none"] = stats.proportion(missing, n)
    found["unfinished,none"] = stats.proportion(sum(not item.finished for item in items), n)
    for kind in items[0].log_answer:
        found[f"logp_answer,{kind}_rationale"] = stats.mean([item.log_answer[kind] for item in items])
    if {"own", "none", "other"} <= set(items[0].log_answer):
        for kind in ("none", "other"):
            gap = stats.paired_difference(
                [item.log_answer["own"] for item in items], [item.log_answer[kind] for item in items]
            )
            found[f"logp_answer,own_minus_{kind}"] = gap
    if {"gold", "none"} <= set(items[0].log_answer):
        found["logp_answer,gold_minus_none"] = stats.paired_difference(
            [item.log_answer["gold"] for item in items], [item.log_answer["none"] for item in items]
        )
    return found


def results_json(
    task: "Task",
    items: "Sequence[Item]",
    *,
    split: str,
    original: int,
    left_out: int,
    config: Mapping[str, Any],
    seconds: float,
) -> dict[str, Any]:
    """The outcome in the shape that lm-eval writes: results, versions, n-samples, config, date.

    `original` counts the split's examples before any limit and before prompts that are too long are dropped;
    `left_out` is the number of rows in `left_out.jsonl`.
    """
    row: dict[str, Any] = {"alias": task.name, "sample_len": len(items)}
    intervals: dict[str, list[float | None]] = {}
    for name, estimate in estimates(items, task.main_grader).items():
        metric, _, grader = name.partition(",")
        row[name] = estimate.value if math.isfinite(estimate.value) else "N/A"
        row[f"{metric}_stderr,{grader}"] = estimate.stderr if math.isfinite(estimate.stderr) else "N/A"
        bounds = (estimate.low, estimate.high)
        intervals[name] = [stats.finite(bound) for bound in bounds]
    return {
        "results": {task.name: row},
        "intervals_95": {task.name: intervals},
        "main_metric": {task.name: f"accuracy_greedy,{task.main_grader}"},
        "versions": {task.name: task.version},
        "n-samples": {task.name: {"original": original, "effective": len(items)}},
        "split": split,
        "left_out": left_out,
        "config": dict(config),
        "git_hash": git("rev-parse", "HEAD"),
        "date": time.time(),
        "total_evaluation_time_seconds": str(seconds),
    }


def print_estimates(title: str, found: Mapping[str, stats.Estimate], console: Console | None = None) -> None:
    """A table of quantities with their 95% intervals."""
    table = Table(title=title, title_justify="left")
    for column in ("metric", "grader", "value", "95% interval", "n"):
        table.add_column(column, justify="left" if column in ("metric", "grader") else "right", no_wrap=True)
    for name, estimate in found.items():
        metric, _, grader = name.partition(",")
        interval = stats.interval_text(estimate.low, estimate.high)
        table.add_row(metric, grader, f"{estimate.value:.3f}", interval, str(estimate.n))
    (console or Console()).print(table)


def disagreements(items: "Sequence[Item]") -> list[dict[str, Any]]:
    """Items on whose greedy output the graders do not agree, with what each extracted."""
    found = []
    for item in items:
        if len({graded.correct for graded in item.greedy.values()}) > 1:
            extracted = {name: graded.extracted for name, graded in item.greedy.items()}
            correct = [name for name, graded in item.greedy.items() if graded.correct]
            found.append({"id": item.id, "gold": item.gold, "extracted": extracted, "correct": correct})
    return found

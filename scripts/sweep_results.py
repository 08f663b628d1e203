"""What a sweep's jobs left: how each ended, and its figures by metric."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from latro.errors import InputError
from scripts.sweep_plan import Job, without_seed

AT = ("best", "last", "start", "lowest", "mean")
Setting = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a job ended."""

    job: Job
    status: str
    """`finished`, `failed` or `not run`."""
    error: str = ""
    """Why it failed, or what it lacks."""
    seconds: float | None = None
    """Of this session; None for one that was finished before."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """By metric."""


def read_outcome(folder: Path) -> dict[str, Any] | None:
    """`results.json` of a finished job; None if it is missing, damaged, or that of a stopped run.

    A run that used up its budget is finished: that is what a budget is for.
    """
    outcome = read_whole(folder / "results.json")
    stopped = str((outcome or {}).get("stopped") or "")
    return outcome if not stopped or stopped.startswith("budget:") else None


def read_whole(path: Path) -> dict[str, Any] | None:
    """The outcome in a file, of a finished run or a stopped one; None if it is missing, cut off or empty."""
    try:
        outcome = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return outcome if isinstance(outcome, dict) and outcome else None


def default_metrics(outcome: Mapping[str, Any]) -> tuple[str, ...]:
    """What to look at if nothing was asked for: what chose the best checkpoint, or the main grader, or the scores."""
    if "training" in outcome:
        name = "eval/" + outcome["training"]["chosen_by"].removeprefix("validation ")
        return f"{name}@best", f"{name}@last"
    if "main_metric" in outcome:
        return (str(next(iter(outcome["main_metric"].values()))),)
    return tuple(name for name in _named(outcome) if name.startswith("score,"))


def measured(outcome: Mapping[str, Any], metric: str) -> float:
    """A metric of a finished job. Raises InputError for one that it does not have."""
    name, _, at = metric.partition("@")
    named = _named(outcome)
    if not name.startswith("eval/"):
        main = next((m for m in outcome.get("main_metric", {}).values() if m.startswith(name + ",")), name)
        if main in named:
            return named[main]
        raise InputError(f"metric={metric}: no such metric; there are {', '.join(named)}")
    rows = {int(step): row for step, row in outcome.get("training", {}).get("evaluations", {}).items()}
    if (at or "best") not in AT:
        raise InputError(f"metric={metric}: after @ stands one of {', '.join(AT)}")
    having = {step: row[name] for step, row in sorted(rows.items()) if name in row}
    if not having:
        known = ", ".join(sorted({name for row in rows.values() for name in row})) or "none: no training"
        raise InputError(f"metric={metric}: no such metric; there are {known}")
    steps = list(having)
    later = [value for step, value in having.items() if step > 0 or len(having) == 1]
    if at in ("lowest", "mean"):
        return float(min(later) if at == "lowest" else fmean(later))
    chosen = {"start": steps[0], "last": steps[-1]}.get(at, outcome["training"]["best_step"])
    return float(having.get(chosen, having[steps[-1]]))


def _named(outcome: Mapping[str, Any]) -> dict[str, float]:
    row = next(iter(outcome["results"].values()))
    return {
        name: float(value)
        for name, value in row.items()
        if "," in name and "_stderr" not in name and isinstance(value, int | float)
    }


def with_figures(results: Sequence[Result], metrics: Sequence[str]) -> tuple[list[Result], tuple[str, ...]]:
    """The results with their figures, and the metrics. A metric that a job lacks is left out, and its row says so."""
    outcomes = {result.job.name: read_outcome(result.job.folder) for result in results}
    found = next((outcome for outcome in outcomes.values() if outcome is not None), None)
    names = tuple(metrics) or (default_metrics(found) if found is not None else ())
    filled = []
    for result in results:
        outcome = outcomes[result.job.name]
        figures, lacking = measured_all(outcome, names) if outcome is not None else ({}, [])
        if outcome is not None and outcome.get("stopped") and result.job.script == "evaluate_pract":
            # Whatever tasks it reached: means over them are not comparable with those over all.
            figures, lacking = {}, [f"{outcome['stopped']}: not all tasks were played"]
        filled.append(
            replace(result, figures=figures, error="; ".join([result.error] * bool(result.error) + lacking))
        )
    return filled, names


def measured_all(outcome: Mapping[str, Any], metrics: Sequence[str]) -> tuple[dict[str, float], list[str]]:
    """The metrics that a finished job has, and a line for each that it lacks."""
    figures, lacking = {}, []
    for metric in metrics:
        try:
            figures[metric] = measured(outcome, metric)
        except InputError as error:
            lacking.append(str(error))
    return figures, lacking


def refuse_unmeasured(results: Sequence[Result], metrics: Sequence[str]) -> None:
    """Raise InputError for a metric that no finished job has; it is misspelt, or of another script."""
    finished = [result for result in results if result.status == "finished"]
    for metric in metrics:
        if finished and not any(metric in result.figures for result in finished):
            measured(read_outcome(finished[0].job.folder) or {}, metric)


def settings_of(results: Sequence[Result]) -> dict[Setting, list[Result]]:
    """Jobs by setting, seeds together."""
    groups: dict[Setting, list[Result]] = {}
    for result in results:
        groups.setdefault(result.job.setting, []).append(result)
    return groups


def balanced(settings: Iterable[Setting]) -> list[Setting]:
    """The settings of all knobs, seed included, without those that only some of the seeds have.

    Where a job is missing, a seed's mean over what is left would differ from another's by the settings, and not by
    chance. If no setting is there at every seed, the seeds that have all of them.
    """
    every = list(settings)
    of_seed: dict[str, set[Setting]] = {}
    for setting in every:
        of_seed.setdefault(dict(setting).get("seed", ""), set()).add(without_seed(setting))
    at_all_seeds = set.intersection(*of_seed.values()) if of_seed else set()
    if at_all_seeds:
        return [setting for setting in every if without_seed(setting) in at_all_seeds]
    number = len(set().union(*of_seed.values()))
    return [setting for setting in every if len(of_seed[dict(setting).get("seed", "")]) == number]

"""What a sweep found: a row for each job, each setting with its interval over seeds, and what each knob did."""

import csv
import io
import math
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scripts import paired, stats
from scripts.masking import masked_command
from scripts.sweep_plots import is_share
from scripts.sweep_results import Result, Setting, balanced, settings_of

PIPED = 400
"""Columns of a table that goes to no terminal: it is as wide as it must be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """A knob's value against the knob's first one, all else equal."""

    metric: str
    knob: str
    value: str
    against: str
    difference: stats.Estimate
    """Over seeds: of each the mean over all settings of the other knobs; `n` counts seeds."""
    p: float | None
    """Student's, over seeds; None where they show no spread."""
    detectable: float | None = None
    """The true change that so many seeds, for this effect alone, find four times in five; None as for p."""
    adjusted: float | None = None
    """Holm's, over all effects."""


def estimates(group: Sequence[Result], metric: str) -> stats.Estimate | None:
    """A setting's mean with its interval over seeds; None if no job of it has the metric."""
    values = [result.figures[metric] for result in group if metric in result.figures]
    if not values:
        return None
    found = stats.mean(values)
    return stats.within(found, 0.0, 1.0) if is_share(metric) else found


def effects(results: Sequence[Result], metrics: Sequence[str]) -> list[Effect]:
    """What each knob did, from jobs that are alike in all else, seed included."""
    knobs: dict[str, dict[str, None]] = {}
    for result in results:
        for key, value in result.job.setting:
            knobs.setdefault(key, {})[value] = None
    found = [
        effect
        for metric in metrics
        for knob, values in knobs.items()
        for value in list(values)[1:]
        if (effect := _effect(results, metric, knob, value, next(iter(values)))) is not None
    ]
    asked = [effect.p for effect in found if effect.p is not None]
    adjusted = iter(paired.holm(asked))
    return [effect if effect.p is None else replace(effect, adjusted=next(adjusted)) for effect in found]


def _effect(results: Sequence[Result], metric: str, knob: str, value: str, first: str) -> Effect | None:
    def sides(wanted: str) -> dict[tuple[Any, ...], float]:
        return {
            tuple((key, held) for key, held in result.job.knobs.items() if key != knob): result.figures[
                metric
            ]
            for result in results
            if result.job.knobs.get(knob) == wanted and metric in result.figures
        }

    after, before = sides(value), sides(first)
    both = balanced(rest for rest in after if rest in before)
    if not both:
        return None
    seeds: dict[str, list[tuple[float, float]]] = {}
    for rest in both:
        seeds.setdefault(dict(rest).get("seed", ""), []).append((after[rest], before[rest]))
    means = [[fmean(pair[side] for pair in pairs) for pairs in seeds.values()] for side in (0, 1)]
    difference = stats.paired_difference(means[0], means[1])
    if not math.isfinite(
        difference.low
    ):  # a single seed, or seeds that are all alike: their spread is not known
        p = detectable = None
    else:
        after_S1, before_S1 = ([[mean] for mean in side] for side in means)
        found = paired.clustered(after_S1, before_S1, matched=True)
        p, detectable = found.p, found.detectable()
    return Effect(
        metric=metric,
        knob=knob,
        value=value,
        against=first,
        difference=difference,
        p=p,
        detectable=detectable,
    )


def print_sweep(results: Sequence[Result], metrics: Sequence[str], console: Console | None = None) -> None:
    """Settings with intervals over seeds, what each knob did, and the jobs that failed."""
    console = console or Console(width=None if sys.stdout.isatty() or os.environ.get("COLUMNS") else PIPED)
    table = Table(title="mean [95% interval over seeds] seeds", title_justify="left", box=box.SIMPLE)
    for column in ("setting", *metrics):
        table.add_column(escape(column), justify="left" if column == "setting" else "right", overflow="fold")
    for setting, group in settings_of(results).items():
        cells = [_cell(estimates(group, metric)) for metric in metrics]
        table.add_row(escape(spoken(setting)), *cells)
    console.print(table)
    found = effects(results, metrics)
    if found:
        _print_effects(found, console)
    for result in results:
        if result.error:
            console.print(
                f"{result.status}: {result.job.name}: {result.error}", highlight=False, markup=False
            )


def spoken(setting: Setting) -> str:
    """`objective.kl_weight=0.05` as `kl_weight=0.05`."""
    return ", ".join(f"{key.rsplit('.', 1)[-1]}={value}" for key, value in setting) or "all"


def _cell(estimate: stats.Estimate | None) -> str:
    if estimate is None:
        return "-"
    if estimate.n < 2:
        return f"{estimate.value:.3f} (one seed)"
    if not math.isfinite(estimate.value):
        return f"{estimate.value} ({estimate.n} seeds)"
    if not estimate.stderr:  # no width is no proof of certainty
        return f"{estimate.value:.3f} (all {estimate.n} seeds)"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}] {estimate.n}"


def _print_effects(found: Sequence[Effect], console: Console) -> None:
    table = Table(title="what each knob did, all else equal", title_justify="left", box=box.SIMPLE)
    for column in ("knob", "metric", "change", "95% interval", "seeds", "p", "p, Holm", "sees"):
        left = column in ("knob", "metric")
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    for effect in found:
        gap = effect.difference
        bold = effect.adjusted is not None and effect.adjusted < 0.05
        table.add_row(
            escape(f"{effect.knob.rsplit('.', 1)[-1]}: {effect.against} → {effect.value}"),
            escape(effect.metric),
            f"{gap.value:+.3f}",
            f"[{gap.low:+.3f}, {gap.high:+.3f}]" if math.isfinite(gap.low) else "",
            str(gap.n),
            "" if effect.p is None else f"{effect.p:.3g}",
            "" if effect.adjusted is None else f"{effect.adjusted:.3g}",
            "" if effect.detectable is None else f"{effect.detectable:.3g}",
            style="bold" if bold else "",
        )
    console.print(table)


def sweep_csv(results: Sequence[Result], metrics: Sequence[str]) -> str:
    """A row for each job."""
    knobs = list(dict.fromkeys(key for result in results for key in result.job.knobs))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["job", "status", *knobs, *metrics, "seconds", "folder", "error"])
    for result in results:
        job = result.job
        figures = [result.figures.get(metric, "") for metric in metrics]
        values = [job.knobs.get(key, "") for key in knobs]
        writer.writerow(
            [job.name, result.status, *values, *figures, result.seconds, job.folder, result.error]
        )
    return text.getvalue()


def sweep_json(results: Sequence[Result], metrics: Sequence[str]) -> dict[str, Any]:
    """Jobs, settings and effects; an unbounded interval has no bounds."""
    return {
        "metrics": list(metrics),
        "jobs": [
            {
                "name": result.job.name,
                "folder": str(result.job.folder),
                "overrides": masked_command(result.job.overrides),
                "knobs": dict(result.job.knobs),
                "status": result.status,
                "error": result.error,
                "seconds": result.seconds,
                "figures": {name: stats.finite(value) for name, value in result.figures.items()},
            }
            for result in results
        ],
        "settings": [
            {
                "knobs": dict(setting),
                **{metric: stats.as_json(estimate) for metric, estimate in _estimated(group, metrics)},
            }
            for setting, group in settings_of(results).items()
        ],
        "effects": [
            {**asdict(effect), "difference": stats.as_json(effect.difference)}
            for effect in effects(results, metrics)
        ],
    }


def _estimated(group: Sequence[Result], metrics: Sequence[str]) -> Iterator[tuple[str, stats.Estimate]]:
    for metric in metrics:
        estimate = estimates(group, metric)
        if estimate is not None:
            yield metric, estimate

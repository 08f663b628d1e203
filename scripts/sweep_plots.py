"""A picture for each swept knob: every setting as a dot, and the mean of each value with its interval over seeds."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from scripts import stats
from scripts.sweep_plan import file_name
from scripts.sweep_results import Result, balanced, settings_of

MANY = 8
"""Values from which on a knob's numbers are drawn on an axis of numbers."""
WIDE = 50.0
"""From this ratio of the largest to the smallest on, that axis is a log scale, if all are above zero."""
SHARES = ("accuracy", "score", "success", "progress", "pass^", "unfinished", "no_answer_found")
"""How metrics begin that are shares of the items, or means of scores from 0 to 1."""


def plot_knobs(results: Sequence[Result], metrics: Sequence[str], folder: Path) -> list[Path]:
    """Draw `knob_NAME.png` for each knob but the seed; the paths."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    knobs = list(dict.fromkeys(key for result in results for key, _ in result.job.setting))
    drawn = []
    for knob in knobs:
        figure, axes = plt.subplots(
            1, len(metrics), figsize=(1.5 + 4.2 * len(metrics), 4), layout="constrained", squeeze=False
        )
        for axis, metric in zip(axes.flat, metrics, strict=True):
            draw(axis, results, metric, knob)
        figure.suptitle(f"{plain(knob)}: mean and 95% interval over seeds; grey: one setting each")
        path = folder / f"knob_{file_name(knob.lstrip('+'))}.png"
        figure.savefig(path, dpi=120)
        plt.close(figure)
        drawn.append(path)
    return drawn


def draw(axis: Any, results: Sequence[Result], metric: str, knob: str) -> None:
    """One metric over the knob's values: numbers in their order, words in the order given."""
    values = ordered(list(dict.fromkeys(v for r in results if (v := r.job.knobs.get(knob)) is not None)))
    places, scale = placed(values)
    whole = alike(results, metric, knob, values)
    for value in values:
        found = [r for r in results if metric in r.figures and r.job.knobs.get(knob) == value]
        place = places[value]
        dots = [fmean(r.figures[metric] for r in group) for group in settings_of(found).values()]
        axis.plot(_beside(place, len(dots), scale), dots, "o", color="0.65", markersize=4)
        estimate = over_seeds([result for result in found if _rest(result, knob) in whole], metric)
        if estimate is None:
            continue
        axis.plot([place], [estimate.value], "o", color="tab:blue", markersize=8)
        if math.isfinite(estimate.low):
            axis.plot([place, place], [estimate.low, estimate.high], "-", color="tab:blue", linewidth=2)
    if scale == "values":
        axis.set_xticks(range(len(values)), [plain(short(value)) for value in values])
        axis.set_xlim(-0.5, len(values) - 0.4)
    else:
        axis.set_xscale(scale)
    axis.set(xlabel=plain(knob), ylabel=plain(with_unit(metric)))
    axis.grid(axis="y", alpha=0.3)


def plain(text: str) -> str:
    """Text of which matplotlib makes no formula."""
    return text.replace("$", r"\$")


def ordered(values: Sequence[str]) -> list[str]:
    """A knob's values in the order of their numbers, if all are numbers; else as they were given."""
    numbers = {value: number(value) for value in values}
    if any(found is None for found in numbers.values()):
        return list(values)
    return sorted(values, key=lambda value: numbers[value] or 0.0)


def number(value: str) -> float | None:
    """The value as a number; None for a word."""
    try:
        found = float(value)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def placed(values: Sequence[str]) -> tuple[Mapping[str, float], str]:
    """Where each value stands on the axis, and the axis: `values` evenly spaced, or numbers, `linear` or `log`."""
    numbers = {value: found for value in values if (found := number(value)) is not None}
    positive = len(numbers) == len(values) and min(numbers.values()) > 0
    wide = positive and max(numbers.values()) >= WIDE * min(numbers.values())
    if len(numbers) == len(values) and (len(values) >= MANY or (wide and len(values) > 2)):
        return numbers, "log" if wide else "linear"
    return {value: float(place) for place, value in enumerate(values)}, "values"


def short(value: str) -> str:
    """A number to three digits, a word as it is."""
    found = number(value)
    return value if found is None or len(value) <= 6 else f"{found:.3g}"


def with_unit(metric: str) -> str:
    """The metric with its unit where that is known."""
    nats = metric.removeprefix("eval/").startswith("logp_")
    unit = "share" if is_share(metric) else "nats" if nats else ""
    return f"{metric} ({unit})" if unit else metric


def is_share(metric: str) -> bool:
    """Whether it lies between 0 and 1."""
    return metric.removeprefix("eval/").startswith(SHARES)


def alike(results: Sequence[Result], metric: str, knob: str, values: Sequence[str]) -> set[tuple[Any, ...]]:
    """Settings of the other knobs, seed included, that all values of this one have; all there are if there is none.

    Where a job of a grid failed, means over unlike settings would differ for that alone.
    """
    there = {
        value: {_rest(r, knob) for r in results if metric in r.figures and r.job.knobs.get(knob) == value}
        for value in values
    }
    every = set().union(*there.values())
    shared = [found for found in there.values() if found]
    return set.intersection(*shared) or every if shared else every


def _rest(result: Result, knob: str) -> tuple[Any, ...]:
    return tuple((key, value) for key, value in result.job.knobs.items() if key != knob)


def _beside(place: float, dots: int, scale: str) -> list[float]:
    """Where dots stand: beside the mean, or on an axis of numbers at their own."""
    if scale != "values":
        return [place] * dots
    return [place + 0.16 + 0.1 * i / max(1, dots - 1) for i in range(dots)]


def over_seeds(results: Sequence[Result], metric: str) -> stats.Estimate | None:
    """The mean over all settings that every seed has, with its interval over seeds."""
    seeds: dict[str, list[float]] = {}
    whole = set(balanced(tuple(result.job.knobs.items()) for result in results))
    for result in results:
        if tuple(result.job.knobs.items()) not in whole:
            continue
        seeds.setdefault(result.job.knobs.get("seed", ""), []).append(result.figures[metric])
    return stats.mean([fmean(found) for found in seeds.values()]) if seeds else None

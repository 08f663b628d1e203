"""A picture for each swept knob: every setting as a dot, and the mean of each value with its interval over seeds."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from scripts import stats
from scripts.sweep_plan import file_name
from scripts.sweep_table import Result, settings_of


def plot_knobs(results: Sequence[Result], metrics: Sequence[str], folder: Path) -> list[Path]:
    """Draw `knob_NAME.png` for each knob but the seed; the paths."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    knobs = list(dict.fromkeys(key for result in results for key, _ in result.job.setting))
    drawn = []
    for knob in knobs:
        values = list(dict.fromkeys(v for r in results if (v := r.job.knobs.get(knob)) is not None))
        figure, axes = plt.subplots(
            1, len(metrics), figsize=(1.5 + 4.2 * len(metrics), 4), layout="constrained", squeeze=False
        )
        for axis, metric in zip(axes.flat, metrics, strict=True):
            _draw(axis, results, metric, knob, values)
        figure.suptitle(f"{knob}: mean and 95% interval over seeds; grey: one setting each")
        path = folder / f"knob_{file_name(knob.lstrip('+'))}.png"
        figure.savefig(path, dpi=120)
        plt.close(figure)
        drawn.append(path)
    return drawn


def _draw(axis: Any, results: Sequence[Result], metric: str, knob: str, values: Sequence[str]) -> None:
    """One metric over the knob's values, evenly spaced in the order given."""
    settings = settings_of([result for result in results if metric in result.figures])
    for place, value in enumerate(values):
        mine = {setting: group for setting, group in settings.items() if dict(setting).get(knob) == value}
        dots = [fmean(result.figures[metric] for result in group) for group in mine.values()]
        spread = [place + 0.16 + 0.1 * i / max(1, len(dots) - 1) for i in range(len(dots))]
        axis.plot(spread, dots, "o", color="0.65", markersize=4)
        estimate = over_seeds([result for group in mine.values() for result in group], metric)
        if estimate is None:
            continue
        axis.plot([place], [estimate.value], "o", color="tab:blue", markersize=8)
        if estimate.n > 1:
            axis.plot([place, place], [estimate.low, estimate.high], "-", color="tab:blue", linewidth=2)
    axis.set_xticks(range(len(values)), values)
    axis.set_xlim(-0.5, len(values) - 0.4)
    axis.set(xlabel=knob, ylabel=metric)
    axis.grid(axis="y", alpha=0.3)


def over_seeds(results: Sequence[Result], metric: str) -> stats.Estimate | None:
    """The mean over all settings, with its interval over seeds."""
    seeds: dict[str, list[float]] = {}
    for result in results:
        seeds.setdefault(result.job.knobs.get("seed", ""), []).append(result.figures[metric])
    return stats.mean([fmean(found) for found in seeds.values()]) if seeds else None

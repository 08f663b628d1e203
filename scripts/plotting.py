"""The curves of a training as a PNG, the same panels as on its page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.curves import Curve, Panel, training_panels
from scripts.line_chart import share_limit
from scripts.training_story import Training, read_training

COLUMNS = 3


def plot_run(folder: Path, picture: Path, title: str) -> Path:
    """Draw the curves of a run folder into a PNG; return its path."""
    return plot_trainings([read_training(folder)], picture, title)


def plot_trainings(runs: Sequence[Training], picture: Path, title: str) -> Path:
    """Draw the curves of seeds of one setting into a PNG, with their range as bands; return its path."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = training_panels(runs)
    down = max(1, -(-len(panels) // COLUMNS))
    figure, axes = plt.subplots(
        down, COLUMNS, figsize=(4.6 * COLUMNS, 3.3 * down), layout="constrained", squeeze=False
    )
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, panel in zip(axes.flat, panels, strict=False):
        _draw(axis, panel)
    figure.suptitle(title if len(runs) == 1 else f"{title}: mean and range of {len(runs)} seeds")
    part = picture.with_name(picture.name + ".part")
    figure.savefig(part, dpi=110, format="png")
    plt.close(figure)
    part.replace(picture)
    return picture


def _draw(axis: Any, panel: Panel) -> None:
    named = [curve.label for curve in panel.curves if not curve.faint]
    for curve in panel.curves:
        _curve(axis, curve, f"C{named.index(curve.label) if curve.label in named else 0}")
    if panel.line is not None:
        axis.axvline(panel.line, color="0.5", linewidth=1, linestyle="--")
    if panel.share:
        top = share_limit(max(point.high or point.y for curve in panel.curves for point in curve.points))
        axis.set_ylim(-0.03 * top, 1.03 * top)
    if panel.logarithmic and all(point.y > 0 for curve in panel.curves for point in curve.points):
        axis.set_yscale("log")
    axis.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.unit)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=8)


def _curve(axis: Any, curve: Curve, colour: str) -> None:
    for place, points in enumerate(curve.segments()):
        places, values = [p.x for p in points], [p.y for p in points]
        if curve.faint:
            axis.plot(places, values, color=colour, linewidth=0.8, alpha=0.35)
            continue
        axis.plot(
            places,
            values,
            "o-" if curve.dots else "-" if len(points) > 1 else ".",
            color=colour,
            linewidth=1.6,
            markersize=4,
            label="" if place else curve.label,
        )
        bounded = [p for p in points if p.low is not None and p.high is not None]
        bounds = [p.low for p in bounded], [p.high for p in bounded]
        if bounded and curve.dots:
            axis.vlines([p.x for p in bounded], *bounds, color=colour, alpha=0.5)
        elif bounded:
            axis.fill_between([p.x for p in bounded], *bounds, color=colour, alpha=0.2, linewidth=0)

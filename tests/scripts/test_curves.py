"""What the curves of a training show and what a chart says of them; runs written by hand, no model."""

import math
import re
from pathlib import Path
from typing import Any

import pytest

from scripts.curves import MOST_POINTS, Curve, Panel, Point, training_panels
from scripts.line_chart import Frame, figure
from scripts.page import TEMPLATE
from scripts.stats import Estimate, mean
from scripts.training_page import estimate_cell, training_page
from scripts.training_story import Training, read_training
from tests.scripts.run_folders import training


def run(steps: list[dict[str, Any]], **told: Any) -> Training:
    """A run on its way, with the metrics of its steps."""
    config = {"name": "try", "seed": 0, "task": {"name": "sums"}, "model": {"path": "m"}, "trainer": {}}
    empty: dict[str, Any] = {
        "folder": Path(), "config": config, "environment": {}, "outcome": None, "evaluations": (), "validation": {},
        "prompts": {}, "health": (), "samples": {}, "seconds": 0.0, "left_out": 0,
    }  # fmt: skip
    return Training(steps=tuple(steps), **(empty | told))


def panel_of(found: Training, title: str) -> Panel:
    return next(panel for panel in training_panels([found]) if panel.title == title)


def test_no_line_goes_across_a_value_that_is_not_finite_and_the_page_counts_them() -> None:
    values = (0.0, 0.1, math.nan, 0.3, 0.4, math.inf)
    found = run([{"step": step, "kl": value, "grad_norm": 1.0} for step, value in enumerate(values, 1)])
    panel = panel_of(found, "Distance to the start")
    assert [[point.x for point in points] for points in panel.curves[0].segments()] == [[1, 2], [4, 5]]
    assert figure(panel).count("<polyline") == 2
    assert figure(panel_of(found, "Gradient")).count("<polyline") == 1
    assert "Not finite in metrics.jsonl, and a line breaks there: kl 2." in training_page([found])
    nothing = run([{"step": 1, "kl": math.nan}])
    assert "Not finite in metrics.jsonl, and a line breaks there: kl 1." in training_page([nothing])
    assert "No step has been done yet." not in training_page([nothing])


def test_no_line_goes_across_an_evaluation_that_is_not_finite() -> None:
    likelihoods = {0: -3.0, 50: -2.0, 100: -math.inf, 150: -1.0}
    validation = {
        step: [{"correct": {"exact": True}, "log_answer": {"own": own}}] for step, own in likelihoods.items()
    }
    panel = panel_of(run([], validation=validation), "Answer on validation")
    assert [[point.x for point in points] for points in panel.curves[0].segments()] == [[0, 50], [150]]
    assert figure(panel).count("<polyline") == 1


def test_a_thinned_curve_keeps_its_spikes() -> None:
    norms = {777: 1000.0, 1501: 0.001}
    found = run([{"step": step, "grad_norm": norms.get(step, 1.0)} for step in range(1, 2001)])
    panel = panel_of(found, "Gradient")
    points = panel.curves[0].points
    assert len(points) <= MOST_POINTS
    assert {(777, 1000.0), (1501, 0.001), (1, 1.0), (2000, 1.0)} <= {(point.x, point.y) for point in points}
    assert (Frame(panel).low, Frame(panel).high) == (pytest.approx(-3.36), pytest.approx(3.36))
    assert list(Frame(panel).ticks.values()) == ["0.001", "0.1", "10", "1000"]


@pytest.mark.parametrize(
    ("low", "high", "labels", "left"),
    [
        (118.2, 119.0, ["118.25", "118.5", "118.75", "119"], 46),
        (-10.04, -10.0, ["−10.04", "−10.02", "−10"], 46),
        (-119.0, -118.2, ["−119", "−118.75", "−118.5", "−118.25"], 53),
        (20000.0, 20004.0, ["20k", "20.002k", "20.004k"], 53),
        (0.0, 4e-6, ["0", "2e−6", "4e−6"], 46),
    ],
)
def test_no_two_ticks_read_alike(low: float, high: float, labels: list[str], left: int) -> None:
    curve = Curve(label="a", points=(Point(x=0, y=low), Point(x=1, y=high)))
    frame = Frame(Panel(title="", unit="", curves=(curve,)))
    assert list(frame.ticks.values()) == labels
    assert frame.left == left


def test_more_curves_than_colours_are_numbered() -> None:
    curves = tuple(Curve(label=f"arm {n}", points=(Point(x=n, y=n / 10),), dots=True) for n in range(7))
    shown = figure(Panel(title="", unit="", curves=curves, share=True))
    assert re.findall(r"</i>([^<]*)</span>", shown) == [f"{n + 1} arm {n}" for n in range(7)]
    beside = re.findall(
        r"</circle><text x=\"[0-9.]+\"( text-anchor=end)? y=\"[0-9.]+\">([0-9]+)</text></g>", shown
    )
    assert beside == [(" text-anchor=end", "7"), *(("", str(n)) for n in range(6, 0, -1))]
    shown = figure(Panel(title="", unit="", curves=curves[:6], share=True))
    assert re.findall(r"</i>([^<]*)</span>", shown) == [f"arm {n}" for n in range(6)]
    assert "</circle><text" not in shown


def test_averages_are_told_in_optimizer_steps() -> None:
    every, tenth = ([{"step": by * at, "kl": 0.5} for at in range(1, 61)] for by in (1, 10))
    assert "over the latest 2 steps, the thin ones behind them single steps." in training_page([run(every)])
    assert "over the latest 20 steps, the thin ones behind them what was logged." in training_page(
        [run(tenth)]
    )
    assert "averaged over its latest 20 steps first." in training_page([run(tenth), run(tenth)])


def test_a_seed_without_an_evaluation_does_not_keep_the_others_off_the_page(tmp_path: Path) -> None:
    page = training_page([run([{"step": 1, "kl": 0.5}]), read_training(training(tmp_path / "run"))])
    assert "validation accuracy, start → best (n=2)</dt><dd>50.0% → 100.0%" in page


def test_a_value_that_is_not_finite_is_not_called_alike() -> None:
    assert estimate_cell(mean([math.nan, -1.0])) == "nan<br><small>no finite number</small>"
    assert estimate_cell(mean([-math.inf, -1.0])) == "−inf<br><small>no finite number</small>"
    alike = Estimate(value=0.5, stderr=0.0, low=-math.inf, high=math.inf, n=3)
    assert estimate_cell(alike) == "0.500<br><small>all alike</small>"


def test_the_figure_of_a_tile_may_take_two_lines() -> None:
    rule = re.search(r"\.tiles dd \{(.*)\}", TEMPLATE.read_text(encoding="utf-8"))
    assert rule is not None
    assert "nowrap" not in rule[1]

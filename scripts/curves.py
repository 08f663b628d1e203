"""The curves of a training, of one run or with a band over several seeds: what is drawn, before how it is drawn."""

import math
from bisect import bisect
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from scripts import stats
from scripts.folders import Row
from scripts.training_story import Training

MOST_POINTS = 400
"""Points of a curve; of longer ones the lowest and the highest of each stretch are kept."""
SMOOTHED_FROM = 60
"""Logged steps from which noisy curves are averaged over a thirtieth of them."""
RATIONALES = {
    "own": "own rationale",
    "none": "no rationale",
    "gold": "gold rationale",
    "other": "another's rationale",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One place of a curve; `low` and `high` are an interval or the range of several seeds."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None

    @property
    def reach(self) -> tuple[float, float]:
        """The lowest and the highest value that is drawn."""
        values = [value for value in (self.y, self.low, self.high) if value is not None]
        return min(values), max(values)


def bounded(x: float, estimate: stats.Estimate) -> Point:
    """An estimate of a share or score as a point with its interval, which ends at 0 and 1."""
    return Point(x=x, y=estimate.value, low=max(0.0, estimate.low), high=min(1.0, estimate.high))


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One quantity over x."""

    label: str
    points: tuple[Point, ...]
    dots: bool = False
    """Measured now and then: dots with whiskers instead of a line with a band."""
    joined: bool = True
    """Dots with a line through them."""
    hollow: bool = False
    """Dots that are not filled: what was tried and not taken."""
    faint: bool = False
    """The raw values behind a moving average: no entry in the legend."""
    breaks: frozenset[float] = frozenset()
    """Places without a finite value, across which no line goes."""

    def segments(self) -> list[tuple[Point, ...]]:
        """The points from one break to the next."""
        found: dict[int, list[Point]] = {}
        ends = sorted(self.breaks)
        for point in self.points:
            found.setdefault(bisect(ends, point.x), []).append(point)
        return [tuple(points) for points in found.values()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One small picture."""

    title: str
    unit: str
    """Of the y axis."""
    x_label: str = "optimizer step"
    curves: tuple[Curve, ...]
    share: bool = False
    """From 0 to 1."""
    logarithmic: bool = False
    marks: Mapping[float, str] = field(default_factory=dict)
    """Places on the x axis with what is to be said there."""
    span: tuple[float, float] | None = None
    """Of the x axis, if not that of the points."""
    line: float | None = None
    """A place on the x axis that is marked from top to bottom."""


def from_zero(curves: Iterable[Curve]) -> tuple[float, float]:
    """An x axis on which costs keep their proportions."""
    return 0.0, 1.05 * max(point.x for curve in curves for point in curve.points)


def training_panels(runs: Sequence[Training]) -> list[Panel]:
    """The panels that these runs, seeds of one setting, have figures for."""
    accuracy = [_graded(runs, grader) for grader in runs[0].graders]
    likelihood = [_likelihood(runs, kind, label) for kind, label in RATIONALES.items()]
    kept = _reward_parts(runs)
    panels = [
        Panel(title="Validation accuracy", unit="share of examples", curves=_real(accuracy), share=True),
        Panel(title="Answer on validation", unit="log π(answer), nats", curves=_real(likelihood)),
        Panel(title="Reward and its parts", unit="nats, mean of a step", curves=_real(kept)),
        Panel(
            title="Distance to the start",
            unit="log-ratio, nats per rationale",
            curves=_lines(runs, "policy against reference", lambda row: row.get("kl")),
        ),
        Panel(title="Length", unit="tokens", curves=_lengths(runs)),
        Panel(title="Stopping", unit="share of rationales", curves=_stops(runs), share=True),
        Panel(
            title="Prompts that teach nothing",
            unit="share with K equal rewards",
            curves=_lines(runs, "no spread", lambda row: row.get("frac_reward_zero_std")),
            share=True,
        ),
        Panel(
            title="Gradient",
            unit="norm before clipping",
            curves=_lines(runs, "norm", lambda row: row.get("grad_norm"), averaged=False),
            logarithmic=True,
        ),
    ]
    if not any("reward" in row for row in runs[0].steps):
        loss = _lines(runs, "training loss", lambda row: row.get("loss"))
        panels.insert(2, Panel(title="Loss", unit="nats per token", curves=loss))
    marks = _marks(runs[0]) if len(runs) == 1 else {}
    line = runs[0].best_step if len(runs) == 1 else None
    span = (0.0, float(max(run.last_step for run in runs)))
    return [replace(panel, marks=marks, line=line, span=span) for panel in panels if panel.curves]


def _marks(run: Training) -> dict[float, str]:
    """Health warnings by step."""
    found: dict[float, str] = {}
    for row in run.health:
        found[row["step"]] = "; ".join(filter(None, (found.get(row["step"]), row["warning"])))
    return found


def _real(curves: Iterable[Curve | Sequence[Curve]]) -> tuple[Curve, ...]:
    """The curves that have points."""
    flat = [c for found in curves for c in ([found] if isinstance(found, Curve) else found)]
    return tuple(curve for curve in flat if curve.points)


def _reward_parts(runs: Sequence[Training]) -> list[Sequence[Curve]]:
    """reward = answer part - β log-ratio - penalty; the second part is what the other three leave."""

    def ratio_part(row: Row) -> float | None:
        if "latro/answer_reward" not in row:
            return None
        return float(row["reward"] - row["latro/answer_reward"] + row["latro/penalty"])

    def penalty_part(row: Row) -> float | None:
        return -row["latro/penalty"] if "latro/penalty" in row else None

    return [
        _lines(runs, "reward", lambda row: row.get("reward")),
        _lines(runs, "answer", lambda row: row.get("latro/answer_reward"), raw=False),
        _lines(runs, "−β log-ratio", ratio_part, raw=False),
        _lines(runs, "−penalty", penalty_part, raw=False),
    ]


def _lengths(runs: Sequence[Training]) -> tuple[Curve, ...]:
    sampled = _lines(runs, "sampled rationale", lambda row: row.get("completions/mean_length"))
    return _real([sampled, _evaluated(runs, "validation output", lambda row: row.get("eval/output_tokens"))])


def _stops(runs: Sequence[Training]) -> tuple[Curve, ...]:
    def stopped(row: Row) -> float | None:
        clipped = row.get("completions/clipped_ratio")
        return None if clipped is None else 1 - clipped

    def ended(row: Row) -> float | None:
        return 1 - row["eval/unfinished"] if "eval/unfinished" in row else None

    empty = _lines(runs, "empty", lambda row: row.get("latro/empty_rationales"), raw=False)
    return _real(
        [_lines(runs, "by itself", stopped), empty, _evaluated(runs, "validation, by itself", ended)]
    )


def _lines(
    runs: Sequence[Training],
    label: str,
    value: Callable[[Row], float | None],
    *,
    raw: bool = True,
    averaged: bool = True,
) -> tuple[Curve, ...]:
    """A noisy quantity of every step: its moving average, with a single run's raw values or the seeds' range."""
    series = [_series(run.steps, value) for run in runs]
    window = averaged_over(runs) if averaged else 1
    smooth = [_moving(found, window) for found in series]
    breaks = frozenset(step for run in runs for step in _infinite(run.steps, value))
    curve = Curve(label=label, points=_thinned(_across(smooth)), breaks=breaks)
    if not curve.points:
        return ()
    if len(runs) == 1 and window > 1 and raw:
        return Curve(label=label, points=_thinned(_across(series)), faint=True, breaks=breaks), curve
    return (curve,)


def averaged_over(runs: Sequence[Training]) -> int:
    """Logged steps over which noisy curves are averaged."""
    steps = max(len(run.steps) for run in runs)
    return max(1, steps // 30) if steps >= SMOOTHED_FROM else 1


def spacing(runs: Sequence[Training]) -> int:
    """Optimizer steps from one logged step to the next."""
    steps = [row["step"] for row in max(runs, key=lambda run: len(run.steps)).steps]
    return max(1, round((steps[-1] - steps[0]) / (len(steps) - 1))) if len(steps) > 1 else 1


def not_finite(runs: Sequence[Training]) -> Counter[str]:
    """How many values of each metric are infinite or no number, over steps and evaluations."""
    return Counter(
        name
        for run in runs
        for row in (*run.steps, *run.evaluations)
        for name, value in row.items()
        if isinstance(value, float) and not math.isfinite(value)
    )


def _moving(series: Mapping[int, float], window: int) -> dict[int, float]:
    latest: deque[float] = deque(maxlen=window)
    found = {}
    for step, value in series.items():
        latest.append(value)
        found[step] = fmean(latest)
    return found


def _series(rows: Sequence[Row], value: Callable[[Row], float | None]) -> dict[int, float]:
    """A quantity by step; what a diverged run computed of it, infinite or no number, is left out."""
    found = ((row["step"], value(row)) for row in rows)
    return {step: float(at) for step, at in found if at is not None and math.isfinite(at)}


def _infinite(rows: Sequence[Row], value: Callable[[Row], float | None]) -> list[float]:
    """The steps that `_series` leaves out."""
    return [row["step"] for row in rows if (at := value(row)) is not None and not math.isfinite(at)]


def _evaluated(runs: Sequence[Training], label: str, value: Callable[[Row], float | None]) -> Curve:
    series = [_series(run.evaluations, value) for run in runs]
    breaks = frozenset(step for run in runs for step in _infinite(run.evaluations, value))
    return Curve(label=label, points=_across(series), dots=True, breaks=breaks)


def _graded(runs: Sequence[Training], grader: str) -> Curve:
    return _measured(runs, grader, lambda run, step: run.accuracy(step, grader))


def _likelihood(runs: Sequence[Training], kind: str, label: str) -> Curve:
    return _measured(runs, label, lambda run, step: run.log_answer(step, kind))


def _measured(
    runs: Sequence[Training], label: str, estimate: Callable[[Training, int], stats.Estimate | None]
) -> Curve:
    """Of one run the intervals over examples; of several the range of their means."""
    found = [
        {
            step: at
            for step in run.evaluated
            if (at := estimate(run, step)) is not None and math.isfinite(at.value)
        }
        for run in runs
    ]
    breaks = frozenset(
        float(step)
        for run, each in zip(runs, found, strict=True)
        for step in run.evaluated
        if step not in each
    )
    if len(runs) > 1:
        means = [{step: at.value for step, at in each.items()} for each in found]
        return Curve(label=label, points=_across(means), dots=True, breaks=breaks)
    points = (
        Point(x=step, y=at.value, low=stats.finite(at.low), high=stats.finite(at.high))
        for step, at in found[0].items()
    )
    return Curve(label=label, points=tuple(points), dots=True, breaks=breaks)


def _across(series: Sequence[Mapping[int, float]]) -> tuple[Point, ...]:
    """The mean over seeds with their range, at the steps that all have."""
    shared = [step for step in series[0] if all(step in other for other in series)]
    if len(series) == 1:
        return tuple(Point(x=step, y=series[0][step]) for step in shared)
    found = []
    for step in shared:
        values = [other[step] for other in series]
        found.append(Point(x=step, y=fmean(values), low=min(values), high=max(values)))
    return tuple(found)


def _thinned(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """The first and the last point and between them the extremes of equal stretches, so that no spike is lost."""
    if len(points) <= MOST_POINTS:
        return points
    every = -(-2 * len(points) // (MOST_POINTS - 2))
    kept = {0, len(points) - 1}
    for start in range(0, len(points), every):
        stretch = range(start, min(start + every, len(points)))
        kept |= {
            min(stretch, key=lambda at: points[at].reach[0]),
            max(stretch, key=lambda at: points[at].reach[1]),
        }
    return tuple(points[at] for at in sorted(kept))

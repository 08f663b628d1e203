"""A small chart as SVG text: no library, no script, colours from the page. Readable at phone width without scaling."""

import math
from collections.abc import Sequence
from html import escape

from scripts.curves import Curve, Panel, Point

WIDTH, HEIGHT = 360, 216
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 8, 40
COLOURS = 6
"""Classes `c0` to `c5` of the page's style; where they do not suffice curves are numbered, too."""
LETTER = 7
"""Pixels that a letter of a tick's label takes."""


class Frame:
    """Where values stand in the picture."""

    def __init__(self, panel: Panel) -> None:
        places = [point.x for curve in panel.curves for point in curve.points]
        self.x_low, self.x_high = panel.span or (min(places), max(places))
        values = [v for curve in panel.curves for point in curve.points for v in point.reach]
        self.logarithmic = panel.logarithmic and min(values) > 0
        if panel.share:
            self.low, self.high = 0.0, share_limit(max(values))
        elif self.logarithmic:
            self.low, self.high = math.log10(min(values)), math.log10(max(values))
        else:
            self.low, self.high = min(values), max(values)
        room = (self.high - self.low) * 0.06 or max(abs(self.high), 1.0) * 0.06
        if not panel.share:
            self.low, self.high = self.low - room, self.high + room
        places = powers(self.low, self.high) if self.logarithmic else ticks(self.low, self.high, 5)
        self.ticks = {value: short(value) for value in places}
        self.left = LEFT + LETTER * max([0, *(len(label) - 6 for label in self.ticks.values())])

    def x(self, value: float) -> float:
        """Pixels from the left."""
        reach = self.x_high - self.x_low
        inner = WIDTH - self.left - RIGHT - 12
        return self.left + 6 + inner * ((value - self.x_low) / reach if reach else 0.5)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        at = math.log10(value) if self.logarithmic else value
        at = min(max(at, self.low), self.high)
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (at - self.low) / (self.high - self.low))


def figure(panel: Panel) -> str:
    """The panel with title, unit and legend."""
    named = _named(panel.curves)
    entries = "".join(
        f'<span class=c{place % COLOURS}><i class="{_sign(curve)}"></i>'
        f"{f'{place + 1} ' * (len(named) > COLOURS)}{escape(curve.label)}</span>"
        for place, curve in enumerate(named)
    )
    legend = f"<p class=legend>{entries}</p>"
    return (
        f"<figure class=plot><figcaption>{escape(panel.title)} <small>{escape(panel.unit)}</small></figcaption>"
        f"{legend}{svg(panel)}</figure>"
    )


def _sign(curve: Curve) -> str:
    return f"dot{' hollow' * curve.hollow}" if curve.dots else "stroke"


def _named(curves: Sequence[Curve]) -> list[Curve]:
    return [curve for curve in curves if not curve.faint]


def svg(panel: Panel) -> str:
    """The picture alone."""
    frame = Frame(panel)
    named = {curve.label: place for place, curve in enumerate(_named(panel.curves))}
    parts = [*_axes(panel, frame)]
    if panel.line is not None and frame.x_low <= panel.line <= frame.x_high:
        x = frame.x(panel.line)
        parts.append(
            f'<line class=best-step x1="{x:.1f}" x2="{x:.1f}" y1={TOP} y2={HEIGHT - BOTTOM}>'
            f"<title>best checkpoint: {panel.line:g}</title></line>"
        )
    for curve in reversed(panel.curves):  # the first is the main one, and stands on top
        lines = (_line(points, frame) for points in curve.segments())
        drawn = _dots(curve, frame) if curve.dots else "".join(lines)
        place = named.get(curve.label, 0)
        if len(named) > COLOURS and not curve.faint:
            drawn += _numbered(place + 1, curve.points[-1], frame)
        kind = f"c{place % COLOURS}{' faint' * curve.faint}{' hollow' * curve.hollow}"
        parts.append(f'<g class="curve {kind}">{drawn}</g>')
    for step, said in panel.marks.items():
        if frame.x_low <= step <= frame.x_high:
            x = frame.x(step)
            shape = f"M{x:.1f},{HEIGHT - BOTTOM - 1}l4.5,-8l-9,0z"
            parts.append(f'<path class=warned d="{shape}"><title>{step:g}: {escape(said)}</title></path>')
    label = escape(f"{panel.title}, {panel.unit}, by {panel.x_label}")
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role=img aria-label="{label}">{"".join(parts)}</svg>'


def _numbered(place: int, point: Point, frame: Frame) -> str:
    """A curve's number beside its last point, on the side where there is room."""
    x, right = frame.x(point.x), frame.x(point.x) > WIDTH - RIGHT - 30
    at = f'x="{x - 6:.1f}" text-anchor=end' if right else f'x="{x + 6:.1f}"'
    return f'<text {at} y="{frame.y(point.y) + 4:.1f}">{place}</text>'


def _axes(panel: Panel, frame: Frame) -> list[str]:
    parts = []
    for value, label in frame.ticks.items():
        y = frame.y(value)
        parts.append(f'<line class=grid x1={frame.left} x2={WIDTH - RIGHT} y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x={frame.left - 6} y="{y + 4:.1f}" text-anchor=end>{label}</text>')
    whole = panel.x_label in ("optimizer step", "round")
    for value in ticks(frame.x_low, frame.x_high, 6, whole=whole) or [frame.x_low]:
        x = frame.x(value)
        parts.append(
            f'<line class=tick x1="{x:.1f}" x2="{x:.1f}" y1={HEIGHT - BOTTOM} y2={HEIGHT - BOTTOM + 4} />'
        )
        parts.append(f'<text x="{x:.1f}" y={HEIGHT - BOTTOM + 17} text-anchor=middle>{short(value)}</text>')
    middle = (frame.left + WIDTH - RIGHT) / 2
    parts.append(f"<text x={middle:.0f} y={HEIGHT - 5} text-anchor=middle>{escape(panel.x_label)}</text>")
    return parts


def ticks(low: float, high: float, most: int, *, whole: bool = False) -> list[float]:
    """At most `most` round values, evenly spaced, from `low` to `high`."""
    reach = high - low
    if reach <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(reach / most))
    step = next(
        power * factor for factor in (1.0, 2.0, 2.5, 5.0, 10.0, 20.0) if reach / (power * factor) <= most - 1
    )
    if whole:
        step = max(1.0, math.ceil(step))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [place * step for place in range(first, last + 1)]


def share_limit(highest: float) -> float:
    """The top of an axis of shares: 1, unless all are small."""
    return next((top for top in (0.05, 0.1, 0.2, 0.5) if highest <= top), 1.0)


def powers(low: float, high: float) -> list[float]:
    """Powers of ten between two logarithms, at most six; with less than two the round values between."""
    first, last = math.ceil(low), math.floor(high)
    if last <= first:
        return ticks(10**low, 10**high, 4)
    every = max(1, math.ceil((last - first + 1) / 6))
    return [10.0**power for power in range(first, last + 1, every)]


def short(value: float) -> str:
    """A tick's value with all its decimals: it is a multiple of the step between ticks, which thus tells them apart."""
    if not value:
        return "0"
    if abs(value) >= 1e6:
        shown = f"{value / 1e6:.10g}M"
    elif abs(value) >= 1e4:
        shown = f"{value / 1e3:.10g}k"
    elif abs(value) >= 1e-3:
        shown = f"{value:.10g}"
    else:
        digits, power = f"{value:.9e}".split("e")
        shown = f"{float(digits):g}e{int(power)}"
    return shown.replace("-", "−")


def _line(points: Sequence[Point], frame: Frame) -> str:
    path = " ".join(f"{frame.x(p.x):.1f},{frame.y(p.y):.1f}" for p in points)
    banded = [p for p in points if p.low is not None and p.high is not None]
    band = ""
    if len(banded) > 1:
        upper = [f"{frame.x(p.x):.1f},{frame.y(p.high):.1f}" for p in banded if p.high is not None]
        lower = [f"{frame.x(p.x):.1f},{frame.y(p.low):.1f}" for p in reversed(banded) if p.low is not None]
        band = f'<polygon points="{" ".join([*upper, *lower])}"/>'
    if len(points) == 1:
        return f'<circle cx="{frame.x(points[0].x):.1f}" cy="{frame.y(points[0].y):.1f}" r=2.5 />'
    return f'{band}<polyline points="{path}"/>'


def _dots(curve: Curve, frame: Frame) -> str:
    marks = []
    for points in curve.segments() if curve.joined else ():
        if len(points) > 1:
            marks.append(_line([Point(x=p.x, y=p.y) for p in points], frame))
    for p in curve.points:
        x, said = frame.x(p.x), f"{p.x:g}: {p.y:.3f}"
        if p.low is not None and p.high is not None:
            said += f" [{p.low:.3f}, {p.high:.3f}]"
            marks.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{frame.y(p.low):.1f}" y2="{frame.y(p.high):.1f}"/>'
            )
        title = f"<title>{escape(curve.label)}, {said}</title>"
        marks.append(f'<circle cx="{x:.1f}" cy="{frame.y(p.y):.1f}" r=3>{title}</circle>')
    return "".join(marks)

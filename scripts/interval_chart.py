"""Values as dots on their 95% intervals, one below the other, as SVG text in the page's colours."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from scripts.line_chart import short, ticks
from scripts.stats import Estimate

WIDTH, ROW, SIDE = 640, 46, 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One value."""

    label: str
    estimate: Estimate
    kind: str = ""
    """`up` or `down`, in colour and filled, for what stands out."""


def interval_chart(entries: Sequence[Entry], unit: str, *, share: bool = False) -> str:
    """The picture. share: from 0 to 1; else both ways from zero, which is marked."""
    limit = 1.0 if share else _limit(entries)
    low = 0.0 if share else -limit
    height = ROW * len(entries) + 52

    def place(value: float) -> float:
        return SIDE + (WIDTH - 2 * SIDE) * (min(max(value, low), limit) - low) / (limit - low)

    marks = []
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] if share else ticks(low, limit, 7):
        x, zero = place(tick), abs(tick) < 1e-12
        kind = "zero" if zero and not share else "grid"
        marks.append(f'<line class={kind} x1="{x:.1f}" x2="{x:.1f}" y1=4 y2="{height - 48}"/>')
        label = short(tick) if share or zero or tick < 0 else f"+{short(tick)}"
        marks.append(f'<text x="{x:.1f}" y="{height - 30}" text-anchor=middle>{label}</text>')
    marks.append(f'<text x="{WIDTH / 2}" y="{height - 7}" text-anchor=middle>{escape(unit)}</text>')
    for number, entry in enumerate(entries):
        found, y = entry.estimate, ROW * number + 34
        marks.append(
            f'<g class="gap {entry.kind}"><title>{escape(entry.label)}: {escape(str(found))}</title>'
            f'<text x={SIDE} y="{y - 12}">{escape(entry.label)}</text>'
            f'<line x1="{place(found.low):.1f}" x2="{place(found.high):.1f}" y1={y} y2={y} />'
            f'<circle cx="{place(found.value):.1f}" cy={y} r=6 /></g>'
        )
    head = f'<svg class=forest viewBox="0 0 {WIDTH} {height}" role=img aria-label="{escape(unit)}">'
    return f"{head}{''.join(marks)}</svg>"


def _limit(entries: Sequence[Entry]) -> float:
    """A round value beyond all ends, so that the outermost ticks stand at the edge."""
    ends = [bound for e in entries for bound in (e.estimate.low, e.estimate.high) if math.isfinite(bound)]
    reach = max([abs(end) for end in ends] + [abs(entry.estimate.value) for entry in entries]) or 1.0
    steps = ticks(-reach, reach, 7)
    step = steps[1] - steps[0] if len(steps) > 1 else reach
    return math.ceil(reach / step - 1e-9) * step

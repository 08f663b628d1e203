"""`comparison.html`: differences with their intervals, the whole table, and the items that flipped, side by side."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from scripts.comparison_tables import note, p_text, spoken
from scripts.contrasts import Contrast, Pair, Setting, by_setting
from scripts.page import fill, section, table, tiles

ITEMS_SHOWN = 60
"""Flipped items of a setting on the page; flips.csv has all."""
TEXT_SHOWN = 1500
WIDTH, ROW, SIDE = 640, 46, 20


def comparison_page(settings: Sequence[Setting], found: Sequence[Contrast], title: str) -> str:
    """The whole page."""
    sides = {setting.label: setting for setting in settings}
    parts = [_head(settings, found, title)]
    for number, ((label, base), group) in enumerate(by_setting(found).items()):
        heading = f"{escape(label)} <small>against {escape(base)}</small>"
        body = _forests(group) + _table(group) + _flipped(sides[base], sides[label], group[0])
        parts.append(section(f"setting-{number + 1}", heading, body))
    return fill("comparison of runs", parts)


def _head(settings: Sequence[Setting], found: Sequence[Contrast], title: str) -> str:
    lines = "".join(
        f"<li><b>{escape(setting.label)}</b> {len(setting.sheets)} run{'s' * (len(setting.sheets) > 1)}: "
        f"{escape(', '.join(sheet.name for sheet in setting.sheets))}</li>"
        for setting in settings
    )
    survivors = sum(contrast.survives for contrast in found)
    figures = [
        ("comparisons that stand after Holm's correction", f"{survivors} of {len(found)}"),
        ("items", str(len(settings[0].sheets[0].items))),
        ("runs", str(sum(len(setting.sheets) for setting in settings))),
    ]
    return (
        f"<header><h1>Is <em>it</em> better?</h1><p class=sub>{escape(title)}. {escape(note(found))}</p>"
        f"{tiles(figures)}</header><details class=fold><summary>The runs</summary><ul>{lines}</ul></details>"
    )


def _forests(group: Sequence[Contrast]) -> str:
    """One picture for shares and scores, one for log-likelihoods: they have no scale in common."""
    shares = [contrast for contrast in group if contrast.kind != "nats"]
    nats = [contrast for contrast in group if contrast.kind == "nats"]
    pictures = [_forest(shares, "change of the share or mean score")] if shares else []
    pictures += [_forest(nats, "change of log π(answer), nats")] if nats else []
    return "".join(pictures)


def _forest(group: Sequence[Contrast], unit: str) -> str:
    """Differences as dots on their intervals, with zero marked; filled and coloured is what survives."""
    ends = [
        bound
        for contrast in group
        for bound in (contrast.difference.low, contrast.difference.high)
        if math.isfinite(bound)
    ]
    reach = max([abs(end) for end in ends] + [abs(contrast.difference.value) for contrast in group]) or 1.0
    step = _step(reach)
    limit = math.ceil(reach / step - 1e-9) * step
    height = ROW * len(group) + 44

    def place(value: float) -> float:
        return SIDE + (WIDTH - 2 * SIDE) * (min(max(value, -limit), limit) + limit) / (2 * limit)

    marks = []
    for tick in range(-round(limit / step), round(limit / step) + 1):
        x = place(tick * step)
        kind = "grid" if tick else "zero"
        marks.append(f'<line class={kind} x1="{x:.1f}" x2="{x:.1f}" y1=4 y2="{height - 40}"/>')
        if tick % 2 == round(limit / step) % 2 or limit / step <= 2:
            label = "0" if not tick else f"{tick * step:+.3g}"
            marks.append(f'<text x="{x:.1f}" y="{height - 22}" text-anchor=middle>{label}</text>')
    marks.append(f'<text x="{WIDTH / 2}" y="{height - 3}" text-anchor=middle>{unit}</text>')
    for number, contrast in enumerate(group):
        gap, y = contrast.difference, ROW * number + 34
        kind = ("up" if gap.value > 0 else "down") if contrast.survives else ""
        marks.append(
            f'<g class="gap {kind}"><title>{escape(contrast.measure)}: {escape(str(gap))}</title>'
            f'<text x={SIDE} y="{y - 12}">{escape(spoken(contrast.measure))}</text>'
            f'<line x1="{place(gap.low):.1f}" x2="{place(gap.high):.1f}" y1={y} y2={y} />'
            f'<circle cx="{place(gap.value):.1f}" cy={y} r=6 /></g>'
        )
    return f'<svg viewBox="0 0 {WIDTH} {height}" role=img aria-label="{escape(unit)}">{"".join(marks)}</svg>'


def _step(reach: float) -> float:
    """A round distance between ticks, so that two to five stand on each side of zero."""
    power = 10.0 ** math.floor(math.log10(reach))
    return next(power * factor for factor in (0.2, 0.5, 1.0, 2.0, 5.0) if reach / (power * factor) <= 5)


def _table(group: Sequence[Contrast]) -> str:
    rows = []
    for contrast in group:
        gap = contrast.difference
        change = f"{gap.value:+.3f}"
        rows.append(
            [
                escape(spoken(contrast.measure)),
                f"<b>{change}</b>" if contrast.survives else change,
                f"[{gap.low:+.3f}, {gap.high:+.3f}]",
                f"{contrast.before:.3f}",
                f"{contrast.after:.3f}",
                f"+{contrast.won} −{contrast.lost}",
                escape(p_text(contrast.p)),
                escape(p_text(contrast.adjusted)),
                f"{contrast.detectable:.3f}",
                escape(contrast.test),
            ]
        )
    return table(
        (
            "metric",
            "change",
            "95% interval",
            "before",
            "after",
            "won, lost",
            "p",
            "p, Holm",
            "sees",
            "tested by",
        ),
        rows,
    )


def _flipped(base: Setting, setting: Setting, contrast: Contrast) -> str:
    """The items that changed in the first measure, most changed first, with both outputs where there are any."""
    flips = sorted(contrast.flips, key=lambda flip: (-abs(flip.after - flip.before), flip.id))
    if not flips:
        return "<p>No item changed.</p>"
    cards = "".join(_card(base, setting, flip) for flip in flips[:ITEMS_SHOWN])
    rest = len(flips) - ITEMS_SHOWN
    more = f"<p class=sub>and {rest} more in flips.csv</p>" if rest > 0 else ""
    title = (
        f"Items that changed in {escape(spoken(contrast.measure))}: {contrast.won} won, {contrast.lost} lost"
    )
    return f"<details class=fold><summary>{title}</summary>{cards}{more}</details>"


def _card(base: Setting, setting: Setting, flip: Pair) -> str:
    left, right = (side.sheets[0].items[flip.id] for side in (base, setting))
    won = flip.after > flip.before
    word = "✓ won" if won else "✗ lost"
    several = max(len(base.sheets), len(setting.sheets)) > 1
    head = (
        f"<summary><span class={'won' if won else 'lost'}>{word}</span> {escape(flip.id)} "
        f"<small>{flip.before:.2f} → {flip.after:.2f}</small></summary>"
    )
    lines = []
    if right.get("prompt"):
        lines.append(f"<p class=prompt>{escape(_cut(right['prompt']))}</p>")
    if right.get("gold"):
        lines.append(f"<p class=sub>gold: {escape(right['gold'])}</p>")
    if "output" in left and "output" in right:
        which = " (first seed)" if several else ""
        lines.append(
            f"<div class=pair>{_output('before' + which, left)}{_output('after' + which, right)}</div>"
        )
    return f"<details class=episode>{head}{''.join(lines)}</details>"


def _output(title: str, row: Mapping[str, str]) -> str:
    text = escape(_cut(row["output"])) or "<i>(empty)</i>"
    return f"<div class=card><p class=sub>{title}</p><pre>{text}</pre></div>"


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_SHOWN else f"{text[:TEXT_SHOWN]} [...]"

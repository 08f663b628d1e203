"""`comparison.html`: differences with their intervals, the whole table, and the items that flipped, side by side."""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from scripts.comparison_tables import note, p_text, sees_text, spoken
from scripts.contrasts import Contrast, Pair, Setting, by_setting
from scripts.interval_chart import Entry, interval_chart
from scripts.page import cut, fill, number, section, table, tiles
from scripts.stats import Estimate

ITEMS_SHOWN = 60
"""Flipped items of a setting on the page; flips.csv has all."""
TEXT_SHOWN = 1500


def comparison_page(settings: Sequence[Setting], found: Sequence[Contrast], title: str) -> str:
    """The whole page."""
    return fill("comparison of runs", [_head(settings, found, title), *contrast_sections(settings, found)])


def contrast_sections(settings: Sequence[Setting], found: Sequence[Contrast]) -> Iterator[str]:
    """A section for each setting: picture, table, flipped items."""
    sides = {setting.label: setting for setting in settings}
    for place, ((label, base), group) in enumerate(by_setting(found).items()):
        heading = f"{escape(label)} <small>against {escape(base)}</small>"
        body = _forests(group) + _table(group) + _flipped(sides[base], sides[label], group[0])
        yield section(f"setting-{place + 1}", heading, body)


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
    """Differences with zero marked; filled and coloured is what survives."""
    entries = [
        Entry(
            label=spoken(contrast.measure),
            estimate=contrast.difference,
            kind=("up" if contrast.difference.value > 0 else "down") if contrast.survives else "",
        )
        for contrast in group
    ]
    return interval_chart(entries, unit)


def _table(group: Sequence[Contrast]) -> str:
    rows = []
    for contrast in group:
        gap = contrast.difference
        change = number(gap.value, 3, signed=True)
        rows.append(
            [
                escape(spoken(contrast.measure)),
                f"<b>{change}</b>" if contrast.survives else change,
                _bounds(gap),
                number(contrast.before, 3),
                number(contrast.after, 3),
                f"+{contrast.won} −{contrast.lost}",
                escape(p_text(contrast.p)),
                escape(p_text(contrast.adjusted)),
                sees_text(contrast.detectable, 3),
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
        words=1,
    )


def _bounds(gap: Estimate) -> str:
    if not math.isfinite(gap.low):
        return "unbounded"
    return f"[{number(gap.low, 3, signed=True)}, {number(gap.high, 3, signed=True)}]"


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
        lines.append(f"<p class=prompt>{cut(right['prompt'], TEXT_SHOWN)}</p>")
    if right.get("gold"):
        lines.append(f"<p class=sub>gold: {escape(str(right['gold']))}</p>")
    if "output" in left and "output" in right:
        which = " (first seed)" if several else ""
        lines.append(
            f"<div class=pair>{_output('before' + which, left)}{_output('after' + which, right)}</div>"
        )
    return f"<details class=episode>{head}{''.join(lines)}</details>"


def _output(title: str, row: Mapping[str, str]) -> str:
    text = cut(row["output"], TEXT_SHOWN) or "<i>(empty)</i>"
    return f"<div class=card><p class=sub>{title}</p><pre>{text}</pre></div>"

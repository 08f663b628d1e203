"""`reproduce.html`: the table, each cell as a dot on its interval beside the paper's figures, and what is missing."""

import math
from collections.abc import Sequence
from html import escape

from scripts.page import fill, section, table, tiles
from scripts.published import Published
from scripts.reproduce_request import Request
from scripts.reproduce_table import (
    by_section,
    change_text,
    paper_note,
    paper_text,
    percent,
    signed,
    unpaired_lines,
    words_by_row,
)
from scripts.reproduced import Cell, surviving
from scripts.reproduction import Reproduction

WIDTH, ROW, SIDE = 640, 52, 36


def page(reproduction: Reproduction, told: Published, found: Sequence[Cell], request: Request) -> str:
    """The whole page."""
    parts = [_head(reproduction, told, found)]
    for number, (title, cells) in enumerate(by_section(found).items()):
        shown = [cell for cell in cells if cell.ours is not None]
        body = _picture(shown, reproduction.unit) + _table(reproduction, shown) if shown else ""
        words = words_by_row(cells)
        if words:
            body += f"<p class=hint>The paper: {escape(words)}.</p>"
        body += "".join(f"<p class=hint>{escape(line)}</p>" for line in unpaired_lines(cells))
        body += _not_run([cell for cell in cells if cell.status != "done"], request)
        parts.append(section(f"section-{number + 1}", escape(title), body))
    return fill(f"{reproduction.table}, reproduced", parts)


def _head(reproduction: Reproduction, told: Published, found: Sequence[Cell]) -> str:
    stands, every = surviving(found)
    figures = [
        ("size", reproduction.size),
        ("cells done", f"{sum(cell.status == 'done' for cell in found)} of {len(found)}"),
        ("paired changes that stand", f"{stands} of {every}"),
    ]
    return (
        f"<header><h1>{escape(reproduction.table)}, <em>run again</em></h1>"
        f"<p class=sub>{escape(reproduction.about)}</p>"
        f"<p class=sub>{escape(paper_note(reproduction, told))}</p>{tiles(figures)}</header>"
    )


def _picture(shown: Sequence[Cell], unit: str) -> str:
    """Ours as dots on their intervals, from 0 to 100%; the paper's figures as diamonds."""
    height = ROW * len(shown) + 62

    def place(share: float) -> float:
        return SIDE + (WIDTH - 2 * SIDE) * min(max(share, 0.0), 1.0)

    marks = [f'<text x="{WIDTH / 2}" y="{height - 9}" text-anchor=middle>{escape(unit)}</text>']
    for tick in range(0, 101, 20):
        x = place(tick / 100)
        marks.append(f'<line class=grid x1="{x:.1f}" x2="{x:.1f}" y1=4 y2="{height - 58}"/>')
        marks.append(f'<text x="{x:.1f}" y="{height - 34}" text-anchor=middle>{tick}%</text>')
    for number, cell in enumerate(shown):
        assert cell.ours is not None
        y = ROW * number + 36
        low, high = (
            place(bound) if math.isfinite(bound) else place(cell.ours.value)
            for bound in (cell.ours.low, cell.ours.high)
        )
        title = f"{cell.row.label}, {cell.column}"
        marks.append(
            f'<g class="ours c0"><title>{escape(title)}: {escape(percent(cell.ours))}</title>'
            f"<text x={SIDE} y={y - 12}>{escape(title)}</text>"
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1={y} y2={y} />'
            f'<circle cx="{place(cell.ours.value):.1f}" cy={y} r=6 /></g>'
        )
        for model, value in cell.paper.items():
            shape = f"M{place(value / 100):.1f},{y - 5}l5,5l-5,5l-5,-5z"
            marks.append(
                f'<path class="paper soft" d="{shape}">'
                f"<title>the paper, {escape(model)}: {value}</title></path>"
            )
    label = "ours with 95% intervals, the paper's figures as diamonds"
    legend = "<span><i class='dot c0'></i>ours, 95% interval</span>"
    if any(cell.paper for cell in shown):
        legend += "<span><i class='diamond soft'></i>the paper</span>"
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role=img aria-label="{label}">{"".join(marks)}</svg>'
        f"<p class=legend>{legend}</p>"
    )


def _table(reproduction: Reproduction, shown: Sequence[Cell]) -> str:
    head = ["row", "cell", f"ours, {reproduction.unit}", "items", "seeds", "paper"]
    head += ["ours - paper"] * (not reproduction.comparable)
    head += ["paired change, points, and the one that would be seen", *reproduction.measures]
    rows = []
    for cell in shown:
        assert cell.ours is not None
        row = [
            cell.row.label,
            cell.column,
            percent(cell.ours),
            str(cell.ours.n),
            str(cell.seeds),
            paper_text(cell),
        ]
        if not reproduction.comparable:
            row.append(signed(cell.difference) if cell.difference is not None else "")
        changes = "<br>".join(
            f"<b>{escape(change_text(change))}</b>" if change.survives else escape(change_text(change))
            for change in cell.changes
        )
        costs = [f"{cell.costs[name]:.0f}" if name in cell.costs else "" for name in reproduction.measures]
        rows.append([*map(escape, row), changes, *costs])
    return table(head, rows)


def _not_run(cells: Sequence[Cell], request: Request) -> str:
    """Rows without all their figures, folded: why, what they take, and the command."""
    rows: dict[str, Cell] = {}
    for cell in cells:
        rows.setdefault(cell.row.key, cell)
    if not rows:
        return ""
    lines = []
    for key, cell in rows.items():
        commands = [] if cell.row.impossible else [request.command(key), *request.by_hand(cell.row)]
        how = "".join(f"<br><code>{escape(command)}</code>" for command in commands)
        lines.append(f"<li><b>{escape(key)}</b> {escape(cell.status)}: {escape(cell.missing)}{how}</li>")
    several = "row" if len(rows) == 1 else "rows"
    return f"<details class=fold><summary>{len(rows)} {several} not run</summary><ul>{''.join(lines)}</ul></details>"

"""A reproduced table as text, CSV and JSON."""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from scripts.comparison_tables import SEES, p_text, sees_text
from scripts.contrasts import Contrast
from scripts.masking import masked_command
from scripts.published import Published
from scripts.reproduce_request import Request
from scripts.reproduced import Cell, surviving
from scripts.reproduction import Reproduction
from scripts.stats import Estimate, finite

COLUMNS = (
    "cell", "section", "row", "column", "status", "ours", "low", "high", "items", "seeds", "paper", "difference",
    "difference_low", "difference_high", "changes", "unpaired", "costs", "why", "takes", "command", "by_hand",
)  # fmt: skip


def percent(estimate: Estimate) -> str:
    """`87.6 [85.7, 89.3]`."""
    if not math.isfinite(estimate.low):
        return f"{100 * estimate.value:.1f}"
    return f"{100 * estimate.value:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def signed(estimate: Estimate) -> str:
    """`+3.1 [-0.2, +6.4]`, in points."""
    bounds = f" [{100 * estimate.low:+.1f}, {100 * estimate.high:+.1f}]" * math.isfinite(estimate.low)
    return f"{100 * estimate.value:+.1f}{bounds}"


def change_text(change: Contrast) -> str:
    """`+70.1 [+66.0, +74.2] from base, p <.0001, sees 5.2`; p is Holm's over the table."""
    sees = sees_text(100 * change.detectable, 1)
    return f"{signed(change.difference)} from {change.base}, p {p_text(change.adjusted)}, sees {sees}"


def paper_text(cell: Cell) -> str:
    """`72.9`, or `72.9 / 47.8 / 76.8` where ours is none of the paper's models, or a dash."""
    return " / ".join(f"{value:.1f}" for value in cell.paper.values()) or "-"


def words_by_row(cells: Sequence[Cell]) -> str:
    """What the paper says in place of numbers, with the rows of which it says it, where it does not say one thing."""
    said: dict[str, dict[str, None]] = {}
    for cell in cells:
        if cell.words:
            said.setdefault(cell.words, {})[cell.row.label] = None
    if len(said) < 2:
        return "".join(said)
    return "; ".join(f"{words} ({', '.join(rows)})" for words, rows in said.items())


def by_section(found: Sequence[Cell]) -> Mapping[str, list[Cell]]:
    """Cells by section, and by model where the models are the paper's."""
    sections: dict[str, list[Cell]] = {}
    for cell in found:
        sections.setdefault(cell.row.section, []).append(cell)
    return sections


def print_table(
    reproduction: Reproduction,
    told: Published,
    found: Sequence[Cell],
    request: Request,
    console: Console | None = None,
) -> None:
    """What is done, section by section; then what is not, and why."""
    console = console or Console()
    console.print(f"{reproduction.table}, size {reproduction.size}. {reproduction.about}", highlight=False)
    console.print(paper_note(reproduction, told), highlight=False)
    for section, cells in by_section(found).items():
        shown = [cell for cell in cells if cell.ours is not None]
        if shown:
            console.print(_section(reproduction, section, shown))
            if not any(cell.paper for cell in shown):
                console.print(f"the paper: {words_by_row(shown)}", highlight=False)
    _print_changes(found, console)
    for line in unpaired_lines(found):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    _print_not_run(found, request, console)


def _print_changes(found: Sequence[Cell], console: Console) -> None:
    """Every row against those that it is paired with."""
    stands, every = surviving(found)
    if not every:
        return
    table = Table(title="paired changes, points", title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for column in ("row", "from", "cell", "change [95%]", "won lost", "p, Holm", "sees"):
        left = column in ("row", "from", "cell")
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    for cell in found:
        for change in cell.changes:
            table.add_row(
                cell.row.key,
                change.base,
                cell.column,
                signed(change.difference) if change.flips else "+0.0 (no item changed)",
                f"{change.won} {change.lost}",
                p_text(change.adjusted),
                sees_text(100 * change.detectable, 1),
                style="bold" if change.survives else "",
            )
    console.print(table)
    console.print(
        f"Paired item by item; Holm's correction is over all {every} changes, {stands} of them below 0.05. 95% "
        f"intervals over items; of several seeds, over seeds and items. {SEES}",
        highlight=False,
    )


def unpaired_lines(found: Sequence[Cell]) -> list[str]:
    """Pairs of rows that are both there and unlike, with the reason, each once."""
    lines = [
        f"not paired: {cell.row.key} with {key}: {reason}"
        for cell in found
        for key, reason in cell.unpaired.items()
    ]
    return list(dict.fromkeys(lines))


def paper_note(reproduction: Reproduction, told: Published) -> str:
    """Whose figures stand beside ours, and whether they can be compared."""
    models = " / ".join(told.models.values()) if told.figures else ""
    claimed = f" Difference from the paper: {reproduction.comparable}." if reproduction.comparable else ""
    return f"The paper: {told.place}{f'; {models}' * bool(models)}. {told.note}{claimed}"


def _section(reproduction: Reproduction, title: str, shown: Sequence[Cell]) -> Table:
    columns = ["row", "cell", "ours [95%]", "n"]
    with_paper = any(cell.paper for cell in shown)
    columns += ["paper"] * with_paper + ["ours - paper [95%]"] * (not reproduction.comparable)
    columns += reproduction.measures
    table = Table(
        title=f"{title}; {reproduction.unit}", title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0)
    )
    for column in columns:
        table.add_column(
            column, justify="left" if column in ("row", "cell") else "right", no_wrap=column in ("cell", "n")
        )
    for cell in shown:
        assert cell.ours is not None
        n = f"{cell.ours.n}" + f" x {cell.seeds}" * (cell.seeds > 1)
        row = [cell.row.label, cell.column, percent(cell.ours), n]
        row += [paper_text(cell)] * with_paper
        if not reproduction.comparable:
            row.append(signed(cell.difference) if cell.difference is not None else "")
        row += [f"{cell.costs[name]:.0f}" if name in cell.costs else "" for name in reproduction.measures]
        table.add_row(*row, style="" if cell.status == "done" else "dim")
    return table


def _print_not_run(found: Sequence[Cell], request: Request, console: Console) -> None:
    """Rows without all their figures, those of one reason together, with the command that runs them."""
    reasons: dict[tuple[str, str, bool], dict[str, None]] = {}
    for cell in found:
        if cell.status != "done":
            reason = cell.status, cell.missing, bool(cell.row.impossible)
            reasons.setdefault(reason, {})[cell.row.key] = None
    for (status, why, impossible), keys in reasons.items():
        names = ",".join(keys)
        console.print(
            f"{status}: {why}: {names if impossible else ''}".rstrip(": "), highlight=False, markup=False
        )
        if not impossible:
            console.print(f"    {request.command(names)}", highlight=False, markup=False, soft_wrap=True)


def rows_of(found: Sequence[Cell], request: Request) -> Iterator[dict[str, Any]]:
    """A mapping for each cell, under the names of `COLUMNS`; shares, and the paper's figures in percent."""
    for cell in found:
        ours, gap = cell.ours, cell.difference
        yield {
            "cell": cell.key,
            "section": cell.row.section,
            "row": cell.row.label,
            "column": cell.column,
            "status": cell.status,
            "ours": ours.value if ours else None,
            "low": finite(ours.low) if ours else None,
            "high": finite(ours.high) if ours else None,
            "items": ours.n if ours else None,
            "seeds": cell.seeds,
            "paper": dict(cell.paper) or cell.words,
            "difference": gap.value if gap else None,
            "difference_low": finite(gap.low) if gap else None,
            "difference_high": finite(gap.high) if gap else None,
            "changes": [change_row(change) for change in cell.changes],
            "unpaired": dict(cell.unpaired),
            "costs": dict(cell.costs),
            "why": cell.why,
            "takes": cell.row.takes,
            "command": "" if cell.row.impossible else request.command(cell.row.key),
            "by_hand": request.by_hand(cell.row),
        }


def change_row(change: Contrast) -> dict[str, Any]:
    """A paired change without its items."""
    gap = {name: finite(value) for name, value in asdict(change.difference).items()}
    tested = {
        "p": change.p,
        "p_holm": change.adjusted,
        "survives": change.survives,
        "tested_by": change.test,
        "detectable": finite(change.detectable),
    }
    return {
        "from": change.base,
        "measure": change.measure,
        **gap,
        "won": change.won,
        "lost": change.lost,
        **tested,
    }


def table_csv(found: Sequence[Cell], request: Request) -> str:
    """A row for each cell; lists and mappings as JSON."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows_of(found, request):
        writer.writerow(
            {
                k: json.dumps(v, ensure_ascii=False) if isinstance(v, list | dict) else v
                for k, v in row.items()
            }
        )
    return text.getvalue()


def json_text(
    reproduction: Reproduction,
    told: Published,
    found: Sequence[Cell],
    command: Sequence[str],
    request: Request,
) -> str:
    """The whole table."""
    content = {
        "table": reproduction.table,
        "size": reproduction.size,
        "command": masked_command(command),
        "about": reproduction.about,
        "paper": told.place,
        "comparable": reproduction.comparable or "yes: the paper's models",
        "cells": list(rows_of(found, request)),
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

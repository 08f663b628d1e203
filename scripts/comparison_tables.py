"""A comparison as text, CSV and LaTeX. Bold is only what survives Holm's correction."""

import csv
import io
import math
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scripts import stats
from scripts.contrasts import ALPHA, Contrast, by_setting

FLIPS_SHOWN = 8
SEES = "'sees': the true change that a comparison, alone, finds four times in five."
COLUMNS = (
    "setting", "base", "measure", "unit", "items", "seeds", "seeds_base", "before", "after", "change", "low", "high",
    "bootstrap_low", "bootstrap_high", "won", "lost", "tested_by", "p", "p_holm", "survives", "detectable", "left_out",
)  # fmt: skip


def spoken(measure: str) -> str:
    """`accuracy_greedy,exact` as `accuracy greedy, exact`; `unfinished,none`, which has no grader, as `unfinished`."""
    named = measure.removesuffix(",none").removesuffix("_rationale")
    return named.replace("_", " ").replace(",", ", ")


def p_text(p: float) -> str:
    """A p-value, not finer than it is worth."""
    return "<.0001" if p < 1e-4 else f"{p:.4f}" if p < 0.01 else f"{p:.3f}"


def sees_text(detectable: float, digits: int) -> str:
    """What a comparison could have seen; a dash where that is not known."""
    return f"{detectable:.{digits}f}" if math.isfinite(detectable) else "–"


def note(found: Sequence[Contrast]) -> str:
    """What the columns say, in a few sentences."""
    several = max(max(contrast.seeds) for contrast in found) > 1
    seeds = "over seeds and items" if several else "over items, for these runs and no other seeds"
    lone = any(min(contrast.seeds) == 1 < max(contrast.seeds) for contrast in found)
    as_it_is = " A side of one run is taken as it is: the spread of its seed is not counted." * lone
    return (
        f"95% intervals {seeds}.{as_it_is} Bold: p below {ALPHA:g} after Holm's correction for {len(found)} "
        f"comparisons. {SEES}"
    )


def print_contrasts(found: Sequence[Contrast], title: str, console: Console | None = None) -> None:
    """A table for each setting, then the items that flipped in its first measure."""
    console = console or Console()
    for (setting, base), group in by_setting(found).items():
        table = Table(
            title=escape(f"{setting}\nagainst {base}"), title_justify="left", box=box.SIMPLE, padding=0
        )
        for column in (
            "metric",
            "before",
            "after",
            "change",
            "95% interval",
            "won lost",
            "p",
            "Holm",
            "sees",
        ):
            table.add_column(
                column, justify="left" if column == "metric" else "right", no_wrap=column != "metric"
            )
        for contrast in group:
            gap = contrast.difference
            table.add_row(
                escape(spoken(contrast.measure)),
                f"{contrast.before:.3f}",
                f"{contrast.after:.3f}",
                f"{gap.value:+.3f}",
                stats.interval_text(gap.low, gap.high, signed=True).replace(", ", ","),
                f"{contrast.won} {contrast.lost}",
                p_text(contrast.p),
                p_text(contrast.adjusted),
                sees_text(contrast.detectable, 2),
                style="bold" if contrast.survives else "",
            )
        console.print(table)
        first = group[0]
        for word, ids in (
            ("won", [flip.id for flip in first.flips if flip.after > flip.before]),
            ("lost", [flip.id for flip in first.flips if flip.after < flip.before]),
        ):
            if ids:
                more = f" and {len(ids) - FLIPS_SHOWN} more" if len(ids) > FLIPS_SHOWN else ""
                shown = ", ".join(ids[:FLIPS_SHOWN])
                line = f"{word} in {spoken(first.measure)}: {shown}{more}"
                console.print(line, highlight=False, markup=False)
        if first.only_one_side:
            console.print(f"{first.only_one_side} items left out: one side could not play them")
    console.print(f"{title}. {note(found)}", highlight=False, markup=False)


def contrast_row(contrast: Contrast) -> dict[str, object]:
    """A contrast under the names of `COLUMNS`; an unbounded interval has no bounds."""
    gap, drawn = contrast.difference, contrast.bootstrap()
    bounds = {"low": gap.low, "high": gap.high, "bootstrap_low": drawn.low, "bootstrap_high": drawn.high}
    return {
        "setting": contrast.setting,
        "base": contrast.base,
        "measure": contrast.measure,
        "unit": "nats" if contrast.kind == "nats" else "share",
        "items": gap.n,
        "seeds": contrast.seeds[0],
        "seeds_base": contrast.seeds[1],
        "before": contrast.before,
        "after": contrast.after,
        "change": gap.value,
        **{name: stats.finite(value) for name, value in bounds.items()},
        "won": contrast.won,
        "lost": contrast.lost,
        "tested_by": contrast.test,
        "p": contrast.p,
        "p_holm": contrast.adjusted,
        "survives": contrast.survives,
        "detectable": stats.finite(contrast.detectable),
        "left_out": contrast.only_one_side,
    }


def csv_text(found: Sequence[Contrast]) -> str:
    """The whole table with full precision."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(contrast_row(contrast) for contrast in found)
    return text.getvalue()


def flips_csv(found: Sequence[Contrast]) -> str:
    """Every item that changed, in every measure of right and wrong or of scores."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["setting", "base", "measure", "item", "before", "after"])
    for contrast in found:
        if contrast.kind != "nats":
            for flip in contrast.flips:
                row = [contrast.setting, contrast.base, contrast.measure, flip.id, flip.before, flip.after]
                writer.writerow(row)
    return text.getvalue()


SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}",
}  # fmt: skip


def latex(text: str) -> str:
    """Text as LaTeX takes it."""
    return "".join(SPECIAL.get(letter, letter) for letter in text)


def latex_text(found: Sequence[Contrast]) -> str:
    """A table for `booktabs`."""
    lines = [
        "% \\usepackage{booktabs}",
        f"% {note(found)}",
        "\\begin{tabular}{llrrrrrr}",
        "\\toprule",
        "setting & metric & before & after & change & 95\\% interval & won/lost & $p_\\mathrm{Holm}$ \\\\",
    ]
    for group in by_setting(found).values():
        lines.append("\\midrule")
        for contrast in group:
            gap = contrast.difference
            change = f"{gap.value:+.3f}"
            bounds = stats.interval_text(gap.low, gap.high, signed=True)
            cells = [
                latex(contrast.setting),
                latex(spoken(contrast.measure)),
                f"{contrast.before:.3f}",
                f"{contrast.after:.3f}",
                f"$\\mathbf{{{change}}}$" if contrast.survives else f"${change}$",
                f"${bounds}$" if math.isfinite(gap.low) else bounds,
                f"{contrast.won}/{contrast.lost}",
                f"${p_text(contrast.adjusted)}$",
            ]
            lines.append(" & ".join(cells) + " \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])

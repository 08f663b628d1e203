"""From finished runs to the cells of a table: ours with its interval, the paper's figure, and paired changes."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean

import numpy as np

from latro.errors import InputError
from scripts import paired, stats
from scripts.contrasts import Contrast, Setting, contrasts
from scripts.published import Published
from scripts.reproduction import Reproduction, Row
from scripts.sheets import Sheet, read_sheets
from scripts.sweep_results import Result, read_outcome

PAPERS_GRADER = "paper"
"""The grader that extracts answers as the paper's code does, where a task has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One figure of the table."""

    row: Row
    column: str
    status: str
    """`done`, `in part` (some seeds), `failed` or `not run`."""
    ours: stats.Estimate | None = None
    """As a share."""
    seeds: int = 0
    paper: Mapping[str, float] = field(default_factory=dict)
    """Percent, by the paper's models."""
    words: str = ""
    """What stands for the paper's figure where it has none."""
    difference: stats.Estimate | None = None
    """Ours minus the paper's constant, as a share; only where the model is the paper's."""
    changes: tuple[Contrast, ...] = ()
    """Against the rows that it is paired with."""
    unpaired: Mapping[str, str] = field(default_factory=dict)
    """Why it could not be paired with a row, by that row's key."""
    why: str = ""
    """Of a cell that is not done."""
    costs: Mapping[str, float] = field(default_factory=dict)

    @property
    def missing(self) -> str:
        """Of a cell that is not done, why, and what a run of it takes."""
        takes = f"; takes {self.row.takes}" if self.row.takes else ""
        return self.why + takes

    @property
    def key(self) -> str:
        """`latro/greedy`."""
        return f"{self.row.key}/{self.column}"


def cells(
    reproduction: Reproduction,
    told: Published,
    folder: Path,
    results: Mapping[Path, Result],
    idle: str,
    unlike: Collection[Path] = (),
) -> list[Cell]:
    """Every cell of the table. `idle` says why nothing was started, where that is so.

    unlike: folders that hold runs of another configuration, which are none of the table's. Raises InputError for a
    finished run that is damaged.
    """
    sheets = {row.key: found_sheets(row, folder, unlike) for row in reproduction.rows}
    found = [
        cell
        for row in reproduction.rows
        for cell in row_cells(
            reproduction, row, told, sheets, why(row, folder, results, idle, unlike), folder
        )
    ]
    return with_holm(found)


def found_sheets(row: Row, folder: Path, unlike: Collection[Path] = ()) -> dict[int, Sheet]:
    """The finished evaluations of a row, by seed, but for those that rest on a run of another configuration."""
    found: dict[int, Sheet] = {}
    if row.impossible:
        return found
    for seed in row.seeds:
        if any(job.folder in unlike for job in row.jobs(folder, seed)):
            continue
        place = row.evaluated(folder, seed)
        outcome = read_outcome(place)
        if outcome is not None and not outcome.get("stopped"):
            arms = read_sheets(place)
            found[seed] = next(sheet for sheet in arms if not row.arm or sheet.arm == row.arm)
    return found


def why(
    row: Row, folder: Path, results: Mapping[Path, Result], idle: str, unlike: Collection[Path] = ()
) -> tuple[str, str]:
    """Status and reason of a row that is not, or not wholly, done."""
    if row.impossible:
        return "not run", f"needs {row.impossible}"
    for seed in row.seeds:
        for job in row.jobs(folder, seed):
            result = results.get(job.folder)
            if result is not None and result.status == "failed":
                return "failed", f"{job.name}: {result.error}"
    if any(job.folder in unlike for seed in row.seeds for job in row.jobs(folder, seed)):
        return "not run", "its folder holds another configuration; give another folder=, or delete it"
    for seed in row.seeds:
        stopped = (read_outcome(row.evaluated(folder, seed)) or {}).get("stopped")
        if stopped:
            return (
                "not run",
                f"its evaluation was stopped ({stopped}): raise evaluate_pract.budget, or leave it out",
            )
    started = any(job.folder in results for seed in row.seeds for job in row.jobs(folder, seed)[-1:])
    if started:
        return "not run", "the run was stopped before it; the same command goes on"
    if row.extra:
        return "not run", "only if it is named"
    return "not run", idle


def row_cells(
    reproduction: Reproduction,
    row: Row,
    told: Published,
    sheets: Mapping[str, Mapping[int, Sheet]],
    unfinished: tuple[str, str],
    folder: Path,
) -> Iterator[Cell]:
    """The cells of a row."""
    mine = sheets[row.key]
    status, reason = ("done", "") if len(mine) == len(row.seeds) and not row.impossible else unfinished
    if mine and status == "not run":
        status = "in part"
    costs = learning_costs(row, folder, list(mine)) if reproduction.measures else {}
    for column, measure in row.columns.items():
        found, unmeasured = estimate_or_why(list(mine.values()), measure)
        paired_with, unpaired = changes(row, measure, sheets) if found is not None else ([], {})
        paper = told.row(row.published, column)
        if row.model:
            paper = {model: value for model, value in paper.items() if model == row.model}
        yield Cell(
            row=row,
            column=column,
            status="not run" if unmeasured else status,
            ours=found,
            seeds=len(mine),
            paper=paper,
            words="" if paper else told.words(row.published or row.section),
            difference=shifted(found, paper.get(row.model)),
            changes=tuple(paired_with),
            unpaired=unpaired,
            why=unmeasured or reason,
            costs=costs,
        )


def estimate_or_why(sheets: Sequence[Sheet], measure: str) -> tuple[stats.Estimate | None, str]:
    """The estimate of finished runs, or why they have none; neither where there are no runs."""
    try:
        return (estimate(sheets, measure) if sheets else None), ""
    except InputError as error:
        return None, str(error)


def measured_as(sheet: Sheet, measure: str) -> str:
    """The full name of a measure: by the grader that reads answers as the paper does, or else by the first.

    Raises InputError if the run has it by no grader.
    """
    names = [name for name in sheet.measures if name.partition(",")[0] == measure]
    if not names:
        raise InputError(
            f"{sheet.name} has no {measure}; it has {', '.join(sheet.measures)}: evaluate it anew"
        )
    wanted = f"{measure},{PAPERS_GRADER}"
    return wanted if wanted in names else names[0]


def estimate(sheets: Sequence[Sheet], measure: str) -> stats.Estimate:
    """The mean with its interval: over items, and over seeds and items where there are several seeds."""
    name = measured_as(sheets[0], measure)
    values = [sheet.measures[name].values for sheet in sheets]
    ids = [id for id in values[0] if all(id in found for found in values)]
    values_SN = np.array([[found[id] for id in ids] for found in values])
    whole = bool(np.isin(values_SN, (0.0, 1.0)).all())
    if not (values_SN == values_SN[0]).all():
        found = paired.clustered(values_SN, np.zeros((1, len(ids))), matched=False).difference
        if math.isfinite(found.low):
            return stats.within(found, 0.0, 1.0)
    if whole:
        # Of one run, and of seeds that all agree, which are no further evidence, Wilson's interval over items.
        return stats.proportion(round(float(values_SN.mean()) * len(ids)), len(ids))
    return stats.share_or_mean(values_SN.mean(axis=0).tolist())


def shifted(ours: stats.Estimate | None, paper: float | None) -> stats.Estimate | None:
    """Ours minus a constant in percent."""
    if ours is None or paper is None:
        return None
    constant = paper / 100
    return replace(ours, value=ours.value - constant, low=ours.low - constant, high=ours.high - constant)


def changes(
    row: Row, measure: str, sheets: Mapping[str, Mapping[int, Sheet]]
) -> tuple[list[Contrast], dict[str, str]]:
    """The row against each of its counterparts, paired on items and on the seeds that both have; and why not."""
    found: list[Contrast] = []
    refused: dict[str, str] = {}
    for key in row.against:
        others = sheets.get(key, {})
        seeds = [seed for seed in sheets[row.key] if seed in others]
        if not seeds:
            continue
        base, mine = (
            Setting(label=label, sheets=tuple(found[seed] for seed in seeds))
            for label, found in ((key, others), (row.key, sheets[row.key]))
        )
        try:
            found += contrasts([base, mine], [measured_as(mine.sheets[0], measure)])
        except InputError as error:  # one pair that is unlike must not cost the table
            refused[key] = str(error)
    return found, refused


def with_holm(found: Sequence[Cell]) -> list[Cell]:
    """The cells with Holm's correction over all changes of the table."""
    adjusted = iter(paired.holm([change.p for cell in found for change in cell.changes]))
    return [
        replace(cell, changes=tuple(replace(change, adjusted=next(adjusted)) for change in cell.changes))
        for cell in found
    ]


def learning_costs(row: Row, folder: Path, seeds: Sequence[int]) -> dict[str, float]:
    """Calls and tokens of what was learned, means over the seeds; nothing for a row that learns nothing."""
    if row.training is None or not row.learned:
        return {}
    outcomes = [read_outcome(row.jobs(folder, seed)[0].folder) for seed in seeds]
    costs = [outcome["cost"] for outcome in outcomes if outcome is not None and "cost" in outcome]
    return {
        name: fmean(float(cost[name]) for cost in costs)
        for name in ("calls", "tokens")
        if costs and all(name in cost for cost in costs)
    }


def surviving(found: Iterable[Cell]) -> tuple[int, int]:
    """Changes that stand after Holm's correction, and all."""
    every = [change for cell in found for change in cell.changes]
    return sum(change.survives for change in every), len(every)

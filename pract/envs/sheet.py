"""A spreadsheet to be put in order: AgentBoard's `sheet`, without the web service behind it.

Actions are AgentBoard's (Ma et al. 2024); a table in memory stands in for Google Sheets. A problem is solved if,
at `finish`, the problem's sheet equals the expected table cell by cell (numbers by value, a merged range showing
its first value in every cell). Partial credit is the share of equal cells among those of the larger table; AgentBoard's
reward divides by the cells that both tables have, so that a row too few or too many costs nothing there.

Without a data folder there are small tables of our own. With one it needs sheet.jsonl (20 problems),
sheet_template.xlsx and sheet_raw.json.
"""

import ast
import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from pract.envs.grid.table import Table, Value, entered, position_name
from pract.envs.grid.workbook import Workbook
from pract.envs.tools.datafiles import PACKAGE_DATA, carve, data_file, digest, read_json
from pract.envs.tools.functions import FunctionTools, Verdict, action_of
from pract.envs.tools.published import declared_actions, problem_rows
from pract.errors import InputError
from pract.types import Action, Task

ACTIONS = (
    "open_sheet",
    "del_sheet",
    "freeze_data",
    "get_A1_annotation",
    "insert_cols",
    "insert_rows",
    "delete_batch_data",
    "update_cell",
    "update_cell_by_formula",
    "update_range",
    "sort_sheet_by_col",
    "merge_cells",
    "update_note",
    "get_all_values",
    "get_range_values",
    "get_cell_value",
    "get_value_by_formula",
    "filter_cells",
    "get_note",
    "finish",
)
REFERENCE_STEP = re.compile(r"Action \d+: (\w+) with Action Input: (\{.*\})")


class Sheet(FunctionTools):
    """The workbook as an environment."""

    def __init__(self, data: str | None = None) -> None:
        """`data`: AgentBoard's folder; without it, our own small tables."""
        if data is None:
            path = PACKAGE_DATA / "sheet.json"
            own = read_json(path)
            tables = {
                name: Table(
                    [[entered(value) for value in row] for row in table["cells"]],
                    {(row, column): note for row, column, note in table.get("notes", [])},
                )
                for name, table in own["sheets"].items()
            }
            tasks, content = [_own_task(row) for row in own["problems"]], digest(path)
            actions = [action_of(getattr(Workbook, name)) for name in ACTIONS]
        else:
            names = ("sheet_template.xlsx", "sheet.jsonl", "sheet_raw.json")
            files = [data_file(data, name) for name in names]
            tables = _read_workbook(files[0])
            tasks = [_published_task(row, files[1], tables) for row in problem_rows(files[1])]
            actions, content = declared_actions(files[2], ACTIONS), digest(*files)
        self._tables = tables
        super().__init__(
            name="sheet",
            version="2",
            licence="Apache-2.0" if data is None else "GPL-2.0-only",
            splits=carve(tasks, lambda task: task.id),
            actions=actions,
            start=lambda task, seed: Workbook(tables),
            verdict=_verdict,
            content=content,
        )

    def oracle(self, task: Task) -> list[Action]:
        """Opens the problem's sheet, walks the reference path, and writes the cells that the path forgets.

        One of AgentBoard's twenty paths leaves out the header of a column that it adds.
        """
        opening = Action(name="open_sheet", arguments={"name": task.data["sheet"]})
        path = [Action(name=name, arguments=arguments) for name, arguments in task.data["path"]]
        book = Workbook(self._tables)
        for action in (opening, *path):
            getattr(book, action.name)(**self.read_arguments(action))
        found = book.tables[task.data["sheet"]]
        forgotten = [
            Action(name="update_cell", arguments={"position": position_name(r, c), "value": value})
            for r, row in enumerate(task.data["table"])
            for c, value in enumerate(row)
            if not _same(found.get(r, c), entered(value))
        ]
        return [opening, *path, *forgotten, Action(name="finish")]


def equal_share(found: Sequence[Sequence[Value]], expected: Sequence[Sequence[object]]) -> float:
    """The share of cells that are equal, out of the cells that either table has."""
    height = max(len(found), len(expected))
    width = max((len(row) for row in [*found, *expected]), default=0)
    if not height * width:
        return 1.0
    wanted = Table([[entered(value) for value in row] for row in expected])
    given = Table([list(row) for row in found])
    equal = sum(_same(given.get(r, c), wanted.get(r, c)) for r in range(height) for c in range(width))
    return equal / (height * width)


def _same(given: Value, wanted: Value) -> bool:
    if isinstance(given, float) and isinstance(wanted, float):
        return math.isclose(given, wanted, rel_tol=1e-6, abs_tol=1e-9)
    return str(given).strip() == str(wanted).strip()


def _verdict(task: Task, world: Workbook) -> Verdict:
    table = world.tables.get(task.data["sheet"])
    share = equal_share(table.trimmed(), task.data["table"]) if table is not None else 0.0
    return Verdict(score=float(world.finished and share == 1.0), progress=share)


def _own_task(row: Mapping[str, Any]) -> Task:
    data = {"sheet": row["sheet"], "table": row["table"], "path": row["path"]}
    return Task(id=row["id"], instruction=row["goal"], data=data)


def _published_task(row: Mapping[str, Any], path: Path, tables: Mapping[str, Table]) -> Task:
    named = re.search(r'"(Sheet\d+)"', row["goal"])
    steps = [(name, ast.literal_eval(told)) for name, told in REFERENCE_STEP.findall(row["subgoals"])]
    if not named or named[1] not in tables or not steps:
        raise InputError(f"{path}: problem {row['id']} names no sheet of the workbook or no reference path")
    table = json.loads(row["additional_info"]["answer"])
    data = {"sheet": named[1], "table": table, "path": [[name, arguments] for name, arguments in steps]}
    return Task(id=f"sheet-{row['id']}", instruction=row["goal"].strip(), data=data)


@lru_cache(maxsize=2)
def _read_workbook(path: Path) -> dict[str, Table]:
    """The task sheets of the template; the answer sheets are left out. Raises InputError for a torn file."""
    import openpyxl  # 0.2 s, and only where a folder is given

    try:
        book = openpyxl.load_workbook(path)
    except (BadZipFile, KeyError, OSError) as error:
        raise InputError(f"{path}: not a workbook ({error}); fetch the file again") from None
    tables = {}
    for sheet in book.worksheets:
        if sheet.title.startswith("Sheet"):
            rows = [[entered(cell.value) for cell in row] for row in sheet.iter_rows()]
            notes = {
                (r, c): cell.comment.text.strip()
                for r, row in enumerate(sheet.iter_rows())
                for c, cell in enumerate(row)
                if cell.comment
            }
            tables[sheet.title] = Table(Table(rows).trimmed(), notes)
    return tables

"""The workbook of one episode: sheets by name, one of them open, and AgentBoard's actions on it."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

from pract.envs.grid.formula import BadFormula, aggregate, evaluate
from pract.envs.grid.search import BadExpression, Matcher
from pract.envs.grid.table import (
    OutOfSheet,
    Table,
    Value,
    check_inside,
    position_name,
    position_of,
    shown,
)
from pract.envs.tools.functions import Refused

P = ParamSpec("P")
R = TypeVar("R")


def _refusing(
    method: Callable[Concatenate["Workbook", P], R],
) -> Callable[Concatenate["Workbook", P], R]:
    """Turns what a table cannot do into a refusal that the agent reads; the table is left as it was."""

    @wraps(method)
    def attempt(self: "Workbook", *args: P.args, **kwargs: P.kwargs) -> R:
        before = self.tables[self.opened].copy() if self.opened else None
        try:
            return method(self, *args, **kwargs)
        except (OutOfSheet, BadFormula, BadExpression) as error:
            if before is not None:
                self.tables[self.opened] = before
            raise Refused(f"{method.__name__} was not carried out: {error}.") from None

    return attempt


class Workbook:
    """Sheets of one episode. Rows and columns are counted from 1; the first row is the header."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self.tables = {name: table.copy() for name, table in tables.items()}
        self.opened = ""
        self.finished = False

    def open_sheet(self, name: str) -> str:
        """Opens a sheet by its name; all other actions work on the open sheet."""
        if name not in self.tables:
            raise Refused(f"There is no sheet {name[:40]!r}. Sheets: {', '.join(self.tables)}.")
        self.opened = name
        return f"{name} is open."

    def del_sheet(self, name: str) -> str:
        """Deletes a sheet with all that is in it."""
        if name not in self.tables:
            raise Refused(f"There is no sheet {name[:40]!r}. Sheets: {', '.join(self.tables)}.")
        del self.tables[name]
        self.opened = "" if self.opened == name else self.opened
        return f"{name} is deleted."

    def freeze_data(self, dimension: Literal["rows", "columns"], num: int) -> str:
        """Freezes the first rows or columns on the screen; values stay as they are."""
        self._table()
        return f"The first {num} {dimension[:20]} are frozen."

    @_refusing
    def get_A1_annotation(self, row: int, col: int) -> str:  # noqa: N802 - AgentBoard's name
        """Tells the name of a cell, such as B2, from its row and column."""
        return position_name(*check_inside(row - 1, col - 1))

    @_refusing
    def insert_rows(self, values_list: list[list[Any]], row_idx: int) -> Any:
        """Inserts rows of values before row `row_idx`."""
        table = self._table()
        check_inside(row_idx - 1, 0)
        table.insert_rows(row_idx - 1, [[self._computed(value) for value in row] for row in values_list])
        return self.get_all_values()

    @_refusing
    def insert_cols(self, values_list: list[list[Any]], col_idx: int) -> Any:
        """Inserts columns, each given as the list of its values, before column `col_idx`."""
        check_inside(0, col_idx - 1)
        turned = self._table().transposed()
        columns = [[self._computed(value) for value in column] for column in values_list]
        turned.insert_rows(col_idx - 1, columns, turned=True)
        self.tables[self.opened] = turned.transposed()
        return self.get_all_values()

    @_refusing
    def delete_batch_data(self, dimension: Literal["row", "col"], index_list: list[int]) -> Any:
        """Deletes several rows or columns at once, by their numbers before the deletion."""
        table, gone = self._table(), [index - 1 for index in index_list]
        if dimension.startswith("row"):
            table.delete_rows(gone)
        elif dimension.startswith("col"):
            turned = table.transposed()
            turned.delete_rows(gone)
            self.tables[self.opened] = turned.transposed()
        else:
            raise OutOfSheet(f"dimension is {dimension[:20]!r}; choose row or col")
        return self.get_all_values()

    @_refusing
    def update_cell(self, position: str, value: Any) -> Any:
        """Writes a value into a cell; a text that begins with = is a formula."""
        self._table().put(*position_of(position), self._computed(value))
        return self.get_cell_value(position)

    @_refusing
    def update_cell_by_formula(
        self,
        operator: str,
        result_position: str,
        start_position: str = "",
        end_position: str = "",
        position_list: list[str] | None = None,
    ) -> Any:
        """Computes SUM, AVERAGE, COUNT, MAX, MIN, MINUS or PRODUCT over cells and writes it into a cell.

        The cells are those from start to end, or those of the list.
        """
        values = self._selected(start_position, end_position, position_list)
        self._table().put(*position_of(result_position), aggregate(operator, values))
        return self.get_cell_value(result_position)

    @_refusing
    def update_range(self, start_position: str, end_position: str, values_list: list[list[Any]]) -> Any:
        """Writes a list of rows into the range from start to end."""
        (top, left), (bottom, right) = self._range(start_position, end_position)
        height, width = bottom - top + 1, right - left + 1
        if len(values_list) != height or any(len(row) != width for row in values_list):
            raise OutOfSheet(f"the range has {height} rows of {width} cells, the values have another shape")
        for row, values in enumerate(values_list):
            for column, value in enumerate(values):
                self._table().put(top + row, left + column, self._computed(value))
        return self.get_all_values()

    @_refusing
    def sort_sheet_by_col(self, col_num: int, order: str) -> Any:
        """Sorts all rows below the header by a column; order is asc or des."""
        if order not in ("asc", "des", "desc"):
            raise OutOfSheet(f"order is {order[:20]!r}; choose asc or des")
        check_inside(0, col_num - 1)
        self._table().sort(col_num - 1, descending=order != "asc")
        return self.get_all_values()

    @_refusing
    def merge_cells(self, start_position: str, end_position: str) -> Any:
        """Merges the cells from start to end; the first value is kept."""
        table = self._table()
        table.merge(*self._range(start_position, end_position))
        return self.get_all_values()

    @_refusing
    def update_note(self, position: str, content: str) -> str:
        """Writes a note to a cell; its value stays."""
        self._table().notes[position_of(position)] = content[:500]
        return f"Note at {position.strip()[:8]}: {content[:500]}"

    @_refusing
    def get_all_values(self) -> Any:
        """Shows all values of the sheet, by row."""
        return [[shown(value) for value in row] for row in self._table().trimmed()]

    @_refusing
    def get_range_values(self, start_position: str, end_position: str) -> Any:
        """Shows the values from start to end, by row."""
        rows = self._table().spread(*self._range(start_position, end_position))
        return [[shown(value) for value in row] for row in rows]

    @_refusing
    def get_cell_value(self, position: str) -> Any:
        """Shows the value of a cell."""
        return shown(self._table().get(*position_of(position)))

    @_refusing
    def get_value_by_formula(
        self,
        operator: str,
        start_position: str = "",
        end_position: str = "",
        position_list: list[str] | None = None,
    ) -> Any:
        """Computes SUM, AVERAGE, COUNT, MAX, MIN, MINUS or PRODUCT over cells and shows it.

        The cells are those from start to end, or those of the list.
        """
        return shown(aggregate(operator, self._selected(start_position, end_position, position_list)))

    @_refusing
    def filter_cells(self, query: str, in_row: int | None = None, in_column: int | None = None) -> Any:
        """Finds cells that equal a text or match re.compile('...'), and tells their positions."""
        matcher = Matcher(query)
        return [
            position_name(r, c)
            for r, row in enumerate(self._table().trimmed())
            for c, value in enumerate(row)
            if in_row in (None, r + 1) and in_column in (None, c + 1) and matcher.matches(value)
        ]

    @_refusing
    def get_note(self, position: str) -> str:
        """Shows the note at a cell; empty if there is none."""
        return self._table().notes.get(position_of(position), "")

    def finish(self) -> str:
        """Ends the task; the sheets are handed in as they are."""
        self.finished = True
        return "The workbook is handed in."

    def _table(self) -> Table:
        if not self.opened:
            raise Refused(f"No sheet is open; use open_sheet. Sheets: {', '.join(self.tables)}.")
        return self.tables[self.opened]

    def _range(self, start: str, end: str) -> tuple[tuple[int, int], tuple[int, int]]:
        (top, left), (bottom, right) = position_of(start), position_of(end)
        if bottom < top or right < left:
            raise OutOfSheet(f"the range ends ({end.strip()}) before it starts ({start.strip()})")
        return (top, left), (bottom, right)

    def _selected(self, start: str, end: str, positions: list[str] | None) -> list[object]:
        if positions:
            return [self._table().get(*position_of(position)) for position in positions]
        if not (start and end):
            raise OutOfSheet("give start_position and end_position, or position_list")
        return [value for row in self._table().spread(*self._range(start, end)) for value in row]

    def _computed(self, value: Any) -> Any:
        """The value itself, or what its formula yields."""
        if not (isinstance(value, str) and value.startswith("=")):
            return value
        table = self._table()

        def spread(start: str, end: str) -> list[object]:
            return [cell for row in table.spread(*self._range(start, end)) for cell in row]

        def lookup(position: str) -> Value:
            return table.get(*position_of(position))

        return evaluate(value, lookup, spread)

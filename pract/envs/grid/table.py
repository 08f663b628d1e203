"""One sheet: a rectangle of values with notes and merged ranges."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

Value = str | float
"""A text, a number, or the empty text for an empty cell."""

MOST_ROWS, MOST_COLUMNS = 300, 60
LONGEST_TEXT = 2000


class OutOfSheet(ValueError):
    """A position that is none, or outside the sheet; the message says which."""


def position_of(text: str) -> tuple[int, int]:
    """Row and column, from 0, of a position such as `B2`. Raises OutOfSheet."""
    found = re.fullmatch(r"\s*\$?([A-Za-z]{1,2})\$?(\d{1,3})\s*", text)
    if not found or found[2].strip("0") == "":
        raise OutOfSheet(f"{text[:40]!r} is no cell position; write it like B2")
    column = 0
    for letter in found[1].upper():
        column = 26 * column + ord(letter) - 64
    return check_inside(int(found[2]) - 1, column - 1)


def check_inside(row: int, column: int) -> tuple[int, int]:
    """The two as they are. Raises OutOfSheet beyond the largest sheet."""
    if not (0 <= row < MOST_ROWS and 0 <= column < MOST_COLUMNS):
        raise OutOfSheet(f"the sheet has at most {MOST_ROWS} rows and {MOST_COLUMNS} columns, counted from 1")
    return row, column


def position_name(row: int, column: int) -> str:
    """The position's name: 0, 0 is `A1`."""
    letters = chr(65 + column % 26)
    return (chr(64 + column // 26) if column >= 26 else "") + letters + str(row + 1)


def entered(value: object) -> Value:
    """What a cell holds when the value is typed into it: numbers as numbers, the rest as text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int | float):
        return float(value) if abs(value) < 1e300 else str(value)
    text = str(value)[:LONGEST_TEXT]
    return float(text) if re.fullmatch(r"\s*[-+]?\d{1,15}(\.\d{1,15})?\s*", text) else text


def shown(value: Value) -> str | int | float:
    """The value as it is displayed: whole numbers without a fraction."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 1e15 else round(value, 10)
    return value


@dataclass(slots=True)
class Table:
    """Cells by row. Rows have equal length; beyond them all is empty."""

    cells: list[list[Value]]
    notes: dict[tuple[int, int], str] = field(default_factory=dict)
    merged: list[tuple[int, int, int, int]] = field(default_factory=list)
    """Top, left, bottom, right; all cells of a merged range show its first cell's value."""

    def copy(self) -> "Table":
        """The same table, to be changed apart."""
        return Table([list(row) for row in self.cells], dict(self.notes), list(self.merged))

    def get(self, row: int, column: int) -> Value:
        """The value in a cell; the empty text beyond the rows."""
        inside = row < len(self.cells) and column < len(self.cells[row])
        return self.cells[row][column] if inside else ""

    def put(self, row: int, column: int, value: object) -> None:
        """Types a value into a cell, and so into all cells merged with it."""
        check_inside(row, column)
        kept = entered(value)
        for top, left, bottom, right in self.merged:
            if top <= row <= bottom and left <= column <= right:
                for place in ((r, c) for r in range(top, bottom + 1) for c in range(left, right + 1)):
                    self._set(*place, kept)
                return
        self._set(row, column, kept)

    def _set(self, row: int, column: int, value: Value) -> None:
        width = max(column + 1, len(self.cells[0]) if self.cells else 0)
        self.cells.extend([] for _ in range(row + 1 - len(self.cells)))
        for line in self.cells:
            line.extend([""] * (width - len(line)))
        self.cells[row][column] = value

    def merge(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        """Merges a range; its first value is kept."""
        (top, left), (bottom, right) = start, end
        self.merged.append((top, left, bottom, right))
        self.put(top, left, self.get(top, left))

    def spread(self, start: tuple[int, int], end: tuple[int, int]) -> list[list[Value]]:
        """The values of a range, by row."""
        (top, left), (bottom, right) = start, end
        return [[self.get(r, c) for c in range(left, right + 1)] for r in range(top, bottom + 1)]

    def insert_rows(self, at: int, rows: Sequence[Sequence[object]], *, turned: bool = False) -> None:
        """New rows before row `at`; notes below move with their cells, merged ranges are dissolved.

        turned: the rows are a transposed table's, so that the limits are those of columns. Raises OutOfSheet.
        """
        for offset, values in enumerate(rows):
            row, column = max(len(self.cells), at + offset), max(len(values), 1) - 1
            check_inside(*((column, row) if turned else (row, column)))
            self.cells.extend([] for _ in range(at + offset - len(self.cells)))
            self.cells.insert(at + offset, [entered(value) for value in values])
        self.notes = {(r + len(rows) if r >= at else r, c): note for (r, c), note in self.notes.items()}
        self._tidy()

    def delete_rows(self, indexes: Sequence[int]) -> None:
        """Without these rows; those behind the last are gone already. Raises OutOfSheet for a negative index."""
        gone = set(indexes)
        if any(number < 0 for number in gone):
            raise OutOfSheet("rows and columns are counted from 1")
        self.cells = [row for number, row in enumerate(self.cells) if number not in gone]
        self.notes = {
            (r - sum(number < r for number in gone), c): note
            for (r, c), note in self.notes.items()
            if r not in gone
        }
        self._tidy()

    def transposed(self) -> "Table":
        """Rows as columns; merged ranges are dissolved."""
        cells = [list(column) for column in zip(*self.trimmed(), strict=True)]
        return Table(cells, {(c, r): note for (r, c), note in self.notes.items()})

    def sort(self, column: int, descending: bool) -> None:
        """Sorts all rows but the first by a column; empty cells last, equal ones in the order they had.

        Notes move with their row; merged ranges are dissolved.
        """
        order = list(range(1, len(self.cells)))
        empty = [number for number in order if self.get(number, column) == ""]
        filled = [number for number in order if self.get(number, column) != ""]
        filled.sort(key=lambda number: _rank(self.get(number, column)), reverse=descending)
        places = [0, *filled, *empty] if self.cells else []
        moved = {old: new for new, old in enumerate(places)}
        self.cells = [self.cells[number] for number in places]
        self.notes = {(moved.get(r, r), c): note for (r, c), note in self.notes.items()}
        self.merged = []

    def trimmed(self) -> list[list[Value]]:
        """The cells without empty rows below and empty columns to the right."""
        height = max(
            (r + 1 for r, row in enumerate(self.cells) if any(value != "" for value in row)), default=0
        )
        width = max(
            (c + 1 for row in self.cells for c, value in enumerate(row) if value != ""),
            default=0,
        )
        return [[self.get(r, c) for c in range(width)] for r in range(height)]

    def _tidy(self) -> None:
        width = max((len(row) for row in self.cells), default=0)
        for row in self.cells:
            row.extend([""] * (width - len(row)))
        self.merged = []


def _rank(value: Value) -> tuple[int, float, str]:
    """Numbers before texts, texts ignoring case."""
    return (0, value, "") if isinstance(value, float) else (1, 0.0, value.casefold())

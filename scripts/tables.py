"""Files written whole or not at all, and tables of JSON lines: read whole, and cut where a run is taken up."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

EVALUATIONS = ("metrics", "validation")
"""Tables with rows of evaluations."""


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def lines(rows: Iterable[Any]) -> str:
    """Rows (mappings or dataclasses) as JSON lines."""
    return "".join(json.dumps(plain(row), ensure_ascii=False) + "\n" for row in rows)


def plain(value: Any) -> Any:
    """A record as JSON takes it."""
    if is_dataclass(value) and not isinstance(value, type):
        return {name: plain(item) for name, item in asdict(value).items()}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def whole_lines(table: Path) -> list[str]:
    """The lines of a JSON-lines table, a torn last one left out.

    `splitlines` would also cut at U+2028 and others, which may stand in a JSON text as they are. A letter may be
    torn, too.
    """
    text = table.read_text(encoding="utf-8", errors="replace")
    return [line + "\n" for line in text.split("\n")[:-1]]


def whole_row(line: bytes) -> dict[str, Any] | None:
    """The row of a table's line; None if the line is torn. A letter may be torn, too."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if line.endswith(b"\n") and isinstance(row, dict) else None


def cut_table(table: Path, behind: Callable[[Mapping[str, Any]], bool]) -> list[dict[str, Any]]:
    """Drop torn lines and the rows that are behind, and return these rows.

    They stand at the end, as rows are in the order of steps, so that a table is cut there and not written anew: it may
    be larger than memory.
    """
    kept, dropped = [], []
    cut: int | None = None
    with table.open("r+b") as file:
        end = 0
        for line in file:
            row = whole_row(line)
            if row is None or behind(row):
                cut = end if cut is None else cut
                dropped += [] if row is None else [row]
            elif cut is not None:
                kept.append(line)
            end += len(line)
        if cut is None:
            return []
        if not kept:
            file.truncate(cut)
            return dropped
        file.seek(0)
        first = file.read(cut)
    write_text(table, (first + b"".join(kept)).decode())
    return dropped


def is_behind(row: Mapping[str, Any], *, step: int, evaluated_again: bool) -> bool:
    """Whether a row is of a later step than this, or of this step's evaluation where that is made again."""
    at = row.get("step", 0)
    return at > step or (evaluated_again and at == step and has_evaluation(row))


def has_evaluation(row: Mapping[str, Any]) -> bool:
    """Whether a row of `metrics`, of a trainer's log, or of `validation`, which has no others, is an evaluation's."""
    return "id" in row or any(name.startswith(("eval/", "eval_")) for name in row)


def was_evaluated(step: int, log_history: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a trainer's log holds an evaluation of the step."""
    return any(row.get("step") == step and has_evaluation(row) for row in log_history)

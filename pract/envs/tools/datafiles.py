"""Data folders and files of environments: what is missing or torn is refused in one line."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pract.errors import InputError
from pract.types import SPLITS, Task

Row = TypeVar("Row")

PACKAGE_DATA = Path(__file__).parent.parent / "data"
"""Small made-up data of our own, under the repository's licence."""


def data_file(folder: str | Path, name: str) -> Path:
    """The file of that name in the folder. Raises InputError if either is missing."""
    path = Path(folder).expanduser() / name
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: no such folder; set env.data to the folder that holds {name}")
    if not path.is_file():
        raise InputError(f"{path}: no such file; set env.data to a folder that holds {name}")
    return path


def read_text(path: Path) -> str:
    """The file's text. Raises InputError if it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}; fetch the file again") from None


def read_json(path: Path) -> Any:
    """The JSON value in the file. Raises InputError with the line if it is cut off or malformed."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}, line {error.lineno}: not JSON ({error.msg}), perhaps cut off; fetch the file again"
        ) from None


def read_jsonl(path: Path, fields: Mapping[str, type | tuple[type, ...]]) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file, each with the given fields. Raises InputError naming the line."""
    rows: list[dict[str, Any]] = []
    # not splitlines(): JSON may hold U+2028 and its like as they are
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path}, line {number}: not JSON ({error.msg}), perhaps cut off; fetch the file again"
            ) from None
        check_fields(row, fields, f"{path}, line {number}")
        rows.append(row)
    if not rows:
        raise InputError(f"{path}: no rows; fetch the file again")
    return rows


def check_fields(row: Any, fields: Mapping[str, type | tuple[type, ...]], place: str) -> None:
    """Raises InputError if the row is no object or a field is missing or of another type."""
    if not isinstance(row, dict):
        raise InputError(f"{place}: expected an object, found {type(row).__name__}")
    for name, kind in fields.items():
        if name not in row:
            raise InputError(f"{place}: field {name!r} is missing")
        if not isinstance(row[name], kind):
            raise InputError(f"{place}: field {name!r} is {type(row[name]).__name__}, not what it should be")


def digest(*parts: str | bytes | Path) -> str:
    """Sixteen hexadecimal digits of the SHA-256 over texts and file contents, in order."""
    total = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else part
        content = content.encode() if isinstance(content, str) else content
        total.update(len(content).to_bytes(8, "big") + content)
    return total.hexdigest()[:16]


def carve(
    rows: Sequence[Row], key: Callable[[Row], str], shares: tuple[int, int, int] = (2, 1, 1)
) -> dict[str, list[Row]]:
    """Rows by split; rows of equal key stay together.

    Keys are ordered by their SHA-256 and cut by the shares (train : validation : test), so the split depends
    on the keys alone: not on the order of the file, a seed or the Python version.
    """
    keys = sorted({key(row) for row in rows}, key=lambda text: hashlib.sha256(text.encode()).digest())
    total, ends = sum(shares), [0, 0]
    ends = [len(keys) * shares[0] // total, len(keys) * (shares[0] + shares[1]) // total]
    split_of = {
        text: SPLITS[0] if rank < ends[0] else SPLITS[1] if rank < ends[1] else SPLITS[2]
        for rank, text in enumerate(keys)
    }
    carved: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for row in rows:
        carved[split_of[key(row)]].append(row)
    return carved


def tasks_of(splits: Mapping[str, Sequence[Task]], split: str, environment: str) -> Sequence[Task]:
    """The tasks of a split. Raises InputError if the environment has no such split or it is empty."""
    if split not in splits:
        raise InputError(f"environment {environment!r} has no split {split!r}; it has {', '.join(splits)}")
    if not splits[split]:
        raise InputError(
            f"environment {environment!r}: split {split!r} is empty; its data holds too few tasks"
        )
    return splits[split]

"""Rows of a dataset with the place each came from: JSON lines, parquet, or the Hugging Face hub."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latro.errors import InputError

SUFFIXES = (".jsonl", ".parquet")
PROBE_SECONDS = 6.0
"""How long the hub may stay silent before the local cache is read instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row as the dataset has it."""

    values: Mapping[str, Any]
    index: int
    """Position among the rows of its split, from 0. It does not change when the file is cut short."""
    place: str
    """For messages: `data/train.jsonl, line 17`. Lines and rows count from 1."""

    def is_empty(self, column: str) -> bool:
        """Whether there is such a column, and nothing in its cell."""
        if column not in self.values:
            return False
        value = self.values[column]
        return value is None or value != value or (isinstance(value, str) and not value.strip())

    def value(self, column: str) -> Any:
        """The cell under `column`. Raises InputError if there is none, or nothing in it."""
        if column not in self.values:
            there = ", ".join(map(str, self.values)) or "none"
            raise InputError(f"{self.place}: no column {column!r} (there: {there}); name another or add it")
        if self.is_empty(column):
            raise InputError(f"{self.place}: column {column!r} is empty; fill it in or delete the row")
        return self.values[column]

    def text(self, column: str) -> str:
        """The cell under `column`, a text or a number, as text without outer white space.

        Raises InputError if the cell is missing or empty, or holds anything else.
        """
        value = self.value(column)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise InputError(f"{self.place}: column {column!r} holds {value!r:.60}; it must hold a text")
        return str(value).strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where rows come from: a folder or a single file if `path` is set, else a dataset of the hub."""

    path: str | None
    hub: str | None = None
    hub_config: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    """File names by split, relative to `path`, where they are not `train.jsonl` and so on."""

    def __post_init__(self) -> None:
        if self.path is None and self.hub is None:
            raise InputError("task.path and task.hub are both empty; set task.path=FOLDER or a hub id")

    def has(self, split: str) -> bool:
        """Whether the source itself has this split. Raises InputError if the source cannot be reached."""
        if self.path is None:
            return split in self._hub_splits()
        return self._file(split) is not None

    def rows(self, split: str) -> list[Row]:
        """All rows of the split, in order. Raises InputError for anything missing or broken."""
        if self.path is None:
            return self._hub_rows(split)
        file = self._file(split)
        if file is None:
            names = " or ".join(f"{split}{suffix}" for suffix in SUFFIXES)
            raise InputError(f"no {names} in {self.path!r}; add the file or set task.path to another folder")
        rows = read_rows(file)
        if not rows:
            raise InputError(f"{file} holds no rows; fill it or set task.path to another folder")
        return rows

    def _file(self, split: str) -> Path | None:
        folder = Path(str(self.path)).expanduser()
        if not folder.exists():
            names = "train.jsonl, validation.jsonl, test.jsonl (or .parquet)"
            raise InputError(f"task.path={self.path!r} does not exist; name a folder that holds {names}")
        if folder.is_file():
            return folder if split == "train" else None
        if split in self.files:
            return folder / self.files[split]
        for suffix in SUFFIXES:
            file = folder / f"{split}{suffix}"
            if file.is_file():
                return file
        return None

    def _hub_splits(self) -> list[str]:
        import datasets

        with _HubTrouble(self):
            # Loading is asked for, not the list of splits, because it also works from the local cache.
            return list(datasets.load_dataset(self.hub, self.hub_config))

    def _hub_rows(self, split: str) -> list[Row]:
        import datasets

        name = f"{self.hub} ({self.hub_config})" if self.hub_config else str(self.hub)
        with _HubTrouble(self):
            table = datasets.load_dataset(self.hub, self.hub_config, split=split)
        return [
            Row(values=values, index=index, place=f"{name} {split}, row {index + 1}")
            for index, values in enumerate(table)
        ]


def read_rows(file: Path) -> list[Row]:
    """All rows of a .jsonl or .parquet file. Raises InputError with file and line for what cannot be read."""
    if file.suffix not in SUFFIXES:
        raise InputError(f"{file}: cannot read {file.suffix or 'this kind of'} files; use .jsonl or .parquet")
    if not file.is_file():
        raise InputError(f"{file} does not exist; check task.path and task.files")
    return list(_parquet_rows(file) if file.suffix == ".parquet" else _json_rows(file))


def _json_rows(file: Path) -> Iterator[Row]:
    index = 0
    with file.open("rb") as lines:
        for number, raw in enumerate(lines, start=1):
            place = f"{file}, line {number}"
            if not raw.strip():
                continue
            try:
                values = json.loads(raw.decode("utf-8-sig" if number == 1 else "utf-8"))
            except UnicodeDecodeError as error:
                raise InputError(f"{place}: not UTF-8 ({error.reason}); save the file as UTF-8") from error
            except RecursionError as error:
                raise InputError(f"{place}: JSON nested too deep; repair or delete the line") from error
            except json.JSONDecodeError as error:
                reason = f"{error.msg}, column {error.colno}"
                raise InputError(f"{place}: broken JSON ({reason}); repair or delete the line") from error
            if not isinstance(values, dict):
                kind = type(values).__name__
                raise InputError(f"{place}: a JSON {kind}, not an object; write one {{...}} per line")
            yield Row(values=values, index=index, place=place)
            index += 1


def _parquet_rows(file: Path) -> Iterator[Row]:
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    try:
        table = pyarrow.parquet.read_table(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{file}: unreadable parquet ({_one_line(error)}); write the file anew") from error
    for index, values in enumerate(table.to_pylist()):
        yield Row(values=values, index=index, place=f"{file}, row {index + 1}")


class _HubTrouble:
    """Turns what `datasets` raises when a dataset cannot be had into one InputError."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def __enter__(self) -> None:
        """Ask the hub once, briefly; if it is silent, only the local cache is read, for the library would retry."""
        import datasets
        import huggingface_hub

        self.offline = huggingface_hub.constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
        if not any(self.offline) and not hub_answers(str(self.source.hub)):
            huggingface_hub.constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        import datasets
        import huggingface_hub
        from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

        huggingface_hub.constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = self.offline
        if isinstance(error, OSError | ValueError | RuntimeError | HTTPError):
            name = f"{self.source.hub!r}"
            if self.source.hub_config:
                name += f" ({self.source.hub_config})"
            message = f"cannot load {name} from the hub ({_one_line(error)}); "
            raise InputError(message + "check the id and the network, or set task.path=FOLDER") from error


def hub_answers(dataset: str) -> bool:
    """Whether the hub says anything about a dataset within seconds, be it that there is none."""
    from huggingface_hub import HfApi

    # HTTPError is that of whichever HTTP library the client is built on.
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError  # type: ignore[attr-defined]

    try:
        HfApi().dataset_info(dataset, timeout=PROBE_SECONDS)
    except (HfHubHTTPError, HFValidationError):
        return True  # the library says what is wrong, in words of its own
    except (HTTPError, OSError):
        return False
    return True


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:197] + "..."

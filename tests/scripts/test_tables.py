"""Rows of tables and where they are cut; a write that fails."""

from pathlib import Path
from typing import Any

import pytest

from scripts.tables import cut_table, whole_row, write_text


@pytest.mark.parametrize(
    ("line", "row"),
    [
        (b'{"step": 2}\n', {"step": 2}),
        (b'{"step": 1}', None),
        (b"{\n", None),
        (b"3\n", None),
        ('{"id": "\u00d7"}\n'.encode(), {"id": "\u00d7"}),
        ('"\u00d7'.encode()[:-1] + b"\n", None),
    ],
)
def test_a_row_is_a_whole_line_with_an_object(line: bytes, row: dict[str, object] | None) -> None:
    assert whole_row(line) == row


def test_a_table_is_cut_where_rows_are_behind_and_a_torn_line_amid_it_goes_alone(tmp_path: Path) -> None:
    table = tmp_path / "metrics.jsonl"
    table.write_bytes(b'{"step": 1}\n{"to\n{"step": 2}\n{"step": 3}\n{"st')
    assert cut_table(table, lambda row: row["step"] > 2) == [{"step": 3}]
    assert table.read_bytes() == b'{"step": 1}\n{"step": 2}\n'
    assert cut_table(table, lambda row: row["step"] > 1) == [{"step": 2}]
    assert cut_table(table, lambda row: row["step"] > 1) == []
    assert table.read_bytes() == b'{"step": 1}\n'


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "results.json"
    write_text(target, "old")

    def full(self: Path, *args: Any, **kwargs: Any) -> int:
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(target, "new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]

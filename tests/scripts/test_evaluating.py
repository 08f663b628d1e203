"""An evaluation taken up again, and what it refuses; no model."""

import json
from pathlib import Path

from latro.evaluation import Item
from latro.types import Graded
from scripts.evaluating import read_items, rewrite


def item(id: str, output: str) -> Item:
    return Item(
        id=id,
        prompt="What is 1 + 1?",
        gold="2",
        output=output,
        finished=True,
        tokens=3,
        greedy={"final_number": Graded(extracted="2", correct=True)},
    )


def test_items_are_read_back_whatever_line_ends_their_texts_hold(tmp_path: Path) -> None:
    table = tmp_path / "items.jsonl"
    items = {"a": item("a", "1\u2028+\u20291\x85is\x0c2\r\n"), "b": item("b", "2")}
    rewrite(table, items)
    with table.open("a") as file:
        file.write(json.dumps({"id": "c"})[:-1])
    assert read_items(table) == [items["a"], items["b"]]

"""The tables of docs/scaling.md against the planner that is said to have computed them; no model, no GPU."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from latro.fused_head import GPU_CHUNK
from latro.hardware import hardware_given
from latro.planning import ModelSizes, Work, decode_bytes, flop_parts, time_parts
from latro.scaling import Links, gather_seconds, gathers
from scripts.scaling import COLUMNS, cells, shares

PAGE = (Path(__file__).parents[1] / "docs/scaling.md").read_text(encoding="utf-8")
LLAMA = ModelSizes(
    hidden=4096, layers=32, intermediate=14336, query=4096, key=1024, heads=32, vocabulary=128256, tied=False
)
WORK = Work(
    prompts=1, micro_batches=3, K=16, prompt=96, rationale=500, answer=5, weight_bytes=2, reference_bytes=2,
    batch_rows=48, checkpointing=True, head_chunk=GPU_CHUNK,
)  # fmt: skip
H100 = hardware_given("H100")
DEVICES = [1, 2, 4, 8, 16, 32, 64]


@pytest.mark.parametrize(
    ("label", "sharding", "prompts"),
    [("zero3", "zero3", None), ("zero3, 24 prompts", "zero3", 24), ("fsdp2", "fsdp2", None)],
)
def test_tables_are_what_the_planner_computes(label: str, sharding: str, prompts: int | None) -> None:
    table = re.search(rf"<!-- computed: {label} -->\n((?:\|.*\n)+)", PAGE)
    assert table is not None
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in table[1].splitlines()]
    computed = shares(LLAMA, H100, WORK, 283, DEVICES, sharding, prompts=prompts)
    assert rows[0] == COLUMNS
    assert rows[2:] == [cells(row) for row in computed]


def test_counts_in_the_text_are_the_planners() -> None:
    flop = flop_parts(LLAMA, WORK)
    for what, value in (
        ("sampling", flop["decode"] + flop["prefill"]),
        ("the reference", flop["reference"]),
        ("the update", flop["update"]),
    ):
        assert re.search(rf"\| FLOP of {what} \|.*\| {value / 1e15:.2f} PFLOP \|", PAGE), what
    seconds = time_parts(LLAMA, WORK, H100)
    assert f"{seconds['update']:.1f}" == "4.3"
    assert f"{decode_bytes(LLAMA, WORK) / 1e12:.1f} TB" in PAGE
    assert 48 * (96 + 500 + 5) == 28848
    assert f"{gather_seconds(16e9, 8, Links()) * 1e3:.0f} ms in a node" in PAGE
    assert f"and {gather_seconds(16e9, 64, Links()) * 1e3:.0f} ms over eight nodes" in PAGE


def test_what_breaks_breaks_where_the_page_says() -> None:
    slow = shares(LLAMA, H100, WORK, 283, [16, 64], "fsdp2", links=Links(between=50e9))
    assert [f"{row.step:.0f}" for row in slow] == ["90", "150"]
    update = gathers(LLAMA, WORK, "zero3")[1]
    seconds = [gather_seconds(update, 64, Links(between=rate)) for rate in (50e9, 12.5e9)]
    assert [f"{value:.1f}" for value in seconds] == ["3.4", "13.5"]
    assert seconds[0] < time_parts(LLAMA, WORK, H100)["update"] < seconds[1]
    adapters = shares(LLAMA, H100, replace(WORK, lora_rank=16, reference_bytes=0), 283, [64], "none")[0]
    assert (f"{adapters.memory / 2**30:.0f}", f"{adapters.moved / 1e9:.1f}") == ("22", "0.3")

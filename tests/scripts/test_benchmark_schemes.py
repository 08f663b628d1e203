"""Which schemes a benchmark runs, and whom its bars are about."""

import os
from typing import Any

import pytest

from latro.errors import InputError
from scripts import benchmark_schemes
from scripts.benchmark_models import BenchSource
from scripts.benchmark_schemes import COPIES, NAMES, alternating_runs, chosen, copies_pay, held_to_bars

ONE_LESS = ("published", "ours", COPIES)


def test_schemes_are_those_named_in_their_order() -> None:
    assert chosen(NAMES, None) == ["published", "stock RLOO", "ours", COPIES]
    assert chosen(NAMES, ["ours", "published"]) == ["published", "ours"]
    assert chosen(NAMES, [COPIES, "published"]) == ["published", COPIES]


def test_a_scheme_that_only_another_part_has_is_passed_over() -> None:
    assert chosen(ONE_LESS, ["published", "stock RLOO", "ours"]) == ["published", "ours"]
    assert chosen(NAMES, ["stock RLOO", "ours"]) == ["stock RLOO", "ours"]
    with pytest.raises(InputError, match="name one of each"):
        chosen(ONE_LESS, ["stock RLOO", "ours"])


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["ours", "trl"], r"schemes=\['ours', 'trl'\]: 'trl' is none of 'published', 'stock RLOO', 'ours'"),
        (["ours"], r"schemes=\['ours'\]: ratios are of another scheme and of ours; name one of each"),
        (["published", "stock RLOO"], r"ratios are of another scheme and of ours; name one of each"),
        (["published", COPIES], r"'ours, bfloat16 copies' takes size=full, dtype=float32 and a device that"),
    ],
)
def test_what_cannot_be_compared_is_refused(names: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        chosen(("published", "stock RLOO", "ours"), names)


@pytest.mark.parametrize("fast", [True, False])
def test_copies_are_of_a_real_float32_model_on_a_machine_fast_in_bfloat16(
    fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark_schemes, "processor_is_fast", lambda: fast)
    monkeypatch.setattr(benchmark_schemes, "bfloat16_is_fast", lambda: not fast)
    assert copies_pay(True, "float32", "cpu") is fast
    assert copies_pay(True, "float32", "cuda") is not fast
    assert not copies_pay(True, "bfloat16", "cpu")
    assert not copies_pay(False, "float32", "cpu")


def test_bars_are_held_against_copies_where_these_were_measured() -> None:
    assert held_to_bars(["published", "ours", COPIES]) == COPIES
    assert held_to_bars(["published", "ours"]) == "ours"


class Source(BenchSource):
    """Says how often it was read in this process."""

    read = 0

    def bench(self) -> Any:
        Source.read += 1
        return Source.read


RAN: list[tuple[str, int]] = []
"""What was run in this process."""


def published(bench: Any, size: str, seed: int) -> tuple[int, int, list[tuple[str, int]]]:
    RAN.append((size, seed))
    return os.getpid(), bench, RAN


def ours(bench: Any, size: str, seed: int) -> tuple[int, int, list[tuple[str, int]]]:
    return published(bench, "our " + size, seed)


def runs(*, real: bool) -> tuple[dict[str, list[Any]], list[str]]:
    source = Source(real=real, prompts=1, model_path=None, data_path=None, dtype="float32", device="cpu")
    said: list[str] = []
    found = alternating_runs(
        {"published": published, "ours": ours}, source, ("few", "all"), "a size", 2, 7, said.append
    )
    return found, [line.partition(":")[0] for line in said]


def test_each_run_of_a_real_model_has_a_process_of_its_own_and_a_short_run_before() -> None:
    found, said = runs(real=True)
    assert said == ["a size, published", "a size, ours"] * 2
    processes = {process for each in found.values() for process, _, _ in each}
    assert len(processes - {os.getpid()}) == 4
    assert [ran for _, _, ran in found["ours"]] == [
        [("our few", 7), ("our all", 7)],
        [("our few", 8), ("our all", 8)],
    ]
    assert {bench for each in found.values() for _, bench, _ in each} == {1}


def test_a_made_up_model_is_made_once_and_runs_in_this_process() -> None:
    RAN.clear()
    found, _ = runs(real=False)
    assert {process for each in found.values() for process, _, _ in each} == {os.getpid()}
    assert len({bench for each in found.values() for _, bench, _ in each}) == 1
    assert RAN == [
        ("few", 7), ("our few", 7), ("all", 7), ("our all", 7), ("all", 8), ("our all", 8),
    ]  # fmt: skip

"""Which schemes a benchmark runs, and whom its bars are about."""

import pytest

from latro.errors import InputError
from scripts import benchmark_schemes
from scripts.benchmark_schemes import COPIES, NAMES, chosen, copies_pay, held_to_bars

ROLLOUT = ("published", "ours", COPIES)


def test_schemes_are_those_named_in_their_order() -> None:
    assert chosen(NAMES, None) == ["published", "stock RLOO", "ours", COPIES]
    assert chosen(NAMES, ["ours", "published"]) == ["published", "ours"]
    assert chosen(NAMES, [COPIES, "published"]) == ["published", COPIES]


def test_a_scheme_that_only_another_part_has_is_passed_over() -> None:
    assert chosen(ROLLOUT, ["published", "stock RLOO", "ours"]) == ["published", "ours"]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["ours", "trl"], r"schemes=\['ours', 'trl'\]: 'trl' is none of 'published', 'stock RLOO', 'ours'"),
        (["ours"], r"schemes=\['ours'\]: ratios are of 'published' and of ours; name both"),
        (["published", "stock RLOO"], r"ratios are of 'published' and of ours; name both"),
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

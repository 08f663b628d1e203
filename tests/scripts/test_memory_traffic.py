"""Bytes on paper, against sums done by hand. Without these, a share of the bandwidth could be any number."""

from dataclasses import replace

import pytest

from latro.planning import ModelSizes, Work
from scripts.memory_traffic import (
    columns_before,
    decoding_traffic,
    optimizer_traffic,
    update_traffic,
)

MODEL = ModelSizes(
    hidden=2, layers=1, intermediate=3, query=2, key=1, heads=1, vocabulary=5, tied=True
)  # 46 weights: 34 of the layer, 2 of the last norm, 10 of the embedding
WORK = Work(prompts=1, micro_batches=1, K=2, prompt=1, rationale=2, answer=1)
KEPT, KEPT_WITHOUT_ANSWER = (33 + 4) * 8 * 4, (33 + 4) * 6 * 4
"""Bytes that autograd keeps: 33 numbers of the layer and 4 of its ends, of two rows of four tokens, or of three."""


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        # Of a row, logits of 3 + 3 + 4 positions pass three times, and of 3 + 4 six times: 72.
        ("published", 9 * 184 + 2 * (KEPT + KEPT_WITHOUT_ANSWER) + 2 * 72 * 5 * 4),
        ("stock RLOO", 5 * 184 + 2 * KEPT_WITHOUT_ANSWER),
        ("ours", 184 + 3 * 184 + 2 * KEPT),
    ],
)
def test_an_update_moves_weights_what_autograd_keeps_and_whole_logits(scheme: str, expected: int) -> None:
    assert update_traffic(MODEL, WORK, scheme) == expected


def test_logits_that_a_fused_head_keeps_are_counted_as_far_as_it_keeps_them() -> None:
    plain = update_traffic(MODEL, WORK, "ours")
    assert update_traffic(MODEL, replace(WORK, head_memory=60 / 2**30), "ours") - plain == 4 * 60
    assert update_traffic(MODEL, replace(WORK, head_memory=1.0), "ours") - plain == 4 * 2 * 3 * 5 * 4


def test_a_row_at_a_time_reads_the_weights_for_each_and_once_more() -> None:
    assert update_traffic(MODEL, replace(WORK, rows=1), "ours, two passes") == 184 + 8 * 184 + 2 * KEPT


def test_a_reference_in_low_precision_is_half_as_much_to_read() -> None:
    low = update_traffic(MODEL, replace(WORK, reference_bytes=2), "ours, bfloat16 copies")
    assert update_traffic(MODEL, WORK, "ours") - low == 92


def test_decoding_reads_the_weights_a_call_and_the_columns_before_each_token() -> None:
    assert columns_before([1, 2, 4]) == 0 + 1 + 6
    assert decoding_traffic(100.0, 8.0, forwards=3, columns=7, tokens=4, prompt=2.5) == 3 * 100 + 8 * (7 + 10)


def test_the_optimizer_touches_each_weight_seven_times() -> None:
    assert optimizer_traffic(MODEL, WORK) == 7 * 184

"""Products by oneDNN: what is added up in one sum, which shapes oneDNN meets, and that padding changes nothing."""

import ctypes

import pytest
import torch
from torch import Tensor

from latro import fused_head, head_products, onednn
from latro.head_products import add_weights, write_hidden, write_logits
from latro.onednn import (
    BLOCK,
    COLUMNS,
    GRAIN,
    close_gaps,
    filled_up,
    grain,
    multiplied,
    plain,
    product,
    sums,
    weight_gradient,
)
from scripts.measuring import resident

CLOSE = 1e-6
"""Largest relative difference: float32's rounding of sums in another order."""


def apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / one.norm())


@pytest.mark.parametrize("R", [1, 13, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + GRAIN + 7])
@pytest.mark.parametrize("longest", [32, 112])
def test_a_product_is_torchs_but_for_rounding(R: int, longest: int) -> None:
    torch.manual_seed(R)
    input, weight, bias = torch.randn(R, 100), torch.randn(40, 100), torch.randn(40)
    found = product(input, weight, bias, longest)
    assert found.shape == (R, 40)
    assert apart(input @ weight.T + bias, found) < CLOSE
    turned = product(input[:, :40], weight.T, longest_sum=longest)
    assert apart(input[:, :40] @ weight, turned) < CLOSE


@pytest.mark.parametrize("R", [1, GRAIN, BLOCK + 3])
def test_a_weights_gradient_adds_up_all_rows(R: int) -> None:
    torch.manual_seed(R)
    grad, input = torch.randn(R, 40), torch.randn(R, 100)
    assert apart(grad.T @ input, weight_gradient(grad, input)) < CLOSE


@pytest.mark.parametrize("R", [3, BLOCK])
def test_a_wide_weight_is_taken_in_parts(R: int) -> None:
    torch.manual_seed(R)
    input, weight, bias = torch.randn(R, 20), torch.randn(COLUMNS + 5, 20), torch.randn(COLUMNS + 5)
    assert apart(input @ weight.T + bias, product(input, weight, bias)) < CLOSE
    assert apart(input @ weight.T, product(input, weight.T.contiguous().T)) < CLOSE


def test_rows_of_many_dimensions_keep_them() -> None:
    input, weight = torch.randn(2, 3, 5, 16), torch.randn(4, 16)
    assert product(input, weight).shape == (2, 3, 5, 4)
    assert apart(input @ weight.T, product(input, weight)) < CLOSE


def test_sums_are_of_like_length() -> None:
    assert sums(100, 128) == [slice(0, 100)]
    assert sums(256, 128) == [slice(0, 128), slice(128, 256)]
    assert sums(300, 128) == [slice(0, 112), slice(112, 224), slice(224, 300)]
    assert [part.stop - part.start for part in sums(576, 128)] == [128, 128, 128, 128, 64]


def test_short_sums_round_less_than_one_long_one() -> None:
    torch.manual_seed(0)
    input, weight = torch.randn(BLOCK, 1536), torch.randn(200, 1536)
    exact = input.double() @ weight.double().T
    assert apart(exact, product(input, weight)) < 0.6 * apart(exact, multiplied(input, weight))
    assert torch.equal(product(input[1:], weight), multiplied(filled_up(input[1:], 64), weight)[:-1])


def test_rows_are_filled_up_with_zeros_to_one_of_four_numbers_an_octave() -> None:
    reached = [R + -R % grain(R) for R in (1, 5, 7, 8, 9, 11, 16, 17, 33, 64, 65, 100, 129, 511)]
    assert reached == [1, 5, 7, 8, 10, 12, 16, 20, 40, 64, 80, 112, 160, 512]
    rows = torch.ones(3, 2)
    assert torch.equal(filled_up(rows, 4), torch.tensor([[1.0, 1.0]] * 3 + [[0.0, 0.0]]))
    assert filled_up(rows, 3) is rows


def test_onednn_meets_few_shapes_however_many_rows_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps a kernel for every one: a run with ever new numbers of rows would grow by a gigabyte."""
    met: set[tuple[object, ...]] = set()

    def watched(
        left: Tensor, right: Tensor, bias: Tensor | None = None, onto: Tensor | None = None
    ) -> Tensor:
        met.add((left.shape, right.shape, onto is None))
        return multiplied(left, right, bias, onto)

    monkeypatch.setattr(onednn, "multiplied", watched)
    monkeypatch.setattr(head_products, "multiplied", watched)
    weight = torch.randn(24, 256)
    for R in range(1, 1600):
        product(torch.zeros(R, 256), weight)
    # 1 to 8 and four an octave up to 512, and two sums of what a block may be filled up to.
    assert len(met) == 8 + 4 * 6 + 2 * BLOCK // GRAIN
    met.clear()
    for R in range(1, 1600, 7):
        weight_gradient(torch.zeros(R, 24), torch.zeros(R, 256))
    assert len(met) == BLOCK // GRAIN
    met.clear()
    for R in range(1, 1600, 7):
        hidden, logits = torch.zeros(R, 256), torch.zeros(R, 24)
        write_logits(hidden, weight, logits, onednn=True)
        write_hidden(logits, weight, hidden, onednn=True)
        add_weights(weight, logits, hidden, onednn=True)
    assert len(met) == 3 * BLOCK // GRAIN


def test_gaps_are_closed_where_a_head_learns_by_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only there: it costs time."""
    closed: list[int] = []
    monkeypatch.setattr(fused_head, "close_gaps", lambda ahead: closed.append(ahead))
    hidden, weight = torch.randn(3, 8, requires_grad=True), torch.nn.Parameter(torch.randn(20, 8))
    given = (torch.tensor([1, 2, 3]), torch.ones(3), 0.0)
    plainly = fused_head.head_logprob(hidden, weight, *given)
    assert closed == []
    found = fused_head.head_logprob(hidden, weight, *given, onednn=True)
    assert closed == [fused_head.CHUNK + 20 * 8 * 4]
    assert apart(plainly.detach(), found.detach()) < CLOSE
    with torch.no_grad():
        fused_head.head_logprob(hidden, weight, *given, onednn=True)
    assert len(closed) == 1


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="close_gaps does nothing without glibc"
)
def test_memory_that_was_freed_goes_back_to_the_system() -> None:
    """glibc keeps what lies below something that is still held; it may, as long as the process has held more."""
    torch.ones(2**26).sum()  # 256 MB, of which nothing stays
    buffers = [torch.ones(2**14) for _ in range(1000)]  # 64 kB each: of the heap
    held = buffers[::20]
    buffers.clear()
    before = resident("VmRSS")
    close_gaps(0)
    assert before - resident("VmRSS") < 10  # MB
    close_gaps(2**30)
    assert before - resident("VmRSS") > 40
    assert all(torch.equal(each, torch.ones(2**14)) for each in held)


def test_other_strides_than_a_matrixs_own_are_copied() -> None:
    """They took a hundred times as long."""
    wide, left = torch.randn(300, 600), torch.randn(5, 200)
    for right in (wide[:, 100:300], wide[:200, :300].T):
        assert plain(right).is_contiguous()
        assert apart(left @ right.T, multiplied(left, right)) < CLOSE
    for right in (wide, wide.T):
        assert plain(right) is right

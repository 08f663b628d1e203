"""A head's three products, by torch and by oneDNN: written in place, and the same but for rounding."""

import pytest
import torch
from torch import Tensor

from latro.head_products import COLUMNS, add_weights, write_hidden, write_logits

CLOSE = 1e-6
V = COLUMNS + 5


def apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / one.norm())


@pytest.mark.parametrize("by_onednn", [False, True])
def test_products_are_written_where_they_belong(by_onednn: bool) -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(3, 64), torch.randn(V, 64)
    place = torch.full((4, V), 7.0)
    assert write_logits(hidden, weight, place[:3], onednn=by_onednn).data_ptr() == place.data_ptr()
    logits = hidden @ weight.T
    assert apart(logits, place[:3]) < CLOSE
    assert torch.equal(place[3], torch.full((V,), 7.0))

    back = torch.full((4, 64), 7.0)
    assert write_hidden(logits, weight, back[:3], onednn=by_onednn).data_ptr() == back.data_ptr()
    assert apart(logits.double() @ weight.double(), back[:3]) < CLOSE
    assert torch.equal(back[3], torch.full((64,), 7.0))


@pytest.mark.parametrize("by_onednn", [False, True])
def test_a_weights_gradient_is_added_to_what_is_there(by_onednn: bool) -> None:
    torch.manual_seed(0)
    logits, hidden, total = torch.randn(70, V), torch.randn(70, 64), torch.randn(V, 64)
    expected = total + logits.T @ hidden
    add_weights(total, logits, hidden, onednn=by_onednn)
    assert apart(expected, total) < CLOSE


def test_a_wider_total_takes_a_narrower_gradient() -> None:
    total = torch.zeros(4, 2)
    add_weights(
        total, torch.ones(3, 4, dtype=torch.bfloat16), torch.ones(3, 2, dtype=torch.bfloat16), onednn=False
    )
    assert torch.equal(total, torch.full((4, 2), 3.0))

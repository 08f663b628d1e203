"""Blocks instead of one long cumulative sum. Without these, a shortcut could draw another token."""

import math

import pytest
import torch
from torch import Tensor

from latro.errors import InputError
from latro.rollout.drawing import BLOCK, draw


def plain_draw(logits_BV: Tensor, uniform_B: Tensor, temperature: float) -> Tensor:
    """The definition: one cumulative sum over the vocabulary, in double precision."""
    cumulative_BV = (logits_BV / temperature).softmax(-1).double().cumsum(-1)
    total_B = cumulative_BV[:, -1]
    threshold_B = torch.minimum(uniform_B * total_B, torch.nextafter(total_B, torch.zeros_like(total_B)))
    return torch.searchsorted(cumulative_BV, threshold_B[:, None], right=True)[:, 0]


@pytest.mark.parametrize("vocabulary", [5, BLOCK - 1, BLOCK, BLOCK + 1, 49_152, 50_257])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_blocks_draw_what_one_cumulative_sum_draws(vocabulary: int, temperature: float):
    generator = torch.Generator().manual_seed(vocabulary)
    logits = 4 * torch.randn(40, vocabulary, generator=generator)
    uniform = torch.rand(40, generator=generator, dtype=torch.float64)
    drawn, logprob = draw(logits, uniform, temperature)
    assert torch.equal(drawn, plain_draw(logits, uniform, temperature))
    expected = (logits / temperature).log_softmax(-1).gather(1, drawn[:, None])[:, 0]
    assert torch.allclose(logprob, expected.to(logprob.dtype), atol=1e-5)
    assert len(set(drawn.tolist())) > 3


def test_borders_of_blocks_belong_to_the_next_token_that_is_possible():
    logits = torch.full((1, 3 * BLOCK), -math.inf)
    logits[0, [0, 2 * BLOCK + 5]] = 0.0  # the middle block is impossible
    uniform = torch.tensor([0.0, 0.4999, 0.5, 0.9999, 1.0], dtype=torch.float64)
    assert draw(logits.expand(5, -1), uniform)[0].tolist() == [0, 0, *[2 * BLOCK + 5] * 3]


def test_a_rare_token_beside_a_likely_one_is_drawn_as_often_as_it_should_be():
    """In single precision 1 + 1e-9 is 1, of a block as of the whole."""
    logits = torch.full((1, 2 * BLOCK), -math.inf)
    logits[0, [0, 5, BLOCK + 7]] = torch.tensor([0.0, math.log(1e-9), math.log(1e-9)])
    uniform = torch.tensor([0.5, 1 - 2.1e-9, 1 - 1.9e-9, 1 - 1.1e-9, 1 - 0.9e-9, 1.0], dtype=torch.float64)
    assert draw(logits.expand(6, -1), uniform)[0].tolist() == [0, 0, 5, 5, BLOCK + 7, BLOCK + 7]


def test_scores_that_are_not_numbers_are_refused_in_one_line():
    logits = torch.zeros(2, 300)
    logits[1, 7] = math.nan
    with pytest.raises(InputError, match="the model's scores are not finite numbers: the weights have run"):
        draw(logits, torch.tensor([0.5, 0.5]))

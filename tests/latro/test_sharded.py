"""FSDP2 on two gloo processes: scores, gradients and draws are those of one process with whole weights."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from latro import products
from latro.encoding import Encoder, Rationale, RationaleBatch, join
from latro.likelihood import likelihood
from latro.products import choose_products
from latro.rollout.base import Request
from latro.rollout.continuous import ContinuousEngine
from latro.scored_tokens import ScoringConfig
from tests.latro.pairs import in_pair
from tests.latro.tiny_models import tiny_model, tiny_tokenizer

WAYS = (ScoringConfig(), ScoringConfig(share_prompt=True))


def group(prompt: int) -> RationaleBatch:
    """Two rationales of a prompt of its own."""
    rationales = [Rationale(ids=(5, 6, 7 + k), text="", ending=(9,)) for k in range(2)]
    return join([[3, 4 + prompt, 8]], rationales, [[10, 11]], 0)


def learned(model: Any, batches: list[RationaleBatch], scoring: ScoringConfig) -> dict[str, Tensor]:
    """The gradient of the mean log-likelihood of these batches' rationales and answers."""
    model.zero_grad()
    for batch in batches:
        scores = likelihood(model, batch, scoring=scoring)
        ((scores.rationale_B + scores.answer_BT.sum(-1)).mean() / len(batches)).backward()
    return {name: whole(p.grad) for name, p in model.named_parameters() if p.grad is not None}


def whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor.clone()


def drawn(model: Any) -> list[tuple[int, ...]]:
    """Continuations of two prompts of unlike lengths."""
    tokenizer = tiny_tokenizer("llama")
    encoder = Encoder(
        tokenizer=tokenizer, chat=False, stop_token_ids=(2,), end_of_answer_id=2, pad_token_id=0
    )
    request = Request(prompts=[[3, 4], [3, 5, 8]], seeds=[1, 2], max_tokens=6, markers=(), temperature=1.0)
    return [c.tokens for c in ContinuousEngine(2).continuations(model, encoder, request)]


def sharded(by: str, rank: int) -> tuple[float, list[dict[str, list]], list[tuple[int, ...]]]:
    """The share of the weights held here; gradients by each way of scoring, of a batch of one's own; draws."""
    mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (2,))
    model = tiny_model("llama", tiny_tokenizer("llama"))
    products.LEAST_WEIGHTS = 1  # in a process of this test's own
    choose_products(model, by)
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    share = sum(p.to_local().numel() for p in model.parameters()) / sum(p.numel() for p in model.parameters())
    gradients = [learned(model, [group(rank)], scoring) for scoring in WAYS]
    return share, [{n: g.tolist() for n, g in each.items()} for each in gradients], drawn(model)


@pytest.mark.parametrize("by", ["torch", "onednn"])
def test_two_processes_that_share_weights_learn_and_draw_as_one(by: str, tmp_path: Path) -> None:
    (share, gradients, tokens), _ = in_pair(partial(sharded, by), tmp_path)
    assert 0.45 < share < 0.55
    model = tiny_model("llama", tiny_tokenizer("llama"))
    for scoring, found in zip(WAYS, gradients, strict=True):
        expected = learned(model, [group(0), group(1)], scoring)
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(torch.tensor(found[name]), gradient, rtol=1e-4, atol=1e-6)
    assert tokens == drawn(model)

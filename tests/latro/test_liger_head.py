"""Liger's head against ours: the same log-probabilities and gradients, by Triton's interpreter where there is no GPU.

TRITON_INTERPRET=1 pytest tests/latro/test_liger_head.py
"""

import os

import pytest
import torch

from latro.errors import InputError
from latro.fused_head import head_logprob
from latro.liger_head import refuse_without_liger
from latro.scored_tokens import ScoringConfig


def test_where_its_kernels_cannot_run_it_is_refused(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match=r"its kernels run on a GPU, and this is a processor; leave it out"):
        refuse_without_liger("cpu")
    monkeypatch.setattr("latro.liger_head.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"Liger is not installed; pip install 'latro-pract\[liger\]'"):
        refuse_without_liger("cuda")
    with pytest.raises(InputError, match=r"scoring.liger_head=true with scoring.fused_head=false"):
        ScoringConfig(liger_head=True, fused_head=False)


@pytest.mark.parametrize("frozen", [False, True])
def test_it_gives_the_scores_and_gradients_of_ours(frozen: bool):
    pytest.importorskip("liger_kernel", reason="extra liger is not installed")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not os.environ.get("TRITON_INTERPRET"):
        pytest.skip("no GPU: TRITON_INTERPRET=1 runs it")
    torch.manual_seed(0)
    hidden = torch.randn(40, 16, device=device, requires_grad=True)
    weight = torch.randn(30, 16, device=device, requires_grad=not frozen)
    token, upstream = torch.randint(30, (40,), device=device), torch.randn(40, device=device)
    scale = torch.ones(40, device=device).masked_fill(token % 2 == 0, 1 / 0.6)
    trained = [hidden] if frozen else [hidden, weight]

    def found(liger: bool) -> list[torch.Tensor]:
        logprob = head_logprob(hidden, weight, token, scale, 0.0, liger=liger)
        return [logprob.detach(), *torch.autograd.grad(logprob @ upstream, trained)]

    for theirs, mine in zip(found(liger=True), found(liger=False), strict=True):
        torch.testing.assert_close(theirs, mine, atol=2e-5, rtol=0)

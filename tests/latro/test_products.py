"""oneDNN's products against torch's own: outputs, gradients, likelihoods. Without these the fast path could differ."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from latro import fused_head, head_products, products
from latro.encoding import Rationale, join
from latro.errors import InputError
from latro.exact import tiny_llama
from latro.likelihood import likelihood
from latro.onednn import product
from latro.products import OneDnnLinear, by_onednn, choose_products, has_onednn, onednn_pays
from latro.scored_tokens import ScoringConfig

CLOSE = 1e-6
"""Largest relative difference: float32's rounding of sums in another order."""


def apart(one: Tensor, other: Tensor) -> float:
    return float(((one - other).norm() / one.norm()).detach())


@pytest.mark.parametrize("shape", [(3, 177, 600), (50, 600), (600,)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_and_its_gradients_are_torchs_but_for_rounding(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(600, 320, bias=bias)
    fast = copy.deepcopy(plain)
    choose_products(fast, "onednn")
    assert type(fast) is OneDnnLinear
    input_plain, input_fast = (torch.randn(shape, generator=generator()).requires_grad_() for _ in range(2))
    upstream = torch.randn(*shape[:-1], 320)
    for layer, value in ((plain, input_plain), (fast, input_fast)):
        (layer(value) * upstream).sum().backward()
    assert apart(plain(input_plain), fast(input_fast)) < CLOSE
    with torch.no_grad():
        assert torch.equal(fast(input_fast), product(input_fast, fast.weight, fast.bias))
    assert apart(input_plain.grad, input_fast.grad) < CLOSE  # type: ignore[arg-type]
    for one, other in zip(plain.parameters(), fast.parameters(), strict=True):
        assert apart(one.grad, other.grad) < CLOSE  # type: ignore[arg-type]


@pytest.mark.parametrize("R", [4, 7, 600])
def test_an_output_may_be_changed_in_place_and_a_gradient_may_be_expanded(R: int) -> None:
    torch.manual_seed(R)
    plain = nn.Linear(256, 320)
    fast = copy.deepcopy(plain)
    choose_products(fast, "onednn")
    input = torch.randn(R, 256)
    for layer in (plain, fast):
        layer(input).clamp_(-0.5, 0.5).sum().backward()
        layer(input).sum().backward()  # of one number, expanded
    for one, other in zip(plain.parameters(), fast.parameters(), strict=True):
        assert apart(one.grad, other.grad) < CLOSE  # type: ignore[arg-type]


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_a_frozen_layer_passes_the_gradient_on_and_keeps_none() -> None:
    layer = nn.Linear(256, 320).requires_grad_(False)
    choose_products(layer, "onednn")
    value = torch.randn(4, 256, requires_grad=True)
    layer(value).sum().backward()
    assert layer.weight.grad is None
    assert apart(layer.weight.sum(0).expand(4, -1), value.grad) < CLOSE  # type: ignore[arg-type]


def test_a_bias_learns_on_a_frozen_layer_and_a_frozen_one_keeps_no_input() -> None:
    layer = nn.Linear(256, 320)
    choose_products(layer, "onednn")
    layer.weight.requires_grad_(False)
    layer(torch.randn(3, 256)).sum().backward()
    assert torch.equal(layer.bias.grad, torch.full((320,), 3.0))  # type: ignore[arg-type]
    made = layer(torch.randn(3, 256, requires_grad=True))
    assert made.grad_fn.saved_tensors[0] is None  # type: ignore[union-attr]


def test_all_that_is_not_plain_float32_goes_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.Linear(256, 320)
    choose_products(layer, "onednn")

    def refuse(*_: object) -> Tensor:
        raise AssertionError("oneDNN was asked")

    monkeypatch.setattr(products, "product", refuse)
    assert layer(torch.zeros(0, 256)).shape == (0, 320)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(2, 256)).dtype == torch.bfloat16
    assert layer.double()(torch.randn(2, 256, dtype=torch.float64)).dtype == torch.float64
    with pytest.raises(AssertionError, match="oneDNN was asked"):
        layer.float()(torch.randn(2, 256))


def test_small_layers_and_those_of_others_stay_and_the_choice_can_be_taken_back() -> None:
    class Own(nn.Linear):
        """Somebody else's."""

    model = nn.ModuleList([nn.Linear(256, 320), nn.Linear(16, 16), Own(256, 320)])
    names = list(model.state_dict())
    choose_products(model, "onednn")
    assert [type(layer) for layer in model] == [OneDnnLinear, nn.Linear, Own]
    assert list(model.state_dict()) == names
    choose_products(model, "torch")
    assert [type(layer) for layer in model] == [nn.Linear, nn.Linear, Own]


@pytest.mark.parametrize(
    ("vendor", "flags", "pays"),
    [
        ("AuthenticAMD", "fpu avx2 avx512f", True),
        ("GenuineIntel", "fpu avx2 avx512f", False),
        ("AuthenticAMD", "fpu avx2", False),
    ],
)
def test_it_pays_with_avx512_that_is_not_intels(
    vendor: str, flags: str, pays: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: {flags}\n\nprocessor\t: 1\n")
    assert onednn_pays(cpuinfo) is pays
    assert not onednn_pays(tmp_path / "none")
    monkeypatch.setattr(products, "onednn_pays", lambda: pays)
    assert by_onednn("auto") is pays
    assert by_onednn("onednn")
    assert not by_onednn("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert not by_onednn("auto")


def test_onednn_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert has_onednn()
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not has_onednn()
    assert not onednn_pays()
    choose_products(nn.Linear(256, 320), "auto")
    with pytest.raises(InputError, match=r"model\.products=onednn: this torch was built without oneDNN"):
        choose_products(nn.Linear(256, 320), "onednn")


@pytest.mark.parametrize("frozen", [False, True])
def test_likelihoods_and_gradients_of_a_model_are_those_of_torchs_products(
    frozen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Head included: with a trained weight, whose gradient adds up, and with a frozen one."""
    monkeypatch.setattr(products, "LEAST_WEIGHTS", 1)
    plain = tiny_llama(40, 0).float()
    if frozen:
        plain.lm_head.weight = nn.Parameter(plain.lm_head.weight.detach().clone(), requires_grad=False)
    fast = copy.deepcopy(plain)
    choose_products(fast, "onednn")
    assert type(fast.lm_head) is OneDnnLinear
    rationales = [Rationale(ids=tuple(range(3, 3 + n)), text="", ending=()) for n in (4, 9)]
    batch = join([[1, 2, 3]], rationales, [[5, 6]], 0)
    called: list[tuple[str, bool]] = []

    def watched(name: str) -> Callable[..., object]:
        real = getattr(head_products, name)

        def call(*matrices: Tensor, onednn: bool) -> object:
            called.append((name, onednn))
            return real(*matrices, onednn=onednn)

        return call

    for name in ("write_logits", "write_hidden", "add_weights"):
        monkeypatch.setattr(fused_head, name, watched(name))
    found = []
    for model in (plain, fast):
        scored = likelihood(model, batch, score_stop=False, scoring=ScoringConfig())
        loss = scored.rationale_B.sum() + (scored.answer_BT * scored.answer_mask_BT).sum()
        loss.backward()
        gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        found.append((loss[None], torch.cat(gradients)))
    names = (
        ["write_logits", "write_hidden"]
        if frozen
        else ["write_logits", "write_logits", "write_hidden", "add_weights"]
    )
    assert called == [(name, onednn) for onednn in (False, True) for name in names]
    (loss, gradient), (other_loss, other_gradient) = found
    assert apart(loss, other_loss) < CLOSE
    assert apart(gradient, other_gradient) < 10 * CLOSE

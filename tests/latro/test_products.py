"""oneDNN's products against torch's own: outputs, gradients, likelihoods. Without these the fast path could differ."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from latro import fused_head, products
from latro.encoding import Rationale, join
from latro.errors import InputError
from latro.exact import tiny_llama
from latro.likelihood import likelihood
from latro.products import (
    COLUMNS,
    FEW_ROWS,
    OneDnnLinear,
    by_onednn,
    choose_products,
    multiplied,
    onednn_pays,
    passed_on,
    sums,
    write_product,
)
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
        assert torch.equal(fast(input_fast), passed_on(input_fast, fast.weight, fast.bias))
    assert apart(input_plain.grad, input_fast.grad) < CLOSE  # type: ignore[arg-type]
    for one, other in zip(plain.parameters(), fast.parameters(), strict=True):
        assert apart(one.grad, other.grad) < CLOSE  # type: ignore[arg-type]


def test_a_layer_adds_up_short_sums_of_like_length() -> None:
    assert sums(100) == [slice(0, 100)]
    assert sums(256) == [slice(0, 128), slice(128, 256)]
    assert sums(300) == [slice(0, 112), slice(112, 224), slice(224, 300)]
    assert [part.stop - part.start for part in sums(576)] == [128, 128, 128, 128, 64]


def test_short_sums_round_less_than_one_long_one() -> None:
    torch.manual_seed(0)
    input, weight = torch.randn(FEW_ROWS, 1536), torch.randn(200, 1536)
    exact = input.double() @ weight.double().T
    assert apart(exact, passed_on(input, weight, None)) < 0.6 * apart(exact, multiplied(input, weight))
    assert torch.equal(passed_on(input[1:], weight, None), multiplied(input[1:], weight))


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
    product = layer(torch.randn(3, 256, requires_grad=True))
    assert product.grad_fn.saved_tensors[0] is None  # type: ignore[union-attr]


def test_columns_of_a_wider_matrix_are_multiplied_as_they_are() -> None:
    """Other strides than a matrix's own, or a turned one's, took a hundred times as long."""
    wide, left = torch.randn(300, 600), torch.randn(5, 200)
    for right in (wide[:, 100:300], wide[:200, :300].T):
        assert apart(left @ right.T, multiplied(left, right)) < CLOSE


def test_a_product_is_written_where_it_belongs() -> None:
    left, right = torch.randn(3, 64), torch.randn(COLUMNS + 5, 64)
    place = torch.full((4, COLUMNS + 5), 7.0)
    for onednn in (True, False):
        assert write_product(left, right, place[:3], onednn=onednn).data_ptr() == place.data_ptr()
        assert apart(left @ right.T, place[:3]) < CLOSE
        assert torch.equal(place[3], torch.full((COLUMNS + 5,), 7.0))


def test_all_that_is_not_plain_float32_goes_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.Linear(256, 320)
    choose_products(layer, "onednn")

    def refuse(*_: object) -> Tensor:
        raise AssertionError("oneDNN was asked")

    monkeypatch.setattr(products, "passed_on", refuse)
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
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
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
    written: list[bool] = []

    def watched(left: Tensor, right: Tensor, out: Tensor, *, onednn: bool) -> Tensor:
        written.append(onednn)
        return write_product(left, right, out, onednn=onednn)

    monkeypatch.setattr(fused_head, "write_product", watched)
    found = []
    for model in (plain, fast):
        scored = likelihood(model, batch, score_stop=False, scoring=ScoringConfig())
        loss = scored.rationale_B.sum() + (scored.answer_BT * scored.answer_mask_BT).sum()
        loss.backward()
        gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        found.append((loss[None], torch.cat(gradients)))
    calls = len(written) // 2
    assert calls >= 2
    assert written == [False] * calls + [True] * calls
    (loss, gradient), (other_loss, other_gradient) = found
    assert apart(loss, other_loss) < CLOSE
    assert apart(gradient, other_gradient) < 10 * CLOSE

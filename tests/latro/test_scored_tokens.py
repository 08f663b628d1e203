"""Every fast way of scoring against the plain one: the same log-probabilities and the same gradients.

Without these, a fused head, a shared prompt or a slice could be fast and wrong.
"""

import itertools

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from latro import fused_head, scored_tokens
from latro.adapters import LoraSettings, add_lora
from latro.encoding import Rationale, RationaleBatch, join
from latro.errors import InputError
from latro.exact import flat_gradient, tiny_llama
from latro.fused_head import head_logprob, plain_reason
from latro.likelihood import Likelihood, likelihood
from latro.scored_tokens import ScoringConfig
from tests.fakes import TableConfig, TableModel
from tests.latro.test_likelihood import batch, gpt2

PLAIN = ScoringConfig(fused_head=False)
ROW = 6 * 8 / 2**30  # GiB of one row of logits: six tokens in double precision
WAYS = {
    "fused": ScoringConfig(),
    "fused, all kept": ScoringConfig(head_memory=1.0),
    "fused, seven rows kept": ScoringConfig(head_memory=7 * ROW),
    "shared prompt": ScoringConfig(share_prompt=True),
    "shared prompt, all kept": ScoringConfig(share_prompt=True, head_memory=1.0),
    "shared prompt, plain head": ScoringConfig(share_prompt=True, fused_head=False),
    "slices of one": ScoringConfig(rows=1),
    "slices of four": ScoringConfig(rows=4),
    "slices, all kept": ScoringConfig(rows=4, head_memory=1.0),
    "slices, plain head": ScoringConfig(rows=4, fused_head=False),
}


def mistral() -> MistralForCausalLM:
    """A window of four tokens: positions have to be counted without gaps."""
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=6, hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=4, sliding_window=4, initializer_range=0.4, eos_token_id=0, bos_token_id=None,
    )  # fmt: skip
    return MistralForCausalLM(config).double().eval()


def lora() -> torch.nn.Module:
    """A frozen base under adapters that are no longer at their start."""
    model = add_lora(tiny_llama(6, 0), LoraSettings(r=2))
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.4)
    return model.double()


MODELS = {"llama": lambda: tiny_llama(6, 0), "gpt2": gpt2, "mistral": mistral, "lora": lora}


def loss_of(result: Likelihood) -> torch.Tensor:
    """Every output with a weight of its own."""
    weights = torch.arange(1.0, 7.0, dtype=result.rationale_B.dtype)
    answers = (result.answer_BT * torch.arange(1.0, result.answer_BT.shape[1] + 1)).sum(-1)
    return weights @ result.rationale_B - weights.flip(0) @ answers + weights.sin() @ result.before_answer_B


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five rows of six tokens a chunk, two a block, so that borders are crossed."""
    monkeypatch.setattr(fused_head, "CHUNK", 30 * 8)
    monkeypatch.setattr(fused_head, "BLOCK", 12)
    monkeypatch.setattr(scored_tokens, "CHUNK", 5)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", MODELS)
def test_every_way_gives_the_scores_and_gradients_of_the_plain_one(name: str, way: str):
    model = MODELS[name]()
    # Llama's norms and rotations are taken in float32 whatever the weights are; where the prompt is run apart, matrix
    # shapes differ, and so does their rounding. GPT-2 is in double precision throughout.
    score, slope = (1e-6, 2e-5) if "shared" in way and name != "gpt2" else (1e-12, 1e-11)
    for score_stop, temperature in itertools.product((True, False), (1.0, 0.6)):
        knobs = {"temperature": temperature, "score_stop": score_stop}
        plain = likelihood(model, batch(), **knobs, scoring=PLAIN)
        other = likelihood(model, batch(), **knobs, scoring=WAYS[way])
        assert torch.equal(plain.answer_mask_BT, other.answer_mask_BT)
        for field in ("rationale_B", "answer_BT", "before_answer_B"):
            torch.testing.assert_close(getattr(other, field), getattr(plain, field), atol=score, rtol=0)
        expected = flat_gradient(loss_of(plain), model)
        assert float(expected.norm()) > 1
        for _ in range(2):  # a graph that is kept can be differentiated again
            torch.testing.assert_close(flat_gradient(loss_of(other), model), expected, atol=slope, rtol=0)


@pytest.mark.parametrize("way", WAYS)
def test_the_reference_scores_prompt_and_rationale_alone_the_same_way(way: str):
    model, short = gpt2(), batch().without_answers()
    with torch.no_grad():
        plain = likelihood(model, short, temperature=0.6, scoring=PLAIN)
        other = likelihood(model, short, temperature=0.6, scoring=WAYS[way])
    torch.testing.assert_close(other.rationale_B, plain.rationale_B, atol=1e-12, rtol=0)
    assert other.answer_BT.shape == (6, 0)
    assert not other.rationale_B.requires_grad


@pytest.mark.parametrize("way", WAYS)
def test_rationales_that_are_all_empty_are_scored(way: str):
    empty = Rationale(ids=(), text="", ending=(0,))
    short = join([[1, 2, 3], [4, 1]], [empty] * 4, [[5, 2, 0], [5, 0]], 0)
    model = gpt2()
    for part in (short, short.without_answers()):
        plain, other = (likelihood(model, part, scoring=scoring) for scoring in (PLAIN, WAYS[way]))
        torch.testing.assert_close(other.rationale_B, plain.rationale_B, atol=1e-12, rtol=0)
        torch.testing.assert_close(other.before_answer_B, plain.before_answer_B, atol=1e-12, rtol=0)


@pytest.mark.parametrize("way", WAYS)
def test_in_single_precision_gradients_agree_to_a_millionth(way: str):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=6, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
    )
    model = LlamaForCausalLM(config).eval()
    plain, other = (
        flat_gradient(loss_of(likelihood(model, batch(), scoring=scoring)), model)
        for scoring in (PLAIN, WAYS[way])
    )
    assert float((plain - other).norm() / plain.norm()) < 1e-6


def test_the_fused_head_matches_autograd_in_low_precision():
    """bfloat16 weights and hidden states: the softmax and its sum are still taken in float32."""
    torch.manual_seed(0)
    hidden = torch.randn(40, 16, dtype=torch.bfloat16, requires_grad=True)
    weight = torch.randn(30, 16, dtype=torch.bfloat16, requires_grad=True)
    token, scale = torch.randint(30, (40,)), torch.full((40,), 0.7)
    upstream = torch.randn(40)

    def gradients(logprob: torch.Tensor) -> list[torch.Tensor]:
        assert logprob.dtype == torch.float32
        return [g.float() for g in torch.autograd.grad(logprob @ upstream, (hidden, weight))]

    logits = (hidden @ weight.T).float() * scale[:, None]
    plain = gradients(logits.log_softmax(-1).gather(1, token[:, None])[:, 0])
    for memory in (0, 2**20):
        fused = gradients(head_logprob(hidden, weight, token, scale, memory))
        for mine, theirs in zip(fused, plain, strict=True):
            assert float((mine - theirs).norm() / theirs.norm()) < 5e-3
    with torch.autocast("cpu", torch.bfloat16):
        exact = hidden.detach().float().requires_grad_()
        logprob = head_logprob(exact, weight.float(), token, scale, 0)
    (gradient,) = torch.autograd.grad(logprob @ upstream, exact)
    assert gradient.dtype == torch.float32
    assert float((gradient - plain[0]).norm() / plain[0].norm()) < 5e-3


def test_the_head_is_itself_again_after_the_pass_and_after_a_failure():
    model = tiny_llama(6, 0)
    before = model(input_ids=torch.tensor([[1, 2]])).logits
    likelihood(model, batch())
    assert torch.equal(model(input_ids=torch.tensor([[1, 2]])).logits, before)
    broken = batch()
    broken.ids_BT[0, 0] = 99  # no such token
    with pytest.raises(IndexError):
        likelihood(model, broken)
    assert torch.equal(model(input_ids=torch.tensor([[1, 2]])).logits, before)


def test_heads_that_cannot_be_replaced_are_named():
    assert plain_reason(tiny_llama(6, 0)) is None
    assert plain_reason(lora()) is None
    assert plain_reason(TableModel(TableConfig(vocab_size=6))) == "its head is a NoneType"
    assert plain_reason(lambda **inputs: None) == "it offers no get_output_embeddings"
    biased = tiny_llama(6, 0)
    biased.lm_head = torch.nn.Linear(8, 6, dtype=torch.float64)
    assert plain_reason(biased) == "its head has a bias"
    adapted = add_lora(tiny_llama(6, 0), LoraSettings(r=2, target_modules=("q_proj", "lm_head")))
    assert plain_reason(adapted) == "its head is a Linear"  # PEFT's own
    assert plain_reason(granite()) == "it changes its logits by logits_scaling"
    sharded = tiny_llama(6, 0)
    sharded.lm_head.weight.ds_id = 1  # as DeepSpeed marks it, whose hooks gather it for the head's call
    assert plain_reason(sharded) is None
    placed = tiny_llama(6, 0)
    placed.lm_head.forward = placed.lm_head.forward  # as accelerate does to place layers on devices
    assert plain_reason(placed) == "something else has replaced its head's forward"


def granite() -> GraniteForCausalLM:
    """Its logits are divided by a number behind the head."""
    torch.manual_seed(0)
    config = GraniteConfig(
        vocab_size=6, hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2,
        logits_scaling=4.0, initializer_range=0.4, eos_token_id=0, bos_token_id=None,
    )  # fmt: skip
    return GraniteForCausalLM(config).double().eval()


def test_a_model_that_changes_its_logits_takes_the_plain_way_and_is_reported_if_it_did_not_say_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    model = granite()
    plain = likelihood(model, batch(), scoring=PLAIN).rationale_B
    assert torch.equal(likelihood(model, batch()).rationale_B, plain)
    assert not caplog.text
    monkeypatch.setattr(fused_head, "LOGIT_KNOBS", ())
    for _ in range(2):
        assert torch.equal(likelihood(model, batch()).rationale_B, plain)
    assert caplog.text.count("GraniteForCausalLM changes its logits behind the head") == 1


def test_a_shared_prompt_without_a_cache_is_refused():
    model = tiny_llama(6, 0).train()
    model.activation_checkpointing_enable()
    with pytest.raises(InputError, match=r"no keys and values.*scoring.share_prompt=false"):
        likelihood(model, batch(), scoring=ScoringConfig(share_prompt=True))


def test_a_shared_prompt_reaches_no_position_behind_the_longest_row():
    """GPT-2 has as many positions as it has, and a padded column must not ask for more."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=6, n_embd=8, n_layer=1, n_head=2, n_positions=12, bos_token_id=0, eos_token_id=0
    )
    model = GPT2LMHeadModel(config).double().eval()
    rationales = [Rationale(ids=(1, 2), text="", ending=(0,)) for _ in range(4)]
    unlike = join([[1, 2], [1, 2, 3, 4, 5, 1, 2]], rationales, [[5, 2], [5, 2]], 0)
    assert unlike.ids_RT.shape == (4, 11)
    plain, shared = (likelihood(model, unlike, scoring=ScoringConfig(share_prompt=s)) for s in (False, True))
    assert torch.allclose(plain.rationale_B, shared.rationale_B, atol=1e-12)
    assert torch.allclose(plain.answer_BT, shared.answer_BT, atol=1e-12)


def test_a_shared_prompt_with_layers_that_keep_a_state_is_refused():
    mamba = MambaForCausalLM(MambaConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, state_size=4))
    with pytest.raises(InputError, match=r"scoring.share_prompt=true: MambaForCausalLM keeps no plain cache"):
        likelihood(mamba, batch(), scoring=ScoringConfig(share_prompt=True))


def test_rows_are_sorted_by_length_and_trimmed():
    """The longest rows go together; no slice is wider than its own longest row."""
    seen = []
    model = tiny_llama(6, 0)
    model.register_forward_pre_hook(
        lambda _, __, inputs: seen.append(inputs["input_ids"].shape), with_kwargs=True
    )
    with torch.no_grad():
        likelihood(model, batch(), scoring=ScoringConfig(rows=2))
    lengths = sorted(batch().length_B.tolist(), reverse=True)
    # The row whose ending departs from the answer is the fourth longest; its side row goes with it.
    assert [tuple(shape) for shape in seen] == [(2, lengths[0]), (3, lengths[2]), (2, lengths[4])]


def test_slices_hold_only_one_slice_of_activations(monkeypatch: pytest.MonkeyPatch):
    """Counted, not timed: bytes that autograd keeps after the forward pass."""
    model, long = tiny_llama(6, 0), batch()

    def kept(scoring: ScoringConfig) -> int:
        total = 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            likelihood(model, long, scoring=scoring)
        return total

    assert kept(ScoringConfig(rows=1)) < kept(ScoringConfig()) / 20


def test_knobs_that_exclude_each_other_are_refused():
    with pytest.raises(InputError, match=r"scoring.rows=2 with scoring.share_prompt=true"):
        ScoringConfig(rows=2, share_prompt=True)
    with pytest.raises(InputError, match=r"scoring.rows=0 must be positive"):
        ScoringConfig(rows=0)
    with pytest.raises(InputError, match=r"scoring.head_memory=-1"):
        ScoringConfig(head_memory=-1)


def test_numbers_that_are_none_cause_no_second_pass(caplog: pytest.LogCaptureFixture):
    """One process would run it alone, and hang the others."""
    model, passes = tiny_llama(6, 0), []
    model.register_forward_hook(lambda *_: passes.append(1))
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
        scores = likelihood(model, batch())
    assert scores.rationale_B.isnan().all()
    assert len(passes) == 1
    assert "changes its logits" not in caplog.text


def test_a_selected_row_is_the_row_itself():
    whole: RationaleBatch = batch()
    part = whole.select(torch.tensor([4, 1]))
    assert part.ids_RT.tolist() == [whole.ids_RT[row, :6].tolist() for row in (4, 1, 6)]
    assert (part.ending_row_B.tolist(), part.owner_R.tolist()) == ([2, 1], [0, 1, 0])
    assert (whole.ending_row_B.tolist(), whole.owner_R.tolist()) == (
        [0, 1, 2, 3, 6, 5],
        [0, 1, 2, 3, 4, 5, 4],
    )
    assert part.rationales_per_prompt == 1
    assert whole.prompt_length_B.tolist() == [3, 3, 3, 2, 2, 2]
    assert whole.length_B.tolist() == [8, 6, 9, 5, 6, 4]

"""One forward pass for rationale and answer. Without these, a shifted index or a pad token could enter the score."""

import copy
from dataclasses import replace

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from latro.encoding import Rationale, RationaleBatch, join
from latro.exact import flat_gradient, tiny_llama
from latro.likelihood import answer_likelihood, drawn_logprob, likelihood
from latro.scored_tokens import ScoringConfig, chunk_logprob
from tests.fakes import TableConfig, TableModel

PROMPTS = [[1, 2, 3], [4, 1]]
ANSWERS = [[5, 2, 0], [5, 0]]
RATIONALES = [
    Rationale(ids=(3, 4), text="", ending=(5,)),
    Rationale(ids=(), text="", ending=(0,)),
    Rationale(ids=(2, 2, 1), text="", ending=()),
    Rationale(ids=(4,), text="", ending=(5, 0)),  # all of it shared with the answer
    Rationale(ids=(0, 1), text="", ending=(5, 3, 4)),  # departs at its second token
    Rationale(ids=(), text="", ending=()),
]


def gpt2(seed: int = 0) -> GPT2LMHeadModel:
    """Positions are absolute and learned: a shifted row would be another row."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=6,
        n_embd=8,
        n_layer=2,
        n_head=2,
        n_positions=32,
        initializer_range=0.4,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPT2LMHeadModel(config).double().eval()


MODELS = {"llama": lambda: tiny_llama(6, 0), "gpt2": gpt2}


def batch(pad: int = 0) -> RationaleBatch:
    return join(PROMPTS, RATIONALES, ANSWERS, pad)


def row_by_row(
    model: torch.nn.Module, b: int, temperature: float, score_stop: bool
) -> tuple[list[float], float, float]:
    """Answer tokens, rationale, and the token before the answer: one token, one forward pass at a time."""

    def logprob(context: list[int], token: int, temperature: float) -> float:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([context])).logits[0, -1]
        return float((logits / temperature).log_softmax(-1)[token])

    prompt, answer, rationale = PROMPTS[b // 3], ANSWERS[b // 3], RATIONALES[b]
    context, total, last = list(prompt), 0.0, logprob(prompt[:-1], prompt[-1], 1.0)
    for token in rationale.ids:
        last = logprob(context, token, temperature)
        total += last
        context.append(token)
    ended = list(context)
    for token in rationale.ending if score_stop else ():
        total += logprob(ended, token, temperature)
        ended.append(token)
    tokens = []
    for token in answer:
        tokens.append(logprob(context, token, 1.0))
        context.append(token)
    return tokens, total, last


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("score_stop", [True, False])
def test_one_pass_equals_a_loop_over_tokens(name: str, temperature: float, score_stop: bool):
    model = MODELS[name]()
    result = likelihood(model, batch(), temperature=temperature, score_stop=score_stop)
    for b in range(6):
        tokens, rationale, last = row_by_row(model, b, temperature, score_stop)
        width = len(tokens)
        assert result.answer_mask_BT[b].tolist() == [True] * width + [False] * (3 - width)
        assert result.answer_BT[b].tolist() == pytest.approx(tokens + [0.0] * (3 - width), abs=1e-6)
        assert float(result.rationale_B[b].detach()) == pytest.approx(rationale, abs=1e-6)
        assert float(result.before_answer_B[b].detach()) == pytest.approx(last, abs=1e-6)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("fused_head", [True, False])
def test_the_answer_alone_is_scored_the_same(name: str, fused_head: bool):
    model = MODELS[name]()
    answer_B = answer_likelihood(model, batch(), scoring=ScoringConfig(fused_head=fused_head))
    expected = [sum(row_by_row(model, b, 1.0, False)[0]) for b in range(6)]
    assert answer_B.tolist() == pytest.approx(expected, abs=1e-6)


def test_only_positions_that_predict_the_answer_reach_the_head():
    model, seen = tiny_llama(6, 0), []
    model.lm_head.register_forward_hook(lambda head, inputs, output: seen.append(inputs[0].shape[-2]))
    answer_likelihood(model, batch(), scoring=ScoringConfig(fused_head=False))
    assert seen == [sum(len(ANSWERS[b // 3]) for b in range(6))]


def test_only_an_ending_that_departs_from_the_answer_costs_a_row():
    seen = []
    model = tiny_llama(6, 0)
    model.register_forward_pre_hook(
        lambda _, __, inputs: seen.append(len(inputs["input_ids"])), with_kwargs=True
    )
    likelihood(model, batch())
    likelihood(model, batch().without_answers())
    four = [rationale for b, rationale in enumerate(RATIONALES) if b not in (2, 4)]
    likelihood(model, join(PROMPTS, four, ANSWERS, 0))
    assert seen == [7, 6, 4]


def test_what_was_drawn_is_summed_with_the_ending_where_it_is_scored():
    drawn = [
        replace(RATIONALES[b], logprobs=(-1.0, -2.0, -4.0, -8.0, -16.0)[:n]) for b, n in ((3, 3), (4, 5))
    ]
    told, short = drawn_logprob(drawn, score_stop=True), drawn_logprob(drawn, score_stop=False)
    assert told is not None
    assert short is not None
    assert (told.tolist(), short.tolist()) == ([-7, -31], [-1, -3])
    assert drawn_logprob([*drawn, RATIONALES[0]], score_stop=True) is None


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("pad", range(6))
def test_neither_padding_nor_the_neighbours_change_a_score(name: str, pad: int):
    """The pad id is a real token each time, the end of the answer's among them."""
    model = MODELS[name]()
    together = likelihood(model, batch(pad))
    for b, rationale in enumerate(RATIONALES):
        alone = likelihood(model, join([PROMPTS[b // 3]], [rationale], [ANSWERS[b // 3]], pad))
        width = alone.answer_BT.shape[1]
        torch.testing.assert_close(together.rationale_B[b], alone.rationale_B[0], atol=1e-6, rtol=0)
        torch.testing.assert_close(together.answer_BT[b, :width], alone.answer_BT[0], atol=1e-6, rtol=0)
        torch.testing.assert_close(together.before_answer_B[b], alone.before_answer_B[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("score_stop", [True, False])
def test_prompt_and_rationale_alone_give_the_same_rationale_score(score_stop: bool):
    model = tiny_llama(6, 0)
    whole, short = batch(), batch().without_answers()
    assert short.ids_BT.shape[1] < whole.ids_BT.shape[1]
    full = likelihood(model, whole, temperature=0.6, score_stop=score_stop)
    reference = likelihood(model, short, temperature=0.6, score_stop=score_stop)
    torch.testing.assert_close(reference.rationale_B, full.rationale_B, atol=1e-6, rtol=0)
    assert reference.answer_BT.shape == (6, 0)


def test_a_model_that_returns_all_logits_is_scored_the_same():
    model = tiny_llama(6, 0)

    def ignores_the_mask(input_ids: torch.Tensor, logits_to_keep: torch.Tensor, use_cache: bool) -> object:
        return model(input_ids=input_ids, use_cache=use_cache)

    plain, ignoring = likelihood(model, batch()), likelihood(ignores_the_mask, batch())
    torch.testing.assert_close(plain.answer_BT, ignoring.answer_BT, atol=1e-6, rtol=0)
    torch.testing.assert_close(plain.rationale_B, ignoring.rationale_B, atol=1e-6, rtol=0)


def test_the_gradient_equals_that_of_separate_passes_over_rationale_and_answer():
    """The published scheme scores z in one pass and y, behind z, in another."""
    model = tiny_llama(6, 0)
    result = likelihood(model, batch(), score_stop=False)
    weights = torch.linspace(-1, 2, 6, dtype=torch.float64)
    one = flat_gradient((weights * result.rationale_B + result.answer_BT.sum(-1)).sum(), model)
    separate = torch.zeros((), dtype=torch.float64)
    for b, rationale in enumerate(RATIONALES):
        prompt, answer = PROMPTS[b // 3], ANSWERS[b // 3]
        z = torch.tensor([[*prompt, *rationale.ids]])
        zy = torch.tensor([[*prompt, *rationale.ids, *answer]])
        z_logprob = model(input_ids=z).logits[0, :-1].log_softmax(-1).gather(1, z[0, 1:, None])[:, 0]
        zy_logprob = model(input_ids=zy).logits[0, :-1].log_softmax(-1).gather(1, zy[0, 1:, None])[:, 0]
        separate = (
            separate + weights[b] * z_logprob[len(prompt) - 1 :].sum() + zy_logprob[-len(answer) :].sum()
        )
    two = flat_gradient(separate, model)
    assert float((one - two).norm() / two.norm()) < 1e-6


def test_a_table_of_equal_logits_costs_log_six_per_token():
    uniform = TableModel(TableConfig(vocab_size=6))
    result = likelihood(uniform, batch())
    log6 = 1.791759469228055
    tokens = [3, 1, 3, 3, 5, 0]  # of rationale and ending
    assert result.rationale_B.tolist() == pytest.approx([-n * log6 for n in tokens], abs=1e-12)
    assert uniform.calls == 1


def test_the_softmax_is_taken_in_single_precision_at_least():
    logits = torch.tensor([[10.0, 9.9375, 0.0]], dtype=torch.bfloat16)
    ids, scale = torch.tensor([1]), torch.ones(1)
    expected = torch.tensor([10.0, 9.9375, 0.0], dtype=torch.float64).log_softmax(-1)[1]
    result = chunk_logprob(logits, torch.tensor([0]), ids, scale)
    assert result.dtype == torch.float32
    assert float(result) == pytest.approx(float(expected), abs=1e-6)


def test_a_bfloat16_model_is_close_to_its_single_precision_twin():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=6,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        eos_token_id=0,
    )
    exact = LlamaForCausalLM(config).eval()
    coarse = copy.deepcopy(exact).to(torch.bfloat16)
    a, b = likelihood(exact, batch()), likelihood(coarse, batch())
    assert b.rationale_B.dtype == b.answer_BT.dtype == torch.float32
    torch.testing.assert_close(a.rationale_B, b.rationale_B, atol=0.03, rtol=0)
    torch.testing.assert_close(a.answer_BT, b.answer_BT, atol=0.03, rtol=0)


def test_without_gradients_there_is_no_graph():
    with torch.no_grad():
        result = likelihood(tiny_llama(6, 0), batch())
    assert not result.rationale_B.requires_grad
    assert likelihood(tiny_llama(6, 0), batch()).answer_BT.requires_grad

"""Without these, nobody would know whether the sampled gradients point where the equations do."""

import dataclasses
import math
from contextlib import nullcontext
from functools import cache
from types import SimpleNamespace

import pytest
import torch

from latro.encoding import Rationale, join
from latro.estimators import Tables, expected_gradient, indices, loss_coefficients, real_gradient, tabulate
from latro.exact import (
    World,
    enumerate_prompt,
    flat_gradient,
    generation_logprob,
    kl_to_reference,
    log_evidence,
    posterior,
    small_world,
    training_scores,
    value,
)
from latro.likelihood import drawn_logprob, likelihood
from latro.objective import ObjectiveConfig, Reward, answer_reward
from latro.sampling import SamplingConfig, sample_rationales
from latro.scored_tokens import ScoringConfig
from latro.scoring import Scorer
from latro.trainer import LatroTrainer
from latro.types import Example
from tests.fakes import table_model

NEWLINE = {"letters": "abc\n#", "separator": "\n", "questions": [("ab", "#a"), ("ca", "#b")]}
WHITE_SPACE = NEWLINE | {
    "letters": "ab \n#",
    "questions": [("ab", "#a"), ("ba", "#b")],
    "max_rationale_tokens": 3,
}
TWO_TOKENS = {"letters": "abcd#", "markers": ("c#",), "questions": [("ab", "c#a"), ("ca", "c#b")]}
WITHIN_A_LINE = {
    "letters": "abc\n#",
    "separator": "\n",
    "markers": ("#a",),
    "questions": [("ab", "#ab"), ("ca", "#ac")],
    "max_rationale_tokens": 3,
}


def table_world(seed: int = 0, **changes: object) -> World:
    world = small_world(seed, **changes)  # type: ignore[arg-type]
    return dataclasses.replace(world, model=table_model(6, seed), reference=table_model(6, seed + 1))


@cache
def tabulated(seed: int, score_stop: bool = True) -> Tables:
    return tabulate(table_world(seed), score_stop=score_stop)


def relative(estimate: torch.Tensor, exact: torch.Tensor) -> float:
    return float((estimate - exact).norm() / exact.norm())


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_probabilities_of_all_generations_sum_to_one(temperature: float):
    world = small_world(0, temperature=temperature)
    for n in range(2):
        prompt = enumerate_prompt(world, n)
        assert len(prompt.generations) == 26  # 2 ends at once, 4 letters with 2 ends, 16 pairs
        assert abs(float(prompt.log_probability_M.detach().exp().sum()) - 1) < 1e-12
        assert int(prompt.finished_M.sum()) == 10


@pytest.mark.parametrize(
    "changes",
    [{}, NEWLINE, WHITE_SPACE, TWO_TOKENS, WITHIN_A_LINE],
    ids=["letter", "line break", "white space", "two tokens", "within a line"],
)
def test_a_rationale_is_scored_as_likely_as_it_was_drawn(changes: dict):
    """Without the whole ending in the score, a marker behind a line break would look free."""
    world = table_world(**changes)
    prompt = enumerate_prompt(world, 0)
    assert torch.allclose(prompt.scores.rationale_NK[0], prompt.log_probability_M, atol=1e-12)
    assert torch.allclose(prompt.scores.reference_NK[0], prompt.log_reference_M, atol=1e-12)


@pytest.mark.parametrize(
    "changes",
    [{}, NEWLINE, TWO_TOKENS, WITHIN_A_LINE],
    ids=["letter", "line break", "two tokens", "within a line"],
)
@pytest.mark.parametrize("engine", ["continuous", "generate"])
@pytest.mark.parametrize("score_stop", [True, False])
def test_the_sampler_tells_of_each_draw_what_the_policy_scores(changes: dict, engine: str, score_stop: bool):
    world = small_world(0, temperature=0.7, **{"max_rationale_tokens": 3, **changes})
    sampling = SamplingConfig(
        rationales_per_prompt=50, max_rationale_tokens=3, temperature=0.7, engine=engine
    )
    drawn = sample_rationales(
        world.model, world.encoder, world.prompts, "ab", sampling, markers=world.markers, seed=0, step=0
    )
    assert {rationale.finished for rationale in drawn} == {True, False}
    batch = join(world.prompts, drawn, world.answers([0, 1], [drawn[:50], drawn[50:]]), 0)
    scored = likelihood(world.model, batch, temperature=0.7, score_stop=score_stop).rationale_B
    told = drawn_logprob(drawn, score_stop)
    assert told is not None
    assert torch.allclose(told, scored.detach().to(told.dtype), atol=1e-5)
    given = [dataclasses.replace(rationale, logprobs=()) for rationale in drawn]
    assert drawn_logprob(given, score_stop) is None


@pytest.mark.parametrize("reward", list(Reward))
@pytest.mark.parametrize("K", [2, 3])
def test_the_estimators_expectation_is_the_exact_gradient(reward: Reward, K: int):
    """The proof: all groups of K rationales enumerated, no sampling, every reward."""
    config = ObjectiveConfig(reward=reward, kl_weight=0.3)
    tables = tabulated(3)
    exact = tables.exact_gradient(config, K)
    assert exact.norm() > 0.1
    assert relative(expected_gradient(tables, config, K), exact) < 1e-12


def drawn_by_another(tables: Tables, seed: int) -> Tables:
    """The tables of the same policy, its rationales drawn by another model."""
    other = dataclasses.replace(tables.world, reference=table_model(6, seed))
    drawn = [enumerate_prompt(other, n).log_reference_M for n in range(len(tables.prompts))]
    return dataclasses.replace(tables, scores=dataclasses.replace(tables.scores, drawn_NK=torch.stack(drawn)))


@pytest.mark.parametrize(
    "reward", ["log_likelihood", "mean_log_likelihood", "likelihood", "mean_token_probability"]
)
def test_importance_weights_make_the_draws_of_another_model_unbiased(reward: str):
    tables = tabulated(3)
    other = drawn_by_another(tables, 8)
    config = ObjectiveConfig(reward=Reward(reward), kl_weight=0.3)
    exact = tables.exact_gradient(config, 2)
    assert relative(expected_gradient(other, config, 2), exact) > 0.1
    weighed = dataclasses.replace(config, importance_cap=math.inf)
    assert relative(expected_gradient(other, weighed, 2), exact) < 1e-12
    capped = dataclasses.replace(config, importance_cap=1)
    assert relative(expected_gradient(other, capped, 2), exact) > 0.01


@pytest.mark.parametrize("changes", [NEWLINE, TWO_TOKENS], ids=["white space", "two tokens"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_expectation_is_exact_where_the_ending_has_several_tokens(changes: dict, temperature: float):
    tables = tabulate(table_world(2, temperature=temperature, **changes))
    config = ObjectiveConfig(kl_weight=0.3)
    assert relative(expected_gradient(tables, config, 2), tables.exact_gradient(config, 2)) < 1e-12


def test_an_answer_alone_has_its_separator_though_a_rationale_brings_it():
    """The bare answer's mean is over its own tokens, one more than behind a rationale that ends in the separator."""
    world = small_world(0, **NEWLINE)
    brought = [
        Rationale(ids=tuple(world.encoder.continuation_ids(f"{letter}\n")), text=f"{letter}\n", ending=(0,))
        for letter in "ab"
    ]
    scores = training_scores(world, [0], [brought])
    alone = world.encoder.answer_ids(world.lines[0])
    assert int(scores.answer_mask_NKT[0, 0].sum()) == len(alone) - 1
    with torch.no_grad():
        upto = [
            generation_logprob(world.model, world.prompts[0], [alone[:n]], 1.0).item()
            for n in range(1, len(alone) + 1)
        ]
    tokens = [b - a for a, b in zip([0.0, *upto], upto, strict=False)]
    mean = sum(map(math.exp, tokens)) / len(tokens)
    assert scores.plain_probability_N is not None
    assert float(scores.plain_probability_N[0]) == pytest.approx(mean, abs=1e-12)
    reward = answer_reward(scores, ObjectiveConfig(reward=Reward.MEAN_TOKEN_PROBABILITY))
    assert reward.shape == (1, 2)


def test_a_real_llama_agrees_to_the_precision_of_its_normalisation():
    tables = tabulate(small_world(0))
    config = ObjectiveConfig(kl_weight=0.3)
    assert relative(expected_gradient(tables, config, 2), tables.exact_gradient(config, 2)) < 1e-6


@pytest.mark.parametrize(
    ("change", "bias"),
    [({"score_stop": False}, 0.05), ({"answer_weight": 0.0}, 0.05), ({"answer_mask": "off_by_one"}, 0.05)],
    ids=["score_stop", "answer_weight", "off_by_one"],
)
def test_a_departure_of_the_published_code_shows(change: dict, bias: float):
    """Without this the check could be one that never fails."""
    config = ObjectiveConfig(kl_weight=0.3, **change)
    tables = tabulated(3, bool(config.score_stop))
    assert relative(expected_gradient(tables, config, 2), tables.exact_gradient(config, 2)) > bias


def test_the_shuffled_control_teaches_the_rationales_nothing():
    config = ObjectiveConfig(kl_weight=0.0, penalty_weight=0.0, shuffle_rewards=True, answer_weight=0.0)
    tables = tabulated(3)
    unshuffled = dataclasses.replace(config, shuffle_rewards=False)
    learnt = expected_gradient(tables, unshuffled, 3).norm()
    assert expected_gradient(tables, config, 3).norm() < 0.05 * learnt


@pytest.mark.parametrize("reward", list(Reward))
def test_jacobians_and_coefficients_give_the_gradient_of_the_real_loss(reward: Reward):
    tables = tabulated(3)
    config = ObjectiveConfig(reward=reward)
    index_PK = torch.tensor([[0, 5, 25, 9], [3, 3, 17, 11]])
    fast = (loss_coefficients(tables, index_PK[None], config) @ tables.jacobian_CD)[0]
    assert relative(fast, real_gradient(tables, index_PK, config)) < 1e-12


def test_the_bound_and_the_posterior_gap_add_up_to_the_log_evidence():
    """log p(y|x) = E_π[log π(y|x,z)] - KL(π||π0) + KL(π||posterior) where π0 is the policy itself."""
    world = table_world(1)
    prompt = enumerate_prompt(dataclasses.replace(world, reference=world.model), 1)
    assert abs(float(kl_to_reference(prompt).detach())) < 1e-12
    bound = float(value(prompt, ObjectiveConfig(kl_weight=1.0, penalty_weight=0.0), 2).detach())
    log_q = prompt.log_probability_M.detach()
    gap = float((log_q.exp() * (log_q - posterior(prompt).detach().log())).sum())
    assert bound + gap == pytest.approx(float(log_evidence(prompt).detach()), abs=1e-12)
    assert gap > 0.01
    assert float(posterior(prompt).detach().sum()) == pytest.approx(1.0, abs=1e-12)


def test_more_rationales_tighten_the_multi_sample_bound():
    prompt = enumerate_prompt(table_world(1), 0)
    config = ObjectiveConfig(reward=Reward.MULTI_SAMPLE_BOUND, kl_weight=0.0, penalty_weight=0.0)
    one, two, three = (float(value(prompt, config, K).detach()) for K in (1, 2, 3))
    assert one < two < three < float(log_evidence(prompt).detach())
    single = ObjectiveConfig(kl_weight=0.0, penalty_weight=0.0)
    assert one == pytest.approx(float(value(prompt, single, 1).detach()), abs=1e-12)


def test_a_uniform_world_has_the_values_computed_by_hand():
    """All logits zero over six tokens: every token costs log 6."""
    world = table_world()
    uniform = table_model(6, 0, spread=0.0)
    prompt = enumerate_prompt(dataclasses.replace(world, model=uniform, reference=uniform), 0)
    config = ObjectiveConfig(kl_weight=0.5, penalty_weight=2.0)
    cut_off = (4 / 6) ** 2
    assert float(value(prompt, config, 2).detach()) == pytest.approx(
        -4 * math.log(6) - 2 * cut_off, abs=1e-12
    )
    assert float(log_evidence(prompt).detach()) == pytest.approx(-4 * math.log(6), abs=1e-12)
    likelihood = dataclasses.replace(config, reward=Reward.LIKELIHOOD, penalty_weight=0.0)
    assert float(value(prompt, likelihood, 2).detach()) == pytest.approx(6**-4, abs=1e-15)
    wins = dataclasses.replace(config, reward=Reward.MEAN_TOKEN_PROBABILITY, penalty_weight=0.0)
    assert float(value(prompt, wins, 2).detach()) == pytest.approx(0.0, abs=1e-12)


def test_the_gradient_of_the_value_is_its_slope():
    world = table_world(5)
    config = ObjectiveConfig(kl_weight=0.3)
    gradient = flat_gradient(value(enumerate_prompt(world, 0), config, 2), world.model)
    direction = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(0), dtype=gradient.dtype)
    table, step, values = world.model.table.detach().clone(), 1e-5, []
    for sign in (1, -1):
        with torch.no_grad():
            world.model.table.copy_(table + sign * step * direction.view_as(table))
        values.append(float(value(enumerate_prompt(world, 0), config, 2).detach()))
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(float(gradient @ direction), rel=1e-7)


def test_a_drawn_rationale_finds_its_number():
    tables = tabulate(table_world())
    drawn = [tables.prompts[0].generations[m].rationale for m in (25, 0, 7, 7)]
    assert indices(tables, drawn, 2).tolist() == [[[25, 0], [7, 7]]]


@pytest.mark.parametrize("reward", list(Reward))
def test_the_trainers_loss_has_the_gradient_that_is_checked_here(reward: Reward):
    """The trainer's own scoring and scaling, on the world's questions, without its loop."""
    tables = tabulated(3)
    world = tables.world
    config = ObjectiveConfig(reward=reward)
    examples = [
        Example(id=q, question=q, prompt=q, answer=a, gold=a, place="rows.jsonl, line 1")
        for q, a in (("ab", "#ba"), ("cdc", "#d"))
    ]
    index_PK = torch.tensor([[0, 5, 25, 9], [3, 3, 17, 11]])
    rationales = [tables.prompts[0].generations[m].rationale for m in index_PK.flatten().tolist()]
    trainer = object.__new__(LatroTrainer)
    trainer.encoder, trainer.objective_config, trainer.samples = world.encoder, config, []
    trainer.scorer = Scorer(encoder=world.encoder, objective=config, temperature=1.0, scoring=ScoringConfig())
    trainer.reference = SimpleNamespace(scoring=lambda model: nullcontext(world.reference))
    trainer.state, trainer.accelerator = SimpleNamespace(global_step=0), SimpleNamespace(num_processes=1)
    trainer.args, trainer.rows_in_step = SimpleNamespace(seed=0, device="cpu"), 8
    batch = join(world.prompts, rationales, world.answers([0, 1], [rationales[:4], rationales[4:]]), 0)
    loss = trainer.compute_loss(world.model, {"batch": batch, "examples": examples, "rationales": rationales})
    fast = (loss_coefficients(tables, index_PK[None], config) @ tables.jacobian_CD)[0]
    assert relative(-flat_gradient(loss, world.model), fast) < 1e-12
    assert [s.k for s in trainer.samples] == [0, 1, 2, 3] * 2


def test_a_further_reward_needs_no_case_of_its_own_here(monkeypatch: pytest.MonkeyPatch):
    prompt = enumerate_prompt(table_world(0), 0)
    known = ObjectiveConfig(reward=Reward.LIKELIHOOD, kl_weight=0.0, penalty_weight=0.0)
    monkeypatch.setattr("latro.exact.answer_reward", lambda scores, _: 2 * answer_reward(scores, known))
    further = SimpleNamespace(reward="twice_the_likelihood", kl_weight=0.0, penalty_weight=0.0)
    expected = 2 * value(prompt, known, 2)
    assert float(expected.detach()) > 0.0
    assert torch.allclose(value(prompt, further, 2), expected)  # type: ignore[arg-type]

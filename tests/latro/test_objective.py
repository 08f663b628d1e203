"""The equations on numbers worked out by hand. Without these, a sign or a mean could be wrong and still train."""

import math
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from latro import objective as equations
from latro import objective_config as settings
from latro.errors import InputError
from latro.objective import (
    AnswerMask,
    ObjectiveConfig,
    Penalty,
    Reward,
    Scores,
    answer_log_likelihood,
    answer_reward,
    bound_without_each,
    counted,
    leave_one_out,
    mean_token_probability,
    normalised_perplexity,
    objective,
    win_share,
)


def log(values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).log()


def scores(**changes: object) -> Scores:
    """One prompt, three rationales, answers of two tokens; the likelihoods are 1/8, 1/16 and 1/2."""
    fields = {
        "rationale_NK": torch.tensor([[-1.0, -2.0, -3.0]], dtype=torch.float64),
        "reference_NK": torch.tensor([[-1.5, -2.0, -2.0]], dtype=torch.float64),
        "answer_NKT": log([[[0.5, 0.25], [0.25, 0.25], [0.5, 1.0]]]),
        "answer_mask_NKT": torch.ones(1, 3, 2, dtype=torch.bool),
        "before_answer_NK": torch.tensor([[-0.1, -0.2, -0.3]], dtype=torch.float64),
        "length_NK": torch.tensor([[0, 1, 3]]),
        "finished_NK": torch.tensor([[True, True, False]]),
        "plain_probability_N": torch.tensor([0.375], dtype=torch.float64),
    }
    return Scores(**{**fields, **changes})  # type: ignore[arg-type]


def close(tensor: torch.Tensor, expected: object, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(
        tensor.detach(), torch.tensor(expected, dtype=torch.float64), atol=tolerance, rtol=0
    )


def test_leave_one_out_compares_with_the_mean_of_the_others():
    close(leave_one_out(torch.tensor([[1.0, 2.0, 6.0]], dtype=torch.float64)), [[-3.0, -1.5, 4.5]])
    close(
        leave_one_out(torch.tensor([[1.0, 2.0], [5.0, 5.0]], dtype=torch.float64)), [[-1.0, 1.0], [0.0, 0.0]]
    )


def test_the_answers_log_likelihood_is_a_sum_over_tokens():
    close(answer_log_likelihood(scores()), [[-math.log(8), -math.log(16), -math.log(2)]])
    off_by_one = [[-math.log(8) - 0.1, -math.log(16) - 0.2, -math.log(2) - 0.3]]
    close(answer_log_likelihood(counted(scores(), AnswerMask.OFF_BY_ONE)), off_by_one)


def test_the_mean_token_probability_counts_the_masked_tokens_only():
    mask = torch.tensor([[True, True, False], [True, False, False]])
    close(mean_token_probability(log([[0.5, 0.25, 1.0], [0.125, 1.0, 1.0]]), mask), [0.375, 0.125])


def test_the_win_share_counts_ties_half():
    close(win_share(torch.tensor([[2.0, 3.0, 3.0, 5.0]], dtype=torch.float64)), [[1.0, 0.5, 0.5, 0.0]])
    close(win_share(torch.tensor([[7.0, 7.0]], dtype=torch.float64)), [[0.5, 0.5]])


def test_the_normalised_perplexity_divides_by_answer_length_and_by_the_rationales_log_length():
    expected = [[8 ** (1 / 2), 16 ** (1 / 2), 2 ** (1 / (2 * (1 + math.log(3))))]]
    close(normalised_perplexity(scores()), expected)


def test_the_bound_without_each_leaves_exactly_that_one_out():
    likelihood = log([[1 / 8, 1 / 16, 1 / 2]])
    close(bound_without_each(likelihood), log([[9 / 32, 5 / 16, 3 / 32]]).tolist())


@pytest.mark.parametrize(
    ("reward", "expected"),
    [
        (Reward.LOG_LIKELIHOOD, [[math.log(1 / 8), math.log(1 / 16), math.log(1 / 2)]]),
        (Reward.MEAN_LOG_LIKELIHOOD, [[math.log(1 / 8) / 2, math.log(1 / 16) / 2, math.log(1 / 2) / 2]]),
        (Reward.LIKELIHOOD, [[1 / 8, 1 / 16, 1 / 2]]),
        (Reward.MEAN_TOKEN_PROBABILITY, [[0.0, 0.0, 0.375]]),  # means .375 .25 .75 less .375, not below zero
        (Reward.RELATIVE_PERPLEXITY, [[0.5, 0.0, 1.0]]),  # perplexities 2.83, 4, 1.18
        (Reward.MULTI_SAMPLE_BOUND, [[math.log(11 / 48)] * 3]),
    ],
)
def test_each_reward_on_the_same_answers(reward: Reward, expected: list):
    close(answer_reward(scores(), ObjectiveConfig(reward=reward)), expected)


def test_the_mean_log_likelihood_is_over_the_tokens_that_count_with_their_gradient():
    answer = log([[[0.5, 1.0], [0.25, 0.25], [0.5, 0.125]]]).requires_grad_()
    mask = torch.tensor([[[True, False], [True, True], [True, True]]])
    config = ObjectiveConfig(reward=Reward.MEAN_LOG_LIKELIHOOD)
    reward = answer_reward(scores(answer_NKT=answer, answer_mask_NKT=mask), config)
    close(reward, [[math.log(1 / 2), math.log(1 / 16) / 2, math.log(1 / 16) / 2]])
    reward.sum().backward()
    close(answer.grad * mask, [[[1.0, 0.0], [0.5, 0.5], [0.5, 0.5]]])  # type: ignore[operator]
    whole = answer_reward(scores(), replace(config, answer_mask=AnswerMask.OFF_BY_ONE))
    close(whole, [[(-math.log(8) - 0.1) / 3, (-math.log(16) - 0.2) / 3, (-math.log(2) - 0.3) / 3]])


def test_the_reward_that_the_page_on_rewards_adds_works_once_it_is_added(monkeypatch: pytest.MonkeyPatch):
    page = (Path(__file__).parents[2] / "docs/add-reward.md").read_text(encoding="utf-8")
    [case] = re.findall(r"^```python\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    member, last = (
        '    MULTI_SAMPLE_BOUND = "multi',
        "        case Reward.MULTI_SAMPLE_BOUND:\n            K =",
    )
    member_added = f'    WORST_TOKEN = "worst_token"\n{member}'
    case_added = "".join(f"        {line}\n" for line in case.splitlines()) + last
    for module, place, text in ((settings, member, member_added), (equations, last, case_added)):
        source = Path(module.__file__).read_text(encoding="utf-8")
        assert source.count(place) == 1
        added = ModuleType(module.__name__)
        monkeypatch.setitem(sys.modules, added.__name__, added)  # where imports and dataclasses look for it
        exec(compile(source.replace(place, text), added.__name__, "exec"), added.__dict__)
    config = added.ObjectiveConfig(reward="worst_token", answer_weight=1.0)
    hidden = torch.tensor([[[True, True], [True, True], [True, False]]])
    close(added.answer_reward(scores(answer_mask_NKT=hidden), config), [[0.25, 0.25, 0.5]])
    assert added.objective(scores(), config).advantage_NK.shape == (1, 3)


def test_a_mean_token_probability_without_its_baseline_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="needs the answer's score without a rationale"):
        answer_reward(scores(plain_probability_N=None), ObjectiveConfig(reward=Reward.MEAN_TOKEN_PROBABILITY))


def test_the_paper_preset_from_log_probabilities_to_loss():
    result = objective(scores(), ObjectiveConfig(kl_weight=0.5))
    a, b, c = math.log(1 / 8), math.log(1 / 16), math.log(1 / 2)
    shaped = [a - 0.25, b, c + 0.5 - 2.0]
    expected_advantage = [
        shaped[0] - (shaped[1] + shaped[2]) / 2,
        shaped[1] - (shaped[0] + shaped[2]) / 2,
        shaped[2] - (shaped[0] + shaped[1]) / 2,
    ]
    close(result.answer_reward_NK, [[a, b, c]])
    close(result.log_ratio_NK, [[0.5, 0.0, -1.0]])
    close(result.penalty_NK, [[0.0, 0.0, 2.0]])
    close(result.reward_NK, [shaped])
    close(result.advantage_NK, [expected_advantage])
    loss = [
        expected_advantage[0] - a,
        2 * expected_advantage[1] - b,
        3 * expected_advantage[2] - c,
    ]
    close(result.loss_NK, [loss])


def test_the_published_code_from_log_probabilities_to_loss():
    """Off-by-one reward, cut-off rows set to twice the batch mean, no answer term."""
    result = objective(scores(), ObjectiveConfig(preset="official_code", kl_weight=0.5))
    a, b, c = math.log(1 / 8) - 0.1, math.log(1 / 16) - 0.2, math.log(1 / 2) - 0.3
    cut_off = 2 * (a + b + c) / 3
    shaped = [a - 0.25, b, cut_off + 0.5]
    close(result.reward_NK, [shaped])
    close(result.penalty_NK, [[0.0, 0.0, c - cut_off]])
    first = shaped[0] - (shaped[1] + shaped[2]) / 2
    assert float(result.loss_NK[0, 0]) == pytest.approx(first, abs=1e-12)


def test_the_batch_mean_penalty_looks_over_all_prompts_of_the_batch():
    two = scores(
        **{
            name: torch.cat([getattr(scores(), name)] * 2)
            for name in (
                "rationale_NK",
                "reference_NK",
                "before_answer_NK",
                "length_NK",
                "plain_probability_N",
            )
        },
        answer_NKT=log([[[0.5], [0.5], [0.5]], [[0.25], [0.25], [0.25]]]),
        answer_mask_NKT=torch.ones(2, 3, 1, dtype=torch.bool),
        finished_NK=torch.tensor([[True, True, False], [True, True, True]]),
    )
    result = objective(two, ObjectiveConfig(kl_weight=0.0, penalty=Penalty.BATCH_MEAN))
    half, quarter = math.log(0.5), math.log(0.25)
    close(result.reward_NK, [[half, half, half + quarter], [quarter] * 3])  # 2 · mean = half + quarter


def test_the_multi_sample_bound_credits_each_with_what_the_bound_loses_without_it():
    config = ObjectiveConfig(reward=Reward.MULTI_SAMPLE_BOUND, kl_weight=0.0, penalty_weight=0.0)
    result = objective(scores(), config)
    bound = math.log(11 / 48)
    expected = [3 * (bound - math.log(without)) for without in (9 / 32, 5 / 16, 3 / 32)]
    close(result.advantage_NK, [expected])


def test_the_win_shares_advantage_is_measured_from_one_half():
    config = ObjectiveConfig(reward=Reward.RELATIVE_PERPLEXITY, kl_weight=0.0, penalty_weight=0.0)
    close(objective(scores(), config).advantage_NK, [[0.0, -0.5, 0.5]])


def test_gradients_reach_the_rationale_by_the_advantage_and_the_answer_by_its_weight():
    rationale = torch.tensor([[-1.0, -2.0, -3.0]], dtype=torch.float64, requires_grad=True)
    answer = log([[[0.5, 0.25], [0.25, 0.25], [0.5, 1.0]]]).requires_grad_()
    result = objective(
        scores(rationale_NK=rationale, answer_NKT=answer), ObjectiveConfig(kl_weight=0.5, answer_weight=0.3)
    )
    result.loss_NK.sum().backward()
    close(rationale.grad, (-result.advantage_NK).tolist())  # type: ignore[arg-type]
    close(answer.grad, [[[-0.3] * 2] * 3])  # type: ignore[arg-type]
    for name in ("answer_reward_NK", "log_ratio_NK", "penalty_NK", "reward_NK", "advantage_NK"):
        assert not getattr(result, name).requires_grad, name


def test_the_shuffled_control_permutes_within_a_prompt_and_depends_on_its_generator():
    config = ObjectiveConfig(shuffle_rewards=True)
    plain = objective(scores(), ObjectiveConfig()).advantage_NK
    drawn = {
        tuple(objective(scores(), config, torch.Generator().manual_seed(s)).advantage_NK[0].tolist())
        for s in range(20)
    }
    assert len(drawn) > 3
    assert {tuple(sorted(row)) for row in drawn} == {tuple(sorted(plain[0].tolist()))}


def test_importance_weights_multiply_both_terms_and_stop_at_their_cap():
    ratio = torch.tensor([[0.5, 1.5, 8.0]], dtype=torch.float64)
    weighed = scores(drawn_NK=scores().rationale_NK - ratio.log())
    plain = objective(scores(), ObjectiveConfig())
    capped = objective(weighed, ObjectiveConfig(importance_cap=2))
    close(capped.loss_NK / plain.loss_NK, [[0.5, 1.5, 2.0]])
    close(capped.advantage_NK, plain.advantage_NK.tolist())
    close(objective(weighed, ObjectiveConfig()).loss_NK, plain.loss_NK.tolist())
    with pytest.raises(ValueError, match="log-probabilities with which the rationales were drawn"):
        objective(scores(), ObjectiveConfig(importance_cap=2))


def test_the_presets_are_what_the_paper_and_the_published_code_do():
    paper, code = ObjectiveConfig(), ObjectiveConfig(preset="official_code")
    names = (
        "answer_weight",
        "answer_mask",
        "penalty",
        "score_stop",
        "epoch_unit",
        "penalty_weight",
        "kl_weight",
    )
    assert [getattr(paper, n) for n in names] == [1.0, "answer", "constant", True, "prompts", 2.0, 0.05]
    assert [getattr(code, n) for n in names] == [0.0, "off_by_one", "batch_mean", False, "samples", 2.0, 0.05]
    assert ObjectiveConfig(preset="official_code", answer_weight=1.0).answer_weight == 1.0
    assert ObjectiveConfig(reward="likelihood").reward is Reward.LIKELIHOOD  # type: ignore[arg-type]
    assert [r for r in Reward if ObjectiveConfig(reward=r).needs_plain_answer] == ["mean_token_probability"]


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"preset": "papr"}, "objective.preset='papr' is unknown; choose one of paper, official_code"),
        ({"reward": "lik"}, "objective.reward='lik' is unknown; choose one of log_likelihood, mean_log_lik"),
        ({"answer_mask": "all"}, "objective.answer_mask='all' is unknown; choose one of answer, off_by_one"),
        ({"penalty": "none"}, "objective.penalty='none' is unknown; choose one of constant, batch_mean"),
        ({"kl_weight": -0.1}, "objective.kl_weight=-0.1 must be a finite number, zero or more"),
        ({"kl_weight": math.nan}, "objective.kl_weight=nan must be a finite number, zero or more"),
        ({"answer_weight": "1"}, "objective.answer_weight='1' must be a finite number, zero or more"),
        ({"penalty_weight": math.inf}, "objective.penalty_weight=inf must be a finite number, zero or more"),
        ({"importance_cap": 0.5}, "objective.importance_cap=0.5 must be 1 or more"),
        ({"importance_cap": math.nan}, "objective.importance_cap=nan must be 1 or more"),
        (
            {"importance_cap": 2, "reward": "multi_sample_bound"},
            "objective.importance_cap=2 has no meaning for reward=multi_sample_bound",
        ),
        ({"epoch_unit": "tokens"}, "objective.epoch_unit='tokens' is unknown; choose prompts or samples"),
        (
            {"preset": "official_code", "reward": "multi_sample_bound"},
            "objective.penalty=batch_mean has no meaning for reward=multi_sample_bound; use constant",
        ),
    ],
)
def test_impossible_objectives_are_refused_in_one_line(knobs: dict, message: str):
    with pytest.raises(InputError) as refused:
        ObjectiveConfig(**knobs)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_a_single_rationale_has_nothing_to_be_compared_with():
    with pytest.raises(
        InputError, match="rationales_per_prompt=1: the leave-one-out baseline needs at least 2"
    ):
        leave_one_out(torch.zeros(2, 1))

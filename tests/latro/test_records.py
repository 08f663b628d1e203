"""What a step leaves. Without these, a metric could be the mean of the wrong column."""

import json
import math

import pytest
import torch

from latro.encoding import Rationale
from latro.objective import ObjectiveConfig, Reward, Scores, objective
from latro.records import Sample, make_samples, spread, step_metrics
from latro.types import Example


def sample(**changes: object) -> Sample:
    fields = {
        "step": 1,
        "id": "q1",
        "k": 0,
        "prompt": "?",
        "rationale": "r",
        "answer": "!",
        "finished": True,
        "length": 4,
        "ending": 1,
        "log_answer": -1.0,
        "answer_reward": -1.0,
        "log_ratio": 0.5,
        "log_rationale": -6.0,
        "log_drawn": None,
        "penalty": 0.0,
        "reward": -1.0,
        "advantage": 0.25,
        "loss": 2.0,
    }
    return Sample(**{**fields, **changes})  # type: ignore[arg-type]


def test_every_row_of_a_micro_batch_becomes_a_record_in_prompt_order():
    examples = [
        Example(
            id=f"q{n}", question="?", prompt=f"p{n}", answer=f"a{n}", gold="1", place="rows.jsonl, line 1"
        )
        for n in (1, 2)
    ]
    rationales = [
        Rationale(ids=(1, 2), text="ab", ending=(0,)),
        Rationale(ids=(), text="", ending=(0,)),
        Rationale(ids=(3,), text="c", ending=()),
        Rationale(ids=(4,), text="d", ending=(0,)),
    ]
    scores = Scores(
        rationale_NK=torch.tensor([[-1.0, -2.0], [-3.0, -4.0]]),
        reference_NK=torch.tensor([[-2.0, -2.0], [-3.0, -3.0]]),
        answer_NKT=torch.tensor([[[-1.0, -1.0], [-0.5, 0.0]], [[-4.0, 0.0], [-1.0, 0.0]]]),
        answer_mask_NKT=torch.ones(2, 2, 2, dtype=torch.bool),
        before_answer_NK=torch.zeros(2, 2),
        length_NK=torch.tensor([[2, 0], [1, 1]]),
        finished_NK=torch.tensor([[True, True], [False, True]]),
    )
    result = objective(scores, ObjectiveConfig(kl_weight=0.5))
    samples = make_samples(7, examples, rationales, scores, result, score_stop=True)
    assert [(s.step, s.id, s.k, s.prompt, s.rationale, s.answer, s.length, s.finished) for s in samples] == [
        (7, "q1", 0, "p1", "ab", "a1", 2, True),
        (7, "q1", 1, "p1", "", "a1", 0, True),
        (7, "q2", 0, "p2", "c", "a2", 1, False),
        (7, "q2", 1, "p2", "d", "a2", 1, True),
    ]
    assert [s.ending for s in samples] == [1, 1, 0, 1]
    unscored = make_samples(7, examples, rationales, scores, result, score_stop=False)
    assert [s.ending for s in unscored] == [0, 0, 0, 0]
    assert [s.log_answer for s in samples] == [-2.0, -0.5, -4.0, -1.0]
    assert [s.log_ratio for s in samples] == [1.0, 0.0, 0.0, -1.0]
    assert [s.penalty for s in samples] == [0.0, 0.0, 2.0, 0.0]
    assert [s.reward for s in samples] == [-2.5, -0.5, -6.0, -0.5]
    assert [s.advantage for s in samples] == [-2.0, 2.0, -5.5, 5.5]
    assert [s.loss for s in samples] == [-2.0 + 2.0, 4.0 + 0.5, -16.5 + 4.0, 22.0 + 1.0]
    assert json.loads(json.dumps(samples[0].row()))["reward"] == -2.5


def test_metrics_of_a_step_under_trls_names():
    samples = [
        sample(reward=1.0, length=4),
        sample(reward=3.0, length=0, k=1, log_ratio=1.5, log_answer=-3.0, advantage=-0.75),
        sample(reward=2.0, id="q2", length=8, finished=False, penalty=2.0, advantage=0.25),
        sample(reward=2.0, id="q2", length=4, k=1, advantage=0.25),
    ]
    metrics = step_metrics(samples)
    expected = {
        "reward": 2.0,
        "reward_std": math.sqrt(2) / 2,
        "frac_reward_zero_std": 0.5,
        "kl": 0.75,
        "entropy": 1.2,  # four rationales of -6 nats, 4 tokens in the mean, and one that ends each
        "completions/mean_length": 4.0,
        "completions/min_length": 0,
        "completions/max_length": 8,
        "completions/mean_terminated_length": 8 / 3,
        "completions/clipped_ratio": 0.25,
        "latro/logp_answer": -1.5,
        "latro/answer_reward": -1.0,
        "latro/bound": -2.25,
        "latro/logp_rationale": -6.0,
        "latro/penalty": 0.5,
        "latro/advantage_std": 0.5,
        "latro/advantage_max": 0.75,
        "latro/empty_rationales": 0.25,
    }
    assert metrics == pytest.approx(expected)


@pytest.mark.parametrize(("rewards", "share"), [((1e-9, 3e-9), 0.0), ((2e-9, 2e-9), 1.0), ((0.0, 0.0), 1.0)])
def test_small_rewards_teach_as_large_ones_do(rewards: tuple[float, float], share: float):
    mean = sum(rewards) / 2
    metrics = step_metrics([sample(k=k, reward=r, advantage=2 * (r - mean)) for k, r in enumerate(rewards)])
    assert metrics["frac_reward_zero_std"] == share


def test_the_entropy_counts_every_token_that_was_scored():
    empty = [sample(k=k, length=0, ending=4, log_rationale=-2.0) for k in range(16)]
    assert step_metrics(empty)["entropy"] == 0.5
    unscored = [sample(k=k, length=4, ending=0, log_rationale=-2.0) for k in range(16)]
    assert step_metrics(unscored)["entropy"] == 0.5


def test_how_far_the_sampler_is_from_the_policy_is_told_where_it_is_known():
    metrics = step_metrics([sample(log_drawn=-5.0), sample(log_drawn=-6.5, k=1), sample(k=2)])
    assert metrics["latro/sampler_kl"] == pytest.approx(0.25)
    assert metrics["latro/sampler_gap"] == pytest.approx(1.0)


def test_a_step_in_which_no_rationale_ended_has_no_terminated_length():
    assert (
        step_metrics([sample(finished=False), sample(finished=False)])["completions/mean_terminated_length"]
        == 0.0
    )


def test_the_spread_has_n_less_one_below_it():
    assert spread([1.0, 3.0]) == pytest.approx(math.sqrt(2))
    assert spread([5.0]) == spread([]) == 0.0


def test_a_group_with_one_reward_for_all_teaches_if_its_advantages_differ():
    """The multi-sample bound has one reward for all of a prompt's rationales."""
    scores = Scores(
        rationale_NK=torch.tensor([[-1.0, -2.0], [-3.0, -4.0]]),
        reference_NK=torch.tensor([[-1.0, -2.0], [-3.0, -4.0]]),
        answer_NKT=torch.tensor([[[-1.0], [-4.0]], [[-2.0], [-2.0]]]),
        answer_mask_NKT=torch.ones(2, 2, 1, dtype=torch.bool),
        before_answer_NK=torch.zeros(2, 2),
        length_NK=torch.ones(2, 2, dtype=torch.long),
        finished_NK=torch.ones(2, 2, dtype=torch.bool),
    )
    examples = [Example(id=id, question="", prompt="", answer="", gold="") for id in ("q1", "q2")]
    rationales = [Rationale(ids=(1,), text="a", ending=(0,))] * 4
    result = objective(scores, ObjectiveConfig(reward=Reward.MULTI_SAMPLE_BOUND))
    samples = make_samples(1, examples, rationales, scores, result, score_stop=True)
    metrics = step_metrics(samples)
    assert metrics["reward_std"] == 0.0
    assert metrics["frac_reward_zero_std"] == 0.5

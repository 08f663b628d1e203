"""An evaluation's figures on a model that looks its logits up: each by hand, each beside its own example."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from latro.evaluation import EvaluationConfig, Item, choice_scores, compare_with_others, evaluate, summary
from latro.exact import small_world
from latro.rollout.base import Continuation, Request
from latro.sampling import row_seed
from latro.types import Example, Graded
from tests.fakes import TableConfig, TableModel

A, B, C, D, HASH = range(1, 6)  # of "abcd#"; 0 ends a text
ENCODER = small_world(0).encoder
FIRST = Example(id="q1", question="ab", prompt="ab", answer="#ba", gold="a")
SECOND = Example(id="q2", question="cdc", prompt="cdc", answer="#d", gold="c")
TASK: Any = SimpleNamespace(
    answer_markers=("#",),
    grade=lambda example, output: {"exact": Graded(extracted=output, correct=output == example.gold)},
)


def model(before: int, token: int) -> TableModel:
    """All six tokens are alike, but behind `before` half of the probability is `token`'s, a tenth each other's."""
    logits = torch.zeros(6, 6, 6, dtype=torch.float64)
    logits[:, before, token] = math.log(5)
    return TableModel(TableConfig(vocab_size=6), logits).eval()


class Told:
    """An engine that says what it was told to, and keeps what it was asked."""

    def __init__(self, *answers: list[tuple[int, ...]]) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []

    def continuations(
        self, model: Any, encoder: Any, request: Request, done: Any = None
    ) -> list[Continuation]:
        self.requests.append(request)
        return [Continuation(tokens=tokens) for tokens in self.answers.pop(0)]


def test_an_answer_is_scored_behind_its_own_rationale_behind_none_and_behind_anothers() -> None:
    told, policy = Told([(A, HASH, B, A, 0), (D, D, D)]), model(A, HASH)
    config = EvaluationConfig(max_tokens=5, batch_rows=1)  # one row at a time, the longest first
    items = evaluate(policy, ENCODER, TASK, [FIRST, SECOND], config, engine=told)
    compare_with_others(policy, ENCODER, [FIRST, SECOND], items, items[::-1], config)
    assert [(item.output, item.finished, item.tokens, item.rationale_ids) for item in items] == [
        ("a#ba", True, 5, [A]),
        ("ddd", False, 3, [D, D, D]),
    ]
    expected = [
        {
            "own": 1 / 720,
            "none": 1 / 2160,
            "other": 1 / 2160,
        },  # `#ba` and the end: `a#` is half, behind `a` a tenth
        {"own": 1 / 216, "none": 1 / 216, "other": 1 / 72},
    ]
    for item, shares in zip(items, expected, strict=True):
        assert item.log_answer == pytest.approx({kind: math.log(share) for kind, share in shares.items()})


def test_options_are_scored_behind_their_own_question_in_their_order() -> None:
    asked = [
        Example(id="q1", question="ab", prompt="", answer="", gold="dd", choices=("c", "dd")),
        Example(id="q2", question="ca", prompt="", answer="", gold="b", choices=("dd", "c", "b")),
    ]
    task: Any = SimpleNamespace(likelihood_request=lambda example: (example.question, example.choices))
    items = [
        Item(id=e.id, prompt="", gold=e.gold, output="", finished=True, tokens=1, greedy={}) for e in asked
    ]
    choice_scores(model(D, D), ENCODER, task, asked, items, EvaluationConfig(batch_rows=2), lambda *_: None)
    # c: 1/6; dd: 1/6 times 1/2, which is more for each character
    assert [item.choices for item in items] == [
        {"acc": Graded(extracted="c", correct=False), "acc_norm": Graded(extracted="dd", correct=True)},
        {"acc": Graded(extracted="c", correct=False), "acc_norm": Graded(extracted="dd", correct=False)},
    ]


def test_samples_have_seeds_of_their_own_and_vote_for_their_own_question() -> None:
    told = Told([(A,), (B,)], [(A,), (A,), (B,), (C,), (D,), (D,)])
    config = EvaluationConfig(max_tokens=5, majority=3, temperature=0.7, seed=4, answer_likelihood=False)
    items = evaluate(model(A, HASH), ENCODER, TASK, [FIRST, SECOND], config, engine=told)
    assert [item.samples for item in items] == [["a", "a", "b"], ["c", "d", "d"]]
    assert [item.majority["exact"] for item in items] == [
        Graded(extracted="a", correct=True),
        Graded(extracted="d", correct=False),
    ]
    greedy, sampled = told.requests
    assert (greedy.seeds, sampled.temperature) == (None, 0.7)
    assert sampled.seeds == [row_seed(4, id, j) for id in ("q1", "q2") for j in range(3)]
    assert [list(ids) for ids in sampled.prompts] == [[A, B]] * 3 + [[C, D, C]] * 3


def test_a_summary_takes_its_means_and_the_main_graders_accuracy() -> None:
    right, wrong = Graded(extracted="1", correct=True), Graded(extracted=None, correct=False)
    items = [
        Item(
            id=str(n), prompt="", gold="1", output="", finished=n == 0, tokens=tokens, samples=["x", "y"],
            greedy={"final": right if n < 3 else wrong, "strict": right if n == 3 else wrong},
            majority={"final": right}, choices={"acc": right if n < 2 else wrong},
            log_answer={"own": -float(tokens), "none": -1.0},
        )
        for n, tokens in enumerate((1, 2, 3, 6))
    ]  # fmt: skip
    assert summary(items, "final") == pytest.approx(
        {
            "accuracy_greedy/final": 0.75,
            "accuracy_greedy": 0.75,
            "accuracy_greedy/strict": 0.25,
            "accuracy_maj2/final": 1.0,
            "accuracy_maj2": 1.0,
            "accuracy_choices/acc": 0.5,
            "no_answer_found": 0.25,
            "unfinished": 0.75,
            "output_tokens": 3.0,
            "logp_answer/own": -3.0,
            "logp_answer/none": -1.0,
        }
    )

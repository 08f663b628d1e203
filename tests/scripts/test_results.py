"""Results in lm-eval's shape, tables and disagreements, from items written by hand; no model."""

import io
import json
import math
from typing import Any

import pytest
from rich.console import Console

from latro.evaluation import Item
from latro.types import Graded, LeftOut
from scripts.results import disagreements, estimates, print_estimates, results_json


class OneTask:
    """As much of a task as results read."""

    name = "sums"
    version = "3"
    main_grader = "final"
    answer_markers = ("The answer is",)
    left_out = (LeftOut(id="9", place="train.jsonl, line 9", reason="no gold"),)


def item(number: int, *, right: bool, own: float, none: float, **changes: Any) -> Item:
    values: dict[str, Any] = {
        "id": str(number),
        "prompt": "?",
        "gold": "4",
        "output": "The answer is 4.",
        "finished": True,
        "tokens": 5,
        "greedy": {
            "final": Graded(extracted="4", correct=right),
            "strict": Graded(extracted=None, correct=False),
        },
        "log_answer": {"own": own, "none": none, "other": none - 1},
    }
    return Item(**values | changes)


ITEMS = [
    item(1, right=True, own=-1.0, none=-2.0),
    item(2, right=True, own=-1.5, none=-2.0),
    item(3, right=True, own=-0.5, none=-2.0, finished=False),
    item(4, right=False, own=-3.0, none=-2.0),
]


def test_estimates_are_named_by_metric_and_grader() -> None:
    found = estimates(ITEMS, "final")
    assert {name: round(estimate.value, 3) for name, estimate in found.items()} == {
        "accuracy_greedy,final": 0.75,
        "accuracy_greedy,strict": 0.0,
        "no_answer_found,none": 0.0,
        "unfinished,none": 0.25,
        "logp_answer,own_rationale": -1.5,
        "logp_answer,none_rationale": -2.0,
        "logp_answer,other_rationale": -3.0,
        "logp_answer,own_minus_none": 0.5,
        "logp_answer,own_minus_other": 1.5,
    }
    assert all(estimate.n == 4 for estimate in found.values())


def test_a_gold_rationale_is_measured_against_none() -> None:
    found = estimates(
        [
            item(1, right=True, own=-1.0, none=-2.0, log_answer={"own": -1.0, "none": -2.0, "gold": -0.5}),
            item(2, right=True, own=-1.0, none=-4.0, log_answer={"own": -1.0, "none": -4.0, "gold": -0.5}),
        ],
        "final",
    )
    assert found["logp_answer,gold_rationale"].value == -0.5
    gap = found["logp_answer,gold_minus_none"]
    assert (gap.value, gap.n) == (2.5, 2)


def test_majority_and_option_scores_have_their_own_names() -> None:
    verdict = {"final": Graded(extracted="4", correct=True)}
    voted = [
        item(
            1,
            right=True,
            own=0,
            none=0,
            samples=["a", "b"],
            majority=verdict,
            choices={"acc": verdict["final"]},
        )
    ]
    found = estimates(voted, "final")
    assert found["accuracy_maj2,final"].value == 1.0
    assert found["acc,none"].value == 1.0


def test_results_have_the_shape_of_lm_eval() -> None:
    counts = {"original": 9, "left_out": 5}
    outcome = results_json(OneTask(), ITEMS, split="validation", config={"seed": 0}, seconds=1.5, **counts)  # type: ignore[arg-type]
    row = outcome["results"]["sums"]
    assert (row["alias"], row["accuracy_greedy,final"]) == ("sums", 0.75)
    assert row["accuracy_greedy_stderr,final"] == pytest.approx(math.sqrt(0.75 * 0.25 / 3))
    assert outcome["versions"] == {"sums": "3"}
    assert outcome["n-samples"] == {"sums": {"original": 9, "effective": 4}}
    assert outcome["main_metric"] == {"sums": "accuracy_greedy,final"}
    assert (outcome["left_out"], outcome["split"], outcome["config"]) == (5, "validation", {"seed": 0})
    low, high = outcome["intervals_95"]["sums"]["accuracy_greedy,final"]
    assert (round(low, 3), round(high, 3)) == (0.301, 0.954)
    json.dumps(outcome, allow_nan=False)


def test_single_item_gives_no_number_that_json_does_not_know() -> None:
    counts = {"original": 1, "left_out": 0}
    outcome = results_json(OneTask(), ITEMS[:1], split="test", config={}, seconds=0, **counts)  # type: ignore[arg-type]
    assert outcome["results"]["sums"]["logp_answer_stderr,own_rationale"] == "N/A"
    assert outcome["intervals_95"]["sums"]["logp_answer,own_rationale"] == [None, None]
    json.dumps(outcome, allow_nan=False)


def test_disagreements_name_what_each_grader_found() -> None:
    found = disagreements(ITEMS)
    assert [row["id"] for row in found] == ["1", "2", "3"]
    assert found[0] == {
        "id": "1",
        "gold": "4",
        "extracted": {"final": "4", "strict": None},
        "correct": ["final"],
    }


def test_table_shows_value_interval_and_n() -> None:
    text = io.StringIO()
    print_estimates("sums", estimates(ITEMS, "final"), Console(file=text, width=120))
    line = next(
        line for line in text.getvalue().splitlines() if "accuracy_greedy" in line and "final" in line
    )
    assert "0.750" in line
    assert "[0.301, 0.954]" in line

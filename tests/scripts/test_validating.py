"""Validation shared out over processes; evaluation itself is stood in for."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from latro.evaluation import EvaluationConfig, Item
from latro.exact import small_world
from latro.types import Example
from scripts import validating


@pytest.mark.parametrize(
    ("rank", "compared", "gold"),
    [
        (0, [("a", "b"), ("c", "a")], [("a", [1]), ("c", [])]),
        (1, [("b", "c"), ("a", "b")], [("b", [2]), ("a", [1])]),
    ],
)
def test_processes_share_the_examples_and_each_is_compared_with_the_next(
    rank: int,
    compared: list[tuple[str, str]],
    gold: list[tuple[str, list[int]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    examples = [
        Example(id=id, question="", prompt="", answer="", gold="", rationale=rationale)
        for id, rationale in zip("abc", ("a", "b", ""), strict=True)
    ]
    every = [Item(id=id, prompt="", gold="", output="", finished=True, tokens=1, greedy={}) for id in "abc"]
    by_id = {item.id: item for item in every}
    found: list[list[tuple[str, str]]] = []
    scored: list[tuple[str, list[tuple[str, list[int]]]]] = []

    def evaluate(
        model: Any, encoder: Any, task: Any, mine: list[Example], config: Any, engine: Any
    ) -> list[Item]:
        return [by_id[example.id] for example in mine]

    def compare(model: Any, encoder: Any, mine: Any, own: Any, others: Any, config: Any) -> None:
        found.append([(item.id, other.id) for item, other in zip(own, others, strict=True)])

    def score(model: Any, encoder: Any, mine: Any, own: Any, kind: str, rationales: Any, config: Any) -> None:
        scored.append((kind, [(item.id, ids) for item, ids in zip(own, rationales, strict=True)]))

    monkeypatch.setattr(validating, "evaluate", evaluate)
    monkeypatch.setattr(validating, "answer_likelihoods", score)
    monkeypatch.setattr(validating, "compare_with_others", compare)
    monkeypatch.setattr(validating, "gather_object", lambda pairs: [*pairs, *enumerate(every)])
    trainer: Any = SimpleNamespace(
        accelerator=SimpleNamespace(process_index=rank, num_processes=2, distributed_type=None),
        vllm=None,
        model=SimpleNamespace(config=SimpleNamespace()),
    )
    run: Any = SimpleNamespace(write_table=lambda *_: None)
    nothing: Any = None
    config = EvaluationConfig(max_tokens=4)
    validator = validating.Validator(trainer, run, small_world(0).encoder, nothing, examples, config)
    assert validator.items(nothing) == every
    assert found == [compared]
    assert scored == [("gold", gold)]
    unasked = replace(config, answer_likelihood=False)
    assert validating.Validator(trainer, run, nothing, nothing, examples, unasked).gold is None

"""Validation shared out over processes; evaluation itself is stood in for."""

from types import SimpleNamespace
from typing import Any

import pytest

from latro.evaluation import EvaluationConfig, Item
from latro.types import Example
from scripts import validating


@pytest.mark.parametrize(("rank", "compared"), [(0, [("a", "b"), ("c", "a")]), (1, [("b", "c"), ("a", "b")])])
def test_processes_share_the_examples_and_each_is_compared_with_the_next(
    rank: int, compared: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = [Example(id=id, question="", prompt="", answer="", gold="") for id in "abc"]
    every = [Item(id=id, prompt="", gold="", output="", finished=True, tokens=1, greedy={}) for id in "abc"]
    by_id = {item.id: item for item in every}
    found: list[list[tuple[str, str]]] = []

    def evaluate(
        model: Any, encoder: Any, task: Any, mine: list[Example], config: Any, engine: Any
    ) -> list[Item]:
        return [by_id[example.id] for example in mine]

    def compare(model: Any, encoder: Any, mine: Any, own: Any, others: Any, config: Any) -> None:
        found.append([(item.id, other.id) for item, other in zip(own, others, strict=True)])

    monkeypatch.setattr(validating, "evaluate", evaluate)
    monkeypatch.setattr(validating, "compare_with_others", compare)
    monkeypatch.setattr(validating, "gather_object", lambda pairs: [*pairs, *enumerate(every)])
    trainer: Any = SimpleNamespace(
        accelerator=SimpleNamespace(process_index=rank, num_processes=2, distributed_type=None), vllm=None
    )
    run: Any = SimpleNamespace(write_table=lambda *_: None)
    nothing: Any = None
    config = EvaluationConfig(max_tokens=4)
    validator = validating.Validator(trainer, run, nothing, nothing, examples, config)
    assert validator.items(nothing) == every
    assert found == [compared]

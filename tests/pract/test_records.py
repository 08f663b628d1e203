"""Round trips through JSON, and what importing the package costs. No model."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from pract.records import from_json, packed, to_json
from pract.types import (
    Action,
    Episode,
    Message,
    Observation,
    Principles,
    Reflection,
    Reply,
    Status,
    Step,
    StepResult,
    Task,
    ToolCall,
)

STEP = Step(
    index=0,
    reply=Reply(text="search", seconds=1e-7),
    action=Action(name="search", arguments={"_hidden": 1e22, "q": ["é", None]}),
    observation="found",
    info={"page": {"items": (1, 2)}},
)
VALUES = [
    Reflection(id="r", episode_id="e", task_id="t", principles="v", text="try", reward_shown=True),
    Task(id="a", instruction="é", data={"n": [1, 2.5, None, {"x": True}]}, max_steps=3),
    Message(role="assistant", content="", tool_calls=(ToolCall(id="1", name="a", arguments="{}"),)),
    Reply(text="x", prompt_tokens=3, seconds=0.25, usd=0.1),
    StepResult(observation=Observation(text="x", hints={"admissible": []}), score=0.5, success=True),
    Principles(texts={"b": "1", "a": "2"}, parent="p", evidence=("r",), notes=("n",)),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_record_survives_json(value: object) -> None:
    assert from_json(type(value), json.loads(json.dumps(to_json(value)))) == value


def episode(*steps: Step) -> Episode:
    return Episode(
        id="a/b", task_id="b", instruction="do", environment="toy", environment_version="1", principles="", seed=0,
        first_observation="go", steps=steps, status=Status.OUT_OF_STEPS,
    )  # fmt: skip


@pytest.mark.parametrize("value", [*VALUES, STEP, episode(STEP, STEP)], ids=lambda v: type(v).__name__)
def test_packed_is_the_same_json(value: object) -> None:
    assert json.loads(packed({"data": value})) == {"data": to_json(value)}


@pytest.mark.parametrize("value", [math.nan, math.inf, {1: "a"}, object(), {"a": {1, 2}}, b"x"])
def test_what_json_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        to_json(value)


@pytest.mark.parametrize("cost", [{"usd": math.nan}, {"seconds": math.inf}])
def test_a_reply_costs_a_finite_amount(cost: dict[str, float]) -> None:
    """The quick encoder would write null, and the log could not be read again."""
    with pytest.raises(ValueError, match="what a reply cost is a finite number"):
        Reply(text="", **cost)  # type: ignore[arg-type]


def test_what_the_quick_encoder_cannot_pack_is_packed_all_the_same() -> None:
    assert packed({"n": 10**30, "status": Status.BUDGET}) == b'{"n": %d, "status": "budget"}' % 10**30
    assert packed(["a\ud800b", "é"]) == '["a?b", "é"]'.encode()
    deep: list[object] = []
    for _ in range(300):
        deep = [deep]
    assert packed(deep) == b"[" * 301 + b"]" * 301
    with pytest.raises(TypeError, match="does not survive JSON"):
        packed({"a": {1, 2}})


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (Task, {"id": 3, "instruction": "x"}),
        (Task, {"id": "a", "instruction": "x", "colour": "red"}),
        (Task, {"id": "a"}),
        (Reply, {"text": "a", "prompt_tokens": True}),
        (Message, [1]),
    ],
)
def test_data_of_another_shape_is_refused(kind: type, data: object) -> None:
    with pytest.raises(TypeError):
        from_json(kind, data)


def test_enums_are_read_by_value() -> None:
    assert from_json(Status, "finished") is Status.FINISHED
    with pytest.raises(ValueError, match="nonsense"):
        from_json(Status, "nonsense")


def test_progress_left_out_is_the_score() -> None:
    assert StepResult(observation=Observation(text=""), score=0.25).progress == 0.25


def test_equal_texts_have_equal_versions_whatever_their_history() -> None:
    assert (
        Principles(texts={"a": "x"}).version == Principles(texts={"a": "x"}, parent="p", author="q").version
    )
    assert Principles(texts={"a": "x"}).version != Principles(texts={"a": "y"}).version
    with pytest.raises(TypeError):
        Principles(texts={"a": "x"}).texts["a"] = "y"  # type: ignore[index]


def test_importing_the_loop_takes_under_half_a_second_and_no_torch() -> None:
    code = (
        "import time; t = time.process_time(); import pract.wiring, pract.evaluation, pract.llm.openai;"
        "s = time.process_time() - t;"
        "import sys; heavy = {'torch', 'transformers', 'openai', 'hydra'} & set(sys.modules);"
        "print(s); assert not heavy, heavy"
    )
    root = Path(__file__).resolve().parents[2]
    runs = [
        subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
        for _ in range(2)
    ]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr
    assert min(float(run.stdout) for run in runs) < 0.5

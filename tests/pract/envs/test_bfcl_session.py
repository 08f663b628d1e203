"""BFCL's conversations over an API made here; its package is not needed."""

from types import SimpleNamespace
from typing import Any

import pytest

from pract.envs.bfcl import Session, _verdict
from pract.envs.tools.functions import Refused, Verdict
from pract.types import Task


class Box:
    def _load_scenario(self, setting: dict[str, Any], long_context: bool = False) -> None:
        self.things: list[str] = []

    def put(self, thing: str) -> dict[str, int]:
        self.things.append(thing)
        return {"things": len(self.things)}


CHECKER: Any = SimpleNamespace(
    state_checker=lambda mine, wanted: {"valid": mine["Box"].things == wanted["Box"].things},
    response_checker=lambda seen, wanted, turn: {"valid": set(wanted) <= set(seen)},
)
TASK = Task(
    id="t",
    instruction="a",
    data={
        "requests": ["a", "b"],
        "ground_truth": [["put(thing='x')"], ["put('y')"]],
        "apis": ["Box"],
        "setting": {},
        "long_context": False,
    },
)


@pytest.mark.parametrize(
    ("first", "second", "score", "progress"),
    [("x", "y", 1.0, 1.0), ("x", "z", 0.0, 0.5), ("x", None, 0.0, 0.5), (None, "y", 0.0, 0.0)],
)
def test_a_conversation_is_right_if_every_turn_is(
    first: str | None, second: str | None, score: float, progress: float
) -> None:
    session = Session(TASK, CHECKER, {"Box": __name__})
    said = []
    for thing in (first, second):
        if thing is not None:
            session.call("put", {"thing": thing})
        said.append(session.end_turn())
    assert said == ["b", "The conversation is over."]
    assert _verdict(TASK, session) == Verdict(score=score, progress=progress)
    with pytest.raises(Refused, match="fly belongs to an API that this conversation does not have"):
        session.call("fly", {})

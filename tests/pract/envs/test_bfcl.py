"""BFCL multi-turn with its own checker; extra `bfcl` (installed without its dependencies)."""

import itertools

import pytest

pytest.importorskip("bfcl_eval", reason="extra bfcl is not installed")
pytest.importorskip("mpmath", reason="mpmath is not installed")

from pract.envs.bfcl import APIS, CATEGORIES, Bfcl
from pract.envs.contract import check_environment
from pract.errors import InputError
from pract.types import Action


def test_the_file_system_holds_the_contract() -> None:
    report = check_environment(Bfcl())
    assert report.tasks == {"train": 6, "validation": 3, "test": 4}
    assert report.oracle_tasks == 9


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_reference_calls_score_full_and_doing_nothing_scores_nothing(category: str) -> None:
    seen: set[str] = set()
    for apis in [*itertools.combinations(APIS, 1), *itertools.combinations(APIS, 2)]:
        env = Bfcl(apis, category)
        for task in (task for split in env.splits() for task in env.tasks(split)):
            if task.id in seen:
                continue
            seen.add(task.id)
            actions = env.oracle(task)
            env.reset(task)
            assert [env.step(action) for action in actions][-1].score == 1.0, task.id
            env.reset(task)
            assert [env.step(Action(name="end_turn")) for _ in task.data["requests"]][-1].score == 0.0, (
                task.id
            )
    assert len(seen) == 200


def test_a_conversation_runs_turn_by_turn() -> None:
    env = Bfcl(("GorillaFileSystem", "TwitterAPI"))
    task = next(t for split in env.splits() for t in env.tasks(split) if t.id == "multi_turn_base_0")
    assert env.reset(task).text.startswith("Move 'final_report.pdf' within document directory")
    assert env.step(Action(name="cd", arguments={"folder": "document"})).observation.text == (
        '{"current_working_directory": "document"}'
    )
    second = env.step(Action(name="end_turn"))
    assert second.observation.text.startswith("Perform a detailed search using grep")
    assert (second.score, second.progress) == (0.0, 0.0)


def test_unknown_apis_are_refused() -> None:
    with pytest.raises(InputError, match="choose from"):
        Bfcl(("NoAPI",))

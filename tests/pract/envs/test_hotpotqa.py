"""Questions over given paragraphs: search, lookup, exact match and F1 by literals. No model."""

import json
from pathlib import Path

import pytest

from pract.envs.hotpotqa import HotpotQA
from pract.envs.tools.answers import exact_match, same_answer, token_f1
from pract.errors import InputError
from pract.types import Action


def call(action: str, **arguments: object) -> Action:
    return Action(name=action, arguments=arguments)


@pytest.mark.parametrize(
    ("given", "expected", "exact", "f1"),
    [
        ("The viola!", "viola", True, 1.0),
        ("viola and organ", "viola", False, 0.5),
        ("yes indeed", "yes", False, 0.0),
        ("no", "yes", False, 0.0),
        ("", "viola", False, 0.0),
        ("Tolverne town", "market town Tolverne", False, 0.8),
    ],
)
def test_exact_match_and_f1_are_those_of_hotpotqa(given: str, expected: str, exact: bool, f1: float) -> None:
    assert exact_match(given, expected) is exact
    assert token_f1(given, expected) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("given", "expected", "same"),
    [
        ("3", 3, True),
        ("$1,250.00", 1250, True),
        ([3], 3, True),
        ("three", 3, False),
        (True, 1, False),
        ("['b', 'A']", ["a", "b"], True),
        (["a", "a"], ["a"], False),
        ("a", ["a"], True),
        ("[]", [], True),
        ("Yes.", "yes", True),
        ("{'a': 1}", {"a": 1}, True),
        ("[" * 30_000, ["a"], False),
        ("9" * 400, 9, False),
        (".5", 0.5, True),
        (".5", 5, False),
        ("$.75.", 0.75, True),
        ("-.5", -0.5, True),
        (" 5. ", 5, True),
        (33.9, [33.9], True),
        (33.9, [33.9, 1], False),
        ("1,250", [1250], True),
        (
            "[('2023-12-11', '0.0'), ('2023-12-12', '0.7')]",
            [["2023-12-12", "0.7"], ["2023-12-11", "0.0"]],
            True,
        ),
        ("('b', 'A')", ["a", "b"], True),
        ("{'a': (1, 2)}", {"a": [1, 2]}, True),
    ],
)
def test_answers_agree_by_value(given: object, expected: object, same: bool) -> None:
    assert same_answer(given, expected) is same


def test_paragraphs_are_searched_opened_and_looked_up() -> None:
    env = HotpotQA()
    task = env.tasks("train")[0]
    assert env.reset(task).text == "In which town was the builder of the Marrow Bridge born?"
    found = env.step(call("search", query="Marrow Bridge builder")).observation.text
    assert found.splitlines()[0] == (
        "Marrow Bridge: The Marrow Bridge is a stone bridge over the river Ilse. "
        "It was built in 1788 by Hanne Orlund. It has five arches."
    )
    assert found.splitlines()[1].startswith("Other matches: Hanne Orlund")
    looked = env.step(call("lookup", keyword="built")).observation.text
    assert looked == "(Result 1 of 1) It was built in 1788 by Hanne Orlund."
    assert env.step(call("lookup", keyword="built")).observation.text == (
        "There are no more sentences with 'built'."
    )
    result = env.step(call("finish", answer="Tolverne."))
    assert (result.score, result.success, result.info) == (1.0, True, {"f1": 1.0, "exact_match": True})


def test_half_right_is_f1_and_no_success() -> None:
    env = HotpotQA()
    env.reset(env.tasks("train")[0])
    result = env.step(call("finish", answer="market town of Tolverne"))
    assert result.score == pytest.approx(0.4)
    assert result.success is False


def test_a_search_without_a_hit_names_the_paragraphs() -> None:
    env = HotpotQA()
    env.reset(env.tasks("validation")[0])
    assert env.step(call("lookup", keyword="x")).observation.text == "No paragraph is open; search first."
    result = env.step(call("search", query="xylophone"))
    assert result.refused
    assert "Lantern Moth; Copper Heron" in result.observation.text


def test_the_real_questions_are_split_by_wording_and_all_solvable(real_data: Path) -> None:
    env = HotpotQA(str(real_data / "hotpotqa"))
    assert [len(env.tasks(split)) for split in env.splits()] == [150, 75, 75]
    for task in (task for split in env.splits() for task in env.tasks(split)):
        env.reset(task)
        results = [env.step(action) for action in env.oracle(task)]
        assert results[-1].score == 1.0
        assert not any(result.refused for result in results)


def test_bad_levels_and_torn_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="choose from easy, medium, hard"):
        HotpotQA(levels=["brutal"])
    row = {"question": "q", "answer": "a", "context": [["title"]]}
    (tmp_path / "bolaa_easy.jsonl").write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(InputError, match=r"bolaa_easy\.jsonl, line 1: a paragraph of 'context'"):
        HotpotQA(str(tmp_path), levels=["easy"])


@pytest.mark.parametrize("given", ["{['a', 'b']}", "1" + "0" * 320, 10**320])
def test_an_answer_that_python_cannot_hold_is_wrong_and_no_error(given: object) -> None:
    assert not same_answer(given, ["a", "b"])
    assert not same_answer(given, 3)

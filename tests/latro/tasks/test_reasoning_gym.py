"""reasoning-gym generators: their own scorer, disjoint splits. Runs the package where it is installed."""

import sys
from types import SimpleNamespace

import pytest

from latro.errors import InputError
from latro.grading.vote import majority_vote
from latro.tasks.reasoning_gym import ReasoningGym
from latro.types import Example


def gym(generator: str, **settings: object) -> ReasoningGym:
    pytest.importorskip("reasoning_gym")
    sizes: dict[str, object] = {"train_size": 20, "validation_size": 5, "test_size": 5}
    return ReasoningGym(generator=generator, **(sizes | settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "generator", ["chain_sum", "gsm_symbolic", "n_queens", "knights_knaves", "family_relationships"]
)
def test_gold_answers_get_full_marks_and_three_wrong_ones_none(generator: str) -> None:
    task = gym(generator)
    for example in task.examples("train"):
        assert task.grade(example, f"Let me see. {example.answer}")["score"].correct
        assert task.grade(example, f"<answer>{example.gold}</answer>")["score"].correct
        for wrong in ("The answer is -77777.", "The answer is no idea.", ""):
            assert not task.grade(example, wrong)["score"].correct


def test_a_question_is_in_one_split_only_and_repeats_are_left_out() -> None:
    task = gym("coin_flip", config={"min_trials": 3, "max_trials": 4}, train_size=60)
    task.open_test()
    questions = [
        example.question for split in ("train", "validation", "test") for example in task.examples(split)
    ]
    assert len(questions) == len(set(questions))
    assert len(questions) + len(task.left_out) == 70
    assert task.left_out[0].reason.startswith("same question as reasoning_gym/coin_flip/")
    repeats = gym("needle_haystack", train_size=3).examples("train")
    assert [example.id for example in repeats] == [
        f"reasoning_gym/needle_haystack/train/0/{n}" for n in range(3)
    ]


def test_the_same_seed_gives_the_same_questions_whatever_is_read_first() -> None:
    one, other, third = gym("chain_sum", seed=1), gym("chain_sum", seed=1), gym("chain_sum", seed=2)
    other.open_test()
    other.examples("test")
    assert one.examples("train") == other.examples("train")
    assert one.examples("train") != third.examples("train")


def test_an_example_of_another_instance_is_graded_too() -> None:
    example = gym("chain_sum").examples("train")[3]
    assert gym("chain_sum").grade(example, example.answer)["score"].correct


@pytest.mark.parametrize("output", ["\x00", "9**9**9**9", "\\boxed{", "The answer is (((.", "1" * 50_000])
def test_a_strange_output_is_wrong_and_no_error(output: str) -> None:
    task = gym("countdown", train_size=1, validation_size=1, test_size=1)
    assert not task.grade(task.examples("train")[0], output)["score"].correct


@pytest.mark.parametrize(("gold", "right"), [("dog", False), ("cat", True)])
def test_the_vote_does_not_know_the_gold_answer(gold: str, right: bool) -> None:
    task = ReasoningGym()
    example = Example(id="x", question="", prompt="", answer="", gold=gold)
    scorer = SimpleNamespace(score_answer=lambda answer, entry: float(answer == entry["answer"]))
    task._entries["x"] = scorer, {"answer": gold}
    said = ("dog.", "dog", "cat.", "cat", "**cat**.")
    verdicts = [task.grade(example, f"The answer is {answer}")["score"] for answer in said]
    assert [verdict.extracted for verdict in verdicts] == ["dog", "dog", "cat", "cat", "cat"]
    assert [verdict.correct for verdict in verdicts] == [not right] * 2 + [right] * 3
    assert majority_vote(verdicts).correct is right


def test_a_generator_without_gold_answers_is_refused() -> None:
    with pytest.raises(InputError, match="the first one left out: the generator names no gold answer"):
        gym("propositional_logic").examples("train")


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"^task\.generator='sums' is no generator of reasoning-gym; use one of ab, "
    ):
        gym("sums").examples("train")
    with pytest.raises(
        InputError, match=r"^task\.config=\{'terms': 3\} does not suit chain_sum \(.*\); mend it$"
    ):
        gym("chain_sum", config={"terms": 3}).examples("train")
    with pytest.raises(
        InputError, match=r"sizes \(20, 0, 5\), task\.seed=0; use sizes from 1 to 1000000 and a seed"
    ):
        gym("chain_sum", validation_size=0)


def test_a_missing_package_is_named_with_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(InputError) as caught:
        ReasoningGym().examples("train")
    remedy = "pip install 'latro-pract[reasoning-gym]'"
    assert str(caught.value) == f"task reasoning_gym needs a package that is not installed; {remedy}"

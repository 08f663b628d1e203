"""Questions with one action, over a source made here; no data set, no model."""

from dataclasses import dataclass

import pytest

from pract.envs.contract import check_environment
from pract.envs.qa import QuestionAnswering, answer_line
from pract.errors import InputError
from pract.types import Action


@dataclass(frozen=True)
class Sum:
    id: str
    prompt: str
    answer: str
    gold: str


@dataclass(frozen=True)
class Mark:
    correct: bool


class Sums:
    """Sums whose grader wants the answer line."""

    name = "sums"
    version = "3"
    answer_markers = ("The answer is",)
    main_grader = "strict"
    opened = False

    def examples(self, split: str) -> list[Sum]:
        first = {"train": 0, "validation": 10, "test": 20}[split]
        if split == "test" and not self.opened:
            raise InputError("test is closed")
        numbers = range(first, first + 4)
        return [Sum(f"s{n}", f"What is {n} + 1?", f"The answer is {n + 1}.", str(n + 1)) for n in numbers]

    def grade(self, example: Sum, output: str) -> dict[str, Mark]:
        return {"strict": Mark(output.strip().endswith(example.answer)), "lax": Mark(True)}

    def open_test(self) -> None:
        self.opened = True


def score(answer: str) -> float:
    env = QuestionAnswering(Sums(), licence="MIT")
    env.reset(env.tasks("train")[1])
    result = env.step(Action(name="finish", arguments={"answer": answer}))
    assert result.terminated
    assert result.observation.text == "Your answer has been taken."
    return result.score


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("2", 1.0),
        (" 2 ", 1.0),
        ("I add. The answer is 2.", 1.0),
        ("3", 0.0),
        ("", 0.0),
        ("The answer is 3.", 0.0),
    ],
)
def test_an_answer_alone_counts_as_much_as_the_whole_line(answer: str, expected: float) -> None:
    assert score(answer) == expected


def test_the_answer_line_is_built_around_the_given_answer() -> None:
    question = Sum("s", "?", "So 4 is it: 4.", "4")
    assert answer_line("7", question, ("The answer is",)) == "So 4 is it: 7."


def test_the_test_split_is_opened_only_when_it_is_asked_for() -> None:
    source = Sums()
    env = QuestionAnswering(source)
    env.tasks("train")
    env.content_hash()
    QuestionAnswering(source).reset(env.tasks("validation")[0])
    assert not source.opened
    assert len(env.tasks("test")) == 4
    assert source.opened


def test_a_source_of_questions_holds_the_contract() -> None:
    report = check_environment(QuestionAnswering(Sums(), licence="MIT"))
    assert report.environment == "qa_sums"
    assert report.version == "1-3"
    assert report.oracle_tasks == 9


def test_a_source_without_a_grader_is_refused() -> None:
    with pytest.raises(InputError, match=r"env.source object has no examples, grade, main_grader"):
        QuestionAnswering(object())  # type: ignore[arg-type]

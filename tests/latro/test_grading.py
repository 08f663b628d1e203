"""Symbolic, likelihood, voting and named graders, without any dataset or model."""

import threading
import time

import pytest

from latro.errors import InputError
from latro.grading.likelihood import likelihood_grades
from latro.grading.named import GRADERS, final, final_text, named_grader
from latro.grading.symbolic import symbolic
from latro.grading.vote import majority_vote
from latro.types import Example, Graded

STRANGE = ["", " ", "\x00", "\ud800", "\\boxed{", "}" * 50, "####", "The answer is", "9" * 10_000, "$" * 3000]
STRANGE += [
    "((((" * 200,
    "\\frac{1}{0}",
    "\\boxed{\\frac{}{}}",
    "nan",
    "1e999",
    "Answer: " * 500,
    "\\" * 99,
    "∞ ≠ ½",
]


def gold(text: str, *choices: str) -> Example:
    return Example(
        id="1", question="", prompt="", answer=f"The answer is {text}.", gold=text, choices=choices
    )


@pytest.mark.parametrize(
    ("answer", "output", "correct"),
    [
        ("42", "\\boxed{42}", True),
        ("42", "The answer is 42.", True),
        ("42", "\\boxed{\\text{42 apples}}", False),
        ("0.75", "So \\boxed{\\frac{3}{4}}.", True),
        ("\\frac{1}{2}", "\\boxed{0.5}", True),
        ("x^2-1", "\\boxed{(x-1)(x+1)}", True),
        ("x^2-1", "\\boxed{(x-1)(x-1)}", False),
        ("42", "\\boxed{43}", False),
        ("42", "no idea", False),
    ],
)
def test_symbolic_accepts_what_is_mathematically_equal(answer: str, output: str, correct: bool) -> None:
    assert symbolic(gold(answer), output).correct is correct


def test_symbolic_works_in_a_thread_where_no_signal_can_stop_it() -> None:
    found: list[Graded] = []
    worker = threading.Thread(target=lambda: found.append(symbolic(gold("0.5"), "\\boxed{\\frac{1}{2}}")))
    worker.start()
    worker.join()
    assert [verdict.correct for verdict in found] == [True]


@pytest.mark.parametrize("power", ["9^{9^{9^9}}", "9**9**9", "2^{100000000}", "(9^{99})^{99}", "10000000!"])
def test_symbolic_does_not_evaluate_what_would_take_for_ever(power: str) -> None:
    start = time.monotonic()
    assert symbolic(gold("42"), f"\\boxed{{{power}}}") == Graded(extracted=None, correct=False)
    assert time.monotonic() - start < 1


@pytest.mark.parametrize("name", GRADERS)
def test_no_grader_raises_for_a_strange_output(name: str) -> None:
    for example in (gold("42"), gold("blue"), gold("b.", "a", "b.", "c")):
        for output in STRANGE:
            assert not GRADERS[name](example, output).correct


def test_final_takes_option_number_or_text_as_the_gold_answer_demands() -> None:
    assert final(gold("b", "a", "b"), "The answer is (B).").extracted == "b"
    assert final(gold("1,234"), "The answer is 1234 apples.") == Graded(extracted="1234", correct=True)
    assert final(gold("blue"), "The answer is Blue.") == Graded(extracted="blue", correct=True)


def test_final_text_reads_whole_lines_before_sentences() -> None:
    assert final_text(gold("Dr. No"), "The answer is Dr. No. It was a film.").correct
    assert final_text(gold("Paris"), "The answer is paris. It is in France.").correct
    assert final_text(gold("Paris"), "The answer is Lyon. Not Paris.") == Graded(
        extracted="lyon. not paris", correct=False
    )


@pytest.mark.parametrize(
    ("answer", "right"), [("U.S. Grant", [True, False, False]), ("U.S", [True] * 3), ("Lincoln", [False] * 3)]
)
def test_the_vote_of_free_text_does_not_know_the_gold_answer(answer: str, right: list[bool]) -> None:
    outputs = [f"The answer is {name}." for name in ("U.S. Grant", "U.S. Steel", "U.S. Bank")]
    said = [final_text(gold(answer), output) for output in outputs]
    assert [verdict.extracted for verdict in said] == ["u.s. grant", "u.s. steel", "u.s. bank"]
    assert [verdict.correct for verdict in said] == right


def test_acc_takes_the_largest_sum_and_acc_norm_the_largest_per_character() -> None:
    example = gold("a long option", "short", "a long option.")
    verdicts = likelihood_grades(example, [-5.0, -7.0])  # per character: -1.0 and -0.5
    assert verdicts == {
        "acc": Graded(extracted="short", correct=False),
        "acc_norm": Graded(extracted="a long option", correct=True),
    }


def test_likelihood_ties_go_to_the_earlier_choice() -> None:
    verdicts = likelihood_grades(gold("aa", "aa", "bb"), [-3.0, -3.0])
    assert verdicts["acc"] == verdicts["acc_norm"] == Graded(extracted="aa", correct=True)


@pytest.mark.parametrize("scores", [[-1.0], [-1.0, float("nan")]])
def test_likelihood_scores_that_do_not_fit_are_an_error(scores: list[float]) -> None:
    with pytest.raises(ValueError, match=r"^1: "):
        likelihood_grades(gold("a", "a", "b"), scores)


def votes(*answers: str | None) -> list[Graded]:
    return [Graded(extracted=answer, correct=answer == "7") for answer in answers]


@pytest.mark.parametrize(
    ("answers", "winner"),
    [
        (("7", "8", "7"), "7"),
        (("8", "7", "7", "8"), "8"),  # a tie: the answer sampled first
        ((None, None, "7"), "7"),
        ((None, None), None),
        (("7",), "7"),
    ],
)
def test_the_majority_wins_and_silence_does_not_vote(
    answers: tuple[str | None, ...], winner: str | None
) -> None:
    assert majority_vote(votes(*answers)) == Graded(extracted=winner, correct=winner == "7")


def test_a_vote_without_samples_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        majority_vote([])


def test_a_grader_is_named_or_imported() -> None:
    assert named_grader("final") is final
    assert named_grader("latro.grading.named.final_text") is final_text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("finl", "task.graders: no grader 'finl'; use one of final, final_number, "),
        ("nowhere.grader", "task.graders: cannot import 'nowhere.grader' (No module named 'nowhere'); "),
        ("latro.grading.named.absent", "task.graders: cannot import 'latro.grading.named.absent' ("),
    ],
)
def test_an_unknown_grader_is_refused(name: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        named_grader(name)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("output", "correct"),
    [
        ('I should look.\nAction: look[{"at": "x."}]', True),
        ('Action: look[{"at": "x."}] \n', True),
        ('Action: look[{"at": "x"}]', False),
        ('Action: look[{"at": "x."}]\nand more', False),
        ("", False),
    ],
)
def test_an_answer_for_programs_is_right_letter_by_letter(output: str, correct: bool) -> None:
    call = 'look[{"at": "x."}]'
    example = Example(id="1", question="", prompt="", answer=f"Action: {call}", gold=call)
    graded = named_grader("answer_line")(example, output)
    assert graded.correct is correct
    assert (graded.extracted is None) == (output == "")

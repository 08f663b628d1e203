"""Numeric verdicts, without any dataset: literal texts in, literal verdicts out."""

import pytest

from latro.grading.numbers import cot_strict, final_number, flexible, paper_number, strict
from latro.grading.quantities import canonical_number, canonical_quantity
from latro.types import Example, Graded

FOUR_DIGITS = Example(id="1", question="", prompt="", answer="The answer is 1234.", gold="1234")
FORTY_TWO = Example(id="2", question="", prompt="", answer="The answer is 42.", gold="42")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("42", "42"),
        ("$1,234.50", "1234.5"),
        ("-$5", "-5"),
        ("$-5", "-5"),
        ("−3", "-3"),
        ("-0.00", "0"),
        ("007", "7"),
        (".5", "0.5"),
        (r"\$1{,}234", "1234"),
        ("9" * 500, "9" * 500),
        ("1,23", None),
        ("12 apples", None),
        ("", None),
        ("٣", None),
    ],
)
def test_a_number_has_one_canonical_form(text: str, number: str | None) -> None:
    assert canonical_number(text) == number


@pytest.mark.parametrize(
    ("output", "extracted"),
    [
        ("The answer is 42.", "42"),
        ("the answer is: **42**", "42"),
        ("Therefore, the final answer would be $42.00.", "42"),
        ("So \\boxed{42} it is, out of 50.", "42"),
        ("The answer is $\\boxed{\\$1{,}234}$.", "1234"),
        ("Step 1 of 7\n#### 42", "42"),
        ("**Answer:** 42 apples", "42"),
        ("The answer is 6 * 7 = 42.", "42"),
        ("The answer is $6 \\times 7 = 42$.", "42"),
        ("The answer is:\n\n42 apples, because 3 rows hold 14.", "42"),
        ("The answer is 7. No wait. The answer is 42.", "42"),
        ("The answer is 42. I checked 3 times.", "42"),
        ("The answer is -42.", "-42"),
        ("That leaves 50 - 8", "8"),
        ("We get 5+37=42", "42"),
        ("nothing here", None),
        ("", None),
    ],
)
def test_the_final_number_is_the_one_the_text_commits_itself_to(output: str, extracted: str | None) -> None:
    assert final_number(FORTY_TWO, output) == Graded(extracted=extracted, correct=extracted == "42")


@pytest.mark.parametrize(
    ("output", "extracted"),
    [
        ("The answer is therefore -5.", "-5"),
        ("The final answer is about -3.", "-3"),
        ("So x equals -5.", "-5"),
        ("The answer is 10 -3 apples, as 5 -3 = 2.", "10"),
        ("She has 10-3", "3"),
        ("She has (4+6) -3", "3"),
        ("The answer is 3/4.", "0.75"),
        ("The answer is $\\frac{3}{4}$.", "0.75"),
        ("The answer is $-\\dfrac{3}{4}$.", "-0.75"),
        ("So \\boxed{\\frac{1}{4}}.", "0.25"),
        ("The answer is \\frac{1}{3}.", "1/3"),
        ("The answer is 4/6.", "2/3"),
        ("The answer is 1 1/2 cups.", "1.5"),
        ("The answer is 1 \\frac{1}{2} cups.", "1.5"),
        ("The answer is 5/0.", None),
        ("The answer is $3/hour.", "3"),
        ("The answer is 10^6.", "1000000"),
        ("The answer is $2^{-2}$.", "0.25"),
        ("The answer is 1.5 \\times 10^3.", "1500"),
        ("The answer is $60^\\circ$.", "60"),
        ("The answer is 10^99999999.", None),
        ("The answer is 5 million.", "5000000"),
        ("The answer is 2.5 thousand people.", "2500"),
        ("The answer is 3 apples + 4 apples = 7 apples.", "7"),
        ("The answer is (3+5)=8.", "8"),
        ("The answer is \\frac{3}{4} \\times 8 = 6.", "6"),
        ("The answer is 2 * 3 = 4 + 2 = 6.", "6"),
        ("The answer is 60% of 50 = 30.", "30"),
        ("The answer is 60\\% of $50 = $30.", "30"),
        ("The answer is 1/2 of 4 = 2", "2"),
        ("The answer is 1/2 of the 4.", "0.5"),
        ("The answer is 2(3+4) = 14.", "14"),
        ("The answer is 2((3+4)*5) = 70.", "70"),
        ("The answer is (2+3)(4) = 20.", "20"),
        ("The answer is 24(4*2=8, 8*3=24).", "24"),
        ("The answer is 5, where x=2.", "5"),
        ("The answer is 5 since 7 - 2 = 5 and 1 + 1 = 2.", "5"),
    ],
)
def test_a_quantity_is_read_whole(output: str, extracted: str | None) -> None:
    assert final_number(FORTY_TWO, output).extracted == extracted


@pytest.mark.parametrize(
    ("gold", "output", "right"),
    [
        ("5", "The answer is therefore -5.", False),
        ("-3", "The final answer is about -3.", True),
        ("3", "The answer is 3/4.", False),
        ("1", "\\boxed{\\frac{1}{4}}", False),
        ("0.25", "\\boxed{\\frac{1}{4}}", True),
        ("10", "The answer is 10^6.", False),
        ("5", "The answer is 5 million.", False),
        ("1/3", "The answer is 2/6.", True),
    ],
)
def test_gold_and_answer_are_compared_as_quantities(gold: str, output: str, right: bool) -> None:
    example = Example(id="3", question="", prompt="", answer=f"The answer is {gold}.", gold=gold)
    assert final_number(example, output).correct is right


@pytest.mark.parametrize(
    ("text", "quantity"), [("3/4", "0.75"), ("-1/8", "-0.125"), ("6/3", "2"), ("4 and 5", None)]
)
def test_a_quantity_has_one_canonical_form(text: str, quantity: str | None) -> None:
    assert canonical_quantity(text) == quantity


def test_a_label_before_a_whole_derivation_is_no_commitment() -> None:
    output = "Answer: She sold 24 clips in May and 48 clips in April, so she sold 42"
    assert final_number(FORTY_TWO, output).extracted == "42"


def test_a_markdown_heading_is_no_commitment() -> None:
    assert (
        final_number(FORTY_TWO, "#### Step 1\nThere are 40.\n#### 2. Add 2\nThis makes 42").extracted == "42"
    )


@pytest.mark.parametrize(
    ("output", "extracted", "correct"),
    [
        ("The answer is 1,234 of 99.", "1234", True),
        ("The answer is 1. Or: The answer is 1234.0", "1234", True),
        ("the answer is 7 but 1234", "1234", True),  # the marker is matched with its case
        ("1234 it is. The answer is unclear.", "1234", True),  # no number behind it: the last of the text
        ("The answer is 6 * 7 = 1234.", "6", False),
        ("", None, False),
    ],
)
def test_the_papers_extraction_takes_the_first_number_behind_the_last_marker(
    output: str, extracted: str | None, correct: bool
) -> None:
    assert paper_number(FOUR_DIGITS, output) == Graded(extracted=extracted, correct=correct)


def test_the_papers_extraction_survives_numbers_too_large_for_a_float() -> None:
    assert paper_number(FOUR_DIGITS, "9" * 400) == Graded(extracted="9" * 400, correct=False)


@pytest.mark.parametrize(
    ("output", "extracted", "correct"),
    [
        ("#### 1,234.", "1234", True),
        ("#### 1234\n#### 5", "1234", True),
        ("####1234", None, False),
        ("The answer is 1234.", None, False),
        ("#### $1234", None, False),
    ],
)
def test_strict_is_lm_evals_first_hash_line(output: str, extracted: str | None, correct: bool) -> None:
    assert strict(FOUR_DIGITS, output) == Graded(extracted=extracted, correct=correct)


@pytest.mark.parametrize(
    ("output", "extracted", "correct"),
    [
        ("The answer is 1234.", "1234", True),
        ("The answer is 1,234 apples. The answer is 5.", "1234", True),
        ("The answer is 1234", "123", False),  # lm-eval's pattern wants one more character
        ("the answer is 1234.", None, False),
        ("The answer is $1234.", None, False),
    ],
)
def test_cot_strict_is_lm_evals_first_answer_line(output: str, extracted: str | None, correct: bool) -> None:
    assert cot_strict(FOUR_DIGITS, output) == Graded(extracted=extracted, correct=correct)


@pytest.mark.parametrize(
    ("output", "extracted", "correct"),
    [
        ("It is $1,234.", "1234", True),
        ("1234 in 2 days", "2", False),
        ("1234 and so on...", "..", False),  # a span of dots counts, as in lm-eval; one dot is ignored
        ("none", None, False),
    ],
)
def test_flexible_is_lm_evals_last_number_like_span(
    output: str, extracted: str | None, correct: bool
) -> None:
    assert flexible(FOUR_DIGITS, output) == Graded(extracted=extracted, correct=correct)

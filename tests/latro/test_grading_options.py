"""Multiple-choice verdicts, without any dataset: literal texts in, literal verdicts out."""

import pytest

from latro.grading.options import bare_option, exact_option, final_option, gold_index, paper_option
from latro.types import Example


def question(*choices: str, gold: str) -> Example:
    return Example(
        id="1", question="", prompt="", answer=f"The answer is {gold}.", gold=gold, choices=choices
    )


WATER = question("ice", "warm water.", "a glass of warm water", "steam at 1.5 bar.", gold="warm water")
GENES = question("TT only", "Tt only", "tt only", gold="Tt only")
ATOMS = question("C", "O2", "N2", gold="O2")


@pytest.mark.parametrize(
    ("option", "bare"),
    [
        ("warm water.", "warm water"),
        (" a  b. ", "a b"),
        ("and so on...", "and so on..."),
        ("6 a.m.", "6 a.m"),
    ],
)
def test_an_option_loses_one_full_stop_at_its_end(option: str, bare: str) -> None:
    assert bare_option(option) == bare


@pytest.mark.parametrize(
    ("output", "exact", "final"),
    [
        ("The answer is warm water.", "warm water", "warm water"),
        ("The answer is Warm Water", "warm water", "warm water"),
        ("The answer is: **warm water.** Ice is cold.", "warm water", "warm water"),
        ("The answer is steam at 1.5 bar. It is hot.", "steam at 1.5 bar", "steam at 1.5 bar"),
        ("The answer is B.", "warm water", "warm water"),
        ("Answer: (B) warm water.", "warm water", "warm water"),
        ("\\boxed{B}", "warm water", "warm water"),
        ("I think so.\nwarm water", "warm water", "warm water"),
        ("The answer is (B) ice.", None, None),  # letter and text disagree
        ("The answer is option B because it flows.", None, "warm water"),
        ("The answer is probably a glass of warm water, I guess.", None, "a glass of warm water"),
        ("The answer is 'warm water', because ice is solid.", None, "warm water"),
        ("The answer is likely ice. Warm water is not cold.", None, "ice"),
        ("The best choice is B.", "warm water", "warm water"),
        ("The answer is ice or warm water.", None, None),
        ("The answer is lukewarm water.", None, None),
        ("The answer is Z.", None, None),
        ("", None, None),
    ],
)
def test_an_option_is_chosen_by_text_or_letter(output: str, exact: str | None, final: str | None) -> None:
    assert exact_option(WATER, output).extracted == exact
    assert final_option(WATER, output).extracted == final
    assert exact_option(WATER, output).correct == (exact == "warm water")
    assert final_option(WATER, output).correct == (final == "warm water")


@pytest.mark.parametrize("grader", [exact_option, final_option])
def test_case_decides_where_only_case_differs(grader) -> None:  # type: ignore[no-untyped-def]
    assert grader(GENES, "The answer is Tt only.").correct
    assert not grader(GENES, "The answer is tt only.").correct
    assert grader(GENES, "The answer is tT only.").extracted is None
    assert not grader(GENES, "The answer is surely TT only, no doubt.").correct


@pytest.mark.parametrize("grader", [exact_option, final_option])
def test_an_option_that_is_another_ones_letter_chooses_nothing(grader) -> None:  # type: ignore[no-untyped-def]
    assert grader(ATOMS, "The answer is C.").extracted is None
    assert grader(ATOMS, "The answer is B.").extracted == "O2"
    assert grader(ATOMS, "The answer is O2.").correct


@pytest.mark.parametrize(
    ("output", "extracted"),
    [
        ("The answer is 2 N.", "2"),
        ("The answer is 2.5 N.", None),
        ("The answer is 1.2 N.", None),
        ("The answer is -3 N.", None),
        ("The answer is −3 N.", None),
        ("The answer is 3/4 N.", None),
        ("The answer is 2,500 N.", None),
        ("The answer is about 3.", "3"),
        ("The answer is not (C).", None),
        ("The answer is not (C) but (B).", "3"),
        ("The answer is not the 2, it is 3 N.", "3"),
        ("The answer is (C), which is not small.", "-3"),
        ("The answer is roughly -3 N.", "-3"),
    ],
)
def test_a_part_of_a_number_and_what_is_denied_are_no_mention(output: str, extracted: str | None) -> None:
    choices = ("2", "3", "red" if extracted is None else "-3")
    assert final_option(question(*choices, gold="2"), output).extracted == extracted


PALMS = question("wet palms", "dry palms", "cold palms", gold="dry palms")


@pytest.mark.parametrize(
    "output",
    [
        "The answer is not going to be dry palms.",
        "The answer isn't dry palms.",
        "The answer isn’t the **dry palms**.",
        "So it cannot be dry palms.",
        "The answer cannot be (B).",
        "So we can rule out dry palms.",
        "This rules out option B.",
        "It was never dry palms.",
        "I don't think it's dry palms.",
        "It is anything except dry palms.",
        "It is neither wet palms nor dry palms.",
        "It is not wet palms, nor is it dry palms.",
        "The answer is not (A) or (B).",
        "The answer is not (B) dry palms.",
        "We can rule out wet palms and dry palms.",
    ],
)
def test_an_option_that_is_denied_is_not_chosen(output: str) -> None:
    assert final_option(PALMS, output).extracted is None


@pytest.mark.parametrize(
    "output",
    [
        "It is not wet palms but dry palms.",
        "It is not (A) but (B).",
        "It is not (A) and (B) is correct.",
        "It is not wet palms and dry palms is right.",
        "The answer is not obvious; it is dry palms.",
        "It does not change and so it is dry palms.",
        "It cannot be anything but dry palms.",
        "The answer isn't wet palms. It is dry palms.",
        "Neither (A) nor (C) is right, so it is (B).",
        "We rule out wet palms and cold palms, which leaves dry palms.",
        "The answer is not only dry palms.",
        "It is dry palms, not wet palms.",
    ],
)
def test_a_denial_elsewhere_leaves_an_answer_its_own(output: str) -> None:
    assert final_option(PALMS, output).correct


def test_the_papers_substring_test_has_the_papers_faults() -> None:
    assert paper_option(WATER, "So, The answer is warm water.").correct
    assert paper_option(WATER, "The answer is a glass of warm water").correct  # a longer, wrong option
    assert paper_option(WATER, "The answer is ice, warm water or steam").correct  # names them all
    assert paper_option(GENES, "The answer is tt only").correct  # case is ignored
    steam = question("ice", "steam at 1.5 bar", gold="steam at 1.5 bar")
    assert not paper_option(steam, "The answer is steam at 1.5 bar").correct  # cut at the full stop
    assert not paper_option(WATER, "It must be warm water.").correct  # behind the last full stop is nothing


def test_the_papers_verdict_votes_by_the_option_that_it_found() -> None:
    for said in ("The answer is: 'warm water'", "The answer is (b) warm water", "it must be **warm water**"):
        assert paper_option(WATER, said).extracted == "warm water"
    assert paper_option(WATER, "I do not know.").extracted is None  # it has no voice
    assert paper_option(WATER, "The answer is ice or warm water").extracted == "ice or warm water"


def test_the_gold_index_ignores_the_full_stop() -> None:
    assert gold_index(WATER) == 1
    with pytest.raises(ValueError, match="not in list"):
        gold_index(question("a", "b", gold="c"))

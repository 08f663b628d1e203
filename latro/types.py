"""Facts that flow through LaTRO. No behaviour; everyone may import this file, it imports nobody."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One question with its gold answer, as text."""

    id: str
    """Unique within its task, stable over runs: results are paired by it."""
    question: str
    """The question alone, as the dataset has it."""
    prompt: str
    """The user's turn that asks for a rationale: question, options, "Let's think step by step."."""
    answer: str
    """The answer line whose likelihood is the reward, e.g. `The answer is 42.`"""
    gold: str
    """The gold answer alone, for the grader, e.g. `42`."""
    choices: tuple[str, ...] = ()
    """Option texts of a multiple-choice question, in order; empty otherwise."""
    rationale: str = ""
    """The dataset's own rationale. Only supervised fine-tuning, evaluation and controls read it; LaTRO never does."""
    place: str = ""
    """Where it came from, for error messages: `train.jsonl, line 17`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded:
    """What one extractor found in a text, and whether it is right."""

    extracted: str | None
    """The answer it found, normalised; None if it found none."""
    correct: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A row or prompt that a run does without; every one is named in the run folder."""

    id: str
    place: str
    reason: str

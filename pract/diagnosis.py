"""Which of SpecTool's seven error patterns an episode's calls show, by rules alone, counted per action.

Patterns after SpecTool (arXiv 2411.13547); the rules that recognise them here are our own and cost no call.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator

from pract.envs.tools.arguments import ArgumentReader
from pract.parsing import UNKNOWN_ACTION
from pract.prompts import call_text
from pract.types import ActionSpec, Episode, Status, Step

MAX_EXAMPLE = 200
"""Characters of an example."""
MAX_FINDINGS = 12
"""Findings that a text for the reflector holds, the most frequent first."""
UNKNOWN = "(unknown)"
"""Stands for the action where a reply named none that exists."""


class Pattern(Enum):
    """What is wrong with a call."""

    INSUFFICIENT_CALLS = "insufficient calls"
    """The agent ended the episode by a call that was carried out, and the task was not solved.

    With the reward shown that is every such end, an answer or purchase that was wrong after all the calls it takes
    included: rules cannot tell what was missing.
    """
    WRONG_VALUE = "wrong argument value"
    WRONG_NAME = "wrong argument name"
    WRONG_TYPE = "wrong argument type"
    REPEATED = "repeated call"
    """The same call again, with the same observation, and nothing new was done between the two."""
    WRONG_FUNCTION = "wrong function name"
    INVALID_FORMAT = "invalid format"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How often one action showed one pattern, with one example."""

    action: str
    pattern: Pattern
    count: int
    example: str


def diagnose(episode: Episode, actions: Sequence[ActionSpec], *, reward_shown: bool) -> tuple[Finding, ...]:
    """What went wrong in one episode, most frequent first.

    reward_shown: whether the outcome may be used. With it an end without success counts as insufficient calls; without
    it (Self-RPO) only one where the very first call ended the task although other actions were at hand.
    """
    specs = {spec.name: spec for spec in actions}
    found: list[tuple[str, Pattern, str]] = []
    for number, step in enumerate(episode.steps):
        pattern = _pattern(step, specs, vain=_vain(episode.steps[:number], step))
        if pattern is not None:
            name = step.action.name if step.action is not None else UNKNOWN
            found.append((name, pattern, _example(step)))
    early = _early_end(episode, specs, reward_shown=reward_shown)
    if early is not None:
        found.append((_called(early), Pattern.INSUFFICIENT_CALLS, _example(early)))
    return _counted((name, pattern, 1, example) for name, pattern, example in found)


def pooled(diagnoses: Iterable[Sequence[Finding]]) -> tuple[Finding, ...]:
    """Several diagnoses as one, the first example of each kind kept."""
    return _counted((f.action, f.pattern, f.count, f.example) for findings in diagnoses for f in findings)


def findings_text(findings: Sequence[Finding]) -> str:
    """The findings as lines for a prompt, bounded in number and length; empty without findings."""
    lines = [f"- {f.action}: {f.pattern.value} x{f.count}, e.g. {f.example}" for f in findings[:MAX_FINDINGS]]
    if len(findings) > MAX_FINDINGS:
        lines.append(f"- and {len(findings) - MAX_FINDINGS} kinds more")
    return "\n".join(lines)


def _counted(found: Iterable[tuple[str, Pattern, int, str]]) -> tuple[Finding, ...]:
    counts: Counter[tuple[str, Pattern]] = Counter()
    examples: dict[tuple[str, Pattern], str] = {}
    for name, pattern, count, example in found:
        counts[name, pattern] += count
        examples.setdefault((name, pattern), example)
    order = sorted(counts, key=lambda key: (-counts[key], key[0], key[1].value))
    return tuple(
        Finding(action=name, pattern=pattern, count=counts[name, pattern], example=examples[name, pattern])
        for name, pattern in order
    )


def _vain(before: Sequence[Step], step: Step) -> bool:
    """Whether a repeated call was made for nothing: refused again, or nothing new was carried out since it was made.

    To come back to a page by the same call, after another one was looked at, is no fault.
    """
    if not step.repeated or step.refused:
        return step.repeated
    for other in reversed(before):
        if other.action == step.action:
            return True
        if other.action is not None and not (other.inner or other.refused or other.repeated):
            return False
    return True


def _pattern(step: Step, specs: Mapping[str, ActionSpec], *, vain: bool) -> Pattern | None:
    """The pattern of one step; the first rule that holds."""
    if step.action is None:
        return Pattern.WRONG_FUNCTION if step.problem == UNKNOWN_ACTION else Pattern.INVALID_FORMAT
    spec = specs.get(step.action.name)
    if step.inner or spec is None:
        return None
    fault = argument_fault(spec, step.action.arguments)
    if fault is Pattern.WRONG_TYPE and not step.refused:  # most environments read a number for a text as one
        fault = argument_fault(spec, ArgumentReader(spec).read(step.action.arguments)[0])
    if fault is not None:
        return fault
    if vain:
        return Pattern.REPEATED
    return Pattern.WRONG_VALUE if step.refused else None


def argument_fault(spec: ActionSpec, arguments: Mapping[str, Any]) -> Pattern | None:
    """How arguments break an action's schema: by name, else by type, else by value; None if they do not."""
    properties = spec.parameters.get("properties", {})
    missing = any(name not in arguments for name in spec.parameters.get("required", ()))
    if missing or any(name not in properties for name in arguments):
        return Pattern.WRONG_NAME
    faults = {str(error.validator) for error in _validator(spec).iter_errors(dict(arguments))}
    if not faults:
        return None
    return Pattern.WRONG_TYPE if "type" in faults else Pattern.WRONG_VALUE


def _validator(spec: ActionSpec) -> Draft202012Validator:
    return _validator_of(_Schema(spec.parameters))


class _Schema:
    """A schema that can be a cache's key: two are equal if they are one object."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = schema

    def __hash__(self) -> int:
        return id(self.schema)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Schema) and self.schema is other.schema


@lru_cache(maxsize=256)
def _validator_of(schema: _Schema) -> Draft202012Validator:
    return Draft202012Validator(dict(schema.schema))


def _early_end(episode: Episode, specs: Mapping[str, ActionSpec], *, reward_shown: bool) -> Step | None:
    """The step that ended the episode before the task was solved, as far as that may be known, or None."""
    if episode.status is not Status.FINISHED or not episode.steps or len(specs) < 2:
        return None
    last = episode.steps[-1]
    if reward_shown:
        return None if episode.success or last.refused else last
    outer = [step for step in episode.steps if step.action is not None and not step.inner]
    return last if len(outer) <= 1 else None


def _called(step: Step) -> str:
    return step.action.name if step.action is not None else UNKNOWN


def _example(step: Step) -> str:
    said = (
        call_text(step.action)
        if step.action is not None
        else " ".join(step.reply.text.split()) or "(empty reply)"
    )
    answer = " ".join(step.observation.split())
    half = MAX_EXAMPLE // 2
    return f"{said[:half]} -> {answer[: half - 4]}"

"""The arms of an evaluation: which agents are compared, under which principles."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from omegaconf import DictConfig, OmegaConf

from pract.agent import STYLES, AgentConfig, check_names
from pract.errors import InputError
from pract.principles import initial_principles, misplaced, without
from pract.types import ActionSpec, Principles
from scripts.casting import Written, build_agent, read_principles


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One agent of the comparison."""

    config: AgentConfig
    principles: Principles | None


def cast_arms(cfg: DictConfig, actions: Sequence[ActionSpec]) -> dict[str, Arm]:
    """The agents to compare. Arms that lack their principles, or cannot be ranked, are left out, and that is said.

    A run that learned nothing is worth what its agent is without principles, and plays so: a method must not drop
    out of a comparison by failing.
    Raises InputError for an unknown style, for principles of unknown actions, and if no arm is left.
    """
    base = build_agent(cfg)
    learned = read_principles(cfg.principles)
    if cfg.ablate:
        return ablation(base, learned, actions)
    given = OmegaConf.to_container(cfg.arms, resolve=True)
    assert isinstance(given, dict)
    arms: dict[str, Arm] = {}
    for name, settings in given.items():
        if not isinstance(settings, dict) or set(settings) - {"style", "principles"}:
            raise InputError(f"arms.{name!s}={settings!r}: write it as {{style: ..., principles: ...}}")
        style = settings.get("style") or base.style
        if base.calls == "choice" and style in STYLES and style != "act":
            print(
                f"arm {name!s} is left out: agent.calls=choice ranks actions, and {style} has thoughts to write"
            )
            continue
        config = replace(base, style=style)
        source = settings.get("principles")
        if source is None:
            arms[str(name)] = Arm(config=config, principles=None)
            continue
        principles = _principles(source, learned, actions)
        if principles is None and source == "learned" and learned is not None:
            print(f"arm {name!s} plays without principles: {cfg.principles} holds none")
        elif principles is None:
            print(f"arm {name!s} is left out: there are no {source} principles (principles={cfg.principles})")
            continue
        arms[str(name)] = Arm(config=config, principles=principles)
    if not arms:
        raise InputError("arms: none is left; give principles=RUN/principles.json or arms without principles")
    return arms


def ablation(base: AgentConfig, learned: Written | None, actions: Sequence[ActionSpec]) -> dict[str, Arm]:
    """The learned principles, each left out once, all of them misplaced, and none; the first is the base of the rest.

    Raises InputError where there are none.
    """
    principles = _principles("learned", learned, actions)
    told = [] if principles is None else [name for name, text in principles.texts.items() if text]
    if principles is None or not told:
        raise InputError("ablate=true needs principles to leave out: give principles=RUN/principles.json")
    changed = {f"without_{name}": without(principles, name) for name in told} if len(told) > 1 else {}
    found = {"learned": principles, **changed}
    if len(actions) > 1:
        found["misplaced"] = misplaced(principles)
    arms = {name: Arm(config=base, principles=texts) for name, texts in found.items()}
    return {**arms, "none": Arm(config=base, principles=None)}


def _principles(source: str, run: Written | None, actions: Sequence[ActionSpec]) -> Principles | None:
    """What an arm's `principles` stands for; None if it holds no text."""
    first = source == "initial"
    written = run if source in ("initial", "learned") else read_principles(source)
    if written is None:
        return None
    texts = initial_principles(actions, written.first if first else written.best, written.place).texts
    notes = written.first_notes if first else written.notes
    found = Principles(texts=texts, notes=notes, author=written.place)
    check_names(found, actions)
    return found if any(found.texts.values()) or found.notes else None

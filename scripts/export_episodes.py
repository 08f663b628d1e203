"""An agent's own calls as rows to learn from: python -m scripts.export_episodes RUN [RUN ...] --out FOLDER

RUN is an evaluation of agents on tasks that may be learned from (`evaluate_pract split=train`). Each call of an episode
that did well becomes one row: what the agent saw is the prompt, its thought the rationale, the call the answer. FOLDER
gets train.jsonl and validation.jsonl, and a recipe to train on them without a verifier of thoughts:

    python -m scripts.train_latro --config-dir FOLDER experiment=episodes model=... model.path=...

The model then plays as `agent=react_inline` under the same principles. `messages` of a row is the conversation as it
was played, with the reply, for whatever else reads conversations.

    --arm ARM          whose episodes; needed where a run has several arms
    --least-score X    of an episode; 1 takes solved ones alone
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml
from omegaconf import OmegaConf

from latro.errors import InputError
from latro.tasks.dataset import bucket
from pract.agent import Agent, AgentConfig
from pract.calls import digest
from pract.llm.scripted import ScriptedChat
from pract.llm.wire import messages_json
from pract.prompts import call_text
from pract.records import from_json
from pract.types import Episode, Message, Principles, Step, Task
from scripts.entry import status_of
from scripts.folders import read_json, rows
from scripts.run import refuse_unwritable
from scripts.tables import lines, write_text

VALIDATION_ONE_IN = 8
"""Tasks; all rows of a task are in one split."""
INLINE: dict[str, Any] = {
    "style": "react",
    "calls": "text",
    "turns": "one",
    "thoughts": "inline",
    "example_turns": False,
}
"""The agent for whom a thought stands before the call, in one reply to one turn: LaTRO's rationale and answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One arm of a finished evaluation."""

    folder: Path
    arm: str
    environment: str
    played: Agent
    """As it played."""
    inline: Agent
    """Under the same principles, with a thought before each call."""


def open_source(folder: Path, arm: str) -> Source:
    """Raises InputError for a folder without a finished evaluation, a split that is not to be learned from, and an arm
    that is not there or not named.
    """
    results = read_json(folder / "results.json")
    if results is None or "agents" not in results:
        raise InputError(f"{folder}: no finished run of evaluate_pract; give the folder of one")
    if results["split"] == "test":
        raise InputError(
            f"{folder} played the test split, which is not learned from: run evaluate_pract split=train"
        )
    agents = results["agents"]
    if not arm and len(agents) == 1:
        arm = next(iter(agents))
    if arm not in agents:
        raise InputError(f"{folder}: --arm {arm or '(none)'}: name one of {', '.join(agents)}")
    from scripts.casting import environment_factory

    environment = environment_factory(OmegaConf.load(folder / "config.yaml"))()  # type: ignore[arg-type]
    try:
        actions = environment.actions()
    finally:
        environment.close()
    config = from_json(AgentConfig, agents[arm]["settings"])
    texts, notes = agents[arm]["principles"], tuple(agents[arm].get("notes", ()))
    principles = None if texts is None else Principles(texts=texts, notes=notes)
    silent = ScriptedChat([])
    return Source(
        folder=folder,
        arm=arm,
        environment=next(iter(results["versions"])),
        played=Agent(silent, config, actions, principles),
        inline=Agent(silent, replace(config, **INLINE), actions, principles),
    )


def exported(source: Source, least_score: float) -> Iterator[dict[str, Any]]:
    """The rows of the arm's episodes, in the order in which they were played.

    Left out are episodes below the score, replies without a call, thoughts that are calls of their own, and calls that
    were refused or brought nothing new. Raises InputError where a prompt is not the one that was played: then the
    environment or the wording has changed since.
    """
    offered = {spec.name for spec in source.inline.actions}
    for row in rows(source.folder / "episodes.jsonl"):
        episode = from_json(Episode, row)
        mine = unquote(episode.id.split("/")[1]) == source.arm
        if not mine or not episode.status.counts or episode.score < least_score:
            continue
        task = Task(id=episode.task_id, instruction=episode.instruction)
        for number, step in enumerate(episode.steps):
            if step.action is None or step.action.name not in offered or step.refused or step.repeated:
                continue
            before = episode.steps[:number]
            played = source.played.prompt(task, episode.first_observation, before, dropped=step.dropped)
            if source.played.config.calls != "choice" and digest(played) != step.prompt:
                raise InputError(
                    f"{source.folder}/episodes.jsonl: {episode.id}, step {step.index}: the prompt is not the one that "
                    "was played: the environment, its data or the wording has changed; play it again"
                )
            told = [earlier for earlier in before if earlier.action is None or earlier.action.name in offered]
            [system, user] = source.inline.prompt(task, episode.first_observation, told, dropped=step.dropped)
            yield {
                "id": f"{episode.task_id}/{episode.seed}/{step.index}",
                "task": episode.task_id,
                "score": episode.score,
                "system": system.content,
                "prompt": user.content,
                "thought": f"Thought: {step.thought}" if step.thought else "",
                "call": call_text(step.action),
                "messages": messages_json([*played, said(step)]),
            }


def said(step: Step) -> Message:
    """The reply as it was given, as the agent's own turn."""
    return Message(role="assistant", content=step.reply.text, tool_calls=step.reply.tool_calls)


def held_out(task: str) -> bool:
    """Whether a task's rows are for validation: the same ones whatever else is exported."""
    return bucket(task, VALIDATION_ONE_IN) == 0


def recipe(folder: Path, environment: str, system: str) -> str:
    """The experiment that trains on the rows."""
    content: Mapping[str, Any] = {
        "defaults": [{"override /task": "rows"}],
        "name": f"latro/{environment}_calls",
        "task": {
            "name": f"{environment}_calls",
            "path": str(folder.resolve()),
            "id": "id",
            "question": "prompt",
            "prompt_template": "{question}",
            "answer": "call",
            "rationale": "thought",
            "answer_template": "Action: {gold}",
            "answer_markers": ["Action:"],
            "graders": ["answer_line"],
            "main_grader": "answer_line",
        },
        "model": {"system_prompt": system.replace("${", "\\${")},  # else OmegaConf would look it up
    }
    return "# @package _global_\n" + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)


def export(folders: Sequence[Path], arm: str, least_score: float, out: Path) -> int:
    """Write rows and recipe, and say how many there are. Raises InputError, before anything is written."""
    refuse_unwritable(out, "--out")
    if not 0 <= least_score <= 1:
        raise InputError(f"--least-score {least_score:g}: give a score from 0 to 1")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise InputError("a run is named twice: its calls would count twice; name each once")
    sources = [open_source(folder, arm) for folder in folders]
    found = [
        # two runs may have played the same task under the same seed
        row | {"id": f"{place}/{row['id']}"} if len(sources) > 1 else row
        for place, source in enumerate(sources)
        for row in exported(source, least_score)
    ]
    systems = {row.pop("system") for row in found}
    if len(systems) > 1:
        raise InputError(
            f"the episodes were played under {len(systems)} different instructions or principles, and a policy is "
            "trained under one: export them apart"
        )
    splits = {
        "train": [row for row in found if not held_out(row["task"])],
        "validation": [row for row in found if held_out(row["task"])],
    }
    if not all(splits.values()):
        counts = ", ".join(f"{len(part)} for {name}" for name, part in splits.items())
        raise InputError(f"{len(found)} calls are left ({counts}): play more tasks, or lower --least-score")
    (out / "experiment").mkdir(parents=True, exist_ok=True)
    for name, part in splits.items():
        write_text(out / f"{name}.jsonl", lines(part))
    write_text(out / "experiment/episodes.yaml", recipe(out, sources[0].environment, systems.pop()))
    print(f"{len(splits['train'])} calls to learn from, {len(splits['validation'])} for validation: {out}")
    return 0


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """What a command line says. Exits for one that cannot be read."""
    parser = argparse.ArgumentParser(
        prog="export_episodes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--arm", default="", metavar="ARM")
    parser.add_argument("--least-score", type=float, default=1.0, metavar="X")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Export what the command line names; the exit status."""
    given = read_arguments(arguments)
    return status_of(lambda: export(given.runs, given.arm, given.least_score, given.out), "stopped by hand")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

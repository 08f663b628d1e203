"""How a kept model was prompted, saved beside its weights, so that an evaluation that prompts it otherwise says so."""

import json
from pathlib import Path
from typing import Any

from latro.encoding import Encoder
from latro.tasks.base import Task
from scripts.folders import read_json
from scripts.tables import write_text

NAME = "prompting.json"


def prompting(encoder: Encoder, task: Task) -> dict[str, Any]:
    """What makes prompts and answers: chat turns or none, the system prompt, the separator, the task's version."""
    return {
        "chat": encoder.chat,
        "system_prompt": encoder.system_prompt,
        "separator": encoder.separator,
        f"version of {task.name}": task.version,  # of another task there is nothing to compare
    }


def write_prompting(folder: Path, encoder: Encoder, task: Task) -> None:
    """Save how the model in `folder` was prompted."""
    write_text(folder / NAME, json.dumps(prompting(encoder, task), indent=2, ensure_ascii=False) + "\n")


def prompted_otherwise(folder: str | None, encoder: Encoder, task: Task) -> str | None:
    """One line on how the model in `folder` was prompted otherwise in training; None if it was not or is unknown."""
    before = read_json(Path(folder).expanduser() / NAME) if folder else None
    now = prompting(encoder, task)
    unlike = [name for name in now if before is not None and before.get(name, now[name]) != now[name]]
    if before is None or not unlike:
        return None
    told = "; ".join(f"{name} {before[name]!r}, now {now[name]!r}" for name in unlike)
    knobs = "model.chat_template, model.system_prompt, separator and the task's own keys"
    return f"{folder} was trained with other prompts: {told}; see {knobs}"

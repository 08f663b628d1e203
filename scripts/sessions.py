"""The sessions of a run: what each began with, kept in environment.json, and what must not change between them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latro.errors import InputError

if TYPE_CHECKING:
    from latro.models import ModelSource
    from latro.types import Example

OTHERWISE = "choose another output_dir, or overwrite=true resume=false"


def model_record(source: "ModelSource") -> dict[str, str | None]:
    """Which weights were loaded: where from, and what identifies them (commit, SHA-256 or fingerprint)."""
    return {
        "kind": source.kind,
        "name": source.name,
        "identity": source.identity,
        "adapter": source.adapter,
    }


def data_record(examples: Sequence["Example"]) -> dict[str, Any]:
    """What is trained on: how many examples, and a SHA-256 over their ids, prompts and answers in order."""
    total = hashlib.sha256()
    for example in examples:
        total.update(json.dumps([example.id, example.prompt, example.answer]).encode())
    return {"examples": len(examples), "sha256": total.hexdigest()}


def with_session(before: Mapping[str, Any] | None, present: Mapping[str, Any]) -> dict[str, Any]:
    """environment.json with one session more: the first stands at its top, later ones under `taken_up`."""
    if before is None:
        return dict(present)
    return {**before, "taken_up": [*before.get("taken_up", []), present]}


def refuse_unlike(folder: Path, before: Mapping[str, Any], present: Mapping[str, Any]) -> None:
    """Raise InputError if what is gone on with was made by other weights or data, or another number of processes."""
    last = (before.get("taken_up") or [before])[-1]
    had, has = last.get("model"), present.get("model")
    if had and has and identities(had) != identities(has):
        raise InputError(
            f"{folder} was begun with other weights ({said(had)}) than are loaded now ({said(has)}); make the first "
            f"ones available again, {OTHERWISE}"
        )
    then, data = last.get("data"), present.get("data")
    if then and data and then != data:
        raise InputError(
            f"{folder} was begun on other training data ({then['examples']} examples, SHA-256 {then['sha256'][:12]}) "
            f"than is read now ({data['examples']}, {data['sha256'][:12]}): ids, prompts or answers differ; restore "
            f"what task.path or task.hub holds, {OTHERWISE}"
        )
    processes, now = last.get("world_size", 1), present["world_size"]
    if processes != now:
        raise InputError(
            f"{folder} was begun by {processes} process(es), and {now} would go on with it, on other batches; start it "
            f"with {processes}, {OTHERWISE}"
        )


def refuse_mixed(models: Sequence[Mapping[str, Any]]) -> None:
    """Raise InputError if processes of one run loaded different weights, as where the hub answered some of them."""
    for model in models:
        if identities(model) != identities(models[0]):
            raise InputError(
                f"processes loaded different weights: {said(models[0])}, and {said(model)}; make the same ones "
                "available to all, or give a folder with model.path="
            )


def identities(model: Mapping[str, Any]) -> tuple[Any, Any]:
    """What tells the weights of two sessions apart, wherever they lie."""
    return model.get("identity"), model.get("adapter")


def said(model: Mapping[str, Any]) -> str:
    """The weights in a few words; of a path its last part, for a card must not tell where this machine keeps things."""
    name = model["name"] if model["kind"] in ("hub", "wheel") else Path(model["name"]).name
    adapter = f", adapter {model['adapter'][:12]}" if model.get("adapter") else ""
    return f"{model['kind']} {name}, {model['identity'][:12]}{adapter}"

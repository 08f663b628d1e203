"""Finished runs as sheets: what was measured on each item, and what has to be alike for two to be compared.

evaluate_latro    items.jsonl         graders, and the answer's log-likelihood
evaluate_pract    outcomes.jsonl      a sheet for each arm: score, progress, success, pass^k
train_latro, -sft validation.jsonl    the validation of the best checkpoint (which was chosen on it)
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from latro.errors import InputError
from scripts.curves import RATIONALES
from scripts.folders import AGAIN, DAMAGED, Row, read_json, refuse_missing, rows
from scripts.paired import pass_hat_k

GRADED = {"greedy": "accuracy_greedy", "majority": "accuracy_maj", "choices": ""}
"""What a row holds, and how `results.json` calls it; likelihoods of choices have lm-eval's names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One quantity on every item."""

    kind: str
    """`right` (0 or 1), `score` (in [0,1]) or `nats`."""
    values: Mapping[str, float]
    """By id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """One run, or one arm of it, item by item."""

    folder: Path
    arm: str = ""
    seed: int | None
    identity: Mapping[str, str]
    """What has to be equal, by name: task, version, content hash, split."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What may differ, and is told then."""
    measures: Mapping[str, Measure]
    items: Mapping[str, Row]
    """By id, what can be shown: `prompt`, `gold`, `output`; may be empty."""
    left_out: int = 0
    """Items that do not count, for reasons that are not the agent's."""

    @property
    def name(self) -> str:
        """The folder, with the arm if it has one."""
        return f"{self.folder}:{self.arm}" if self.arm else str(self.folder)


def read_sheets(folder: Path, *, partial: bool = False) -> list[Sheet]:
    """All sheets of a finished run; with `partial` of a stopped one too.

    Raises InputError, in one line, for a folder that holds none, an unfinished or a damaged one.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; name run folders")
    outcome = read_json(folder / "results.json")
    if outcome is None:
        begun = any(folder.iterdir())
        what = "holds no results.json: the run is not finished" if begun else "is empty"
        raise InputError(f"{folder} {what}; give the folder of a finished run")
    if outcome.get("stopped") and not partial:
        raise InputError(
            f"{folder} was stopped ({outcome['stopped']}): the run is not finished; mend or raise it and start it again"
        )
    readers: dict[str, Callable[[Path, Row, Sequence[Row]], list[Sheet]]] = {
        "items.jsonl": _evaluation,
        "outcomes.jsonl": _arms,
        "validation.jsonl": _training,
    }
    for name, reader in readers.items():
        if (folder / name).is_file():
            try:
                return reader(folder, outcome, list(rows(folder / name)))
            except DAMAGED as error:
                reason = f"{type(error).__name__}: {error}"
                raise InputError(f"{folder}/{name} or results.json: damaged ({reason}); {AGAIN}") from None
    raise InputError(f"{folder} holds none of {', '.join(readers)}; give the folder of a finished evaluation")


def _evaluation(folder: Path, outcome: Row, found: Sequence[Row]) -> list[Sheet]:
    task = next(iter(outcome["versions"]))
    refuse_missing(folder / "items.jsonl", len(found), outcome["n-samples"][task]["effective"])
    measures: dict[str, Measure] = {}
    for kind, label in GRADED.items():
        for grader in found[0][kind]:
            votes = len(found[0]["samples"]) if kind == "majority" else ""
            values = {row["id"]: float(row[kind][grader]["correct"]) for row in found}
            name = f"{grader},none" if kind == "choices" else f"{label}{votes},{grader}"
            measures[name] = Measure(kind="right", values=values)
    return [_sheet(folder, outcome, found, measures | _likelihoods(found))]


def _training(folder: Path, outcome: Row, found: Sequence[Row]) -> list[Sheet]:
    task = next(iter(outcome["versions"]))
    best = outcome["training"]["best_step"]
    chosen = [row for row in found if row["step"] == best]
    refuse_missing(folder / "validation.jsonl", len(chosen), outcome["n-samples"][task]["effective"])
    measures = {
        f"accuracy_greedy,{grader}": Measure(
            kind="right", values={row["id"]: float(row["correct"][grader]) for row in chosen}
        )
        for grader in chosen[0]["correct"]
    }
    prompts = folder / "prompts.jsonl"
    asked = {row["id"]: row["prompt"] for row in rows(prompts)} if prompts.is_file() else {}
    shown = [{**row, "prompt": asked[row["id"]]} if row["id"] in asked else row for row in chosen]
    return [_sheet(folder, outcome, shown, measures | _likelihoods(chosen))]


def _sheet(folder: Path, outcome: Row, found: Sequence[Row], measures: Mapping[str, Measure]) -> Sheet:
    """The sheet of an evaluated model."""
    task, version = next(iter(outcome["versions"].items()))
    config = outcome["config"]
    shown = ("prompt", "gold", "output")
    return Sheet(
        folder=folder,
        seed=config.get("seed"),
        identity={"task": task, "version": str(version), "split": outcome["split"]},
        settings={
            "evaluation": {k: v for k, v in (config.get("evaluation") or {}).items() if k != "seed"},
            "separator": config.get("separator"),
        },
        measures=measures,
        items={row["id"]: {key: row[key] for key in shown if key in row} for row in found},
    )


def _likelihoods(found: Sequence[Row]) -> dict[str, Measure]:
    """The answer's log-likelihoods that all items have."""
    return {
        f"logp_answer,{kind}_rationale": Measure(
            kind="nats", values={row["id"]: float(row["log_answer"][kind]) for row in found}
        )
        for kind in RATIONALES
        if all(kind in row["log_answer"] for row in found)
    }


def _arms(folder: Path, outcome: Row, found: Sequence[Row]) -> list[Sheet]:
    name = next(iter(outcome["versions"]))
    by_arm: dict[str, list[Row]] = defaultdict(list)
    for row in found:
        by_arm[row["arm"]].append(row)
    sheets = []
    for arm, counts in outcome["n-samples"][name].items():
        mine = by_arm[arm]
        refuse_missing(folder / "outcomes.jsonl", len(mine), counts["original"], f" of arm {arm}")
        counted = [row for row in mine if row["counts"]]
        sheets.append(
            Sheet(
                folder=folder,
                arm=arm,
                seed=outcome["config"].get("seed"),
                identity={
                    "environment": name,
                    "version": str(outcome["versions"][name]),
                    "content hash": outcome["content_hash"][name],
                    "split": outcome["split"],
                },
                settings={"attempts": outcome["config"].get("attempts"), **_agent(outcome, arm)},
                measures=_scores(counted),
                items={row["task"]: _shown(row) for row in sorted(mine, key=lambda row: -row["attempt"])},
                left_out=len(mine) - len(counted),
            )
        )
    return sheets


def model_name(config: Row) -> str:
    """The agent's model as the configuration names it; empty if it names none."""
    llm = config.get("llm") or {}
    inner = llm.get("inner") or {}
    return str(llm.get("model") or inner.get("model") or llm.get("name") or llm.get("path") or "")


def _agent(outcome: Row, arm: str) -> dict[str, Any]:
    """The arm's model and its agent's settings by dotted names, but for the style, which tells arms apart."""
    agent = outcome.get("agents", {}).get(arm, {}).get("settings", {})
    settings = _dotted({key: value for key, value in agent.items() if key != "style"}, "agent.")
    name = model_name(outcome["config"])
    return {**({"model": name} if name else {}), **settings}


def _dotted(nested: Row, prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in nested.items():
        found |= (
            _dotted(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
        )
    return found


def _shown(row: Row) -> Row:
    """What the first attempt at a task was asked, and how it ended."""
    names = {"instruction": "prompt", "answer": "output"}
    return {name: row[key] for key, name in names.items() if key in row}


def _scores(counted: Sequence[Row]) -> dict[str, Measure]:
    """The measures of an arm over its tasks; a task's attempts are averaged, and make pass^k."""
    tries: dict[str, list[Row]] = defaultdict(list)
    for row in counted:
        tries[row["task"]].append(row)
    found = {}
    for measure in ("score", "success", "progress"):
        values = {task: fmean(float(row[measure]) for row in played) for task, played in tries.items()}
        found[measure] = Measure(kind=_kind(values), values=values)
    most = max((len(played) for played in tries.values()), default=0)
    for k in range(2, most + 1):
        values = {
            task: pass_hat_k(sum(row["success"] for row in played), most, k)
            for task, played in tries.items()
            if len(played) == most
        }
        found[f"pass^{k}"] = Measure(kind=_kind(values), values=values)
    return found


def _kind(values: Mapping[str, float]) -> str:
    """`right` where every task is wholly solved or wholly not, be the measure called success, score or pass^k."""
    return "right" if all(value in (0.0, 1.0) for value in values.values()) else "score"

"""Folders of finished runs, written by hand; no model."""

import json
from pathlib import Path
from typing import Any


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def item(id: str, right: bool, own: float) -> dict[str, Any]:
    verdict = {"extracted": "4", "correct": right}
    return {
        "id": id, "prompt": f"{id}?", "gold": "4", "output": f"It is {4 if right else 5}.", "samples": [],
        "greedy": {"exact": verdict}, "majority": {}, "choices": {},
        "log_answer": {"own": own, "none": -3.0, "other": -4.0},
    }  # fmt: skip


def evaluation(path: Path, right: str, own: float = -1.0, seed: int = 0, **outcome: Any) -> Path:
    """An evaluation of a model, right where `right` has a 1; `own` is log π(answer) behind the own rationale."""
    path.mkdir(parents=True)
    config = {"evaluation": {"max_tokens": 16}, "separator": "auto", "seed": seed}
    counts = {"sums": {"original": len(right), "effective": len(right)}}
    whole = {"versions": {"sums": "1"}, "split": "test", "config": config, "n-samples": counts} | outcome
    (path / "results.json").write_text(json.dumps(whole))
    rows = [item(str(number), mark == "1", own * (number + 1)) for number, mark in enumerate(right)]
    write_rows(path / "items.jsonl", rows)
    return path


def episode(arm: str, task: str, score: float, attempt: int = 0, counts: bool = True) -> dict[str, Any]:
    return {
        "arm": arm, "task": task, "attempt": attempt, "counts": counts, "score": score, "progress": score,
        "success": score == 1,
    }  # fmt: skip


def agents(path: Path, arms: dict[str, list[dict[str, Any]]], **outcome: Any) -> Path:
    """An evaluation of agents, from the episodes of each arm."""
    path.mkdir(parents=True)
    counts = {arm: {"original": len(rows)} for arm, rows in arms.items()}
    whole = {
        "versions": {"todo": "1"}, "content_hash": {"todo": "c0ffee"}, "split": "test", "n-samples": {"todo": counts},
        "config": {"seed": 0, "attempts": 1},
    } | outcome  # fmt: skip
    (path / "results.json").write_text(json.dumps(whole))
    write_rows(path / "outcomes.jsonl", [row for rows in arms.values() for row in rows])
    return path

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


ATTACK = "</pre><script>alert('gotcha')</script><img src=http://evil.example/x.png onerror=alert(1)>"
"""What a model or a dataset may say, and a page must only show."""


def training(path: Path, seed: int = 0, steps: int = 8, finished: bool = True, **config: Any) -> Path:
    """A training of two questions, evaluated every fourth step: one becomes right, and every text is an attack."""
    path.mkdir(parents=True)
    settings = {
        "name": "latro/try", "seed": seed, "max_steps": 8, "task": {"name": "sums"},
        "model": {"hub_id": "owner/small"},
        "trainer": {"metric_for_best_model": "accuracy_greedy", "logging_steps": 1}, "objective": {"kl_weight": 0.05},
    } | config  # fmt: skip
    (path / "config.yaml").write_text(json.dumps(settings))  # JSON is YAML
    (path / "environment.json").write_text(
        json.dumps({"command": "train_latro seed=0", "versions": {"torch": "2"}})
    )
    metrics, samples, validation = [], [], []
    for step in range(steps + 1):
        if step:
            reward = step / 10 - 2 + seed / 100
            metrics.append(
                {"step": step, "reward": reward, "latro/answer_reward": reward + 0.5, "latro/penalty": 0.25,
                 "kl": step / 8, "completions/mean_length": 20.0 - step, "completions/clipped_ratio": 0.5,
                 "grad_norm": 10.0**-step}
            )  # fmt: skip
            samples += [
                {"step": step, "id": "a", "k": k, "prompt": f"1+1? {ATTACK}", "rationale": f"{k} {ATTACK}",
                 "answer": "2", "finished": True, "length": 3, "answer_reward": -1.0, "log_ratio": 0.1,
                 "penalty": 0.0, "reward": -1.0 - k, "advantage": 0.5}
                for k in range(2)
            ]  # fmt: skip
        if step % 4 == 0:
            rights = {"a": step > 0, "b": True}
            for id, right in rights.items():
                likelihoods = {"own": -2.0 + step / 8, "none": -3.0, "gold": -1.25, "other": -2.5}
                validation.append(
                    {"step": step, "id": id, "gold": "2", "output": f"It is {step}. {ATTACK}",
                     "finished": True, "tokens": 4, "correct": {"exact": right}, "extracted": {"exact": ATTACK},
                     "log_answer": likelihoods}
                )  # fmt: skip
            accuracy = sum(rights.values()) / 2
            metrics.append(
                {"step": step, "eval/accuracy_greedy/exact": accuracy, "eval/accuracy_greedy": accuracy}
            )
    tables = {
        "metrics": metrics, "samples": samples, "validation": validation,
        "prompts": [{"id": id, "prompt": f"What is {id}? {ATTACK}"} for id in "ab"],
        "health": [{"step": 3, "warning": f"it is odd {ATTACK}"}], "left_out": [],
        "timing": [{"step": step, "step_time": 2.0} for step in range(1, steps + 1)],
    }  # fmt: skip
    for name, rows in tables.items():
        write_rows(path / f"{name}.jsonl", rows)
    if finished:
        outcome = {
            "versions": {"sums": "1"}, "n-samples": {"sums": {"original": 2, "effective": 2}}, "split": "validation",
            "config": settings, "training": {"steps": steps, "best_step": 4, "chosen_by": "validation accuracy_greedy"},
        }  # fmt: skip
        (path / "results.json").write_text(json.dumps(outcome))
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

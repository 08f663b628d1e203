"""Cards of agents' runs, from results written by hand; no model."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.run_card import write_run_card
from tests.scripts.run_folders import write_rows


def card(folder: Path, config: dict[str, Any], decisions: tuple[str, ...] = (), **outcome: Any) -> str:
    """The card of a run of agents with this configuration, and rounds that ended like this."""
    settings = {"name": "try", "seed": 0, "llm": {"model": "small"}} | config
    cost = {"calls": 3, "prompt_tokens": 40, "completion_tokens": 5, "usd": 0.0, "seconds": 1.0}
    whole = {
        "config": settings, "git_hash": "abc", "versions": {"todo": "1"}, "content_hash": {"todo": "c0ffee"},
        "split": "validation", "cost": cost, "stopped": "", "n-samples": {"todo": {}}, "results": {"todo": {}},
        "intervals_95": {"todo": {}}, "paired": [],
    } | outcome  # fmt: skip
    folder.mkdir()
    (folder / "config.yaml").write_text(json.dumps(settings))  # JSON is YAML
    (folder / "results.json").write_text(json.dumps(whole))
    rounds = [{"rpo/round": at, "rpo/decision": decision} for at, decision in enumerate(decisions)]
    write_rows(folder / "metrics.jsonl", rounds)
    write_run_card(folder)
    return (folder / "card.md").read_text()


@pytest.mark.parametrize(
    ("target", "method"),
    [
        ("pract.optimizer.PrincipleOptimizer", "Self-RPO, traj"),
        ("pract.baselines.reflexion.NotesOptimizer", "Reflexion-style memory"),
        ("pract.baselines.ace.DeltaOptimizer", "ACE-style edits"),
        ("pract.baselines.gepa.optimize_with_gepa", "GEPA"),
        ("mine.Sampler", "Sampler"),
    ],
)
def test_the_method_is_the_one_that_learned(target: str, method: str, tmp_path: Path) -> None:
    rpo = {"acceptance": "off", "reflection": "self", "schedule": "traj", "measure": "score"}
    text = card(tmp_path / "run", {"rpo": rpo, "method": {"_target_": target}}, best_version="v1")
    assert f"| method | {method} |" in text
    chosen = "nothing: there is no gate, every candidate was taken"
    if method == "GEPA":
        chosen = "the best principles, by score on validation, of a pool that GEPA selects from"
    assert f"| chosen | {chosen} |" in text


@pytest.mark.parametrize(
    ("decisions", "said"),
    [
        (("start", "accepted", "rejected", "accepted"), "3: 2 accepted, 1 rejected"),
        (("start",), "0"),
        (("stopped",), "0"),
    ],
)
def test_the_start_is_no_round(decisions: tuple[str, ...], said: str, tmp_path: Path) -> None:
    rpo = {"acceptance": "off", "reflection": "self", "schedule": "traj", "measure": "score"}
    text = card(tmp_path / "run", {"rpo": rpo}, decisions, best_version="v1")
    assert f"| rounds | {said} |\n" in text


def test_arms_of_several_attempts_have_their_pass_hat_k(tmp_path: Path) -> None:
    figures = {"score,act": 0.5, "pass^2,act": 0.25, "pass^2_stderr,act": 0.1, "pass^2,react": 0.75}
    text = card(
        tmp_path / "run",
        {"arms": {}, "attempts": 2},
        results={"todo": figures},
        intervals_95={"todo": {name: [0.125, 1.0] for name in figures}},
        cost_by_arm={},
        **{"n-samples": {"todo": {"act": {"original": 8, "effective": 8}}}},
    )
    assert [line for line in text.splitlines() if line.startswith("| act |")] == [
        "| act | score | 0.500 | [0.125, 1.000] | 8 | 0 |",
        "| act | pass^2 | 0.250 | [0.125, 1.000] | 8 | 0 |",
    ]

"""Reflexion's memory beyond its run: evaluated, shown, exported and learned on from; a made-up agent, no model."""

import json
from pathlib import Path
from typing import Any

import pytest

from pract.errors import InputError
from scripts.agents_page import agents_page
from scripts.comparing import compare_arms
from scripts.export_episodes import exported, open_source
from scripts.learning import learn
from tests.scripts.clerk import configuration, recorder


def learning(folder: Path, *overrides: str) -> Any:
    """One round of the smoke run, without a gate."""
    calls = recorder(folder.parent / f"{folder.name}.jsonl")
    asked = ("experiment=pract/smoke", "rpo.rounds=1", "rpo.acceptance=off", f"output_dir={folder}", *calls)
    return configuration("optimize_pract", *asked, *overrides)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`principles.json` of a run of Reflexion."""
    folder = tmp_path_factory.mktemp("reflexion") / "run"
    learn(learning(folder, "method=reflexion"))
    return folder / "principles.json"


def notes_of(path: Path) -> list[str]:
    notes: list[str] = json.loads(path.read_text())["best"]["notes"]
    assert notes
    return notes


def test_notes_are_evaluated_shown_and_exported(learned: Path, tmp_path: Path) -> None:
    played = ("env=todo", "agent=act", "agent.max_steps=8", "split=train", "limit=3", f"principles={learned}")
    arms = ("~arms.act", "~arms.react", "~arms.initial")
    cfg = configuration(
        "evaluate_pract", *played, *arms, f"output_dir={tmp_path}/run", *recorder(tmp_path / "calls.jsonl")
    )
    results = compare_arms(cfg)
    assert results["agents"]["learned"]["notes"] == notes_of(learned)
    rows = list(exported(open_source(tmp_path / "run", ""), 0.0))
    assert rows
    assert all(notes_of(learned)[0] in row["system"] for row in rows)
    page = agents_page(tmp_path / "run")
    assert "<h3>Notes</h3>" in page
    assert "No principles." not in page


def test_a_run_begins_with_the_notes_of_another_or_refuses_them(learned: Path, tmp_path: Path) -> None:
    learn(learning(tmp_path / "more", "method=reflexion", f"principles={learned}"))
    versions = json.loads((tmp_path / "more/principles.json").read_text())["versions"]
    assert versions[0]["notes"] == notes_of(learned)
    with pytest.raises(InputError, match="which this method would lose: use method=reflexion"):
        learn(learning(tmp_path / "other", f"principles={learned}"))
    assert not (tmp_path / "other").exists()


def test_what_a_run_began_with_has_its_notes(learned: Path, tmp_path: Path) -> None:
    learn(learning(tmp_path / "more", "method=reflexion", f"principles={learned}"))
    played = ("env=todo", "agent=act", "limit=1", f"principles={tmp_path}/more/principles.json", "~arms.act")
    cfg = configuration(
        "evaluate_pract",
        *played,
        "~arms.react",
        f"output_dir={tmp_path}/run",
        *recorder(tmp_path / "calls.jsonl"),
    )
    agents = compare_arms(cfg)["agents"]
    assert agents["initial"]["notes"] == notes_of(learned)
    assert agents["learned"]["notes"] == notes_of(tmp_path / "more/principles.json")

"""How quickly scripts answer: real processes, by the processor time that they take; nothing is trained."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(
    path.stem
    for path in (ROOT / "scripts").glob("*.py")
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    and path.stem != "loopback"  # which others start
)
MOST = 1.5
"""Seconds of processor time; it takes about a third of them alone. torch would add two, transformers five."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    status: int
    out: str
    err: str
    cpu: float
    """Seconds, user and system."""


def run(script: str, *arguments: str) -> Ended:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    command = [sys.executable, "-m", f"scripts.{script}", *arguments]
    before = os.times()
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Ended(status=done.returncode, out=done.stdout, err=done.stderr, cpu=cpu)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_says_what_a_script_is_for_at_once(script: str) -> None:
    ended = run(script, "--help")
    assert (ended.status, ended.err) == (0, "")
    assert f"python -m scripts.{script}" in ended.out
    assert ended.cpu < MOST


def test_help_shows_groups_and_the_configuration_as_it_would_be() -> None:
    ended = run("train_latro", "--help", "experiment=latro/smoke", "objective.kl_weight=0.125")
    assert "logger=none | tensorboard | wandb" in ended.out
    assert "name: latro/smoke\n" in ended.out
    assert "kl_weight: 0.125\n" in ended.out


@pytest.mark.parametrize(
    ("script", "argument", "said"),
    [
        ("train_latro", "objective.kl_wieght=1", "there is no key 'objective.kl_wieght'"),
        ("optimize_pract", "experiment=pract/smok", "there is no config 'experiment/pract/smok'"),
        ("sweep", "seed=0,1 objective.kl_wieght=1", "there is no key 'objective.kl_wieght'"),
        ("compare_runs", "no/such/folder no/such/other", "no/such/folder"),
    ],
)
def test_bad_input_is_said_at_once_in_one_line(script: str, argument: str, said: str) -> None:
    ended = run(script, *argument.split())
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.count("\n") == 1
    assert ended.err.startswith("error: ")
    assert said in ended.err
    assert ended.cpu < MOST


def test_help_beside_a_misspelt_recipe_is_refused_too() -> None:
    ended = run("train_latro", "--help", "experiment=latro/smok")
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert "did you mean 'smoke'?" in ended.err

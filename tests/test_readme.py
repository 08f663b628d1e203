"""The README's runnable commands, run for real in a folder outside the checkout; no network, no GPU."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RUNNABLE = re.findall(r"<!-- runnable -->\n```bash\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = re.findall(r"python -m (scripts\.\w+)", README)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every runnable block has been run, in the README's order."""
    place = tmp_path_factory.mktemp("readme")
    (place / "bin").mkdir()
    python = place / "bin" / "python"
    # `-m` looks in the working folder first; outside a checkout the package is found by its path.
    python.write_text(f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{ROOT}" exec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "XDG_CACHE_HOME": str(place / "cache"),
    }
    for block in RUNNABLE:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=place,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return place


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_smoke_runs_train_evaluate_and_leave_what_the_readme_says(folder: Path) -> None:
    run = folder / "runs/latro/smoke/seed_0"
    table = README.split("## What a run leaves")[1].split("## ")[0]
    for name in re.findall(
        r"`([\w./]+)`", "\n".join(re.findall(r"^\| (`.*?) \|", table, flags=re.MULTILINE))
    ):
        assert (run / name).exists(), name
    assert [row["step"] for row in metrics(run) if "loss" in row] == [1, 2, 3, 4]
    assert (folder / "runs/sft/smoke/seed_0/results.json").exists()
    evaluated = json.loads((folder / "runs/evaluate/running_sums/seed_0/results.json").read_text())
    assert evaluated["n-samples"]["running_sums"]["effective"] == 16
    assert evaluated["split"] == "test"


def test_dataset_grader_and_model_from_outside_are_used(folder: Path) -> None:
    results = json.loads((folder / "runs/colours/seed_0/results.json").read_text())
    assert results["main_metric"] == {"colours": "accuracy_greedy,mine"}
    assert results["config"]["model"]["path"] == "runs/latro/smoke/seed_0/best"
    samples = (folder / "runs/colours/seed_0/samples.jsonl").read_text().splitlines()
    prompts = {json.loads(line)["prompt"] for line in samples}
    assert len(samples) == 2 * 2 * 4  # steps, prompts, rationales
    assert prompts <= {"sky?", "grass?", "snow?", "coal?", "blood?", "milk?", "sea?", "leaf?"}


def test_a_sweep_and_a_comparison_leave_their_tables(folder: Path) -> None:
    told = json.loads((folder / "runs/sweeps/first/sweep.json").read_text())
    assert [job["status"] for job in told["jobs"]] == ["finished", "finished"]
    compared = folder / "runs/compared"
    assert {path.name for path in compared.iterdir()} == {
        "comparison.csv", "comparison.html", "comparison.tex", "flips.csv",
    }  # fmt: skip


def test_every_script_the_readme_names_is_there() -> None:
    assert {name for name in COMMANDS if not (ROOT / (name.replace(".", "/") + ".py")).exists()} == set()


def test_every_file_the_readme_names_is_there() -> None:
    named = re.findall(r"\]\(((?!http)[^)]+)\)", README) + re.findall(r"(?<![\w/])conf/[\w/]+\.yaml", README)
    assert {name for name in named if not (ROOT / name.split("#")[0]).exists()} == set()


def test_every_experiment_the_readme_names_is_there() -> None:
    named = set(re.findall(r"experiment=([\w/]+)", README))
    assert {name for name in named if not (ROOT / f"conf/experiment/{name}.yaml").exists()} == set()

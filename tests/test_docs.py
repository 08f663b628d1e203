"""What README and docs run, run for real in a folder outside the checkout, and the metrics they explain; no network."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from latro.evaluation import Item, summary
from latro.types import Graded
from pract.diagnosis import Pattern
from tests.documented import PAGES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LATRO = (ROOT / "docs/latro.md").read_text(encoding="utf-8")
PRACT = (ROOT / "docs/pract.md").read_text(encoding="utf-8")
RUNNABLE = [
    block
    for path in PAGES
    for block in re.findall(
        r"^<!-- runnable -->\n```bash\n(.*?)^```",
        path.read_text(encoding="utf-8"),
        flags=re.DOTALL | re.MULTILINE,
    )
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every runnable block has been run, once for all of pytest's processes."""
    base = tmp_path_factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "documents"
    with FileLock(place.with_suffix(".lock")):
        if not (place / "done").exists():
            run_blocks(place)
            (place / "done").touch()
    return place


def run_blocks(place: Path) -> None:
    """The README's blocks in order, then those of docs."""
    (place / "bin").mkdir(parents=True)
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
    place = folder / "runs/evaluate/running_sums/runs__latro__smoke__seed_0__best/seed_0"
    evaluated = json.loads((place / "results.json").read_text())
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


def test_a_reproduction_tells_what_there_is_and_starts_nothing(folder: Path) -> None:
    told = json.loads((folder / "runs/reproduce/latro_gsm8k_tiny/reproduce.json").read_text())
    assert len(told["cells"]) == 53
    assert {cell["status"] for cell in told["cells"]} == {"not run"}


def test_pages_on_the_paper_name_graders_as_tables_do() -> None:
    for name in ("published-code", "reproduce"):
        text = (ROOT / f"docs/{name}.md").read_text(encoding="utf-8")
        assert set(re.findall(r"`(paper_\w+|paper)`", text)) <= {"paper"}


def test_every_experiment_the_readme_names_is_there() -> None:
    named = set(re.findall(r"experiment=([\w/]+)", README))
    assert {name for name in named if not (ROOT / f"conf/experiment/{name}.yaml").exists()} == set()


def explained(page: str, *sections: str) -> set[str]:
    """The names in the first columns of the sections' tables."""
    found: set[str] = set()
    for section in sections:
        text = page.split(f"# {section}\n")[1]
        text = re.split(r"^#+ ", text, maxsplit=1, flags=re.MULTILINE)[0]
        cells = re.findall(r"^\| `([^`]+)` \|", text, flags=re.MULTILINE)
        assert len(cells) == len(set(cells)) == text.count("\n|") - 2, section
        found |= set(cells)
    return found


def fits(name: str, names: set[str]) -> bool:
    """Whether a metric is one of those; NAME, PATTERN and the K of majK stand for any word."""
    patterns = (re.sub(r"NAME|PATTERN", r"[\\w.]+", re.sub(r"majK", r"maj\\d+", known)) for known in names)
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def logged(*files: Path) -> set[str]:
    return {key for file in files for line in file.read_text().splitlines() for key in json.loads(line)}


def every_evaluation_metric() -> set[str]:
    """The names of an evaluation in which everything was asked for."""
    graded = {"final": Graded(extracted="1", correct=True)}
    item = Item(
        id="a", prompt="p", gold="1", output="1", finished=True, tokens=1, greedy=graded, samples=["1"],
        majority=graded, choices={"acc": graded["final"]},
        log_answer={"own": -1.0, "none": -1.0, "gold": -1.0, "other": -1.0},
    )  # fmt: skip
    return {f"eval/{name}" for name in summary([item], "final")}


def test_every_metric_of_latro_is_explained_and_no_other(folder: Path) -> None:
    names = explained(LATRO, "Of every step", "Of every evaluation on validation", "Of time")
    supervised = names | explained(LATRO, "Of supervised training")
    latro, sft = folder / "runs/latro/smoke/seed_0", folder / "runs/sft/smoke/seed_0"
    told = logged(latro / "metrics.jsonl", latro / "timing.jsonl")
    told_sft = logged(sft / "metrics.jsonl", sft / "timing.jsonl")
    assert {name for name in told if not fits(name, names)} == set()
    assert {name for name in told_sft if not fits(name, supervised)} == set()
    exist = told | told_sft | every_evaluation_metric() | {"gpu_memory_gb"}  # on a GPU alone
    assert {name for name in supervised if not any(fits(one, {name}) for one in exist)} == set()


def test_every_metric_of_pract_is_explained_and_no_other(folder: Path) -> None:
    names = explained(PRACT, "Metrics")
    told = logged(folder / "runs/pract/smoke/seed_0/metrics.jsonl")
    assert {name for name in told if not fits(name, names)} == set()
    exist = told | {f"rpo/errors/{pattern.value.replace(' ', '_')}" for pattern in Pattern}
    assert {name for name in names if not any(fits(one, {name}) for one in exist)} == set()

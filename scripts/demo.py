"""The main job on an embedded default: python -m scripts.demo

1. The wind tunnel: a tiny model that can reason but guesses is unlocked by LaTRO, before and after.
2. A few LaTRO steps of the real SmolLM2-135M on questions in plain English, with samples printed.
3. RPO in a bundled shop (`scripts/demo_pract.py`): principles before and after, a held-out table, a history.

Everything runs as the ordinary commands, which are printed, so that they can be run again one by one.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from scripts import demo_pract
from scripts.plotting import plot_run

FOLDER = Path("runs/demo")
STAGES = (
    ("the wind tunnel: LaTRO unlocks reasoning in a tiny model", "wind_tunnel", "latro/wind_tunnel"),
    ("a real model: SmolLM2-135M learns from its own likelihood", "smollm2", "latro/demo_smollm2"),
)


def main() -> None:
    """Run the three stages, draw curves, print what changed."""
    if len(sys.argv) > 1:  # it takes no settings, so whatever is said asks what it is
        print(__doc__)
        return
    started = time.perf_counter()
    shutil.rmtree(FOLDER, ignore_errors=True)
    lines = []
    for number, (title, name, experiment) in enumerate(STAGES, start=1):
        folder = FOLDER / name
        announce(number, title)
        run("train_latro", [f"experiment={experiment}", f"output_dir={folder}"])
        picture = plot_run(folder, FOLDER / f"{name}.png", title)
        changes = before_and_after(folder)
        lines.append(f"{title}\n{changes}\n  picture: {picture}\n  samples: {folder}/samples.jsonl")
    announce(len(STAGES) + 1, demo_pract.TITLE)
    changes = demo_pract.run_stage(FOLDER / "shop", demo_pract.choose_player(os.environ), run)
    lines.append(f"{demo_pract.TITLE}\n{changes}")
    print("\n== what changed")
    print("\n".join(lines))
    print(f"\ndone in {(time.perf_counter() - started) / 60:.1f} minutes")


def announce(number: int, title: str) -> None:
    """The head of a stage."""
    print(f"\n== {number} of {len(STAGES) + 1}: {title}", flush=True)


def run(script: str, overrides: Sequence[str]) -> None:
    """Run one of the scripts; ends the demo with its status if it fails."""
    command = [sys.executable, "-m", f"scripts.{script}", *overrides]
    print(f"$ python {shlex.join(command[1:])}\n", flush=True)
    status = subprocess.run(command).returncode
    if status:
        sys.exit(status)


def before_and_after(folder: Path) -> str:
    """First and last evaluation of a run, side by side."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    evaluations = [row for row in rows if "eval/accuracy_greedy" in row]
    first, last = evaluations[0], evaluations[-1]
    names = {
        "eval/accuracy_greedy": "greedy accuracy",
        "eval/logp_answer/own": "log π(answer), own rationale",
        "eval/logp_answer/none": "log π(answer), no rationale",
        "eval/logp_answer/gold": "log π(answer), gold rationale",
        "eval/logp_answer/other": "log π(answer), another's rationale",
    }
    return "\n".join(
        f"  {label:<36} {first[name]:8.3f} at step {first['step']}   {last[name]:8.3f} at step {last['step']}"
        for name, label in names.items()
        if name in first
    )


if __name__ == "__main__":
    main()

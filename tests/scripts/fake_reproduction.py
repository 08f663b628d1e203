"""What a reproduction's job leaves, without a job: `python fake_reproduction.py SCRIPT OVERRIDE ...`

Of eight items the base model gets one right, SFT four, LaTRO seven, and six under `objective.kl_weight=0`; each seed
above 0 misses one more of LaTRO's. A vote is right where the greedy output is, and on the last item. The job named in
REPRODUCTION_FAILS fails, and that in REPRODUCTION_HANGS hangs, both by a part of their folder's name.
"""

import json
import os
import sys
import time
from pathlib import Path

script, *overrides = sys.argv[1:]
given = dict(override.lstrip("+~").split("=", 1) for override in overrides if "=" in override)
folder = Path(given["output_dir"].strip("'"))
folder.mkdir(parents=True, exist_ok=True)
with (folder / "starts.txt").open("a") as file:
    file.write("start\n")
if os.environ.get("REPRODUCTION_FAILS", "nothing") in str(folder):
    sys.exit("error: the job is unlucky")
if os.environ.get("REPRODUCTION_HANGS", "nothing") in str(folder):
    (folder / "about_to_hang").write_text(str(os.getpid()))
    (folder / "about_to_hang").replace(folder / "hanging")  # whole, for whoever sees it
    time.sleep(60)
seed = int(given["seed"])


def verdict(right: bool) -> dict[str, object]:
    return {"extracted": "4", "correct": right}


def item(number: int, right: bool) -> dict[str, object]:
    voted = verdict(right or number == 7)
    return {
        "id": str(number), "prompt": f"{number}?", "gold": "4", "output": "", "samples": [""] * 8, "choices": {},
        "greedy": {"exact": verdict(right), "paper": verdict(right)}, "majority": {"exact": voted, "paper": voted},
        "log_answer": {},
    }  # fmt: skip


outcome: dict[str, object] = {"config": {"seed": seed}, "cost": {"calls": 12, "tokens": 3400}}
if script == "evaluate_latro":
    path = given.get("model.path", "")
    right = 1 if not path else 4 if "/sft/" in path else 6 if "beta=0/" in path else 7 - seed
    rows = [item(number, number < right) for number in range(8)]
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    counts = {"sums": {"original": 8, "effective": 8}}
    outcome |= {"versions": {"sums": "1"}, "split": "held out", "n-samples": counts}
if script == "evaluate_pract":
    arm = next(
        override.split("=")[0].removeprefix("+arms.")
        for override in overrides
        if override.startswith("+arms.")
    )
    tasks = [{"arm": arm, "task": str(n), "attempt": 0, "counts": True} for n in range(6)]
    scores = [float(arm not in ("act", "react") or n < 2) for n in range(6)]
    rows = [
        task | {"score": s, "progress": s, "success": s == 1} for task, s in zip(tasks, scores, strict=True)
    ]
    (folder / "outcomes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    counts = {"todo": {arm: {"original": 6}}}
    outcome |= {
        "versions": {"todo": "1"},
        "content_hash": {"todo": "c0ffee"},
        "split": "held out",
        "n-samples": counts,
    }
(folder / "results.json").write_text(json.dumps(outcome))

"""What a sweep's job leaves, without a job: `launch='python fake_child.py'` puts it before the job's own arguments.

Its accuracy is 0.5 + kl_weight + seed / 100. A seed of 7 fails, one of 8 hangs until it is interrupted.
"""

import json
import sys
import time
from pathlib import Path

given = dict(argument.lstrip("+").split("=", 1) for argument in sys.argv[1:] if "=" in argument)
folder = Path(given["output_dir"].strip("'").replace("\\'", "'"))
seed = int(given.get("seed", 0))
folder.mkdir(parents=True, exist_ok=True)
with (folder / "starts.txt").open("a") as file:
    file.write("start\n")
if seed == 7:
    sys.exit("error: the seed is unlucky\n")
if seed == 8:
    try:
        (folder.parents[2] / "hanging").touch()
        time.sleep(60)
    except KeyboardInterrupt:
        (folder / "interrupted").touch()
        sys.exit(130)
value = 0.5 + float(given.get("objective.kl_weight", 0)) + seed / 100
evaluations = {
    str(step): {"eval/accuracy_greedy": part} for step, part in ((0, 0.1), (2, value), (4, value - 0.2))
}
outcome = {
    "results": {"sums": {"accuracy_greedy,exact": value}},
    "main_metric": {"sums": "accuracy_greedy,exact"},
    "training": {"best_step": 2, "chosen_by": "validation accuracy_greedy", "evaluations": evaluations},
}
(folder / "results.json").write_text(json.dumps(outcome))

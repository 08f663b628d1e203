"""Many runs of one script, compared: python -m scripts.sweep experiment=latro/wind_tunnel seed=0,1,2 max_steps=50,150

Any key of the script can be swept, in Hydra's grammar: key=a,b,c, choice(...), range(...). The sweep's own keys:

    script=train_latro        or train_sft, evaluate_latro, optimize_pract, evaluate_pract
    jobs=1                    jobs at once
    metric=eval/accuracy_greedy@best   or @last, @start, @lowest, @mean of a training; a name in results.json; or [a,b]
    launcher=local            or slurm (extra: slurm), with slurm='{timeout_min: 120, gpus_per_node: 1}'
    launch=                   'accelerate launch --config_file FILE': before each job instead of python
    sweep_dir=                where it is kept; by default runs/sweeps/, by experiment and what is fixed
    sampler=grid              or optuna (extra: optuna) with trials=20, direction=maximize and metric; intervals allowed

Each job is a process of its own with a folder of its own. All are composed before the first is started. Start the
sweep again and it takes up only what is missing. It leaves sweep.json, sweep.csv, a picture for each knob, and logs/.
"""

import json
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from latro.errors import InputError
from scripts.casting import until_stopped
from scripts.entry import status_of
from scripts.folders import locked
from scripts.launching import last_words, log_of, run_chains
from scripts.masking import masked_command
from scripts.run import refuse_unwritable
from scripts.sweep_folders import is_finished, refuse_other_runs, refuse_outdated
from scripts.sweep_plan import Job, Plan, composed, quoted, read_plan
from scripts.sweep_results import (
    Result,
    measured,
    measured_all,
    read_outcome,
    refuse_unmeasured,
    with_figures,
)
from scripts.sweep_table import print_sweep, sweep_csv, sweep_json
from scripts.tables import write_text

Work = Coroutine[Any, Any, None]


@dataclass(kw_only=True)
class Sweep:
    """A sweep under way: what became of each job so far."""

    plan: Plan
    results: dict[Path, Result] = field(default_factory=dict)
    """By the job's folder, in the order of the grid."""
    costs: Mapping[Path, float] = field(default_factory=dict)
    """What jobs cost beside one another, where they are unlike; by folder."""
    started: float = field(default_factory=time.monotonic)
    before: frozenset[Path] = frozenset()
    """Folders of jobs that were finished before."""
    looked: bool = False
    """Whether the metrics were looked for in a finished job."""

    def add(self, jobs: Sequence[tuple[Job, DictConfig]]) -> list[tuple[Job, list[str]]]:
        """Take jobs in; those that are still to run, with their further overrides."""
        missing: list[tuple[Job, list[str]]] = []
        for job, cfg in jobs:
            refuse_other_runs(job, cfg)
            if is_finished(job, cfg):
                refuse_outdated(job, [other.folder for other, _ in missing])
                self.results[job.folder] = Result(job=job, status="finished")
                self.before |= {job.folder}
                self.look(job)
            else:
                self.results[job.folder] = Result(job=job, status="not run", error="the sweep was stopped")
                missing.append((job, self.grouped(cfg)))
        return missing

    def look(self, job: Job) -> None:
        """Warn, at the first job that is finished, of metrics that it lacks: the others may lack them too."""
        outcome = None if self.looked else read_outcome(job.folder)
        if outcome is not None:
            self.looked = True
            for line in measured_all(outcome, self.plan.config.metrics)[1]:
                print(f"warning: {job.name}: {line}", file=sys.stderr, flush=True)

    def grouped(self, cfg: DictConfig) -> list[str]:
        """Overrides that put a job's W&B run into the sweep's group, unless it has one that was chosen."""
        logger = cfg.get("logger")
        chosen = any(override.startswith("logger.group=") for override in self.plan.fixed)
        if logger is None or logger.get("name") != "wandb" or chosen:
            return []
        return [f"logger.group={quoted(self.plan.folder.name)}"]

    def ended(self, job: Job, status: int, seconds: float) -> None:
        """Note how a job ended, and say it."""
        done = status == 0 and read_outcome(job.folder) is not None
        error = "" if done else last_words(log_of(self.plan, job), status)
        self.results[job.folder] = Result(
            job=job, status="finished" if done else "failed", error=error, seconds=round(seconds, 1)
        )
        if done:
            self.look(job)
        settled = sum(result.status != "not run" for result in self.results.values())
        end = f"{seconds:.0f} s" if done else error
        left = self.time_left(time.monotonic() - self.started)
        print(
            f"[{settled}/{len(self.results)}] {'done' if done else 'FAILED'} {job.name}: {end}{left}",
            flush=True,
        )

    def time_left(self, elapsed: float) -> str:
        """`; about 12 min left`, by what the jobs of this session cost and took; nothing after the last."""
        cost = {True: 0.0, False: 0.0}
        for folder, result in self.results.items():
            if folder not in self.before:
                cost[result.status != "not run"] += self.costs.get(folder, 1.0)
        if not cost[True] or not cost[False]:
            return ""
        minutes = elapsed * cost[False] / cost[True] / 60
        return f"; about {minutes:.0f} min left" if minutes >= 1 else "; less than a minute left"

    def figure(self, jobs: Sequence[Job]) -> list[float]:
        """The first metric of the jobs that finished and have it. Raises InputError if none of them does."""
        wanted = self.plan.config.metrics[:1]
        outcomes = [outcome for job in jobs if (outcome := read_outcome(job.folder)) is not None]
        values = [value for outcome in outcomes for value in measured_all(outcome, wanted)[0].values()]
        return values if values or not outcomes else [measured(outcomes[0], wanted[0])]


def sweep(arguments: Sequence[str]) -> int:
    """Plan, run what is missing, tell; the number of jobs that did not finish."""
    plan = read_plan(arguments)
    refuse_unwritable(plan.folder, "sweep_dir")
    under_way = Sweep(plan=plan)
    if plan.config.sampler == "optuna":
        from scripts.proposing import search

        begin: Callable[[], Work] = partial(search, under_way)
    else:
        if not plan.knobs:
            raise InputError("nothing is swept; give a key several values, as seed=0,1,2")
        begin = partial(rest_of_grid, under_way, list(composed(plan, plan.grid())))
    return alone(plan.folder, begin, lambda: tell(under_way, arguments), "give sweep_dir")


def rest_of_grid(under_way: Sweep, jobs: Sequence[tuple[Job, DictConfig]]) -> Work:
    """What is still to be done of the jobs, said beforehand."""
    plan, missing = under_way.plan, under_way.add(jobs)
    print(f"{len(jobs)} jobs, {len(jobs) - len(missing)} of them finished before; {plan.folder}", flush=True)
    return run_chains(plan, [[job] for job in missing], under_way.ended)


def alone(folder: Path, begin: Callable[[], Work], tell: Callable[[], int], otherwise: str) -> int:
    """Begin and do the work with the folder locked, and tell of it whatever ends it; what `tell` returns.

    begin: looks at what there is, which no other process may change then. Raises InputError if one is at work there.
    """
    with locked(folder, "sweep", otherwise):
        work = begin()
        try:
            until_stopped(work)
        finally:
            told = tell()
    return told


def tell(under_way: Sweep, arguments: Sequence[str]) -> int:
    """Write and print what was found; the number of jobs that did not finish.

    Raises InputError, when all that is written, for a metric that no finished job has.
    """
    plan = under_way.plan
    results, metrics = with_figures(list(under_way.results.values()), plan.config.metrics)
    told = {
        "command": ["scripts.sweep", *masked_command(arguments)],
        "script": plan.config.script,
        **sweep_json(results, metrics),
    }
    write_text(plan.folder / "sweep.json", json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    write_text(plan.folder / "sweep.csv", sweep_csv(results, metrics))
    print_sweep(results, metrics)
    if any(result.figures for result in results):
        from scripts.sweep_plots import plot_knobs

        had = [metric for metric in metrics if any(metric in result.figures for result in results)]
        plot_knobs(results, had, plan.folder)
    print(f"sweep folder: {plan.folder}")
    refuse_unmeasured(results, metrics)
    return sum(result.status != "finished" for result in results)


def main(arguments: Sequence[str]) -> int:
    """Sweep as the command line says; 0 if all jobs are finished, 1 if some failed, 2 for bad input, 130 if stopped."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0
    return status_of(
        lambda: 1 if sweep(arguments) else 0, "stopped by hand; the same command takes up what is missing"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

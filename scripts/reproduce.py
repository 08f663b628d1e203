"""The papers' tables, run again: python -m scripts.reproduce table=latro_gsm8k|latro_arc|pract size=tiny|small|paper

tiny: the wind tunnel, or recordings; minutes on 2 cores. small: a real small model. paper: the published models. It
runs what is missing and prints for every cell ours, the paper's figure and the difference, or why it was not run.

    only=KEY,KEY       these rows alone, extra ones included; patterns such as 'beta=*' are allowed
    run=true|false     false: tell what there is, start nothing. By default paper starts nothing and the others run
    jobs=2             commands at once; one unless given where two trainings would share GPUs
    seeds=0,1,2        of LaTRO's main rows, of all of PRAct's; one seed unless given of size=paper and table=pract
    folder=            where it is kept; by default runs/reproduce/TABLE_SIZE
    task.path=FOLDER   the dataset on this disk  env.data=FOLDER     of PRAct's environment
    env.records=FOLDER with academia_record.jsonl and so on, of size=paper and table=pract
    model=smollm2_135m|qwen_coder_0_5b           of size=small, with model_path=FILE_OR_FOLDER; of pract a GGUF file
    MODEL.path=FOLDER  of size=paper, such as phi35_mini.path=FOLDER
    hardware=H100      that the plan of size=paper is for
    launch='accelerate launch ...', launcher=slurm, slurm='{...}'    as scripts.sweep has them
    SCRIPT.KEY=VALUE   for every job of a script, such as train_latro.max_steps=2 evaluate_latro.limit=16

Killed and started again it goes on where it was. It leaves reproduce.json, reproduce.csv, reproduce.html and logs/.
"""

import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from latro.errors import InputError
from scripts.entry import fail, status_of
from scripts.launching import Chain, run_chains
from scripts.published import published
from scripts.reproduce_page import page
from scripts.reproduce_request import Request, read_request
from scripts.reproduce_table import json_text, print_table, table_csv
from scripts.reproduced import Cell, cells
from scripts.reproduction import Reproduction, Row, chains
from scripts.run import refuse_unwritable
from scripts.sweep import Sweep, alone
from scripts.sweep_folders import changed_keys
from scripts.sweep_plan import Job, Plan, SweepConfig, composed
from scripts.tables import write_text


def reproduce(arguments: Sequence[str]) -> int:
    """Plan, run what is missing, tell; the number of cells whose commands failed."""
    request = read_request(arguments)
    reproduction = request.reproduction()
    chosen = selected(reproduction, request.only)
    refuse_unwritable(request.folder, "folder")
    plan = plan_of(request)
    costs: dict[Path, float] = {}
    runnable = [row for row in chosen if not row.impossible]
    planned = [
        [with_given(job, request) for job in chain] for chain in chains(runnable, request.folder, costs)
    ]
    under_way = Sweep(plan=plan, costs=costs)
    configurations = list(composed(plan, [job for chain in planned for job in chain]))
    missing = under_way.add(configurations)
    unlike = unlike_folders(plan, request, reproduction, {job.folder for job, _ in configurations})
    takes = what_it_takes(request, reproduction, chosen, configurations)
    if not request.run:
        under_way.results = {
            p: result for p, result in under_way.results.items() if result.status == "finished"
        }
        missing = []
    if missing:
        request.refuse_what_is_missing(configurations)
    before = len(configurations) - len(missing)
    print(f"{len(configurations)} jobs, {before if request.run else len(under_way.results)} of them finished before; "
          f"{request.folder}", flush=True)  # fmt: skip
    left = remaining(planned, missing)

    def tell() -> int:
        found = cells(
            takes,
            published(request.table),
            request.folder,
            under_way.results,
            request.idle(reproduction),
            unlike,
        )
        return write(request, takes, found, arguments)

    return alone(
        request.folder, partial(run_chains, plan, left, under_way.ended), tell, "give another folder="
    )


def selected(reproduction: Reproduction, only: Sequence[str]) -> list[Row]:
    """The rows to run. Raises InputError for a name that fits none."""
    if not only:
        return [row for row in reproduction.rows if not row.extra]
    found = []
    for pattern in only:
        fitting = [row for row in reproduction.rows if row.key == pattern or fnmatch(row.key, pattern)]
        if not fitting:
            known = ", ".join(row.key for row in reproduction.rows)
            raise InputError(f"only={pattern}: there is no such row; there are {known}")
        found += [row for row in fitting if row not in found]
    return found


def unlike_folders(
    plan: Plan, request: Request, reproduction: Reproduction, asked: Collection[Path]
) -> frozenset[Path]:
    """Folders of jobs that were not asked for, and that hold another configuration than theirs.

    An earlier command may have left them with overrides of its own; their figures are none of this table.
    """
    rows = [row for row in reproduction.rows if not row.impossible]
    jobs = [with_given(job, request) for chain in chains(rows, request.folder) for job in chain]
    there = [job for job in jobs if job.folder not in asked and (job.folder / "config.yaml").is_file()]
    return frozenset(job.folder for job, cfg in composed(plan, there) if changed_keys(job, cfg))


def plan_of(request: Request) -> Plan:
    """The sweep that these jobs are."""
    config = SweepConfig(
        jobs=request.jobs_at_once,
        launcher=request.launcher,
        slurm=request.slurm,
        sweep_dir=str(request.folder),
    )
    return Plan(config=config, fixed=(), knobs={}, searched=(), folder=request.folder)


def with_given(job: Job, request: Request) -> Job:
    """The job with what the command line says for its script."""
    return replace(job, overrides=(*job.overrides, *request.given.get(job.script, ())))


def remaining(planned: Sequence[Sequence[Job]], missing: Sequence[tuple[Job, list[str]]]) -> list[Chain]:
    """What is left of the chains, longest first, so that what ends last is short."""
    wanted = {job.folder: (job, further) for job, further in missing}
    left = [[wanted[job.folder] for job in chain if job.folder in wanted] for chain in planned]
    return sorted((chain for chain in left if chain), key=len, reverse=True)


def what_it_takes(
    request: Request,
    reproduction: Reproduction,
    chosen: Sequence[Row],
    configurations: Sequence[tuple[Job, DictConfig]],
) -> Reproduction:
    """The reproduction with memory and GPU-hours beside each row, where the models' sizes are known."""
    if request.size != "paper" or request.table == "pract":
        return reproduction
    from scripts.paper_plan import needs  # torch is imported only when it is needed

    by_folder = {job.folder: cfg for job, cfg in configurations}
    keys = {row.key for row in chosen}
    rows = [
        replace(row, takes=needs(row, request.table, request.folder, by_folder, request.hardware))
        if row.key in keys
        else row
        for row in reproduction.rows
    ]
    return replace(reproduction, rows=tuple(rows))


def write(
    request: Request, reproduction: Reproduction, found: Sequence[Cell], arguments: Sequence[str]
) -> int:
    """Write and print the table; the number of cells that failed."""
    told = published(request.table)
    command = ["scripts.reproduce", *arguments]
    write_text(request.folder / "reproduce.json", json_text(reproduction, told, found, command, request))
    write_text(request.folder / "reproduce.csv", table_csv(found, request))
    write_text(request.folder / "reproduce.html", page(reproduction, told, found, request))
    print_table(reproduction, told, found, request)
    print(f"written: {request.folder}/reproduce.html, .csv and .json")
    return sum(cell.status == "failed" for cell in found)


def main(arguments: Sequence[str]) -> int:
    """Reproduce what the command line names; 0, 1 if a command failed, 2 for bad input, 130 if stopped."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else fail("name a table and a size: table=latro_gsm8k size=tiny")
    return status_of(
        lambda: 1 if reproduce(arguments) else 0, "stopped by hand; the same command takes up what is missing"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What a reproduction runs: rows of a table, the commands behind each, and the folders they leave."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scripts.sweep_plan import Job, file_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One command, but for its seed and its folder."""

    name: str
    """Of its folder: equal names are one run, which rows share."""
    script: str
    overrides: tuple[str, ...]
    """`{before}` in one stands for the folder of the training that it needs."""
    launch: str = ""
    """Put before it instead of `python`."""
    cost: float = 60.0
    """Seconds it takes at a guess; only their ratios count, for the time left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a table: a training if there is one, and the evaluation that its cells are read from."""

    key: str
    """Names it in `only=`."""
    section: str
    label: str
    training: Stage | None = None
    evaluation: Stage
    columns: Mapping[str, str]
    """The measure of each cell, as `read_sheets` names it up to the comma."""
    arm: str = ""
    """Of agents, the arm that is read."""
    learned: bool = True
    """Whether that arm is what the training learned; then its cost is the training's."""
    seeds: tuple[int, ...] = (0,)
    against: tuple[str, ...] = ()
    """Keys of the rows that it is paired with."""
    published: str = ""
    """The paper's training; empty: its section is asked for words."""
    model: str = ""
    """The paper's model, where it is one; then a difference is claimed."""
    extra: bool = False
    """Run only if it is named."""
    impossible: str = ""
    """What is missing for it at this size; such a row is never run."""
    takes: str = ""
    """What a run of it takes, in words."""

    def jobs(self, folder: Path, seed: int) -> list[Job]:
        """Its commands under a seed, each in its own folder."""
        found: list[Job] = []
        before = ""
        for stage in (self.training, self.evaluation):
            if stage is None:
                continue
            name = "/".join((*map(file_name, stage.name.split("/")), f"seed={seed}"))
            job = Job(
                name=name,
                knobs={"seed": str(seed)},
                overrides=(*(text.replace("{before}", before) for text in stage.overrides), f"seed={seed}"),
                folder=folder / "jobs" / name,
                script=stage.script,
                launch=stage.launch,
                needs=found[-1].folder if found else None,
            )
            before = str(job.folder)
            found.append(job)
        return found

    def evaluated(self, folder: Path, seed: int) -> Path:
        """The folder that its cells are read from."""
        return self.jobs(folder, seed)[-1].folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """A table at a size."""

    table: str
    size: str
    rows: tuple[Row, ...]
    comparable: str
    """Why no difference from the paper's figures is claimed; empty where one is."""
    about: str
    """What is run, in a sentence or two that stand above the table."""
    unit: str = "accuracy, %"
    needs: str = ""
    """Hardware that is not taken for granted: nothing is started without run=true."""
    measures: tuple[str, ...] = field(default=())
    """Costs shown beside a row, by their names in `results.json` of its training."""


def chains(rows: Iterable[Row], folder: Path, costs: dict[Path, float] | None = None) -> list[list[Job]]:
    """The jobs of all rows: each training once, then the evaluations of it. `costs` is filled in, by folder."""
    found: dict[Path, dict[Path, Job]] = {}
    for row in rows:
        stages = [stage for stage in (row.training, row.evaluation) if stage is not None]
        for seed in row.seeds:
            jobs = row.jobs(folder, seed)
            chain = found.setdefault(jobs[0].folder, {})
            for job, stage in zip(jobs, stages, strict=True):
                chain.setdefault(job.folder, job)
                if costs is not None:
                    costs[job.folder] = stage.cost
    return [list(chain.values()) for chain in found.values()]

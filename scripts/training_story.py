"""What a training's folder tells, finished or not: steps, evaluations, outputs, warnings, and some of its samples."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latro.errors import InputError
from scripts import stats
from scripts.folders import AGAIN, Row, read_config, read_json, refuse_missing, table
from scripts.tables import has_evaluation

STEPS_SAMPLED = 12
"""Steps, evenly spaced, of which the samples are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One training run."""

    folder: Path
    config: Row
    environment: Row
    outcome: Row | None
    """`results.json`; None while the run is not finished."""
    steps: tuple[Row, ...]
    """Metrics of every step."""
    evaluations: tuple[Row, ...]
    """Metrics of every evaluation, oldest first."""
    validation: Mapping[int, Sequence[Row]]
    """Validation outputs by step."""
    prompts: Mapping[str, str]
    """Of validation examples, by id; runs of older versions have none."""
    health: tuple[Row, ...]
    samples: Mapping[int, Sequence[Row]]
    """All samples of some steps."""
    seconds: float
    """Of all steps, over all sessions; evaluations not counted."""
    left_out: int

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.config["seed"])

    @property
    def last_step(self) -> int:
        """Steps done."""
        return int(max((row["step"] for row in (*self.steps, *self.evaluations)), default=0))

    @property
    def evaluated(self) -> list[int]:
        """Steps with validation outputs, oldest first."""
        return sorted(self.validation)

    @property
    def chosen_by(self) -> str:
        """The validation metric that chooses the best checkpoint."""
        metric = str(self.config["trainer"].get("metric_for_best_model") or "accuracy_greedy")
        return metric.removeprefix("eval_")

    @property
    def kept(self) -> str:
        """What the weights that a run keeps are called: those a metric chose, or the last ones."""
        chooses = self.config["trainer"].get("load_best_model_at_end", True)
        return "best checkpoint" if chooses else "last weights"

    @property
    def best_step(self) -> int | None:
        """The step of the weights that are kept; of an unfinished run the best so far; None before there is one."""
        if self.outcome is not None:
            step = self.outcome["training"]["best_step"]
            return None if step is None else int(step)
        name = f"eval/{self.chosen_by}"
        sign = 1 if greater_is_better(self.config["trainer"].get("greater_is_better"), self.chosen_by) else -1
        trained = [row for row in self.evaluations if row["step"] > 0 and name in row]
        return int(max(trained, key=lambda row: sign * row[name])["step"]) if trained else None

    @property
    def graders(self) -> list[str]:
        """Names of the graders, the main one first."""
        first = next(iter(self.validation.values()), [])
        names = list(first[0]["correct"]) if first else []
        main = self.main_grader
        return sorted(names, key=lambda name: name != main)

    @property
    def main_grader(self) -> str:
        """The grader whose accuracy has no suffix: in a row of metrics it stands right behind the grader's own."""
        names = list(self.evaluations[0]) if self.evaluations else []
        at = names.index("eval/accuracy_greedy") if "eval/accuracy_greedy" in names else 0
        return names[at - 1].rpartition("/")[2] if at else ""

    def accuracy(self, step: int, grader: str) -> stats.Estimate:
        """Share of the validation outputs of a step that a grader takes as right, with Wilson's interval."""
        found = self.validation[step]
        return stats.proportion(sum(row["correct"][grader] for row in found), len(found))

    def log_answer(self, step: int, kind: str) -> stats.Estimate | None:
        """Mean log π(answer) on validation, in nats, with the `own` rationale, `none`, the `gold` or an `other`.

        None where it was not measured, or is not finite for an example.
        """
        values = [row["log_answer"][kind] for row in self.validation[step] if kind in row["log_answer"]]
        return stats.mean(values) if values and all(map(math.isfinite, values)) else None


def read_training(folder: Path) -> Training:
    """Read a run folder of train_latro or train_sft. Raises InputError for a damaged file."""
    config, outcome = read_config(folder), read_json(folder / "results.json")
    metrics = table(folder, "metrics")
    validation: dict[int, list[Row]] = defaultdict(list)
    for row in table(folder, "validation"):
        validation[row["step"]].append(row)
    if outcome is not None and validation:
        task = next(iter(outcome["versions"]))
        told = outcome["n-samples"][task]["effective"]
        refuse_missing(folder / "validation.jsonl", len(validation[max(validation)]), told)
    steps = [row["step"] for row in metrics if not has_evaluation(row)]
    if outcome is not None and config["trainer"].get("logging_steps") == 1:
        _refuse_short(folder / "metrics.jsonl", steps, outcome["training"]["steps"])
    return Training(
        folder=folder,
        config=config,
        environment=read_json(folder / "environment.json") or {},
        outcome=outcome,
        steps=tuple(row for row in metrics if not has_evaluation(row)),
        evaluations=tuple(row for row in metrics if has_evaluation(row)),
        validation=validation,
        prompts={row["id"]: row["prompt"] for row in table(folder, "prompts")},
        health=tuple(table(folder, "health")),
        samples=_samples(folder, steps, whole=outcome is not None),
        seconds=sum(row.get("step_time", 0.0) for row in table(folder, "timing")),
        left_out=len(table(folder, "left_out")),
    )


def spaced(found: Sequence[Any], most: int) -> list[Any]:
    """At most so many, evenly spaced, with the first and the last among them."""
    if len(found) <= most:
        return list(found)
    return [found[round(place * (len(found) - 1) / (most - 1))] for place in range(most)]


def _samples(folder: Path, steps: Sequence[int], *, whole: bool) -> dict[int, list[Row]]:
    """Samples of some steps. The table may be far larger than memory, so the other lines are not read as JSON."""
    wanted = tuple(f'{{"step": {step},' for step in spaced(steps, STEPS_SAMPLED))
    found: dict[int, list[Row]] = defaultdict(list)
    for row in table(folder, "samples", heads=wanted):
        found[row["step"]].append(row)
    if whole and steps and (folder / "samples.jsonl").is_file():
        _refuse_short(folder / "samples.jsonl", sorted(found), steps[-1])
    return found


def _refuse_short(path: Path, steps: Sequence[int], last: int) -> None:
    """Raise InputError for a table that was cut off between two lines."""
    reached = steps[-1] if steps else 0
    if reached < last:
        raise InputError(f"{path} ends at step {reached} of {last}: damaged or cut off; {AGAIN}")


def greater_is_better(said: bool | None, metric: str) -> bool:
    """Whether more of a metric is better: as said, else as transformers goes by its name."""
    return not metric.endswith("loss") if said is None else said

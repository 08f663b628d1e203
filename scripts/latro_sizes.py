"""LaTRO's two tables at each size: the wind tunnel, a real small model, the paper's three."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from latro.errors import InputError
from scripts.latro_rows import MAIN, Ground, knobs, lengths, main_rows, votes
from scripts.reproduction import Reproduction, Row

DATASETS = {"latro_gsm8k": ("gsm8k", "gsm8k", 0.05), "latro_arc": ("arc", "arc_challenge", 0.25)}
"""Of a table: the name in its recipes, its task, and the paper's beta."""
MODELS = ("phi35_mini", "mistral_7b", "llama31_8b")
SMALL = {"smollm2_135m": 192, "qwen_coder_0_5b": 432}
"""Models of size=small with the longest output that is evaluated: their recipes' rationales and an answer line."""
ZERO3 = "accelerate launch --config_file conf/accelerate/zero3_8gpu.yaml"


def extras(rows: Sequence[Row], runs: Callable[[Row], bool], why: str = "") -> list[Row]:
    """The rows, those that are not run unless they are named marked so; `why` is said beside what they take."""
    return [row if runs(row) else replace(row, extra=True, takes=row.takes + why) for row in rows]


def with_takes(rows: Sequence[Row], trains: str, evaluates: str) -> list[Row]:
    """The rows with what each takes: a training of its own, or only an evaluation, maybe of what another row trains."""
    owners: dict[str, str] = {}
    found = []
    for row in rows:
        takes = evaluates
        if row.training is not None:
            owner = owners.setdefault(row.training.name, row.key)
            takes = (
                f"{trains}, then {evaluates}" if owner == row.key else f"{evaluates}, of what {owner} trains"
            )
        found.append(replace(row, takes=takes))
    return found


def tiny(table: str, seeds: Sequence[int]) -> Reproduction:
    """The wind tunnel: minutes on two cores, nothing to download."""
    beta = DATASETS[table][2]
    # One pretrained model for all seeds, as the paper's runs of a model have one start.
    short = ("max_steps=20", "validation_limit=200", "trainer.eval_steps=10", "model.seed=0")
    task = (
        "task=running_sums",
        "evaluation.batch_rows=128",
        "evaluation.answer_likelihood=false",
        "chunk=250",
    )
    ground = Ground(
        prefix="",
        latro=("experiment=latro/wind_tunnel", *short, f"objective.kl_weight={beta:g}", "show_samples=0"),
        sft=("experiment=sft/wind_tunnel", *short),
        asked=task,
        base=("model=wind_tunnel", "model.seed=0"),
        seeds=tuple(seeds),
        costs=(35.0, 30.0, 20.0),
        longest=24,
    )
    shown: tuple[str, ...] = (
        "K=4",
        "beta=0",
        "lambda=0",
        "preset=official_code",
        "reward=likelihood",
        "shuffled",
    )
    shown += ("base/L=10", "latro/L=10", "latro_L=6/L=10", "base/maj@4", "latro/maj@4")
    rows = [
        *main_rows(ground),
        *lengths(ground, (6, 10), 6),
        *votes(ground, (2, 4, 16, 32)),
        *knobs(ground, beta, 8),
    ]
    first, *others = with_takes(
        rows, "a training, half a minute of a core a seed", "an evaluation, 20 s of a core a seed"
    )
    pretrained = "; before the first the model is pretrained, three to five minutes of a core, and cached"
    rows = extras(
        [replace(first, takes=first.takes + pretrained), *others],
        lambda row: row.section == MAIN or row.key in shown,
        "; left out to keep the table within 20 minutes",
    )
    return Reproduction(
        table=table,
        size="tiny",
        rows=tuple(rows),
        comparable="not comparable: wind tunnel",
        about=(
            "The wind tunnel: a model of 0.33 M parameters that can reason but guesses, on sums of four digits "
            "modulo 5. Neither the task nor the model is the paper's: its figures stand beside ours, and no difference "
            "is claimed."
        ),
    )


def recipes(table: str, model: str, path: str, data: str, /, **more: Any) -> Ground:
    """The recipes of a model on a table's dataset; without `path` and `data` both come from the hub."""
    name, task, _ = DATASETS[table]
    own = (f"model.path='{path}'",) * bool(path)
    rows_from = (f"task.path='{data}'",) * bool(data)
    return Ground(
        prefix=f"{model}/",
        latro=(f"experiment=latro/{name}_{model}", *rows_from, *own),
        sft=(f"experiment=sft/{name}_{model}", *rows_from, *own),
        asked=(f"task={task}", *rows_from),
        sft_asked=("task.prompt=direct",) * (name == "arc"),
        base=(f"model={model}", *own),
        **more,
    )


def small(table: str, seeds: Sequence[int], model: str, path: str, data: str) -> Reproduction:
    """A real small model on the paper's dataset. Raises InputError for a model without recipes."""
    if model not in SMALL:
        raise InputError(f"model={model}: size=small has recipes for {', '.join(SMALL)}")
    name, _, beta = DATASETS[table]
    ground = recipes(
        table,
        model,
        path,
        data,
        seeds=tuple(seeds),
        costs=(7200.0, 3600.0, 3600.0),
        longest=SMALL[model],
    )
    K = 4 if (name, model) == ("gsm8k", "smollm2_135m") else 8
    third = SMALL[model] // 3
    rows = [
        *main_rows(ground),
        *lengths(ground, (third, 3 * third // 2, 2 * third), third),
        *votes(ground, (2, 4, 16, 32)),
        *knobs(ground, beta, K),
    ]
    rows = with_takes(
        rows,
        "a training, hours on two cores, minutes to an hour on a GPU",
        "an evaluation, about an hour on two cores, minutes on a GPU",
    )
    rows = extras(rows, lambda row: row.section == MAIN)
    return Reproduction(
        table=table,
        size="small",
        rows=tuple(rows),
        comparable="not comparable: a much smaller model",
        about=f"{model} on the paper's dataset: the paper's figures are of models 7 to 60 times as large.",
    )


def paper(table: str, seeds: Sequence[int], data: str, paths: dict[str, str], launch: str) -> Reproduction:
    """The paper's three models on eight GPUs."""
    name, _, beta = DATASETS[table]
    rows: list[Row] = []
    for model in MODELS:
        ground = recipes(
            table,
            model,
            paths.get(model, ""),
            data,
            seeds=tuple(seeds),
            launch=launch or ZERO3,
            costs=(36000.0, 18000.0, 3600.0),
            longest=500,
            model=model,
        )
        mine = main_rows(ground)
        # The published code's updates, of all 7473 questions of GSM8K, of which ours hold some back.
        updates, between = (35, 6) if name == "arc" else (117, 18)
        official = (f"trainer.eval_steps={between}", f"max_steps={updates}")
        if model == MODELS[0]:
            more = [*knobs(ground, beta, 16, (*official, "separator="))]
            if name == "gsm8k":
                more = [*lengths(ground, (200, 300, 400, 1000), 200), *votes(ground, (2, 4, 16, 32)), *more]
            mine += more
        mine = with_takes(mine, "a training on 8 GPUs", "an evaluation on one GPU")
        rows += extras(mine, lambda row: row.section == MAIN)
    return Reproduction(
        table=table,
        size="paper",
        rows=tuple(rows),
        comparable="",
        about=(
            "The paper's models on the paper's data. Checkpoints are chosen on validation, where the paper chose them "
            "on test. The paper's own sampling error, about 2 points for one run, is not in the differences' intervals."
        ),
        needs="8 GPUs of 80 GB",
    )

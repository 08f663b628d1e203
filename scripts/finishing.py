"""How a training run ends: the model that is kept is saved and measured once more, the outcome, the card, the hub."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from latro.errors import InputError
from latro.hub import hub_reason
from scripts.folders import read_json
from scripts.model_card import Method, write_card
from scripts.prompting import write_prompting
from scripts.report import write_report
from scripts.results import estimates, print_estimates, results_json
from scripts.run import Run, step_of
from scripts.tables import has_evaluation, was_evaluated, write_text
from scripts.training_story import greater_is_better
from scripts.validating import Validator

PRIVATE_FILES = ["training_args.bin"]
"""Files of the best model's folder that stay here: a pickle with this machine's settings."""


def finish(
    cfg: DictConfig,
    run: Run,
    trainer: Any,
    validator: Validator,
    method: Method,
    *,
    details: Mapping[str, Any],
    seconds: float,
) -> None:
    """Save the model that is kept (the trainer holds it now), evaluate it, write the outcome and the card, push.

    `details` go into `results.json` under `training`. Raises InputError where the hub takes nothing; the run is
    finished by then.
    """
    task = validator.task
    best = run.folder / "best"
    trainer.save_model(str(best))
    state = trainer.state
    last = not cfg.trainer.load_best_model_at_end or state.best_model_checkpoint is None
    if last and not was_evaluated(state.global_step, state.log_history):
        trainer.evaluate()  # so that the weights that are kept have rows in the validation table
    with trainer.generating() as model:
        items = validator.items(model)
    if not run.writes:
        return
    write_generation(best, trainer.model)
    name_base(best, run.model)
    write_prompting(best, validator.encoder, task)
    outcome = results_json(
        task,
        items,
        split="validation",
        original=len(task.examples("validation")),
        left_out=len(run.rows("left_out")),
        config=run.config,
        seconds=seconds,
    )
    outcome["training"] = {**training_outcome(cfg, run, trainer), **details}
    outcome["model"] = run.model
    run.write_json("results", outcome)
    write_card(best / "README.md", run, outcome, method)
    write_report(run.folder)
    chosen = outcome["training"]["kept"] == "best"
    measured = (
        "best checkpoint on validation (chosen on it" if chosen else "last weights on validation (not chosen"
    )
    print_estimates(
        f"{cfg.name} seed {cfg.seed}: {measured}; test is for evaluate_latro)",
        estimates(items, task.main_grader),
    )
    gain = outcome["training"]["gain_over_start"]
    if gain is not None and gain <= 0:
        metric = cfg.trainer.metric_for_best_model
        what = "no checkpoint is" if chosen else "the last weights are not"
        print(f"warning: {what} better than the start: {metric} {gain:+.3f}", file=sys.stderr)
    print(f"run folder: {run.folder}")
    if cfg.push_to_hub:
        push(cfg.push_to_hub, best)


def write_generation(folder: Path, model: Any) -> None:
    """Save with an adapter, too, where the model stops: PEFT writes no such file."""
    place, settings = folder / "generation_config.json", getattr(model, "generation_config", None)
    if settings is not None and not place.exists():
        write_text(place, settings.to_json_string())


def name_base(folder: Path, model: Mapping[str, str | None] | None) -> None:
    """Let a saved adapter name its base by hub id and commit, where PEFT wrote a folder of this machine's cache.

    It is done behind the last save: given the id before, PEFT would ask the hub at every one.
    """
    place = folder / "adapter_config.json"
    if model and model["kind"] == "hub" and place.exists():
        written = json.loads(place.read_text(encoding="utf-8"))
        written |= {"base_model_name_or_path": model["name"], "revision": model["identity"]}
        write_text(place, json.dumps(written, indent=2) + "\n")


def training_outcome(cfg: DictConfig, run: Run, trainer: Any) -> dict[str, Any]:
    """What every training leaves in `results.json`: its steps, the one whose weights were kept, and all evaluations.

    `kept` is `best` where a metric chose the weights, `last` under `trainer.load_best_model_at_end=false` and where
    the checkpoint that was chosen is gone; `best_step` is the step of the weights in `best/` either way.
    """
    metric = str(cfg.trainer.metric_for_best_model).removeprefix("eval_")
    chosen = trainer.state.best_model_checkpoint if cfg.trainer.load_best_model_at_end else None
    evaluations = read_evaluations(run)
    last = trainer.state.global_step
    kept = step_of(Path(chosen)) if chosen else last
    return {
        "steps": last,
        "kept": "best" if chosen else "last",
        "best_step": kept,
        "chosen_by": f"validation {metric}",
        "gain_over_start": gain_over_start(
            evaluations,
            f"eval/{metric}",
            greater=greater_is_better(cfg.trainer.get("greater_is_better"), metric),
            step=kept,
        ),
        "evaluations": evaluations,
    }


def gain_over_start(
    evaluations: Mapping[int, Mapping[str, float]],
    metric: str,
    *,
    greater: bool = True,
    step: int | None = None,
) -> float | None:
    """How much better `step`, or else the best evaluated one, is than the untrained start, which is no candidate.

    Above zero is better, also for a metric of which less is better (`greater` false).
    """
    trained = [
        row[metric] for at, row in evaluations.items() if at > 0 and metric in row and step in (None, at)
    ]
    if not trained or metric not in evaluations.get(0, {}):
        return None
    sign = 1 if greater else -1
    return max(sign * (value - evaluations[0][metric]) for value in trained)


def read_evaluations(run: Run) -> dict[int, dict[str, float]]:
    """All evaluations of the run by step, also those before it was taken up again."""
    return {
        row["step"]: {name: value for name, value in row.items() if name.startswith("eval/")}
        for row in run.rows("metrics")
        if has_evaluation(row)
    }


def check_push(repository: str | None) -> None:
    """Raise InputError, before anything is loaded, for a hub id that cannot be one and for a missing login."""
    from huggingface_hub import get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    if repository is None:
        return
    try:
        validate_repo_id(repository)
    except HFValidationError:
        raise InputError(f"push_to_hub={repository!r}: no hub id; write OWNER/NAME") from None
    if get_token() is None:
        raise InputError(
            f"push_to_hub={repository}: not logged in to the hub; run `hf auth login`, or set HF_TOKEN"
        )


def public_files(folder: Path) -> dict[str, bytes]:
    """Files that go to the hub in another form than they have here: that of an adapter whose base is a folder.

    Here the base is loaded by its path; there the last part is all that is told.
    """
    place = folder / "adapter_config.json"
    written = read_json(place) or {}
    base = written.get("base_model_name_or_path")
    if not base or not (Path(base).is_absolute() or Path(base).exists()):
        return {}
    return {place.name: json.dumps(written | {"base_model_name_or_path": Path(base).name}, indent=2).encode()}


def push(repository: str, folder: Path) -> None:
    """Upload a folder, card included, to a model repository, which is made if need be.

    Raises InputError with the command that does it by hand if the hub does not take it.
    """
    from huggingface_hub import HfApi

    # HTTPError is that of whichever HTTP library the client is built on.
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    api = HfApi()
    public = public_files(folder)
    try:
        api.create_repo(repository, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, ignore_patterns=[*PRIVATE_FILES, *public])
        for name, content in public.items():
            api.upload_file(repo_id=repository, path_in_repo=name, path_or_fileobj=content)
    except (HTTPError, OSError) as error:
        # The error's own text may hold addresses and headers.
        raise InputError(
            f"push_to_hub={repository}: {hub_reason(error)}; the run is finished, push its best model by "
            f"`hf upload {repository} {folder} --exclude {PRIVATE_FILES[0]}`"
        ) from None
    print(f"pushed to {repository}")

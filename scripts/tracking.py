"""Experiment trackers: none, Weights & Biases, TensorBoard. The trainer's own callbacks send the metrics."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from omegaconf import DictConfig

from latro.errors import InputError
from latro.records import Sample
from scripts.run import RUN_ID, Run
from scripts.tables import has_evaluation

TRACKERS = ("none", "wandb", "tensorboard")
MODES = ("online", "offline", "disabled")
COLUMNS = (
    "step",
    "id",
    "k",
    "prompt",
    "rationale",
    "answer",
    "log_answer",
    "log_ratio",
    "reward",
    "advantage",
)


def report_to(logger: DictConfig) -> list[str]:
    """The value of `TrainingArguments.report_to`. Raises InputError for a tracker that there is not."""
    if logger.name not in TRACKERS:
        raise InputError(f"logger={logger.name!r} is unknown; choose one of {', '.join(TRACKERS)}")
    if logger.name == "wandb" and logger.mode not in MODES:
        raise InputError(f"logger.mode={logger.mode!r} is unknown; choose one of {', '.join(MODES)}")
    if logger.name == "tensorboard" and not any(map(find_spec, ("tensorboard", "tensorboardX"))):
        raise InputError(
            "logger=tensorboard needs the package tensorboard; run: pip install 'latro-pract[tensorboard]'"
        )
    return [] if logger.name == "none" else [str(logger.name)]


@contextmanager
def tracker(logger: DictConfig, run: Run) -> Iterator[Any]:
    """An open tracker run, or None. A W&B run keeps its id in the run folder and is resumed by it."""
    if logger.name != "wandb" or not run.writes:
        yield None
        return
    import wandb

    id_file = run.folder / RUN_ID
    known = id_file.read_text().strip() if id_file.exists() else None
    try:
        tracked = start_wandb(logger, run, known)
    except (wandb.errors.CommError, wandb.errors.UsageError, wandb.errors.AuthenticationError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"logger=wandb: {reason}; log in, or set logger.mode=offline") from error
    id_file.write_text(tracked.id + "\n")
    failed: int | None = None  # as W&B finds it
    try:
        yield tracked
    except SystemExit:
        raise
    except BaseException:
        failed = 1
        raise
    finally:
        tracked.finish(exit_code=failed)


def start_wandb(logger: DictConfig, run: Run, known: str | None) -> Any:
    """A W&B run; that of the id `known` is gone on with."""
    import wandb

    return wandb.init(
        project=logger.project,
        entity=logger.entity,
        group=logger.group,
        mode=logger.mode,
        name=run.folder.as_posix(),
        id=known,
        resume="allow" if known else None,
        config=run.config,
        dir=run.folder,
    )


def send_once(trainer: Any, sent: Collection[tuple[int, bool]]) -> None:
    """Let the trainer's trackers pass over rows that they have from an earlier session: (step, of an evaluation)."""
    from transformers.integrations import TensorBoardCallback, WandbCallback

    for callback in trainer.callback_handler.callbacks:
        if sent and isinstance(callback, TensorBoardCallback | WandbCallback):
            callback.on_log = _once(callback.on_log, sent)


def _once(on_log: Callable[..., None], sent: Collection[tuple[int, bool]]) -> Callable[..., None]:
    def fresh_alone(args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
        row = logs or {}
        if (state.global_step, has_evaluation(row)) not in sent or "train_runtime" in row:
            on_log(args, state, control, logs=logs, **more)

    return fresh_alone


def log_samples(tracked: Any, samples: list[Sample]) -> None:
    """Send one step's samples as a table of its own, so that no step overwrites another."""
    import wandb

    rows = [[getattr(sample, column) for column in COLUMNS] for sample in samples]
    tracked.log({f"completions/step_{samples[0].step}": wandb.Table(columns=list(COLUMNS), data=rows)})

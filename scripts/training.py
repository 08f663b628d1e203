"""The wiring of a LaTRO run: task, model, reference, trainer, records, outcome."""

import sys
import time
import warnings
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object
from hydra.utils import instantiate
from omegaconf import DictConfig
from tqdm import tqdm
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from latro.checkpoints import check_same_architecture
from latro.encoding import Encoder
from latro.liger_head import refuse_without_liger
from latro.models import LoadedModel, make_reference
from latro.records import Sample
from latro.tasks.base import Task
from latro.trainer import LatroTrainer
from latro.types import Example, LeftOut
from scripts.arguments import join_processes, on_its_device, training_arguments, warn_of_rounding
from scripts.building import (
    build_encoder,
    build_model,
    build_task,
    fitting,
    vllm_config,
    vllm_maker,
)
from scripts.callbacks import BestFound, ProgressBar, Recorder, SampleWriter, patience
from scripts.checking import check_config
from scripts.finishing import check_push, finish
from scripts.model_card import LATRO, Method
from scripts.preemption import Preemption, leave
from scripts.run import Run, forget_trackers, step_of
from scripts.sessions import data_record, model_record, refuse_mixed
from scripts.tracking import log_samples, send_once, tracker
from scripts.validating import Validator

ANSWER_ROOM = 32
"""Tokens that an evaluated output may have beyond a rationale's limit: for the answer line."""


def train(cfg: DictConfig, callbacks: Sequence[TrainerCallback] = ()) -> Run:
    """Train as `cfg` says, from the start or from the last checkpoint; return the finished run's folder.

    `callbacks` watch the training beside those of the run itself.
    """
    quiet_libraries()
    check_config(cfg)
    check_push(cfg.push_to_hub)
    objective = instantiate(cfg.objective)
    sampling = instantiate(cfg.sampling)
    room = sampling.max_rationale_tokens
    evaluation = instantiate(cfg.evaluation, max_tokens=cfg.evaluation.max_tokens or room + ANSWER_ROOM)
    vllm = vllm_config(cfg, sampling.engine, evaluation.engine)
    args = training_arguments(cfg, objective, sampling)
    join_processes(args)
    if cfg.scoring.liger_head:
        refuse_without_liger(args.device.type)
    with args.main_process_first(desc="looking at the run folder"):
        run = Run(cfg, writes=args.process_index == 0, opens=False)
    task = build_task(cfg)
    rows = read_rows(cfg, task)
    loaded, model_config = build_model(cfg)
    on_its_device(loaded.model, args)
    warn_of_rounding(loaded.model, args)
    encoder = build_encoder(loaded, task, cfg.separator)
    examples, validation, left_out = fitting_rows(
        cfg, task, rows, encoder, loaded.model, room=room, evaluated=evaluation.max_tokens
    )
    checkpoint = open_run(run, cfg, args, loaded, examples)
    if checkpoint is None:
        run.append("left_out", left_out)
    preemption = Preemption()
    with tracker(cfg.logger, run) as tracked, closing(ProgressBar(str(cfg.name))) as bar:
        trainer = LatroTrainer(
            model=loaded.model,
            reference=make_reference(loaded, model_config),
            encoder=encoder,
            examples=examples,
            args=args,
            objective_config=objective,
            sampling=sampling,
            scoring=instantiate(cfg.scoring),
            markers=task.answer_markers,
            callbacks=[Recorder(run), BestFound(run), preemption, bar, *patience(cfg), *callbacks],
            vllm=vllm_maker(vllm, encoder, [(examples, room), (validation, evaluation.max_tokens)]),
        )
        trainer.validation_engine = evaluation.engine
        trainer.validate = validator = Validator(trainer, run, encoder, task, validation, evaluation)
        writer = SampleWriter(run, cfg.show_samples)
        trainer.on_samples = partial(on_samples, writer, tracked, cfg.trainer.eval_steps, run.forgotten)
        to_the_end(
            cfg, run, trainer, validator, preemption, checkpoint, LATRO, {"objective": asdict(objective)}
        )
    return run


def to_the_end(
    cfg: DictConfig,
    run: Run,
    trainer: Any,
    validator: Validator,
    preemption: Preemption,
    checkpoint: Path | None,
    method: Method,
    details: Mapping[str, Any],
) -> None:
    """Train, from the checkpoint where there is one, and finish the run; a process that was told to end is left."""
    # The terminal is the run's own callbacks', and trackers pass over what they have.
    for callback in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(callback)
    send_once(trainer, run.forgotten)
    started = time.perf_counter()
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        if preemption.stopped:
            leave(trainer.state)
        seconds = time.perf_counter() - started
        finish(cfg, run, trainer, validator, method, details=details, seconds=seconds)
    finally:
        trainer.accelerator.end_training()


def on_samples(
    writer: SampleWriter,
    tracked: Any,
    every: int,
    sent: Collection[tuple[int, bool]],
    samples: list[Sample],
) -> None:
    """Write one step's samples, and send those of every evaluation step to the tracker, unless it has them."""
    writer(samples)
    if tracked is not None and samples[0].step % every == 0 and (samples[0].step, False) not in sent:
        log_samples(tracked, samples)


def quiet_libraries() -> None:
    """Leave the terminal to the run: loading bars and notices of the libraries are turned off."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    warnings.filterwarnings("ignore", message=".*pin_memory.*")


def open_run(
    run: Run, cfg: DictConfig, args: TrainingArguments, loaded: LoadedModel, examples: Sequence[Example]
) -> Path | None:
    """Open the run folder on the main process, then find the checkpoint to go on from, if any, on all.

    Raises InputError if that checkpoint was made of another architecture than the model, before a session is noted.
    """
    run.model, run.data = model_record(loaded.source), data_record(examples)
    refuse_mixed(gather_object([run.model]))
    begun = run.last_checkpoint() if cfg.resume and not run.overwrite else None
    if begun is not None:
        check_same_architecture(loaded.model, begun)
    with args.main_process_first(desc="opening the run folder"):
        if run.writes:
            run.open(overwrite=run.overwrite)
    return resumable(run, cfg, args)


def resumable(run: Run, cfg: DictConfig, args: TrainingArguments) -> Path | None:
    """The checkpoint to go on from, with everything behind it forgotten; None for a fresh start."""
    checkpoint = run.last_checkpoint() if cfg.resume else None
    if checkpoint is None:
        run.rewind(-1)
        if not cfg.resume:
            forget_trackers(run)
        return None
    step = step_of(checkpoint)
    run.rewind(step)
    args.eval_on_start = False  # it was evaluated before it was saved
    if run.writes:
        tqdm.write(f"going on from step {step}, {checkpoint}", file=sys.stderr)
    return checkpoint


def read_rows(cfg: DictConfig, task: Task) -> tuple[list[Example], list[Example]]:
    """Training and validation examples, before any model is loaded: a broken row is said at once."""
    return list(task.examples("train"))[: cfg.limit], list(task.examples("validation"))[
        : cfg.validation_limit
    ]


def fitting_rows(
    cfg: DictConfig,
    task: Task,
    rows: tuple[list[Example], list[Example]],
    encoder: Encoder,
    model: Any,
    *,
    room: int,
    evaluated: int,
) -> tuple[list[Example], list[Example], list[LeftOut]]:
    """Training and validation examples that fit, and all rows and prompts left out.

    A training row needs `room` tokens for its rationale, a validation row also the `evaluated` ones of an output.
    """
    examples, long_train = fitting(rows[0], encoder, model, room, cfg.on_long_prompt)
    validation, long_validation = fitting(rows[1], encoder, model, max(room, evaluated), cfg.on_long_prompt)
    left_out = [*task.left_out, *long_train, *long_validation]
    if left_out:
        tqdm.write(
            f"{len(left_out)} rows are left out, see left_out.jsonl; the first: {left_out[0].place or left_out[0].id}: "
            f"{left_out[0].reason}",
            file=sys.stderr,
        )
    return examples, validation, left_out

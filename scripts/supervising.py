"""The wiring of a supervised run: as that of a LaTRO run, with another trainer and no samples."""

from collections.abc import Sequence
from contextlib import closing

from hydra.utils import instantiate
from omegaconf import DictConfig
from transformers import TrainerCallback
from trl import SFTConfig

from latro.encoding import Encoder
from latro.errors import InputError
from latro.rollout.choosing import make_engine
from latro.sft import SftBaseline, supervised_row
from latro.types import Example, LeftOut
from scripts.arguments import arguments, join_processes, on_its_device, warn_of_rounding
from scripts.building import build_encoder, build_model, build_task, context_length
from scripts.callbacks import BestFound, ProgressBar, Recorder, patience
from scripts.checking import check_config
from scripts.finishing import check_push
from scripts.model_card import SUPERVISED
from scripts.preemption import Preemption
from scripts.run import Run
from scripts.tracking import tracker
from scripts.training import fitting_rows, open_run, quiet_libraries, read_rows, to_the_end
from scripts.validating import Validator


def train(cfg: DictConfig, callbacks: Sequence[TrainerCallback] = ()) -> Run:
    """Train as `cfg` says, from the start or from the last checkpoint; return the finished run's folder."""
    quiet_libraries()
    check_config(cfg)
    check_push(cfg.push_to_hub)
    evaluation = instantiate(cfg.evaluation)
    make_engine(evaluation.engine, evaluation.batch_rows)  # refuses one that this script does not have
    args = sft_arguments(cfg)
    join_processes(args)
    with args.main_process_first(desc="looking at the run folder"):
        run = Run(cfg, writes=args.process_index == 0, opens=False)
    task = build_task(cfg)
    rows = read_rows(cfg, task)
    loaded, _ = build_model(cfg)
    on_its_device(loaded.model, args)
    warn_of_rounding(loaded.model, args)
    encoder = build_encoder(loaded, task, cfg.separator)
    room = evaluation.max_tokens
    examples, validation, left_out = fitting_rows(
        cfg, task, rows, encoder, loaded.model, room=room, evaluated=room
    )
    examples, long_rows = fitting_whole(examples, encoder, context_length(loaded.model), cfg.on_long_prompt)
    checkpoint = open_run(run, cfg, args, loaded, examples)
    if checkpoint is None:
        run.append("left_out", [*left_out, *long_rows])
    preemption = Preemption()
    with tracker(cfg.logger, run), closing(ProgressBar(str(cfg.name))) as bar:
        trainer = SftBaseline(
            model=loaded.model,
            encoder=encoder,
            examples=examples,
            args=args,
            callbacks=[Recorder(run), BestFound(run), preemption, bar, *patience(cfg), *callbacks],
        )
        validator = Validator(trainer, run, encoder, task, validation, evaluation)
        trainer.validate = validator
        details = {
            "examples": len(examples),
            "examples_with_rationale": sum(bool(example.rationale) for example in examples),
        }
        to_the_end(cfg, run, trainer, validator, preemption, checkpoint, SUPERVISED, details)
    return run


def sft_arguments(cfg: DictConfig) -> SFTConfig:
    """`trl.SFTConfig` from `cfg.trainer`, the epochs and the seed; rows go in as ids, whole."""
    made: SFTConfig = arguments(
        cfg,
        num_train_epochs=cfg.epochs,
        max_length=None,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        gradient_checkpointing=False,
    )
    return made


def fitting_whole(
    examples: Sequence[Example], encoder: Encoder, limit: int | None, on_long_prompt: str
) -> tuple[list[Example], list[LeftOut]]:
    """The examples whose prompt, gold rationale and answer fit into the model's context, and the others."""
    kept: list[Example] = []
    left_out: list[LeftOut] = []
    for example in examples:
        length = len(supervised_row(example, encoder)["input_ids"])
        if limit is None or length <= limit:
            kept.append(example)
            continue
        reason = f"prompt, gold rationale and answer make {length} tokens, the model's context has {limit}"
        if on_long_prompt == "error":
            raise InputError(
                f"{example.place or example.id}: {reason}; shorten the row or set on_long_prompt=skip"
            )
        left_out.append(LeftOut(id=example.id, place=example.place, reason=reason))
    if not kept:
        raise InputError(f"no row fits into the model's context of {limit} tokens; choose another model")
    return kept, left_out

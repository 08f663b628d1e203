"""The trainer's arguments, and joining the other processes of a launcher."""

import os
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm
from transformers import TrainingArguments

from latro.errors import InputError
from latro.objective import ObjectiveConfig
from latro.sampling import SamplingConfig
from scripts.tracking import report_to


def training_arguments(
    cfg: DictConfig, objective: ObjectiveConfig, sampling: SamplingConfig
) -> TrainingArguments:
    """`transformers.TrainingArguments` of a run."""
    epochs = passes(cfg, objective, sampling)
    args: TrainingArguments = arguments(cfg, num_train_epochs=epochs, remove_unused_columns=False)
    if sampling.dtype and shards(args):
        raise InputError(
            f"sampling.dtype={sampling.dtype}: DeepSpeed and FSDP shard the weights, which cannot be copied whole for "
            "sampling: set sampling.dtype=null, or launch without sharding"
        )
    return args


def passes(cfg: DictConfig, objective: ObjectiveConfig, sampling: SamplingConfig) -> float:
    """Passes over the prompts. An epoch counted in samples is 1/K of one."""
    return float(cfg.epochs / (sampling.rationales_per_prompt if objective.epoch_unit == "samples" else 1))


def shards(args: TrainingArguments) -> bool:
    """Whether DeepSpeed or FSDP will hold the weights, by the trainer's settings or by the launcher's."""
    return bool(args.deepspeed) or launched_by("DEEPSPEED") or by_fsdp(args)


def by_fsdp(args: TrainingArguments) -> bool:
    """Whether it is FSDP that will hold the weights."""
    return bool(args.fsdp) or launched_by("FSDP")


def on_its_device(model: Any, args: TrainingArguments) -> Any:
    """The model, which FSDP shards where it lies: on the host, each process would need room there for two and a half.

    Others move it by themselves.
    """
    return model.to(args.device) if by_fsdp(args) else model


def launched_by(kind: str) -> bool:
    """Whether the launcher says that it shards the weights in this way."""
    return os.environ.get(f"ACCELERATE_USE_{kind}", "").lower() == "true"


def arguments(cfg: DictConfig, **forced: Any) -> Any:
    """The trainer's arguments from `cfg.trainer`, with what every run settles by itself and what is `forced`."""
    given = OmegaConf.to_container(cfg.trainer, resolve=True)
    assert isinstance(given, dict)
    refuse_lost_logs(given)
    refuse_unsaved_best(given)
    if cfg.patience and given.get("eval_strategy") == "no":
        raise InputError(
            f"patience={cfg.patience} with trainer.eval_strategy=no: nothing is evaluated; leave one of them out"
        )
    on_cpu = bool(given.pop("use_cpu", False)) or not torch.accelerator.is_available()
    settled: dict[str, Any] = {
        "output_dir": str(Path(cfg.output_dir) / "checkpoints"),
        "max_steps": cfg.max_steps or -1,
        "seed": cfg.seed,
        "report_to": report_to(cfg.logger),
        "logging_nan_inf_filter": False,
        "ddp_find_unused_parameters": False,
        "use_cpu": on_cpu,  # else two CPU processes do not find each other
        "dataloader_pin_memory": torch.accelerator.is_available(),
        "disable_tqdm": True,
        **forced,
    }
    refuse_settled(given, settled)
    try:
        with warnings.catch_warnings():  # trl still passes the old name of activation checkpointing
            warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*")
            named = {str(key): value for key, value in given.items() if value is not None}
            args = instantiate(named | settled, _convert_="all")
    except Exception as error:
        if isinstance(error.__cause__, ValueError | ImportError):
            raise InputError(f"trainer: {' '.join(str(error.__cause__).split())}") from error
        raise
    if by_fsdp(args):  # between micro-batches it would hold whole gradients, and not its share of them
        asked = args.accelerator_config.gradient_accumulation_kwargs or {}
        args.accelerator_config.gradient_accumulation_kwargs = {"sync_each_batch": True} | asked
    return args


def refuse_settled(given: Mapping[Any, Any], settled: Iterable[str]) -> None:
    """Raise InputError for an argument that a run settles by itself: it would be shown, and do nothing."""
    ours = {"num_train_epochs": "epochs", "max_steps": "max_steps", "seed": "seed", "report_to": "logger"}
    for name in settled:
        if given.get(name) is not None:
            instead = f"use {ours[name]}=" if name in ours else "leave it out"
            raise InputError(f"trainer.{name}={given[name]}: the run settles this by itself; {instead}")


def refuse_lost_logs(given: Mapping[Any, Any]) -> None:
    """Raise InputError if a checkpoint can fall between two logged steps.

    Metrics gathered since the last log are in no checkpoint: taken up there, the next row would be over fewer steps.
    """
    by_steps = all(given.get(f"{kind}_strategy", "steps") == "steps" for kind in ("logging", "save"))
    log, save = given.get("logging_steps"), given.get("save_steps")
    if by_steps and isinstance(log, int) and isinstance(save, int) and log > 0 and save % log:
        raise InputError(
            f"trainer.save_steps={save} with trainer.logging_steps={log}: a run taken up between two logged steps "
            "would lose metrics; make save_steps a multiple of logging_steps"
        )


def refuse_unsaved_best(given: Mapping[Any, Any]) -> None:
    """Raise InputError if the best step may be one that is not saved: other weights would be kept under its name."""
    by_steps = all(given.get(f"{kind}_strategy", "steps") == "steps" for kind in ("eval", "save"))
    evaluated, save = given.get("eval_steps"), given.get("save_steps")
    if given.get("load_best_model_at_end") and by_steps and evaluated != save:
        raise InputError(
            f"trainer.save_steps={save} with trainer.eval_steps={evaluated}: the best evaluated step might not be "
            "saved; make them equal, or set trainer.load_best_model_at_end=false"
        )


def join_processes(args: TrainingArguments) -> None:
    """Join the other processes of a launcher.

    Raises RuntimeError if fewer joined than were launched, InputError if one process sees several GPUs: transformers
    would split each batch over them by torch's DataParallel, which neither trainer here can follow.
    """
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    device = args.device  # reading it sets up the process group
    if args.world_size != launched:
        raise RuntimeError(
            f"{launched} processes were launched on {device}, but {args.world_size} joined the group"
        )
    if args.n_gpu > 1:
        raise InputError(
            f"{args.n_gpu} GPUs are visible to one process: start it with `torchrun --nproc_per_node {args.n_gpu} -m "
            "scripts.NAME ...`, or set CUDA_VISIBLE_DEVICES=0"
        )


def warn_of_rounding(model: Any, args: TrainingArguments) -> None:
    """Say when a weight's own precision will swallow the updates: no optimizer here keeps a float32 copy.

    Where weights are sharded their owner keeps them, and the optimizer, in float32: DeepSpeed always, FSDP in mixed
    precision.
    """
    weights = next((p for p in model.parameters() if p.requires_grad), None)
    if weights is None or weights.dtype not in (torch.bfloat16, torch.float16):
        return
    exact = os.environ.get("ACCELERATE_MIXED_PRECISION", "no") != "no" or args.bf16 or args.fp16
    sharded = shards(args) and (exact or not by_fsdp(args))
    if not sharded and args.learning_rate < 1e-4:
        tqdm.write(
            f"warning: the weights in training are {weights.dtype}; updates of {args.learning_rate:g} are smaller than "
            "its rounding and will be lost: set model.dtype=float32 with trainer.bf16=true, or use LoRA",
            file=sys.stderr,
        )

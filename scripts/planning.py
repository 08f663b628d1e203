"""What a LaTRO run will need, printed before anything is loaded: python -m scripts.train_latro ... plan=true

Read are the task's training rows and the model's configuration, no weight. The arithmetic is `latro.planning`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import torch
from accelerate.utils import DistributedType
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from latro.attending import ARCHITECTURES
from latro.errors import InputError
from latro.fused_head import GPU_CHUNK
from latro.gguf import check_header
from latro.hardware import Hardware, hardware_given
from latro.hub import HubFailure, hub_folder
from latro.models import DTYPES, ModelConfig
from latro.objective import ObjectiveConfig
from latro.planning import ModelSizes, Work, memory_parts, model_sizes, time_parts
from latro.precision import bfloat16_is_fast
from latro.products import by_onednn
from latro.rollout.choosing import VLLM
from latro.rollout.limits import MOST_ROWS, exceeded_window
from latro.rollout.vllm import VllmConfig
from latro.sampling import SamplingConfig
from latro.scored_tokens import ScoringConfig, refuse_misfits
from latro.types import Example
from scripts.arguments import passes
from scripts.building import build_task
from scripts.checking import check_config
from scripts.probing import narrow_rate, probe
from scripts.scaling import show_devices

CHARACTERS = 4
"""Of a token, about: the plan reads no tokenizer."""
BESIDE = 0.2 * 2**30
"""Bytes that a run on a processor takes beside tensors and libraries: tokenizer, scratch memory of kernels, what the
allocator keeps back. Measured, see docs/performance.md."""
TEMPLATE_TOKENS = 30
"""Of a chat template around a prompt, about."""
MEMORY_PARTS = (
    "weights",
    "reference",
    "sampler",
    "optimizer",
    "update",
    "sampling",
    "vllm",
    "libraries",
    "peak",
)
MOMENTS: dict[str, tuple[int, int | None]] = {
    "sgd": (0, None),
    "adafactor": (0, None),
    "adamw_torch": (2, None),
    "adamw_torch_fused": (2, None),
    "adamw_8bit": (2, 1),
    "adamw_bnb_8bit": (2, 1),
    "paged_adamw_8bit": (2, 1),
    "paged_adamw_32bit": (2, 4),
    "lion_8bit": (1, 1),
    "paged_lion_8bit": (1, 1),
    "lion_32bit": (1, 4),
    "paged_lion_32bit": (1, 4),
}
"""Numbers that an optimizer (`trainer.optim`) keeps of a trained weight, and bytes of each; None: as of the weight."""


def plan(cfg: DictConfig) -> dict[str, Any]:
    """Print memory and time of the run that `cfg` describes, for one process; return the figures.

    Raises InputError for a model whose sizes cannot be read, or hardware that is not known.
    """
    check_config(cfg)
    examples = list(build_task(cfg).examples("train"))[: cfg.limit]
    imported = libraries() if on_processor(cfg) else 0.0
    config = instantiate(cfg.model, _convert_="all")
    if not isinstance(config, ModelConfig):
        raise InputError(
            "plan=true needs a model that exists; this one is made by its own run: name another with model="
        )
    description, place = read_sizes(config)
    model = model_sizes(description, place)
    hardware = hardware_given(cfg.hardware) if cfg.hardware else probe(by_onednn(config.products))
    sampling, scoring = instantiate(cfg.sampling), instantiate(cfg.scoring)
    fast = hardware.bfloat16 if cfg.hardware else bfloat16_is_fast()
    mean_work = work_of(cfg, config, sampling, scoring, stored(description, fast))
    refuse_misfits(scoring, bool(cfg.trainer.activation_checkpointing), DistributedType.NO)
    if VLLM in (sampling.engine, cfg.evaluation.engine):
        mean_work = with_vllm(mean_work, instantiate(cfg.vllm), hardware, sampling.engine == VLLM)
    lengths = [tokens(example.prompt) + TEMPLATE_TOKENS for example in examples]
    answer = math.ceil(fmean(tokens(example.answer) for example in examples))
    mean_work = replace(mean_work, prompt=math.ceil(fmean(lengths)), answer=answer)
    longest = max(lengths) + mean_work.rationale + mean_work.answer
    mean_work = replace(
        mean_work,
        packed=packs(cfg, config, scoring, description, longest),
        head_chunk=None if on_processor(cfg) else GPU_CHUNK,
    )
    if on_processor(cfg):
        rows = min(mean_work.batch_rows, mean_work.prompts * mean_work.micro_batches * mean_work.K)
        drawing = DTYPES[mean_work.half] if mean_work.drawing_size == 2 else torch.float32
        rate = narrow_rate(model, rows, drawing, by_onednn(config.products))
        hardware = replace(hardware, narrow_flops=rate)
    memory = memory_parts(model, replace(mean_work, prompt=max(lengths)))
    memory["libraries"] = imported
    memory["peak"] += memory["libraries"]
    objective = instantiate(cfg.objective)
    most = None
    if objective.score_stop and not mean_work.packed:
        most = memory_parts(model, replace(mean_work, prompt=max(lengths), side_rows=True))["peak"]
        most += memory["libraries"]
    seconds = time_parts(model, mean_work, hardware)
    steps = steps_of(cfg, objective, sampling, examples)
    show(model, hardware, mean_work, max(lengths), memory, seconds, steps, most)
    if mean_work.autocast:
        print(
            "Mixed precision is counted in the time alone: activations take less memory than that, and a copy of the "
            "weights is added."
        )
    if cfg.devices:
        devices = [cfg.devices] if isinstance(cfg.devices, int) else list(cfg.devices)
        if str(cfg.sharding) != "none":  # processes that share weights draw by `generate`
            mean_work = replace(mean_work, prefilled_once=False, prompt_kept_once=False)
        show_devices(model, hardware, mean_work, max(lengths), devices, str(cfg.sharding))
    return {"memory": memory, "seconds": seconds, "steps": steps, "hardware": hardware.name}


def on_processor(cfg: DictConfig) -> bool:
    """Whether the plan is for this machine's processor."""
    return not cfg.hardware and not torch.cuda.is_available()


def libraries() -> float:
    """Bytes that a run holds on this processor beside tensors: what it imports and has read, and `BESIDE`."""
    import psutil

    import scripts.training  # noqa: F401

    return psutil.Process().memory_info().rss + BESIDE


def packs(
    cfg: DictConfig, config: ModelConfig, scoring: ScoringConfig, description: Mapping[str, Any], longest: int
) -> bool:
    """Whether rows of up to so many tokens will be scored as one sequence, as `latro.packed_rows.can_pack` decides."""
    known = description.get("model_type") in ARCHITECTURES and config.attention in (None, "sdpa")
    window = exceeded_window(SimpleNamespace(**description), longest)
    return bool(scoring.share_prompt and scoring.pack_rows and on_processor(cfg) and known and not window)


def read_sizes(config: ModelConfig) -> tuple[dict[str, Any], str]:
    """The model's configuration, from its folder, GGUF header, or the hub, and the place where it was read."""
    if config.path and Path(config.path).is_file():
        from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

        check_header(Path(config.path))
        return load_gguf_checkpoint(config.path, return_tensors=False)["config"], config.path
    try:
        folder = (
            Path(config.path)
            if config.path
            else hub_folder(config.hub_id or "", config.revision, weights=False)
        )
    except HubFailure as failure:
        raise InputError(
            f"model.hub_id={config.hub_id}: {failure}; plan=true reads its configuration: give a folder or GGUF file "
            "with model.path="
        ) from None
    file = folder / "config.json"
    if not file.is_file():
        raise InputError(f"{file}: no such file; plan=true reads the model's sizes there")
    return json.loads(file.read_text(encoding="utf-8")), str(file)


def tokens(text: str) -> int:
    """About how many tokens a text has."""
    return math.ceil(len(text) / CHARACTERS)


def stored(description: Mapping[str, Any], fast: bool) -> torch.dtype:
    """The precision that model.dtype=auto takes: the stored one (GGUF: bfloat16), if the machine is fast in it."""
    named = str(description.get("dtype") or description.get("torch_dtype") or "bfloat16")
    found = DTYPES.get(named.removeprefix("torch."), torch.float32)
    return found if fast else torch.float32


def work_of(
    cfg: DictConfig,
    config: ModelConfig,
    sampling: SamplingConfig,
    scoring: ScoringConfig,
    auto: torch.dtype,
) -> Work:
    """One process's optimizer step; prompt and answer are still to be filled in. auto: what model.dtype=auto is.

    Raises InputError for an optimizer that is not in the table.
    """
    size = DTYPES.get(config.dtype, auto).itemsize
    reference = DTYPES[config.reference_dtype].itemsize if config.reference_dtype else size
    optimizer = str(cfg.trainer.optim)
    if optimizer not in MOMENTS:
        raise InputError(
            f"trainer.optim={optimizer}: plan=true does not know how much it keeps of a weight; give one of "
            f"{', '.join(MOMENTS)}"
        )
    moments, moment_bytes = MOMENTS[optimizer]
    float16 = bool(cfg.trainer.get("fp16"))
    named = (DTYPES.get(config.dtype, auto), config.reference_dtype, sampling.dtype)
    return Work(
        prompts=cfg.trainer.per_device_train_batch_size,
        micro_batches=cfg.trainer.gradient_accumulation_steps,
        K=sampling.rationales_per_prompt,
        prompt=1,
        rationale=sampling.max_rationale_tokens,
        answer=1,
        weight_bytes=size,
        reference_bytes=0 if config.lora else reference,
        sampler_bytes=DTYPES[sampling.dtype].itemsize if sampling.dtype else 0,
        autocast=float16 or bool(cfg.trainer.get("bf16")),
        half="float16" if float16 or {torch.float16, "float16"} & set(named) else "bfloat16",
        moments=moments,
        moment_bytes=moment_bytes,
        lora_rank=config.lora.r if config.lora else None,
        batch_rows=sampling.batch_rows or MOST_ROWS,
        fused_head=scoring.fused_head,
        head_memory=scoring.head_memory,
        share_prompt=scoring.share_prompt,
        rows=scoring.rows,
        checkpointing=bool(cfg.trainer.activation_checkpointing),
        prefilled_once=sampling.engine == "continuous",
        prompt_kept_once=sampling.engine == "continuous" and sampling.share_prompt,
    )


def with_vllm(work: Work, config: VllmConfig, hardware: Hardware, samples: bool) -> Work:
    """The step beside vLLM, which `samples`, or decodes for evaluation only.

    Raises InputError where its share is one of a memory that is not known.
    """
    if samples:
        work = replace(work, vllm_samples=True, batch_rows=config.max_num_seqs)
    if config.mode == "server":
        return work
    if hardware.memory is None:
        raise InputError(
            f"vllm.gpu_memory_utilization={config.gpu_memory_utilization}: the memory of {hardware.name} is not known; "
            "give hardware=FLOP/s,bytes/s,GB"
        )
    taken = config.gpu_memory_utilization * hardware.memory
    return replace(work, vllm_bytes=taken, vllm_sleeps=config.enable_sleep_mode)


def steps_of(
    cfg: DictConfig, objective: ObjectiveConfig, sampling: SamplingConfig, examples: Sequence[Example]
) -> int:
    """Optimizer steps of a run in one process."""
    if cfg.max_steps:
        return int(cfg.max_steps)
    batches = len(examples) // cfg.trainer.per_device_train_batch_size
    steps = math.ceil(batches / cfg.trainer.gradient_accumulation_steps)  # the last of a pass may be short
    return math.ceil(passes(cfg, objective, sampling) * steps)


def show(
    model: ModelSizes,
    hardware: Hardware,
    work: Work,
    longest: int,
    memory: dict[str, float],
    seconds: dict[str, float],
    steps: int,
    most: float | None,
) -> None:
    """Print the plan; `most` is the peak if every row's ending had a row of its own."""
    rows = work.prompts * work.micro_batches * work.K
    table = Table(title=f"{model.parameters / 1e6:.1f} M parameters on {hardware.name}, one process")
    for column in ("what", "figure"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for part in MEMORY_PARTS:
        if memory[part] or part not in ("sampler", "vllm", "libraries"):
            table.add_row(f"memory: {part}", f"{memory[part] / 2**30:.2f} GiB")
    for part, value in seconds.items():
        table.add_row(f"time: {part}", f"{value:.1f} s")
    table.add_row(f"time: {steps} steps", f"{steps * seconds['step'] / 3600:.1f} h")
    console = Console()
    console.print(table)
    console.print(
        f"{rows} rationales a step of at most {work.rationale} tokens; prompts of about {work.prompt} tokens, the "
        f"longest {longest}. Memory counts tensors at the longest prompt"
        f"{', and what the libraries hold' if memory['libraries'] else ''}; time takes every rationale at its limit "
        "and leaves evaluation out."
    )
    if most is not None:
        console.print(
            "An ending that departs from the answer line is scored in a row of its own; the peak if all did: "
            f"{most / 2**30:.2f} GiB."
        )
    if hardware.memory and memory["peak"] > hardware.memory:
        console.print(
            f"warning: that is more than the {hardware.memory / 2**30:.0f} GiB there are: lower "
            "sampling.rationales_per_prompt or trainer.per_device_train_batch_size, set scoring.rows or "
            "trainer.activation_checkpointing, take model/lora=rank16, or shard over processes"
        )

"""What a row of size=paper takes: memory on each GPU and GPU-hours, from sizes alone. No weight and no dataset is read.

Lower bounds: the traffic between GPUs is left out, and every rationale is taken at its limit.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from latro.fused_head import GPU_CHUNK
from latro.hardware import hardware_given
from latro.models import ModelConfig
from latro.planning import LOGIT_BYTES, ModelSizes, Work, time_parts
from latro.scaling import peak
from scripts.arguments import passes
from scripts.planning import work_of
from scripts.reproduction import Row

GPUS = 8
LLAMA = ModelSizes(
    hidden=4096, layers=32, intermediate=14336, query=4096, key=1024, heads=32, vocabulary=128256, tied=False
)
SIZES = {  # of the models' published configurations
    "phi35_mini": replace(LLAMA, hidden=3072, intermediate=8192, query=3072, key=3072, vocabulary=32064),
    "mistral_7b": replace(LLAMA, vocabulary=32768),
    "llama31_8b": LLAMA,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """A dataset's training split in numbers, four characters to a token and thirty for the chat template."""

    train: int
    """Rows that are trained on; GSM8K's validation rows are held back from them."""
    test: int
    prompt: int
    """Mean tokens."""
    longest: int
    rationale: int
    """Mean tokens of a gold rationale; 0 where there is none."""
    answer: int


LENGTHS = {
    "latro_gsm8k": Lengths(train=6946, test=1319, prompt=96, longest=283, rationale=61, answer=5),
    "latro_arc": Lengths(train=1119, test=1172, prompt=124, longest=272, rationale=0, answer=12),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Of one command."""

    memory: float
    """Bytes on each GPU."""
    hours: float
    """GPU-hours."""
    steps: int
    gpus: int


def needs(
    row: Row, table: str, folder: Path, configurations: Mapping[Path, DictConfig], hardware: str
) -> str:
    """What the commands of a row take, in words."""
    said = []
    model = row.key.split("/")[0]
    for job in row.jobs(folder, row.seeds[0]):
        cfg = configurations[job.folder]
        plan = {"train_latro": latro, "train_sft": sft, "evaluate_latro": evaluation}[job.script]
        found = plan(cfg, SIZES[model], LENGTHS[table], hardware)
        what = {"train_latro": "training", "train_sft": "training", "evaluate_latro": "evaluation"}[
            job.script
        ]
        steps = f", {found.steps} steps" if found.steps else ""
        said.append(
            f"{what}: {found.gpus} x {hardware}, {found.memory / 2**30:.0f} GiB each, at least {found.hours:.2g} "
            f"GPU-hours{steps}"
        )
    return "; ".join(said)


def latro(cfg: DictConfig, model: ModelSizes, lengths: Lengths, hardware: str) -> Needs:
    """A LaTRO training on eight GPUs, weights and optimizer sharded."""
    config, sampling = instantiate(cfg.model, _convert_="all"), instantiate(cfg.sampling)
    assert isinstance(config, ModelConfig)
    work = replace(
        work_of(cfg, config, sampling, instantiate(cfg.scoring), torch.bfloat16),
        prompt=lengths.prompt,
        answer=lengths.answer,
        head_chunk=GPU_CHUNK,
    )
    asked = passes(cfg, instantiate(cfg.objective), sampling)
    steps = int(cfg.max_steps or steps_of(asked, work, lengths.train, drop_last=True))
    seconds = time_parts(model, work, hardware_given(hardware))["step"]
    memory = peak(model, replace(work, prompt=lengths.longest), GPUS, "zero3")
    return Needs(memory=memory, hours=GPUS * steps * seconds / 3600, steps=steps, gpus=GPUS)


def sft(cfg: DictConfig, model: ModelSizes, lengths: Lengths, hardware: str) -> Needs:
    """A supervised training on eight GPUs: the update's work on gold texts, nothing sampled."""
    work = Work(
        prompts=cfg.trainer.per_device_train_batch_size,
        micro_batches=cfg.trainer.gradient_accumulation_steps,
        K=1,
        prompt=lengths.prompt,
        rationale=max(1, lengths.rationale),
        answer=lengths.answer,
        weight_bytes=2,
        reference_bytes=0,
        fused_head=False,
    )
    steps = int(cfg.max_steps or steps_of(cfg.epochs, work, lengths.train, drop_last=False))
    seconds = time_parts(model, work, hardware_given(hardware))["update"]
    memory = peak(model, replace(work, prompt=lengths.longest), GPUS, "zero3")
    return Needs(memory=memory, hours=GPUS * steps * seconds / 3600, steps=steps, gpus=GPUS)


def steps_of(passes: float, work: Work, rows: int, *, drop_last: bool) -> int:
    """Optimizer steps as the trainer counts them: each pass ends with a step of its own, however short."""
    batches = rows // work.prompts // GPUS if drop_last else math.ceil(math.ceil(rows / work.prompts) / GPUS)
    return math.ceil(passes * math.ceil(batches / work.micro_batches))


def evaluation(cfg: DictConfig, model: ModelSizes, lengths: Lengths, hardware: str) -> Needs:
    """One greedy output and the votes for every test question, on one GPU."""
    work = Work(
        prompts=lengths.test,
        micro_batches=1,
        K=1 + int(cfg.evaluation.majority),
        prompt=lengths.prompt,
        rationale=int(cfg.evaluation.max_tokens),
        answer=lengths.answer,
        weight_bytes=2,
        batch_rows=int(cfg.evaluation.batch_rows),
    )
    seconds = time_parts(model, work, hardware_given(hardware))["sampling"]
    cache = 2 * model.layers * model.key * (lengths.longest + work.rationale) * 2
    memory = model.parameters * 2 + work.batch_rows * (cache + LOGIT_BYTES * model.vocabulary)
    return Needs(memory=memory, hours=seconds / 3600, steps=0, gpus=1)

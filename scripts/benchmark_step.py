"""A whole step, three ways: drawing rationales, scoring them, gradient and optimizer, on the same prompts.

`published` is the released code's rollout and update, drawn in batches of its data loader's three prompts. `stock
RLOO` is trl's own trainer; its reward costs nothing and it scores no answer, so it does less. `ours` is the trainer
that `train_latro` runs, also with bfloat16 copies. Each begins with a fresh optimizer and a rate of zero, so that every
round meets the same policy.
"""

import copy
import math
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import truediv
from statistics import median
from typing import Any

import torch
from transformers import PrinterCallback, Trainer, TrainingArguments

from latro.adapters import FrozenReference
from latro.encoding import Rationale, join
from latro.errors import InputError
from latro.objective import ObjectiveConfig
from latro.precision import cast_weights
from latro.sampling import SamplingConfig, cut
from latro.scored_tokens import ScoringConfig
from latro.trainer import LatroTrainer
from scripts.benchmark_models import Bench, bench_for
from scripts.benchmark_rollout import RolloutSize
from scripts.benchmark_schemes import COPIES, chosen, held_to_bars, possible
from scripts.measuring import Spent, fair_clock, in_turn, matmul_rate, spent, work_seconds
from scripts.published_rollout import published_rollout
from scripts.published_scheme import published_update
from scripts.training import quiet_libraries

KL_WEIGHT = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSize:
    """What a step learns from, and by how much ours must be ahead."""

    rollout: RolloutSize
    """Its prompts are those of a step, whoever takes it."""
    prompts_scored: int
    """Of ours, in one backward pass."""
    published_scored: int
    """Of the published scheme, in one update's passes; it adds up their gradients."""
    least_published: float
    """The published scheme's time must be at least this many times ours."""
    least_stock: float
    """The same of trl's."""

    @property
    def name(self) -> str:
        """What a step is, in words."""
        return f"{self.rollout.prompts} prompts of {self.rollout.name}"

    def varied(self, chosen: Mapping[str, int], prompts: int | None = None) -> "StepSize":
        """With other sizes, at which ours has to be ahead, and with so many prompts, all decoded at once.

        Raises InputError where the prompts fill no whole batches.
        """
        shape, batch = (
            self.rollout.varied(chosen),
            math.lcm(self.rollout.published_prompts, self.prompts_scored),
        )
        prompts = shape.prompts if prompts is None else prompts
        if prompts < batch or prompts % batch:
            raise InputError(
                f"prompts={prompts}: a step of {shape.model} takes a multiple of {batch} prompts"
            )
        bars: dict[str, Any] = {"least_published": 1.0, "least_stock": 1.0} if chosen else {}
        return replace(self, rollout=replace(shape, prompts=prompts, slots=prompts * shape.K), **bars)


SIZES = {
    "small": StepSize(
        rollout=RolloutSize(
            model="tiny Llama", real=False,
            prompts=12, K=8, max_tokens=48, slots=96, published_prompts=3, least_tokens=0, least_finished=0,
        ),
        prompts_scored=4, published_scored=3, least_published=1.5, least_stock=1.0,
    ),
    "full": StepSize(
        rollout=RolloutSize(
            model="SmolLM2-135M on GSM8K", real=True,
            prompts=6, K=8, max_tokens=300, slots=48, published_prompts=3, least_tokens=0, least_finished=0,
        ),
        # Its three prompts' logits at once, [24, 400, 49152] several times over, do not fit into 24 GB.
        prompts_scored=1, published_scored=1, least_published=4.0, least_stock=1.5,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTaken:
    """One step of a scheme."""

    taken: Spent
    tokens: int
    """Of the continuations, all rows together."""


def published_step(bench: Bench, size: StepSize, seed: int) -> StepTaken:
    """Rollout and update of each batch of prompts, then the optimizer."""
    model, reference = bench.model, frozen_copy(bench.model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
    shape, tokens = size.rollout, 0

    def step() -> None:
        nonlocal tokens
        for first in range(0, shape.prompts, shape.published_prompts):
            prompts = bench.prompts[first : min(first + shape.published_prompts, shape.prompts)]
            answers = [
                bench.encoder.answer_ids(e.answer) for e in bench.examples[first : first + len(prompts)]
            ]
            outputs = published_rollout(
                model, bench.encoder, prompts, shape.K, shape.max_tokens, seed + first
            )
            tokens += sum(map(len, outputs))
            rationales = [some(cut(bench.encoder, output, bench.markers)) for output in outputs]
            for one in range(0, len(prompts), size.published_scored):
                some_prompts = slice(one, one + size.published_scored)
                some_rows = slice(one * shape.K, (one + size.published_scored) * shape.K)
                batch = join(
                    prompts[some_prompts],
                    rationales[some_rows],
                    answers[some_prompts],
                    bench.encoder.pad_token_id,
                ).to(model.device)
                published_update(model, reference, batch, kl_weight=KL_WEIGHT, answer_weight=1.0)
        optimizer.step()
        optimizer.zero_grad()

    taken = spent(step)
    return StepTaken(taken=taken, tokens=tokens)


def some(rationale: Rationale) -> Rationale:
    """At least one token: the published scheme's masks know no empty rationale."""
    return rationale if rationale.ids else replace(rationale, ids=rationale.ending[:1], ending=())


def our_step(bench: Bench, size: StepSize, seed: int, *, copies: bool = False) -> StepTaken:
    """One step of the trainer, with the prompt run once for its rationales.

    copies: rationales are drawn, and the reference scores, in bfloat16.
    """
    shape, reference = size.rollout, frozen_copy(bench.model)
    if copies:
        reference = cast_weights(reference, torch.bfloat16)
    tokens: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        trainer = LatroTrainer(
            model=bench.model,
            reference=FrozenReference(reference),
            encoder=bench.encoder,
            examples=bench.examples[: shape.prompts],
            args=arguments(
                TrainingArguments,
                bench,
                folder,
                seed,
                size.prompts_scored,
                shape.prompts // size.prompts_scored,
            ),
            objective_config=ObjectiveConfig(kl_weight=KL_WEIGHT),
            sampling=SamplingConfig(
                rationales_per_prompt=shape.K,
                max_rationale_tokens=shape.max_tokens,
                batch_rows=shape.slots,
                dtype="bfloat16" if copies else None,
            ),
            markers=bench.markers,
            scoring=ScoringConfig(share_prompt=True, head_memory=0.5),
            on_samples=lambda samples: tokens.extend(sample.length for sample in samples),
        )
        taken = first_step(trainer)
    return StepTaken(taken=taken, tokens=sum(tokens))


def stock_step(bench: Bench, size: StepSize, seed: int) -> StepTaken:
    """One step of trl's RLOOTrainer on the same prompts, one group of K a backward pass, without checkpointing."""
    from datasets import Dataset
    from trl import RLOOConfig, RLOOTrainer

    shape = size.rollout
    tokens: list[int] = []

    def free_reward(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
        tokens.extend(map(len, completion_ids))
        return [float(number % shape.K) for number in range(len(completion_ids))]

    tokenizer = bench.encoder.tokenizer
    prompts = [{"prompt": tokenizer.decode(ids)} for ids in bench.prompts[: shape.prompts]]
    with tempfile.TemporaryDirectory() as folder:
        bench.model.save_pretrained(folder)  # trl loads its reference from where the policy's config says
        policy = type(bench.model).from_pretrained(folder)
        trainer = RLOOTrainer(
            model=policy,
            reward_funcs=free_reward,
            args=arguments(
                RLOOConfig, bench, folder, seed, shape.K, shape.prompts,
                num_generations=shape.K, max_completion_length=shape.max_tokens, beta=KL_WEIGHT, temperature=1.0,
                activation_checkpointing=False,
            ),
            train_dataset=Dataset.from_list(prompts),
            processing_class=tokenizer,
        )  # fmt: skip
        taken = first_step(trainer)
    return StepTaken(taken=taken, tokens=sum(tokens))


SCHEMES: dict[str, Callable[[Bench, StepSize, int], StepTaken]] = {
    "published": published_step,
    "stock RLOO": stock_step,
    "ours": our_step,
    COPIES: partial(our_step, copies=True),
}


def frozen_copy(model: Any) -> Any:
    """The reference."""
    return copy.deepcopy(model).requires_grad_(False).eval()


def arguments(kind: type, bench: Bench, folder: str, seed: int, rows: int, passes: int, **more: Any) -> Any:
    """One step of `passes` backward passes of `rows` dataset rows (or completions), with nothing besides."""
    return kind(
        output_dir=folder,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=passes,
        max_steps=1,
        learning_rate=0.0,
        seed=seed,
        use_cpu=bench.model.device.type == "cpu",
        bf16=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        logging_steps=1,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        **more,
    )


def first_step(trainer: Trainer) -> Spent:
    """What a training of one step takes."""
    trainer.remove_callback(PrinterCallback)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # trl uses names that transformers has replaced
        return spent(trainer.train)


def step_rows(
    size: StepSize,
    *,
    rounds: int = 5,
    seed: int = 0,
    model_path: str | None = None,
    data_path: str | None = None,
    dtype: str = "float32",
    schemes: Sequence[str] | None = None,
    device: str = "cpu",
    say: Callable[[str], None] = print,
) -> list[dict]:
    """One row a scheme: medians of `rounds` alternating steps after a short one, and ratios to the published scheme.

    schemes: see `chosen`. Raises InputError where they leave nothing to compare.
    """
    quiet_libraries()
    taken = chosen(possible(SCHEMES, size.rollout.real, dtype, device), schemes)
    bench = bench_for(size.rollout.real, size.rollout.prompts, model_path, data_path, dtype, device)
    few = replace(size, rollout=replace(size.rollout, prompts=size.prompts_scored, K=2, max_tokens=2))
    for name in taken:  # what is imported and allocated once is no scheme's cost
        SCHEMES[name](bench, few, seed)
    calls = {f"{size.name}, {name}": partial(SCHEMES[name], bench, size) for name in taken}
    steps = dict(zip(taken, in_turn(calls, rounds, seed, say).values(), strict=True))
    clock = fair_clock(step.taken for each in steps.values() for step in each)
    own, low = (matmul_rate(kind, device) for kind in (bench.model.dtype, torch.bfloat16))
    rates = {name: (own, low if name == COPIES else own) for name in taken}
    rows = [row(size, name, steps[name], bench, rates[name]) | {"clock": clock} for name in taken]
    for each in rows:
        each["times_faster"] = rows[0][f"{clock}_seconds"] / each[f"{clock}_seconds"]
        each["times_less_memory"] = None
    return rows


def row(
    size: StepSize, scheme: str, steps: Sequence[StepTaken], bench: Bench, rates: tuple[float, float]
) -> dict:
    """Medians over the rounds; `rates` are FLOP a second of the policy's own passes, and of all others."""
    work = flops(size, scheme, bench, median(step.tokens for step in steps))
    least = sum(map(truediv, work, rates))
    return {
        "part": "step",
        "shape": f"{size.name}, {str(bench.model.dtype).removeprefix('torch.')}",
        "scheme": scheme,
        "cpu_seconds": median(step.taken.cpu for step in steps),
        "wall_seconds": median(step.taken.wall for step in steps),
        "every_cpu_seconds": [step.taken.cpu for step in steps],
        "every_wall_seconds": [step.taken.wall for step in steps],
        "tokens": median(step.tokens for step in steps),
        "peak_mb": None,  # that of its largest part, which is measured by itself
        "flops": sum(work),
        "of_matmul_ceiling": least / median(work_seconds(step.taken) for step in steps),
        "of_bandwidth_ceiling": None,
        "gradient_distance": None,
    }


def flops(size: StepSize, scheme: str, bench: Bench, tokens: float) -> tuple[float, float]:
    """Multiply-adds times two of the weights; attention and answers left out. A backward pass is two forwards.

    Of the policy's passes that are learned from, and of all others (rollout, reference, passes without gradient).
    tokens: of the continuations.
    """
    K = size.rollout.K
    prompts = sum(map(len, bench.prompts[: size.rollout.prompts]))
    learned, others = {"published": (2 * 3, 3), "stock RLOO": (3, 2)}.get(scheme, (3, 1))
    copied = scheme in ("published", "stock RLOO")  # a prompt is read with each of its rationales, or once
    read = prompts * K if copied else prompts
    once = 2.0 * bench.model.num_parameters() * (read + tokens)
    return learned * once, (1 + others) * once


def step_failures(size: StepSize, rows: Sequence[dict]) -> list[str]:
    """One line for each bar that is missed by a scheme that was measured."""
    by_scheme = {row["scheme"]: row[f"{row['clock']}_seconds"] for row in rows}
    least = {"published": size.least_published, "stock RLOO": size.least_stock}
    mine = held_to_bars(by_scheme)
    ahead = {name: by_scheme[name] / by_scheme[mine] for name in least if name in by_scheme}
    return [
        f"{rows[0]['shape']}: {name!r} takes {times:.2f} times as long as {mine!r}, not {least[name]}"
        for name, times in ahead.items()
        if not times >= least[name]
    ]

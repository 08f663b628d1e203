"""One whole step of each scheme: drawing rationales, scoring them, gradient and optimizer.

`published` is the released code's rollout and update, drawn in batches of its data loader's three prompts. `stock
RLOO` is trl's own trainer; its reward costs nothing and it scores no answer, so it does less. `ours` is the trainer
that `train_latro` runs, also with bfloat16 copies. Each begins with a fresh optimizer and a rate of zero, so that every
round meets the same policy.
"""

import copy
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from transformers import PrinterCallback, Trainer, TrainingArguments

from latro.adapters import FrozenReference
from latro.encoding import Rationale, join
from latro.objective import ObjectiveConfig
from latro.precision import cast_weights
from latro.sampling import SamplingConfig, cut
from latro.scored_tokens import ScoringConfig
from latro.trainer import LatroTrainer
from scripts.benchmark_models import Bench
from scripts.benchmark_schemes import COPIES
from scripts.measuring import Spent, spent_and_peak
from scripts.memory_traffic import columns_before
from scripts.other_rollouts import published_rollout
from scripts.published_scheme import published_update
from scripts.step_sizes import StepSize

KL_WEIGHT = 0.05
HEAD_MEMORY = 0.5
"""GiB of logits that ours may keep, see `ScoringConfig`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTaken:
    """One step of a scheme."""

    taken: Spent
    tokens: int
    """Of the continuations, all rows together."""
    columns: int
    """See `columns_before`."""
    forwards: int
    """Of the policy, that decoding cannot do without: one for each token of a batch's longest row."""
    peak_mb: float
    """Above the models, at its highest."""
    share: float = 1.0
    """Of the step's prompts, that it took."""

    @property
    def whole(self) -> Spent:
        """What all prompts of the step take at this pace."""
        return replace(self.taken, cpu=self.taken.cpu / self.share, wall=self.taken.wall / self.share)


def step_taken(
    taken: Spent, peak_mb: float, lengths: Sequence[int], forwards: int, share: float = 1.0
) -> StepTaken:
    """Of a step that decoded rows of such lengths."""
    return StepTaken(
        taken=taken,
        tokens=sum(lengths),
        columns=columns_before(lengths),
        forwards=forwards,
        peak_mb=peak_mb,
        share=share,
    )


def published_step(bench: Bench, size: StepSize, seed: int) -> StepTaken:
    """Rollout and update of each batch of prompts, then the optimizer."""
    model, reference = bench.model, frozen_copy(bench.model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
    shape = size.rollout
    lengths: list[int] = []
    batches = range(0, shape.prompts, shape.published_prompts)
    batches_taken = [
        batches[(seed + n) % len(batches)] for n in range(size.published_batches or len(batches))
    ]

    def step() -> None:
        for first in sorted(batches_taken):
            prompts = bench.prompts[first : min(first + shape.published_prompts, shape.prompts)]
            answers = [
                bench.encoder.answer_ids(e.answer) for e in bench.examples[first : first + len(prompts)]
            ]
            outputs = published_rollout(
                model, bench.encoder, prompts, shape.K, shape.max_tokens, seed + first
            )
            lengths.extend(map(len, outputs))
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

    taken, peak = spent_and_peak(step)
    forwards = len(batches_taken) * shape.max_tokens
    return step_taken(taken, peak, lengths, forwards, len(batches_taken) / len(batches))


def some(rationale: Rationale) -> Rationale:
    """At least one token: the published scheme's masks know no empty rationale."""
    return rationale if rationale.ids else replace(rationale, ids=rationale.ending[:1], ending=())


def our_step(bench: Bench, size: StepSize, seed: int, *, copies: bool = False) -> StepTaken:
    """One step of the trainer, with the prompt run once for its rationales.

    copies: rationales are drawn, and the reference scores, in bfloat16.
    """
    bench = bench.ours()
    shape, reference = size.rollout, frozen_copy(bench.model)
    if copies:
        reference = cast_weights(reference, torch.bfloat16)
    lengths: list[int] = []
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
            scoring=ScoringConfig(share_prompt=True, head_memory=HEAD_MEMORY),
            on_samples=lambda samples: lengths.extend(sample.length for sample in samples),
        )
        taken, peak = first_step(trainer)
    return step_taken(taken, peak, lengths, max(lengths))


def stock_step(bench: Bench, size: StepSize, seed: int) -> StepTaken:
    """One step of trl's RLOOTrainer on the same prompts, one group of K a backward pass, without checkpointing."""
    from datasets import Dataset
    from trl import RLOOConfig, RLOOTrainer

    shape = size.rollout
    lengths: list[int] = []

    def free_reward(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
        lengths.extend(map(len, completion_ids))
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
        taken, peak = first_step(trainer)
    return step_taken(taken, peak, lengths, max(lengths))


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


def first_step(trainer: Trainer) -> tuple[Spent, float]:
    """What a training of one step takes of time and memory."""
    trainer.remove_callback(PrinterCallback)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # trl uses names that transformers has replaced
        return spent_and_peak(trainer.train)

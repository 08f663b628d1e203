"""LaTRO's training loop, over the public hooks of `transformers.Trainer`.

One dataset row is one prompt; `per_device_train_batch_size` counts prompts. A prompt's K rationales are drawn,
scored and compared inside one process and one micro-batch, so the leave-one-out baseline needs no communication.
Sampling is on-policy with one update per batch: the pass that carries the gradient also gives the rewards.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, gather_object
from torch import Tensor
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from latro.balancing import Lengths, by_length, dealt
from latro.encoding import Encoder, Rationale, join
from latro.errors import InputError
from latro.likelihood import DEFAULT
from latro.objective import ObjectiveConfig, Penalty, answer_reward, objective
from latro.records import Sample, make_samples, step_metrics
from latro.rollout.choosing import VLLM
from latro.rollout.vllm import VllmEngine
from latro.sampling import LowPrecisionCopy, SamplingConfig, row_seed, sample_rationales
from latro.scored_tokens import ScoringConfig, refuse_misfits
from latro.scoring import Scorer
from latro.stopping import ended
from latro.types import Example

Evaluate = Callable[[Any], dict[str, float]]
"""Takes the unwrapped model, returns metrics of the validation split; called on every process."""


class LatroTrainer(Trainer):
    """Trains a policy by its own likelihood of the gold answer. LaTRO, algorithm 1."""

    loss_is_scaled_for_ga = True  # compute_loss divides by the rows of the whole optimizer step
    mean_reward: float | None = None
    """For the batch-mean penalty: the mean answer reward of this process's rows in the step, if it had to be known
    before the first micro-batch."""
    rows_in_step = tokens_in_step = 0
    """Of all processes."""
    validation_engine = ""
    """What the validation decodes with, if that is vLLM."""

    def __init__(
        self,
        *,
        model: Any,
        reference: Any,
        encoder: Encoder,
        examples: Sequence[Example],
        args: TrainingArguments,
        objective_config: ObjectiveConfig,
        sampling: SamplingConfig,
        markers: Sequence[str],
        scoring: ScoringConfig = DEFAULT,
        evaluate: Evaluate | None = None,
        on_samples: Callable[[list[Sample]], None] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        vllm: Callable[[Any, Accelerator], VllmEngine] | None = None,
    ) -> None:
        """`reference` offers `prepare(accelerator)` and `scoring(model)`, see `latro.models.Reference`.

        `on_samples` is called on the main process with every step's samples of all processes. `vllm` makes the engine
        where one decodes by vLLM.
        """
        super().__init__(
            model=model,
            args=args,
            train_dataset=list(range(len(examples))),
            eval_dataset=[0],  # `evaluate` below has its own
            data_collator=collate,
            processing_class=encoder.tokenizer,
            callbacks=[*(callbacks or []), StepEnd(self)],
        )
        fsdp = getattr(self.accelerator.state, "fsdp_plugin", None)
        again = args.activation_checkpointing or bool(fsdp and fsdp.activation_checkpointing)
        refuse_misfits(scoring, again, self.accelerator.distributed_type, self.accelerator.device.type)
        self.weights = sum(whole_size(p) for p in model.parameters())
        self.trained = sum(whole_size(p) for p in model.parameters() if p.requires_grad)
        self.encoder = encoder
        self.examples = examples
        self.objective_config = objective_config
        self.sampling = sampling
        self.scorer = Scorer(
            encoder=encoder, objective=objective_config, temperature=sampling.temperature, scoring=scoring
        )
        self.markers = tuple(markers)
        self.validate = evaluate
        self.on_samples = on_samples
        self.reference = reference
        self.reference.prepare(self.accelerator)
        self.samples: list[Sample] = []
        self.metrics: list[dict[str, float]] = []
        self.lengths = Lengths()
        needed = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
        if len(examples) < needed:
            raise InputError(
                f"{len(examples)} training examples are fewer than the {needed} prompts of one step; raise limit, or "
                "lower trainer.per_device_train_batch_size"
            )
        dtype = sampling.dtype and getattr(torch, sampling.dtype)
        self.sampler = LowPrecisionCopy(model, dtype) if dtype else None
        self.vllm = vllm(model, self.accelerator) if vllm else None

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], int | None]:
        """The micro-batches of one optimizer step, with their rationales drawn in one go; none behind the last step."""
        if ended(self):
            return [], None
        indices, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        sizes = [len(batch["index"]) for batch in indices]
        flat = self.balanced([i for batch in indices for i in batch["index"].tolist()])
        prompts = [self.encoder.prompt_ids(example.prompt) for example in flat]
        elsewhere = self.vllm if self.sampling.engine == VLLM else None
        with self.generating(to_sample=True) as model:
            rationales = sample_rationales(
                model,
                self.encoder,
                prompts,
                [example.id for example in flat],
                self.sampling,
                markers=self.markers,
                seed=self.args.seed,
                step=self.state.global_step,
                engine=elsewhere,
            )
        inputs, tokens = [], 0
        for places in by_length(prompts, rationales, sizes):
            group = [flat[n] for n in places]
            mine = [rationale for n in places for rationale in rationales[n * self.K : (n + 1) * self.K]]
            answers = self.answers(group, mine)
            batch = join([prompts[n] for n in places], mine, answers, self.encoder.pad_token_id)
            inputs.append({"examples": group, "rationales": mine, "batch": batch.to(device)})
            tokens += sum(self.K * len(prompts[n]) for n in places)
            tokens += sum(
                len(rationale.ids) + len(answer) for rationale, answer in zip(mine, answers, strict=True)
            )
        counts = torch.tensor([len(rationales), tokens], device=device)
        self.rows_in_step, self.tokens_in_step = self.accelerator.reduce(counts, reduction="sum").tolist()
        # A short step at an epoch's end has one micro-batch, which knows its own mean: forget that of the step before.
        several = self.objective_config.penalty == Penalty.BATCH_MEAN and len(inputs) > 1
        self.mean_reward = self.mean_answer_reward(inputs) if several else None
        return inputs, self.rows_in_step

    def balanced(self, indices: Sequence[int]) -> list[Example]:
        """As many of the examples that all processes have in this step, dealt by how much there is to draw.

        The published code's penalty is a mean over what a process was given, so there each keeps its own.
        """
        processes = self.accelerator.num_processes
        if processes == 1 or not self.sampling.balance or self.objective_config.penalty == Penalty.BATCH_MEAN:
            return [self.examples[i] for i in indices]
        everyone = [self.examples[i] for i in gather_object(list(indices))]
        shares = dealt(self.lengths.expected([example.id for example in everyone]), processes)
        return [everyone[place] for place in shares[self.accelerator.process_index]]

    @torch.no_grad()
    def mean_answer_reward(self, inputs: Sequence[dict[str, Any]]) -> float:
        """The mean answer reward of this process's rows in the step, by which the published code scales its penalty.

        It has to be known before the first micro-batch is learned from, so it costs a pass of its own.
        """
        with self.compute_loss_context_manager():
            rewards = [
                answer_reward(
                    self.scorer.without_reference(self.model_wrapped, **part), self.objective_config
                )
                for part in inputs
            ]
        return float(torch.cat([part.flatten() for part in rewards]).mean())

    @property
    def K(self) -> int:  # noqa: N802
        """Rationales per prompt."""
        return self.sampling.rationales_per_prompt

    @contextmanager
    def generating(self, *, to_sample: bool = False) -> Iterator[Any]:
        """Within the block: the policy as it generates, in the precision in which it is scored.

        It comes without its wrapper; sharded weights are gathered, but not `to_sample` by vLLM. Where vLLM decodes it
        has the same weights meanwhile.
        """
        by_vllm = (self.sampling.engine if to_sample else self.validation_engine) == VLLM
        with (
            self.vllm.renewed() if self.vllm and by_vllm else nullcontext(),
            self.accelerator.autocast() if self.sampler is None else nullcontext(),
        ):
            whole = not (to_sample and by_vllm)
            if whole and self.accelerator.distributed_type == DistributedType.DEEPSPEED:
                from trl.models.utils import unwrap_model_for_generation

                with unwrap_model_for_generation(self.model_wrapped, self.accelerator) as gathered:
                    yield gathered
            else:
                policy = self.accelerator.unwrap_model(self.model_wrapped)
                yield self.sampler.renewed(policy) if self.sampler else policy

    def answers(self, examples: Sequence[Example], rationales: Sequence[Rationale]) -> list[list[int]]:
        """The examples' answer lines as ids, behind each of their K rationales."""
        return [
            self.encoder.answer_ids(examples[row // self.K].answer, rationale.ids)
            for row, rationale in enumerate(rationales)
        ]

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """The loss of one micro-batch: its share of the mean over all rows of the optimizer step.

        Processes average their gradients, hence the factor of their number.
        """
        scores = self.scorer.scores(model, self.reference, **inputs)
        generator = torch.Generator().manual_seed(
            row_seed(self.args.seed, self.state.global_step, inputs["examples"][0].id, "shuffle")
        )
        result = objective(scores, self.objective_config, generator, self.mean_reward)
        self.refuse_broken(result.loss_NK, inputs["examples"])
        step = self.state.global_step + 1
        self.samples += make_samples(
            step,
            inputs["examples"],
            inputs["rationales"],
            scores,
            result,
            score_stop=bool(self.objective_config.score_stop),
        )
        return result.loss_NK.sum() * (self.accelerator.num_processes / self.rows_in_step)

    def refuse_broken(self, loss_NK: Tensor, examples: Sequence[Example]) -> None:
        """Raise InputError, with the step and the prompts, if a row's loss is not a finite number."""
        broken_N = ~loss_NK.detach().isfinite().all(-1)
        if broken_N.any():
            names = ", ".join(
                example.id for example, bad in zip(examples, broken_N.tolist(), strict=True) if bad
            )
            raise InputError(
                f"step {self.state.global_step + 1}: the loss of {names} is not a finite number: the weights have run "
                "away; lower trainer.learning_rate or set trainer.max_grad_norm"
            )

    def end_step(self) -> None:
        """Hand over the samples of the optimizer step that just ended, and turn them into metrics."""
        samples = gather_object(self.samples)
        self.samples = []
        self.lengths.learn(samples)
        self.state.num_input_tokens_seen += self.tokens_in_step
        self.metrics.append(step_metrics(samples))
        if self.on_samples is not None and self.is_world_process_zero():
            self.on_samples(samples)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log as usual, with the mean of the steps' metrics since the last time."""
        if "loss" in logs and self.metrics:
            names = self.metrics[0]
            logs |= {name: sum(step[name] for step in self.metrics) / len(self.metrics) for name in names}
            logs["num_tokens"] = self.state.num_input_tokens_seen
            self.metrics = []
        super().log(logs, start_time)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Metrics of the validation split, each name behind the prefix."""
        if self.validate is None:
            return {}
        with self.generating() as model:
            metrics = {f"{metric_key_prefix}_{name}": value for name, value in self.validate(model).items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)  # type: ignore[has-type]
        return metrics

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Multiply-adds times two of scoring a micro-batch: policy forward and backward, reference forward.

        A pass that is made again (checkpointing, slices) does not count. Frozen weights have no gradient of their own.
        """
        return 2 * (3 * self.weights + self.trained) * int(inputs["batch"].ids_RT.numel())


def checkpoint_of(args: TrainingArguments, state: TrainerState) -> Path:
    """Where the trainer keeps the checkpoint of this step."""
    return Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"


def whole_size(parameter: Tensor) -> int:
    """Numbers in a weight, of which ZeRO-3 may hold only a share here."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def collate(indices: list[int]) -> dict[str, Tensor]:
    """A micro-batch as the data loader hands it on: which examples it holds."""
    return {"index": torch.tensor(indices)}


class StepEnd(TrainerCallback):
    """Tells the trainer that an optimizer step has ended; keeps with a checkpoint what it has learnt of lengths."""

    def __init__(self, trainer: LatroTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Go on with the lengths of the checkpoint that is taken up."""
        self.trainer.lengths.load(checkpoint_of(args, state))

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write them beside the weights."""
        if state.is_world_process_zero and args.world_size > 1:
            self.trainer.lengths.save(checkpoint_of(args, state))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Collect the step's samples on every process."""
        self.trainer.end_step()

"""Evaluation on the validation split while a model is trained."""

from collections.abc import Sequence
from typing import Any

from accelerate.utils import DistributedType, gather_object

from latro.encoding import Encoder
from latro.errors import InputError
from latro.evaluation import (
    EvaluationConfig,
    Item,
    answer_likelihoods,
    compare_with_others,
    evaluate,
    summary,
)
from latro.rollout.choosing import VLLM
from latro.tasks.base import Task
from latro.types import Example
from scripts.building import gold_rationales
from scripts.run import Run


class Validator:
    """Evaluates the policy on the validation split, shared out over the processes."""

    def __init__(
        self,
        trainer: Any,
        run: Run,
        encoder: Encoder,
        task: Task,
        examples: Sequence[Example],
        config: EvaluationConfig,
    ) -> None:
        self.trainer = trainer
        if config.choice_scores and trainer.accelerator.distributed_type == DistributedType.FSDP:
            raise InputError(
                "evaluation.choice_scores=true under FSDP: examples have unlike numbers of options, so processes would "
                "wait for one another for ever; set it to false, and let evaluate_latro score the options"
            )
        self.run = run
        self.encoder = encoder
        self.task = task
        self.examples = examples
        self.config = config
        # Of all examples, so that every process scores with gold rationales or none does.
        self.gold = gold_rationales(examples, encoder, trainer.model) if config.answer_likelihood else None
        run.write_table("prompts", [{"id": example.id, "prompt": example.prompt} for example in examples])

    def __call__(self, model: Any) -> dict[str, float]:
        """Metrics over all validation examples; every item goes into `validation.jsonl`."""
        items = self.items(model)
        step = self.trainer.state.global_step
        self.run.append("validation", [{"step": step, **item_row(item)} for item in items])
        metrics = summary(items, self.task.main_grader)
        chosen_by = str(self.trainer.args.metric_for_best_model).removeprefix("eval_")
        if self.trainer.args.load_best_model_at_end and chosen_by not in metrics:
            known = ", ".join(metrics)
            raise InputError(
                f"trainer.metric_for_best_model={chosen_by!r}: no such metric; there are: {known}"
            )
        return metrics

    def items(self, model: Any) -> list[Item]:
        """One item per example, in order, the same list on every process.

        Every process evaluates the same number, some of them twice if need be: sharded weights are gathered by all
        processes together.
        """
        rank, world = self.trainer.accelerator.process_index, self.trainer.accelerator.num_processes
        n = len(self.examples)
        indices = [index % n for index in range(rank, -(-n // world) * world, world)]
        mine = [self.examples[index] for index in indices]
        elsewhere = self.trainer.vllm if self.config.engine == VLLM else None
        own = evaluate(model, self.encoder, self.task, mine, self.config, engine=elsewhere)
        if self.gold is not None:
            gold = [self.gold[index] for index in indices]
            answer_likelihoods(model, self.encoder, mine, own, "gold", gold, self.config)
        items = self.gathered(indices, own)
        if n == 1:
            return items
        partners = [items[(index + 1) % n] for index in indices]
        compare_with_others(model, self.encoder, mine, own, partners, self.config)
        return self.gathered(indices, own)

    def gathered(self, indices: Sequence[int], items: Sequence[Item]) -> list[Item]:
        """The items of all processes, by index."""
        found = dict(gather_object(list(zip(indices, items, strict=True))))
        return [found[index] for index in range(len(self.examples))]


def item_row(item: Item) -> dict[str, Any]:
    """A validation item as a row, with one entry per grader."""
    return {
        "id": item.id,
        "gold": item.gold,
        "output": item.output,
        "finished": item.finished,
        "tokens": item.tokens,
        "correct": {name: graded.correct for name, graded in item.greedy.items()},
        "extracted": {name: graded.extracted for name, graded in item.greedy.items()},
        "log_answer": item.log_answer,
    }

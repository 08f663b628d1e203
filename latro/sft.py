"""The supervised baseline: the same prompts, answer lines and encoder as LaTRO, with the dataset's own rationales.

It is trained on the very prompts that it is evaluated on. The published baseline was not: it learned from the bare
question and answered another wording (GSM8K), or learned one ARC wording and answered another.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from accelerate import DistributedType
from datasets import Dataset
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer
from trl.models.utils import unwrap_model_for_generation
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from latro.encoding import Encoder
from latro.stopping import ended
from latro.types import Example

IGNORED = -100
"""The label of a token that is not learned, as torch's cross-entropy has it."""


def supervised_row(example: Example, encoder: Encoder) -> dict[str, list[int]]:
    """Ids of prompt, gold rationale, answer line and end of turn; labels on all but the prompt.

    A task without rationales gives direct answers: the row is the one that LaTRO scores for an empty rationale.
    """
    prompt = encoder.prompt_ids(example.prompt)
    rationale = encoder.continuation_ids(example.rationale or "")
    completion = [*rationale, *encoder.answer_ids(example.answer, rationale)]
    return {"input_ids": prompt + completion, "labels": [IGNORED] * len(prompt) + completion}


class SftBaseline(SFTTrainer):
    """trl's supervised trainer on rows that are ids already, so that no template or truncation of its own applies.

    It evaluates as LaTRO does: by generating, not by the loss on validation.
    """

    def __init__(
        self,
        *,
        model: Any,
        encoder: Encoder,
        examples: Sequence[Example],
        args: SFTConfig,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        """`args.dataset_kwargs` must say `skip_prepare_dataset`, and `args.max_length` be None."""
        super().__init__(
            model=model,
            args=args,
            train_dataset=Dataset.from_list([supervised_row(example, encoder) for example in examples]),
            eval_dataset=Dataset.from_list([supervised_row(examples[0], encoder)]),  # `evaluate` has its own
            data_collator=DataCollatorForLanguageModeling(pad_token_id=encoder.pad_token_id),
            processing_class=encoder.tokenizer,
            callbacks=callbacks,
        )
        self.validate: Callable[[Any], dict[str, float]] | None = None

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], Any]:
        """The micro-batches of one optimizer step; none behind the last step."""
        if ended(self):
            return [], None
        return super().get_batch_samples(epoch_iterator, num_batches, device)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Metrics of the validation split, each name behind the prefix."""
        if self.validate is None:
            return {}
        self.model.eval()  # trl tells training metrics from validation metrics by the mode
        with self.generating() as model:
            metrics = {f"{metric_key_prefix}_{name}": value for name, value in self.validate(model).items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)  # type: ignore[has-type]
        return metrics

    def generating(self) -> AbstractContextManager[Any]:
        """Within the block: the policy as it generates, without its wrapper; sharded weights are gathered."""
        if self.accelerator.distributed_type == DistributedType.DEEPSPEED:
            gathered: AbstractContextManager[Any] = unwrap_model_for_generation(
                self.model_wrapped, self.accelerator
            )
            return gathered
        return nullcontext(self.accelerator.unwrap_model(self.model_wrapped))

"""What the parts that decode are measured on: a model, and questions as prompts."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from latro.encoding import Encoder
from latro.models import ModelConfig, load_policy
from latro.pretraining import TinyLlamaShape, byte_tokenizer, tiny_llama
from latro.products import choose_products
from latro.tasks.gsm8k import Gsm8k
from latro.types import Example
from scripts.building import build_encoder


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A model with prompts to continue."""

    model: Any
    encoder: Encoder
    examples: Sequence[Example]
    prompts: Sequence[Sequence[int]]
    """The examples' prompts as ids."""
    markers: Sequence[str]
    products: str = "auto"
    """Of a model of ours, as `model.products`; the model above has torch's, as others have them."""

    def ours(self) -> "Bench":
        """The same with a copy of the model that has our products."""
        model = copy.deepcopy(self.model)
        choose_products(model, self.products)
        return replace(self, model=model)


def small_bench(prompts: int, device: str = "cpu") -> Bench:
    """A made-up model over bytes, of which one in sixteen ends a rationale."""
    tokenizer = byte_tokenizer(256)
    encoder = Encoder(
        tokenizer=tokenizer,
        chat=False,
        stop_token_ids=(tokenizer.eos_token_id, *range(32, 48)),
        end_of_answer_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = tiny_llama(TinyLlamaShape(width=64, mlp_width=128, layers=2, context=256), tokenizer, 0)
    questions = [f"What is {7 * n} plus {n}?" for n in range(prompts)]
    examples = [
        Example(id=str(n), question=text, prompt=text, answer=f"The answer is {8 * n}", gold=str(8 * n))
        for n, text in enumerate(questions)
    ]
    return bench_of(model.to(device), encoder, examples, ("The answer is",))


def full_bench(
    prompts: int, model_path: str | None, data_path: str | None, dtype: str, device: str = "cpu"
) -> Bench:
    """SmolLM2-135M-Instruct on the first training questions of GSM8K."""
    loaded = load_policy(
        ModelConfig(
            path=model_path, hub_id="HuggingFaceTB/SmolLM2-135M-Instruct", dtype=dtype, products="torch"
        )
    )
    task = Gsm8k(path=data_path)
    encoder, examples = build_encoder(loaded, task, "auto"), task.examples("train")[:prompts]
    return bench_of(loaded.model.to(device), encoder, examples, task.answer_markers)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSource:
    """What a bench is made of, so that another process makes the same."""

    real: bool
    """SmolLM2 on GSM8K, or a made-up model on made-up questions."""
    prompts: int
    model_path: str | None
    data_path: str | None
    dtype: str
    device: str
    products: str = "auto"

    def bench(self) -> Bench:
        """Read or made."""
        if self.real:
            bench = full_bench(self.prompts, self.model_path, self.data_path, self.dtype, self.device)
        else:
            bench = small_bench(self.prompts, self.device)
        return replace(bench, products=self.products)


def bench_of(model: Any, encoder: Encoder, examples: Sequence[Example], markers: Sequence[str]) -> Bench:
    """A bench whose model does not drop out."""
    prompts = [encoder.prompt_ids(example.prompt) for example in examples]
    return Bench(model=model.eval(), encoder=encoder, examples=examples, prompts=prompts, markers=markers)

"""The plain engine: transformers' own `generate` on fixed batches. The reference for the others.

The uniform numbers are put in through a public logits processor, the end through a public stopping criterion. It
takes every architecture that `generate` takes, and weights that are sharded over processes.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from latro.encoding import Encoder, pad_left
from latro.rollout.base import Continuation, Done, Request, ignore
from latro.rollout.drawing import draw, likeliest, uniforms
from latro.rollout.ending import Ending
from latro.rollout.limits import base_model, must_keep_step, rows_that_fit


class GenerateEngine:
    """Prompts of like length are decoded together, `batch_rows` at a time, until the last of them has ended.

    None takes as many as fit into memory.
    """

    def __init__(self, batch_rows: int | None) -> None:
        self.batch_rows = batch_rows

    def continuations(
        self, model: Any, encoder: Encoder, request: Request, done: Done = ignore
    ) -> list[Continuation]:
        """See `Rollout`."""
        # Longest first, so that memory runs out at once or never.
        order = sorted(range(len(request.prompts)), key=lambda row: -len(request.prompts[row]))
        outputs: dict[int, Continuation] = {}
        rows = self.batch_rows or rows_that_fit(model, request.longest)
        for start in range(0, len(order), rows):
            chunk = order[start : start + rows]
            seeds = request.seeds
            generated = generate(
                model,
                encoder,
                [request.prompts[row] for row in chunk],
                max_tokens=request.max_tokens,
                markers=request.markers,
                seeds=None if seeds is None else [seeds[row] for row in chunk],
                temperature=request.temperature,
            )
            outputs.update(zip(chunk, generated, strict=True))
            done(len(outputs))
        return [outputs[row] for row in range(len(order))]


@torch.no_grad()
def generate(
    model: Any,
    encoder: Encoder,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    markers: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    temperature: float = 1.0,
) -> list[Continuation]:
    """The continuation of each prompt.

    Greedy where `seeds` is None, else drawn from softmax(logits / temperature) with one seed per row.
    """
    ids_BT, mask_BT = pad_left(prompts, encoder.pad_token_id)
    device = model.device
    end = RationaleEnd(Ending(encoder, markers), ids_BT.shape[1], len(prompts))
    inverse = None
    if seeds is not None:
        inverse = InverseCdf(uniforms(seeds, max_tokens).to(device), temperature, ids_BT.shape[1])
    was_training = model.training
    model.eval()
    try:
        with without_own_settings(base_model(model)):
            output = model.generate(
                ids_BT.to(device),
                attention_mask=mask_BT.to(device),
                generation_config=plain_generation(encoder, max_tokens),
                logits_processor=LogitsProcessorList([inverse or Likeliest()]),
                stopping_criteria=StoppingCriteriaList([end]),
                # transformers does not see that weights are sharded by FSDP's second version.
                synced_gpus=must_keep_step(model) or None,
            )
    finally:
        model.train(was_training)
    new_tokens = output[:, ids_BT.shape[1] :].tolist()
    logprobs: list[list[float]] = [[]] * len(prompts)
    if inverse is not None and inverse.logprobs:
        logprobs = torch.stack(inverse.logprobs, -1).tolist()
    return [
        Continuation(tokens=tuple(row[:length]), logprobs=tuple(values[:length]))
        for row, values, length in zip(new_tokens, logprobs, end.length, strict=True)
    ]


class InverseCdf(LogitsProcessor):
    """Turns each row's next-token scores into a certain draw at that row's uniform number."""

    def __init__(self, uniform_BL: Tensor, temperature: float, prompt_length: int) -> None:
        self.uniform_BL = uniform_BL
        self.temperature = temperature
        self.prompt_length = prompt_length
        self.logprobs: list[Tensor] = []
        """[B] of each step, of the tokens drawn."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """[B, V] scores that are zero at the drawn token and -inf elsewhere."""
        step = input_ids.shape[1] - self.prompt_length
        drawn_B, logprob_B = draw(scores, self.uniform_BL[:, step].to(scores.device), self.temperature)
        self.logprobs.append(logprob_B)
        return torch.full_like(scores, -math.inf).scatter_(1, drawn_B[:, None], 0.0)


class Likeliest(LogitsProcessor):
    """Changes no score, and refuses those that are no numbers."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """[B, V] scores as they are."""
        likeliest(scores)
        return scores


class RationaleEnd(StoppingCriteria):
    """Tells `generate` which rows have ended."""

    def __init__(self, ending: Ending, prompt_length: int, rows: int) -> None:
        self.ending = ending
        self.prompt_length = prompt_length
        self.length: list[int | None] = [None] * rows

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """[B] True for the rows that are done; `length` remembers after how many tokens each was."""
        generated = input_ids.shape[1] - self.prompt_length
        tail = input_ids[:, max(self.prompt_length, input_ids.shape[1] - self.ending.window) :].tolist()
        for row, length in enumerate(self.length):
            if length is None and self.ending.ended(tail[row]):
                self.length[row] = generated
        return torch.tensor([length is not None for length in self.length], device=input_ids.device)


@contextmanager
def without_own_settings(model: Any) -> Iterator[None]:
    """Within the block the model has no generation settings of its own.

    `generate` fills every field that is left open from them (some models ship a repetition penalty or suppressed
    tokens), and what is sampled would no longer be the policy.
    """
    own, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


def plain_generation(encoder: Encoder, max_tokens: int) -> GenerationConfig:
    """Arg-max decoding; see `without_own_settings`."""
    return GenerationConfig(
        max_new_tokens=max_tokens,
        min_new_tokens=0,
        do_sample=False,
        num_beams=1,
        temperature=1.0,
        top_k=50,  # the library's default, the only value it takes without a warning; arg-max looks at no other
        top_p=1.0,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        use_cache=True,
        disable_compile=True,
        eos_token_id=list(encoder.stop_token_ids),
        pad_token_id=encoder.pad_token_id,
    )

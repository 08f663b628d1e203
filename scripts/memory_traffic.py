"""Bytes that have to pass through memory in a part of a step, on paper. Pure arithmetic.

Counted are the weights once for every pass through them, what autograd keeps, and logits that are kept whole. It is the
least: whatever a cache could hold meanwhile is left out, and so are logits that are made in chunks.
"""

from collections.abc import Iterable
from dataclasses import replace

from latro.planning import ModelSizes, Work, activations

LOGITS = 3
"""How often a [B, T, V] matrix passes in a pass without gradient: logits written and read, log-softmax written."""
LOGITS_LEARNED = 6
"""In one with: besides, log-softmax read, the logits' gradient written and read."""
LOGITS_KEPT = 4
"""Where a fused head keeps them: written and read, turned into their gradient in their place, and that read."""
BACKWARD = 2
"""How often the weights pass in a backward pass: they are read, and their gradient is written."""
OPTIMIZER = 7
"""How often in AdamW's step: weight, gradient and two moments read, all but the gradient written."""


def update_traffic(model: ModelSizes, work: Work, scheme: str) -> float:
    """Of scoring and backward pass of one prompt's K rationales, by `published`, `stock RLOO`, or any way of ours."""
    weights = model.parameters * work.weight_bytes
    without_answer = replace(work, answer=0)
    if scheme == "published":
        short = work.prompt + work.rationale
        whole = short + work.answer
        positions = LOGITS * (2 * short + whole) + LOGITS_LEARNED * (short + whole)
        logits = work.K * positions * model.vocabulary * work.weight_bytes
        kept = activations(model, without_answer) + activations(model, work)
        return (3 + 2 * (1 + BACKWARD)) * weights + 2 * kept + logits
    if scheme == "stock RLOO":
        return (2 + 1 + BACKWARD) * weights + 2 * activations(model, without_answer)
    slices = work.K / work.rows_together
    reference = model.parameters * (work.reference_bytes or work.weight_bytes)
    passes = slices * (1 + BACKWARD + (1 if work.sliced else 0))
    made = work.K * (work.rationale + work.answer) * model.vocabulary * work.weight_bytes
    moved = LOGITS_KEPT * min(work.head_memory * 2**30, made)
    return reference + passes * weights + 2 * slices * activations(model, work) + moved


def columns_before(lengths: Iterable[int]) -> int:
    """Tokens of its own row that each token of rows of such lengths has before it, all together."""
    return sum(length * (length - 1) // 2 for length in lengths)


def decoding_traffic(
    weights: float, column: float, forwards: int, columns: int, tokens: int, prompt: float
) -> float:
    """Of decoding so many tokens: weights once a call of the model, and each token's keys and values before it.

    column: bytes of a token's keys and values. columns: see `columns_before`. prompt: columns of its prompt that
    each row reads, less than one prompt's where rows read them together.
    """
    return forwards * weights + column * (columns + tokens * prompt)


def optimizer_traffic(model: ModelSizes, work: Work) -> float:
    """Of an optimizer's step over all weights."""
    return float(OPTIMIZER * model.parameters * work.weight_bytes)

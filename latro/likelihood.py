"""Log-probabilities of given text: the one forward pass that scores rationale and answer together.

By causality log π(z|x) does not depend on what follows z, so one pass over prompt + rationale + answer yields both
log π(z|x) and log π(y|x,z). Only positions that predict a scored token reach the language-model head, which gives
their log-probabilities without ever holding a whole matrix of logits (`latro.fused_head`).

Legend: N prompts, K rationales per prompt, B = N·K rows, R rows that are read, T tokens, A scored tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.checkpoint import checkpoint

from latro.encoding import Rationale, RationaleBatch
from latro.packed_rows import can_pack, logprob_of_packed_rows
from latro.scored_tokens import ScoredTokens, ScoringConfig, token_logprob
from latro.shared_prompt import logprob_behind_shared_prompt

DEFAULT = ScoringConfig()


@dataclass(frozen=True, slots=True, kw_only=True)
class Likelihood:
    """What one pass over a batch gives; gradients flow if they were enabled."""

    rationale_B: Tensor
    """log π(z|x), nats; with the decision to stop where it was asked for."""
    answer_BT: Tensor
    """log π(y_t|x,z,y_<t) at the answer's tokens, from the left, 0 behind the end."""
    answer_mask_BT: Tensor
    before_answer_B: Tensor
    """Log-probability of the one token before the answer."""


def likelihood(
    model: Callable[..., Any],
    batch: RationaleBatch,
    *,
    temperature: float = 1.0,
    score_stop: bool = True,
    scoring: ScoringConfig = DEFAULT,
) -> Likelihood:
    """Score rationale and answer of every row, in one forward pass of `model` unless `scoring` says otherwise.

    The rationale, and the decision to stop, are scored under softmax(logits / temperature), the distribution they
    were drawn from; the answer under softmax(logits).
    """
    if scoring.rows and scoring.rows < len(batch.before_answer_B):
        return likelihood_of_slices(model, batch, temperature, score_stop, scoring)
    scored_BT = scored_tokens(batch)
    tokens = wanted(batch, scored_BT, temperature, score_stop)
    if scoring.share_prompt and batch.rationales_per_prompt > 1:
        packed = scoring.pack_rows and can_pack(model, batch.ids_RT.shape[1])
        score = logprob_of_packed_rows if packed else logprob_behind_shared_prompt
        logprob_A = score(model, batch, tokens, scoring)
    else:
        logprob_A = token_logprob(model, batch.ids_RT, tokens, scoring, use_cache=False)

    logprob_A, ending_A = logprob_A.split([int(scored_BT.sum()), logprob_A.shape[0] - int(scored_BT.sum())])
    logprob_BT = put(logprob_A, scored_BT)
    rationale_B = (logprob_BT * batch.rationale_mask_BT).sum(-1)
    if score_stop:
        rationale_B = rationale_B + put(ending_A, batch.ending_BE >= 0).sum(-1)
    answer_BT, answer_mask_BT = answers_only(logprob_BT, batch.answer_mask_BT)
    before_B = logprob_BT.gather(1, batch.before_answer_B[:, None])[:, 0]
    return Likelihood(
        rationale_B=rationale_B,
        answer_BT=answer_BT,
        answer_mask_BT=answer_mask_BT,
        before_answer_B=before_B,
    )


def answer_likelihood(
    model: Callable[..., Any], batch: RationaleBatch, *, scoring: ScoringConfig = DEFAULT
) -> Tensor:
    """[B] log π(y|x,z), nats: the answers alone, so that the head's product is taken for no other token."""
    tokens = wanted(batch, batch.answer_mask_BT, 1.0, score_stop=False)
    logprob_A = token_logprob(model, batch.ids_BT, tokens, scoring, use_cache=False)
    return put(logprob_A, batch.answer_mask_BT).sum(-1)


def drawn_logprob(rationales: Sequence[Rationale], score_stop: bool) -> Tensor | None:
    """[B] log μ(z|x), nats: the tokens of `Likelihood.rationale_B` as they were drawn; None for given rationales."""
    if not all(rationale.logprobs for rationale in rationales):
        return None
    return torch.tensor([sum(r.logprobs if score_stop else r.logprobs[: len(r.ids)]) for r in rationales])


def scored_tokens(batch: RationaleBatch) -> Tensor:
    """[B, T] True on rationale, answer and the one token before the answer; nothing predicts a row's first token."""
    scored_BT = batch.rationale_mask_BT | batch.answer_mask_BT
    scored_BT.scatter_(1, batch.before_answer_B[:, None], True)
    scored_BT[:, 0] = False
    return scored_BT


def wanted(batch: RationaleBatch, scored_BT: Tensor, temperature: float, score_stop: bool) -> ScoredTokens:
    """The tokens to score: those of `scored_BT` in order, then, with the stop, those that ended the rationales.

    An ending was decided on behind the last token before the answer, in competition with the answer's own tokens.
    """
    row_A, column_A = scored_BT.nonzero(as_tuple=True)
    ended_BE = (batch.ending_BE >= 0) & score_stop
    row_E, number_E = ended_BE.nonzero(as_tuple=True)
    return ScoredTokens(
        row_A=torch.cat([row_A, batch.ending_row_B[row_E]]),
        position_A=torch.cat([column_A - 1, batch.before_answer_B[row_E] + number_E]),
        token_A=torch.cat([batch.ids_BT[scored_BT], batch.ending_BE[ended_BE]]),
        sampled_A=torch.cat([batch.rationale_mask_BT[scored_BT], torch.ones_like(row_E, dtype=torch.bool)]),
        temperature=temperature,
    )


def put(values: Tensor, mask: Tensor) -> Tensor:
    """The values in order at the mask's True places, 0 elsewhere."""
    return torch.zeros(mask.shape, dtype=values.dtype, device=values.device).masked_scatter(mask, values)


def answers_only(logprob_BT: Tensor, answer_mask_BT: Tensor) -> tuple[Tensor, Tensor]:
    """The answers' columns alone, [B, longest answer], in order from the left, with their mask."""
    length_B = answer_mask_BT.sum(-1)
    start_B = answer_mask_BT.int().argmax(-1)
    offset_T = torch.arange(int(length_B.max()), device=logprob_BT.device)
    mask = offset_T < length_B[:, None]
    index = (start_B[:, None] + offset_T).clamp(max=logprob_BT.shape[1] - 1)
    return logprob_BT.gather(1, index) * mask, mask


def likelihood_of_slices(
    model: Callable[..., Any],
    batch: RationaleBatch,
    temperature: float,
    score_stop: bool,
    scoring: ScoringConfig,
) -> Likelihood:
    """The same in two passes, `scoring.rows` rows at a time, so that only one slice's activations are ever held.

    Side rows go with their rationales and do not count as rows.
    The first pass keeps nothing but its results, from which rewards and advantages follow. The backward pass takes
    slice by slice, runs each again and differentiates it. Rows of like length go together and pad each other little.
    """

    def score(part: RationaleBatch) -> Likelihood:
        return likelihood(model, part, temperature=temperature, score_stop=score_stop, scoring=scoring)

    order_B = batch.length_B.argsort(descending=True, stable=True)
    parts = []
    for rows in order_B.split(scoring.rows or 1):
        part = batch.select(rows)
        if torch.is_grad_enabled():
            parts.append(checkpoint(score, part, use_reentrant=False, preserve_rng_state=False))
        else:
            parts.append(score(part))
    back_B = order_B.argsort()
    width = max(part.answer_BT.shape[1] for part in parts)
    answers = [pad(part.answer_BT, (0, width - part.answer_BT.shape[1])) for part in parts]
    masks = [pad(part.answer_mask_BT, (0, width - part.answer_mask_BT.shape[1])) for part in parts]
    return Likelihood(
        rationale_B=torch.cat([part.rationale_B for part in parts])[back_B],
        answer_BT=torch.cat(answers)[back_B],
        answer_mask_BT=torch.cat(masks)[back_B],
        before_answer_B=torch.cat([part.before_answer_B for part in parts])[back_B],
    )

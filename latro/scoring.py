"""What the objective is told of a micro-batch: its rationales and answers as policy and reference score them.

One pass of the policy, which carries the gradient and gives the rewards; one of the reference, over prompt and
rationale alone; and, for the rewards that compare with it, one of the policy over the bare answer.

Legend: N prompts, K rationales of each, B = N·K rows, T tokens of the longest answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from latro.encoding import NO_RATIONALE, Encoder, Rationale, RationaleBatch, join
from latro.likelihood import Likelihood, drawn_logprob, likelihood
from latro.objective import ObjectiveConfig, Scores, mean_token_probability
from latro.scored_tokens import ScoringConfig
from latro.types import Example


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """Scores as the run's knobs say."""

    encoder: Encoder
    objective: ObjectiveConfig
    temperature: float
    """The policy is softmax(logits / temperature), in what it is scored by as in what it samples."""
    scoring: ScoringConfig

    def scores(
        self,
        model: Any,
        reference: Any,
        batch: RationaleBatch,
        examples: Sequence[Example],
        rationales: Sequence[Rationale],
    ) -> Scores:
        """All that the objective asks for; `reference` is a `latro.models.Reference`."""
        with torch.no_grad(), reference.scoring(model) as frozen:
            start = self.likelihood(frozen, batch.without_answers())
        scores = self.without_reference(model, batch, examples, rationales)
        drawn_B = drawn_logprob(rationales, bool(self.objective.score_stop))
        return replace(
            scores,
            reference_NK=start.rationale_B.view_as(scores.rationale_NK),
            drawn_NK=None
            if drawn_B is None
            else drawn_B.to(batch.ids_RT.device).view_as(scores.rationale_NK),
        )

    def without_reference(
        self, model: Any, batch: RationaleBatch, examples: Sequence[Example], rationales: Sequence[Rationale]
    ) -> Scores:
        """The same with the policy in its reference's place: all that an answer's reward needs."""
        device = batch.ids_BT.device
        plain_N = (
            self.plain_probability(model, examples, device) if self.objective.needs_plain_answer else None
        )
        policy = self.likelihood(model, batch)
        N, K = len(examples), batch.rationales_per_prompt
        lengths = [len(rationale.ids) for rationale in rationales]
        finished = [rationale.finished for rationale in rationales]
        return Scores(
            rationale_NK=policy.rationale_B.view(N, K),
            reference_NK=policy.rationale_B.detach().view(N, K),
            answer_NKT=policy.answer_BT.view(N, K, -1),
            answer_mask_NKT=policy.answer_mask_BT.view(N, K, -1),
            before_answer_NK=policy.before_answer_B.view(N, K),
            length_NK=torch.tensor(lengths, device=device).view(N, K),
            finished_NK=torch.tensor(finished, device=device).view(N, K),
            plain_probability_N=plain_N,
        )

    def likelihood(self, model: Any, batch: RationaleBatch) -> Likelihood:
        """Rationales scored as they were drawn, answers as they are."""
        return likelihood(
            model,
            batch,
            temperature=self.temperature,
            score_stop=bool(self.objective.score_stop),
            scoring=self.scoring,
        )

    @torch.no_grad()
    def plain_probability(self, model: Any, examples: Sequence[Example], device: torch.device) -> Tensor:
        """[N] mean token probability of each example's answer with no rationale.

        Its separator is always its own, where a rationale may bring one: the tokens are not those behind a rationale.
        """
        prompts = [self.encoder.prompt_ids(example.prompt) for example in examples]
        answers = [self.encoder.answer_ids(example.answer) for example in examples]
        batch = join(prompts, [NO_RATIONALE] * len(examples), answers, self.encoder.pad_token_id)
        plain = likelihood(model, batch.to(device), score_stop=False, scoring=self.scoring)
        return mean_token_probability(plain.answer_BT, plain.answer_mask_BT)

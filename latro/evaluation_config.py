"""What an evaluation measures, as knobs; they need no torch."""

import math
from dataclasses import dataclass

from latro.errors import InputError
from latro.rollout.choosing import check_engine
from latro.scoring_config import ScoringConfig


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is measured."""

    max_tokens: int = 500
    """An output is cut off here."""
    batch_rows: int | None = 64
    """Rows decoded or scored at once. Null decodes as many as fit into half of the free memory, and scores 64."""
    engine: str = "continuous"
    """What decodes; see `latro.sampling.SamplingConfig`."""
    share_prompt: bool = True
    """See there."""
    majority: int = 0
    """k of maj@k: samples per question whose answers vote; 0 leaves it out."""
    temperature: float = 1.0
    """Of the samples that vote."""
    choice_scores: bool = False
    """Also score the options of multiple-choice questions by likelihood (`acc`, `acc_norm`)."""
    answer_likelihood: bool = True
    """Also score the gold answer behind the own rationale, behind none, behind another prompt's, and behind the
    dataset's own where it has one."""
    fused_head: bool = True
    """See `latro.scored_tokens.ScoringConfig`."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        check_engine("evaluation", self.engine, self.batch_rows)
        for name, least in (("max_tokens", 1), ("majority", 0)):
            value = getattr(self, name)
            if value is None or value < least:
                said = "null" if value is None else value
                raise InputError(f"evaluation.{name}={said} must be at least {least}")
        if self.majority == 1:
            raise InputError("evaluation.majority=1 is a single sample; use 0 for none or 2 and more")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise InputError(
                f"evaluation.temperature={self.temperature} must be a finite number above zero; "
                "greedy outputs are always there beside the samples"
            )

    @property
    def rows_scored(self) -> int:
        """Rows scored at once."""
        return self.batch_rows or 64

    @property
    def scoring(self) -> ScoringConfig:
        """How answers and options are scored."""
        return ScoringConfig(fused_head=self.fused_head)

"""What an update learns from, and by how much ours has to be ahead."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from latro.planning import ModelSizes, Work
from latro.scored_tokens import ScoringConfig
from scripts.benchmark_sizes import named


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateShape:
    """A Llama and the lengths of one group."""

    name: str
    vocabulary: int
    hidden: int
    layers: int
    intermediate: int
    prompt: int
    rationale: int
    answer: int
    K: int
    least_time: float
    """The published scheme's time must be at least this many times ours."""
    least_shared: float
    """The same for the shared prompt."""
    least_memory: float

    @property
    def sizes(self) -> ModelSizes:
        """Of the model."""
        return ModelSizes(
            hidden=self.hidden,
            layers=self.layers,
            intermediate=self.intermediate,
            query=self.hidden,
            key=self.hidden // 2,
            heads=8,
            vocabulary=self.vocabulary,
            tied=True,
        )

    def work(self, scoring: ScoringConfig) -> Work:
        """Of the update, scored so."""
        return Work(
            prompts=1,
            micro_batches=1,
            K=self.K,
            prompt=self.prompt,
            rationale=self.rationale,
            answer=self.answer,
            share_prompt=scoring.share_prompt,
            packed=scoring.share_prompt and scoring.pack_rows,
            rows=scoring.rows,
        )


SHAPES = {
    "small": (
        UpdateShape(
            name="1.5M, vocabulary 8k", vocabulary=8192, hidden=128, layers=2, intermediate=352,
            prompt=50, rationale=100, answer=6, K=8, least_time=1.5, least_shared=1.5, least_memory=2.0,
        ),
    ),
    "full": (
        UpdateShape(
            name="40M, vocabulary 32k", vocabulary=32768, hidden=512, layers=8, intermediate=1408,
            prompt=100, rationale=200, answer=12, K=8, least_time=2.2, least_shared=2.6, least_memory=2.5,
        ),
        UpdateShape(
            name="91M, vocabulary 128k", vocabulary=131072, hidden=512, layers=8, intermediate=1408,
            prompt=100, rationale=200, answer=12, K=16, least_time=2.5, least_shared=2.5, least_memory=6.0,
        ),
    ),
}  # fmt: skip


def shortened(shape: UpdateShape, factor: int) -> UpdateShape:
    """The same model with texts `factor` times shorter, for a machine without the memory."""
    if factor == 1:
        return shape
    lengths = {name: max(1, getattr(shape, name) // factor) for name in ("prompt", "rationale", "answer")}
    return replace(shape, name=f"{shape.name}, texts / {factor}", **lengths)


def varied(shape: UpdateShape, chosen: Mapping[str, int]) -> UpdateShape:
    """With other sizes (`prompt`, `rationale`, `K`, `vocabulary`), at which ours has to be ahead."""
    if not chosen:
        return shape
    sizes: dict[str, Any] = dict(chosen)
    return replace(
        shape, name=named(shape.name, chosen), least_time=1.0, least_shared=1.0, least_memory=1.0, **sizes
    )

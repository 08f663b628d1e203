"""What a whole step learns from, and by how much ours has to be ahead."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from latro.errors import InputError
from scripts.benchmark_rollout import RolloutSize


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSize:
    """What a step learns from, and by how much ours must be ahead."""

    rollout: RolloutSize
    """Its prompts are those of a step, whoever takes it."""
    prompts_scored: int
    """Of ours, in one backward pass."""
    published_scored: int
    """Of the published scheme, in one update's passes; it adds up their gradients."""
    least_published: float
    """The published scheme's time must be at least this many times ours."""
    least_stock: float
    """The same of trl's."""
    published_batches: int | None = None
    """Of its prompts, that a published step takes, others each time; its time is then a share. None: all."""

    @property
    def name(self) -> str:
        """What a step is, in words."""
        return f"{self.rollout.prompts} prompts of {self.rollout.name}"

    def varied(
        self, chosen: Mapping[str, int], prompts: int | None = None, published_batches: int | None = None
    ) -> "StepSize":
        """With other sizes, at which ours has to be ahead, and with so many prompts, all decoded at once.

        Raises InputError where the prompts fill no whole batches, or fewer than the published scheme shall take.
        """
        shape, batch = (
            self.rollout.varied(chosen),
            math.lcm(self.rollout.published_prompts, self.prompts_scored),
        )
        prompts = shape.prompts if prompts is None else prompts
        if prompts < batch or prompts % batch:
            raise InputError(
                f"prompts={prompts}: a step of {shape.model} takes a multiple of {batch} prompts"
            )
        batches = prompts // shape.published_prompts
        if published_batches is not None and not 1 <= published_batches <= batches:
            raise InputError(
                f"published_batches={published_batches}: {prompts} prompts are {batches} batches"
            )
        bars: dict[str, Any] = {"least_published": 1.0, "least_stock": 1.0} if chosen else {}
        return replace(
            self,
            rollout=replace(shape, prompts=prompts, slots=prompts * shape.K),
            published_batches=self.published_batches if published_batches is None else published_batches,
            **bars,
        )


SIZES = {
    "small": StepSize(
        rollout=RolloutSize(
            model="tiny Llama", real=False,
            prompts=12, K=8, max_tokens=48, slots=96, published_prompts=3, least_tokens=0, least_finished=0,
        ),
        prompts_scored=4, published_scored=3, least_published=1.5, least_stock=1.0,
    ),
    "full": StepSize(
        rollout=RolloutSize(
            model="SmolLM2-135M on GSM8K", real=True,
            prompts=12, K=8, max_tokens=300, slots=96, published_prompts=3, least_tokens=0, least_finished=0,
        ),
        # Its three prompts' logits at once, [24, 400, 49152] several times over, do not fit into 24 GB.
        prompts_scored=1, published_scored=1, least_published=4.0, least_stock=1.5, published_batches=1,
    ),
}  # fmt: skip

"""How log-probabilities are computed, as knobs; they need no torch."""

import math
from dataclasses import dataclass

from latro.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringConfig:
    """How log-probabilities are computed. No knob changes what they are."""

    fused_head: bool = True
    """Take log-probabilities from hidden states in chunks. False: let the model's head compute all scored logits."""
    head_memory: float = 0.0
    """GiB of logits that the fused head may keep for its backward pass; what does not fit is computed again:
    1.6% of an update's products for 8B parameters, 15% for 91M parameters and a vocabulary of 128k."""
    liger_head: bool = False
    """On a GPU: let Liger's kernels be the fused head (extra `liger`)."""
    share_prompt: bool = False
    """Run a prompt once for all its rationales. Not with activation checkpointing."""
    pack_rows: bool = True
    """With `share_prompt`, on a processor and with a known attention: rows are one sequence without padding."""
    rows: int | None = None
    """Rows scored at once, the longest together; each is run again in the backward pass. Null: all rows of a
    micro-batch, once. For a prompt whose rationales do not fit into memory together. A row whose ending departs from
    the answer line brings one more, for that ending."""

    def __post_init__(self) -> None:
        if not 0 <= self.head_memory < math.inf:
            raise InputError(f"scoring.head_memory={self.head_memory}: GiB, must not be negative or infinite")
        if self.liger_head and not self.fused_head:
            raise InputError(
                "scoring.liger_head=true with scoring.fused_head=false: it is a fused head; choose one of the two"
            )
        if self.rows is not None and self.rows < 1:
            raise InputError(f"scoring.rows={self.rows} must be positive, or null")
        if self.rows and self.share_prompt:
            raise InputError(
                f"scoring.rows={self.rows} with scoring.share_prompt=true: rows that are scored apart share no prompt; "
                "choose one of the two"
            )

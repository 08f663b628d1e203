"""Keys and values of the rows in flight: R slots of one preallocated block per layer, each row at its own length.

Keys are cached behind their rotation, so a row's columns need not be those of its neighbours: every row starts at
column 0, and the attention mask hides what lies beyond its length.

Legend: R slots, H key-value heads, C columns, D width of a head.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from latro.rollout.prefill import Prefilled

COLUMNS = 64
"""The block grows by this many columns at once, when the longest row needs them."""


class Slots(Cache):
    """A cache for decoding one token a row, in which rows come and go."""

    def __init__(self, rows: int) -> None:
        super().__init__(layers=[])
        self.layers: list[SlotLayer] = []
        self.rows = rows
        self.columns = 0

    def reserve(self, columns: int, like: Cache) -> None:
        """Have at least so many columns, with the layers, types and device of `like`."""
        if not self.layers:
            self.layers = [SlotLayer() for _ in like.layers]
        if columns > self.columns:
            self.columns = -(-columns // COLUMNS) * COLUMNS
            for mine, theirs in zip(self.layers, like.layers, strict=True):
                (_, H, _, D), width = theirs.keys.shape, theirs.values.shape[-1]
                mine.keys = grown(mine.keys, theirs.keys, self.rows, H, self.columns, D)
                mine.values = grown(mine.values, theirs.values, self.rows, H, self.columns, width)

    def fill(self, slots: Sequence[int], prompt: Prefilled) -> None:
        """Put a prompt's columns into each of the slots."""
        length, position = prompt.length, prompt.position
        self.reserve(length + 1, prompt.cache)
        index = torch.tensor(slots, device=self.layers[0].keys.device)
        for mine, theirs in zip(self.layers, prompt.cache.layers, strict=True):
            mine.keys[index, :, :length] = theirs.keys[position, :, :length]
            mine.values[index, :, :length] = theirs.values[position, :, :length]

    def move(self, source: int, target: int, length: int) -> None:
        """Copy a row to another slot."""
        for layer in self.layers:
            layer.keys[target, :, :length] = layer.keys[source, :, :length]
            layer.values[target, :, :length] = layer.values[source, :, :length]

    def inputs(self, length_R: Sequence[int]) -> dict[str, Any]:
        """What forward is told beside tokens and positions of the first slots, whose rows have so many columns.

        It writes behind each row's columns.
        """
        columns = max(length_R) + 1
        self.reserve(columns, self)
        device = self.layers[0].keys.device
        at_R = torch.tensor(length_R, device=device)
        row_R = torch.arange(len(length_R), device=device)
        for layer in self.layers:
            layer.row_R, layer.length_R, layer.columns = row_R, at_R, columns
        mask_RC = torch.arange(columns, device=device) <= at_R[:, None]
        return {"attention_mask": mask_RC, "past_key_values": self, "use_cache": True}


class SlotLayer(CacheLayerMixin):
    """One layer of `Slots`: [R, H, C, D] keys and values."""

    is_sliding = False
    row_R: Tensor
    length_R: Tensor
    columns: int

    def __init__(self) -> None:
        super().__init__()
        self.is_initialized = True  # `Slots.reserve` gives the block

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing is left to do."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write one column a row, [R, H, 1, D]; return the columns in use."""
        self.keys[self.row_R, :, self.length_R] = key_states[:, :, 0].to(self.keys.dtype)
        self.values[self.row_R, :, self.length_R] = value_states[:, :, 0].to(self.values.dtype)
        rows = len(self.row_R)
        return self.keys[:rows, :, : self.columns], self.values[:rows, :, : self.columns]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Columns that the attention reads, and the first of them."""
        return self.columns, 0

    def get_seq_length(self) -> int:
        """Columns before the present token's: no row has more, so the causal mask hides nothing."""
        return self.columns - 1

    def get_max_length(self) -> int:
        """No limit: the block grows."""
        return -1


def grown(block: Tensor | None, like: Tensor, *shape: int) -> Tensor:
    """The block with at least this shape, zeros where it had nothing: itself where it is large enough."""
    if block is None:
        return like.new_zeros(shape)
    shape = tuple(map(max, shape, block.shape))
    if block.shape == shape:
        return block
    larger = like.new_zeros(shape)
    larger[tuple(slice(size) for size in block.shape)] = block
    return larger

"""Keys and values of the rows in flight where the rows of a prompt share its columns, for decoding on a processor.

A token's attention is bound by the memory that it reads. A prompt's columns are kept once and read once for all its
rows; a row's own columns lie behind them, keys turned so that both products read memory in the order of its
addresses. The model hands over one new key and value a row and gets the attention's result: transformers' own
interface for attention functions, which passes on what forward is given.

Legend: R rows in flight, N prompts, K rows of one of them at most, H key-value heads, G queries of one of these, D
width of a head, P columns of the longest prompt, C own columns of the longest row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latro.fused_head import wide
from latro.rollout.prefill import Prefilled
from latro.rollout.slots import grown

COLUMNS = 64
"""Own columns are made so many at once, each block by itself: nothing is copied when rows grow, and bfloat16 products
take a block as it is, where they would copy a part of a larger one."""
NOBODY = -1
PLACES = 8
"""The block of prompts has room for so many at first, and for twice as many whenever it is full."""


def attend(
    slots: "SharedSlots", module: Any, query: Tensor, key: Tensor, value: Tensor, *, scaling: float, **_: Any
) -> Tensor:
    """One token's attention in every row; see `Layer.attend`."""
    layer = slots.layers[module.layer_idx]
    return layer.attend(slots.rows_now, query[:, :, 0], key[:, :, 0], value[:, :, 0], scaling)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows of one forward: where each writes, what it may read, and which belong together."""

    block_R: Tensor
    column_R: Tensor
    """Where each writes: behind its own columns."""
    widths: Sequence[int]
    """Columns that are read of each block, C in all: COLUMNS, but fewer of the last."""
    row_NK: Tensor
    """The rows of each prompt; where it has fewer than K, row 0 stands in, and nobody asks for the result."""
    prompt_R: Tensor
    rank_R: Tensor
    """`row_NK[prompt_R, rank_R]` is each row."""
    hidden_R11X: Tensor
    """-inf at columns that a row must not read, P of the prompt and C of its own; else 0."""
    P: int


class SharedSlots:
    """Slots 0 to `rows` - 1, each with a prompt and columns of its own. What `Slots` is for prompts that are copied."""

    def __init__(self, rows: int, max_tokens: int) -> None:
        self.rows = rows
        self.blocks = -(-max_tokens // COLUMNS)
        self.layers: list[Layer] = []
        self.numbers: list[int] = []
        """Of the prompts in the block, by place."""
        self.lengths: list[int] = []
        """Theirs, by place."""
        self.place = [NOBODY] * rows
        """Of each slot's prompt."""
        self.rows_now: Rows

    def fill(self, slots: Sequence[int], prompt: Prefilled) -> None:
        """Let rows in these slots begin behind a prompt."""
        for slot in slots:
            self.place[slot] = NOBODY
        place = self.placed(prompt)
        for slot in slots:
            self.place[slot] = place

    def placed(self, prompt: Prefilled) -> int:
        """The prompt's place in the block, where it is put if it is not there."""
        if prompt.number in self.numbers:
            return self.numbers.index(prompt.number)
        free = set(range(len(self.numbers))) - set(self.place)
        place = min(free, default=len(self.numbers))
        self.numbers[place : place + 1] = [prompt.number]
        self.lengths[place : place + 1] = [prompt.length]
        self.layers = self.layers or [Layer() for _ in prompt.cache.layers]
        for mine, theirs in zip(self.layers, prompt.cache.layers, strict=True):
            keys, values = (
                states[prompt.position, :, : prompt.length] for states in (theirs.keys, theirs.values)
            )
            mine.put(place, keys, values)
        return place

    def move(self, source: int, target: int, length: int) -> None:
        """Copy a row, which has `length` columns with its prompt's, to another slot."""
        self.place[target] = self.place[source]
        own = length - self.lengths[self.place[source]]
        for layer in self.layers:
            layer.move(source, target, own)

    def inputs(self, length_R: Sequence[int]) -> dict[str, Any]:
        """What forward is told beside tokens and positions of the first slots, whose rows have so many columns."""
        place_R = self.place[: len(length_R)]
        own_R = torch.tensor([n - self.lengths[p] for n, p in zip(length_R, place_R, strict=True)])
        P, C = max(self.lengths[place] for place in place_R), int(own_R.max()) + 1
        widths = [min(COLUMNS, C - first) for first in range(0, C, COLUMNS)]
        for layer in self.layers:
            layer.open(len(widths), self.blocks, self.rows)
        row_NK, prompt_R, rank_R = together(place_R, len(self.lengths))
        prompt_RP = torch.arange(P) >= torch.tensor(self.lengths)[prompt_R, None]
        hidden_RX = torch.cat([prompt_RP, torch.arange(C) > own_R[:, None]], -1)[:, None, None]
        zeros = torch.zeros(hidden_RX.shape, dtype=wide(self.layers[0].prompt_keys.dtype))
        self.rows_now = Rows(
            block_R=own_R // COLUMNS,
            column_R=own_R % COLUMNS,
            widths=widths,
            row_NK=row_NK,
            prompt_R=prompt_R,
            rank_R=rank_R,
            hidden_R11X=zeros.masked_fill(hidden_RX, -torch.inf),
            P=P,
        )
        return {"shared_slots": self, "use_cache": False}


def together(place_R: Sequence[int], places: int) -> tuple[Tensor, Tensor, Tensor]:
    """The rows of each place, [N, K]; and where each row is among them, twice [R]."""
    rows: list[list[int]] = [[] for _ in range(places)]
    rank_R = []
    for row, place in enumerate(place_R):
        rank_R.append(len(rows[place]))
        rows[place].append(row)
    K = max(map(len, rows))
    row_NK = torch.tensor([[*members, *[0] * (K - len(members))] for members in rows])
    return row_NK, torch.tensor(place_R), torch.tensor(rank_R)


class Layer:
    """One layer's keys and values: of prompts [N, H, D, P] and [N, H, P, D]; of rows, in blocks of own columns,
    [C / COLUMNS, R, H, D, COLUMNS] and [C / COLUMNS, R, H, COLUMNS, D].
    """

    def __init__(self) -> None:
        self.prompt_keys = self.prompt_values = torch.empty(0, 0, 0, 0)
        self.keys = self.values = torch.empty(0)
        self.blocks = 0

    def put(self, place: int, keys: Tensor, values: Tensor) -> None:
        """Put a prompt, [H, P, D], into its place."""
        H, P, D = keys.shape
        places = max(PLACES, 1 << place.bit_length())
        self.prompt_keys = grown(self.prompt_keys, keys, places, H, D, P)
        self.prompt_values = grown(self.prompt_values, keys, places, H, P, values.shape[-1])
        self.prompt_keys[place, :, :, :P] = keys.mT
        self.prompt_values[place, :, :P] = values

    def open(self, blocks: int, most: int, rows: int) -> None:
        """Have the first `blocks` blocks of own columns, of `most` that there can be."""
        if not self.blocks:
            (_, H, D, _), width = self.prompt_keys.shape, self.prompt_values.shape[-1]
            self.keys = self.prompt_keys.new_empty(most, rows, H, D, COLUMNS)
            self.values = self.prompt_values.new_empty(most, rows, H, COLUMNS, width)
        for block in range(self.blocks, blocks):  # memory is taken as it is touched
            self.keys[block] = 0
            self.values[block] = 0
        self.blocks = max(self.blocks, blocks)

    def move(self, source: int, target: int, own: int) -> None:
        """Copy a row's own columns to another slot."""
        blocks = -(-own // COLUMNS)
        self.keys[:blocks, target] = self.keys[:blocks, source]
        self.values[:blocks, target] = self.values[:blocks, source]

    def attend(self, rows: Rows, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """[R, 1, H·G, D] of queries [R, H·G, D], after the new keys and values, [R, H, D], are written."""
        R, H, _ = key.shape
        row_R = torch.arange(R)
        self.keys[rows.block_R, row_R, :, :, rows.column_R] = key.to(self.keys.dtype)
        self.values[rows.block_R, row_R, :, rows.column_R] = value.to(self.values.dtype)
        query_RHGD = query.unflatten(1, (H, -1)).to(self.keys.dtype)
        N, P = len(rows.row_NK), rows.P
        prompt_RHGP = of_rows(product(of_prompts(query_RHGD, rows), self.prompt_keys[:N, ..., :P]), rows)
        own = [
            product(query_RHGD, keys[:R, ..., :width])
            for keys, width in zip(self.keys, rows.widths, strict=False)
        ]
        score_RHGX = torch.cat([prompt_RHGP, *own], -1)
        weight_RHGX = torch.add(rows.hidden_R11X, score_RHGX, alpha=scaling).softmax(-1).to(self.keys.dtype)
        prompt_RHGP, *own = weight_RHGX.split([P, *rows.widths], -1)
        result_RHGD = of_rows(product(of_prompts(prompt_RHGP, rows), self.prompt_values[:N, :, :P]), rows)
        for weight_RHGC, values, width in zip(own, self.values, rows.widths, strict=False):
            result_RHGD += product(weight_RHGC, values[:R, :, :width])
        return result_RHGD.flatten(1, 2)[:, None].to(query.dtype)


def product(left: Tensor, right: Tensor) -> Tensor:
    """[A, H, I, J] times [A, H, J, L], as one batch of matrices that is no copy of the right ones."""
    return torch.bmm(left.flatten(0, 1), right.flatten(0, 1)).unflatten(0, left.shape[:2])


def of_prompts(rows_RHGX: Tensor, rows: Rows) -> Tensor:
    """[N, H, K·G, X]: what the rows of each prompt have, together."""
    return rows_RHGX[rows.row_NK].transpose(1, 2).flatten(2, 3)


def of_rows(prompts_NHJX: Tensor, rows: Rows) -> Tensor:
    """[R, H, G, X]: each row's part of what `of_prompts` brought together."""
    K = rows.row_NK.shape[1]
    return prompts_NHJX.unflatten(2, (K, -1))[rows.prompt_R, :, rows.rank_R]

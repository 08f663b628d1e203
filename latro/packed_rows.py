"""One forward pass over a micro-batch as a single sequence without padding, for scoring on a processor.

A prompt stands there once, behind it each of its rows as far as it is read, and behind these the endings that are read
apart: side rows without the prompt and the rationale that they repeat. So the products by weights are taken of tokens
that count and of no others. In attention every piece of the sequence reads itself, its prompt and, if it is an ending,
its rationale.

Legend: N prompts, K rationales per prompt, B = N·K rows, R ≥ B rows with the side rows, A scored tokens, L tokens of
the sequence, S of a piece, C that it reads before its own, H heads, D width of a head.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from latro.attending import attending, on_processor
from latro.encoding import RationaleBatch
from latro.fused_head import unwrapped
from latro.rollout.limits import base_model, exceeded_window
from latro.scored_tokens import ScoredTokens, ScoringConfig, token_logprob


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Tokens of the sequence that follow each other in one row."""

    ids: Tensor
    """[S], perhaps none."""
    first: int
    """Position of the first in its row."""
    reads: tuple[tuple[int, int], ...] = ()
    """What it reads before itself: numbers of earlier pieces, and how many of their tokens."""

    @property
    def before(self) -> int:
        """C: tokens that it reads before its own."""
        return sum(length for _, length in self.reads)


class Pieces:
    """A sequence of pieces, and who reads what."""

    def __init__(self, pieces: Sequence[Piece], dtype: torch.dtype) -> None:
        self.pieces = pieces
        self.lengths = [len(piece.ids) for piece in pieces]
        self.most = max(piece.before for piece in pieces)
        longest = max(self.lengths)
        seen = torch.ones(longest, self.most + longest, dtype=torch.bool).tril(self.most)
        self.hidden = torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, -torch.inf)

    def mask(self, piece: Piece, query: Tensor) -> Tensor:
        """[S, C + S] -inf at what a token must not read, else 0, as attention over `query` takes it.

        Cast for all pieces at once: under autocast each piece of each layer would keep a cast copy of its own.
        """
        self.hidden = self.hidden.to(attention_dtype(query))
        S = len(piece.ids)
        return self.hidden[:S, self.most - piece.before : self.most + S]


def attention_dtype(query: Tensor) -> torch.dtype:
    """In which attention is computed: the query's precision, or autocast's."""
    kind = query.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else query.dtype


def can_pack(model: Any, longest: int) -> bool:
    """Whether rows of up to so many tokens can be scored as one sequence: on a processor, by a known attention.

    Checkpointing runs layers again when the attention is no longer ours.
    """
    base = base_model(unwrapped(model))
    if base.is_activation_checkpointing or exceeded_window(base.config, longest):
        return False
    return on_processor(base)


def logprob_of_packed_rows(
    model: Callable[..., Any], batch: RationaleBatch, tokens: ScoredTokens, scoring: ScoringConfig
) -> Tensor:
    """[A] log-probabilities of the batch's tokens."""
    pieces, place_A = pack(batch, tokens)
    packed = Pieces(pieces, unwrapped(model).dtype)
    with attending(unwrapped(model), "packed_rows", attend):
        return token_logprob(
            model,
            torch.cat([piece.ids for piece in pieces])[None],
            replace(tokens, row_A=torch.zeros_like(place_A), position_A=place_A),
            scoring,
            position_ids=torch.cat([piece.first + torch.arange(len(piece.ids)) for piece in pieces])[None],
            packed_rows=packed,
            use_cache=False,
        )


def pack(batch: RationaleBatch, tokens: ScoredTokens) -> tuple[list[Piece], Tensor]:
    """The pieces in order, and [A] the place in the sequence where each token is predicted."""
    K, B = batch.rationales_per_prompt, len(batch.before_answer_B)
    owner_R, prompt_B = batch.owner_R.tolist(), batch.prompt_length_B.tolist()
    nothing_R = torch.zeros(len(owner_R), dtype=torch.long)
    read_R = nothing_R.scatter_reduce(0, tokens.row_A, tokens.position_A + 1, "amax").tolist()
    behind_B = (batch.before_answer_B + 1).tolist()
    for owner in owner_R[B:]:
        read_R[owner] = max(read_R[owner], behind_B[owner])
    pieces: list[Piece] = []
    number_R3: list[tuple[int, int, int]] = []
    """Each row's pieces: its prompt, its rationale, and what follows this."""

    def add(row: int, first: int, end: int, reads: tuple[tuple[int, int], ...] = ()) -> int:
        pieces.append(Piece(ids=batch.ids_RT[row, first : max(first, end)], first=first, reads=reads))
        return len(pieces) - 1

    for row in range(B):
        prompt = number_R3[-1][0] if row % K else add(row, 0, prompt_B[row])
        own = add(row, prompt_B[row], read_R[row], ((prompt, prompt_B[row]),))
        number_R3.append((prompt, own, own))
    for row, owner in enumerate(owner_R[B:], B):
        prompt, own, _ = number_R3[owner]
        reads = ((prompt, prompt_B[owner]), (own, behind_B[owner] - prompt_B[owner]))
        number_R3.append((prompt, own, add(row, behind_B[owner], read_R[row], reads)))

    ends = list(accumulate(len(piece.ids) for piece in pieces))
    offset = [end - len(piece.ids) - piece.first for end, piece in zip(ends, pieces, strict=True)]
    owner_A, position_A = batch.owner_R[tokens.row_A], tokens.position_A
    part_A = (position_A >= batch.prompt_length_B[owner_A]).long()
    part_A += position_A > batch.before_answer_B[owner_A]
    number_A = torch.tensor(number_R3)[tokens.row_A, part_A]
    return pieces, torch.tensor(offset)[number_A] + position_A


def attend(
    packed: Pieces,
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> Tensor:
    """[1, L, H, D] of [1, H, L, D], piece by piece."""
    keys, values = key.split(packed.lengths, 2), value.split(packed.lengths, 2)
    results = [
        scaled_dot_product_attention(
            mine,
            torch.cat([*taken(keys, piece), keys[number]], 2),
            torch.cat([*taken(values, piece), values[number]], 2),
            attn_mask=packed.mask(piece, query),
            dropout_p=dropout,
            scale=scaling,
            enable_gqa=True,
        ).transpose(1, 2)
        for number, (piece, mine) in enumerate(
            zip(packed.pieces, query.split(packed.lengths, 2), strict=True)
        )
        if len(piece.ids)
    ]
    return torch.cat(results, 1)


def taken(states: Sequence[Tensor], piece: Piece) -> Iterator[Tensor]:
    """Keys or values that a piece reads before its own."""
    for number, length in piece.reads:
        whole = length == states[number].shape[2]
        yield states[number] if whole else states[number][:, :, :length]

"""Continuous batching: a row that has ended leaves at once, and a waiting one takes its slot.

A prompt is prefilled once, several prompts together, and its keys and values are copied to its K rows. Decoding
calls the model's public forward, one token for each of the R slots; logits are made for the last position alone.

Legend: R slots, L tokens of the longest continuation, V vocabulary.
"""

import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from latro.encoding import Encoder, pad_right
from latro.rollout.base import Continuation, Done, Request, ignore
from latro.rollout.drawing import draw, likeliest, uniforms
from latro.rollout.ending import Ending
from latro.rollout.limits import find_obstacle, rows_that_fit
from latro.rollout.plain import GenerateEngine
from latro.rollout.slots import Slots

logger = logging.getLogger(__name__)

PREFILL_TOKENS = 1024
"""Prompts are prefilled up to so many tokens at once, padding included: enough to keep a matrix product busy."""


@dataclass(slots=True, kw_only=True)
class Row:
    """A row in flight, or finished."""

    index: int
    """Its place in the request."""
    length: int
    """Columns it has in the cache: its prompt, and all its tokens but the last."""
    tokens: list[int] = field(default_factory=list)
    """Its continuation so far."""
    logprobs: list[float] = field(default_factory=list)
    """Of its tokens, as they were drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefilled:
    """A prompt that has been through the model, with the rows that still have to start from it."""

    cache: DynamicCache
    position: int
    """Its place in the cache, which it shares with the prompts it was prefilled with."""
    length: int
    logits_V: Tensor
    rows: deque[int]


class ContinuousEngine:
    """Continues prompts in `batch_rows` slots, or in as many as fit into memory where that is None.

    What it cannot take goes to the plain engine, which is said once.
    """

    def __init__(self, batch_rows: int | None) -> None:
        self.batch_rows = batch_rows

    @torch.no_grad()
    def continuations(
        self, model: Any, encoder: Encoder, request: Request, done: Done = ignore
    ) -> list[Continuation]:
        """See `Rollout`."""
        obstacle = find_obstacle(model, request.longest)
        if obstacle:
            say_once(obstacle)
            return GenerateEngine(self.batch_rows).continuations(model, encoder, request, done)
        rows = self.batch_rows or rows_that_fit(model, request.longest)
        was_training = model.training
        model.eval()
        try:
            return Batch(model, encoder, request, rows, done).run()
        finally:
            model.train(was_training)


class Batch:
    """One request on its way. The rows in flight are slots 0 to n-1, with no gap."""

    def __init__(self, model: Any, encoder: Encoder, request: Request, rows: int, done: Done) -> None:
        self.model = model
        self.request = request
        self.done = done
        self.ending = Ending(encoder, request.markers)
        R = min(rows, len(request.prompts))
        self.slots = Slots(R)
        self.flying: list[Row] = []
        self.finished: dict[int, Continuation] = {}
        self.waiting = prefill_all(model, encoder, request)
        self.next: Prefilled | None = None
        self.uniform_RL = torch.zeros(R, request.max_tokens, dtype=torch.float64)

    def run(self) -> list[Continuation]:
        """Decode until nobody waits and nobody flies."""
        self.admit(list(range(self.slots.rows)))
        while self.flying:
            drawn = self.step()
            ended = [slot for slot, token in enumerate(drawn) if self.extend(self.flying[slot], *token)]
            if ended:
                self.admit(ended)
                self.done(len(self.finished))
        return [self.finished[row] for row in range(len(self.request.prompts))]

    def step(self) -> list[tuple[int, float | None]]:
        """One forward of all rows in flight; see `drawn`."""
        rows, device = self.flying, self.model.device
        length_R = torch.tensor([row.length for row in rows], device=device)
        columns = max(row.length for row in rows) + 1
        self.slots.reserve(columns, self.slots)
        self.slots.aim(length_R, columns)
        logits_RV = self.model(
            input_ids=torch.tensor([row.tokens[-1:] for row in rows], device=device),
            attention_mask=torch.arange(columns, device=device) <= length_R[:, None],
            position_ids=length_R[:, None],
            past_key_values=self.slots,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        for row in rows:
            row.length += 1
        step_R = torch.tensor([len(row.tokens) for row in rows])
        return self.drawn(logits_RV, self.uniform_RL[torch.arange(len(rows)), step_R])

    def drawn(self, logits_BV: Tensor, uniform_B: Tensor) -> list[tuple[int, float | None]]:
        """The next token of each row, drawn by its own uniform number, with its log-probability; or the likeliest."""
        if self.request.seeds is None:
            return [(int(token), None) for token in likeliest(logits_BV).tolist()]
        token_B, logprob_B = draw(logits_BV, uniform_B.to(logits_BV.device), self.request.temperature)
        both = torch.stack([token_B.double(), logprob_B.double()], -1)  # one wait for the device
        return [(int(token), logprob) for token, logprob in both.tolist()]

    def extend(self, row: Row, token: int, logprob: float | None) -> bool:
        """Add a token to a row; whether that ended it, and it is among the finished now."""
        row.tokens.append(token)
        if logprob is not None:
            row.logprobs.append(logprob)
        over = len(row.tokens) == self.request.max_tokens or self.ending.ended(row.tokens)
        if over:
            self.finished[row.index] = Continuation(tokens=tuple(row.tokens), logprobs=tuple(row.logprobs))
        return over

    def admit(self, free: list[int]) -> None:
        """Fill the free slots with waiting rows; where none waits, close the gaps with the last rows in flight."""
        while free and (prompt := self.waiting_prompt()) is not None:
            started = self.start(prompt, free)
            free = free[started:]
        for slot in reversed([slot for slot in free if slot < len(self.flying)]):
            last = self.flying.pop()
            if slot < len(self.flying):
                self.slots.move(len(self.flying), slot, last.length)
                self.uniform_RL[slot] = self.uniform_RL[len(self.flying)]
                self.flying[slot] = last

    def waiting_prompt(self) -> Prefilled | None:
        """The prompt whose rows start next, prefilled; None when all have started."""
        if self.next is None or not self.next.rows:
            self.next = next(self.waiting, None)
        return self.next

    def start(self, prompt: Prefilled, free: list[int]) -> int:
        """Start as many rows of a prompt as there are free slots; the number of slots they take, the first ones.

        A row that ends with its first token takes none.
        """
        count = min(len(free), len(prompt.rows))
        rows = [Row(index=prompt.rows.popleft(), length=prompt.length) for _ in range(count)]
        uniform_BL = self.uniform_RL[:0]
        if self.request.seeds is not None:
            uniform_BL = uniforms([self.request.seeds[row.index] for row in rows], self.request.max_tokens)
        drawn = self.drawn(prompt.logits_V.expand(count, -1), uniform_BL[:, :1].flatten())
        open_rows = [b for b, row in enumerate(rows) if not self.extend(row, *drawn[b])]
        slots = free[: len(open_rows)]
        if slots:
            self.slots.fill(slots, prompt.cache, prompt.position, prompt.length)
        for slot, b in zip(slots, open_rows, strict=True):
            if self.request.seeds is not None:
                self.uniform_RL[slot] = uniform_BL[b]
            self.flying[slot : slot + 1] = [rows[b]]
        return len(slots)


def prefill_all(model: Any, encoder: Encoder, request: Request) -> Iterator[Prefilled]:
    """Each distinct prompt with its rows, longest first; the next ones are prefilled when they are asked for."""
    rows: dict[tuple[int, ...], deque[int]] = {}
    for index, prompt in enumerate(request.prompts):
        rows.setdefault(tuple(prompt), deque()).append(index)
    # Longest first, so that memory runs out at once or never.
    waiting = deque(sorted(rows, key=lambda prompt: -len(prompt)))
    while waiting:
        count = max(1, PREFILL_TOKENS // len(waiting[0]))
        prompts = [waiting.popleft() for _ in range(min(count, len(waiting)))]
        cache, logits_NV = prefill(model, prompts, encoder.pad_token_id)
        for position, prompt in enumerate(prompts):
            yield Prefilled(
                cache=cache,
                position=position,
                length=len(prompt),
                logits_V=logits_NV[position],
                rows=rows[prompt],
            )


def prefill(model: Any, prompts: list[tuple[int, ...]], pad_token_id: int) -> tuple[DynamicCache, Tensor]:
    """Keys and values of N prompts, and the logits behind each, [N, V].

    Padding is on the right, where no real token sees it, so the causal mask is mask enough.
    """
    ids_NT = pad_right(prompts, pad_token_id).to(model.device)
    last_NT = torch.zeros(ids_NT.shape, dtype=torch.bool, device=model.device)
    last_NT[torch.arange(len(prompts)), [len(prompt) - 1 for prompt in prompts]] = True
    cache = DynamicCache()
    output = model(input_ids=ids_NT, past_key_values=cache, use_cache=True, logits_to_keep=last_NT)
    return cache, output.logits


@cache
def say_once(obstacle: str) -> None:
    """Say why the plain engine is used; once, as it would be said at every step."""
    logger.warning("sampling.engine=continuous: %s; using sampling.engine=generate instead", obstacle)

"""Continuous batching: a row that has ended leaves at once, and a waiting one takes its slot.

A prompt is prefilled once, several prompts together; its K rows share its keys and values, or have copies of them.
Decoding calls the model's public forward, one token for each of the R slots; logits are made for the last position
alone.

Legend: R slots, L tokens of the longest continuation, V vocabulary.
"""

import logging
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor

from latro.attending import attending, masked, on_processor
from latro.encoding import Encoder
from latro.rollout.base import Continuation, Done, Request, ignore
from latro.rollout.drawing import draw, likeliest, uniforms
from latro.rollout.ending import Ending
from latro.rollout.limits import find_obstacle, rows_that_fit
from latro.rollout.plain import GenerateEngine
from latro.rollout.prefill import Prefilled, prefill_all
from latro.rollout.shared_slots import SharedSlots, attend
from latro.rollout.slots import Slots

logger = logging.getLogger(__name__)


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


class ContinuousEngine:
    """Continues prompts in `batch_rows` slots, or in as many as fit into memory where that is None.

    `share_prompt` lets the rows of a prompt read its columns together where that is known to be right and faster
    (`shared_slots`). What the engine cannot take goes to the plain one, which is said once.
    """

    def __init__(self, batch_rows: int | None, *, share_prompt: bool = True) -> None:
        self.batch_rows = batch_rows
        self.share_prompt = share_prompt

    @torch.no_grad()
    def continuations(
        self, model: Any, encoder: Encoder, request: Request, done: Done = ignore
    ) -> list[Continuation]:
        """See `Rollout`."""
        obstacle = find_obstacle(model, request.longest)
        if obstacle:
            say_once(obstacle)
            return GenerateEngine(self.batch_rows).continuations(model, encoder, request, done)
        rows = min(self.batch_rows or rows_that_fit(model, request.longest), len(request.prompts))
        shared = self.share_prompt and on_processor(model)
        was_training = model.training
        model.eval()
        try:
            with attending(model, "shared_slots", attend) if shared else masked(model):
                slots = SharedSlots(rows, request.max_tokens) if shared else Slots(rows)
                return Batch(model, encoder, request, slots, done).run()
        finally:
            model.train(was_training)


class Batch:
    """One request on its way. The rows in flight are slots 0 to n-1, with no gap."""

    def __init__(
        self, model: Any, encoder: Encoder, request: Request, slots: Slots | SharedSlots, done: Done
    ) -> None:
        self.model = model
        self.request = request
        self.done = done
        self.ending = Ending(encoder, request.markers)
        self.slots = slots
        self.flying: list[Row] = []
        self.finished: dict[int, Continuation] = {}
        self.waiting = prefill_all(model, encoder, request)
        self.next: Prefilled | None = None
        self.uniform_RL = torch.zeros(slots.rows, request.max_tokens, dtype=torch.float64)

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
        length_R = [row.length for row in rows]
        logits_RV = self.model(
            input_ids=torch.tensor([row.tokens[-1:] for row in rows], device=device),
            position_ids=torch.tensor(length_R, device=device)[:, None],
            logits_to_keep=1,
            **self.slots.inputs(length_R),
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
            self.slots.fill(slots, prompt)
        for slot, b in zip(slots, open_rows, strict=True):
            if self.request.seeds is not None:
                self.uniform_RL[slot] = uniform_BL[b]
            self.flying[slot : slot + 1] = [rows[b]]
        return len(slots)


@cache
def say_once(obstacle: str) -> None:
    """Say why the plain engine is used; once, as it would be said at every step."""
    logger.warning("sampling.engine=continuous: %s; using sampling.engine=generate instead", obstacle)

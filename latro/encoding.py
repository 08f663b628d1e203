"""Text to token ids and back. Padding is decided here and only here: always by length, never by a token's id.

Legend: N prompts, K rationales per prompt, B = N·K rows, R rows that are read, T tokens of the longest row, E tokens of
the longest ending.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """A tokenizer together with how a conversation with its model is written down."""

    tokenizer: Any
    chat: bool
    """Whether the chat template is used; a base model without one gets plain text."""
    stop_token_ids: tuple[int, ...]
    """Tokens with which the model ends its turn."""
    end_of_answer_id: int
    """The token that closes the answer line, one of `stop_token_ids`."""
    pad_token_id: int
    """Fills rows up to equal length. It may equal a real token: masks come from lengths."""
    system_prompt: str | None = None
    separator: str = "\n"
    """Stands between a rationale and the answer line."""
    prompt_suffix: str = "\n"
    """Ends a prompt where no chat template does."""

    def prompt_ids(self, prompt: str) -> list[int]:
        """The user's turn as ids, up to where the model's turn begins.

        The chat template is rendered to text once and tokenised without special tokens, so that there is exactly
        one beginning-of-sequence token.
        """
        if not self.chat:
            return self.beginning_ids(prompt + self.prompt_suffix)
        turns = [{"role": "system", "content": self.system_prompt}] if self.system_prompt else []
        turns.append({"role": "user", "content": prompt})
        text = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        return self.plain_ids(text)

    def answer_ids(self, answer: str, rationale: Sequence[int] = ()) -> list[int]:
        """Separator, answer line and end of turn as ids, as they follow a rationale of these ids.

        A rationale that ends with the separator's text, as a full stop and a line break in one token do, brings it.
        """
        line = answer if self.separated(rationale) else self.separator + answer
        return [*self.continuation_ids(line), self.end_of_answer_id]

    def separated(self, rationale: Sequence[int]) -> bool:
        """Whether a rationale's text ends with the separator."""
        tail = len(self.separator.encode()) + 4  # tokens that hold it; some decoders strip what begins a text
        return self.text(rationale[-tail:]).endswith(self.separator)

    @cached_property
    def separator_ids(self) -> list[int]:
        """The separator's own ids."""
        return self.continuation_ids(self.separator)

    def beginning_ids(self, text: str) -> list[int]:
        """A text that goes on, as ids: with the tokens that begin a text, and without those that some tokenizers add
        at its end.
        """
        ids = list(self.tokenizer(text)["input_ids"])
        while ids and ids[-1] in self.stop_token_ids:
            ids.pop()
        return ids

    def plain_ids(self, text: str) -> list[int]:
        """`text` as ids, with no special token added."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def continuation_ids(self, text: str) -> list[int]:
        """`text` as it is tokenised in the middle of a text.

        Some tokenizers put a space before the first word of whatever they are given; encoding behind an anchor
        and taking the anchor away avoids it.
        """
        anchor = self.anchor_ids
        ids = self.plain_ids(ANCHOR + text)
        return ids[len(anchor) :] if ids[: len(anchor)] == anchor else self.plain_ids(text)

    @cached_property
    def anchor_ids(self) -> list[int]:
        """The ids of the anchor that `continuation_ids` encodes behind."""
        return self.plain_ids(ANCHOR)

    def text(self, ids: Sequence[int]) -> str:
        """Ids as text; special tokens are left out, spaces are kept as they are."""
        return str(
            self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )


def suffix_of(separator: str) -> str:
    """What ends a plain prompt: a line break, but where nothing stands between a rationale and its answer line."""
    return "\n" if separator else ""


ANCHOR = "."


@dataclass(frozen=True, slots=True, kw_only=True)
class Rationale:
    """One sampled rationale: the model's text before the answer begins."""

    ids: tuple[int, ...]
    """May be empty."""
    text: str
    ending: tuple[int, ...]
    """The tokens with which the model ended it: perhaps the separator, then a stop token or an answer marker.

    Nothing if the rationale was cut off at the length limit.
    """
    logprobs: tuple[float, ...] = field(default=(), compare=False)
    """Log-probability of each token of `ids` and then of `ending` as it was drawn, nats; none of a given text."""

    @property
    def finished(self) -> bool:
        """Whether the rationale ended by itself."""
        return bool(self.ending)


@dataclass(frozen=True, slots=True, kw_only=True)
class RationaleBatch:
    """Rows of prompt + rationale + answer, padded on the right, where no real token can see the padding.

    A rationale's ending begins where its answer does. One that is the answer's own start, or one token, is decided on
    in the rationale's own row. Any other, as a marker within a line is, has tokens whose context is not the answer
    line: it stands behind prompt and rationale in a side row, which is read for nothing else.
    """

    ids_RT: Tensor
    """The B rows, and the side rows behind them."""
    rationale_mask_BT: Tensor
    """True on the rationale's tokens."""
    answer_mask_BT: Tensor
    """True on the answer's tokens (separator, answer line, end of turn)."""
    before_answer_B: Tensor
    """Index of the last token before the answer: where the decision to stop and the answer's first token are made."""
    ending_BE: Tensor
    """The tokens that ended the rationale, from the left, -1 behind the end; none where it was cut off."""
    ending_row_B: Tensor
    """The row in which each ending is read: the rationale's own, or a side row."""
    rationales_per_prompt: int

    @property
    def ids_BT(self) -> Tensor:  # noqa: N802
        """The rows without the side rows."""
        return self.ids_RT[: len(self.before_answer_B)]

    @property
    def owner_R(self) -> Tensor:  # noqa: N802
        """The rationale that each row, and each side row, belongs to."""
        B = len(self.before_answer_B)
        owner_R = torch.arange(len(self.ids_RT), device=self.ids_RT.device)
        return owner_R.index_copy(0, self.ending_row_B, owner_R[:B])

    def without_answers(self) -> "RationaleBatch":
        """Prompt and rationale with its ending: all that the reference has to score. It needs no side rows."""
        T = int((self.before_answer_B + (self.ending_BE >= 0).sum(-1).clamp(min=1)).max())
        return replace(
            self,
            ids_RT=self.ids_RT[self.ending_row_B, :T],
            rationale_mask_BT=self.rationale_mask_BT[:, :T],
            answer_mask_BT=torch.zeros_like(self.answer_mask_BT[:, :T]),
            ending_row_B=torch.arange(len(self.ending_row_B), device=self.ids_RT.device),
        )

    @property
    def prompt_length_B(self) -> Tensor:  # noqa: N802
        """Tokens of each row's prompt."""
        return self.before_answer_B + 1 - self.rationale_mask_BT.sum(-1)

    @property
    def length_B(self) -> Tensor:  # noqa: N802
        """Tokens of each row, or of its side row, up to the last one that is read."""
        decided_B = self.before_answer_B + (self.ending_BE >= 0).sum(-1).clamp(min=1)
        return torch.maximum(decided_B, self.before_answer_B + 1 + self.answer_mask_BT.sum(-1))

    def select(self, rows: Tensor) -> "RationaleBatch":
        """Some of the rows, with their side rows, cut to the longest of them; each stands for itself alone."""
        T = int(self.length_B[rows].max())
        aside = self.ending_row_B[rows] != rows
        ending_row = torch.arange(len(rows), device=rows.device)
        ending_row[aside] = len(rows) + torch.arange(int(aside.sum()), device=rows.device)
        return RationaleBatch(
            ids_RT=self.ids_RT[torch.cat([rows, self.ending_row_B[rows][aside]]), :T],
            rationale_mask_BT=self.rationale_mask_BT[rows, :T],
            answer_mask_BT=self.answer_mask_BT[rows, :T],
            before_answer_B=self.before_answer_B[rows],
            ending_BE=self.ending_BE[rows],
            ending_row_B=ending_row,
            rationales_per_prompt=1,
        )

    def to(self, device: torch.device | str) -> "RationaleBatch":
        """The same batch on another device."""
        moved = {
            f.name: getattr(self, f.name).to(device)
            for f in fields(self)
            if f.name.endswith(("_RT", "_BT", "_BE", "_B"))
        }
        return replace(self, **moved)


def pad_right(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    """[B, T] ids, each row filled up at its end."""
    T = max(len(row) for row in rows)
    return torch.tensor([[*row, *[fill] * (T - len(row))] for row in rows], dtype=torch.long)


def pad_left(rows: Sequence[Sequence[int]], fill: int) -> tuple[Tensor, Tensor]:
    """[B, T] ids and mask, each row filled up at its start: the form in which prompts are continued."""
    T = max(len(row) for row in rows)
    ids = torch.tensor([[*[fill] * (T - len(row)), *row] for row in rows], dtype=torch.long)
    mask = torch.tensor([[0] * (T - len(row)) + [1] * len(row) for row in rows], dtype=torch.long)
    return ids, mask


def join(
    prompts: Sequence[Sequence[int]],
    rationales: Sequence[Rationale],
    answers: Sequence[Sequence[int]],
    pad_token_id: int,
) -> RationaleBatch:
    """Rows of prompt + rationale + answer: N prompts, N·K rationales in prompt order.

    answers: one for each rationale, or one for each prompt, which then follows all its rationales.
    """
    K, remainder = divmod(len(rationales), len(prompts))
    if remainder or not K or len(answers) not in (len(prompts), len(rationales)):
        raise ValueError(
            f"{len(rationales)} rationales and {len(answers)} answers for {len(prompts)} prompts"
        )
    B = len(rationales)
    rows, lengths, ending_rows = [], [], list(range(B))
    side_rows: list[list[int]] = []
    for b, rationale in enumerate(rationales):
        prompt, answer = prompts[b // K], answers[b if len(answers) == B else b // K]
        rows.append([*prompt, *rationale.ids, *answer])
        lengths.append((len(prompt), len(rationale.ids), len(answer)))
        if len(rationale.ending) > shared_length(rationale.ending, answer) + 1:
            ending_rows[b] = B + len(side_rows)
            side_rows.append([*prompt, *rationale.ids, *rationale.ending[:-1]])
    ids_RT = pad_right([*rows, *side_rows], pad_token_id)
    position_T = torch.arange(ids_RT.shape[1])
    prompt_B, rationale_B, answer_B = torch.tensor(lengths).unbind(-1)
    answer_start_B = prompt_B + rationale_B
    rationale_mask_BT = (position_T >= prompt_B[:, None]) & (position_T < answer_start_B[:, None])
    answer_mask_BT = (position_T >= answer_start_B[:, None]) & (
        position_T < (answer_start_B + answer_B)[:, None]
    )
    return RationaleBatch(
        ids_RT=ids_RT,
        rationale_mask_BT=rationale_mask_BT,
        answer_mask_BT=answer_mask_BT,
        before_answer_B=answer_start_B - 1,
        ending_BE=pad_right([rationale.ending for rationale in rationales], -1),
        ending_row_B=torch.tensor(ending_rows),
        rationales_per_prompt=K,
    )


def shared_length(a: Sequence[int], b: Sequence[int]) -> int:
    """Number of tokens that two sequences have in common at their start."""
    return next(
        (i for i, (left, right) in enumerate(zip(a, b, strict=False)) if left != right), min(len(a), len(b))
    )


NO_RATIONALE = Rationale(ids=(), text="", ending=())

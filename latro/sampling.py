"""Drawing rationales: the exact distribution of the policy, cut where the answer begins.

Every row is drawn by inverting the cumulative distribution at uniform numbers that belong to that row alone,
seeded by (seed, step, prompt, k). So a resumed run, and a run split over more processes, draws the same
rationales. The uniforms are put in through a public logits processor; decoding itself is plain `generate`.
"""

import copy
import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from latro.encoding import Encoder, Rationale, pad_left
from latro.errors import InputError


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How rationales are drawn."""

    rationales_per_prompt: int = 16
    """K; the leave-one-out baseline needs at least 2."""
    max_rationale_tokens: int = 500
    """L: a rationale is cut off here."""
    temperature: float = 1.0
    """The policy that is sampled, scored and trained is softmax(logits / temperature)."""
    batch_rows: int = 64
    """Rows decoded at once: memory against speed; the draws do not depend on it."""
    dtype: str | None = None
    """`bfloat16` samples and evaluates with a copy of the policy in that precision, renewed every step: faster where
    the machine multiplies it in hardware (`latro.precision`), several times slower elsewhere, and off-policy by
    rounding. Null samples with the policy itself."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        if self.rationales_per_prompt < 2:
            raise InputError(
                f"sampling.rationales_per_prompt={self.rationales_per_prompt}: "
                "the leave-one-out baseline compares a rationale with its siblings; use 2 or more"
            )
        if self.dtype not in (None, "bfloat16", "float16"):
            raise InputError(f"sampling.dtype={self.dtype!r}: choose null, bfloat16 or float16")
        for name in ("max_rationale_tokens", "batch_rows"):
            if getattr(self, name) < 1:
                raise InputError(f"sampling.{name}={getattr(self, name)} must be at least 1")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise InputError(f"sampling.temperature={self.temperature} must be a finite number above zero")


class LowPrecisionCopy:
    """A copy of the policy that only samples, in a precision that decodes fast."""

    def __init__(self, policy: Any, dtype: torch.dtype) -> None:
        self.model = copy.deepcopy(policy).to(dtype).eval().requires_grad_(False)

    @torch.no_grad()
    def renewed(self, policy: Any) -> Any:
        """The copy with the policy's present weights."""
        for mine, theirs in zip(self.model.parameters(), policy.parameters(), strict=True):
            mine.copy_(theirs)
        return self.model


def row_seed(*parts: object) -> int:
    """A 63-bit seed that depends on every part, the same on every machine."""
    digest = hashlib.blake2b("\x1f".join(str(part) for part in parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def uniforms(seeds: Sequence[int], length: int) -> Tensor:
    """[B, length] uniform numbers in [0, 1) of 53 bits, each row from its own seed."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return torch.stack([torch.rand(length, generator=g, dtype=torch.float64) for g in generators])


class InverseCdf(LogitsProcessor):
    """Turns each row's next-token scores into a certain draw at that row's uniform number."""

    def __init__(self, uniform_BL: Tensor, temperature: float, prompt_length: int) -> None:
        self.uniform_BL = uniform_BL
        self.temperature = temperature
        self.prompt_length = prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """[B, V] scores that are zero at the drawn token and -inf elsewhere."""
        step = input_ids.shape[1] - self.prompt_length
        drawn_B = draw(scores, self.uniform_BL[:, step].to(scores.device), self.temperature)
        return torch.full_like(scores, -math.inf).scatter_(1, drawn_B[:, None], 0.0)


def draw(logits_BV: Tensor, uniform_B: Tensor, temperature: float = 1.0) -> Tensor:
    """[B] token ids: the first token whose cumulative probability exceeds the row's uniform number.

    Sums are taken in double precision: in single, a vocabulary's rare tokens vanish beside a sum near 1.
    """
    wide = logits_BV if logits_BV.dtype == torch.float64 else logits_BV.float()
    cumulative_BV = (wide / temperature).softmax(-1).double().cumsum(-1)
    total_B = cumulative_BV[:, -1]
    if not total_B.isfinite().all():
        raise InputError(
            "the model's scores are not finite numbers: its weights have run away; lower trainer.learning_rate, set "
            "trainer.max_grad_norm, or check the checkpoint"
        )
    below_total_B = torch.nextafter(total_B, torch.zeros_like(total_B))
    threshold_B = torch.minimum(uniform_B.double() * total_B, below_total_B)
    return torch.searchsorted(cumulative_BV, threshold_B[:, None], right=True)[:, 0]


class RationaleEnd(StoppingCriteria):
    """Ends a row at a stop token, or as soon as an answer marker stands in its text."""

    def __init__(self, encoder: Encoder, markers: Sequence[str], prompt_length: int, rows: int) -> None:
        self.encoder = encoder
        self.markers = tuple(markers)
        self.prompt_length = prompt_length
        self.length: list[int | None] = [None] * rows
        # A marker spans at most this many tokens, as every token but the first adds a character or half of one.
        self.window = 2 * max((len(marker) for marker in markers), default=0) + 2

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """[B] True for the rows that are done; `length` remembers after how many tokens each was."""
        generated = input_ids.shape[1] - self.prompt_length
        tail = input_ids[:, max(self.prompt_length, input_ids.shape[1] - self.window) :].tolist()
        open_rows = [row for row, length in enumerate(self.length) if length is None]
        texts = self.encoder.tokenizer.batch_decode(
            [tail[row] for row in open_rows], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        for row, text in zip(open_rows, texts, strict=True):
            ended = tail[row][-1] in self.encoder.stop_token_ids
            if ended or find_marker(text, self.markers) is not None:
                self.length[row] = generated
        return torch.tensor([length is not None for length in self.length], device=input_ids.device)


@torch.no_grad()
def generate(
    model: Any,
    encoder: Encoder,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    markers: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    temperature: float = 1.0,
) -> list[tuple[int, ...]]:
    """The continuation of each prompt, up to and including what ended it.

    Greedy where `seeds` is None, else drawn from softmax(logits / temperature) with one seed per row.
    """
    ids_BT, mask_BT = pad_left(prompts, encoder.pad_token_id)
    device = model.device
    end = RationaleEnd(encoder, markers, ids_BT.shape[1], len(prompts))
    processors = LogitsProcessorList()
    if seeds is not None:
        processors.append(InverseCdf(uniforms(seeds, max_tokens).to(device), temperature, ids_BT.shape[1]))
    was_training = model.training
    model.eval()
    try:
        output = model.generate(
            ids_BT.to(device),
            attention_mask=mask_BT.to(device),
            generation_config=plain_generation(encoder, max_tokens),
            logits_processor=processors,
            stopping_criteria=StoppingCriteriaList([end]),
        )
    finally:
        model.train(was_training)
    new_tokens = output[:, ids_BT.shape[1] :].tolist()
    return [tuple(row[:length]) for row, length in zip(new_tokens, end.length, strict=True)]


def plain_generation(encoder: Encoder, max_tokens: int) -> GenerationConfig:
    """Arg-max decoding with nothing of the model's own generation settings left.

    A field left out here would be filled from the model's settings (some ship a repetition penalty), and what is
    sampled would no longer be the policy.
    """
    return GenerationConfig(
        max_new_tokens=max_tokens,
        min_new_tokens=0,
        do_sample=False,
        num_beams=1,
        temperature=1.0,
        top_k=50,  # the library's default, the only value it takes without a warning; arg-max looks at no other
        top_p=1.0,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        use_cache=True,
        disable_compile=True,
        eos_token_id=list(encoder.stop_token_ids),
        pad_token_id=encoder.pad_token_id,
    )


def cut(encoder: Encoder, tokens: Sequence[int], markers: Sequence[str]) -> Rationale:
    """The rationale in a continuation: what stands before the stop token or the first answer marker.

    The cut is found in text and moved back to a token border, then over white space, so that the answer line
    always follows in the same way. What was generated behind the cut is the model's decision to stop.
    """
    stop = next((i for i, token in enumerate(tokens) if token in encoder.stop_token_ids), len(tokens))
    generated = tuple(tokens[: stop + 1])
    ids = list(generated[:stop])
    start = find_marker(encoder.text(ids), markers)
    while start is not None and len(encoder.text(ids)) > start:
        ids.pop()
    if len(ids) < len(generated):
        while ids and encoder.text(ids[-1:]).isspace():
            ids.pop()
    return Rationale(ids=tuple(ids), text=encoder.text(ids), ending=generated[len(ids) :])


def find_marker(text: str, markers: Sequence[str]) -> int | None:
    """Index of the first answer marker in `text`, ignoring case; None if there is none."""
    found = (re.search(re.escape(marker), text, re.IGNORECASE) for marker in markers)
    return min((match.start() for match in found if match), default=None)


def sample_rationales(
    model: Any,
    encoder: Encoder,
    prompts: Sequence[Sequence[int]],
    keys: Sequence[object],
    config: SamplingConfig,
    *,
    markers: Sequence[str],
    seed: int,
    step: int,
) -> list[Rationale]:
    """K rationales per prompt, [N·K] in prompt order. LaTRO, algorithm 1, line 4.

    `keys` name the prompts: the draws depend on (seed, step, key, k) and on nothing else. Prompts of like length
    are decoded together.
    """
    K = config.rationales_per_prompt
    rows = [(n, row_seed(seed, step, keys[n], k)) for n in range(len(prompts)) for k in range(K)]
    by_length = sorted(range(len(rows)), key=lambda row: len(prompts[rows[row][0]]))
    rationales: dict[int, Rationale] = {}
    for start in range(0, len(by_length), config.batch_rows):
        chunk = by_length[start : start + config.batch_rows]
        outputs = generate(
            model,
            encoder,
            [prompts[rows[row][0]] for row in chunk],
            max_tokens=config.max_rationale_tokens,
            markers=markers,
            seeds=[rows[row][1] for row in chunk],
            temperature=config.temperature,
        )
        rationales.update(
            {row: cut(encoder, output, markers) for row, output in zip(chunk, outputs, strict=True)}
        )
    return [rationales[row] for row in range(len(rows))]

"""Rows as one sequence: the plain pass's scores and gradients, from no more tokens than are read."""

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from latro.attending import ARCHITECTURES
from latro.encoding import Rationale, RationaleBatch, join
from latro.exact import flat_gradient
from latro.likelihood import likelihood, scored_tokens, wanted
from latro.packed_rows import Piece, Pieces, can_pack, pack
from latro.scored_tokens import ScoringConfig
from tests.latro.test_likelihood import gpt2

PLAIN = ScoringConfig(fused_head=False)
PACKED = ScoringConfig(share_prompt=True)
SHAPE = {
    "vocab_size": 11, "hidden_size": 16, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 4, "initializer_range": 0.4, "eos_token_id": 0, "bos_token_id": None,
    "pad_token_id": 0,
}  # fmt: skip


def made(kind: type, config: type, **more: object) -> torch.nn.Module:
    """A small model in double precision, whose queries share keys."""
    torch.manual_seed(0)
    return kind(config(**SHAPE, **more)).double().eval()


MODELS = {
    "llama": lambda: made(LlamaForCausalLM, LlamaConfig),
    "mistral": lambda: made(MistralForCausalLM, MistralConfig, sliding_window=None),
    "phi3": lambda: made(Phi3ForCausalLM, Phi3Config),
    "qwen2": lambda: made(Qwen2ForCausalLM, Qwen2Config),
    "qwen3": lambda: made(Qwen3ForCausalLM, Qwen3Config),
}


def batch() -> RationaleBatch:
    """Two prompts of 3 and 2 tokens, three rationales each: cut off, empty, and ended apart from the answer line."""
    rationales = [
        Rationale(ids=(1, 2, 3, 4), text="", ending=()),
        Rationale(ids=(), text="", ending=(0,)),
        Rationale(ids=(5, 6), text="", ending=(7, 8, 9)),
        Rationale(ids=(3,), text="", ending=(10, 2)),
        Rationale(ids=(), text="", ending=(9, 9, 1)),
        Rationale(ids=(4, 4, 4, 4, 4), text="", ending=(10,)),
    ]
    return join([[1, 2, 3], [4, 5]], rationales, [[10, 2, 0], [10, 6, 6, 0]], 0)


def weighed(model: torch.nn.Module, scoring: ScoringConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of the batch, and the gradient of a sum in which each has a weight of its own."""
    result = likelihood(model, batch(), temperature=0.7, scoring=scoring)
    score_X = torch.cat([result.rationale_B, result.answer_BT.flatten(), result.before_answer_B])
    weights = torch.arange(1, len(score_X) + 1, dtype=score_X.dtype).sin()
    return score_X.detach(), flat_gradient((weights * score_X).sum(), model)


def test_every_kind_is_tried():
    assert MODELS.keys() == ARCHITECTURES


@pytest.mark.parametrize("name", MODELS)
def test_scores_and_gradients_are_those_of_padded_rows(name: str):
    model = MODELS[name]()
    assert can_pack(model, 99)
    (plain, expected), (packed, gradient) = (weighed(model, scoring) for scoring in (PLAIN, PACKED))
    torch.testing.assert_close(packed, plain, atol=1e-6, rtol=0)
    assert float(expected.norm()) > 1
    torch.testing.assert_close(gradient, expected, atol=2e-5, rtol=0)
    assert model.config._attn_implementation == "sdpa"


def test_the_sequence_holds_what_is_read_once():
    """Of every row up to the last token that predicts one; of an ending apart its own tokens but the last."""
    short = batch()
    tokens = wanted(short, scored_tokens(short), 1.0, score_stop=True)
    pieces, place_A = pack(short, tokens)
    assert [(piece.ids.tolist(), piece.first, piece.reads) for piece in pieces] == [
        ([1, 2, 3], 0, ()),
        ([1, 2, 3, 4, 10, 2], 3, ((0, 3),)),
        ([10, 2], 3, ((0, 3),)),
        ([5, 6, 10, 2], 3, ((0, 3),)),
        ([4, 5], 0, ()),
        ([3, 10, 6, 6], 2, ((4, 2),)),
        ([10, 6, 6], 2, ((4, 2),)),
        ([4, 4, 4, 4, 4, 10, 6, 6], 2, ((4, 2),)),
        ([7, 8], 5, ((0, 3), (3, 2))),
        ([9, 9], 2, ((4, 2), (6, 0))),
    ]
    sequence = torch.cat([piece.ids for piece in pieces])
    assert torch.equal(sequence[place_A], short.ids_RT[tokens.row_A, tokens.position_A])
    # The second rationale's stop, and its answer's first token, are decided on by the prompt's last token.
    second = (tokens.row_A == 1) & (tokens.position_A == 2)
    assert place_A[second].tolist() == [2, 2]
    # The third's ending: behind its rationale in its own row, then in the piece of its own.
    assert place_A[tokens.row_A == 6].tolist() == [12, 32, 33]


@pytest.mark.parametrize(
    ("scoring", "shapes"),
    [
        (PACKED, [(1, 36)]),
        (ScoringConfig(share_prompt=True, pack_rows=False), [(2, 3), (8, 9)]),
        (ScoringConfig(), [(8, 11)]),
    ],
    ids=["packed", "padded behind the prompt", "padded"],
)
def test_one_knob_switches_it_off(scoring: ScoringConfig, shapes: list[tuple[int, int]]):
    model, seen = MODELS["llama"](), []
    model.register_forward_pre_hook(
        lambda _, __, inputs: seen.append(tuple(inputs["input_ids"].shape)), with_kwargs=True
    )
    likelihood(model, batch(), scoring=scoring)
    assert seen == shapes


def test_what_cannot_be_packed_is_padded():
    assert not can_pack(gpt2(), 9)
    windowed = made(MistralForCausalLM, MistralConfig, sliding_window=8)
    assert (can_pack(windowed, 8), can_pack(windowed, 9)) == (True, False)
    model = MODELS["llama"]()
    model.set_attn_implementation("eager")
    assert not can_pack(model, 9)
    checkpointed = MODELS["llama"]().train()
    checkpointed.activation_checkpointing_enable()
    assert not can_pack(checkpointed, 9)


def test_a_pass_that_fails_leaves_the_models_attention_as_it_was():
    model = MODELS["llama"]()

    def fail(*_: object) -> None:
        raise RuntimeError("no memory")

    model.model.layers[1].register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="no memory"):
        likelihood(model, batch(), scoring=PACKED)
    assert model.config._attn_implementation == "sdpa"


def test_in_mixed_precision_the_scores_are_those_of_padded_rows():
    """Queries and keys come in other precisions than the weights; rounding is bfloat16's, nothing more."""
    model = MODELS["llama"]().float()
    with torch.autocast("cpu", torch.bfloat16):
        plain, packed = (likelihood(model, batch(), scoring=scoring) for scoring in (PLAIN, PACKED))
    torch.testing.assert_close(packed.rationale_B, plain.rationale_B, atol=0.1, rtol=0)


def test_under_autocast_all_pieces_share_one_mask_that_is_cast_once() -> None:
    piece = Piece(ids=torch.tensor([1, 2]), first=3, reads=((0, 3),))
    pieces = Pieces([Piece(ids=torch.tensor([1, 2, 3]), first=0, reads=()), piece], torch.float32)
    query = torch.zeros(1, 1, 2, 4)
    assert pieces.mask(piece, query).dtype is torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        first, second = pieces.mask(piece, query), pieces.mask(piece, query)
    assert first.dtype is torch.bfloat16
    assert first.tolist() == [[0, 0, 0, 0, -torch.inf], [0, 0, 0, 0, 0]]
    assert first.data_ptr() == second.data_ptr()

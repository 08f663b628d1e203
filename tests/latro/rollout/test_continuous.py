"""Continuous batching against transformers' own `generate`, token for token.

Without these, rows that come and go could read each other's keys, or their own in the wrong places.
"""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from transformers import GenerationConfig

from latro.adapters import LoraSettings, add_lora
from latro.encoding import Encoder
from latro.errors import InputError
from latro.estimators import draw_groups, frequency_p_values, indices, tabulate
from latro.exact import small_world
from latro.rollout import continuous, prefill
from latro.rollout.base import Request
from latro.rollout.continuous import ContinuousEngine
from latro.rollout.plain import GenerateEngine
from latro.rollout.shared_slots import SharedSlots
from latro.rollout.slots import Slots
from latro.sampling import LowPrecisionCopy, SamplingConfig, row_seed, sample_rationales
from tests.latro.tiny_models import tiny_model, tiny_tokenizer

PROMPTS = ("ab", "cdcab", "b", "ddd", "abcd", "ca", "ab")  # unequal lengths, and one twice
K = 3


@pytest.fixture
def world():
    return small_world(0)


def request_of(encoder: Encoder, prompts: tuple[str, ...] = PROMPTS, **changes: object) -> Request:
    rows = [encoder.prompt_ids(text) for text in prompts for _ in range(K)]
    request = Request(
        prompts=rows,
        seeds=[row_seed(7, row) for row in range(len(rows))],
        max_tokens=12,
        markers=("#d", "#a"),
    )
    return replace(request, **changes)


def both(model, encoder: Encoder, request: Request, rows: int) -> list[list[tuple[int, ...]]]:
    """The tokens of both engines, whose log-probabilities are equal too; rows with copies of their prompts agree."""
    engines = (
        ContinuousEngine(rows),
        GenerateEngine(rows),
        ContinuousEngine(rows, share_prompt=False),
    )
    *found, copied = [engine.continuations(model, encoder, request) for engine in engines]
    assert copied == found[0]
    for ours, plain in zip(*found, strict=True):
        assert len(ours.logprobs) == (len(ours.tokens) if request.seeds is not None else 0)
        if model.dtype == torch.float64:
            assert ours.logprobs == pytest.approx(plain.logprobs, abs=1e-5)  # generate rounds to single
    return [[continuation.tokens for continuation in rows] for rows in found]


@pytest.mark.parametrize("rows", [1, 2, 5, 7, 21, 100])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_every_token_is_that_of_generate_however_many_rows_fly(world, rows: int, temperature: float):
    """Double precision. Rows end at a stop token, a marker, at once, or at the limit, and others take their place."""
    ours, plain = both(world.model, world.encoder, request_of(world.encoder, temperature=temperature), rows)
    assert ours == plain
    text = [world.encoder.text(row) for row in plain]
    assert any(row == (0,) for row in plain)
    assert any(len(row) > 1 and row[-1] == 0 for row in plain)
    assert any(t.endswith(("#d", "#a")) for t in text)
    assert any(
        len(row) == 12 and row[-1] != 0 and not t.endswith(("#d", "#a"))
        for row, t in zip(plain, text, strict=True)
    )
    assert len(set(plain)) > 12


@pytest.mark.parametrize("rows", [1, 4, 100])
def test_greedy_decoding_is_that_of_generate(world, rows: int):
    ours, plain = both(world.model, world.encoder, request_of(world.encoder, seeds=None), rows)
    assert ours == plain


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", ["phi3", "mistral", "llama", "qwen2", "qwen3"])
def test_every_architecture_and_attention_gives_the_tokens_of_generate(kind: str, attention: str):
    tokenizer = tiny_tokenizer(kind)
    model = tiny_model(kind, tokenizer, attn_implementation=attention, initializer_range=0.4)
    if (
        attention == "sdpa"
    ):  # eager attention gives NaN behind left padding in double precision, under `generate`
        model = model.double()
    stop = tokenizer.eos_token_id
    encoder = Encoder(
        tokenizer=tokenizer, chat=True, stop_token_ids=(stop,), end_of_answer_id=stop, pad_token_id=stop
    )
    assert model.config._attn_implementation == attention
    request = request_of(
        encoder, ("Tom has 3 apples.", "60 / 2", "Let's think step by step."), markers=("s",)
    )
    ours, plain = both(model, encoder, request, 4)
    assert ours == plain
    assert len({len(row) for row in plain}) > 2


def test_many_columns_make_the_block_grow_and_lose_nothing(world, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("latro.rollout.slots.COLUMNS", 2)
    monkeypatch.setattr("latro.rollout.shared_slots.COLUMNS", 2)
    monkeypatch.setattr("latro.rollout.shared_slots.PLACES", 1)
    model = small_world(3).model
    ours, plain = both(model, world.encoder, request_of(world.encoder, max_tokens=25, markers=()), 4)
    assert ours == plain
    assert max(map(len, plain)) > 10


def test_an_adapter_is_sampled_with_its_weights(world):
    model = add_lora(world.model, LoraSettings(r=2)).double()
    _, plain_before = both(model, world.encoder, request_of(world.encoder), 4)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(1))
    ours, plain = both(model, world.encoder, request_of(world.encoder), 4)
    assert ours == plain != plain_before


def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Prompts of each prefill, as they come."""
    seen: list[int] = []
    original = prefill.prefill

    def counting(model, prompts, pad):
        seen.append(len(prompts))
        return original(model, prompts, pad)

    monkeypatch.setattr(prefill, "prefill", counting)
    return seen


def test_each_distinct_prompt_is_prefilled_once_several_together(world, monkeypatch: pytest.MonkeyPatch):
    seen = counted(monkeypatch)
    monkeypatch.setattr(
        prefill, "PREFILL_TOKENS", 9
    )  # longest first: 5, then 4+4, 3+3+3 of lengths 5 4 3 2 2 1
    ContinuousEngine(4).continuations(world.model, world.encoder, request_of(world.encoder))
    assert seen == [1, 2, 3]


def test_prefilled_keys_in_flight_do_not_grow_with_the_number_of_prompts(
    world, monkeypatch: pytest.MonkeyPatch
):
    """Rows of 4 slots, 1 to 64 prompts: the block and what is prefilled ahead stay as they are."""
    monkeypatch.setattr(prefill, "PREFILL_TOKENS", 16)
    sizes = []
    for count in (1, 8, 64):
        waiting: list[int] = []
        batches: list[continuous.Batch] = []
        original = continuous.Batch.step

        def step(batch, waiting=waiting, batches=batches, original=original):
            tokens = original(batch)
            held = {id(p.cache): p.cache for p in (batch.next,) if p is not None}
            waiting.append(sum(layer.keys.numel() for cache in held.values() for layer in cache.layers))
            batches[:] = [batch]
            return tokens

        with monkeypatch.context() as patch:
            patch.setattr(continuous.Batch, "step", step)
            prompts = tuple(f"{'abcd'[i % 4]}{'abcd'[i // 4 % 4]}{'abcd'[i // 16]}dc" for i in range(count))
            ContinuousEngine(4).continuations(world.model, world.encoder, request_of(world.encoder, prompts))
        block = sum(layer.keys.numel() + layer.prompt_keys.numel() for layer in batches[0].slots.layers)
        sizes.append((block, max(waiting)))
    assert sizes[1] == sizes[2]
    assert sizes[0][1] < sizes[1][1] <= 16 * 4  # tokens x (1 head of 4)


def test_the_same_request_gives_the_same_bits_in_single_precision():
    model, encoder = small_world(0).model.float(), small_world(0).encoder
    engine = ContinuousEngine(5)
    assert engine.continuations(model, encoder, request_of(encoder)) == engine.continuations(
        model, encoder, request_of(encoder)
    )


def test_a_prompt_is_kept_once_while_any_of_its_rows_flies(world, monkeypatch: pytest.MonkeyPatch):
    """Its place is another's when its last row has ended: never more prompts than rows in flight."""
    seen: list[tuple[int, int]] = []
    original = SharedSlots.inputs

    def inputs(slots, length_R):
        seen.append((len(slots.numbers), len(length_R)))
        return original(slots, length_R)

    monkeypatch.setattr(SharedSlots, "inputs", inputs)
    ContinuousEngine(100).continuations(world.model, world.encoder, request_of(world.encoder))
    assert seen[0] == (6, 16)  # of 21 rows, 5 ended at once; "ab" comes twice
    seen.clear()
    ContinuousEngine(2).continuations(world.model, world.encoder, request_of(world.encoder))
    assert max(seen) == (2, 2)


def test_the_models_attention_is_its_own_again_whatever_happens(world, monkeypatch: pytest.MonkeyPatch):
    def fail(batch):
        assert world.model.config._attn_implementation == "latro_shared_slots"
        raise KeyboardInterrupt

    monkeypatch.setattr(continuous.Batch, "step", fail)
    with pytest.raises(KeyboardInterrupt):
        ContinuousEngine(4).continuations(world.model, world.encoder, request_of(world.encoder))
    assert world.model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("share", [True, False])
def test_the_knob_chooses_whether_prompts_are_shared(world, share: bool, monkeypatch: pytest.MonkeyPatch):
    made: list[str] = []
    for kind in (SharedSlots, Slots):
        monkeypatch.setattr(
            continuous, kind.__name__, lambda *given, kind=kind: made.append(kind.__name__) or kind(*given)
        )
    config = SamplingConfig(rationales_per_prompt=2, max_rationale_tokens=3, share_prompt=share)
    sample_rationales(
        world.model, world.encoder, [[1, 2]], ["q"], config, markers=world.markers, seed=7, step=3
    )
    assert made == ["SharedSlots" if share else "Slots"]


@pytest.mark.parametrize("rows", [1, 8])
def test_a_low_precision_copy_and_autocast_are_sampled(world, rows: int):
    policy = world.model.float()
    copy = LowPrecisionCopy(policy, torch.bfloat16).renewed(policy)
    request = request_of(world.encoder)
    outputs = [ContinuousEngine(rows).continuations(copy, world.encoder, request)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs.append(ContinuousEngine(rows).continuations(policy, world.encoder, request))
    exact = ContinuousEngine(rows).continuations(policy, world.encoder, request)
    for rounded in outputs:
        same = sum(a == b for a, b in zip(rounded, exact, strict=True))
        assert same > len(exact) // 2  # rounding flips few draws


def test_the_models_mode_is_left_as_it_was_and_progress_is_told(world):
    told: list[int] = []
    for training in (True, False):
        world.model.train(training)
        ContinuousEngine(4).continuations(world.model, world.encoder, request_of(world.encoder), told.append)
        assert world.model.training == training
    assert told == sorted(told[: len(told) // 2]) * 2
    assert told[-1] == len(PROMPTS) * K


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_rows_that_came_into_anothers_place_are_as_frequent_as_they_are_likely(temperature: float):
    """Chi-square against every rationale's exact probability; 3200 rows go through 64 slots."""
    world = small_world(0, temperature=temperature)
    tables = tabulate(world)
    index_XPK = indices(tables, draw_groups(world, 400, 4, seed=0, batch_rows=64), 4)
    assert all(p > 1e-3 for p in frequency_p_values(tables, index_XPK))
    other = tabulate(small_world(0, temperature=temperature + 0.3))
    assert all(p < 1e-3 for p in frequency_p_values(other, index_XPK))


@pytest.mark.parametrize("engine", ["continuous", "generate"])
def test_the_knob_chooses_the_engine_and_not_the_draws(world, engine: str, monkeypatch: pytest.MonkeyPatch):
    seen = counted(monkeypatch)
    config = SamplingConfig(rationales_per_prompt=3, max_rationale_tokens=5, engine=engine, batch_rows=None)
    drawn = sample_rationales(
        world.model, world.encoder, [[1, 2]], ["q"], config, markers=world.markers, seed=7, step=3
    )
    assert [world.encoder.text(row.ids + row.ending) for row in drawn] == ["accdd", "cb#", "cdd#"]
    assert seen == ([1] if engine == "continuous" else [])


@pytest.mark.parametrize("greedy", [True, False])
@pytest.mark.parametrize(
    "own",
    [
        {"suppress_tokens": [1, 3]},
        {"bad_words_ids": [[1], [2]]},
        {"exponential_decay_length_penalty": (1, 3.0)},
        {"stop_strings": ["a"]},
        {"num_return_sequences": 2, "do_sample": True},
    ],
)
def test_what_a_model_brings_for_generation_of_its_own_is_left_out(world, own: dict, greedy: bool):
    seeds = {"seeds": None} if greedy else {}
    request = request_of(world.encoder, **seeds)
    plain = GenerateEngine(4).continuations(world.model, world.encoder, request)
    kept = GenerationConfig(eos_token_id=0, pad_token_id=0, **own)
    world.model.generation_config = kept
    assert GenerateEngine(4).continuations(world.model, world.encoder, request) == plain
    assert ContinuousEngine(4).continuations(world.model, world.encoder, request) == plain
    assert world.model.generation_config is kept


@pytest.mark.parametrize("engine", [ContinuousEngine, GenerateEngine])
@pytest.mark.parametrize("greedy", [True, False])
def test_scores_that_are_no_numbers_are_refused(world, engine: type, greedy: bool):
    with torch.no_grad():
        next(world.model.parameters()).fill_(float("nan"))
    request = request_of(world.encoder, **({"seeds": None} if greedy else {}))
    with pytest.raises(InputError, match="the model's scores are not finite numbers"):
        engine(4).continuations(world.model, world.encoder, request)

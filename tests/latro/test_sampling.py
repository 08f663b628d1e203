"""Drawing and cutting rationales. Without these, the policy that is trained need not be the one that is sampled."""

import math

import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from transformers import GenerationConfig, PreTrainedTokenizerFast

from latro.encoding import Encoder
from latro.errors import InputError
from latro.estimators import draw_groups, frequency_p_values, indices, tabulate
from latro.exact import small_world, tiny_llama
from latro.pretraining import byte_tokenizer
from latro.rollout.drawing import draw, uniforms
from latro.rollout.ending import find_marker
from latro.rollout.plain import generate
from latro.sampling import SamplingConfig, cut, row_seed, sample_rationales
from tests.fakes import TableConfig, TableModel, table_model

EOS = 256
MARKER = ("The answer is",)


def encoder_of(tokenizer: PreTrainedTokenizerFast, stop: int) -> Encoder:
    return Encoder(
        tokenizer=tokenizer,
        chat=False,
        stop_token_ids=(stop,),
        end_of_answer_id=stop,
        pad_token_id=stop,
    )


@pytest.fixture(scope="module")
def bytewise() -> Encoder:
    return encoder_of(byte_tokenizer(64), EOS)


@pytest.fixture(scope="module")
def merged() -> Encoder:
    """Tokens that straddle the marker's borders: `xT`, `he`, ` is 7`."""
    letters = sorted(set("The answer is 7xy.\n"))
    merges = [("x", "T"), ("h", "e"), (" ", "i"), (" i", "s"), (" is", " "), (" is ", "7")]
    symbols = ["<eos>", *letters, *(a + b for a, b in merges)]
    tokenizer = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(symbols)}, merges=merges))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(["<eos>"])
    return encoder_of(PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>"), 0)


@pytest.mark.parametrize(
    ("generated", "rationale", "ending"),
    [
        ("1+1", "1+1", ""),
        ("1+1<eos>", "1+1", "<eos>"),
        ("<eos>", "", "<eos>"),
        ("", "", ""),
        ("1+1 \n", "1+1 \n", ""),
        ("1+1 \n<eos>", "1+1 ", "\n<eos>"),
        ("\n<eos>", "", "\n<eos>"),
        ("1+1\n\n<eos>", "1+1\n\n", "<eos>"),
        ("1+1\nThe answer is", "1+1", "\nThe answer is"),
        ("1+1\n\nThe answer is", "1+1\n\n", "The answer is"),
        ("the ANSWER is", "", "the ANSWER is"),
        ("1+1 The answer", "1+1 The answer", ""),
        ("a The answer is b The answer is", "a ", "The answer is b The answer is"),
        ("a<eos>The answer is", "a", "<eos>"),
        ("é The answer is", "é ", "The answer is"),
    ],
)
def test_a_rationale_is_what_stands_before_stop_or_marker_and_their_separator(
    bytewise, generated, rationale, ending
):
    def ids(text: str) -> tuple[int, ...]:
        return tuple(bytewise.plain_ids(text))

    result = cut(bytewise, ids(generated), MARKER)
    assert (result.ids, result.text, result.ending) == (ids(rationale), rationale, ids(ending))
    assert result.finished == bool(ending)


def test_a_marker_is_found_across_token_borders_and_the_straddling_token_goes(merged):
    tokens = merged.plain_ids("y xThe answer is 7")
    assert merged.tokenizer.convert_ids_to_tokens(tokens)[2] == "xT"
    assert merged.tokenizer.convert_ids_to_tokens(tokens)[-1] == " is 7"
    result = cut(merged, tokens, MARKER)
    assert result.text == "y "
    assert merged.text(result.ending) == "xThe answer is 7"


def test_a_separator_inside_another_token_is_the_rationales_and_the_answer_line_goes_without():
    symbols = ["<eos>", *sorted(set("The answer is 7.\n")), ".\n"]
    tokenizer = Tokenizer(
        models.BPE(vocab={symbol: i for i, symbol in enumerate(symbols)}, merges=[(".", "\n")])
    )
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(["<eos>"])
    encoder = encoder_of(PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>"), 0)
    result = cut(encoder, encoder.plain_ids("7.\nThe answer is"), MARKER)
    assert (result.text, encoder.text(result.ending)) == ("7.\n", "The answer is")
    answer = encoder.answer_ids("The answer is 7", result.ids)
    assert encoder.text(answer) == "The answer is 7"
    assert tuple(answer[: len(result.ending)]) == result.ending  # so all of the ending is scored
    assert encoder.text(encoder.answer_ids("The answer is 7", encoder.plain_ids("7."))) == "\nThe answer is 7"
    assert encoder.text(encoder.answer_ids("The answer is 7")) == "\nThe answer is 7"


def test_generation_stops_with_the_token_that_completes_the_marker(merged):
    """A model that recites one text, whatever it is asked."""
    text = merged.plain_ids("y xThe answer is 7...")
    V = len(merged.tokenizer)
    logits = torch.zeros(V, V, V)
    for a, b, c in zip(text, text[1:], text[2:], strict=False):
        logits[a, b, c] = 50.0
    model = TableModel(TableConfig(vocab_size=V), logits).eval()
    [output] = generate(model, merged, [text[:2]], max_tokens=20, markers=MARKER)
    assert merged.text(text[:2] + list(output.tokens)) == "y xThe answer is 7"
    [short] = generate(model, merged, [text[:2]], max_tokens=3, markers=MARKER)
    assert list(short.tokens) == text[2:5]


@pytest.mark.parametrize(
    ("text", "markers", "start"),
    [
        ("so the answer is 3", ("The answer is",), 3),
        ("a B c", ("c", "b"), 2),
        ("a", (), None),
        ("(a) costs 1.5", ("1.5", "1x5"), 10),
        ("1x5", ("1.5",), None),
        ("İİ The answer is", ("The answer is",), 3),  # lower case would be longer than the text
    ],
)
def test_the_first_marker_counts_whatever_its_case(text: str, markers: tuple[str, ...], start: int | None):
    assert find_marker(text, markers) == start


def test_a_draw_inverts_the_cumulative_distribution():
    logits = torch.tensor([0.5, 0.0, 0.25, 0.25], dtype=torch.float64).log()
    uniform = torch.tensor([0.0, 0.499, 0.5, 0.749, 0.751, 0.9999999])
    tokens, logprobs = draw(logits.expand(6, -1), uniform)
    assert tokens.tolist() == [0, 0, 2, 2, 3, 3]
    assert logprobs.exp().tolist() == pytest.approx([0.5, 0.5, 0.25, 0.25, 0.25, 0.25])
    first_impossible = torch.tensor([0.0, 1.0], dtype=torch.float64).log()
    assert draw(first_impossible[None], torch.tensor([0.0]))[0].tolist() == [1]


def test_the_temperature_changes_the_distribution_that_is_drawn_from():
    logits = torch.tensor([[0.8, 0.2]]).log()  # squared and normalised: 0.941, 0.059
    assert draw(logits, torch.tensor([0.9]), temperature=1.0)[0].item() == 1
    assert draw(logits, torch.tensor([0.9]), temperature=0.5)[0].item() == 0
    assert draw(logits, torch.tensor([0.95]), temperature=0.5)[0].item() == 1
    assert draw(logits, torch.tensor([0.95]), temperature=0.5)[1].exp().item() == pytest.approx(0.04 / 0.68)


def test_a_uniform_number_just_below_one_draws_a_token_that_is_possible():
    logits = torch.full((1, 1000), -math.inf)
    logits[0, :3] = 0.0
    assert draw(logits, torch.tensor([1.0]))[0].item() == 2


def test_rare_tokens_of_a_large_vocabulary_keep_their_share():
    """One in a thousand goes to 131,071 tokens of 7.6e-9 each, an eighth of a step of single precision near 1."""
    V, likely = 131_072, 0.999
    logits = torch.full((V,), math.log((1 - likely) / (V - 1)))
    logits[0] = math.log(likely)
    rare = torch.arange(1000, 1020)
    middle = likely + (1 - likely) * (rare.double() - 0.5) / (V - 1)
    assert draw(logits.expand(20, -1), middle)[0].diff().tolist() == [1] * 19


def test_seeds_are_the_same_on_every_machine_and_differ_in_every_part():
    assert row_seed(0, 1, "q1", 2) == 4618090098099500227
    assert (
        len(
            {row_seed(0, 1, "q1", 2), row_seed(1, 0, "q1", 2), row_seed(0, 1, "q12"), row_seed(0, 1, "q", 12)}
        )
        == 4
    )
    close_to = uniforms([5, 6], 3)
    assert torch.equal(uniforms([6], 3)[0], close_to[1])
    assert torch.equal(uniforms([5], 2)[0], close_to[0, :2])
    assert float(close_to.min()) >= 0
    assert float(close_to.max()) < 1


def sampled(world, prompts, keys, **knobs):
    config = SamplingConfig(**{"rationales_per_prompt": 3, "max_rationale_tokens": 5, **knobs})
    return sample_rationales(
        world.model, world.encoder, prompts, keys, config, markers=world.markers, seed=7, step=3
    )


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_draws_do_not_depend_on_the_batch_they_are_made_in(temperature: float):
    """Otherwise a resumed run, or one on more processes, would be another run."""
    world = small_world(0, temperature=temperature)
    ids = world.encoder.prompt_ids
    prompts = [ids(text) for text in ("ab", "cdcab", "b", "ddd", "abcd", "ca")]
    keys = list("uvwxyz")
    knobs = {"temperature": temperature}
    whole = sampled(world, prompts, keys, **knobs)
    assert len({rationale.ids for rationale in whole}) > 5
    assert any(rationale.finished for rationale in whole)
    assert any(not rationale.finished for rationale in whole)
    halves = sampled(world, prompts[:3], keys[:3], **knobs) + sampled(world, prompts[3:], keys[3:], **knobs)
    alone = [r for p, key in zip(prompts, keys, strict=True) for r in sampled(world, [p], [key], **knobs)]
    assert whole == halves == alone
    for batch_rows in (1, 4, 1000):
        assert sampled(world, prompts, keys, batch_rows=batch_rows, **knobs) == whole
    assert sampled(world, prompts[::-1], keys[::-1], **knobs)[:3] == whole[-3:]


def test_the_first_k_rationales_stay_when_there_are_more():
    world = small_world(0)
    few = sampled(world, [[1, 2]], ["q"], rationales_per_prompt=2)
    assert sampled(world, [[1, 2]], ["q"], rationales_per_prompt=6)[:2] == few


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_drawn_rationales_are_as_frequent_as_they_are_likely(temperature: float):
    world = small_world(0, temperature=temperature)
    tables = tabulate(world)
    index_XPK = indices(tables, draw_groups(world, 2500, 4, seed=0), 4)
    assert all(p > 1e-3 for p in frequency_p_values(tables, index_XPK))
    other = tabulate(small_world(0, temperature=temperature + 0.15))
    assert all(p < 1e-3 for p in frequency_p_values(other, index_XPK))


def test_a_table_model_is_sampled_like_any_other():
    world = small_world(0)
    model = table_model(6, 1)
    outputs = generate(model, world.encoder, [[1, 2], [3, 4]], max_tokens=4, seeds=[1, 2])
    assert all(1 <= len(output.tokens) <= 4 for output in outputs)


def test_the_models_own_generation_settings_do_not_touch_the_policy():
    world = small_world(0)
    before = sampled(world, [[1, 2], [3, 3, 1]], ["a", "b"])
    greedy = generate(world.model, world.encoder, [[1, 2]], max_tokens=6)
    world.model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=0.1,
        top_k=1,
        top_p=0.1,
        repetition_penalty=9.0,
        eos_token_id=[1, 2],
        max_length=3,
    )
    assert sampled(world, [[1, 2], [3, 3, 1]], ["a", "b"]) == before
    assert generate(world.model, world.encoder, [[1, 2]], max_tokens=6) == greedy


def test_greedy_decoding_is_the_arg_max_loop_and_leaves_the_models_mode_as_it_was():
    model = tiny_llama(6, 3).train()
    encoder = small_world(0).encoder
    [output] = generate(model, encoder, [[1, 2, 3]], max_tokens=6)
    assert model.training
    ids = [1, 2, 3]
    while len(ids) < 9 and (len(ids) == 3 or ids[-1] != 0):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    assert list(output.tokens) == ids[3:]
    assert output.logprobs == ()


def test_a_model_that_stops_at_once_gives_empty_finished_rationales():
    logits = torch.zeros(6, 6, 6)
    logits[..., 0] = 100.0
    world = small_world(0)
    model = TableModel(TableConfig(vocab_size=6), logits).eval()
    config = SamplingConfig(rationales_per_prompt=2, max_rationale_tokens=3)
    drawn = sample_rationales(
        model, world.encoder, [[1, 2]], ["q"], config, markers=world.markers, seed=0, step=0
    )
    assert [(r.ids, r.text, r.ending, r.finished) for r in drawn] == [((), "", (0,), True)] * 2


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        (
            {"rationales_per_prompt": 1},
            "sampling.rationales_per_prompt=1: the leave-one-out baseline compares",
        ),
        ({"max_rationale_tokens": 0}, "sampling.max_rationale_tokens=0 must be at least 1"),
        ({"batch_rows": 0}, "sampling.batch_rows=0 must be at least 1"),
        ({"temperature": 0.0}, "sampling.temperature=0.0 must be a finite number above zero"),
        ({"temperature": math.inf}, "sampling.temperature=inf must be a finite number above zero"),
    ],
)
def test_impossible_sampling_is_refused_in_one_line(knobs: dict, message: str):
    with pytest.raises(InputError) as refused:
        SamplingConfig(**knobs)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)

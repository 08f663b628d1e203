"""Looking at the text only when the last token can matter. Without these, a marker could be overlooked."""

import random

import pytest

from latro.encoding import Encoder
from latro.pretraining import byte_tokenizer
from latro.rollout.ending import Ending, find_marker
from tests.latro.tiny_models import tiny_tokenizer


def encoder_of(tokenizer, stop: int) -> Encoder:
    return Encoder(
        tokenizer=tokenizer, chat=False, stop_token_ids=(stop,), end_of_answer_id=stop, pad_token_id=stop
    )


def first_end(encoder: Encoder, tokens: list[int], markers: tuple[str, ...]) -> int | None:
    """Tokens up to the first end, found by decoding everything at every step."""
    for n in range(1, len(tokens) + 1):
        whole = encoder.text(tokens[:n])
        if tokens[n - 1] in encoder.stop_token_ids or find_marker(whole, markers) is not None:
            return n
    return None


def found_end(encoder: Encoder, tokens: list[int], markers: tuple[str, ...]) -> int | None:
    ending = Ending(encoder, markers)
    return next((n for n in range(1, len(tokens) + 1) if ending.ended(tokens[:n])), None)


MARKERS = [("The answer is",), ("So é",), ("answer: ",), ("is", "7"), ()]


@pytest.mark.parametrize("kind", ["bytes", "merged"])
@pytest.mark.parametrize("markers", MARKERS)
def test_ends_are_those_found_by_decoding_all_text_at_every_step(kind: str, markers: tuple[str, ...]):
    """Texts cut at random into pieces that are tokenised apart, so that borders fall anywhere, also in a character."""
    tokenizer = byte_tokenizer(64) if kind == "bytes" else tiny_tokenizer("llama")
    encoder = encoder_of(tokenizer, tokenizer.eos_token_id)
    chance = random.Random(0)
    words = [
        "The answer is",
        " 7",
        "so É",
        "so é",
        "the ANSWER",
        " iſ",
        " is",
        "answer: ",
        "\n",
        "é",
        "x",
        "İ",
    ]
    ends = set()
    for _ in range(150):
        text = "".join(chance.choice(words) for _ in range(8))
        cuts = sorted(chance.sample(range(len(text)), 3))
        pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        tokens = [token for piece in pieces for token in encoder.plain_ids(piece)]
        if chance.random() < 0.3:
            tokens.insert(chance.randrange(len(tokens)), tokenizer.eos_token_id)
        end = first_end(encoder, tokens, markers)
        assert found_end(encoder, tokens, markers) == end
        ends.add(end)
    assert len(ends) > 3


def test_most_tokens_need_no_look_at_the_text_before_them():
    tokenizer = tiny_tokenizer("llama")
    ending = Ending(encoder_of(tokenizer, tokenizer.eos_token_id), ("The answer is",))
    for text, can in {
        "s": True,
        "S": True,
        " is": True,
        "e": False,
        "7": False,
        ".": False,
        "\n": False,
    }.items():
        token = tokenizer(text, add_special_tokens=False)["input_ids"][-1]
        assert ending.can_complete(token) == can
    assert not Ending(ending.encoder, ()).can_complete(5)


@pytest.mark.parametrize("marker", ["答案是", "🎯🎯"])
def test_a_marker_of_letters_of_several_bytes_ends_a_row(marker: str):
    tokenizer = byte_tokenizer(64)
    encoder = encoder_of(tokenizer, tokenizer.eos_token_id)
    tokens = encoder.continuation_ids(f"so {marker}")
    assert len(tokens) == 3 + len(marker.encode())
    ending = Ending(encoder, [marker])
    assert [ending.ended(tokens[: n + 1]) for n in range(len(tokens))] == [False] * (len(tokens) - 1) + [True]

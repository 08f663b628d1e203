"""Text to ids and rows to batches. Without these, a doubled beginning token or a masked real one would go unseen."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from latro.encoding import NO_RATIONALE, Encoder, Rationale, join, pad_left, pad_right, shared_length
from latro.evaluation import split_ids
from latro.pretraining import byte_tokenizer

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[me]{% endif %}"
)


def words(template: str | None = None, closing: str = "") -> PreTrainedTokenizerFast:
    """A tokenizer that adds `<bos>` itself and writes word starts as `▁`, as Llama 2's and Mistral's do.

    closing: ` <eos>` for one that also ends every text.
    """
    symbols = ["<bos>", "<eos>", *"▁abc.\n[]mesyutr", "▁a"]
    vocabulary = {symbol: i for i, symbol in enumerate(dict.fromkeys(symbols))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("▁", "a")]))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=False)
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.add_special_tokens(["<bos>", "<eos>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"<bos> $A{closing}", special_tokens=[("<bos>", 0), ("<eos>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", chat_template=template
    )


def encoder(tokenizer: PreTrainedTokenizerFast, **changes: object) -> Encoder:
    fields = {"chat": False, "stop_token_ids": (1,), "end_of_answer_id": 1, "pad_token_id": 1}
    return Encoder(tokenizer=tokenizer, **{**fields, **changes})  # type: ignore[arg-type]


def test_a_plain_prompt_gets_the_tokenizers_own_beginning_and_the_suffix():
    ids = encoder(words()).prompt_ids("a")
    assert words().convert_ids_to_tokens(ids) == ["<bos>", "▁a", "\n"]


def test_a_prompt_goes_on_also_where_the_tokenizer_ends_every_text():
    tokenizer = words(closing=" <eos>")
    assert tokenizer("a")["input_ids"][-1] == 1
    assert tokenizer.convert_ids_to_tokens(encoder(tokenizer).prompt_ids("a")) == ["<bos>", "▁a", "\n"]
    assert split_ids(encoder(tokenizer), "a", "b") == (
        words()("a")["input_ids"],
        words()("ab")["input_ids"][2:],
    )


def test_a_chat_prompt_is_rendered_once_and_begins_once():
    """Tokenising a rendered template with special tokens on gives two beginnings, as the published code does."""
    tokenizer = words(TEMPLATE)
    ids = encoder(tokenizer, chat=True).prompt_ids("a")
    assert ids.count(0) == 1
    assert tokenizer.convert_ids_to_tokens(ids)[-4:] == ["[", "m", "e", "]"]
    with_system = encoder(tokenizer, chat=True, system_prompt="b").prompt_ids("a")
    assert "".join(tokenizer.convert_ids_to_tokens(with_system)).endswith(
        "[system]b[user]a[me]".replace(" ", "▁")
    )


def test_a_continuation_has_no_space_put_before_it():
    tokenizer = words()
    assert tokenizer.convert_ids_to_tokens(tokenizer("b", add_special_tokens=False)["input_ids"]) == [
        "▁",
        "b",
    ]
    spaced = encoder(tokenizer)
    assert tokenizer.convert_ids_to_tokens(spaced.continuation_ids("b")) == ["b"]
    assert tokenizer.convert_ids_to_tokens(spaced.continuation_ids(" a")) == ["▁a"]


def test_an_answer_is_separator_line_and_end_of_turn():
    tokenizer = words()
    assert tokenizer.convert_ids_to_tokens(encoder(tokenizer).answer_ids("ab")) == ["\n", "a", "b", "<eos>"]
    bare = encoder(tokenizer, separator="")
    assert tokenizer.convert_ids_to_tokens(bare.answer_ids(" a")) == ["▁a", "<eos>"]


def test_text_comes_back_with_its_spaces_and_without_special_tokens():
    bytewise = encoder(byte_tokenizer(64))
    for text in ("", " a  b ,\n c .", "é≤😀"):
        assert bytewise.text([*bytewise.plain_ids(text), 256]) == text


def test_padding_goes_by_length():
    assert pad_right([[1], [2, 3, 4]], 9).tolist() == [[1, 9, 9], [2, 3, 4]]
    ids, mask = pad_left([[9], [2, 9, 4]], 9)
    assert ids.tolist() == [[9, 9, 9], [2, 9, 4]]
    assert mask.tolist() == [[0, 0, 1], [1, 1, 1]]


@pytest.mark.parametrize(
    ("a", "b", "length"), [((), (1,), 0), ((1, 2), (1, 2, 3), 2), ((1, 5, 3), (1, 2, 3), 1), ((4,), (5,), 0)]
)
def test_the_shared_length_is_that_of_the_common_start(a: tuple, b: tuple, length: int):
    assert shared_length(a, b) == length


def test_rows_are_joined_in_prompt_order_with_masks_from_lengths():
    """The pad id 7 is also a real token of prompt, rationale and answer."""
    rationales = [
        Rationale(ids=(7,), text="", ending=(5,)),
        Rationale(ids=(), text="", ending=()),
        Rationale(ids=(2, 7), text="", ending=(7, 6, 3, 1)),
        Rationale(ids=(3,), text="", ending=(9, 9)),
    ]
    batch = join([[1, 7], [4]], rationales, [[5, 0], [7, 6, 7]], 7)
    assert batch.ids_BT.tolist() == [
        [1, 7, 7, 5, 0, 7],
        [1, 7, 5, 0, 7, 7],
        [4, 2, 7, 7, 6, 7],
        [4, 3, 7, 6, 7, 7],
    ]
    assert batch.rationale_mask_BT.int().tolist() == [
        [0, 0, 1, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
    ]
    assert batch.answer_mask_BT.int().tolist() == [
        [0, 0, 0, 1, 1, 0],
        [0, 0, 1, 1, 0, 0],
        [0, 0, 0, 1, 1, 1],
        [0, 0, 1, 1, 1, 0],
    ]
    assert batch.before_answer_B.tolist() == [2, 1, 2, 1]
    assert batch.ending_BE.tolist() == [[5, -1, -1, -1], [-1, -1, -1, -1], [7, 6, 3, 1], [9, 9, -1, -1]]
    assert batch.rationales_per_prompt == 2
    # Two endings have tokens behind the one in which they depart from the answer; each stands in a row of its own.
    assert batch.ids_RT[4:].tolist() == [[4, 2, 7, 7, 6, 3], [4, 3, 9, 7, 7, 7]]
    assert batch.ending_row_B.tolist() == [0, 1, 4, 5]
    assert batch.owner_R.tolist() == [0, 1, 2, 3, 2, 3]
    assert batch.without_answers().ids_RT.tolist() == [
        [1, 7, 7, 5, 0, 7],
        [1, 7, 5, 0, 7, 7],
        [4, 2, 7, 7, 6, 3],
        [4, 3, 9, 7, 7, 7],
    ]
    assert batch.without_answers().ending_row_B.tolist() == [0, 1, 2, 3]
    assert not batch.without_answers().answer_mask_BT.any()
    moved = batch.to("meta")
    assert {getattr(moved, name).device.type for name in ("ids_RT", "ending_BE", "ending_row_B")} == {"meta"}


def test_a_batch_that_does_not_divide_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="3 rationales and 2 answers for 2 prompts"):
        join([[1], [2]], [NO_RATIONALE] * 3, [[1], [2]], 0)
    with pytest.raises(ValueError, match="2 rationales and 1 answers for 2 prompts"):
        join([[1], [2]], [NO_RATIONALE] * 2, [[1]], 0)


def test_no_rationale_is_empty_and_was_not_ended_by_the_model():
    assert (NO_RATIONALE.ids, NO_RATIONALE.text, NO_RATIONALE.finished) == ((), "", False)
    batch = join([[1, 2]], [NO_RATIONALE], [[3]], 0)
    assert torch.equal(batch.ids_BT, torch.tensor([[1, 2, 3]]))

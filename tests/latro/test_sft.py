"""Rows of the supervised baseline, with a toy tokenizer and no model."""

import pytest

from latro.encoding import Encoder
from latro.pretraining import byte_tokenizer
from latro.sft import IGNORED, supervised_row
from latro.types import Example


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    tokenizer = byte_tokenizer(64)
    end = tokenizer.eos_token_id
    return Encoder(
        tokenizer=tokenizer, chat=False, stop_token_ids=(end,), end_of_answer_id=end, pad_token_id=end
    )


def example(rationale: str) -> Example:
    return Example(id="1", question="1+2", prompt="1+2=", answer="#3", gold="3", rationale=rationale)


def text_of(encoder: Encoder, ids: list[int]) -> str:
    return encoder.text(ids)


def test_prompt_is_masked_and_rationale_answer_and_end_are_learned(encoder: Encoder) -> None:
    row = supervised_row(example("one and two"), encoder)
    learned = [label for label in row["labels"] if label != IGNORED]
    masked = row["input_ids"][: len(row["labels"]) - len(learned)]
    assert text_of(encoder, masked) == "1+2=\n"
    assert text_of(encoder, learned) == "one and two\n#3"
    assert learned[-1] == encoder.end_of_answer_id
    assert len(row["input_ids"]) == len(row["labels"])


def test_task_without_rationales_gives_direct_answers(encoder: Encoder) -> None:
    row = supervised_row(example(""), encoder)
    learned = [label for label in row["labels"] if label != IGNORED]
    assert learned == encoder.answer_ids("#3")


def test_row_is_the_one_that_latro_scores(encoder: Encoder) -> None:
    from latro.encoding import Rationale, join

    ids = encoder.continuation_ids("one and two")
    rationale = Rationale(ids=tuple(ids), text="one and two", ending=())
    batch = join([encoder.prompt_ids("1+2=")], [rationale], [encoder.answer_ids("#3")], encoder.pad_token_id)
    assert batch.ids_BT[0].tolist() == supervised_row(example("one and two"), encoder)["input_ids"]

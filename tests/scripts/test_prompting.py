"""How a kept model was prompted, told from how it is prompted now; no model."""

from dataclasses import replace
from pathlib import Path

from latro.encoding import Encoder
from scripts.prompting import prompted_otherwise, write_prompting

ENCODER = Encoder(
    tokenizer=None,
    chat=False,
    stop_token_ids=(0,),
    end_of_answer_id=0,
    pad_token_id=0,
    system_prompt=None,
    separator="\n",
)


def test_other_prompts_than_in_training_are_said_in_one_line(tmp_path: Path) -> None:
    write_prompting(tmp_path, ENCODER)
    assert prompted_otherwise(str(tmp_path), ENCODER) is None
    now = replace(ENCODER, chat=True, separator="")
    assert prompted_otherwise(str(tmp_path), now) == (
        f"{tmp_path} was trained with other prompts: chat False, now True; separator '\\n', now ''; "
        "see model.chat_template, model.system_prompt and separator"
    )


def test_models_from_elsewhere_say_nothing(tmp_path: Path) -> None:
    assert prompted_otherwise(str(tmp_path), ENCODER) is None
    assert prompted_otherwise(None, ENCODER) is None

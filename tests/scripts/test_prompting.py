"""How a kept model was prompted, told from how it is prompted now; no model."""

from dataclasses import replace
from pathlib import Path

from latro.encoding import Encoder
from latro.tasks.arc_challenge import ArcChallenge
from latro.tasks.gsm8k import Gsm8k
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
    write_prompting(tmp_path, ENCODER, ArcChallenge(prompt="direct"))
    assert prompted_otherwise(str(tmp_path), ENCODER, ArcChallenge(prompt="direct")) is None
    now = replace(ENCODER, chat=True, separator="")
    assert prompted_otherwise(str(tmp_path), now, ArcChallenge()) == (
        f"{tmp_path} was trained with other prompts: chat False, now True; separator '\\n', now ''; "
        "version of arc_challenge '4-direct', now '4'; "
        "see model.chat_template, model.system_prompt, separator and the task's own keys"
    )
    assert prompted_otherwise(str(tmp_path), ENCODER, Gsm8k()) is None  # another task has prompts of its own


def test_models_from_elsewhere_say_nothing(tmp_path: Path) -> None:
    assert prompted_otherwise(str(tmp_path), ENCODER, Gsm8k()) is None
    assert prompted_otherwise(None, ENCODER, Gsm8k()) is None

"""Chat templates, stop ids and pad tokens, on toy tokenizers. Without a model."""

from pathlib import Path

import pytest

from latro.errors import InputError
from latro.turns import load_tokenizer, read_turns
from tests.latro.tiny_models import tiny_tokenizer


def test_a_base_model_without_a_template_ends_with_its_end_of_text_token() -> None:
    tokenizer = tiny_tokenizer("mistral")
    tokenizer.chat_template = None
    turns = read_turns(tokenizer, None, "auto", None)
    assert (turns.chat, turns.end_of_answer_id) == (False, tokenizer.eos_token_id)
    tokenizer = tiny_tokenizer("mistral")
    tokenizer.chat_template = tokenizer.eos_token = None
    assert read_turns(tokenizer, 7, "auto", None).stop_token_ids == (7,)
    tokenizer.pad_token = None
    with pytest.raises(InputError, match="has no end-of-text token"):
        read_turns(tokenizer, None, "auto", None)


def test_a_template_comes_from_a_file_or_is_switched_off(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer("llama")
    assert read_turns(tokenizer, None, "none", None).chat is False
    tokenizer.save_pretrained(tmp_path / "best")
    saved = load_tokenizer(tmp_path / "best")
    assert read_turns(saved, None, "auto", None).chat is False, "what was trained without is saved without"
    (tmp_path / "t.jinja").write_text("{% for m in messages %}{{ m.content }}<|end_of_text|>{% endfor %}")
    turns = read_turns(tokenizer, None, str(tmp_path / "t.jinja"), None)
    assert turns.end_of_answer_id == tokenizer.convert_tokens_to_ids("<|end_of_text|>")
    with pytest.raises(InputError, match=r"chat_template=.*no such template file"):
        read_turns(tokenizer, None, str(tmp_path / "missing.jinja"), None)
    (tmp_path / "t.jinja").write_text("{% for m in messages %}{{ m.content }}")
    with pytest.raises(InputError, match="cannot render the turns user, assistant"):
        read_turns(tokenizer, None, str(tmp_path / "t.jinja"), None)


def test_a_system_prompt_that_the_template_refuses_is_refused() -> None:
    with pytest.raises(InputError, match="cannot render the turns system, user, assistant"):
        read_turns(tiny_tokenizer("mistral"), None, "auto", "Be brief.")
    with pytest.raises(InputError, match="needs a chat template"):
        read_turns(tiny_tokenizer("mistral"), None, "none", "Be brief.")


def test_a_template_that_asks_for_the_day_is_told_the_same_one_for_ever(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer("llama")
    own = tokenizer.chat_template
    read_turns(tokenizer, None, "auto", None)
    assert tokenizer.chat_template == own
    turn = [{"role": "user", "content": "x"}]
    day = "  {{ strftime_now('%d %b %Y, %A %B %y-%m %H:%M') }}\n{% for m in messages %}{{ m.content }}{% endfor %}"
    (tmp_path / "t.jinja").write_text(day)
    read_turns(tokenizer, None, str(tmp_path / "t.jinja"), None)
    told = "  26 Jul 2024, Friday July 24-07 00:00\nx"
    assert tokenizer.apply_chat_template(turn, tokenize=False) == told
    tokenizer.save_pretrained(tmp_path / "best")
    saved = load_tokenizer(tmp_path / "best")
    read_turns(saved, None, "auto", None)
    assert saved.chat_template == tokenizer.chat_template
    (tmp_path / "t.jinja").write_text(
        "\n  {% if strftime_now is defined %}{{ strftime_now('%Y') }}{% endif %}" + day
    )
    read_turns(tokenizer, None, str(tmp_path / "t.jinja"), None)
    assert tokenizer.apply_chat_template(turn, tokenize=False) == "\n2024" + told

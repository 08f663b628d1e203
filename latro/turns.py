"""How a model's turns begin and end: its tokenizer, the chat template, the tokens that stop it, the pad token."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from latro.errors import InputError, first_words

MARK = "mark"
"""Stands for an answer when a template is tried: one lower-case word, which no template alters."""
TODAY = date(2024, 7, 26)
"""What a chat template is told when it asks for the day, so that no prompt changes by it; Llama 3's own default."""
CLOCK = (
    "{%- macro strftime_now(format) -%}{{ format"
    + "".join(
        f"|replace('{code}', '{TODAY:{code}}')" for code in ("%A", "%a", "%B", "%b", "%d", "%m", "%Y", "%y")
    )
    + "|replace('%H', '00')|replace('%M', '00')|replace('%S', '00') }}{%- endmacro %}\n"
)
"""Put before a template, it takes the place of transformers' function; the line break is trimmed behind a block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """Token ids of a conversation with one model."""

    chat: bool
    """Whether prompts are rendered with the chat template."""
    stop_token_ids: tuple[int, ...]
    """All tokens with which the model ends its turn, ascending."""
    end_of_answer_id: int
    """The one that the chat template puts behind the model's turn; one of `stop_token_ids`."""
    pad_token_id: int
    """A valid id to fill rows with. It may be a real token: rows are masked by length, never by id."""


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer saved in a folder. Raises `InputError` if there is none that loads."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(folder))
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise InputError(
            f"{folder}: no tokenizer that loads ({first_words(error)}): give a folder or hub id that has one with "
            "model.tokenizer="
        ) from error


def read_turns(
    tokenizer: Any, generation_eos: int | list[int] | None, mode: str, system: str | None
) -> Turns:
    """Settle the chat template on the tokenizer and find the ids of its turns.

    `mode` is `auto` (the tokenizer's own template, plain text if it has none), `none`, or a template file.
    A pad token is chosen among those that exist (pad, unk, eos): vocabulary rows are never added.
    Raises `InputError` for a template that cannot render a question and its answer.
    """
    if mode not in ("auto", "none"):
        tokenizer.chat_template = read_template(Path(mode))
    if "strftime_now" in (tokenizer.chat_template or "") and CLOCK not in tokenizer.chat_template:
        tokenizer.chat_template = CLOCK + tokenizer.chat_template
    if mode == "none":
        tokenizer.chat_template = None  # else it is saved with the weights, and they are prompted by it later
    chat = tokenizer.chat_template is not None
    if system and not chat:
        raise InputError("model.system_prompt needs a chat template, and there is none: leave it out")
    eos = tokenizer.eos_token_id
    end = after_answer(tokenizer, system) if chat else None
    end = eos if end is None else end
    generation = generation_eos if isinstance(generation_eos, list) else [generation_eos]
    # A declared pad token that is no unknown word ends a turn too: Qwen and Phi stop on theirs.
    declared = None if tokenizer.pad_token_id == tokenizer.unk_token_id else tokenizer.pad_token_id
    stops = {i for i in (*generation, eos, end, declared) if i is not None}
    if end is None:
        end = next((i for i in generation if i is not None), None)
    if end is None:
        raise InputError(
            f"the tokenizer {tokenizer.name_or_path} has no end-of-text token: set eos_token in its configuration"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = (
            tokenizer.unk_token or tokenizer.eos_token or tokenizer.convert_ids_to_tokens(end)
        )
    return Turns(
        chat=chat,
        stop_token_ids=tuple(sorted({*stops, end})),
        end_of_answer_id=end,
        pad_token_id=tokenizer.pad_token_id,
    )


def read_template(file: Path) -> str:
    """A chat template's text. Raises `InputError` if the file is not there."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"model.chat_template={file}: no such template file: give `auto`, `none` or a Jinja file"
        ) from error


def after_answer(tokenizer: Any, system: str | None) -> int | None:
    """The special token that the chat template puts behind the model's turn; None if it puts none.

    Found by rendering a conversation and reading on behind the answer, so that it holds for any template.
    """
    turns = [{"role": "system", "content": system}] if system else []
    turns += [{"role": "user", "content": "question"}, {"role": "assistant", "content": MARK}]
    text = render(tokenizer, turns)
    if MARK not in text or "question" not in text:
        raise InputError(
            f"the chat template of {tokenizer.name_or_path} leaves out a turn: set model.chat_template="
        )
    if system and system.strip() not in text:
        raise InputError(
            f"the chat template of {tokenizer.name_or_path} leaves out the system turn: unset model.system_prompt"
        )
    rest = text[text.rindex(MARK) + len(MARK) :].lstrip()
    ids = tokenizer(rest, add_special_tokens=False)["input_ids"]
    special = set(tokenizer.all_special_ids) | {
        id for id, token in tokenizer.added_tokens_decoder.items() if token.special
    }
    special.discard(tokenizer.unk_token_id if tokenizer.unk_token_id != tokenizer.eos_token_id else None)
    return next((id for id in ids if id in special), None)


def render(tokenizer: Any, turns: list[dict[str, str]]) -> str:
    """A conversation as text. Raises `InputError` if the template is broken or refuses it."""
    from jinja2 import TemplateError

    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False))
    except (TemplateError, TypeError) as error:
        roles = ", ".join(turn["role"] for turn in turns)
        raise InputError(
            f"the chat template of {tokenizer.name_or_path} cannot render the turns {roles} "
            f"({str(error)[:120]}): set model.chat_template= or unset model.system_prompt"
        ) from error

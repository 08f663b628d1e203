"""A local chat model, over a tiny llama with random weights and a byte-level tokenizer. No download."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pract.errors import InputError
from pract.llm.base import Chat, ChatError, ChatErrorKind, HasCheck
from pract.llm.local import LocalChat
from pract.types import Message, Reply

TEMPLATE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}[assistant]"
ASK = (Message(role="user", content="Where to?"),)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(["<end>", *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>", pad_token="<end>")
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        eos_token_id=0,
        bos_token_id=0,
        pad_token_id=0,
        initializer_range=0.5,
    )
    path = tmp_path_factory.mktemp("models") / "tiny-chat"
    LlamaForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def chat(folder: str) -> LocalChat:
    return LocalChat(folder, dtype="float32")


def ask(chat: Chat, **settings: Any) -> Reply:
    asked: dict[str, Any] = {"max_tokens": 12, "temperature": 0.0, "tag": "t"} | settings
    return asyncio.run(chat.reply(asked.pop("messages", ASK), **asked))


def test_reasoning_is_no_part_of_the_reply(chat: LocalChat, monkeypatch: pytest.MonkeyPatch) -> None:
    def thinks(ids: list[int], **settings: Any) -> str:
        return "<think>Observation: none</think>\n\nlook[]\nObservation: made up"

    with monkeypatch.context() as patched:
        patched.setattr(chat._tokenizer, "decode", thinks)
        assert ask(chat).text == "look[]\nObservation: made up"
        cut = ask(chat, stop=("\nObservation:",))
        assert (cut.text, cut.finish_reason, cut.completion_tokens) == ("look[]", "stop", 12)


def test_a_reply_depends_on_its_own_seed_alone(chat: LocalChat) -> None:
    import torch

    state = torch.random.get_rng_state()
    drawn = [ask(chat, temperature=1.0, seed=seed).text for seed in (1, 2, 1)]
    assert drawn[0] == drawn[2] != drawn[1]
    assert ask(chat).text == ask(chat).text
    assert torch.equal(torch.random.get_rng_state(), state)


def test_tokens_and_the_reason_for_the_end_are_told(chat: LocalChat) -> None:
    reply = ask(chat)
    assert (reply.prompt_tokens, reply.model) == (len("[user]Where to?\n[assistant]"), "tiny-chat")
    assert (reply.completion_tokens, reply.finish_reason) == (12, "length")
    assert reply.seconds > 0
    assert chat.count_tokens("mug é") == 6
    assert chat.context_tokens == 128


def test_a_stop_text_ends_the_reply_and_is_no_part_of_it(chat: LocalChat) -> None:
    text = ask(chat, temperature=1.0, seed=5).text
    stop = next(character for character in text if character.isascii())
    cut = ask(chat, temperature=1.0, seed=5, stop=[stop])
    assert cut.text == text[: text.index(stop)]
    assert cut.completion_tokens < 12
    assert cut.finish_reason == "stop"


def test_choices_are_ranked_by_the_full_forward_pass(chat: LocalChat) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(chat.folder)
    choices = ["go", "stay here", "x", "jump"]
    prompt = chat.encode(ASK)
    expected = []
    for choice in choices:
        ids = chat.encode_text(choice)
        logprobs = model(torch.tensor([prompt + ids])).logits[0].log_softmax(-1)
        picked = [logprobs[len(prompt) - 1 + i, token].item() for i, token in enumerate(ids)]
        expected.append(sum(picked) / len(picked))
    assert chat.mean_logprobs(prompt, [chat.encode_text(choice) for choice in choices]) == pytest.approx(
        expected
    )
    reply = ask(chat, choices=choices)
    assert reply.text == choices[expected.index(max(expected))]
    assert reply.completion_tokens == 2 + 9 + 1 + 4


def test_what_does_not_fit_or_cannot_be_done_is_a_chat_error(chat: LocalChat) -> None:
    for settings, kind in (
        ({"max_tokens": 120}, ChatErrorKind.CONTEXT_LENGTH),
        ({"choices": []}, ChatErrorKind.NO_CHOICES),
        ({"choices": ["a", ""]}, ChatErrorKind.NO_CHOICES),
    ):
        with pytest.raises(ChatError) as caught:
            ask(chat, **settings)
        assert caught.value.kind is kind
    assert isinstance(chat, HasCheck)
    asyncio.run(chat.check(choices=True))
    with pytest.raises(InputError, match="a local model takes no native tools"):
        asyncio.run(chat.check(tools=True))


def test_what_cannot_be_loaded_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"m\.gguf is a GGUF file; use llm=gguf llm\.server\.path="):
        LocalChat("m.gguf")
    with pytest.raises(InputError, match=r"llm\.path=\./nowhere: no such folder"):
        LocalChat("./nowhere")
    with pytest.raises(InputError, match="cannot be loaded") as caught:
        LocalChat(str(tmp_path))
    assert "\n" not in str(caught.value)

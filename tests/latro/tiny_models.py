"""Toy models of the paper's three architectures, made in a moment: random weights, a real BPE tokenizer, a chat
template of each model's kind, saved as Hugging Face folders; and GGUF files written from them.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

SENTENCES = (
    "Let's think step by step. Tom has 3 apples and buys 4 more, so he has 3 + 4 = 7 apples.",
    "The answer is 7. The answer is 12. A train travels 60 miles in 2 hours: 60 / 2 = 30.",
    "Question: which of these is a mammal? (A) a trout (B) a whale (C) an ant. The answer is (B).",
)
KINDS = {
    "phi3": Phi3Config,
    "mistral": MistralConfig,
    "llama": LlamaConfig,
    "qwen2": Qwen2Config,
    "qwen3": Qwen3Config,
}
SPECIAL = {  # begin, end of text, end of turn, further special tokens
    "phi3": ("<s>", "<|endoftext|>", "<|end|>", ("<|user|>", "<|assistant|>", "<|system|>")),
    "mistral": ("<s>", "</s>", "</s>", ("[INST]", "[/INST]")),
    "llama": (
        "<|begin_of_text|>",
        "<|eot_id|>",
        "<|eot_id|>",
        ("<|start_header_id|>", "<|end_header_id|>", "<|end_of_text|>"),
    ),
    "qwen2": ("<|endoftext|>", "<|im_end|>", "<|im_end|>", ("<|im_start|>",)),
    "qwen3": ("<|endoftext|>", "<|im_end|>", "<|im_end|>", ("<|im_start|>",)),
}
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEMPLATES = {
    "phi3": (
        "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
    ),
    "mistral": (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }}[/INST]"
        "{% elif m.role == 'assistant' %} {{ m.content }}{{ eos_token }}"
        "{% else %}{{ raise_exception('only user and assistant turns') }}{% endif %}{% endfor %}"
    ),
    "llama": (
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
        "{{ m.content }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
    ),
    "qwen2": CHATML,
    "qwen3": CHATML,
}


def tiny_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on three sentences, with the special tokens and template of a kind; no pad token."""
    begin, end, turn, further = SPECIAL[kind]
    special = list(dict.fromkeys((begin, end, turn, *further)))
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    inner.train_from_iterator(
        SENTENCES,
        trainers.BpeTrainer(
            vocab_size=352, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=begin, eos_token=end, additional_special_tokens=[turn, *further]
    )
    tokenizer.chat_template = TEMPLATES[kind]
    return tokenizer


def tiny_model(kind: str, tokenizer: Any, *, seed: int = 0, **settings: Any) -> Any:
    """A random model of a kind, 2 layers of width 32, in eval mode; `settings` overrides its configuration."""
    from transformers import AutoModelForCausalLM

    defaults = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": None,
    }
    if kind == "qwen3":
        defaults["head_dim"] = 128  # the one width that transformers reads into a converted Qwen3
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(KINDS[kind](**defaults | settings)).eval()


def tiny_folder(kind: str, folder: Path, **settings: Any) -> Path:
    """Model and tokenizer of a kind, saved to `folder`."""
    tokenizer = tiny_tokenizer(kind)
    tiny_model(kind, tokenizer, **settings).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_gguf(
    kind: str, model: Any, tokenizer: Any, file: Path, *, output: torch.Tensor | None = None
) -> Path:
    """A GGUF file of a toy model: Q8_0 matrices where rows fit, F32 elsewhere; `output` is stored besides, if given."""
    from gguf import MODEL_ARCH, GGUFWriter, TensorNameMap

    config = model.config
    writer = GGUFWriter(file, kind)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_name("Toy")
    if kind == "qwen3":
        writer.add_key_length(config.head_dim)
    write_vocabulary(writer, tokenizer)
    names = TensorNameMap({a.name.lower(): a for a in MODEL_ARCH}[kind], config.num_hidden_layers)
    for name, parameter in model.named_parameters():
        stored = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert stored is not None, name
        weights = parameter.detach().float().numpy()
        if kind == "llama" and ("q_proj" in name or "k_proj" in name):
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            weights = paired_rotary(weights, heads)
        write_matrix(writer, stored, weights)
    if output is not None:
        write_matrix(writer, "output.weight", output.detach().float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def write_matrix(writer: Any, name: str, weights: np.ndarray) -> None:
    """One tensor: Q8_0 for matrices, F32 for vectors."""
    from gguf import GGMLQuantizationType, quantize

    if weights.ndim == 2 and weights.shape[1] % 32 == 0:
        packed = quantize(weights, GGMLQuantizationType.Q8_0)
        writer.add_tensor(name, packed, raw_dtype=GGMLQuantizationType.Q8_0)
    else:
        writer.add_tensor(name, np.ascontiguousarray(weights))


def write_vocabulary(writer: Any, tokenizer: Any) -> None:
    """The tokenizer's tokens, merges, special ids and chat template."""
    import json

    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    special = set(tokenizer.all_special_ids) | {
        i for i, t in tokenizer.added_tokens_decoder.items() if t.special
    }
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))))
    writer.add_token_types([3 if i in special else 1 for i in range(len(tokenizer))])
    writer.add_token_merges([" ".join(pair) if isinstance(pair, list) else pair for pair in merges])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.eos_token_id)
    writer.add_chat_template(tokenizer.chat_template)


def paired_rotary(weights: np.ndarray, heads: int) -> np.ndarray:
    """Rows in the order in which llama.cpp keeps Llama's rotary halves: interleaved within each head."""
    half = weights.shape[0] // heads // 2
    return weights.reshape(heads, 2, half, -1).swapaxes(1, 2).reshape(weights.shape)


def second_of_two(patch: pytest.MonkeyPatch) -> None:
    """Let transformers believe that this process is the second of a group, which it lets save nothing."""
    patch.setattr("transformers.distributed.mixin._is_torch_distributed_initialized", lambda: True)
    patch.setattr("transformers.distributed.mixin._get_torch_distributed_rank", lambda: 1)

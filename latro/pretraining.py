"""Tiny language models from scratch: a byte tokenizer, a small Llama, and a plain training loop.

Everything is saved as an ordinary Hugging Face folder, so whatever runs on it runs on a large model too.
"""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch.nn.utils.rnn import pad_sequence
from tqdm.auto import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

IGNORED = -100
"""The label that transformers' loss skips."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyLlamaShape:
    """The shape of a small Llama with tied embeddings; the defaults have 0.33 M parameters."""

    width: int = 96
    mlp_width: int = 224
    layers: int = 3
    heads: int = 4
    context: int = 2048
    """Longest sequence in tokens. Positions are rotary: a longer context costs nothing."""


def byte_tokenizer(context: int) -> PreTrainedTokenizerFast:
    """One token per UTF-8 byte, then `<eos>` (256) and `<pad>` (257): any text comes back as it was."""
    vocabulary = {symbol: index for index, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<eos>", "<pad>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )


def tiny_llama(shape: TinyLlamaShape, tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """A randomly initialised model, the same for the same seed; the global generator is left as it was."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=shape.mlp_width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def encode_batch(
    texts: list[tuple[str, str]],
    tokenizer: PreTrainedTokenizerFast,
    encode: Callable[[str], list[int]] | None = None,
) -> dict[str, torch.Tensor]:
    """Right-padded `input_ids`, `attention_mask` and `labels`, each (B, T), of (prompt, continuation) pairs.

    Only the continuation and the `<eos>` after it carry labels. encode: by default the tokenizer's.
    """
    encode = encode or _encoder(tokenizer)
    rows, labels = [], []
    for prompt, continuation in texts:
        prompt_ids = encode(prompt)
        target_ids = [*encode(continuation), tokenizer.eos_token_id]
        rows.append(torch.tensor(prompt_ids + target_ids))
        labels.append(torch.tensor([IGNORED] * len(prompt_ids) + target_ids))
    return {
        "input_ids": pad_sequence(rows, batch_first=True, padding_value=tokenizer.pad_token_id),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in rows], batch_first=True),
        "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED),
    }


def _encoder(tokenizer: PreTrainedTokenizerFast) -> Callable[[str], list[int]]:
    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
        return ids

    return encode


def fit(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    batches: Iterable[list[tuple[str, str]]],
    *,
    updates: int,
    learning_rate: float,
    warmup: int = 50,
    progress: bool = True,
    description: str = "pretraining",
) -> list[float]:
    """Train on batches of (prompt, continuation) pairs; the loss of each update, in nats per token.

    AdamW with a linear warm-up and a linear decay to a tenth of the learning rate. Dropout does not exist
    here, so the result depends on the model and the batches alone (for a fixed number of threads).
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.01)

    def scale(update: int) -> float:
        return min((update + 1) / warmup, 1 - 0.9 * update / updates)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, scale)
    model.train()
    losses = []
    encode = cache(_encoder(tokenizer))  # the same few thousand texts come again and again
    watched = sys.stderr.isatty()
    bar = tqdm(
        batches,
        total=updates,
        desc=description,
        disable=not progress,
        unit="update",
        mininterval=0.5 if watched else 15,
    )
    for texts in bar:
        loss = model(**encode_batch(texts, tokenizer, encode)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
    model.eval()
    return losses

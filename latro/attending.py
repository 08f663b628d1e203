"""Attention of our own inside a model of transformers, by its interface for attention functions.

Known are architectures whose attention is softmax(q·k) over the columns and nothing more. They pass on to the attention
function whatever forward is given, and make no mask for a function that they do not know.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from latro.rollout.limits import base_model

ARCHITECTURES = {"llama", "mistral", "phi3", "qwen2", "qwen3"}
"""Tests hold what is built on it against these models' own attention."""


def on_processor(model: Any) -> bool:
    """Whether a model can be made to attend our way, and runs where that is faster."""
    base = base_model(model)
    config = base.config
    return (
        base.device.type == "cpu"
        and config.model_type in ARCHITECTURES
        and config._attn_implementation == "sdpa"
    )


@contextmanager
def attending(model: Any, knob: str, attend: Callable[..., Tensor]) -> Iterator[None]:
    """Within the block a forward that is given `knob` attends by `attend`; any other as before.

    `attend` takes the knob, the attention module, queries [B, H, T, D], keys and values, and by name what transformers
    adds (`scaling`, `dropout`); it returns [B, T, H, D].
    """

    def chosen(
        module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **knobs: Any
    ) -> tuple[Tensor, None]:
        given = knobs.pop(knob, None)
        if given is None:
            return sdpa_attention_forward(module, query, key, value, mask, **knobs)
        return attend(given, module, query, key, value, **knobs), None

    AttentionInterface.register(f"latro_{knob}", chosen)
    with attention(model, f"latro_{knob}"):
        yield


@contextmanager
def attention(model: Any, name: str) -> Iterator[None]:
    """Within the block the model attends by the implementation of that name."""
    base = base_model(model)
    before = base.config._attn_implementation
    base.set_attn_implementation(name)
    try:
        yield
    finally:
        base.set_attn_implementation(before)


@contextmanager
def masked(model: Any) -> Iterator[None]:
    """Within the block rows of unlike length are told apart by their mask.

    Flash attention takes the padding out of all keys and values instead, in every layer for every token.
    """
    if "flash" not in str(base_model(model).config._attn_implementation):
        yield
    else:
        with attention(model, "sdpa"):
            yield

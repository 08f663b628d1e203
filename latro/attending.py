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

KINDS = {"llama", "mistral", "phi3", "qwen2", "qwen3"}
"""Tests hold what is built on it against these models' own attention."""


def on_processor(model: Any) -> bool:
    """Whether a model can be made to attend our way, and runs where that is faster."""
    base = base_model(model)
    config = base.config
    return base.device.type == "cpu" and config.model_type in KINDS and config._attn_implementation == "sdpa"


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

    base = base_model(model)
    AttentionInterface.register(f"latro_{knob}", chosen)
    base.set_attn_implementation(f"latro_{knob}")
    try:
        yield
    finally:
        base.set_attn_implementation("sdpa")

"""Whose attention may be replaced. What it computes is tested with what is built on it: packed rows, shared slots."""

from latro.attending import on_processor
from tests.latro.tiny_models import tiny_model, tiny_tokenizer


def test_only_a_known_attention_on_a_processor_is_replaced():
    tokenizer = tiny_tokenizer("llama")
    assert on_processor(tiny_model("llama", tokenizer))
    assert not on_processor(tiny_model("llama", tokenizer, attn_implementation="eager"))
    other = tiny_model("llama", tokenizer)
    other.config.model_type = "gemma2"  # squashes its scores
    assert not on_processor(other)
    assert not on_processor(tiny_model("llama", tokenizer).to("meta"))

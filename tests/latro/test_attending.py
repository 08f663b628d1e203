"""Whose attention may be replaced. What it computes is tested with what is built on it: packed rows, shared slots."""

import pytest

from latro.attending import masked, on_processor
from tests.latro.tiny_models import tiny_model, tiny_tokenizer


def test_only_a_known_attention_on_a_processor_is_replaced():
    tokenizer = tiny_tokenizer("llama")
    assert on_processor(tiny_model("llama", tokenizer))
    assert not on_processor(tiny_model("llama", tokenizer, attn_implementation="eager"))
    other = tiny_model("llama", tokenizer)
    other.config.model_type = "gemma2"  # squashes its scores
    assert not on_processor(other)
    assert not on_processor(tiny_model("llama", tokenizer).to("meta"))


def test_flash_attention_gives_way_to_a_mask_and_comes_back(monkeypatch: pytest.MonkeyPatch):
    """Its kernels are not to be had here, so only the names change."""
    model = tiny_model("llama", tiny_tokenizer("llama"))
    monkeypatch.setattr(
        type(model),
        "set_attn_implementation",
        lambda self, name: setattr(self.config, "_attn_implementation", name),
    )
    for own, inside in (("flash_attention_2", "sdpa"), ("eager", "eager")):
        model.config._attn_implementation = own
        with masked(model):
            assert model.config._attn_implementation == inside
        assert model.config._attn_implementation == own

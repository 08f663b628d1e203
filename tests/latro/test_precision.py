"""Which machine is fast in bfloat16, read off the processor's list of features; and a model cast to another."""

import pytest
import torch

from latro.models import ModelConfig, assemble, make_reference
from latro.precision import bfloat16_is_fast
from latro.sampling import LowPrecisionCopy
from tests.latro.tiny_models import tiny_model, tiny_tokenizer


@pytest.mark.parametrize(
    ("listed", "fast"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_bf16 sha_ni", True),
        ("flags\t\t: fpu amx_bf16 amx_tile", True),
        ("Features\t: fp asimd bf16 i8mm", True),
        ("flags\t\t: fpu avx2", False),
        ("flags\t\t: fpu avx512f not_bf16", False),
        ("model name : bf16", False),
    ],
)
def test_a_processor_is_fast_in_bfloat16_if_it_lists_it(tmp_path, monkeypatch, listed, fast) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor : 0\n{listed}\n")
    assert bfloat16_is_fast(cpuinfo) is fast


def test_a_machine_that_lists_nothing_is_taken_for_slow(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not bfloat16_is_fast(tmp_path / "none")


@pytest.mark.parametrize("copied", ["sampler", "reference"])
def test_a_copy_in_bfloat16_keeps_its_rotary_frequencies(copied: str) -> None:
    tokenizer = tiny_tokenizer("llama")
    policy = tiny_model("llama", tokenizer, tie_word_embeddings=True)
    if copied == "sampler":
        cast = LowPrecisionCopy(policy, torch.bfloat16).model
    else:
        config = ModelConfig(path="memory", reference_dtype="bfloat16")
        cast = make_reference(assemble(policy, tokenizer, config=config), config).model  # type: ignore[attr-defined]
    assert {p.dtype for p in cast.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in policy.parameters()} == {torch.float32}
    assert cast.lm_head.weight is cast.model.embed_tokens.weight
    assert cast.model.rotary_emb.inv_freq.dtype == torch.float32
    assert torch.equal(cast.model.rotary_emb.inv_freq, policy.model.rotary_emb.inv_freq)


def test_a_copy_takes_the_policys_present_weights_when_it_is_renewed() -> None:
    policy = tiny_model("llama", tiny_tokenizer("llama"))
    copied = LowPrecisionCopy(policy, torch.bfloat16)
    with torch.no_grad():
        policy.lm_head.weight.fill_(0.75)  # exact in bfloat16
    assert copied.renewed(policy).lm_head.weight.unique().tolist() == [0.75]
    assert not any(parameter.requires_grad for parameter in copied.model.parameters())

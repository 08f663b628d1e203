"""The plan's arithmetic: against literal numbers, and against the bytes that a tiny model's update really held."""

import weakref
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import LlamaConfig, LlamaForCausalLM

from latro import fused_head, planning, scored_tokens
from latro.adapters import LoraSettings, add_lora
from latro.encoding import Rationale, join
from latro.errors import InputError
from latro.hardware import Hardware, hardware_given
from latro.likelihood import likelihood
from latro.planning import ModelSizes, Work, flop_parts, memory_parts, model_sizes, time_parts
from latro.scored_tokens import ScoringConfig

CONFIG = {
    "hidden_size": 512, "num_hidden_layers": 8, "intermediate_size": 1408, "num_attention_heads": 8,
    "num_key_value_heads": 4, "vocab_size": 32768, "tie_word_embeddings": True,
}  # fmt: skip


class Live(TorchDispatchMode):
    """Counts the bytes of tensors that are alive, and remembers the most."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known: set[int] = set()

    def freed(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                key = storage._cdata
                if key not in self.known and storage.nbytes():
                    self.known.add(key)
                    self.now += storage.nbytes()
                    self.most = max(self.most, self.now)
                    weakref.finalize(storage, self.freed, key, storage.nbytes())
        return result


SIZES = ModelSizes(
    hidden=64, layers=3, intermediate=112, query=64, key=32, heads=4, vocabulary=512, tied=True
)


def held(scoring: ScoringConfig, lora: bool, checkpointing: bool = False, ending: int = 0) -> int:
    """Most bytes alive at once during one update of two groups of four, above the model.

    ending: of the rationale's 80 tokens, how many are an ending of its own.
    """
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=512, hidden_size=64, intermediate_size=112, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, tie_word_embeddings=True,
        )
    )  # fmt: skip
    if lora:
        model = add_lora(model, LoraSettings(r=4))
    if checkpointing:
        model.train()
        model.activation_checkpointing_enable()
    text = partial(torch.randint, 512)
    rationales = [
        Rationale(ids=tuple(text((80 - ending,)).tolist()), text="", ending=(1, 2, 3, 4)[:ending])
        for _ in range(8)
    ]
    batch = join([text((40,)).tolist()] * 2, rationales, [text((8,)).tolist()] * 2, 0)
    with Live() as live:
        live.known |= {weight.untyped_storage()._cdata for weight in model.parameters()}
        result = likelihood(model, batch, score_stop=ending > 0, scoring=scoring)
        (result.rationale_B.sum() + result.answer_BT.sum()).backward()
    return live.most


@pytest.mark.parametrize(
    ("scoring", "lora", "checkpointing"),
    [
        (ScoringConfig(), False, False),
        (ScoringConfig(head_memory=0.5e6 / 2**30), False, False),
        (ScoringConfig(head_memory=1.0), False, False),
        (ScoringConfig(), True, False),
        (ScoringConfig(fused_head=False), False, False),
        (ScoringConfig(rows=2), False, False),
        (ScoringConfig(share_prompt=True), False, False),
        (ScoringConfig(share_prompt=True), True, False),
        (ScoringConfig(share_prompt=True, pack_rows=False), False, False),
        (ScoringConfig(), False, True),
    ],
    ids=[
        "fused",
        "less kept",
        "all kept",
        "lora",
        "plain head",
        "rows",
        "packed",
        "packed lora",
        "shared prompt",
        "checkpointing",
    ],
)
def test_an_updates_memory_is_what_the_plan_says(scoring, lora, checkpointing, monkeypatch):
    for module in (fused_head, planning):
        monkeypatch.setattr(module, "CHUNK" if module is fused_head else "HEAD_CHUNK", 2**18)
    monkeypatch.setattr(fused_head, "BLOCK", 2**11)
    for module, name in ((scored_tokens, "CHUNK"), (planning, "PLAIN_CHUNK")):
        monkeypatch.setattr(module, name, 128)
    work = Work(
        prompts=2, micro_batches=1, K=4, prompt=40, rationale=80, answer=8, lora_rank=4 if lora else None,
        fused_head=scoring.fused_head, head_memory=scoring.head_memory, share_prompt=scoring.share_prompt,
        packed=scoring.pack_rows, rows=scoring.rows, checkpointing=checkpointing,
    )  # fmt: skip
    planned = memory_parts(SIZES, work)["update"]
    assert held(scoring, lora, checkpointing) == pytest.approx(planned, rel=0.08 if checkpointing else 0.02)


@pytest.mark.parametrize(
    "scoring",
    [ScoringConfig(), ScoringConfig(share_prompt=True, pack_rows=False), ScoringConfig(rows=2)],
)
def test_rows_of_endings_are_at_most_what_the_plan_says(scoring, monkeypatch):
    for module, name in ((fused_head, "CHUNK"), (planning, "HEAD_CHUNK")):
        monkeypatch.setattr(module, name, 2**18)
    monkeypatch.setattr(fused_head, "BLOCK", 2**11)
    work = Work(
        prompts=2, micro_batches=1, K=4, prompt=40, rationale=80, answer=8, share_prompt=scoring.share_prompt,
        rows=scoring.rows,
    )  # fmt: skip
    planned = memory_parts(SIZES, replace(work, side_rows=True))["update"]
    assert planned > 1.6 * memory_parts(SIZES, work)["update"]
    assert held(scoring, False, ending=4) == pytest.approx(planned, rel=0.06)


def test_a_mixture_of_experts_is_not_planned_as_if_it_were_dense():
    with pytest.raises(InputError, match=r"config.json: num_local_experts=8: plan=true knows no mixtures"):
        model_sizes(CONFIG | {"num_local_experts": 8}, "config.json")


def test_the_sizes_are_those_of_the_configuration():
    model = model_sizes(CONFIG, "config.json")
    assert (model.parameters, model.layers * model.layer) == (40_378_880, 23_592_960)
    assert model.key == 256
    real = LlamaForCausalLM(LlamaConfig(**CONFIG))
    assert model.parameters == sum(p.numel() for p in real.parameters())
    with pytest.raises(InputError, match=r"config.json: no hidden_size: plan=true"):
        model_sizes({"n_embd": 4}, "config.json")


def test_flops_are_the_papers_arithmetic():
    """One pass of eight rows of 100 + 200 + 12 tokens: 1236 and 836 token-forwards of body and head."""
    work = Work(prompts=1, micro_batches=1, K=8, prompt=100, rationale=200, answer=12, head_memory=1.0)
    flop = flop_parts(model_sizes(CONFIG, "config.json"), work)
    body, head = 23_592_960, 16_777_216
    assert flop["reference"] + flop["update"] == pytest.approx(2 * 8 * (1236 * body + 836 * head))
    assert flop["decode"] == pytest.approx(2 * 8 * 200 * (body + head))


def test_logits_that_are_not_kept_cost_the_heads_product_once_more():
    work = Work(prompts=1, micro_batches=1, K=8, prompt=100, rationale=200, answer=12)
    model, body, head = model_sizes(CONFIG, "config.json"), 23_592_960, 16_777_216
    half = 8 * 212 * 32768 * 4 / 2 / 2**30
    for memory, products in ((0.0, 1048), (half, 942), (1.0, 836)):
        flop = flop_parts(model, replace(work, head_memory=memory))
        assert flop["reference"] + flop["update"] == pytest.approx(2 * 8 * (1236 * body + products * head))


def test_memory_adds_up():
    model = model_sizes(CONFIG, "config.json")
    work = Work(prompts=1, micro_batches=2, K=8, prompt=100, rationale=200, answer=12)
    parts = memory_parts(model, work)
    assert parts["weights"] == parts["reference"] == parts["gradients"] == 4 * model.parameters
    assert parts["optimizer"] == 8 * model.parameters
    assert parts["peak"] == parts["resident"] + parts["update"]
    lora = memory_parts(model, Work(prompts=1, micro_batches=1, K=8, prompt=1, rationale=1, answer=1, lora_rank=16,
                                    reference_bytes=0))  # fmt: skip
    assert lora["reference"] == 0
    assert lora["gradients"] == 4 * 8 * 16 * (2 * 1024 + 2 * 768 + 3 * 1920)


def test_a_short_update_ends_with_all_gradients_and_a_tied_matrix_twice():
    tied = replace(model_sizes(CONFIG, "config.json"), tied=True)
    short = Work(prompts=1, micro_batches=1, K=1, prompt=1, rationale=1, answer=1)
    assert memory_parts(tied, short)["update"] == 4 * tied.parameters + 4 * tied.matrix
    untied = replace(tied, tied=False)
    assert memory_parts(untied, short)["update"] == 4 * untied.parameters


def test_a_vllm_beside_the_training_is_there_all_the_time_unless_it_sleeps():
    model = model_sizes(CONFIG, "config.json")
    work = Work(prompts=1, micro_batches=1, K=8, prompt=100, rationale=200, answer=12)
    alone = memory_parts(model, work)
    elsewhere = replace(work, vllm_samples=True)
    beside = memory_parts(model, replace(elsewhere, vllm_bytes=5e9))
    assert (beside["sampling"], beside["vllm"]) == (0, 5e9)
    assert beside["peak"] == alone["resident"] + alone["update"] + 5e9
    sleeping = memory_parts(model, replace(elsewhere, vllm_bytes=5e9, vllm_sleeps=True))
    assert sleeping["peak"] == alone["resident"] + 5e9
    served = memory_parts(model, elsewhere)
    assert served["peak"] == alone["resident"] + alone["update"]


def test_beside_a_vllm_that_only_evaluates_the_policy_draws_as_it_does_alone():
    model = model_sizes(CONFIG, "config.json")
    work = Work(prompts=1, micro_batches=1, K=8, prompt=1, rationale=20000, answer=1, batch_rows=512, rows=1,
                checkpointing=True)  # fmt: skip
    alone = memory_parts(model, work)
    assert alone["sampling"] > alone["update"]
    beside = memory_parts(model, replace(work, vllm_bytes=5e9))
    assert beside["sampling"] == alone["sampling"]
    assert beside["peak"] == alone["peak"] + 5e9
    sleeping = memory_parts(model, replace(work, vllm_bytes=5e9, vllm_sleeps=True))
    assert sleeping["peak"] == alone["resident"] + max(alone["sampling"], 5e9)


def test_decoding_few_rows_is_bound_by_reading_and_scoring_by_multiplying():
    model = model_sizes(CONFIG, "config.json")
    work = Work(prompts=1, micro_batches=1, K=8, prompt=100, rationale=200, answer=12)
    slow_memory = time_parts(model, work, hardware_given("1e12,1e9,10"))
    fast_memory = time_parts(model, work, hardware_given("1e12,2e9,10"))
    assert slow_memory["update"] == fast_memory["update"]
    assert slow_memory["sampling"] > 1.9 * fast_memory["sampling"]


@pytest.mark.parametrize(
    ("precision", "sampling", "update"),
    [
        ({}, 0.33387, 1.38197),
        ({"weight_bytes": 2, "reference_bytes": 2}, 0.08347, 0.34549),
        ({"weight_bytes": 2, "reference_bytes": 0}, 0.08347, 0.34549),
        ({"reference_bytes": 2}, 0.33387, 1.13157),
        ({"sampler_bytes": 2}, 0.08347, 1.38197),
        ({"autocast": True}, 0.08347, 0.34549),
        ({"autocast": True, "sampler_bytes": 4}, 0.33387, 0.34549),
    ],
)
def test_products_take_the_time_of_their_precision(precision, sampling: float, update: float) -> None:
    """0.1669 TFLOP of sampling, as many of the reference, 0.5241 of the update; half of 1 or 4 TFLOP/s is reached."""
    work = Work(prompts=1, micro_batches=1, K=8, prompt=100, rationale=200, answer=12, head_memory=1.0)
    machine = Hardware(name="toy", flops=4e12, float32_flops=1e12, bandwidth=1e18)
    seconds = time_parts(model_sizes(CONFIG, "config.json"), replace(work, **precision), machine)
    assert (seconds["sampling"], seconds["update"]) == pytest.approx((sampling, update), abs=1e-5)
    assert seconds["step"] == seconds["sampling"] + seconds["update"]


def test_decoding_is_counted_at_the_rate_of_narrow_products_where_that_was_measured() -> None:
    """Tokens drawn at 0.25 TFLOP/s and prompts read at 1, half of which is reached."""
    work = Work(prompts=1, micro_batches=1, K=8, prompt=100, rationale=200, answer=12, head_memory=1.0)
    machine = Hardware(name="toy", flops=4e12, float32_flops=1e12, bandwidth=1e18, narrow_flops=0.25e12)
    model = model_sizes(CONFIG, "config.json")
    flop, seconds = flop_parts(model, work), time_parts(model, work, machine)
    assert seconds["sampling"] == pytest.approx(2 * (flop["decode"] / 0.25e12 + flop["prefill"] / 1e12))
    assert seconds["update"] == pytest.approx(1.38197, abs=1e-5)


def test_bfloat16_is_as_slow_as_float32_where_only_float16_is_computed() -> None:
    old = Hardware(name="toy", flops=4e12, float32_flops=1e12, bandwidth=1e18, bfloat16=False)
    assert [old.rate(4, "bfloat16"), old.rate(2, "bfloat16"), old.rate(2, "float16")] == [1e12, 1e12, 4e12]
    given = hardware_given("4e12,1e9,10")
    assert [given.rate(4, "bfloat16"), given.rate(2, "bfloat16")] == [4e12, 4e12]


def test_rationales_share_a_prompt_where_they_are_drawn() -> None:
    work = Work(prompts=2, micro_batches=3, K=4, prompt=40, rationale=80, answer=8, batch_rows=10)
    once = replace(work, prefilled_once=True, prompt_kept_once=True)
    each = flop_parts(SIZES, work)["prefill"]
    assert (each, flop_parts(SIZES, once)["prefill"]) == (24 * 40 * 2 * 3 * SIZES.layer, each / 4)
    apart, shared = (memory_parts(SIZES, one)["sampling"] for one in (work, once))
    logits = 10 * 12 * 512
    assert apart == 2 * 3 * 32 * 4 * (10 * 120) + logits
    assert shared == 2 * 3 * 32 * 4 * (10 * 80 + 3 * 40) + logits  # ten rows are of three prompts

"""What goes to the plain engine, and how many rows fit. Without these, a model could be sampled wrongly in silence."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM

from latro.exact import small_world
from latro.rollout import continuous, limits
from latro.rollout.base import Request
from latro.rollout.continuous import ContinuousEngine
from latro.rollout.limits import fewest, find_obstacle, rotary_reach, row_bytes, rows_that_fit
from latro.rollout.plain import GenerateEngine
from scripts.building import context_length
from tests.fakes import table_model
from tests.latro.pairs import in_pair
from tests.latro.tiny_models import tiny_model, tiny_tokenizer

TOKENIZER = tiny_tokenizer("mistral")


@pytest.mark.parametrize("kind", ["phi3", "mistral", "llama", "qwen2", "qwen3"])
def test_plain_decoders_are_taken(kind: str):
    assert find_obstacle(tiny_model(kind, TOKENIZER), 200) is None


def test_a_window_counts_only_where_rows_outgrow_it():
    model = tiny_model("mistral", TOKENIZER, sliding_window=32)
    assert find_obstacle(model, 32) is None
    assert find_obstacle(model, 33) == "rows outgrow the attention's window of 32 tokens"


def test_rotary_frequencies_that_change_with_length_are_refused_only_behind_that_length():
    rope = {
        "rope_type": "dynamic",
        "factor": 2.0,
        "rope_theta": 10000.0,
        "original_max_position_embeddings": 64,
    }
    model = tiny_model("llama", TOKENIZER, rope_parameters=rope)
    assert find_obstacle(model, 64) is None
    assert find_obstacle(model, 65) == "rotary frequencies change behind 64 tokens, for all rows at once"
    assert rotary_reach(model.config) == context_length(model) == 64


def test_models_without_a_plain_cache_are_refused():
    mamba = MambaForCausalLM(MambaConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, state_size=4))
    assert find_obstacle(mamba, 10) == "MambaForCausalLM keeps no plain cache of keys and values"
    assert find_obstacle(table_model(6, 0), 10) == "TableModel keeps no plain cache of keys and values"


@pytest.mark.parametrize("how", ["deepspeed", "fsdp", "fsdp2"])
def test_sharded_weights_go_to_the_plain_engine(how: str, monkeypatch: pytest.MonkeyPatch):
    """Processes that share weights must call forward equally often, as `generate` does."""
    model = tiny_model("llama", TOKENIZER)
    if how == "deepspeed":
        monkeypatch.setattr("transformers.integrations.deepspeed.is_deepspeed_zero3_enabled", lambda: True)
    elif how == "fsdp":
        monkeypatch.setattr("transformers.integrations.fsdp.is_fsdp_managed_module", lambda model: True)
    else:
        monkeypatch.setattr("torch.distributed.tensor.DTensor", torch.nn.Parameter)
    assert find_obstacle(model, 20) == (
        "the weights are sharded, and all processes must call forward equally often"
    )


@pytest.mark.parametrize(
    ("sharded", "processes", "synced"), [(True, 2, True), (True, 1, None), (False, 2, None)]
)
def test_processes_that_share_weights_decode_in_step(
    sharded: bool, processes: int, synced: bool | None, monkeypatch: pytest.MonkeyPatch
):
    """FSDP's second version marks nothing that transformers looks at: unasked, `generate` would stop by itself."""
    model, encoder = tiny_model("llama", TOKENIZER), small_world(0).encoder
    told = []

    def stop_at_once(ids_BT, **settings):
        told.append(settings["synced_gpus"])
        return ids_BT

    monkeypatch.setattr(model, "generate", stop_at_once)
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: processes)
    if sharded:
        monkeypatch.setattr("torch.distributed.tensor.DTensor", torch.nn.Parameter)
    GenerateEngine(2).continuations(model, encoder, Request(prompts=[[1, 2]], seeds=[1], max_tokens=5))
    assert told == [synced]


def test_what_cannot_be_taken_is_decoded_by_generate_and_said_once(caplog, monkeypatch: pytest.MonkeyPatch):
    continuous.say_once.cache_clear()
    model, encoder = table_model(6, 1), small_world(0).encoder
    request = Request(prompts=[[1, 2], [3, 4], [1, 2]], seeds=[1, 2, 3], max_tokens=5)
    plain = GenerateEngine(2).continuations(model, encoder, request)
    for _ in range(2):
        assert ContinuousEngine(2).continuations(model, encoder, request) == plain
    assert [record.getMessage() for record in caplog.records] == [
        "sampling.engine=continuous: TableModel keeps no plain cache of keys and values; "
        "using sampling.engine=generate instead"
    ]


@dataclass(frozen=True)
class Shape:
    num_hidden_layers: int = 30
    num_attention_heads: int = 9
    num_key_value_heads: int | None = 3
    hidden_size: int = 576
    vocab_size: int = 49_152


def test_a_row_takes_its_keys_and_values_and_the_scores_of_one_token():
    """SmolLM2-135M: 30 layers x 2 x 3 heads x 64 wide x 4 bytes = 46,080 bytes a token."""
    assert row_bytes(Shape(), 400, 4) == 46_080 * 400 + 12 * 49_152
    assert row_bytes(Shape(), 400, 2) == 23_040 * 400 + 12 * 49_152
    assert row_bytes(replace(Shape(), num_key_value_heads=None), 1, 4) == 3 * 46_080 + 12 * 49_152


def test_rows_are_chosen_from_half_of_the_free_memory(monkeypatch: pytest.MonkeyPatch):
    model = tiny_model("llama", TOKENIZER)
    one = row_bytes(model.config, 100, 4)
    for free, rows in ((2 * 7 * one, 7), (2 * 7 * one - 1, 6), (0, 1), (10**15, 256)):
        monkeypatch.setattr(limits, "free_bytes", lambda device, free=free: free)
        assert rows_that_fit(model, 100) == rows
    monkeypatch.undo()
    assert 1 <= rows_that_fit(model, 100) <= 256


def smallest_of(rank: int) -> int:
    return fewest(7 - 3 * rank, torch.device("cpu"))


def test_processes_agree_on_the_fewest_rows(tmp_path: Path):
    assert in_pair(smallest_of, tmp_path) == [4, 4]


def test_rows_that_share_weights_are_agreed_on(monkeypatch: pytest.MonkeyPatch):
    model = tiny_model("llama", TOKENIZER)
    assert rows_that_fit(model, 40) > 1
    monkeypatch.setattr("latro.rollout.limits.must_keep_step", lambda model: True)
    monkeypatch.setattr("latro.rollout.limits.fewest", lambda rows, device: 1)
    assert rows_that_fit(model, 40) == 1


def test_memory_that_torch_holds_unused_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10, 80))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 66)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 4)
    assert limits.free_bytes(torch.device("cuda")) == 72


def test_a_control_groups_limit_holds_and_is_shared_by_the_processes_of_a_host(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 400\ninactive_file 200\n")
    assert limits.group_bytes(tmp_path) == 500
    (tmp_path / "memory.max").write_text("max\n")
    assert limits.group_bytes(tmp_path) == math.inf
    assert limits.group_bytes(tmp_path / "none") == math.inf
    monkeypatch.setattr(limits, "group_bytes", lambda: 500)
    assert limits.free_bytes(torch.device("cpu")) == 500
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert limits.free_bytes(torch.device("cpu")) == 250


def test_a_window_of_nothing_is_none():
    assert find_obstacle(tiny_model("mistral", TOKENIZER, sliding_window=0), 64) is None

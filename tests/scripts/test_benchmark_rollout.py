"""The rollout's benchmark at its smallest, and its bars. Without these, ours could fall behind unnoticed."""

from types import SimpleNamespace

import pytest
import torch

from latro.encoding import Rationale
from scripts import benchmark_rollout
from scripts.benchmark_models import small_bench
from scripts.benchmark_rollout import (
    SCHEMES,
    SIZES,
    Outcome,
    ceilings,
    rollout_failures,
    rollout_rows,
    shortest,
)
from scripts.benchmark_schemes import COPIES
from scripts.measuring import Spent
from scripts.other_rollouts import published_rollout, stock_rollout


def test_the_smallest_rollout_is_ahead_of_the_published_one():
    rows = rollout_rows(SIZES["small"], rounds=5, say=lambda line: None)
    assert [row["scheme"] for row in rows] == ["published", "stock RLOO", "ours"]
    assert rollout_failures(SIZES["small"], rows) == []
    assert rows[0]["times_faster"] == rows[0]["times_finished_per_s"] == 1.0
    assert rows[2]["times_faster"] == rows[2]["rationales_per_s"] / rows[0]["rationales_per_s"]
    assert rows[0]["decoded_per_s"] > rows[0]["kept_per_s"]  # it decodes behind the end
    assert rows[2]["decoded_per_s"] == rows[2]["kept_per_s"]
    assert 0 < rows[2]["mean_kept"] < SIZES["small"].max_tokens


def test_the_published_scheme_decodes_every_row_to_the_last_token():
    bench = small_bench(48)
    bench.model.generation_config.eos_token_id = list(bench.encoder.stop_token_ids)
    outputs = published_rollout(bench.model, bench.encoder, bench.prompts[:2], 3, 20, seed=0)
    assert [len(output) for output in outputs] == [20] * 6
    assert len(set(outputs)) == 6
    assert any(token in bench.encoder.stop_token_ids for output in outputs for token in output[:-1])


def test_trls_rows_end_with_the_end_of_text() -> None:
    bench = small_bench(48)
    end = bench.encoder.tokenizer.eos_token_id
    outputs = stock_rollout(bench.model, bench.encoder, bench.prompts[:24], 8, 40, seed=0)
    ended = [output for output in outputs if output[-1] == end]
    assert ended
    assert len(outputs) == 24 * 8
    assert all(end not in output[:-1] for output in outputs)
    assert all(len(output) == 40 for output in outputs if output[-1] != end)
    bench.model.generation_config.eos_token_id = [end, 40]
    outputs = stock_rollout(bench.model, bench.encoder, bench.prompts[:24], 8, 40, seed=0)
    assert {output[-1] for output in outputs if len(output) < 40} == {end, 40}
    assert all(not {end, 40} & set(output[:-1]) for output in outputs)


def test_a_bar_that_is_missed_is_said_with_both_figures():
    mine = {"scheme": "ours", "times_decoded_per_s": 0.5, "times_finished_per_s": 2.0}
    assert rollout_failures(SIZES["small"], [{"scheme": "published"}, mine]) == [
        "tiny Llama, K=8, up to 48 tokens, ours: 0.50 times the published scheme's tokens per second, not 1.0"
    ]
    assert (
        rollout_failures(SIZES["small"], [mine, mine | {"scheme": COPIES}]) == []
    )  # bars are of the published scheme


def test_with_copies_rationales_are_drawn_in_bfloat16_and_the_policy_stays_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drew: list[torch.dtype] = []
    sample = benchmark_rollout.sample_rationales

    def watched(model, *args, **kwargs) -> list[Rationale]:
        drew.append(model.dtype)
        return sample(model, *args, **kwargs)

    monkeypatch.setattr(benchmark_rollout, "sample_rationales", watched)
    bench = small_bench(48)
    outcome = SCHEMES[COPIES](bench, shortest(SIZES["small"]), 0)
    assert drew == [torch.bfloat16]
    assert bench.model.dtype == torch.float32
    assert outcome.rationales == 2


def test_work_on_paper_is_held_against_what_the_machine_multiplies_and_reads() -> None:
    """A model of 1000 weights in two layers with two key-value heads 8 wide; prompts of 10 tokens."""
    config = SimpleNamespace(head_dim=8, num_hidden_layers=2, num_key_value_heads=2)
    bench = SimpleNamespace(
        model=SimpleNamespace(num_parameters=lambda: 1000, config=config), prompts=[[0] * 10] * 3
    )
    outcome = Outcome(
        decoded=40, kept=40, rationales=8, finished=0, forwards=6, columns=80, peak_mb=1.0,
        taken=Spent(cpu=2.0, wall=1.0),
    )  # fmt: skip
    column = 2 * 2 * 2 * 8 * 4
    for scheme, prompt in (("published", 10.0), ("ours", 10 / 8)):
        found = ceilings(SIZES["small"], scheme, [outcome], bench, torch.float32, (1e6, 1e6))  # type: ignore[arg-type]
        assert found["flops"] == 2 * 1000 * 40
        assert found["of_matmul_ceiling"] == pytest.approx(80_000 / 2.0 / 1e6)
        assert found["of_bandwidth_ceiling"] == pytest.approx(
            (6 * 4000 + column * (80 + 40 * prompt)) / 1.0 / 1e6
        )


def test_calls_of_the_model_and_columns_are_counted() -> None:
    outcome = SCHEMES["published"](small_bench(48), shortest(SIZES["small"]), 0)
    assert (outcome.decoded, outcome.forwards, outcome.columns) == (4, 2, 2)  # two rows of two tokens


def test_at_other_sizes_ours_has_to_be_ahead_in_both_counts() -> None:
    other = SIZES["full"].varied({"K": 4})
    assert other.name == "SmolLM2-135M on GSM8K, K=4, up to 300 tokens"
    assert (other.least_tokens, other.least_finished, other.slots) == (1.0, 1.0, 256)
    assert SIZES["full"].varied({}) is SIZES["full"]

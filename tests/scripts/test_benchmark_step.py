"""The benchmark of whole steps at its smallest: what each scheme does is what is claimed, and a missed bar is said."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from latro.errors import InputError
from latro.planning import Work, model_sizes
from latro.trainer import LatroTrainer
from scripts import step_schemes
from scripts.benchmark_models import small_bench
from scripts.benchmark_schemes import COPIES
from scripts.benchmark_step import step_failures, step_rows, traffic
from scripts.measuring import Spent
from scripts.memory_traffic import update_traffic
from scripts.step_schemes import SCHEMES, StepTaken, published_step
from scripts.step_sizes import SIZES


def test_the_smallest_step_is_ahead_of_the_published_one() -> None:
    rows = step_rows(SIZES["small"], rounds=1, say=lambda line: None)
    published, stock, mine = rows
    assert [row["scheme"] for row in rows] == ["published", "stock RLOO", "ours"]
    assert published["tokens"] == 12 * 8 * 48  # every row to its last token
    assert (
        mine["tokens"] < stock["tokens"] < published["tokens"]
    )  # trl knows one end of a text, we the task's as well
    assert published["times_faster"] == 1.0
    seconds = f"{mine['clock']}_seconds"
    assert mine["times_faster"] == published[seconds] / mine[seconds]
    assert mine["times_faster"] > 1.0
    assert all(0 < row["of_bandwidth_ceiling"] < 1 for row in rows)


@pytest.mark.parametrize("clock", ["cpu", "wall"])
def test_a_bar_that_is_missed_is_said_with_both_figures(clock: str) -> None:
    took = {"published": 30.0, "stock RLOO": 14.0, "ours": 10.0}
    rows = [
        {"scheme": name, "shape": "a step", "clock": clock, "cpu_seconds": 1.0, "wall_seconds": 1.0}
        | {f"{clock}_seconds": seconds}
        for name, seconds in took.items()
    ]
    assert step_failures(SIZES["full"], rows) == [
        "a step: 'published' takes 3.00 times as long as 'ours', not 4.0",
        "a step: 'stock RLOO' takes 1.40 times as long as 'ours', not 1.5",
    ]


def test_more_prompts_a_step_are_decoded_all_at_once_and_fill_whole_batches() -> None:
    more = SIZES["full"].varied({}, 24)
    assert more.name == "24 prompts of SmolLM2-135M on GSM8K, K=8, up to 300 tokens"
    assert (more.rollout.prompts, more.rollout.slots, more.least_published) == (24, 192, 4.0)
    with pytest.raises(InputError, match=r"prompts=7: a step of SmolLM2-135M on GSM8K takes a multiple of 3"):
        SIZES["full"].varied({}, 7)
    with pytest.raises(InputError, match=r"prompts=6: a step of tiny Llama takes a multiple of 12 prompts"):
        SIZES["small"].varied({}, 6)


def test_a_few_batches_of_a_published_step_tell_its_pace() -> None:
    size = SIZES["small"].varied({}, 12, published_batches=3)
    assert size.rollout.prompts // size.rollout.published_prompts == 4
    taken = published_step(small_bench(12), size, 2)
    assert (taken.tokens, taken.share) == (3 * 3 * 8 * 48, 0.75)
    assert (taken.whole.cpu, taken.whole.wall) == (taken.taken.cpu / 0.75, taken.taken.wall / 0.75)
    full = SIZES["full"]
    assert (full.published_batches, full.varied({}).published_batches) == (1, 1)
    assert full.varied({}, published_batches=4).published_batches == 4
    with pytest.raises(InputError, match="published_batches=5: 12 prompts are 4 batches"):
        SIZES["small"].varied({}, 12, published_batches=5)


def test_each_round_takes_other_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def rollout(model: Any, encoder: Any, prompts: Any, *_: Any) -> list[tuple[int, ...]]:
        seen.extend(prompts)
        return [(5,)] * (len(prompts) * 8)

    monkeypatch.setattr(step_schemes, "published_rollout", rollout)
    size, bench = SIZES["small"].varied({}, 12, published_batches=1), small_bench(12)
    for seed in range(4):
        published_step(bench, size, seed)
    assert seen == list(bench.prompts)


def test_at_other_sizes_ours_has_to_be_ahead() -> None:
    other = SIZES["full"].varied({"K": 4, "rationale": 100})
    assert other.name == "12 prompts of SmolLM2-135M on GSM8K, K=4, up to 100 tokens"
    assert (other.rollout.slots, other.least_published, other.least_stock) == (48, 1.0, 1.0)


def test_bars_are_of_the_schemes_that_were_measured() -> None:
    published, mine = step_rows(
        SIZES["small"], rounds=1, schemes=["published", "ours"], say=lambda line: None
    )
    assert (published["scheme"], mine["scheme"]) == ("published", "ours")
    assert step_failures(SIZES["small"], [published | {"wall_seconds": 9.0, "cpu_seconds": 9.0}, mine]) == []


def test_with_copies_rationales_and_reference_are_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[torch.dtype, torch.dtype, torch.dtype]] = []

    class Watched(LatroTrainer):
        def train(self, *args: Any, **kwargs: Any) -> Any:
            done = super().train(*args, **kwargs)
            seen.append((self.model.dtype, self.reference.model.dtype, self.sampler.model.dtype))
            return done

    monkeypatch.setattr(step_schemes, "LatroTrainer", Watched)
    size = SIZES["small"]
    taken = SCHEMES[COPIES](small_bench(size.rollout.prompts), size, 0)
    assert seen == [(torch.float32, torch.bfloat16, torch.bfloat16)]
    assert 0 < taken.tokens < 12 * 8 * 48


def test_bars_are_held_against_copies_where_these_were_measured() -> None:
    took = {"published": 30.0, "ours": 10.0, COPIES: 8.0}
    rows = [
        {"scheme": name, "shape": "a step", "clock": "wall", "wall_seconds": s} for name, s in took.items()
    ]
    assert step_failures(SIZES["full"], rows) == [
        "a step: 'published' takes 3.75 times as long as 'ours, bfloat16 copies', not 4.0"
    ]


def test_bytes_of_a_whole_step_are_those_of_decoding_scoring_and_optimizer() -> None:
    """Of one batch of four, whose rows took 48 calls of the model: rates are of the whole step."""
    size, bench = SIZES["small"].varied({}, 12, published_batches=1), small_bench(12)
    step = StepTaken(
        taken=Spent(cpu=1.0, wall=1.0),
        tokens=24 * 48,
        columns=24 * 1128,
        forwards=48,
        peak_mb=0.0,
        share=0.25,
    )
    prompt = round(sum(map(len, bench.prompts)) / 12)
    answer = round(sum(len(bench.encoder.answer_ids(e.answer)) for e in bench.examples) / 12)
    model = model_sizes(bench.model.config.to_dict(), "here")
    work = Work(prompts=1, micro_batches=1, K=8, prompt=prompt, rationale=48, answer=answer)
    column = 2 * model.layers * model.key * 4
    assert traffic(size, "published", bench, step) == (
        4 * (48 * model.parameters * 4 + column * (24 * 1128 + 24 * 48 * prompt))
        + 12 * update_traffic(model, work, "published")
        + 7 * model.parameters * 4
    )
    shared = replace(work, share_prompt=True, packed=True, head_memory=0.5)
    assert traffic(size, "ours", bench, step) == (
        4 * (48 * model.parameters * 4 + column * (24 * 1128 + 24 * 48 * prompt / 8))
        + 12 * update_traffic(model, shared, "ours")
        + 7 * model.parameters * 4
    )


@pytest.mark.parametrize("size", SIZES)
def test_the_prompts_of_a_step_fill_whole_batches_of_every_scheme(size: str) -> None:
    step = SIZES[size]
    assert step.rollout.prompts % step.rollout.published_prompts == 0
    assert step.rollout.prompts % step.prompts_scored == 0

"""Steps on many devices, by hand-made sizes whose bytes and seconds can be checked by head."""

from dataclasses import replace

import pytest

from latro.errors import InputError
from latro.hardware import Hardware
from latro.planning import ModelSizes, Work, memory_parts
from latro.scaling import Links, gather_seconds, gathers, peak, same_batch, share

MODEL = ModelSizes(hidden=8, layers=2, intermediate=16, query=8, key=4, heads=2, vocabulary=100, tied=True)
WEIGHTS = 2 * (8 * (16 + 8) + 3 * 8 * 16 + 16) + 8 + 800
WORK = Work(
    prompts=1, micro_batches=3, K=4, prompt=5, rationale=10, answer=2, weight_bytes=2, reference_bytes=2, batch_rows=8
)  # fmt: skip
MACHINE = Hardware(name="toy", flops=1e9, bandwidth=1e9, memory=1e9)
LINKS = Links(node=4, inside=100.0, between=50.0)


def test_a_gather_takes_the_longer_of_what_a_device_and_what_a_node_receives() -> None:
    assert MODEL.parameters == WEIGHTS == 1992
    assert gather_seconds(1000, 1, LINKS) == 0
    assert gather_seconds(1000, 4, LINKS) == 7.5  # 750 bytes at 100
    assert gather_seconds(1000, 8, LINKS) == 10  # 875 at 100, and 500 at 50
    assert gather_seconds(1000, 8, replace(LINKS, between=1000.0)) == 8.75


@pytest.mark.parametrize(
    ("sharding", "moved"),
    [
        ("none", (0, 2 * 3984)),
        ("zero3", (3984, 3 * 4 * 3984)),
        ("fsdp2", (3984 * 10 * 2, 3 * 3 * 3984)),  # two rounds of eight rows for twelve rationales
    ],
)
def test_bytes_gathered_are_the_weights_times_what_the_way_asks(
    sharding: str, moved: tuple[int, int]
) -> None:
    assert gathers(MODEL, WORK, sharding) == moved


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(InputError, match="sharding='zero2': choose one of none, zero3, fsdp2"):
        gathers(MODEL, WORK, "zero2")


def test_memory_falls_with_devices_and_the_reference_stays_whole_under_fsdp() -> None:
    assert peak(MODEL, WORK, 8, "none") == memory_parts(MODEL, WORK)["peak"]
    sharded = [peak(MODEL, WORK, n, "zero3") for n in (1, 2, 8)]
    assert sharded == sorted(sharded, reverse=True)
    whole = MODEL.parameters * WORK.reference_bytes
    assert peak(MODEL, WORK, 8, "fsdp2") > whole > whole / 8


def test_shards_divide_the_optimizers_own_precision() -> None:
    """Of Adam's moments 8 bytes a weight; in 8 bits 2, but for the embedding's 800 weights."""
    eight = replace(WORK, moment_bytes=1)
    assert peak(MODEL, WORK, 1, "zero3") - peak(MODEL, eight, 1, "zero3") == 8 * 1992 - (2 * 1992 + 6 * 800)


def test_traffic_of_the_update_is_hidden_and_that_of_sampling_is_not() -> None:
    alone = share(MODEL, WORK, 5, MACHINE, 1, "zero3", LINKS)
    eight = share(MODEL, WORK, 5, MACHINE, 8, "zero3", LINKS)
    assert (alone.prompts, eight.prompts) == (3, 24)
    assert eight.sampling == pytest.approx(alone.sampling + gather_seconds(3984, 8, LINKS))
    assert eight.update == gather_seconds(12 * 3984, 8, LINKS)  # far longer than these few multiplications
    wide = replace(LINKS, inside=1e12, between=1e12)
    assert share(MODEL, WORK, 5, MACHINE, 8, "zero3", wide).update == alone.update
    assert eight.moved == 13 * 3984 * 7 / 8
    assert eight.rate == 24 / (eight.sampling + eight.update)


def test_where_vllm_decodes_fsdp_gathers_the_policy_once_and_zero3_never_holds_it_whole() -> None:
    elsewhere = replace(WORK, vllm_samples=True)
    assert gathers(MODEL, elsewhere, "fsdp2")[0] == gathers(MODEL, elsewhere, "zero3")[0] == 3984
    assert gathers(MODEL, WORK, "fsdp2")[0] > 3984
    deep = replace(MODEL, layers=64)
    heavy = replace(WORK, K=1, prompt=1, rationale=1, answer=1)  # the weights outweigh the activations
    saved = peak(deep, heavy, 8, "zero3") - peak(deep, replace(heavy, vllm_samples=True), 8, "zero3")
    assert saved > 0


def test_a_prompt_is_not_shared() -> None:
    assert [same_batch(WORK, 24, n).micro_batches for n in (1, 8, 16, 64)] == [24, 3, 2, 1]

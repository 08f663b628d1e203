"""Rollouts, the published way and ours: tokens and rationales per second, and memory.

Rates are compared, not times: each scheme decodes the rows that it would decode at once. The published one has the K
rows of the three prompts of its data loader, trl's the rows of all prompts of a step; ours takes these in the slots it
is given.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import truediv
from statistics import median
from typing import Any

import torch

from latro.rollout.limits import column_bytes
from latro.sampling import LowPrecisionCopy, SamplingConfig, cut, sample_rationales
from scripts.benchmark_models import Bench, BenchSource
from scripts.benchmark_schemes import COPIES, alternating_runs, chosen, held_to_bars, possible
from scripts.measuring import (
    MB,
    Spent,
    fair_clock,
    matmul_rate,
    read_rate,
    spent_and_peak,
    work_seconds,
)
from scripts.memory_traffic import columns_before, decoding_traffic
from scripts.other_rollouts import published_rollout, stock_rollout


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSize:
    """What is decoded, and by how much ours must be ahead."""

    model: str
    """And what it is asked, in words."""
    real: bool
    """SmolLM2 on GSM8K, or a made-up model on made-up questions."""
    prompts: int
    """N of a step of ours."""
    K: int
    max_tokens: int
    slots: int
    published_prompts: int
    """Of the published scheme's batch."""
    least_tokens: float
    """Our tokens per second must be at least this many times the published scheme's, each decoded token counted."""
    least_finished: float
    """The same of the rationales that ended by themselves."""

    @property
    def name(self) -> str:
        """What is decoded, in words."""
        return f"{self.model}, K={self.K}, up to {self.max_tokens} tokens"

    def source(
        self, model_path: str | None, data_path: str | None, dtype: str, device: str, products: str
    ) -> BenchSource:
        """What its model and prompts are made of."""
        return BenchSource(
            real=self.real,
            prompts=self.prompts,
            model_path=model_path,
            data_path=data_path,
            dtype=dtype,
            device=device,
            products=products,
        )

    def varied(self, chosen: Mapping[str, int]) -> "RolloutSize":
        """With other sizes (`K`, `rationale`), at which ours has to be ahead, by however little."""
        if not chosen:
            return self
        return replace(
            self,
            K=chosen.get("K", self.K),
            max_tokens=chosen.get("rationale", self.max_tokens),
            least_tokens=min(1.0, self.least_tokens),
            least_finished=min(1.0, self.least_finished),
        )


SIZES = {
    "small": RolloutSize(
        model="tiny Llama", real=False,
        prompts=48, K=8, max_tokens=48, slots=128, published_prompts=3, least_tokens=1.0, least_finished=2.0,
    ),
    "full": RolloutSize(
        model="SmolLM2-135M on GSM8K", real=True,
        prompts=32, K=8, max_tokens=300, slots=256, published_prompts=3, least_tokens=3.0, least_finished=5.0,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one call of a scheme gave."""

    decoded: int
    """Tokens decoded, whatever became of them."""
    kept: int
    """Tokens up to and including what ended a rationale."""
    rationales: int
    finished: int
    """Rationales that ended by themselves."""
    forwards: int
    """Calls of the model."""
    columns: int
    """Tokens of its own continuation that each decoded token has before it, all together."""
    taken: Spent
    peak_mb: float


OTHERS = {"published": published_rollout, "stock RLOO": stock_rollout}
"""What decodes one batch by `generate`."""


def others(bench: Bench, size: RolloutSize, seed: int, scheme: str) -> Outcome:
    """The published scheme on its own batch of prompts, or trl's on all of a step."""
    outputs: list[tuple[int, ...]] = []
    prompts = bench.prompts[: size.published_prompts if scheme == "published" else size.prompts]

    def call() -> None:
        outputs[:] = OTHERS[scheme](bench.model, bench.encoder, prompts, size.K, size.max_tokens, seed)

    taken, peak, forwards = measured(call, bench.model)
    rationales = [cut(bench.encoder, output, bench.markers) for output in outputs]
    return Outcome(
        decoded=sum(map(len, outputs)),
        forwards=forwards,
        columns=columns_before(map(len, outputs)),
        kept=sum(len(r.ids) + len(r.ending) for r in rationales),
        rationales=len(rationales),
        finished=sum(r.finished for r in rationales),
        taken=taken,
        peak_mb=peak,
    )


def ours(
    bench: Bench, size: RolloutSize, seed: int, engine: str = "continuous", *, copies: bool = False
) -> Outcome:
    """`sample_rationales` as the trainer calls it, on a whole step.

    copies: by a bfloat16 copy of the model, which is renewed first.
    """
    config = SamplingConfig(
        rationales_per_prompt=size.K,
        max_rationale_tokens=size.max_tokens,
        batch_rows=size.slots,
        engine=engine,
    )
    bench = bench.ours()
    rationales: list[Any] = []
    copy = LowPrecisionCopy(bench.model, torch.bfloat16) if copies else None

    def call() -> None:
        model = copy.renewed(bench.model) if copy else bench.model
        rationales[:] = sample_rationales(
            model, bench.encoder, bench.prompts[: size.prompts], list(range(size.prompts)), config,
            markers=bench.markers, seed=seed, step=0,
        )  # fmt: skip

    taken, peak, forwards = measured(call, copy.model if copy else bench.model)
    peak += copy.model.get_memory_footprint() / MB if copy else 0.0
    lengths = [len(r.ids) + len(r.ending) for r in rationales]
    kept = sum(lengths)
    return Outcome(
        decoded=kept,
        forwards=forwards,
        columns=columns_before(lengths),
        kept=kept,
        rationales=len(rationales),
        finished=sum(r.finished for r in rationales),
        taken=taken,
        peak_mb=peak,
    )


SCHEMES: dict[str, Callable[[Bench, RolloutSize, int], Outcome]] = {
    **{scheme: partial(others, scheme=scheme) for scheme in OTHERS},
    "ours": ours,
    COPIES: partial(ours, copies=True),
}


def measured(call: Callable[[], None], model: Any) -> tuple[Spent, float, int]:
    """Time and peak memory of one call, and how often it called the model."""
    forwards = 0

    def count(*_: Any) -> None:
        nonlocal forwards
        forwards += 1

    handle = model.register_forward_hook(count)
    try:
        taken, peak = spent_and_peak(call)
    finally:
        handle.remove()
    return taken, peak, forwards


def rollout_rows(
    size: RolloutSize,
    *,
    rounds: int = 5,
    seed: int = 0,
    model_path: str | None = None,
    data_path: str | None = None,
    dtype: str = "float32",
    schemes: Sequence[str] | None = None,
    device: str = "cpu",
    products: str = "auto",
    say: Callable[[str], None] = print,
) -> list[dict]:
    """One row a scheme: medians of `rounds` alternating runs after a short one, and ratios to the first.

    A real model and its questions come from the hub where no path is given. schemes: see `chosen`. products: of ours.
    """
    taken = chosen(possible(SCHEMES, size.real, dtype, device), schemes)
    source = size.source(model_path, data_path, dtype, device, products)
    schemes_taken = {name: SCHEMES[name] for name in taken}
    outcomes = alternating_runs(schemes_taken, source, (shortest(size), size), size.name, rounds, seed, say)
    bench = source.bench()
    types = {name: torch.bfloat16 if name == COPIES else bench.model.dtype for name in taken}
    rates, reads = {kind: matmul_rate(kind, device) for kind in set(types.values())}, read_rate(device)
    clock = fair_clock([o.taken for o in each] for each in outcomes.values())
    rows = [
        row(size, name, outcomes[name], bench, clock)
        | ceilings(size, name, outcomes[name], bench, types[name], (rates[types[name]], reads))
        for name in taken
    ]
    # What an earlier call left may be enough for a small one.
    grew = all(each["peak_mb"] > 0 for each in rows)
    for each in rows:
        each["times_faster"] = each["rationales_per_s"] / rows[0]["rationales_per_s"]
        each["times_less_memory"] = rows[0]["peak_mb"] / each["peak_mb"] if grew else None
        for key in ("decoded_per_s", "kept_per_s", "rationales_per_s", "finished_per_s"):
            each[f"times_{key}"] = each[key] / rows[0][key] if rows[0][key] else float("inf")
    return rows


def shortest(size: RolloutSize) -> RolloutSize:
    """A few tokens: what is imported and allocated once is no scheme's cost."""
    return replace(size, prompts=1, published_prompts=1, K=2, max_tokens=2)


def ceilings(
    size: RolloutSize,
    scheme: str,
    outcomes: Sequence[Outcome],
    bench: Bench,
    dtype: torch.dtype,
    machine: tuple[float, float],
) -> dict:
    """Work on paper, and its share of what the machine does in the time: FLOP and bytes a second.

    Products are those with weights, once a decoded token. Read are the weights, once a call of the model, and the keys
    and values of a token's own continuation and of its prompt: by ours once for the rows of a prompt.
    """
    parameters, column = bench.model.num_parameters(), column_bytes(bench.model.config, dtype.itemsize)
    prompt = sum(map(len, bench.prompts)) / len(bench.prompts)
    prompt /= 1 if scheme in OTHERS else size.K
    flops = [2.0 * parameters * o.decoded for o in outcomes]
    weights = parameters * dtype.itemsize
    read = [decoding_traffic(weights, column, o.forwards, o.columns, o.decoded, prompt) for o in outcomes]
    spent = [o.taken for o in outcomes]
    return {
        "flops": median(flops),
        "of_matmul_ceiling": median(map(truediv, flops, map(work_seconds, spent))) / machine[0],
        "of_bandwidth_ceiling": median(map(truediv, read, (each.wall for each in spent))) / machine[1],
    }


def row(size: RolloutSize, scheme: str, outcomes: Sequence[Outcome], bench: Bench, clock: str) -> dict:
    """Medians over the rounds; rates are per second of the given clock."""

    def rate(count: str) -> float:
        return median(getattr(o, count) / o.taken.by(clock) for o in outcomes)

    return {
        "part": "rollout",
        "shape": f"{size.name}, {str(bench.model.dtype).removeprefix('torch.')}",
        "scheme": scheme,
        "cpu_seconds": median(o.taken.cpu for o in outcomes),
        "wall_seconds": median(o.taken.wall for o in outcomes),
        "every_cpu_seconds": [o.taken.cpu for o in outcomes],
        "every_wall_seconds": [o.taken.wall for o in outcomes],
        "clock": clock,
        "decoded_per_s": rate("decoded"),
        "kept_per_s": rate("kept"),
        "rationales_per_s": rate("rationales"),
        "finished_per_s": rate("finished"),
        "mean_kept": sum(o.kept for o in outcomes) / sum(o.rationales for o in outcomes),
        "finished_share": sum(o.finished for o in outcomes) / sum(o.rationales for o in outcomes),
        "peak_mb": max(o.peak_mb for o in outcomes),
        "gradient_distance": None,
    }


def rollout_failures(size: RolloutSize, rows: Sequence[dict]) -> list[str]:
    """One line for each bar that is missed, where the published scheme was measured."""
    by_scheme = {row["scheme"]: row for row in rows}
    if "published" not in by_scheme:
        return []
    mine = by_scheme[held_to_bars(by_scheme)]
    bars = (
        ("times_decoded_per_s", size.least_tokens, "tokens"),
        ("times_finished_per_s", size.least_finished, "finished rationales"),
    )
    return [
        f"{size.name}, {mine['scheme']}: {mine[key]:.2f} times the published scheme's {what} per second, not {least}"
        for key, least, what in bars
        if not mine[key] >= least
    ]

"""A whole step, three ways, on the same prompts (`scripts/step_schemes.py`): medians of alternating rounds.

The published scheme may take a few of a step's batches each round, others every time, and its pace is compared: its
batches have nothing to do with one another but the optimizer's step, so that a round takes minutes and not a
quarter of an hour.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import truediv
from statistics import fmean, median

import torch

from latro.planning import Work, model_sizes
from latro.rollout.limits import column_bytes
from scripts.benchmark_models import Bench
from scripts.benchmark_schemes import COPIES, alternating_runs, chosen, held_to_bars, possible
from scripts.measuring import fair_clock, matmul_rate, read_rate, work_seconds
from scripts.memory_traffic import decoding_traffic, optimizer_traffic, update_traffic
from scripts.step_schemes import HEAD_MEMORY, SCHEMES, StepTaken
from scripts.step_sizes import StepSize


def step_rows(
    size: StepSize,
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
    """One row a scheme: medians of `rounds` alternating steps after a short one, and ratios to the first.

    schemes: see `chosen`. products: of ours. Raises InputError where they leave nothing to compare.
    """
    taken = chosen(possible(SCHEMES, size.rollout.real, dtype, device), schemes)
    source = size.rollout.source(model_path, data_path, dtype, device, products)
    shortest = replace(size.rollout, prompts=size.prompts_scored, K=2, max_tokens=2)
    few = replace(size, rollout=shortest, published_batches=None)
    schemes_taken = {name: SCHEMES[name] for name in taken}
    steps = alternating_runs(schemes_taken, source, (few, size), size.name, rounds, seed, say)
    bench = source.bench()
    own, low = (matmul_rate(kind, device) for kind in (bench.model.dtype, torch.bfloat16))
    rates = {name: (own, low if name == COPIES else own) for name in taken}
    clock = fair_clock([step.taken for step in each] for each in steps.values())
    reads = read_rate(device)
    rows = [row(size, name, steps[name], bench, rates[name], reads) | {"clock": clock} for name in taken]
    for each in rows:
        each["times_faster"] = rows[0][f"{clock}_seconds"] / each[f"{clock}_seconds"]
        each["times_less_memory"] = rows[0]["peak_mb"] / each["peak_mb"] if source.real else None
    return rows


def row(
    size: StepSize,
    scheme: str,
    steps: Sequence[StepTaken],
    bench: Bench,
    rates: tuple[float, float],
    reads: float,
) -> dict:
    """Medians over the rounds; `rates` are FLOP a second of the policy's own passes, and of all others.

    reads: bytes a second.
    """
    tokens = median(step.tokens / step.share for step in steps)
    work = flops(size, scheme, bench, tokens)
    least = sum(map(truediv, work, rates))
    return {
        "part": "step",
        "shape": f"{size.name}, {str(bench.model.dtype).removeprefix('torch.')}",
        "scheme": scheme,
        "cpu_seconds": median(step.whole.cpu for step in steps),
        "wall_seconds": median(step.whole.wall for step in steps),
        "every_cpu_seconds": [step.whole.cpu for step in steps],
        "every_wall_seconds": [step.whole.wall for step in steps],
        "tokens": tokens,
        # What an earlier step of the same process left may be enough for a small one.
        "peak_mb": max(step.peak_mb for step in steps) if size.rollout.real else None,
        "flops": sum(work),
        "of_matmul_ceiling": least / median(work_seconds(step.whole) for step in steps),
        "of_bandwidth_ceiling": median(traffic(size, scheme, bench, s) / s.whole.wall for s in steps) / reads,
        "gradient_distance": None,
    }


def flops(size: StepSize, scheme: str, bench: Bench, tokens: float) -> tuple[float, float]:
    """Multiply-adds times two of the weights; attention and answers left out. A backward pass is two forwards.

    Of the policy's passes that are learned from, and of all others (rollout, reference, passes without gradient).
    tokens: of the continuations.
    """
    K = size.rollout.K
    prompts = sum(map(len, bench.prompts[: size.rollout.prompts]))
    learned, others = {"published": (2 * 3, 3), "stock RLOO": (3, 2)}.get(scheme, (3, 1))
    copied = scheme in ("published", "stock RLOO")  # a prompt is read with each of its rationales, or once
    read = prompts * K if copied else prompts
    once = 2.0 * bench.model.num_parameters() * (read + tokens)
    return learned * once, (1 + others) * once


def traffic(size: StepSize, scheme: str, bench: Bench, step: StepTaken) -> float:
    """Bytes that have to pass through memory in a whole step, see `scripts.memory_traffic`; prefill's are left out.

    What is scored is taken to be as long as what was decoded, behind its end as well.
    """
    shape, mine = size.rollout, scheme in ("ours", COPIES)
    model, own = model_sizes(bench.model.config.to_dict(), shape.model), bench.model.dtype.itemsize
    low = 2 if scheme == COPIES else own
    answers = [len(bench.encoder.answer_ids(each.answer)) for each in bench.examples[: shape.prompts]]
    work = Work(
        prompts=1,
        micro_batches=1,
        K=shape.K,
        prompt=round(fmean(map(len, bench.prompts[: shape.prompts]))),
        rationale=round(step.tokens / step.share / (shape.prompts * shape.K)),
        answer=round(fmean(answers)),
        weight_bytes=own,
        reference_bytes=low,
        head_memory=HEAD_MEMORY if mine else 0.0,
        share_prompt=mine,
        packed=mine and bench.model.device.type == "cpu",
    )
    decoding = decoding_traffic(
        model.parameters * low,
        column_bytes(bench.model.config, low),
        step.forwards,
        step.columns,
        step.tokens,
        work.prompt / (shape.K if mine else 1),
    )
    return (
        decoding / step.share
        + shape.prompts * update_traffic(model, work, scheme)
        + optimizer_traffic(model, work)
    )


def step_failures(size: StepSize, rows: Sequence[dict]) -> list[str]:
    """One line for each bar that is missed by a scheme that was measured."""
    by_scheme = {row["scheme"]: row[f"{row['clock']}_seconds"] for row in rows}
    least = {"published": size.least_published, "stock RLOO": size.least_stock}
    mine = held_to_bars(by_scheme)
    ahead = {name: by_scheme[name] / by_scheme[mine] for name in least if name in by_scheme}
    return [
        f"{rows[0]['shape']}: {name!r} takes {times:.2f} times as long as {mine!r}, not {least[name]}"
        for name, times in ahead.items()
        if not times >= least[name]
    ]

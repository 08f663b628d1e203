"""How does the cost grow with K, lengths, vocabulary, model size and episodes? Curves with the fitted exponent.

    python -m scripts.benchmark_growth [K=[2,4,8]] [rationale=[50,100,200]] [hidden=[64,128,256]] [episodes=[]]

One thing is changed at a time. The cost is processor time: of the published scheme's update and of ours, of decoding
(`ContinuousEngine`, nothing ends early), and of an agent's episodes against a server on loopback. The exponent is the
slope of log cost over log size, with the standard error of that line through the medians: how straight they lie, not
how well each was measured. Beside it stands the exponent of the products with weights on paper; attention's own, which
grow faster with length, and overheads, which do not grow, are left out there. A table, `results.json`, `growth.png`.
"""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from latro.errors import InputError
from scripts.entry import script

if TYPE_CHECKING:
    from rich.table import Table

    from scripts.update_shapes import UpdateShape

CURVES = ("K", "prompt", "rationale", "vocabulary", "hidden", "episodes")
SCHEMES = ("published", "ours", "rollout")
UNITS = {
    "K": "K, rationales",
    "prompt": "prompt, tokens",
    "rationale": "rationale, tokens",
    "episodes": "episodes at once",
}
"""How a size is called in the picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One cost over one size."""

    over: str
    """`K`, `prompt`, `rationale`, `vocabulary`, `parameters` or `episodes`."""
    of: str
    sizes: list[float]
    cpu_seconds: list[float]
    """Medians."""
    exponent: float
    error: float
    """Standard error of the exponent."""
    on_paper: float | None
    """The exponent of the multiply-adds at these sizes; None where none are counted."""


def curve(
    over: str, of: str, sizes: Sequence[float], costs: Sequence[float], paper: Sequence[float]
) -> Curve:
    """The costs with their exponent; `paper` are FLOPs, or nothing."""
    slope, error = fitted(sizes, costs)
    return Curve(
        over=over,
        of=of,
        sizes=list(sizes),
        cpu_seconds=list(costs),
        exponent=slope,
        error=error,
        on_paper=fitted(sizes, paper)[0] if paper else None,
    )


def fitted(sizes: Sequence[float], costs: Sequence[float]) -> tuple[float, float]:
    """Slope of log cost over log size, by least squares, and its standard error."""
    from scipy.stats import linregress

    found = linregress([math.log(size) for size in sizes], [math.log(cost) for cost in costs])
    return float(found.slope), float(found.stderr)


def latro_curves(cfg: DictConfig) -> Iterator[Curve]:
    """Of update and rollout, over what `cfg` lists."""
    import torch

    from scripts.update_shapes import UpdateShape

    torch.set_num_threads(1)
    base = UpdateShape(name="growth", least_time=0, least_shared=0, least_memory=0, **dict(cfg.base))
    for name in CURVES[:-1]:
        if cfg[name]:
            yield from curves_over(
                name, [changed(base, name, int(v)) for v in cfg[name]], cfg.rounds, cfg.seed
            )


def curves_over(name: str, shapes: "Sequence[UpdateShape]", rounds: int, seed: int) -> Iterator[Curve]:
    """One curve a scheme; all sizes and schemes take turns."""
    from scripts.measuring import alternating

    built = [prepared(shape, seed) for shape in shapes]
    calls = {(n, scheme): call for n, (_, made) in enumerate(built) for scheme, call in made.items()}
    for call in calls.values():
        call()  # what is imported and allocated once is no size's cost
    times = alternating(calls, rounds)
    over = "parameters" if name == "hidden" else name
    sizes = [
        float(weights if name == "hidden" else getattr(shape, name))
        for shape, (weights, _) in zip(shapes, built, strict=True)
    ]
    for scheme in SCHEMES:
        costs = [median(t.cpu for t in times[n, scheme]) for n in range(len(shapes))]
        paper = [flops_of(scheme, shape, weights) for shape, (weights, _) in zip(shapes, built, strict=True)]
        yield curve(over, "rollout" if scheme == "rollout" else f"update, {scheme}", sizes, costs, paper)


def flops_of(scheme: str, shape: "UpdateShape", parameters: int) -> float:
    """Multiply-adds times two of the matrix products with weights; a rollout's, once for each token drawn."""
    from scripts.benchmark_update import flops

    return 2.0 * parameters * shape.K * shape.rationale if scheme == "rollout" else flops(shape, scheme)


def changed(base: "UpdateShape", name: str, value: int) -> "UpdateShape":
    """The base with one size changed; the inner width grows with the width."""
    if name != "hidden":
        sizes: dict[str, Any] = {name: value}
        return replace(base, **sizes)
    return replace(base, hidden=value, intermediate=base.intermediate * value // base.hidden)


def prepared(shape: "UpdateShape", seed: int) -> tuple[int, dict[str, Callable[[], object]]]:
    """The model's number of parameters, and a call for each scheme."""
    from latro.encoding import Encoder
    from latro.pretraining import byte_tokenizer
    from latro.rollout.base import Request
    from latro.rollout.continuous import ContinuousEngine
    from scripts.benchmark_update import build, update

    model, reference, batch = build(shape, seed)
    nothing = Encoder(  # no token ends a row
        tokenizer=byte_tokenizer(256), chat=False, stop_token_ids=(), end_of_answer_id=0, pad_token_id=0
    )
    prompt = batch.ids_BT[0, : shape.prompt].tolist()
    request = Request(
        prompts=[prompt] * shape.K, max_tokens=shape.rationale, seeds=list(range(seed, seed + shape.K))
    )
    calls: dict[str, Callable[[], object]] = {
        scheme: partial(update, scheme, model, reference, batch) for scheme in SCHEMES[:-1]
    }
    calls["rollout"] = partial(ContinuousEngine(shape.K).continuations, model, nothing, request)
    return int(model.num_parameters()), calls


def episode_curve(cfg: DictConfig) -> Curve:
    """Of whole episodes against a server on loopback."""
    from scripts.casting import environment_factory
    from scripts.loopback import loopback
    from scripts.throughput import Setting, measure_rate

    setting = Setting(
        factory=environment_factory(cfg), latency_ms=cfg.latency_ms, slots=cfg.slots, steps=cfg.steps, direct=cfg.direct
    )  # fmt: skip
    costs: dict[int, list[float]] = {n: [] for n in cfg.episodes}
    with loopback(cfg.latency_ms, cfg.slots, cfg.reply) as server:
        for _ in range(cfg.rounds):
            for n in costs:
                rate = measure_rate(setting, server, n, seconds=1)
                costs[n].append(rate.cpu_ms / 1000 * n * cfg.steps)
    return curve("episodes", "agent", list(costs), [median(values) for values in costs.values()], [])


def table(curves: Sequence[Curve]) -> "Table":
    """The curves as printed."""
    from rich.table import Table

    view = Table(title="Processor time; cost grows as size to the exponent")
    for column in ("over", "cost of", "sizes", "CPU s", "exponent", "on paper"):
        view.add_column(column, justify="left" if column in ("over", "cost of") else "right")
    for each in curves:
        view.add_row(
            each.over,
            each.of,
            f"{each.sizes[0]:,.0f} to {each.sizes[-1]:,.0f}",
            f"{each.cpu_seconds[0]:.3g} to {each.cpu_seconds[-1]:.3g}",
            f"{each.exponent:.2f} ± {each.error:.2f}",
            "" if each.on_paper is None else f"{each.on_paper:.2f}",
        )
    return view


def plot(curves: Sequence[Curve], picture: Path) -> None:
    """Draw one field for each size that was changed, both axes logarithmic, into a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import EngFormatter, LogLocator

    sizes = list(dict.fromkeys(each.over for each in curves))
    figure, axes = plt.subplots(
        1, len(sizes), figsize=(4 * len(sizes), 3.6), layout="constrained", squeeze=False
    )
    for axis, over in zip(axes.flat, sizes, strict=True):
        for each in (each for each in curves if each.over == over):
            axis.plot(each.sizes, each.cpu_seconds, "o-", label=f"{each.of}: {each.exponent:.2f}")
        axis.set(xscale="log", yscale="log", xlabel=UNITS.get(over, over), ylabel="CPU seconds")
        marks = next(each.sizes for each in curves if each.over == over)
        axis.set_xticks(marks, [EngFormatter(places=0 if size < 1e3 else 1, sep="")(size) for size in marks])
        axis.minorticks_off()
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.grid(alpha=0.3)
        axis.legend(frameon=False, fontsize=8)
    figure.savefig(picture, dpi=120)
    plt.close(figure)


def check(cfg: DictConfig) -> None:
    """Raise InputError for curves that cannot be fitted."""
    if cfg.rounds < 1:
        raise InputError(f"rounds={cfg.rounds} must be at least 1")
    for name in CURVES:
        values = list(cfg[name])
        least = 2 if name == "K" else 1  # the leave-one-out baseline compares a rationale with its siblings
        if values and (len(set(values)) < 3 or min(values) < least):
            raise InputError(
                f"{name}={values}: give three sizes of {least} or more, or [] to leave the curve out"
            )
    if not any(cfg[name] for name in CURVES):
        raise InputError(f"all of {', '.join(CURVES)} are empty: there is nothing to measure")


@script("benchmark_growth")
def main(cfg: DictConfig) -> None:
    """Measure, print, write."""
    check(cfg)
    from rich.console import Console

    from scripts.run import Run

    run = Run(cfg)
    curves = list(latro_curves(cfg))
    if cfg.episodes:
        curves.append(episode_curve(cfg))
    run.write_json("results", {"curves": [asdict(each) for each in curves]})
    plot(curves, run.folder / "growth.png")
    Console(width=None if sys.stdout.isatty() else 120).print(table(curves))
    print(f"run folder: {run.folder}")


if __name__ == "__main__":
    main()

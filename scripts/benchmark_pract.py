"""How fast is the loop around the model? Episodes at once against a server on loopback, with bars to pass.

    python -m scripts.benchmark_pract [episodes=[1,8]] [repeats=1] [webshop.data=FOLDER] [output_dir=...]

A table, `results.json` and `rate.png`; exit status 1 when a bar is missed. What each figure means, and ours:
docs/performance.md.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, TypeVar

from omegaconf import DictConfig

from pract.errors import InputError
from scripts.entry import script

if TYPE_CHECKING:
    from rich.table import Table

    from scripts.throughput import Alone, Memory, Rate

    Figures = TypeVar("Figures", Alone, Rate)


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Everything that was measured."""

    rates: "list[Rate]"
    """One for each number of episodes: medians over the repeats."""
    alone: "Alone"
    """What one call at a time costs without an agent: medians over the repeats."""
    memory: "Memory"
    webshop_steps: float
    """A second of CPU."""
    import_seconds: float
    """CPU time of importing what a run does."""


def measure(cfg: DictConfig) -> Findings:
    """All measurements, the sizes in turn and that several times over."""
    from hydra.utils import instantiate

    from scripts.casting import environment_factory
    from scripts.loopback import loopback
    from scripts.throughput import (
        Setting,
        import_seconds,
        measure_alone,
        measure_memory,
        measure_rate,
        steps_per_second,
    )

    setting = Setting(
        factory=environment_factory(cfg),
        latency_ms=cfg.latency_ms,
        slots=cfg.slots,
        steps=cfg.steps,
        direct=cfg.direct,
    )
    with loopback(cfg.latency_ms, cfg.slots, cfg.reply) as server:
        memory = measure_memory(setting, server, cfg.waiting, cfg.queued)  # first, while the process is small
        runs: list[Rate] = []
        alone: list[Alone] = []
        for number in range(cfg.repeats):
            alone.append(measure_alone(setting, server, cfg.seconds))
            for episodes in cfg.episodes:
                runs.append(measure_rate(setting, server, episodes, cfg.seconds))
                print(f"  repeat {number + 1}: {line(runs[-1])}", file=sys.stderr)
    shop = instantiate(cfg.webshop, _convert_="all")
    return Findings(
        rates=[middle([run for run in runs if run.episodes == episodes]) for episodes in cfg.episodes],
        alone=middle(alone),
        memory=memory,
        webshop_steps=steps_per_second(shop, cfg.webshop_tasks),
        import_seconds=import_seconds(),
    )


def middle(runs: "Sequence[Figures]") -> "Figures":
    """The median of each figure."""
    rows = [asdict(run) for run in runs]
    return type(runs[0])(
        **{name: type(value)(median(row[name] for row in rows)) for name, value in rows[0].items()}
    )


def line(rate: "Rate") -> str:
    """One measurement in words."""
    return (
        f"{rate.episodes} at once: {rate.calls_per_second:.0f} calls/s, {rate.ideal_share:.0%} of the ideal "
        f"({rate.possible_share:.0%} possible), {rate.cpu_ms:.2f} ms CPU a call, {rate.overhead_ms:.2f} of it "
        f"beyond waiting, others kept {rate.others_cores:.1f} cores busy"
    )


def judged_share(rate: "Rate", busy_cores: float) -> tuple[float, str]:
    """The share of the ideal rate that counts, and by which clock."""
    by_cpu = rate.others_cores > busy_cores
    return (rate.possible_share, "CPU") if by_cpu else (rate.ideal_share, "wall")


def failures(found: Findings, bars: Mapping[str, float | None], busy_cores: float) -> list[str]:
    """One line for every bar that is missed."""
    low, high = [], []
    for rate in found.rates:
        share, clock = judged_share(rate, busy_cores)
        low.append(("ideal_share", share, f"{rate.episodes} episodes, by {clock} time"))
        high.append(("overhead_ms", rate.overhead_ms, f"{rate.episodes} episodes"))
    high.append(("waiting_kb", found.memory.kb_per_episode, f"{found.memory.episodes} episodes"))
    low.append(("webshop_steps", found.webshop_steps, "the oracle's episodes"))
    high.append(("import_seconds", found.import_seconds, "import pract.wiring"))
    missed = []
    for side, sign, figures in (("below", 1, low), ("above", -1, high)):
        for name, value, where in figures:
            bar = bars[name]
            if bar is not None and sign * value < sign * bar:
                missed.append(f"{name}={value:.3g} is {side} {bar:g} ({where})")
    return missed


def table(found: Findings, busy_cores: float) -> "Table":
    """The rates as printed."""
    from rich.table import Table

    view = Table(title="Episodes that wait for a model")
    columns = (
        "at once",
        "calls/s",
        "of the ideal",
        "possible",
        "judged by",
        "CPU ms/call",
        "beyond waiting",
        "others' cores",
        "yardstick µs",
    )
    for column in columns:
        view.add_column(column, justify="right")
    for rate in found.rates:
        view.add_row(
            str(rate.episodes),
            f"{rate.calls_per_second:.0f}",
            f"{rate.ideal_share:.0%}",
            f"{rate.possible_share:.0%}",
            judged_share(rate, busy_cores)[1],
            f"{rate.cpu_ms:.2f}",
            f"{rate.overhead_ms:.2f}",
            f"{rate.others_cores:.1f}",
            f"{rate.yardstick_us:.0f}",
        )
    return view


def plot(found: Findings, ideal: Sequence[float], picture: Path) -> None:
    """Draw rate and CPU time over the episodes at once into a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    sizes = [rate.episodes for rate in found.rates]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.plot(sizes, ideal, "--", color="grey", label="ideal")
    left.plot(sizes, [rate.calls_per_second for rate in found.rates], "o-", label="measured")
    left.plot(sizes, [1000 / rate.cpu_ms for rate in found.rates], ":", label="the client's limit, by CPU")
    left.set(xscale="log", yscale="log", xlabel="episodes at once", ylabel="calls per second")
    right.plot(sizes, [rate.cpu_ms for rate in found.rates], "o-")
    right.set(xscale="log", xlabel="episodes at once", ylabel="CPU ms per call")
    right.set_ylim(bottom=0)
    for axis in (left, right):
        axis.grid(alpha=0.3)
    left.legend(frameon=False)
    figure.savefig(picture, dpi=120)
    plt.close(figure)


def check(cfg: DictConfig) -> None:
    """Raise InputError for settings that cannot be measured."""
    for name in ("latency_ms", "slots", "steps", "seconds", "repeats", "waiting", "queued", "webshop_tasks"):
        if not cfg[name] > 0:
            raise InputError(f"{name}={cfg[name]} is not above 0: give a positive number")
    if not cfg.episodes or min(cfg.episodes) < 1:
        raise InputError(f"episodes={list(cfg.episodes)}: give numbers of 1 or more, e.g. episodes=[1,8]")


def results(cfg: DictConfig, found: Findings, failed: list[str]) -> dict[str, Any]:
    """What `results.json` holds."""
    rates = [{**asdict(rate), "overhead_ms": rate.overhead_ms} for rate in found.rates]
    return {**asdict(found), "rates": rates, "bars": dict(cfg.bars), "missed": failed}


@script("benchmark_pract")
def main(cfg: DictConfig) -> None:
    """Measure, print, write, and exit with status 1 if a bar is missed."""
    check(cfg)
    from rich.console import Console

    from scripts.run import Run

    run = Run(cfg)
    found = measure(cfg)
    failed = failures(found, cfg.bars, cfg.busy_cores)
    run.write_json("results", results(cfg, found, failed))
    ideal = [min(n, cfg.slots) * 1000 / cfg.latency_ms for n in cfg.episodes]
    plot(found, ideal, run.folder / "rate.png")
    Console(width=None if sys.stdout.isatty() else 120).print(table(found, cfg.busy_cores))
    memory, alone = found.memory, found.alone
    print(
        f"one call after another without an agent: waiting {alone.waiting_ms:.2f} ms of CPU, HTTP and waiting "
        f"{alone.exchange_ms:.2f} ms\n"
        f"memory: {memory.kb_per_episode:.0f} kB for each of {memory.episodes} episodes at once; of {memory.queued} "
        f"queued at most {memory.most_ahead} were taken ahead\n"
        f"webshop: {found.webshop_steps:.0f} steps a second of CPU; import pract.wiring: {found.import_seconds:.3f} s\n"
        f"run folder: {run.folder}"
    )
    for missed in failed:
        print(f"MISSED {missed}", file=sys.stderr)
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()

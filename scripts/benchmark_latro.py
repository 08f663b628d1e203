"""How fast is LaTRO here, beside the published scheme and trl's RLOO? Gradients are compared first.

    python -m scripts.benchmark_latro size=small
    python -m scripts.benchmark_latro size=full output_dir=runs/benchmark_latro

Prints medians of alternating runs: processor time, wall time, peak memory (of updates in a process of its own), FLOPs
and bytes on paper and their shares of the machine's measured matrix-product rate and read bandwidth. Ratios are of wall
time on a quiet machine or a GPU, of processor time where other programs use the machine too, as the table says. On a
GPU times end when it has done its work, and memory is that of its tensors. Where torch's own products are slow, as
on AMD's processors, ours has others, and the others do not: `products=torch` compares like with like. Exit status 1
when gradients disagree, or when ours is not ahead of the published scheme by as much as the shape names.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from latro.errors import InputError
from latro.model_config import PRODUCTS
from scripts.benchmark_sizes import LEAST, choices
from scripts.entry import script

if TYPE_CHECKING:
    from rich.table import Table

SIZES = ("small", "full")
DECODED = ("rationale", "K")
"""Sizes that a real model and real questions leave open."""


Measured = Iterator[tuple[list[dict], list[str]]]
"""Of one size after another: rows (with at least part, shape, scheme, cpu_seconds), and what failed."""


def measure_update(cfg: DictConfig) -> Measured:
    """Scoring and backward pass."""
    from scripts.benchmark_update import update_failures, update_rows
    from scripts.update_shapes import SHAPES, shortened, varied

    own = [
        shape for number, shape in enumerate(SHAPES[cfg.size]) if cfg.shapes is None or number in cfg.shapes
    ]
    for shape, chosen in product(own, choices(cfg.vary, LEAST)):
        size = varied(shortened(shape, cfg.shrink), chosen)
        rows = update_rows(size, cfg.rounds, cfg.seed, device_of(cfg), cfg.products, say=progress)
        yield rows, update_failures(size, rows)


def measure_rollout(cfg: DictConfig) -> Measured:
    """Drawing rationales."""
    from scripts.benchmark_rollout import SIZES, rollout_failures, rollout_rows

    for chosen in choices(cfg.vary, DECODED):
        size = SIZES[cfg.size].varied(chosen)
        rows = rollout_rows(size, **real_model(cfg))
        yield rows, rollout_failures(size, rows)


def measure_step(cfg: DictConfig) -> Measured:
    """Whole steps."""
    from scripts.benchmark_step import step_failures, step_rows
    from scripts.step_sizes import SIZES

    for chosen in choices(cfg.vary, DECODED):
        size = SIZES[cfg.size].varied(chosen, cfg.prompts, cfg.published_batches)
        rows = step_rows(size, **real_model(cfg))
        yield rows, step_failures(size, rows)


def gradients_first(cfg: DictConfig) -> list[str]:
    """What is wrong with our gradients at the smallest shape: nothing that is measured counts if they are others."""
    from scripts.benchmark_update import compare_gradients

    return compare_gradients(cfg.seed, device_of(cfg), cfg.products, progress)


def progress(line: str) -> None:
    """Say how far it is."""
    print(line, file=sys.stderr)


def device_of(cfg: DictConfig) -> str:
    """`cpu` or `cuda`: as asked, or else a GPU where there is one. Raises InputError for none, or for several."""
    import torch

    if cfg.device not in (None, "cpu", "cuda"):
        raise InputError(f"device={cfg.device}: choose null, cpu or cuda")
    if cfg.device == "cuda" and not torch.cuda.is_available():
        raise InputError("device=cuda: torch sees no GPU here; leave device out, or give device=cpu")
    device = cfg.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and torch.cuda.device_count() > 1:  # trainers would spread over all of them
        raise InputError(
            f"torch sees {torch.cuda.device_count()} GPUs: set CUDA_VISIBLE_DEVICES=0, or device=cpu"
        )
    return device


def real_model(cfg: DictConfig) -> dict[str, Any]:
    """What the parts that decode are given beside sizes."""
    return {
        "rounds": cfg.rounds,
        "seed": cfg.seed,
        "model_path": cfg.model_path,
        "data_path": cfg.data_path,
        "dtype": cfg.dtype,
        "schemes": cfg.schemes,
        "device": device_of(cfg),
        "products": cfg.products,
        "say": progress,
    }


PARTS: dict[str, Callable[[DictConfig], Measured]] = {
    "update": measure_update,
    "rollout": measure_rollout,
    "step": measure_step,
}
"""Parts of a step by name."""


def table(rows: Sequence[dict]) -> "Table":
    """The rows as printed."""
    from rich.table import Table

    view = Table(title="Medians; ratios are a shape's first scheme's figure over this one's")
    for column in ("shape", "scheme"):
        view.add_column(column)
    for column in (
        "CPU s",
        "wall s",
        "faster",
        "peak MB",
        "less memory",
        "TFLOP",
        "of products",
        "of bandwidth",
        "gradient off by",
    ):
        view.add_column(column, justify="right")
    for row in rows:
        distance = row["gradient_distance"]
        view.add_row(
            f"{row['part']}, {row['shape']}",
            row["scheme"],
            f"{row['cpu_seconds']:.2f}",
            f"{row['wall_seconds']:.2f}",
            f"{row['times_faster']:.2f}x by {row['clock']}",
            "" if row["peak_mb"] is None else f"{row['peak_mb']:.0f}",
            "" if row["times_less_memory"] is None else f"{row['times_less_memory']:.1f}x",
            f"{row['flops'] / 1e12:.3f}",
            f"{row['of_matmul_ceiling']:.0%}",
            "" if row["of_bandwidth_ceiling"] is None else f"{row['of_bandwidth_ceiling']:.0%}",
            "" if distance is None else f"{distance:.1e}",
        )
    return view


def plot(rows: Sequence[dict], picture: Path) -> None:
    """Bars of time and memory by shape and scheme, as shares of the published scheme's."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shapes = list(dict.fromkeys(row["shape"] for row in rows))
    figure, axes = plt.subplots(
        1, len(shapes), figsize=(6 * len(shapes), 4), layout="constrained", squeeze=False
    )
    for axis, shape in zip(axes.flat, shapes, strict=True):
        mine = [row for row in rows if row["shape"] == shape]
        places = range(len(mine))
        for key, offset, legend in (
            ("times_faster", -0.2, "time"),
            ("times_less_memory", 0.2, "peak memory"),
        ):
            if mine[0][key] is not None:
                shares = [1 / row[key] for row in mine]
                axis.barh([p + offset for p in places], shares, height=0.38, label=legend)
        axis.set_yticks(places, [row["scheme"] for row in mine])
        axis.invert_yaxis()
        axis.set(title=shape, xlabel="share of the published scheme's")
        axis.grid(axis="x", alpha=0.3)
        axis.legend(frameon=False)
    figure.savefig(picture, dpi=120)
    plt.close(figure)


@script("benchmark_latro")
def main(cfg: DictConfig) -> None:
    """Measure, print, write, and exit with status 1 if ours is not ahead."""
    if cfg.size not in SIZES or cfg.rounds < 1 or cfg.shrink < 1:
        raise InputError(
            f"size={cfg.size}, rounds={cfg.rounds}, shrink={cfg.shrink}: size is small or full, the others at least 1"
        )
    if cfg.products not in PRODUCTS:
        raise InputError(f"products={cfg.products}: choose from {', '.join(PRODUCTS)}")
    unknown = [part for part in cfg.parts if part not in PARTS]
    if unknown:
        raise InputError(
            f"parts={list(cfg.parts)}: there is no part {unknown[0]!r}; choose from {', '.join(PARTS)}"
        )
    from rich.console import Console

    from scripts.run import Run

    run = Run(cfg) if cfg.output_dir else None
    rows: list[dict] = []
    failed = [] if "update" in cfg.parts else gradients_first(cfg)
    for part in cfg.parts:
        for new, wrong in PARTS[part](cfg):
            rows, failed = rows + new, failed + wrong
    Console(width=None if sys.stdout.isatty() else 160).print(table(rows))
    if run is not None:
        run.write_json("results", {"rows": rows, "failures": failed})
        plot(rows, run.folder / "benchmark.png")
    for line in failed:
        print(f"FAILED {line}", file=sys.stderr)
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()

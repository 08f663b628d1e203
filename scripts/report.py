"""A run as one HTML page that asks for nothing outside itself: python -m scripts.report RUN [RUN ...]

Each run folder, finished or on its way, gets report.html; a training also curves.png, an evaluation or a run of agents
card.md. Several trainings that differ in their seed alone get one page more, with bands over the seeds, in the folder
above them.

    --out FILE      that page's name, if it is to stand elsewhere
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from latro.errors import InputError
from scripts.entry import status_of
from scripts.folders import DAMAGED, Kind, kind_of
from scripts.run import FREE_KEYS, differing, refuse_unwritable
from scripts.tables import write_text


def write_report(folder: Path) -> Path:
    """Write `report.html` into a run folder, and `card.md` if the run has an outcome; the page's path.

    Raises InputError for a folder that holds no run, or a damaged file.
    """
    from scripts.run_card import write_run_card

    kind, path = kind_of(folder), folder / "report.html"
    refuse_unwritable(folder, "RUN")
    try:
        write_text(path, _page(kind, folder))
        if (
            folder / "results.json"
        ).is_file() and kind is not Kind.TRAINING:  # a model's card lies beside its weights
            write_run_card(folder)
    except DAMAGED as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{folder}: damaged, or of another version of this project ({reason})") from error
    return path


def _page(kind: Kind, folder: Path) -> str:
    """The page of a run; each kind's code is loaded when it is needed."""
    if kind is Kind.TRAINING:
        from scripts.training_page import training_page
        from scripts.training_story import read_training

        return training_page([read_training(folder)])
    if kind is Kind.EVALUATION:
        from scripts.evaluation_page import evaluation_page

        return evaluation_page(folder)
    if kind is Kind.LEARNING:
        from scripts.learning_page import learning_page

        return learning_page(folder)
    from scripts.agents_page import agents_page

    return agents_page(folder)


def write_seeds(folders: Sequence[Path], out: Path | None) -> Path:
    """Write one page over trainings that differ in their seed alone; its path. Raises InputError if they do not."""
    from scripts.plotting import plot_trainings
    from scripts.training_page import training_page
    from scripts.training_story import read_training

    runs = sorted((read_training(folder) for folder in folders), key=lambda run: run.seed)
    for other in runs[1:]:
        unlike = [
            name
            for name in differing(runs[0].config, other.config)
            if name.split(".")[0] not in FREE_KEYS and name.split(".")[-1] not in ("seed", "cache")
        ]
        if unlike:
            raise InputError(
                f"{runs[0].folder} and {other.folder} differ in {', '.join(unlike[:4])}: no page over seeds can be "
                "made; name runs of one setting, or compare them by compare_runs"
            )
    if len({run.seed for run in runs}) < len(runs):
        raise InputError("two of these runs have the same seed: name each seed once")
    path = out or Path(os.path.commonpath([folder.absolute() for folder in folders])) / "report.html"
    refuse_unwritable(path.parent, "--out")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, training_page(runs))
    plot_trainings(runs, path.with_name("curves.png"), str(runs[0].config["name"]))
    return path


def report(folders: Sequence[Path], out: Path | None) -> int:
    """Write and name the pages of these runs; the exit status."""
    kinds = [kind_of(folder) for folder in folders]
    for folder, kind in zip(folders, kinds, strict=True):
        print(write_report(folder))
        if kind is Kind.TRAINING:
            from scripts.plotting import plot_run

            print(plot_run(folder, folder / "curves.png", str(folder)))
    if len(folders) > 1 and set(kinds) == {Kind.TRAINING}:
        print(write_seeds(folders, out))
    elif out is not None:
        raise InputError("--out names the page over several trainings: name two of them, or leave it out")
    return 0


def main(arguments: Sequence[str]) -> int:
    """Write the pages of the folders on the command line; the exit status."""
    parser = argparse.ArgumentParser(
        prog="report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--out", type=Path, metavar="FILE")
    given = parser.parse_args(arguments)
    return status_of(lambda: report(given.runs, given.out), "stopped by hand")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

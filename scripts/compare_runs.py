"""Finished runs, paired item by item: python -m scripts.compare_runs BASE OTHER [OTHER ...] [--out FOLDER]

Each argument is a setting: a run folder, or several that differ in their seed alone, as A1,A2,A3 or as a quoted
pattern 'A/*'. Every later setting is compared with the first: evaluations of models (evaluate_latro) by grader and by
the answer's log-likelihood, trainings on their validation, evaluations of agents (evaluate_pract) by arm. FOLDER:ARM
takes one arm; one folder alone compares its arms.

    --metric NAME   only measures that begin so; name beforehand what you ask for, as all that is asked is corrected for
    --out FOLDER    write comparison.csv, flips.csv, comparison.tex and comparison.html as well
"""

import argparse
import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from latro.errors import InputError
from scripts.comparison_page import comparison_page
from scripts.comparison_tables import csv_text, flips_csv, latex_text, print_contrasts
from scripts.contrasts import Setting, contrasts, ordered_by_seed, unlike_settings
from scripts.entry import status_of
from scripts.run import refuse_unwritable
from scripts.sheets import Sheet, read_sheets
from scripts.tables import write_text

NAMES = "name two runs: python -m scripts.compare_runs BASE OTHER"


def folders_of(argument: str) -> tuple[list[Path], str]:
    """The folders that a setting names, and the arm it takes of them (or nothing)."""
    named, _, arm = (argument, "", "") if Path(argument).is_dir() else argument.partition(":")
    found = []
    for piece in [named] if Path(named).is_dir() else named.split(","):
        matching = _matching(piece)
        if not matching:
            raise InputError(f"{piece}: no folder is called so; quote the pattern, and look at its spelling")
        found += matching
    return found, arm


def _matching(piece: str) -> list[Path]:
    """The folder of this name, or those that the pattern fits."""
    path = Path(piece)
    if path.exists() or not any(letter in piece for letter in "*?["):
        return [path]
    start = Path(path.anchor)
    return sorted(found for found in start.glob(str(path.relative_to(start))) if found.is_dir())


def settings_of(arguments: Sequence[str]) -> list[Setting]:
    """The settings that the command line names; arms become settings of their own.

    Raises InputError where they are not two at least, or where an arm has no counterpart.
    """
    named: dict[str, dict[str, list[Sheet]]] = {}
    for argument in arguments:
        folders, only = folders_of(argument)
        arms: dict[str, list[Sheet]] = {}
        for folder in folders:
            for sheet in read_sheets(folder):
                if not only or sheet.arm == only:
                    arms.setdefault(sheet.arm, []).append(sheet)
            if only and not any(sheet.folder == folder for sheet in arms.get(only, [])):
                raise InputError(f"{folder} has no arm {only!r}; see its results.json")
        if argument in named:
            raise InputError(f"{argument} is named twice; {NAMES}")
        named[argument] = arms
    return _settings(named)


def _settings(named: dict[str, dict[str, list[Sheet]]]) -> list[Setting]:
    """Arms against the first arm of one folder; else those of the same name, or single ones, against the first's."""
    labels = _short(list(named))
    single = all(len(arms) == 1 for arms in named.values())
    if len(named) == 1 or single:
        found = [
            ordered_by_seed(labels[argument] if single else arm, sheets)
            for argument, arms in named.items()
            for arm, sheets in arms.items()
        ]
        if len(found) < 2:
            raise InputError(f"{next(iter(named))} is one run; {NAMES}")
        return found
    raise InputError(
        "several runs with several arms: take one arm of each, as FOLDER:ARM; there are "
        + "; ".join(f"{labels[argument]}: {', '.join(arms)}" for argument, arms in named.items())
    )


def _short(arguments: Sequence[str]) -> dict[str, str]:
    """The arguments without the folders that all of them begin with; several of one folder as `folder/{a,b}`."""
    parts = {
        argument: [piece.rstrip("/").split("/") for piece in _pieces(argument)] for argument in arguments
    }
    above = [place[:-1] for pieces in parts.values() for place in pieces]
    same = takewhile(lambda names: len(set(names)) == 1, zip(*above, strict=False))
    shared = len(list(same)) if len(parts) > 1 else 0
    return {argument: _joined([place[shared:] for place in pieces]) for argument, pieces in parts.items()}


def _pieces(argument: str) -> list[str]:
    return [argument] if Path(argument).is_dir() else argument.split(",")


def _joined(places: Sequence[Sequence[str]]) -> str:
    folders: dict[str, list[str]] = {}
    for place in places:
        folders.setdefault("/".join(place[:-1]), []).append(place[-1])
    named = (names[0] if len(names) == 1 else f"{{{','.join(names)}}}" for names in folders.values())
    return ",".join(f"{above}/{name}" if above else name for above, name in zip(folders, named, strict=True))


def compare(arguments: Sequence[str], metrics: Sequence[str], out: Path | None) -> int:
    """Read, refuse what is unlike, compare, write, print; the exit status."""
    if out is not None:
        refuse_unwritable(out, "--out")
    settings = settings_of(arguments)
    found = contrasts(settings, metrics)
    if not found:
        raise InputError("no item counts on both sides; see outcomes.jsonl for what went wrong")
    first = settings[0].sheets[0]
    about = ", ".join(f"{key} {value[:16]}" for key, value in first.identity.items())
    title = f"{len(first.items)} items; {about}"
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "comparison.csv", csv_text(found))
        write_text(out / "flips.csv", flips_csv(found))
        write_text(out / "comparison.tex", latex_text(found))
        write_text(out / "comparison.html", comparison_page(settings, found, title))
    print_contrasts(found, title)
    for line in unlike_settings(settings):
        print(f"warning: {line}", file=sys.stderr)
    if out is not None:
        print(f"written: {out}/comparison.html, .csv, .tex and flips.csv")
    return 0


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """What a command line says. Exits for one that cannot be read."""
    parser = argparse.ArgumentParser(
        prog="compare_runs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--metric", action="append", default=[], metavar="NAME")
    parser.add_argument("--out", type=Path, metavar="FOLDER")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Compare what the command line names; the exit status."""
    given = read_arguments(arguments)
    return status_of(lambda: compare(given.runs, given.metric, given.out), "stopped by hand")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

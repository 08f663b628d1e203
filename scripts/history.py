"""`history.html` of a run folder, one file that needs nothing else: python -m scripts.history RUN

Each version of the principles as a diff, the reflections and episodes that caused it, tasks won and lost, size and
cost; and for each sentence where it came from. Written by every run as it goes; this remakes it.
"""

import sys
from pathlib import Path

from latro.errors import InputError
from scripts.rendering import history_page
from scripts.story import read_story
from scripts.tables import write_text


def write_history(folder: Path) -> Path:
    """Write `history.html` into a run folder and return its path.

    Raises InputError if the folder holds no run of RPO, or one whose first round has not ended.
    """
    story = read_story(folder)
    if not story.rounds:
        raise InputError(
            f"{folder}: no round has ended yet; wait for round 0, or start the run again to go on"
        )
    path = folder / "history.html"
    write_text(path, history_page(story))
    return path


def main() -> None:
    """Write the page of the run folder on the command line."""
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__)
        return
    if len(sys.argv) != 2:
        sys.exit("error: name one run folder: python -m scripts.history RUN")
    try:
        print(write_history(Path(sys.argv[1])))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()

"""A LaTRO run folder kept for one process while it works; PRAct's event log keeps its own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scripts.folders import LOCK, locked
from scripts.run import refuse_unwritable


@contextmanager
def kept(output_dir: str) -> Iterator[None]:
    """Keep the folder for this run, on the main one of its processes. Raises InputError if another run has it.

    Such a run may be nobody's: its sweep was killed, and it went on. A run that is refused leaves no lock behind,
    and no folder that was made for it alone.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    folder = Path(str(output_dir))  # whatever it is: its type is looked at later
    refuse_unwritable(folder)
    new, fresh = not folder.exists(), not (folder / LOCK).exists()
    with locked(folder, "run", "choose another output_dir"):
        try:
            yield
        except Exception:
            if fresh:
                (folder / LOCK).unlink(missing_ok=True)
            if new:
                with suppress(OSError):  # the run has begun in it
                    folder.rmdir()
            raise

"""The run folder of PRAct: `events.jsonl` is the truth, everything else is written from it and can be again.

config.yaml, environment.json   the resolved configuration without secrets; versions, commit, command, hardware
events.jsonl                    every call, episode, reflection and round as it happened: a resumed run goes on from it
episodes.jsonl                  every episode with all its steps
reflections.jsonl               every reflection
principles.json                 the best principles, and every version with parent, evidence and fate
metrics.jsonl                   one row for each round, as trackers get it
results.json                    the outcome, also of a run that was stopped
history.html                    the story of the principles, one file to open anywhere
.lock                           held while a session is at work
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from omegaconf import DictConfig

from pract.errors import InputError
from pract.events import EventLog, refuse_other_run
from scripts.casting import ROLES
from scripts.folders import LOCK, finished, locked, read_config
from scripts.run import FREE_KEYS, Run, differing, under
from scripts.tables import write_text

FURTHER = ("budget", "retry_failed", "rpo.rounds", "rpo.patience", "limit", "attempts")
"""Keys that can take a finished run further."""
FREE = (*FREE_KEYS, *FURTHER, "concurrency", "chunk")
"""Keys that may differ when a run is taken up again."""
REACHED = (
    "model",
    "base_url",
    "api_key_env",
    "concurrency",
    "timeout_seconds",
    "connect_seconds",
    "direct",
    "patience",
    "max_reply_bytes",
    "prices",
    *(f"server.{name}" for name in ("host", "port", "slots", "threads", "prompt_cache_mib")),
)
"""Keys of a model that may differ too: how it is reached and paid, and the name, which is checked against the log."""
REPLAY = "pract.llm.replay.ReplayChat"
RECORDING = ("path", "mode", "inner")
"""Further ones of a recording, whose first line names the model."""


class LoggedRun(Run):
    """The folder of a run that is rebuilt from its event log."""

    def begin(self, log: EventLog, description: Mapping[str, Any]) -> None:
        """Write what the run is, and withdraw the outcome of an earlier session.

        description: see `begin_run`. Raises InputError, and leaves all as it is, if the log is of another run.
        """
        refuse_other_run(log, description)
        self.open(overwrite=False)
        (self.folder / "results.json").unlink(missing_ok=True)

    def begun(self) -> bool:
        """Whether there is something to go on with: an event."""
        log = self.folder / "events.jsonl"
        return log.exists() and log.stat().st_size > 0

    def refuse_other_run(self) -> None:
        """Raise InputError for a run of another configuration, or a finished one that nothing takes further."""
        names = sorted(differing(read_config(self.folder), self.config))
        changed = [name for name in names if not may_differ(name, self.config)]
        if changed:
            shown = ", ".join(changed[:4]) + (" ..." if len(changed) > 4 else "")
            raise InputError(
                f"{self.folder} holds a run with another configuration ({shown}); "
                "choose another output_dir, or overwrite=true"
            )
        further = any(under(name, FURTHER) for name in names) or self.config.get("retry_failed")
        if finished(self.folder) and not further:
            shown = ", ".join(name for name in FURTHER if name.split(".")[0] in self.config)
            raise InputError(
                f"{self.folder} holds a finished run; raise one of {shown}, choose another output_dir, "
                "or overwrite=true"
            )

    @contextmanager
    def event_log(self, *, retry_failed: bool) -> Iterator[EventLog]:
        """The event log, closed at the end, in a folder that no other process may work in meanwhile.

        The folder is emptied first if it is to be overwritten. A run refused before its first event leaves no folder
        behind. Raises InputError if another process is at work in it.
        """
        path = self.folder / "events.jsonl"
        with locked(self.folder, "run", "choose another output_dir"):
            if self.overwrite:
                self._empty()
            log = EventLog(path, retry_failed=retry_failed)
            try:
                yield log
            finally:
                log.close()
                if path.stat().st_size == 0:
                    for name in (path.name, "config.yaml", "environment.json", LOCK):
                        (self.folder / name).unlink(missing_ok=True)
                    with suppress(OSError):  # the user's own files are in it
                        self.folder.rmdir()

    def begin_tables(self, *tables: str) -> None:
        """Empty these tables: the session replays what the log holds and so fills them again."""
        for table in tables:
            write_text(self.folder / f"{table}.jsonl", "")

    def count_rows(self, table: str) -> int:
        """Rows that a table has now."""
        path = self.folder / f"{table}.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0


def may_differ(name: str, config: Mapping[str, Any]) -> bool:
    """Whether a run may be taken up with another value of a key: it says how far, or how a role's model is reached."""
    role, _, key = name.partition(".")
    return under(name, FREE) or (role in ROLES and is_way(key, config.get(role)))


def is_way(key: str, chat: Any) -> bool:
    """Whether a key of a chat model's settings says how it is reached; the same key may name the model in another."""
    if isinstance(chat, Mapping) and chat.get("_target_") == REPLAY:
        if key in RECORDING:
            return True
        if key.startswith("inner."):
            return is_way(key.removeprefix("inner."), chat.get("inner"))
    return under(key, REACHED)


class Tracker:
    """Sends rows of metrics to W&B or TensorBoard, or nowhere."""

    def __init__(self, wandb_run: Any, board: Any) -> None:
        self._wandb, self._board = wandb_run, board

    def log(self, row: Mapping[str, Any], step: int) -> None:
        """Send the numbers of a row, all under `rpo/`."""
        numbers = {name: value for name, value in row.items() if isinstance(value, int | float)}
        if self._wandb is not None:
            self._wandb.log(numbers)
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(name, value, step)


@contextmanager
def open_tracker(logger: DictConfig, run: Run) -> Iterator[Tracker]:
    """The tracker that the configuration names; a W&B run is resumed by the id in the run folder.

    Raises InputError for one that there is not.
    """
    from scripts.tracking import report_to, tracker

    report_to(logger)
    if logger.name == "wandb":
        with tracker(logger, run) as tracked:
            tracked.define_metric("rpo/*", step_metric="rpo/round")
            yield Tracker(tracked, None)
    elif logger.name == "tensorboard":
        from torch.utils.tensorboard import SummaryWriter

        board = SummaryWriter(str(run.folder))
        try:
            yield Tracker(None, board)
        finally:
            board.close()
    else:
        yield Tracker(None, None)

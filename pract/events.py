"""The append-only event log: one JSON line per thing that happened, from which a run is rebuilt and continued.

An event has a key (where in the run it belongs), a kind, and data. Keys are fixed by the run's configuration, not
by time or chance, so that a resumed run asks for the same keys and finds its outcomes. Lines are written as things
happen, thus under concurrency in any order; `canonical` sorts them and leaves the clock out.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from pract.budget import Spent
from pract.errors import InputError
from pract.records import from_json, packed
from pract.types import Reply, Status

RUN = "run"
CHAT = "chat"
EPISODE = "episode"
REFLECTION = "reflection"
ROUND = "round"
OUTAGE = "outage"
"""A run stopped because a model or the environment was away; `data["episodes"]` has the ids of the episodes that could
not be played, or the keys of the calls that had no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of the log."""

    key: str
    """`/`-separated place in the run, e.g. `round-001/train-000/task-7/step-02`."""
    kind: str
    data: Mapping[str, Any]
    at: float = 0.0
    """Wall seconds into the run, earlier sessions included."""


def key_of(*parts: str) -> str:
    """A key from its parts; slashes inside a part are escaped."""
    return "/".join(quote(part, safe=" :;,+=@()[]") for part in parts)


class EventLog:
    """Events of earlier sessions, to be taken once each, and a file to which new ones are appended.

    Without a path nothing is kept. Only events of earlier sessions are held in memory, until they are taken.
    """

    def __init__(self, path: Path | None = None, *, retry_failed: bool = False) -> None:
        """Open or create the log; a last line torn by a crash is cut off. Raises InputError for a damaged file.

        retry_failed: forget earlier sessions' failures of models and environments, so that those calls and episodes
        are tried again; what they cost still counts.
        """
        self._retry_failed = retry_failed
        self._past: dict[tuple[str, str], Event] = {}
        self._file: BinaryIO | None = None
        self.spent = Spent()
        """What the logged calls cost, superseded ones included."""
        self.elapsed = 0.0
        """Wall seconds of earlier sessions."""
        if path is not None:
            self._read(path)
            self._file = path.open("ab")

    def _read(self, path: Path) -> None:
        content = path.read_bytes() if path.exists() else b""
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(path, whole)
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            try:
                event = from_json(Event, json.loads(line))
            except (ValueError, TypeError) as error:
                raise InputError(
                    f"{path}, line {number}: not an event ({error}): restore the file or start a new run"
                ) from error
            if event.kind == OUTAGE:
                self._forget_failures(event.data["episodes"])
            elif not (self._retry_failed and _failed(event)):
                self._past[event.kind, event.key] = event
            self.elapsed = max(self.elapsed, event.at)
            if event.kind == CHAT:
                self.spent = self.spent.plus(_logged_reply(event))

    def _forget_failures(self, episodes: Sequence[str]) -> None:
        """Let these episodes, and their calls, be tried again where they failed."""
        below = tuple(f"{name}/" for name in episodes)
        for place, event in list(self._past.items()):
            if (event.key in episodes or event.key.startswith(below)) and _failed(event):
                del self._past[place]

    def holds(self, kind: str, key: str) -> Mapping[str, Any] | None:
        """As `past`, and the event can still be taken."""
        event = self._past.get((kind, key))
        return None if event is None else event.data

    def earlier(self, kind: str) -> list[Mapping[str, Any]]:
        """Data of all events of a kind that can still be taken, in the order first written."""
        return [event.data for (found, _), event in self._past.items() if found == kind]

    def past(self, kind: str, key: str) -> Mapping[str, Any] | None:
        """Data of an earlier session's event, which is then forgotten; None if there is none."""
        event = self._past.pop((kind, key), None)
        return None if event is None else event.data

    def append(self, kind: str, key: str, data: Any, *, at: float = 0.0) -> None:
        """Write one event; after the return it survives the end of the process. data: a record or JSON."""
        if self._file is None:
            return
        line = {"key": key, "kind": kind, "at": int(at * 1000 + 0.5) / 1000, "data": data}
        self._file.write(packed(line) + b"\n")
        self._file.flush()

    def record(self, kind: str, key: str, data: Mapping[str, Any], *, at: float = 0.0) -> None:
        """Append an event unless an earlier session wrote the very same."""
        if self.past(kind, key) != data:
            self.append(kind, key, data, at=at)

    def close(self) -> None:
        """Close the file, its content safe on the disk; may be called twice."""
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None


def _failed(event: Event) -> bool:
    """Whether the event is a failed call or an episode that failed for reasons not the agent's."""
    broken = (Status.CHAT_ERROR.value, Status.ENVIRONMENT_ERROR.value)
    return "error" in event.data if event.kind == CHAT else event.data.get("status") in broken


def begin_run(log: EventLog, description: Mapping[str, Any]) -> None:
    """Log what the run is, or check that an earlier session was the same run.

    description: everything that decides the run's outcomes, as JSON; not the budget, which may be raised. Raises
    InputError naming what differs.
    """
    refuse_other_run(log, description)
    if log.past(RUN, RUN) is None:
        log.append(RUN, RUN, description)


def refuse_other_run(log: EventLog, description: Mapping[str, Any]) -> None:
    """Raise InputError if an earlier session was another run in what the description tells; changes nothing."""
    now = json.loads(json.dumps(description))
    past = log.holds(RUN, RUN) or {}
    for name in sorted(past.keys() & now):  # what only one of them tells cannot differ
        if past[name] != now[name]:
            raise InputError(
                f"the event log is of another run: {name} was {past.get(name)!r}, now it is {now.get(name)!r}: "
                "set it back, or start a new run in another folder"
            )


def _logged_reply(event: Event) -> Reply | None:
    reply = event.data.get("reply", event.data.get("cost"))
    return None if reply is None else from_json(Reply, reply)


def read_events(path: Path) -> Iterable[Event]:
    """The events of a log in the order written, a torn last line left out."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield from_json(Event, json.loads(line))


def canonical(events: Iterable[Event]) -> list[str]:
    """The events as lines that two equal runs have in common: sorted by key, the last of each, without times."""
    last = {(event.key, event.kind): event for event in events}
    return [
        json.dumps(
            {"key": key, "kind": kind, "data": _timeless(event.data)}, ensure_ascii=False, sort_keys=True
        )
        for (key, kind), event in sorted(last.items())
    ]


def _timeless(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _timeless(item) for key, item in value.items() if key != "seconds"}
    if isinstance(value, list | tuple):
        return [_timeless(item) for item in value]
    return value

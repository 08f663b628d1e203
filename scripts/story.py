"""What a run folder tells: rounds, versions, episodes and reflections, read back for `history.html`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from latro.errors import InputError
from scripts.folders import AGAIN, Row, finished, numbered, parsed, read_config, read_json, table

_RUN_OR_ROUND = re.compile(r'"kind": ?"(?:run|round)"')
"""At the beginning of a line; most lines are long and of other kinds, and need not be parsed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What a run folder tells."""

    config: Row
    description: Row
    """The first event: environment, models, settings."""
    rounds: tuple[Row, ...]
    versions: Mapping[str, Row]
    """Records of principles by version, in the order written."""
    best: str
    episodes: Mapping[str, Row]
    reflections: Mapping[str, Row]
    stopped: str = ""
    played: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """The validation episode of (version, task): the first attempt."""

    @property
    def texts(self) -> dict[str, str]:
        """Reflections' texts by id."""
        return {name: row["text"] for name, row in self.reflections.items()}

    @property
    def measure(self) -> str:
        """What the gate compares."""
        return str(self.description["rpo"]["measure"])

    def version_of(self, principles: Row) -> str:
        """The version of principles as a round holds them, without their version; empty if it is not on record."""
        for version, row in self.versions.items():
            if row["texts"] == principles["texts"] and row["notes"] == principles["notes"]:
                return version
        return ""


def read_story(folder: Path) -> Story:
    """Read a run folder, finished or not. Raises InputError if it holds no run, or a damaged file."""
    config = read_config(folder)
    principles = read_json(folder / "principles.json")
    if principles is None:
        raise InputError(f"{folder} holds no principles.json; name a folder of optimize_pract")
    first, rounds = _events(folder / "events.jsonl", torn=not finished(folder))
    episodes = {row["id"]: row for row in table(folder, "episodes")}
    played: dict[tuple[str, str], str] = {}
    for round_ in rounds:
        for name in round_["validation"]:
            if name in episodes:
                played.setdefault((episodes[name]["principles"], episodes[name]["task_id"]), name)
    return Story(
        config=config,
        description=first,
        rounds=tuple(rounds),
        versions={row["version"]: row for row in principles["versions"]},
        best=principles["best"]["version"],
        episodes=episodes,
        reflections={row["id"]: row for row in table(folder, "reflections")},
        stopped=(read_json(folder / "results.json") or {}).get("stopped", ""),
        played=played,
    )


def _events(path: Path, *, torn: bool) -> tuple[Row, list[Row]]:
    """What the run is, and its rounds in order; of a round that was taken up again the last account."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; without its log nothing can be told of the run")
    run: Row = {}
    rounds: dict[str, Row] = {}
    for number, line in numbered(path):
        if not line.endswith("\n"):
            if torn:
                break
            raise InputError(f"{path}, line {number}: damaged or cut off; {AGAIN}")
        if not _RUN_OR_ROUND.search(line, 0, 200):
            continue
        event = parsed(path, number, line)
        if event["kind"] == "run":
            run = event["data"]
        else:
            rounds[event["key"]] = event["data"]
    return run, sorted(rounds.values(), key=lambda row: int(row["index"]))

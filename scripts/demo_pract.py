"""The demo's third stage: a model shops, reflects on it, rewrites its principles, and is tested on held-out tasks.

The model is the address in OPENAI_BASE_URL (its name in OPENAI_MODEL, its key, if it wants one, in OPENAI_API_KEY);
else the file that GGUF names (`make demo GGUF=MODEL.gguf`, extra: serve); else a recording of a real run is replayed,
and what is printed says so.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pract.llm.bundled import bundled_recording
from scripts.stats import interval_text

TITLE = "an agent: RPO rewrites the principles of a shopper"
RECORDING = "shop_qwen_coder_1_5b"
EXPERIMENT = "experiment=pract/demo"
COMPARE = ("limit=10", "~arms.react", "~arms.initial")
"""Ten test tasks, without principles and with those that were learned: what the recording holds."""
LIVE = ("budget.seconds=300",)
"""Of each of the two commands, so that a slow model cannot hold up the demo; both can be started again and go on."""
OPENAI = "api.openai.com"
OWN_SERVER = ("llm.context_tokens=4096", "llm.max_tokens_key=max_tokens")
"""For any other address: as much as most servers give a call, and the name that all of them know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Player:
    """The model that plays all roles."""

    label: str
    overrides: tuple[str, ...]


def choose_player(environ: Mapping[str, str]) -> Player:
    """The model that the environment variables name, or the recording."""
    address, file = environ.get("OPENAI_BASE_URL", ""), environ.get("GGUF", "")
    if address:
        name = environ.get("OPENAI_MODEL", "")
        named = [f"llm.model={name}"] * bool(name)
        keyless = ["llm.api_key_env=null"] * ("OPENAI_API_KEY" not in environ)
        own = OWN_SERVER if urlsplit(address).hostname != OPENAI else ()
        return Player(
            label=f"{name or 'the default model'} at {address}",
            overrides=("llm=openai", *named, *keyless, *own, *LIVE),
        )
    if file:
        return Player(
            label=f"{file}, on this machine", overrides=("llm=gguf", f"llm.server.path={file}", *LIVE)
        )
    model = bundled_recording(RECORDING).model
    return Player(label=f"REPLAY of a recorded run of {model}: no model is asked now", overrides=())


def run_stage(folder: Path, player: Player, run: Callable[[str, Sequence[str]], None]) -> str:
    """Learn, then compare on test tasks, both as the ordinary commands; returns what changed.

    run: runs a script with overrides and ends the demo if that fails.
    """
    learned, compared = folder / "learned", folder / "compared"
    print(f"model: {player.label}", flush=True)
    run("optimize_pract", [EXPERIMENT, *player.overrides, f"output_dir={learned}"])
    principles = f"principles={learned}/principles.json"
    run("evaluate_pract", [EXPERIMENT, *COMPARE, principles, *player.overrides, f"output_dir={compared}"])
    return what_changed(learned, compared, player)


def what_changed(learned: Path, compared: Path, player: Player) -> str:
    """Principles before and after, the gate's decisions, the held-out comparison, and where the history is."""
    principles = json.loads((learned / "principles.json").read_text())
    before, after = principles["versions"][0]["texts"], principles["best"]["texts"]
    lines = [f"  model: {player.label}"]
    for action, text in after.items():
        lines += [
            f"  {action}",
            f"    before: {before[action] or '(none)'}",
            f"    after:  {text or '(none)'}",
        ]
    for row in map(json.loads, (learned / "metrics.jsonl").read_text().splitlines()):
        if row["rpo/round"]:
            lines.append(f"  round {row['rpo/round']}: {row['rpo/decision']}")
    lines += held_out(json.loads((compared / "results.json").read_text()))
    return "\n".join([*lines, f"  history: {learned}/history.html"])


def held_out(results: Mapping[str, Any]) -> list[str]:
    """Each arm's score on the test tasks with its 95% interval, then the paired difference."""
    (name,) = results["results"]
    row, intervals = results["results"][name], results["intervals_95"][name]
    lines = []
    for arm, samples in results["n-samples"][name].items():
        if f"score,{arm}" in row:
            bounds, n = interval_text(*intervals[f"score,{arm}"]), samples["effective"]
            lines.append(f"  test score, {arm}: {row[f'score,{arm}']:.3f} {bounds}, n={n}")
    for pair in results["paired"]:
        if pair["measure"] == "score":
            lines.append(
                f"  {' - '.join(pair['arms'])}: {pair['value']:+.3f} "
                f"{interval_text(pair['low'], pair['high'], signed=True)}, "
                f"{len(pair['won'])} won, {len(pair['lost'])} lost"
            )
    return lines

"""The page of an RPO run: principles now, scores, score against cost, who spent what, episodes. All escaped."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from scripts.agents_page import command, unfinished
from scripts.curves import Curve, Panel, Point, bounded, from_zero
from scripts.episode_player import player
from scripts.folders import Row, finished, read_config, read_json, rows, table
from scripts.line_chart import figure
from scripts.page import Choice, fill, picker, section, tabs
from scripts.page import table as html_table
from scripts.progress import duration, thousands
from scripts.rendering import head, mean_of, principles_now, round_sections, scores
from scripts.story import Story, read_story
from scripts.training_page import configuration, versions

EPISODES = 40
"""Episodes on the page step by step, those of the latest rounds; episodes.jsonl has all."""
COSTS = {"tokens": "tokens so far", "calls": "calls so far", "seconds": "seconds so far", "usd": "US$ so far"}
_OPTIMIZER = re.compile(r"[^/]+/(optimize(-\d+)?|merge|reflect-\d+)(/|$)")
"""How the keys of its calls begin, GEPA's reflections among them; a reflector's end in `/reflect`."""


def learning_page(folder: Path) -> str:
    """The whole page, of a finished run or one on its way. Raises InputError for a damaged file."""
    config, about = read_config(folder), read_json(folder / "environment.json") or {}
    story = read_story(folder) if (folder / "principles.json").is_file() else None
    roles = section("roles", "Who spent what", _roles(folder))
    if story is None or not story.rounds:
        title = f"<header><h1>Principles of <em>{escape(str(config['name']))}</em></h1>{unfinished(None)}</header>"
        parts = [title, roles, _episodes(table(folder, "episodes"))]
    else:
        parts = _parts(story, roles, "" if (folder / "results.json").is_file() else unfinished(None))
    made = command(about) + configuration(config, ("env", "agent", "rpo", "llm")) + versions(about)
    return fill(f"{config['name']}: principles", [*parts, section("run", "The run", made)])


def _parts(story: Story, roles: str, said: str) -> list[str]:
    """What there is once a round has ended."""
    kinds = {"validation": "validation", "episodes": "training"}
    shown = {
        name: f"round {row['index']}, {kind}"
        for row in reversed(story.rounds)
        for key, kind in kinds.items()
        for name in row[key]
        if name in story.episodes
    }
    return [
        head(story),
        said,
        section("best", "The principles now", principles_now(story)),
        section("scores", "Scores by round", scores(story)),
        section("cost", "Score against cost", _cost(story)),
        roles,
        _episodes([story.episodes[name] for name in shown], shown),
        *round_sections(story),
    ]


def _cost(story: Story) -> str:
    """Validation means of the candidates, and of the best so far, against all that was spent by then."""
    choices = []
    for name, label in COSTS.items():
        tried, best, high = [], [], -1.0
        for row in story.rounds:
            spent = row["spent"]
            x = spent["prompt_tokens"] + spent["completion_tokens"] if name == "tokens" else spent[name]
            found = mean_of(story, row["validation"])
            if found is not None:
                tried.append(bounded(x, found))
                best += [Point(x=x, y=high)] if high >= 0 else []  # the line goes on level, then up
                high = max(high, found.value) if row["decision"] in ("start", "accepted") else high
            if high >= 0:
                best.append(Point(x=x, y=high))
        if tried and tried[-1].x:
            curves = (
                Curve(label="best so far", points=tuple(best)),
                Curve(label="each candidate, 95% interval", points=tuple(tried), dots=True, joined=False),
            )
            panel = Panel(
                title=f"Validation {story.measure}",
                unit="mean over tasks",
                x_label=label,
                curves=curves,
                share=True,
                span=from_zero(curves),
            )
            choices.append((name, f"<div class=one>{figure(panel)}</div>"))
    return tabs("cost-by", choices) if choices else "<p>No validation was played (there is no gate).</p>"


def _episodes(episodes: Sequence[Row], shown: Mapping[str, str] | None = None) -> str:
    choices: list[Choice] = [
        (
            (shown or {}).get(episode["id"], ""),
            f"{episode['task_id']}: {'✓' if episode['success'] else '✗'} {episode['score']:.2f}",
            player(episode),
        )
        for episode in episodes[:EPISODES]
    ]
    if not choices:
        return section("episodes", "Episodes", "<p>No episode has ended yet.</p>")
    hint = "<p class=hint>Step by step; the arrow keys work too.</p>"
    return section("episodes", "Episodes", hint + picker("play", "episode", choices))


def role_of(key: str) -> str:
    """Whose call has this key."""
    if _OPTIMIZER.match(key):
        return "optimizer"
    return "reflector" if key.endswith("/reflect") else "agent"


def _roles(folder: Path) -> str:
    """Calls, tokens, seconds and money by role, of all sessions."""
    path = folder / "events.jsonl"
    spent: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for event in rows(path, torn=not finished(folder)) if path.is_file() else ():
        if event["kind"] != "chat":
            continue
        role = spent[role_of(event["key"])]
        role["calls"] += 1
        reply = event["data"].get("reply", event["data"].get("cost")) or {}
        for name in ("prompt_tokens", "cached_tokens", "completion_tokens", "seconds", "usd"):
            role[name] += reply.get(name) or 0
        role["told"] += reply.get("cached_tokens") is not None
    if not spent:
        return "<p>No model has been called.</p>"
    cells = [
        [
            role,
            str(round(found["calls"])),
            thousands(round(found["prompt_tokens"])),
            thousands(round(found["cached_tokens"])) if found["told"] else "not told",
            thousands(round(found["completion_tokens"])),
            duration(found["seconds"]),
            f"${found['usd']:.2f}",
        ]
        for role, found in spent.items()
    ]
    head_ = ("role", "calls", "tokens in", "of these cached", "tokens out", "model time", "cost")
    return html_table(head_, cells, words=1)

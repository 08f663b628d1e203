"""The page of an evaluation of agents: arms, cost, differences, and each task's episodes side by side. All escaped."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import fields
from html import escape
from pathlib import Path
from urllib.parse import unquote

from latro.errors import InputError
from pract.evaluation import Outcome
from pract.records import from_json
from scripts.comparison_page import contrast_sections
from scripts.comparison_tables import note
from scripts.contrasts import contrasts, ordered_by_seed
from scripts.curves import Curve, Panel, bounded, from_zero
from scripts.episode_player import player
from scripts.folders import Row, read_config, read_json, refuse_missing, table
from scripts.interval_chart import Entry, interval_chart
from scripts.line_chart import figure
from scripts.outcomes import MEASURES, by_task, cost, estimates
from scripts.page import Choice, fill, picker, section, tabs, tiles
from scripts.page import table as html_table
from scripts.progress import duration, thousands
from scripts.sheets import read_sheets
from scripts.training_page import configuration, estimate_cell, versions

TASKS = 30
"""Tasks whose episodes are on the page, those on which arms differ first."""
COSTS = {
    "tokens": "tokens an episode",
    "calls": "calls an episode",
    "seconds": "model seconds an episode",
    "usd": "US$ an episode",
}


def agents_page(folder: Path) -> str:
    """The whole page, of a finished run or one on its way. Raises InputError for a damaged file."""
    config, outcome = read_config(folder), read_json(folder / "results.json")
    rows, episodes = table(folder, "outcomes"), table(folder, "episodes")
    _refuse_cut(folder, outcome, rows)
    arms: dict[str, list[Outcome]] = defaultdict(list)
    known = {field.name for field in fields(Outcome)}
    for row in rows:
        arms[row["arm"]].append(from_json(Outcome, {key: row[key] for key in known}))
    parts = [_head(config, outcome, arms)]
    if arms:
        parts.append(section("arms", "Arms", _arms(arms)))
        parts.append(section("cost", "Score against cost", _cost(arms)))
    if outcome is not None:
        parts += _differences(folder) if len(arms) > 1 else []
        parts += _agents(outcome)
    if episodes:
        hint = "<p class=hint>A task, an arm, then step by step; the arrow keys work too.</p>"
        chosen = picker("task", "task", _tasks(arms, episodes))
        parts.append(section("episodes", "Episodes", hint + chosen))
    about = read_json(folder / "environment.json") or {}
    made = command(about) + configuration(config, ("env", "agent", "llm")) + versions(about)
    return fill(f"{config['name']}: agents", [*parts, section("run", "The run", made)])


def _refuse_cut(folder: Path, outcome: Row | None, outcomes: Sequence[Row]) -> None:
    if outcome is None:
        return
    name = next(iter(outcome["versions"]))
    told = sum(counts["original"] for counts in outcome["n-samples"][name].values())
    if told:
        refuse_missing(folder / "outcomes.jsonl", len(outcomes), told)


def command(about: Row) -> str:
    """The command and the checkout that made a run."""
    dirty = " with changes" if about.get("git_dirty") else ""
    return (
        f"<p><code>python -m scripts.{escape(str(about.get('command', '')))}</code><br><small class=sub>commit "
        f"{escape(str(about.get('git_hash'))[:12])}{dirty}, {escape(str(about.get('cpus')))} CPUs</small></p>"
    )


def _head(config: Row, outcome: Row | None, arms: Mapping[str, Sequence[Outcome]]) -> str:
    if outcome is None:
        about = name = str(config["env"].get("_target_", "")).rpartition(".")[2].lower()
    else:
        name = next(iter(outcome["versions"]))
        about = f"{name} {outcome['versions'][name]}, content {outcome['content_hash'][name][:12]}"
    spent = [cost(found) for found in arms.values()]
    figures = []
    for arm, found in list(arms.items())[-1:]:
        score = estimates(found).get("score")
        figures += [(f"score of {arm} (n={score.n} tasks)", f"{score.value:.2f}")] if score else []
    total = {key: sum(each[key] for each in spent) for key in (*cost([]),)}
    figures += [
        ("episodes", str(sum(len(found) for found in arms.values()))),
        ("calls", str(round(total["calls"]))),
        ("tokens", thousands(round(total["prompt_tokens"] + total["completion_tokens"]))),
    ]
    figures += [("cost", f"${total['usd']:.2f}")] if total["usd"] else []
    figures.append(("model time", duration(total["seconds"])))
    return (
        f"<header><h1>Agents in <em>{escape(name)}</em></h1><p class=sub>environment {escape(about)} · "
        f"split {escape(str(config['split']))} · seed {config['seed']} · {len(arms)} "
        f"arm{'s' * (len(arms) != 1)}</p>{unfinished(outcome)}{tiles(figures)}</header>"
    )


def unfinished(outcome: Row | None) -> str:
    """Says that a run is on its way, or why it was stopped."""
    if outcome is None:
        return "<p class=stopped>Not finished. The same command again goes on.</p>"
    if outcome.get("stopped"):
        return f"<p class=stopped>The run was stopped: {escape(outcome['stopped'])}</p>"
    return ""


def _arms(arms: Mapping[str, Sequence[Outcome]]) -> str:
    found = {arm: estimates(outcomes) for arm, outcomes in arms.items()}
    entries = [Entry(label=arm, estimate=each["score"]) for arm, each in found.items() if "score" in each]
    picture = (
        interval_chart(entries, "mean score over tasks, with 95% interval", share=True) if entries else ""
    )
    measures = [*MEASURES, *(name for name in next(iter(found.values())) if name.startswith("pass^"))]
    others = ("steps", "refused", "unread", "tokens")
    cells = [
        [
            f"<b>{escape(arm)}</b>",
            *(estimate_cell(each[name]) if name in each else "" for name in measures),
            str(each["score"].n) if "score" in each else "0",
            *(f"{each[name].value:.1f}" if name in each else "" for name in others),
            str(sum(not outcome.counts for outcome in arms[arm])),
        ]
        for arm, each in found.items()
    ]
    hint = "<p class=hint>Steps, refused calls, unread replies and tokens are means of an episode.</p>"
    return picture + hint + html_table(("arm", *measures, "tasks", *others, "left out"), cells, words=1)


def _cost(arms: Mapping[str, Sequence[Outcome]]) -> str:
    """An arm's mean score against what an episode costs, in each currency that was spent."""
    choices = []
    for name, label in COSTS.items():
        curves = []
        for arm, outcomes in arms.items():
            counted = [outcome for outcome in outcomes if outcome.counts]
            if counted:
                score, spent = estimates(counted)["score"], {**cost(counted)}
                spent["tokens"] = spent["prompt_tokens"] + spent["completion_tokens"]
                point = bounded(spent[name] / len(counted), score)
                curves.append(Curve(label=arm, points=(point,), dots=True))
        if any(point.x for curve in curves for point in curve.points):
            panel = Panel(
                title="Score",
                unit="mean over tasks",
                x_label=label,
                curves=tuple(curves),
                share=True,
                span=from_zero(curves),
            )
            choices.append((name, f"<div class=one>{figure(panel)}</div>"))
    return tabs("cost-by", choices) if choices else "<p>No episode counts yet.</p>"


def _differences(folder: Path) -> list[str]:
    """The arms against the first, as compare_runs does it; nothing where no item counts on both sides."""
    try:
        settings = [ordered_by_seed(sheet.arm, [sheet]) for sheet in read_sheets(folder, partial=True)]
        found = contrasts(settings)
    except InputError:  # a stopped run, of which an arm lacks tasks: there is nothing to pair yet
        return []
    if not found:
        return []
    hint = f"<p class=hint>Arms against the first, paired by task. {escape(note(found))}</p>"
    return [section("differences", "Differences", hint), *contrast_sections(settings, found)]


def _agents(outcome: Row) -> list[str]:
    """Principles, notes and error patterns of each arm."""
    choices = []
    for arm, agent in outcome.get("agents", {}).items():
        texts = {name: text for name, text in (agent["principles"] or {}).items() if text}
        shown = "".join(
            f"<div class=principle><h3>{escape(name)}</h3><p>{escape(text)}</p></div>"
            for name, text in texts.items()
        )
        notes = "".join(f"<li>{escape(note)}</li>" for note in agent.get("notes", ()))
        shown += f"<div class=principle><h3>Notes</h3><ul>{notes}</ul></div>" if notes else ""
        patterns = [
            [escape(action), escape(pattern), str(count)]
            for action, found in outcome.get("error_patterns", {}).get(arm, {}).items()
            for pattern, count in found.items()
        ]
        errors = (
            html_table(("action", "failed calls", "count"), patterns)
            if patterns
            else "<p>No failed call.</p>"
        )
        style = escape(str(agent["settings"].get("style")))
        choices.append((arm, f"<p>Style {style}. {'' if shown else 'No principles.'}</p>{shown}{errors}"))
    return [section("agents", "What the arms are", tabs("arm", choices))] if choices else []


def _tasks(arms: Mapping[str, Sequence[Outcome]], episodes: Sequence[Row]) -> list[Choice]:
    """Tasks, those on which arms differ first, each with the first attempt of every arm."""
    scores = {arm: by_task(outcomes, "score") for arm, outcomes in arms.items()}
    played: dict[str, dict[str, Row]] = defaultdict(dict)
    for episode in episodes:
        played[episode["task_id"]].setdefault(unquote(str(episode["id"]).split("/")[1]), episode)

    def differ(task: str) -> bool:
        return len({found[task] for found in scores.values() if task in found}) > 1

    found: list[Choice] = []
    for task in sorted(played, key=lambda task: not differ(task))[:TASKS]:
        marks = ", ".join(f"{arm} {each[task]:.2f}" for arm, each in scores.items() if task in each)
        players = [(arm, player(episode)) for arm, episode in played[task].items()]
        group = "arms differ" if differ(task) else "arms alike"
        found.append((group, f"{task} ({marks})", tabs(f"play-{len(found)}", players)))
    return found

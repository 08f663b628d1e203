"""The pieces of `history.html`: a story in, HTML out. Every text that comes from a model or a task is escaped."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from pract.types import Status
from scripts import stats
from scripts.curves import Curve, Panel, Point, bounded
from scripts.folders import Row
from scripts.line_chart import figure
from scripts.page import fill, section, table, tiles
from scripts.progress import duration, thousands
from scripts.provenance import Origin, origins, text_of
from scripts.round_rendering import actions_of, badge, diff, linked, round_body, source
from scripts.story import Story

COUNTED = frozenset(status.value for status in Status if status.counts)


def history_page(story: Story) -> str:
    """The whole page."""
    return fill(
        f"principles of {story.description['environment']}",
        [
            head(story),
            section("best", "The principles now", principles_now(story)),
            section("scores", "Scores by round", scores(story)),
            *round_sections(story),
        ],
    )


def round_sections(story: Story) -> list[str]:
    """A section for each round, the latest first."""
    kept = linked(story)
    return [
        section(f"round-{row['index']}", _round_title(row), round_body(story, row, kept))
        for row in reversed(story.rounds)
    ]


def head(story: Story) -> str:
    """Title, what was run, and the main figures."""
    about, last = story.description, story.rounds[-1]
    rpo = about["rpo"]
    models = ", ".join(dict.fromkeys(about["models"]))
    variant = f"{'Reward' if rpo['reflection'] == 'reward' else 'Self'}-RPO, {rpo['schedule']}"
    if about.get("method") != "PrincipleOptimizer":
        variant = str(about.get("method"))
    spent = last["spent"]
    tokens = spent["prompt_tokens"] + spent["completion_tokens"]
    figures = [("rounds", str(last["index"])), ("calls", str(spent["calls"])), ("tokens", thousands(tokens))]
    figures += [("cost", f"${spent['usd']:.2f}")] if spent["usd"] else []
    figures += [("time", duration(spent["seconds"]))]
    stopped = f'<p class="stopped">The run was stopped: {escape(story.stopped)}</p>' if story.stopped else ""
    return (
        f"<header><h1>Principles of <em>{escape(about['environment'])}</em></h1>"
        f"<p class=sub>{escape(variant)} · gate: {escape(rpo['acceptance'])} · model: {escape(models)}<br>"
        f"environment {escape(about['environment'])} {escape(about['environment_version'])}, "
        f"content {escape(about['content_hash'][:12])} · {escape(str(story.config.get('name', '')))}, "
        f"seed {rpo['seed']}</p>{stopped}{tiles([*_outcome(story), *figures])}</header>"
    )


def _outcome(story: Story) -> list[tuple[str, str]]:
    """Validation means at the start and of the best version."""
    means = dict(_validated(story))
    first = story.rounds[0]["before"]
    start, best = means.get(story.version_of(first)), means.get(story.best)
    if start is None or best is None:
        return []
    return [(f"validation {story.measure} (n={best.n})", f"{start.value:.2f} → {best.value:.2f}")]


def _validated(story: Story) -> Iterable[tuple[str, stats.Estimate]]:
    for row in story.rounds:
        estimate = mean_of(story, row["validation"])
        if estimate is not None:
            yield story.version_of(row["candidate"]), estimate


def mean_of(story: Story, names: Sequence[str]) -> stats.Estimate | None:
    """The mean measure of the episodes that count, over tasks."""
    values: dict[str, list[float]] = {}
    for name in names:
        row = story.episodes.get(name)
        if row is not None and row["status"] in COUNTED:
            values.setdefault(row["task_id"], []).append(float(row[story.measure]))
    means = [sum(found) / len(found) for found in values.values()]
    return stats.share_or_mean(means) if means else None


def points(story: Story) -> list[dict[str, Any]]:
    """What the chart shows of each round."""
    return [
        {
            "round": row["index"],
            "decision": row["decision"],
            "train": mean_of(story, row["episodes"]),
            "validation": mean_of(story, row["validation"]),
        }
        for row in story.rounds
    ]


def scores(story: Story) -> str:
    """The validation and training means of the rounds as a picture, and a row for each round, linked to it."""
    found = points(story)
    panel = Panel(
        title=f"Mean {story.measure}", unit="over tasks", x_label="round", curves=_curves(found), share=True
    )
    hint = "<p class=hint>Bars are 95% intervals over tasks. Training tasks are others in every round.</p>"
    return f"<div class=one>{figure(panel)}</div>{hint}{_score_table(story, found)}" if panel.curves else ""


def _curves(found: Sequence[Mapping[str, Any]]) -> tuple[Curve, ...]:
    taken: list[Point] = []
    tried: list[Point] = []
    best: list[Point] = []
    high = -1.0
    for point in found:
        if point["validation"] is not None:
            accepted = point["decision"] in ("start", "accepted")
            (taken if accepted else tried).append(bounded(point["round"], point["validation"]))
            high = max(high, point["validation"].value) if accepted else high
        if high >= 0:
            best.append(Point(x=point["round"], y=high))
    trained = [
        Point(x=point["round"], y=point["train"].value) for point in found if point["train"] is not None
    ]
    curves = (
        Curve(label="best so far", points=tuple(best)),
        Curve(label="validation, taken", points=tuple(taken), dots=True, joined=False),
        Curve(label="validation, not taken", points=tuple(tried), dots=True, joined=False, hollow=True),
        Curve(label="training", points=tuple(trained), dots=True, joined=False),
    )
    return tuple(curve for curve in curves if curve.points)


def _score_table(story: Story, found: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for row, point in zip(story.rounds, found, strict=True):
        compared, spent = row["comparison"], row["spent"]
        gained = f"+{len(compared['won'])} −{len(compared['lost'])}" if compared else ""
        words = sum(len(text.split()) for text in row["after"]["texts"].values())
        cells = [
            f'<a href="#round-{row["index"]}">{row["index"]}</a>',
            badge(row["decision"]),
            _mean(point["train"]),
            _mean(point["validation"]),
            gained,
            str(words),
            thousands(spent["prompt_tokens"] + spent["completion_tokens"]),
            f"${spent['usd']:.2f}" if spent["usd"] else "",
        ]
        rows.append(cells)
    return table(("round", "", "train", "validation", "tasks", "words", "tokens so far", "cost so far"), rows)


def _mean(estimate: stats.Estimate | None) -> str:
    if estimate is None:
        return ""
    alike = "one task" if estimate.n == 1 else "all alike"
    bounds = f"{estimate.low:.2f} to {estimate.high:.2f}" if math.isfinite(estimate.low) else alike
    return f'<span title="95%: {bounds}, n={estimate.n}">{estimate.value:.2f}</span>'


def principles_now(story: Story) -> str:
    """The best version; each sentence unfolds to where it came from."""
    texts = story.versions[story.best]
    if not any(text_of(texts, action) for action in actions_of(texts)):
        return "<p>There are none yet.</p>"
    items = [
        f"<div class=principle><h3>{escape(action)}</h3><p>{_sentences(story, action)}</p></div>"
        for action in actions_of(texts)
        if text_of(texts, action)
    ]
    return "<p class=hint>Choose a sentence to see where it came from.</p>" + "".join(items)


def _sentences(story: Story, action: str) -> str:
    found = origins(story.best, action, story.versions, story.texts)
    return " ".join(
        f"<details class=sentence><summary>{escape(origin.sentence)}</summary>{_origin(story, origin)}</details>"
        for origin in found
    )


def _origin(story: Story, origin: Origin) -> str:
    record = story.versions[origin.version]
    place = f'<a href="#round-{record["round"]}">round {record["round"]}</a> ({escape(record["fate"])})'
    by_hand = record["parent"] is None
    lines = [
        f"<p>{'There from the start' if by_hand else 'First written in'} {'' if by_hand else place} by "
        f"{escape(origin.author)}, version <code>{origin.version}</code>.</p>"
    ]
    if origin.reworded_from:
        lines.append(f"<p>Reworded: {diff(origin.reworded_from, origin.sentence)}</p>")
    for name in origin.evidence[:3]:
        lines.append(f"<blockquote>{escape(story.texts[name])}{source(story, name)}</blockquote>")
    if len(origin.evidence) > 3:
        lines.append(f"<p class=sub>and {len(origin.evidence) - 3} more of that round</p>")
    return f"<div class=card>{''.join(lines)}</div>"


def _round_title(row: Row) -> str:
    name = f"Round {row['index']}" if row["index"] else "The start"
    return f"{name} {badge(row['decision'])}"

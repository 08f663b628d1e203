"""One round of `history.html`: what changed, which tasks it won and lost, the evidence. HTML as text, all escaped."""

import json
from collections.abc import Container
from html import escape

from scripts.folders import Row
from scripts.progress import thousands
from scripts.provenance import MEMORY, text_of, word_diff
from scripts.story import Story

SHOWN = 500
"""Characters of an observation, reply or call on the page; episodes.jsonl has all."""
OTHERS = 12
"""Training and validation episodes of a round on the page, beside those that something links to."""


def linked(story: Story) -> set[str]:
    """Ids of the episodes that the page links to: reflected on, or before and after of a task won or lost."""
    found = {row["episode_id"] for row in story.reflections.values()}
    decided = (pair for row in story.rounds for _, _, pair in _decided(story, row))
    return found | {episode["id"] for pair in decided for episode in pair}


def round_body(story: Story, row: Row, kept: Container[str]) -> str:
    """All that a round rests on, folded where it is long; of its episodes those in `kept`, and `OTHERS` more."""
    parts = [f"<p>{escape(row['reason'])}</p>" if row["reason"] else ""]
    parts += [_changes(row), _versions(story, row), _tasks(story, row), _findings(row)]
    parts.append(_reflections(story, row))
    for title, key in (("Training episodes", "episodes"), ("Validation episodes", "validation")):
        found = [story.episodes[name] for name in row[key] if name in story.episodes]
        if found:
            solved = sum(bool(episode["success"]) for episode in found)
            others = [episode["id"] for episode in found if episode["id"] not in kept]
            hidden = set(others[OTHERS:])
            body = "".join(_episode(episode) for episode in found if episode["id"] not in hidden)
            body += f"<p class=sub>and {len(hidden)} more in episodes.jsonl</p>" if hidden else ""
            parts.append(
                f"<details class=fold><summary>{title}: {solved} of {len(found)} solved</summary>{body}</details>"
            )
    return "".join(parts)


def _changes(row: Row) -> str:
    """What the candidate changed, action by action, and what became of rewrites that were not taken."""
    before, after = row["before"], row["candidate"]
    items = []
    for action in actions_of(
        {"texts": {**before["texts"], **after["texts"]}, "notes": before["notes"] or after["notes"]}
    ):
        old, new = text_of(before, action), text_of(after, action)
        if old != new:
            size = f"{len(old.split())} → {len(new.split())} words"
            items.append(
                f"<div class=principle><h3>{escape(action)} <small>{size}</small></h3><p>{diff(old, new)}</p></div>"
            )
    refused = [change for change in row["changes"] if change["problem"] not in ("", "unchanged")]
    if refused:
        lines = "".join(
            f"<li><b>{escape(change['action'])}</b>: {escape(change['problem'])}</li>" for change in refused
        )
        items.append(f"<p>Rewrites that were not taken:</p><ul>{lines}</ul>")
    return "".join(items)


def _versions(story: Story, row: Row) -> str:
    """The versions on the way to the candidate, where there were several."""
    if len(row["versions"]) < 2:
        return ""
    items = []
    for principles in row["versions"]:
        parent = story.versions.get(principles["parent"] or "", {"texts": {}, "notes": []})
        changed = [a for a in actions_of(principles) if text_of(principles, a) != text_of(parent, a)]
        diffs = "".join(
            f"<p><b>{escape(a)}</b> {diff(text_of(parent, a), text_of(principles, a))}</p>" for a in changed
        )
        items.append(f"<div class=card><p class=sub>{escape(principles['author'])}</p>{diffs}</div>")
    count = len(row["versions"])
    return f"<details class=fold><summary>{count} versions on the way</summary>{''.join(items)}</details>"


def _tasks(story: Story, row: Row) -> str:
    """Validation tasks won and lost, each with the episode before and after."""
    compared = row["comparison"]
    if not compared:
        return ""
    lines = []
    for label, task, pair in _decided(story, row):
        links = " → ".join(f'<a href="#{anchor(e["id"])}">{e[story.measure]:.2f}</a>' for e in pair)
        lines.append(f"<li class={label}><b>{label}</b> {escape(task)} {links}</li>")
    same = compared["tasks"] - len(lines)
    head = f"On {compared['tasks']} validation tasks: {compared['old_mean']:.3f} → {compared['new_mean']:.3f}"
    chance = f"chance of at least this gain if nothing had changed: {compared['p_better']:.2f}"
    return f"<p>{head}, {same} alike ({chance}).</p><ul class=tasks>{''.join(lines)}</ul>"


def _decided(story: Story, row: Row) -> list[tuple[str, str, list[Row]]]:
    """`won` or `lost`, the validation task, and its episodes before and after as far as they are there."""
    compared = row["comparison"] or {"won": (), "lost": ()}
    versions = [story.version_of(row[name]) for name in ("before", "candidate")]
    return [
        (label, task, [story.episodes[story.played[v, task]] for v in versions if (v, task) in story.played])
        for label in ("won", "lost")
        for task in compared[label]
    ]


def _findings(row: Row) -> str:
    if not row["findings"]:
        return ""
    lines = "".join(
        f"<li><b>{escape(f['action'])}</b> {escape(f['pattern'])} ×{f['count']} "
        f"<code>{escape(f['example'][:160])}</code></li>"
        for f in row["findings"]
    )
    return f"<details class=fold><summary>Failed calls by pattern</summary><ul>{lines}</ul></details>"


def _reflections(story: Story, row: Row) -> str:
    found = [story.reflections[name] for name in row["reflections"] if name in story.reflections]
    if not found:
        return ""
    items = []
    for reflection in found:
        body = (
            escape(reflection["text"])
            if not reflection["problem"]
            else f"<i>{escape(reflection['problem'])}</i>"
        )
        about = ", ".join(reflection["actions"])
        items.append(
            f"<blockquote>{body}{source(story, reflection['id'])}"
            f"<footer>{escape(f'evidence for {about}' if about else '')}</footer></blockquote>"
        )
    usable = sum(not reflection["problem"] for reflection in found)
    title = f"Reflections: {usable} of {len(found)} usable"
    return f"<details class=fold open><summary>{title}</summary>{''.join(items)}</details>"


def _episode(episode: Row) -> str:
    steps = "".join(_step(step) for step in episode["steps"])
    failure = f"<p class=stopped>{escape(episode['failure'])}</p>" if episode["failure"] else ""
    tokens = sum(s["reply"]["prompt_tokens"] + s["reply"]["completion_tokens"] for s in episode["steps"])
    return (
        f'<details class=episode id="{anchor(episode["id"])}"><summary>{score(episode)} {escape(episode["task_id"])} '
        f"<small>{escape(episode['status'].replace('_', ' '))}, {len(episode['steps'])} steps, "
        f"{thousands(tokens)} tokens</small></summary><p>{escape(_cut(episode['instruction']))}</p>{failure}"
        f"<ol>{steps}</ol></details>"
    )


def _step(step: Row) -> str:
    action = step["action"]
    if action is None:
        call = f"<i>{escape(step['problem'])}</i>: {escape(_cut(step['reply']['text']) or '(empty reply)')}"
    else:
        call = escape(f"{action['name']}[{_cut(json.dumps(action['arguments'], ensure_ascii=False))}]")
    thought = f"<p class=thought>{escape(_cut(step['thought']))}</p>" if step["thought"] else ""
    refused = " class=refused" if step["refused"] or action is None else ""
    return (
        f"<li{refused}>{thought}<code>{call}</code><p class=seen>{escape(_cut(step['observation']))}</p></li>"
    )


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} [...]"


def badge(decision: str) -> str:
    """A round's decision as a coloured word."""
    return f'<span class="badge {decision}">{decision}</span>'


def actions_of(record: Row) -> list[str]:
    """The actions of a version, and its memory."""
    return [*record["texts"], *([MEMORY] if record["notes"] else [])]


def source(story: Story, reflection: str) -> str:
    """Which episode a reflection is on."""
    row = story.reflections[reflection]
    episode = story.episodes.get(row["episode_id"])
    return "" if episode is None else f"<footer>on {link(episode)}</footer>"


def anchor(episode: str) -> str:
    """The id of an episode on the page."""
    return "e-" + "".join(c if c.isalnum() else f"_{ord(c):x}_" for c in episode)


def link(episode: Row) -> str:
    """A link to an episode on the page, with its outcome."""
    return f'<a href="#{anchor(episode["id"])}">{escape(episode["task_id"])}</a> {score(episode)}'


def score(episode: Row) -> str:
    """An episode's outcome, told by a sign as well as by colour."""
    mark = "✓" if episode["success"] else "✗"
    return f'<span class="{"won" if episode["success"] else "lost"}">{mark} {episode["score"]:.2f}</span>'


def diff(old: str, new: str) -> str:
    """Both texts in one, word by word."""
    tags = {"same": "{}", "gone": "<del>{}</del>", "new": "<ins>{}</ins>"}
    return "".join(tags[kind].format(escape(text)) for kind, text in word_diff(old, new))

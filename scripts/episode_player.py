"""An agent's episode, step by step, to be clicked through. HTML as text, all escaped."""

import json
from html import escape

from scripts.folders import Row
from scripts.page import cut
from scripts.progress import thousands
from scripts.round_rendering import score

TEXT = 2000
"""Characters of a text on the page; episodes.jsonl has all."""


def player(episode: Row) -> str:
    """The task, a button for each step, and one step at a time."""
    steps = episode["steps"]
    buttons = "".join(
        f"<button type=button data-turn={number}{_kind(step)}>{number + 1}</button>"
        for number, step in enumerate(steps)
    )
    turns = "".join(_turn(number, step, len(steps)) for number, step in enumerate(steps))
    controls = (
        "<div class=turns><button type=button data-by=-1 aria-label='step back'>‹</button>"
        f"<button type=button data-by=1 aria-label='step on'>›</button>{buttons}</div>"
        if len(steps) > 1
        else ""
    )
    failure = f"<p class=stopped>{escape(episode['failure'])}</p>" if episode["failure"] else ""
    tokens = sum(step["reply"]["prompt_tokens"] + step["reply"]["completion_tokens"] for step in steps)
    return (
        f"<div class=player tabindex=0><p><b>{score(episode)}</b> <small class=sub>{escape(_ended(episode))}, "
        f"{len(steps)} steps, {thousands(tokens)} tokens</small></p>"
        f"<p class=prompt>{cut(episode['instruction'], TEXT)}</p>{failure}{controls}"
        f"{turns or '<p>No step was taken.</p>'}</div>"
    )


def _ended(episode: Row) -> str:
    return str(episode["status"]).replace("_", " ")


def _kind(step: Row) -> str:
    if step["action"] is None:
        return ' class=refused title="no action was read"'
    if step["refused"]:
        return ' class=refused title="refused by the environment"'
    return f' title="{escape(step["action"]["name"])}"'


def _turn(number: int, step: Row, count: int) -> str:
    reply = step["reply"]
    parts = [("thought", f"<p class=thought>{cut(step['thought'], TEXT)}</p>")] if step["thought"] else []
    if step["action"] is None:
        said = cut(reply["text"], TEXT) or "(empty reply)"
        parts.append(
            ("reply", f"<pre>{said}</pre><p class=lost>no action in it: {escape(step['problem'])}</p>")
        )
    else:
        arguments = json.dumps(step["action"]["arguments"], ensure_ascii=False)
        parts.append(("action", f"<pre>{escape(step['action']['name'])}[{cut(arguments, TEXT)}]</pre>"))
    notes = [word for word in ("refused", "repeated") if step[word]]
    if notes:
        parts.append(("", f"<p class=lost>{', '.join(notes)}</p>"))
    parts.append(("observation", f"<pre>{cut(step['observation'], TEXT)}</pre>"))
    cached = f" ({thousands(reply['cached_tokens'])} cached)" if reply["cached_tokens"] else ""
    cost = f", ${reply['usd']:.4f}" if reply["usd"] else ""
    parts.append(
        (
            "standing",
            f"score {step['score']:.2f}, progress {step['progress']:.2f} <small class=sub>· "
            f"{thousands(reply['prompt_tokens'])}{cached} tokens in, {reply['completion_tokens']} out, "
            f"{reply['seconds']:.1f} s{cost}</small>",
        )
    )
    shown = "".join(f"<dt>{name}</dt><dd>{body}</dd>" for name, body in parts)
    return f"<div class=turn><p class=sub>step {number + 1} of {count}</p><dl>{shown}</dl></div>"

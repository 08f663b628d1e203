"""The frame of every HTML page: one file that asks for nothing outside itself, dark and light, readable on a phone."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

TEMPLATE = Path(__file__).with_name("page.html")


def fill(title: str, body: Iterable[str]) -> str:
    """The whole page; `body` is HTML in which every text from elsewhere is escaped."""
    template = TEMPLATE.read_text(encoding="utf-8")
    before, after = template.split("{{body}}")  # apart first: a title may hold the mark of the body
    return before.replace("{{title}}", escape(title)) + "\n".join(body) + after


def section(key: str, title: str, body: str) -> str:
    """A part of the page with a heading; title and body are HTML."""
    return f'<section id="{key}"><h2>{title}</h2>\n{body}\n</section>'


def tiles(figures: Iterable[tuple[str, str]]) -> str:
    """Figures with their labels, side by side where there is room; the first takes two places."""
    shown = "".join(
        f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>" for label, value in figures
    )
    return f"<dl class=tiles>{shown}</dl>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 2) -> str:
    """A table that is scrolled sideways where it is too wide; cells are HTML, the first `words` columns text."""
    heading = "".join(f"<th>{name}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    whole = f"<thead><tr>{heading}</tr></thead><tbody>{body}</tbody>"
    return f"<div class=wide><table class=words-{words}>{whole}</table></div>"


Choice = tuple[str, str, str]
"""A group (or nothing) and a label, both plain text, and what is shown for it, as HTML."""


def picker(key: str, label: str, choices: Sequence[Choice]) -> str:
    """A list of which one is chosen, and shown below; without a script all stand below each other."""
    options, group = [], ""
    for number, (group_name, name, _) in enumerate(choices):
        if group_name != group:
            options.append(("</optgroup>" if group else "") + f'<optgroup label="{escape(group_name)}">')
            group = group_name
        options.append(f'<option value="{key}-{number}">{escape(name)}</option>')
    options.append("</optgroup>" if group else "")
    panes = "".join(
        f'<article id="{key}-{number}">{shown}</article>' for number, (_, _, shown) in enumerate(choices)
    )
    return (
        f'<div class=picker><label for="{key}">{escape(label)}</label>'
        f'<select id="{key}" data-panes="{key}-panes">{"".join(options)}</select>'
        f"<button type=button data-by=-1 aria-label=previous>‹</button>"
        f"<button type=button data-by=1 aria-label=next>›</button></div>"
        f'<div id="{key}-panes">{panes}</div>'
    )


def tabs(key: str, choices: Sequence[tuple[str, str]]) -> str:
    """A few names, plain text, side by side, of which one is chosen, and its HTML shown below."""
    if len(choices) == 1:
        return choices[0][1]
    buttons = "".join(
        f'<button type=button value="{key}-{number}">{escape(name)}</button>'
        for number, (name, _) in enumerate(choices)
    )
    panes = "".join(f'<div id="{key}-{number}">{shown}</div>' for number, (_, shown) in enumerate(choices))
    return f'<div class=tabs data-panes="{key}-panes">{buttons}</div><div id="{key}-panes">{panes}</div>'


def number(value: float, digits: int = 2, *, signed: bool = False) -> str:
    """A number with a real minus sign, and none before zero."""
    shown = f"{value:{'+' if signed else ''}.{digits}f}"
    return (shown[1:] if not float(shown) and shown[0] in "+-" else shown).replace("-", "−")


def fold(title: str, body: str, *, opened: bool = False) -> str:
    """A part that is unfolded by a click; title and body are HTML."""
    return f"<details class=fold{' open' * opened}><summary>{title}</summary>{body}</details>"


def cut(text: str, most: int) -> str:
    """The text escaped, and said to be longer where it is cut."""
    return escape(text) if len(text) <= most else f"{escape(text[:most])} [...]"

"""The frame of every HTML page: one file that asks for nothing outside itself, dark and light, readable on a phone."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

TEMPLATE = Path(__file__).with_name("page.html")


def fill(title: str, body: Iterable[str]) -> str:
    """The whole page; `body` is HTML in which every text from elsewhere is escaped."""
    template = TEMPLATE.read_text(encoding="utf-8")
    return template.replace("{{title}}", escape(title)).replace("{{body}}", "\n".join(body))


def section(key: str, title: str, body: str) -> str:
    """A part of the page with a heading; title and body are HTML."""
    return f'<section id="{key}"><h2>{title}</h2>\n{body}\n</section>'


def tiles(figures: Iterable[tuple[str, str]]) -> str:
    """Figures with their labels, side by side where there is room; the first takes two places."""
    shown = "".join(
        f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>" for label, value in figures
    )
    return f"<dl class=tiles>{shown}</dl>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that is scrolled sideways where it is too wide; cells are HTML."""
    heading = "".join(f"<th>{name}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class=wide><table><thead><tr>{heading}</tr></thead><tbody>{body}</tbody></table></div>"

r"""Equations of the documentation as MathML, which browsers set by themselves: a hook of mkdocs, see mkdocs.yml.

`$...$` and `$$...$$` in docs/*.md come here as `\(...\)` and `\[...\]`, put there by pymdownx.arithmatex.
"""

import re
from html import unescape
from typing import Any

EQUATION = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', flags=re.DOTALL)


def on_page_content(html: str, **_: Any) -> str:
    """The page with its equations set. Raises an error of latex2mathml for one that is no TeX."""
    return EQUATION.sub(lambda match: mathml(unescape(match[2]), block=match[1] == "div"), html)


def mathml(tex: str, *, block: bool) -> str:
    """One equation: in its line, or in a line of its own, which a narrow page can scroll."""
    from latex2mathml.converter import convert

    found = str(convert(tex.strip(), display="block" if block else "inline"))
    return f'<div class="equation">{found}</div>' if block else found

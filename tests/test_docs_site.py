"""The documentation's site, built as `make docs` builds it: no warning, nothing asked for outside, equations set."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from scripts.mathml import on_page_content

ROOT = Path(__file__).parents[1]
ASKING = {"script", "img", "iframe", "source", "video", "audio", "embed", "object", "use", "image"}
"""Elements whose address is asked for when a page is opened; a link of a stylesheet or icon is another."""


class Requests(HTMLParser):
    """Collects the addresses that a page asks for by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ASKING:
            self.found += [value for name in ("src", "href", "data", "poster") if (value := given.get(name))]
        elif tag == "link" and given.get("rel") not in ("canonical", "next", "prev", "alternate"):
            self.found.append(given.get("href") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


def pages(site: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(site.glob("*.html")):
        yield path.name, path.read_text(encoding="utf-8")


def test_no_page_asks_for_anything_outside(site: Path) -> None:
    asked: dict[str, list[str]] = {}
    for name, html in pages(site):
        parser = Requests()
        parser.feed(html)
        assert parser.found, name
        asked |= {address: [*asked.get(address, []), name] for address in parser.found}
    assert {address: where for address, where in asked.items() if re.match(r"(https?:)?//", address)} == {}
    here = {
        address.split("?")[0].split("#")[0] for address in asked if not address.startswith(("data:", "#"))
    }
    missing = {address for address in here if not (site / address.lstrip("/")).exists()}
    assert missing == set()


def test_no_stylesheet_asks_for_anything_outside(site: Path) -> None:
    sheets = list(site.rglob("*.css"))
    assert len(sheets) >= 3
    for sheet in sheets:
        text = sheet.read_text(encoding="utf-8")
        assert re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//[^)]*", text) == [], sheet


def test_equations_are_set_without_a_script(site: Path) -> None:
    latro = (site / "latro.html").read_text(encoding="utf-8")
    assert latro.count('<div class="equation"><math') == 5
    assert "<mfrac>" in latro
    for name, html in pages(site):
        assert "arithmatex" not in html, name
        assert "mathjax" not in html.lower(), name
        assert re.findall(r"(?<!`)\$[^$<`]*\\[a-z]+[^$<]*\$", html) == [], name


def test_equations_of_a_page_become_mathml() -> None:
    page = (
        '<p>is <span class="arithmatex">\\(x &lt; 2\\)</span></p><div class="arithmatex">\\[\nx^2\n\\]</div>'
    )
    assert on_page_content(page, page=None) == (
        '<p>is <math xmlns="http://www.w3.org/1998/Math/MathML" display="inline"><mrow><mi>x</mi><mo>&#x0003C;</mo>'
        '<mn>2</mn></mrow></math></p><div class="equation"><math xmlns="http://www.w3.org/1998/Math/MathML" '
        'display="block"><mrow><msup><mi>x</mi><mn>2</mn></msup></mrow></math></div>'
    )


def test_lists_and_tables_are_what_they_are_meant_to_be(site: Path) -> None:
    for name, html in pages(site):
        text = re.sub(r"<pre.*?</pre>", "", html, flags=re.DOTALL)
        assert re.findall(r"<p>[^<]*(?:<[^>]+>[^<]*)*?\n(?:- |\d\. )", text) == [], (
            f"{name}: a list needs a blank line"
        )
        assert "|---|" not in text, f"{name}: a table needs a blank line"


def test_search_knows_the_pages(site: Path) -> None:
    index = (site / "search/search_index.json").read_text(encoding="utf-8")
    assert "leave one out" in index

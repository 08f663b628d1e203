"""The pages of runs in headless Chromium: clicked through, in light and dark, on a phone and on a desk; no model."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts import launching
from scripts.comparing import compare_arms
from scripts.learning import learn
from scripts.report import main as report
from scripts.reproduce import main as reproduce
from tests.scripts.clerk import EVALUATED, configuration
from tests.scripts.run_folders import training
from tests.scripts.test_report import evaluation
from tests.scripts.test_reproduce import LATRO, fake

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip
WIDTHS = (390, 1280)
PAGES = (
    "training/report", "seeds/report", "evaluated/report", "learned/report", "learned/history", "compared/report",
    "comparison/comparison", "reproduced/reproduce",
)  # fmt: skip

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium is installed: apt-get install --no-install-recommends chromium"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every kind of page."""
    place = tmp_path_factory.mktemp("pages")
    training(place / "training")
    for seed in range(2):
        training(place / f"seeds/seed_{seed}", seed)
    learn(configuration("optimize_pract", "experiment=pract/smoke", f"output_dir={place}/learned"))
    principles = f"principles={place}/learned/principles.json"
    compare_arms(configuration("evaluate_pract", *EVALUATED, f"output_dir={place}/compared", principles))
    assert report([str(place / "training")]) == 0
    assert report([str(place / "seeds/seed_0"), str(place / "seeds/seed_1")]) == 0
    assert report([str(evaluation(place / "evaluated"))]) == 0
    from scripts.compare_runs import main as compare_runs

    assert compare_runs([str(place / "compared"), "--out", str(place / "comparison")]) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launching, "command", fake)
        rows = "only=base,sft,latro,beta=0,K=2"
        assert reproduce([*LATRO, rows, "seeds=0", f"folder={place}/reproduced"]) == 0
    return place


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS), timeout=300_000)
        yield started
        started.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_clicked_through_without_error_request_or_overflow(
    name: str, folder: Path, browser: Any
) -> None:
    page, trouble = opened(browser, folder / f"{name}.html")
    assert set(page.evaluate(UNSTYLED)) <= {"stroke", "start"}  # plain ones, as all are without a style
    assert click_through(page) > 0
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            # Everything is unfolded by now, so this is the page at its widest.
            assert page.evaluate("document.scrollingElement.scrollWidth") <= width, (scheme, width)
            assert page.evaluate(CLIPPED) == [], (scheme, width)
            assert page.evaluate("getComputedStyle(document.body).backgroundColor") == PAPER[scheme]
    assert trouble == []
    page.close()


PAPER = {"light": "rgb(251, 250, 247)", "dark": "rgb(22, 22, 20)"}
UNSTYLED = """() => {
  const styles = [...document.styleSheets].flatMap(sheet => [...sheet.cssRules]).map(rule => rule.cssText).join(" ");
  const names = new Set([...document.querySelectorAll("[class]")].flatMap(found => [...found.classList]));
  return [...names].filter(name => !new RegExp(`[.]${name}(?![\\w-])`).test(styles));
}"""
"""Classes that the page uses and nothing in its style knows: words of another version of it."""
CLIPPED = """() => [...document.querySelectorAll("svg text")].filter(text => {
  const inner = text.getBoundingClientRect(), outer = text.closest("svg").getBoundingClientRect();
  const beside = inner.left < outer.left - 1 || inner.right > outer.right + 1;
  return inner.width && (beside || inner.bottom > outer.bottom + 1);
}).map(text => text.textContent)"""
"""Words of a chart that reach beyond its edge."""


def opened(browser: Any, path: Path, **settings: Any) -> tuple[Any, list[str]]:
    """A page, and what it says or asks for: a list that grows."""
    page, trouble, address = browser.new_page(**settings), [], path.as_uri()

    def asked(request: Any) -> None:
        if request.url.split("#")[0] != address and not request.url.startswith("data:"):
            trouble.append(f"request: {request.url}")

    page.set_default_timeout(300_000)
    page.on("console", lambda message: trouble.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
    page.on("request", asked)
    page.goto(address)
    return page, trouble


def click_through(page: Any) -> int:
    """Use every picker, tab and player that can be seen, unfold every part; the number of clicks."""
    clicks = 0
    for tab in page.locator(".tabs:visible > button").all():
        tab.click()
        assert tab.get_attribute("aria-pressed") == "true"
        assert page.locator(f"#{tab.get_attribute('value')}").is_visible()
        clicks += 1
    for picker in page.locator("select[data-panes]").all():
        values = picker.locator("option").evaluate_all("found => found.map(option => option.value)")
        panes = page.locator(f"#{picker.get_attribute('data-panes')}")
        on = picker.locator("xpath=..").locator("button[data-by='1']")
        for value in values:
            assert panes.evaluate("found => [...found.children].filter(p => !p.hidden).map(p => p.id)") == [
                value
            ]
            clicks += 1
            if value != values[-1]:
                on.click()
        assert on.is_disabled()
    for player in page.locator(".player:visible").all():
        on, turns = player.locator("button[data-by='1']"), player.locator(".turn")
        for place in range(turns.count()):
            assert turns.evaluate_all("found => found.findIndex(turn => !turn.hidden)") == place
            clicks += 1
            if place < turns.count() - 1:
                on.click()
    for summary in page.locator("details.fold > summary, details.sentence > summary").all():
        if summary.is_visible() and summary.evaluate("found => !found.parentElement.open"):
            summary.click()
            clicks += 1
    return clicks


def test_a_link_to_a_hidden_part_brings_it_to_light(folder: Path, browser: Any) -> None:
    page, trouble = opened(browser, folder / "training/report.html", viewport={"width": 390, "height": 900})
    page.evaluate("location.hash = '#ask-1'")
    assert page.locator("#ask-1").is_visible()
    assert page.locator("select#ask").input_value() == "ask-1"
    assert not page.locator("#ask-0").is_visible()
    assert trouble == []
    page.close()


def test_what_these_tests_look_for_would_be_found(tmp_path: Path, browser: Any) -> None:
    wide = '<div style="width: 2000px">wide</div>'
    clipped = '<svg viewBox="0 0 100 20" width=100><text x=95 y=15>cut off</text></svg>'
    outside = '<iframe src="other.html"></iframe><script>console.log("said"); nothing.here()</script>'
    (tmp_path / "bad.html").write_text(f"<!doctype html><title>bad</title>{wide}{clipped}{outside}")
    page, trouble = opened(browser, tmp_path / "bad.html", viewport={"width": 390, "height": 900})
    page.wait_for_timeout(100)
    assert page.evaluate("document.scrollingElement.scrollWidth") > 390
    assert page.evaluate(CLIPPED) == ["cut off"]
    assert {found.split(":")[0] for found in trouble} == {"request", "console", "error"}
    page.close()

"""The papers' figures: that they are those of the paper, as far as it says so twice, and those of our recipes."""

import re
from itertools import product
from pathlib import Path
from statistics import fmean

import pytest

from scripts.published import FILE, published, tables

RECIPES = Path(__file__).parents[2] / "conf" / "experiment"
MODELS = ("phi35_mini", "mistral_7b", "llama31_8b")


@pytest.mark.parametrize(
    ("table", "against", "greedy", "voted"),
    [
        ("latro_gsm8k", "base", 12.5, 13.1),
        ("latro_gsm8k", "sft", 9.6, 13.2),
        ("latro_arc", "base", 1.0, 2.4),
        ("latro_arc", "sft", 5.2, 8.1),
    ],
)
def test_mean_gains_are_those_of_the_papers_text(
    table: str, against: str, greedy: float, voted: float
) -> None:
    told = published(table)
    for column, gain in (("greedy", greedy), ("maj@8", voted)):
        after, before = told.row("latro", column), told.row(against, column)
        assert fmean(after[model] - before[model] for model in MODELS) == pytest.approx(gain, abs=0.051)


@pytest.mark.parametrize(("table", "model"), list(product(("latro_gsm8k", "latro_arc"), MODELS)))
def test_the_recipes_quote_the_same_figures(table: str, model: str) -> None:
    told, name = published(table), table.removeprefix("latro_")

    def pair(training: str) -> str:
        return " / ".join(str(told.figure(training, model, column)) for column in ("greedy", "maj@8"))

    recipe = (RECIPES / f"latro/{name}_{model}.yaml").read_text()
    assert f"{pair('base')} before, {pair('latro')} after" in recipe
    assert f"greedy / maj@8 on test: {pair('sft')}." in (RECIPES / f"sft/{name}_{model}.yaml").read_text()


def test_every_table_names_its_place_and_what_it_lacks() -> None:
    assert tables() == ["latro_gsm8k", "latro_arc", "pract"]
    assert published("latro_gsm8k").place == "arXiv 2411.04282 v2, Table 2, GSM8K"
    assert published("latro_gsm8k").items == 1319
    assert published("latro_arc").items == 1172
    assert published("latro_gsm8k").figure("latro", "phi35_mini", "maj@8") == 90.5
    assert published("latro_gsm8k").figure("latro", "phi35_mini", "maj@4") is None
    assert published("latro_gsm8k").words("votes").startswith("curves, no numbers: saturates near k=8")
    assert published("latro_arc").words("beta") == "not in the paper"
    assert published("pract").row("batch", "score") == {}
    assert published("pract").words("react") == "not public"


def test_there_are_36_figures() -> None:
    assert len(re.findall(r": (\d\d\.\d)[,}]", FILE.read_text())) == 36

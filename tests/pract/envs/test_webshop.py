"""The shop: reward by hand-computed literals, pages, oracle, bad data. Real products only where PRACT_DATA is set."""

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pract.envs.base import EpisodeOver
from pract.envs.shop.catalogue import Product
from pract.envs.shop.reward import Goal, one_colour, purchase_reward, token_set_ratio, type_factor
from pract.envs.webshop import WebShop
from pract.errors import InputError
from pract.types import Action, StepResult, Task


def product(**changed: object) -> Product:
    facts: dict[str, object] = {
        "asin": "P1",
        "title": "Harbour Desk Lamp",
        "description": "Bright.",
        "features": ("usb port",),
        "options": {"color": ("navy blue", "red")},
        "attributes": ("space saving",),
        "price": 20.0,
        "price_tag": "$20",
        "rating": "4",
        "query": "desk lamps",
        "category_path": "Home › Lighting › Lamps",
        "document": "harbour desk lamp bright",
    }
    return Product(**{**facts, **changed})  # type: ignore[arg-type]


def search(text: str) -> Action:
    return Action(name="search", arguments={"query": text})


def click(text: str) -> Action:
    return Action(name="click", arguments={"button": text})


def play(shop: WebShop, task: Task) -> tuple[StepResult, int]:
    shop.reset(task)
    actions = shop.oracle(task)
    return [shop.step(action) for action in actions][-1], len(actions)


GOAL = Goal(
    product=product(), attributes=("space saving", "usb port"), options={"color": "navy blue"}, price_upper=30
)


def test_a_perfect_purchase_is_worth_one() -> None:
    assert purchase_reward(product(), {"color": "navy blue"}, GOAL).reward == 1.0


@pytest.mark.parametrize(
    ("bought", "chosen", "reward"),
    [
        ({}, {}, 3 / 4),  # two attributes and the price out of 2 + 1 + 1
        ({}, {"color": "red"}, 3 / 4),
        ({}, {"color": "sky blue"}, 1.0),  # colours are reduced to `blue`
        ({"price": 30.01}, {"color": "navy blue"}, 3 / 4),
        ({"features": ()}, {"color": "navy blue"}, 3 / 4),
        ({"title": "Folding Table", "price": 99.0}, {}, 0.0),  # no noun in common
    ],
)
def test_each_missing_part_costs_its_share(bought: dict, chosen: dict, reward: float) -> None:
    assert purchase_reward(product(**bought), chosen, GOAL).reward == pytest.approx(reward)


def test_another_kind_of_product_halves_the_reward() -> None:
    wanted = product(title="Harbour Alder Desk Lamp Brass Shade")
    other = product(title="Harbour Mug", query="mugs", category_path="Kitchen › Cups")
    assert type_factor(other, wanted) == 0.5  # one noun of six in common, other term, other category
    assert type_factor(product(title="Mug", query="mugs"), wanted) == 0.0


def test_a_noun_that_the_wanted_title_repeats_counts_each_time() -> None:
    wanted = product(title="Desk Lamp, Brass Lamp, Alder Lamp")
    other = product(title="Lamp", query="mugs", category_path="Kitchen › Cups")
    assert type_factor(other, wanted) == 0.5  # one of six, though one of four different ones


@pytest.mark.parametrize(
    ("first", "second", "ratio"),
    [
        ("usb port", "usb port", 100),
        ("port usb", "USB-Port", 100),
        ("easy clean", "easy to clean", 100),
        ("x-large", "large", 100),
        ("space saving", "slip resistant", 46),
        ("", "anything", 0),
        ("white", "whites", 91),
    ],
)
def test_token_set_ratio_is_that_of_thefuzz(first: str, second: str, ratio: int) -> None:
    assert token_set_ratio(first, second) == ratio
    rapidfuzz = pytest.importorskip("rapidfuzz")
    processed = rapidfuzz.utils.default_process
    assert round(rapidfuzz.fuzz.token_set_ratio(first, second, processor=processed)) == ratio


def test_a_colour_is_its_first_colour_word() -> None:
    assert one_colour("navy blue") == "blue"
    assert one_colour("r.brown2060") == "brown"
    assert one_colour("6.5") == "6.5"


def test_pages_read_as_webshops_do() -> None:
    shop = WebShop()
    task = next(task for task in shop.tasks("train") if "trail mix" in task.instruction)
    assert shop.reset(task).text == f"Instruction: {task.instruction}\n[Search]"
    results = shop.step(search("trail mix high protein"))
    lines = results.observation.text.splitlines()
    assert lines[:2] == ["[Back to Search]", "Page 1 (Total results: 6)"]
    assert "[M029MIX]" in lines
    item = shop.step(click("[m029mix]")).observation.text
    assert item == (
        "[Back to Search]\n[< Prev]\nsize [8 ounce][16 ounce]\n"
        "Orchard Pass Protein Trail Mix with Pumpkin Seeds\nPrice: $13.50\nRating: 4.1\n"
        "[Description]\n[Features]\n[Buy Now]"
    )
    described = shop.step(click("Description")).observation.text
    assert described == "[Back to Search]\n[< Prev]\nFor the second half of the climb."
    assert shop.step(click("< Prev")).observation.text == item
    assert shop.step(click("8 ounce")).observation.text == f"You have clicked 8 ounce.\n{item}"
    bought = shop.step(click("Buy Now"))
    assert bought.terminated
    assert bought.observation.text == "You have bought M029MIX. Thank you for shopping with us."
    assert bought.info["options"] == {"size": "8 ounce"}
    with pytest.raises(EpisodeOver):
        shop.step(click("Buy Now"))


def test_what_cannot_be_done_on_a_page_is_refused() -> None:
    shop = WebShop()
    shop.reset(shop.tasks("test")[0])
    assert shop.step(click("Buy Now")).observation.text == (
        "There is no button 'Buy Now' on this page. This page has a search bar and no buttons; use search."
    )
    assert shop.step(search("  ,,; the of ")).refused
    assert not shop.step(search("lamp")).refused
    again = shop.step(search("lamp"))
    assert again.refused
    assert again.observation.text.startswith(
        "This page has no search bar, only buttons; use click. Buttons: [Back to Search] [M0"
    )


def test_a_brief_shop_answers_a_choice_by_one_line() -> None:
    shop = WebShop(brief=True)
    task = next(task for task in shop.tasks("train") if task.group == "M001SHOE")
    shop.reset(task)
    shop.step(search("Fernhill Trail Running Shoes"))
    shop.step(click("M001SHOE"))
    assert shop.step(click("7")).observation.text == "You have clicked 7.\ncolor: not chosen; size: 7"
    assert not shop.step(click("[sky blue]")).refused
    assert shop.version == "3-fts5-product-10-0-brief"


def test_turning_pages_goes_there_and_back() -> None:
    shop = WebShop(page_size=2)
    shop.reset(shop.tasks("train")[0])
    first = shop.step(search("lamp shoes bottle")).observation.text
    second = shop.step(click("Next >")).observation.text
    assert "Page 2" in second
    assert first != second
    assert shop.step(click("< Prev")).observation.text == first


def test_progress_is_the_best_purchase_that_was_possible() -> None:
    shop = WebShop()
    task = next(task for task in shop.tasks("train") if task.data["options"])
    shop.reset(task)
    actions = shop.oracle(task)
    marks = [shop.step(action).progress for action in actions]
    assert marks[0] == 0.0
    assert 0.0 < marks[1] <= marks[-1] == 1.0


def test_the_oracle_solves_every_task_of_the_made_up_shop() -> None:
    shop = WebShop()
    tasks = [task for split in shop.splits() for task in shop.tasks(split)]
    assert len(tasks) == 118
    assert [task.id for task in tasks if play(shop, task)[0].score != 1.0] == []


def test_no_product_is_in_two_splits() -> None:
    shop = WebShop()
    groups = [{task.group for task in shop.tasks(split)} for split in shop.splits()]
    assert [len(group) for group in groups] == [15, 7, 8]
    assert len(set().union(*groups)) == 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": "/nowhere"}, "no such folder"),
        ({"split_by": "colour"}, "choose product or index"),
        ({"split_by": "index"}, "set env.data"),
        ({"page_size": 0}, "must be 1 or more"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        WebShop(**arguments)


def small_folder(folder: Path) -> None:
    item = {
        "asin": "A1",
        "name": "Lamp",
        "query": "lamps",
        "product_category": "Home",
        "pricing": "$5.00",
        "full_description": "",
        "small_description": [],
        "customization_options": "",
    }
    goal = {
        "index": 0,
        "asin": "A1",
        "instruction_text": "Find me lamps",
        "attributes": ["bright"],
        "price_upper": 10.0,
        "goal_options": {},
    }
    contents = {
        "items_shuffle_1000.json": [item],
        "items_ins_v2_1000.json": {"A1": {"attributes": ["bright"]}},
        "product_prices.json": {"A1": 5.0},
        "index_documents_1000.json": [{"id": "A1", "contents": "lamp"}],
        "goals_6910.jsonl": goal,
    }
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("product_prices.json", None, "no such file"),
        ("product_prices.json", "{}", "product A1 is missing"),
        ("items_shuffle_1000.json", '[{"asin": "A1",\n "na', "line 2: not JSON"),
        ("items_shuffle_1000.json", '[{"asin": "A1"}]', "item 0: field 'name' is missing"),
        ("goals_6910.jsonl", '{"index": 0, "as', "line 1: not JSON"),
        ("goals_6910.jsonl", "", "no rows"),
    ],
)
def test_a_torn_data_folder_is_named_by_file_and_line(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    small_folder(tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        WebShop(data=str(tmp_path))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_catalogue_serves_many_threads() -> None:
    shop = WebShop()
    queries = [f"{word} zz{number}" for number in range(40) for word in ("lamp", "shoes", "bottle", "cream")]
    alone = [shop.catalogue.search(query.split()[0]) for query in queries]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda query: shop.catalogue.search(query), queries)) == alone


def test_a_split_without_tasks_is_refused(tmp_path: Path) -> None:
    small_folder(tmp_path)
    shop = WebShop(data=str(tmp_path))
    assert shop.splits() == ("test",)
    with pytest.raises(InputError, match="split 'train' is empty"):
        shop.tasks("train")
    shutil.rmtree(tmp_path)


def test_the_real_shop_has_its_goals_and_an_oracle_above_99_percent(real_data: Path) -> None:
    shop = WebShop(data=str(real_data / "webshop"), split_by="index")
    assert [len(shop.tasks(split)) for split in ("train", "validation", "test")] == [5410, 1000, 500]
    plans = [(task, shop.oracle(task)) for task in shop.tasks("test")[:400]]
    began = time.process_time()
    played = []
    for task, actions in plans:
        shop.reset(task)
        played.append(([shop.step(action) for action in actions][-1], len(actions)))
    rate = sum(steps for _, steps in played) / (time.process_time() - began)
    mean = sum(result.score for result, _ in played) / len(played)
    assert mean >= 0.99
    assert rate >= 1000


def test_search_finds_the_target_in_the_first_ten_for_93_percent(real_data: Path) -> None:
    shop = WebShop(data=str(real_data / "webshop"), split_by="index")
    tasks = shop.tasks("test")[:400]
    found = [shop.catalogue.search(task.instruction) for task in tasks]
    hits = sum(task.group in asins[:10] for task, asins in zip(tasks, found, strict=True))
    assert hits >= 372

"""WebShop's reward for a purchase (Yao et al. 2022, section 2.1, and upstream's `engine/goal.py`).

    reward = r_type * (attributes hit + options hit + [price <= limit]) / (attributes + options + 1)

An attribute is hit if one of the product's attributes matches it (token set ratio above 85), or if it stands
in title, features or description. An option is hit if a chosen value matches it after colours are reduced to
one colour word. `r_type` is 0, 0.1, 0.5 or 1 by the overlap of nouns in the two titles, search term and category.

Deviations, each by need: nouns come from a word rule instead of a spaCy model; option values are compared with
option values (upstream compares values with (name, value) pairs where goals are synthetic, so that its colour
reduction is lost on one side).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from pract.envs.shop.catalogue import SHOP_WORDS, Product

FUZZY_THRESHOLD = 85

COLOURS: tuple[str, ...] = tuple(SHOP_WORDS["colours"])

NOT_NOUNS = frozenset(SHOP_WORDS["not_nouns"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a shopper was asked to buy."""

    product: Product
    """The product that the instruction was made from; others may satisfy it too."""
    attributes: tuple[str, ...]
    options: Mapping[str, str]
    price_upper: float
    """US dollars; at most this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseReward:
    """The reward in 0 to 1, and its parts."""

    reward: float
    type_factor: float
    attributes_hit: int
    options_hit: int
    price_ok: bool


def purchase_reward(product: Product, chosen: Mapping[str, str], goal: Goal) -> PurchaseReward:
    """The reward for buying the product with the chosen option values under the goal."""
    factor = type_factor(product, goal.product)
    attributes = sum(_has_attribute(product, wanted) for wanted in goal.attributes)
    options = options_hit(list(chosen.values()), list(goal.options.values()))
    price_ok = product.price <= goal.price_upper
    share = (attributes + options + price_ok) / (len(goal.attributes) + len(goal.options) + 1)
    return PurchaseReward(
        reward=factor * share,
        type_factor=factor,
        attributes_hit=attributes,
        options_hit=options,
        price_ok=price_ok,
    )


def type_factor(bought: Product, wanted: Product) -> float:
    """1 for the same kind of product, down to 0 where the titles share no noun."""
    wanted_nouns = nouns(wanted.title)
    shared_nouns = set(nouns(bought.title)).intersection(wanted_nouns)
    overlap = len(shared_nouns) / len(wanted_nouns) if wanted_nouns else 0.2
    if overlap == 0.0:
        return 0.0
    if overlap < 0.1:
        return 0.1
    shared = set(_category_path(bought)) & set(_category_path(wanted))
    alike = bought.query == wanted.query or len(shared) >= 2 or overlap > 0.2
    return 1.0 if alike else 0.5


def options_hit(chosen: Sequence[str], wanted: Sequence[str]) -> int:
    """How many wanted values one of the chosen values matches."""
    reduced = [one_colour(value) for value in chosen]
    return sum(
        any(token_set_ratio(value, one_colour(goal)) > FUZZY_THRESHOLD for value in reduced)
        for goal in wanted
    )


def one_colour(value: str) -> str:
    """The first colour word inside the value (alphabetically), or the value itself: `navy blue` is `blue`."""
    return next((colour for colour in COLOURS if colour in value), value)


@lru_cache(maxsize=4096)
def nouns(title: str) -> tuple[str, ...]:
    """Words of a title taken for nouns: three letters or more, neither function words nor common adjectives.

    In order and with repeats: upstream divides by the length of its list.
    """
    return tuple(word for word in re.findall(r"[a-z]{3,}", title.lower()) if word not in NOT_NOUNS)


def _category_path(product: Product) -> list[str]:
    return [part.strip() for part in product.category_path.split("›")]


def _has_attribute(product: Product, wanted: str) -> bool:
    if any(token_set_ratio(own, wanted) > FUZZY_THRESHOLD for own in product.attributes):
        return True
    return (
        wanted in product.title.lower()
        or wanted in " ".join(product.features).lower()
        or wanted in product.description.lower()
    )


@lru_cache(maxsize=65536)
def token_set_ratio(first: str, second: str) -> int:
    """Similarity of two texts as sets of words, 0 to 100, as thefuzz defines it.

    The best of three comparisons between the sorted common words and those words followed by each text's rest.
    """
    words_1, words_2 = (set(re.sub(r"[\W_]", " ", text).lower().split()) for text in (first, second))
    if not words_1 or not words_2:
        return 0
    common = " ".join(sorted(words_1 & words_2))
    whole_1 = f"{common} {' '.join(sorted(words_1 - words_2))}".strip()
    whole_2 = f"{common} {' '.join(sorted(words_2 - words_1))}".strip()
    return max(_ratio(common, whole_1), _ratio(common, whole_2), _ratio(whole_1, whole_2))


def _ratio(first: str, second: str) -> int:
    """Twice the longest common subsequence over the two lengths, in percent."""
    if not first or not second:
        return 0
    previous = [0] * (len(second) + 1)
    for char in first:
        current = [0]
        for column, other in enumerate(second):
            longest = previous[column] + 1 if char == other else max(previous[column + 1], current[column])
            current.append(longest)
        previous = current
    return round(200 * previous[-1] / (len(first) + len(second)))

"""Sizes named by the user: each value with each of the others, and what is no size is refused."""

import pytest

from latro.errors import InputError
from scripts.benchmark_sizes import LEAST, choices
from scripts.update_shapes import SHAPES, varied


def test_every_value_of_a_list_meets_every_one_of_the_others() -> None:
    vary: dict[str, list[int]] = {"prompt": [], "rationale": [50, 100], "K": [4, 8], "vocabulary": []}
    assert choices(vary, LEAST) == [
        {"rationale": 50, "K": 4}, {"rationale": 50, "K": 8},
        {"rationale": 100, "K": 4}, {"rationale": 100, "K": 8},
    ]  # fmt: skip
    assert choices(vary, ("K",)) == [{"K": 4}, {"K": 8}]
    assert choices(vary, ("prompt",)) == [{}]


def test_what_is_no_size_is_refused() -> None:
    with pytest.raises(InputError, match=r"vary.K=\[4, 1\]: 1 is below 2"):
        choices({"K": [4, 1]}, LEAST)
    with pytest.raises(InputError, match=r"vary.prompt=\[0\]: 0 is below 1"):
        choices({"prompt": [0]}, ("K",))


def test_a_varied_shape_says_so_and_asks_only_to_be_ahead() -> None:
    (shape,) = SHAPES["small"]
    other = varied(shape, {"K": 4, "vocabulary": 500})
    assert other.name == "1.5M, vocabulary 8k, K = 4, vocabulary = 500"
    assert (other.K, other.vocabulary, other.prompt) == (4, 500, 50)
    assert (other.least_time, other.least_shared, other.least_memory) == (1.0, 1.0, 1.0)
    assert varied(shape, {}) is shape

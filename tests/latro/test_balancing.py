"""Without these, one process could draw while all others wait, or rows could be padded to a stranger's length."""

from pathlib import Path

import pytest

from latro.balancing import Lengths, by_length, dealt
from latro.encoding import Rationale
from tests.latro.test_records import sample


def test_prompts_are_dealt_back_and_forth_the_longest_first() -> None:
    expected = [5.0, 50.0, 20.0, 40.0, 10.0, 30.0]
    assert dealt(expected, 2) == [[1, 2, 4], [3, 5, 0]]  # 80 and 75 tokens
    assert dealt(expected, 3) == [[1, 0], [3, 4], [5, 2]]
    assert dealt([0.0] * 4, 1) == [[0, 1, 2, 3]]
    with pytest.raises(ValueError, match="5 prompts cannot be divided among 2 processes"):
        dealt([1.0] * 5, 2)


def test_lengths_are_those_of_the_last_time_and_kept_with_a_checkpoint(tmp_path: Path) -> None:
    lengths = Lengths()
    assert lengths.expected(["a", "b"]) == [0.0, 0.0]
    lengths.learn([sample(id="a", length=4), sample(id="a", k=1, length=8), sample(id="b", length=2)])
    lengths.learn([sample(id="b", length=10)])
    assert lengths.expected(["b", "a", "new"]) == [10.0, 6.0, 8.0]
    lengths.save(tmp_path)
    again = Lengths()
    again.load(tmp_path)
    assert again.mean == {"a": 6.0, "b": 10.0}
    again.load(tmp_path / "none")
    assert again.mean == {"a": 6.0, "b": 10.0}


def test_micro_batches_have_like_lengths_the_longest_first() -> None:
    def rationale(length: int) -> Rationale:
        return Rationale(ids=(7,) * length, text="", ending=())

    prompts = [[1] * 5, [1] * 30, [1] * 10, [1] * 5, [1] * 12]  # with the longest rationale 8, 31, 30, 25, 14
    rationales = [rationale(n) for n in (3, 1, 1, 0, 2, 20, 20, 9, 2, 2)]
    assert by_length(prompts, rationales, [2, 2, 1]) == [[1, 2], [3, 4], [0]]

"""Without these, an ablation could compare principles with themselves."""

import pytest

from pract.errors import InputError
from pract.principles import misplaced, without
from pract.types import Principles

LEARNED = Principles(texts={"look": "a", "take": "", "open": "b", "finish": "c"}, author="run", notes=("n",))


def test_one_principle_is_left_out_and_the_rest_stays() -> None:
    found = without(LEARNED, "open")
    assert dict(found.texts) == {"look": "a", "take": "", "open": "", "finish": "c"}
    assert (found.author, found.notes) == ("run, without open", ("n",))
    assert found.version != LEARNED.version


def test_every_text_moves_to_another_action() -> None:
    assert dict(misplaced(LEARNED).texts) == {"look": "c", "take": "", "open": "a", "finish": "b"}
    alone = Principles(texts={"look": "", "take": "x"})
    assert dict(misplaced(alone).texts) == {"look": "x", "take": ""}


def test_what_cannot_be_taken_away_or_moved_is_refused() -> None:
    with pytest.raises(
        InputError, match="run: 'take' has no principle to leave out; there are look, open, finish"
    ):
        without(LEARNED, "take")
    with pytest.raises(InputError, match="no principles that could change their places"):
        misplaced(Principles(texts={"look": "", "take": ""}))
    with pytest.raises(InputError, match="no principles that could change their places"):
        misplaced(Principles(texts={"look": "a"}))

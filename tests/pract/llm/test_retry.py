"""Pauses between attempts, as numbers. No waiting."""

import random

import pytest

from pract.errors import InputError
from pract.llm.base import ChatErrorKind
from pract.llm.retry import PASSING, Patience, retry_after


def test_pauses_double_within_their_jitter_and_end_with_the_attempts() -> None:
    patience, jitter = Patience(attempts=5, first_pause=1.0, longest_pause=3.0), random.Random(0)
    pauses = [patience.pause(ChatErrorKind.SERVER, attempt, None, jitter) for attempt in range(1, 6)]
    assert pauses[-1] is None
    for pause, longest in zip(pauses, [1.0, 2.0, 3.0, 3.0], strict=False):
        assert pause is not None
        assert longest / 2 <= pause <= longest


def test_equal_seeds_pause_equally() -> None:
    one, other = (
        [Patience().pause(ChatErrorKind.SERVER, attempt, None, jitter) for attempt in (1, 2, 3)]
        for jitter in (random.Random("0/tag"), random.Random("0/tag"))
    )
    assert one == other


def test_a_server_that_asks_for_a_pause_gets_it_up_to_a_limit() -> None:
    patience = Patience(attempts=5, first_pause=1.0, longest_wait=60.0)
    pause = patience.pause(ChatErrorKind.RATE_LIMITED, 1, 20.0, random.Random(0))
    assert pause is not None
    assert 20.0 <= pause <= 20.1
    assert patience.pause(ChatErrorKind.RATE_LIMITED, 1, 61.0, random.Random(0)) is None


def test_a_limit_that_names_no_pause_is_waited_out_as_a_minutes() -> None:
    jitter = random.Random(0)
    pauses = [Patience().pause(ChatErrorKind.RATE_LIMITED, attempt, None, jitter) for attempt in range(1, 6)]
    assert pauses[-1] is None
    for pause, longest in zip(pauses, [5.0, 10.0, 20.0, 30.0], strict=False):
        assert pause is not None
        assert longest / 2 <= pause <= longest


def test_what_will_not_pass_is_not_repeated() -> None:
    lasting = [kind for kind in ChatErrorKind if kind not in PASSING]
    assert {Patience().pause(kind, 1, None, random.Random(0)) for kind in lasting} == {None}
    assert not [kind for kind in PASSING if kind.fatal]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after-ms": "250", "retry-after": "3"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
    ],
)
def test_retry_after_in_all_its_spellings(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_no_attempt_at_all_is_refused() -> None:
    with pytest.raises(InputError, match=r"llm\.patience: attempts must be 1 or more"):
        Patience(attempts=0)

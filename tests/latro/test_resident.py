"""Memory that a process holds, now and at its highest. Without these benchmarks and freed memory would be misjudged."""

import pytest

from latro.resident import resident_bytes


def test_memory_that_is_held_and_freed_shows() -> None:
    before = resident_bytes("VmRSS")
    held = bytearray(b"x" * 2**27)
    assert resident_bytes("VmRSS") - before > 2**26
    del held
    assert resident_bytes("VmHWM") >= before + 2**26


def test_a_field_that_is_not_there_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="has no VmNone"):
        resident_bytes("VmNone")

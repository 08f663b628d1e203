"""How work is ended from outside."""

import asyncio
import os
import signal

import pytest

from scripts.casting import until_stopped


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGHUP])
def test_batch_systems_and_closed_terminals_end_work_as_ctrl_c_does(kind: signal.Signals) -> None:
    saved = []

    async def work() -> None:
        os.kill(os.getpid(), kind)
        try:
            await asyncio.sleep(60)
        finally:
            saved.append(kind)

    def unhandled(*_: object) -> None:
        raise AssertionError("the signal was not handled")

    before = signal.signal(kind, unhandled)
    try:
        with pytest.raises(KeyboardInterrupt):
            until_stopped(work())
    finally:
        signal.signal(kind, before)
    assert saved == [kind]


def test_under_nohup_a_closed_terminal_ends_nothing() -> None:
    async def work() -> str:
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.01)
        return "done"

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert until_stopped(work()) == "done"
    finally:
        signal.signal(signal.SIGHUP, before)

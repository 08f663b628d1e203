"""HTTP to a server of one's own, below what `test_openai` sees of it."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pract.llm.plain import Answer, PlainSender
from tests.pract.llm import bad_server
from tests.pract.llm.bad_server import GOOD, Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with bad_server.running() as running:
        yield running


def to(server: Server, seconds: float) -> PlainSender:
    return PlainSender(
        server.url("ok"), None, max_bytes=100_000, connect_seconds=10.0, timeout_seconds=seconds
    )


def completions(server: Server, mode: str) -> str:
    return server.url(mode) + "/chat/completions"


def test_every_request_over_a_connection_has_the_whole_time(server: Server) -> None:
    sender = to(server, 0.5)

    async def asked(mode: str) -> Answer:
        return await sender.send("POST", completions(server, mode), {})

    async def several() -> tuple[list[Answer], float]:
        try:
            answers = [await asked("ok~300"), await asked("ok~300")]  # together longer than one may take
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                await asked("hang")
            return answers, time.monotonic() - began
        finally:
            await sender.close()

    server.connections = 0
    answers, waited = asyncio.run(several())
    assert [answer.content for answer in answers] == [GOOD.partition(b"\r\n\r\n")[2]] * 2
    assert 0.5 <= waited < 1.5
    assert server.connections == 1


def test_a_request_is_sent_once_more_at_most_when_a_kept_connection_ends_without_an_answer(
    server: Server,
) -> None:
    sender = to(server, 5.0)

    async def asked() -> None:
        try:
            await asyncio.gather(*[sender.send("POST", completions(server, "ok~50"), {}) for _ in range(4)])
            with pytest.raises(EOFError):
                await sender.send("POST", completions(server, "hang_up"), {})
        finally:
            await sender.close()

    asyncio.run(asked())
    assert server.calls["hang_up"] == 2


def test_no_timer_outlives_its_connection(server: Server) -> None:
    sender = to(server, 600.0)

    async def timers() -> int:
        try:
            await sender.send("POST", completions(server, "ok"), {})
            server.hang_up()
            await asyncio.sleep(0.1)
            loop: Any = asyncio.get_running_loop()
            return sum(not handle.cancelled() for handle in loop._scheduled)
        finally:
            await sender.close()

    assert asyncio.run(timers()) == 0


def test_idle_connections_that_the_server_closed_are_passed_over(server: Server) -> None:
    sender = to(server, 5.0)

    async def asked() -> int:
        return (await sender.send("POST", completions(server, "ok~50"), {})).status

    async def before_and_after() -> list[int]:
        try:
            first = await asyncio.gather(*[asked() for _ in range(4)])
            server.hang_up()
            return [*first, await asked()]
        finally:
            await sender.close()

    server.connections = 0
    assert asyncio.run(before_and_after()) == [200] * 5
    assert server.connections == 5


def test_an_answer_longer_than_what_is_read_at_once_comes_whole(server: Server) -> None:
    text = "é" * 15_000
    server.routes["v1/long"] = lambda request: {"text": text}
    sender = to(server, 5.0)

    async def asked() -> Answer:
        try:
            return await sender.send("POST", "/long", {})
        finally:
            await sender.close()

    answer = asyncio.run(asked())
    assert len(answer.content) == 90_012
    assert answer.content.endswith(b'\\u00e9"}')

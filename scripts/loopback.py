"""A chat server on loopback that takes a fixed time for every answer: what a benchmark waits for.

    python -m scripts.loopback '{"latency_ms": 50, "slots": 64, "reply": "look[{}]"}'

Prints its port and serves until it is killed. It runs in a process of its own, so that its work is not the client's;
standard library only, one fixed answer, no framework. `slots`: calls answered at once, as served models have them;
more wait their turn.
"""

import asyncio
import contextlib
import json
import re
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MODEL = "loopback"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server that is up."""

    base_url: str
    process: int
    """Its process id."""


@contextlib.contextmanager
def loopback(latency_ms: float, slots: int, reply: str) -> Iterator[Served]:
    """A server in a process of its own, ended afterwards."""
    settings = json.dumps({"latency_ms": latency_ms, "slots": slots, "reply": reply})
    program = [sys.executable, str(Path(__file__)), settings]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            yield Served(base_url=f"http://127.0.0.1:{port}/v1", process=process.pid)
        finally:
            process.kill()


@dataclass(slots=True)
class _Server:
    seconds: float
    slots: int
    packet: bytes
    busy: int = 0
    waiting: "deque[asyncio.Transport]" = field(default_factory=deque)

    def ask(self, client: asyncio.Transport) -> None:
        """Answer the client in due time."""
        if self.busy == self.slots:
            self.waiting.append(client)
            return
        self.busy += 1
        asyncio.get_running_loop().call_later(self.seconds, self.answer, client)

    def answer(self, client: asyncio.Transport) -> None:
        client.write(self.packet)
        self.busy -= 1
        if self.waiting:
            self.ask(self.waiting.popleft())


class _Client(asyncio.Protocol):
    """One kept-alive connection; requests come one after another."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        length = _LENGTH.search(self._buffer, 0, end) if end >= 0 else None
        if length is not None and len(self._buffer) >= end + 4 + int(length[1]):
            self._buffer = b""
            self._server.ask(self._transport)


def answer_packet(reply: str) -> bytes:
    """The one answer, as it goes over the wire."""
    message = {"role": "assistant", "content": reply}
    usage = {
        "prompt_tokens": 800,
        "completion_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 700},
    }
    body = json.dumps(
        {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": MODEL,
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": usage,
        }
    ).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head + body


async def _serve(latency_ms: float, slots: int, reply: str) -> None:
    server = _Server(seconds=latency_ms / 1000, slots=slots, packet=answer_packet(reply))
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: _Client(server), "127.0.0.1", 0, backlog=1024)
    print(listener.sockets[0].getsockname()[1], flush=True)
    await listener.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(**json.loads(sys.argv[1])))

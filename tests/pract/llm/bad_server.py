"""A chat server on loopback that misbehaves as its address tells it to. Standard library only.

`http://127.0.0.1:PORT/MODE/v1` is the base address; MODE is a fault, or `ok`. `MODE.N.NAME` commits the fault
on the first N calls of that address and behaves afterwards (NAME keeps counters apart); `mixed` draws a fault
for every other call, by what is asked and how often it was asked before, in whatever order the calls arrive.
Latency in milliseconds follows a `~`: `ok~50`.
Run as a program it prints its port and serves until it is killed.
"""

import asyncio
import contextlib
import json
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

MODEL = "right-model"
KEY = "sk-this-is-the-secret-key"
TEXT = "Search[{}]"

FAULTS = (
    "rate_limited", "error_500", "hang", "cut", "cut_chunked", "hang_up", "empty_body", "huge", "huge_chunked",
    "not_utf8", "not_json", "no_choices", "wrong_model", "garbage", "gzip", "surrogate", "deep",
)  # fmt: skip


@dataclass
class Server:
    """The server's state, shared by its connections."""

    calls: Counter[str] = field(default_factory=Counter)
    """Calls of chat completions by mode, as the address wrote it."""
    asked: Counter[bytes] = field(default_factory=Counter)
    """Calls in mode `mixed` by their body."""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    port: int = 0
    loop: asyncio.AbstractEventLoop | None = None
    """Where it runs, in a thread of its own."""
    connections: int = 0
    """Made by clients so far."""
    keep: bool = True
    """Whether to remember bodies and headers."""
    open: set[Any] = field(default_factory=set)
    """Transports of the clients."""
    routes: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = field(default_factory=dict)
    """Further endpoints by what follows MODE in their address, e.g. `completion`."""

    def url(self, mode: str) -> str:
        return f"http://127.0.0.1:{self.port}/{mode}/v1"

    def hang_up(self) -> None:
        """Close every connection."""
        assert self.loop is not None
        asyncio.run_coroutine_threadsafe(_abort(self), self.loop).result()


def packet(status: int, body: bytes, *extra: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", "Content-Type: application/json", f"Content-Length: {len(body)}", *extra]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def completion(text: str = TEXT, **message: Any) -> dict[str, Any]:
    return {
        "id": "c", "object": "chat.completion", "created": 1, "model": MODEL,
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text} | message}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 40}},
    }  # fmt: skip


GOOD = packet(200, json.dumps(completion()).encode())


def error(status: int, message: str, code: str | None = None, *extra: str) -> bytes:
    return packet(status, json.dumps({"error": {"message": message, "code": code}}).encode(), *extra)


def answer(server: Server, path: str, headers: dict[str, str], body: bytes) -> bytes | None:
    """The bytes to send; None means: hang for ever. An empty answer hangs up."""
    if path.startswith("http"):  # asked as a proxy
        path = "/" + path.split("/", 3)[3]
    _, mode, tail = path.split("/", 2)
    if tail in server.routes:
        return packet(200, json.dumps(server.routes[tail](json.loads(body))).encode())
    rest = tail.removeprefix("v1/")
    fault = mode.partition("~")[0].partition(".")[0]
    if rest == "models":
        if fault == "wrong_key":
            return error(
                401, f"Incorrect API key provided: {headers.get('authorization', '')}", "invalid_api_key"
            )
        if fault == "loading":
            return error(503, "Loading model", "unavailable_error")
        if fault == "rate_limited":
            return error(429, "slow down")
        listed = [{"id": MODEL, "meta": {"n_ctx": 4096}}, {"id": "other-model"}]
        return packet(200, json.dumps({"object": "list", "data": listed}).encode())
    server.calls[mode] += 1
    request = json.loads(body)
    if server.keep:
        server.bodies.append(request)
        server.headers.append(headers)
    parts = mode.partition("~")[0].split(".")
    if len(parts) > 1 and server.calls[mode] > int(parts[1]):
        fault = "ok"
    if fault == "mixed":
        server.asked[body] += 1
        draw = random.Random(body + b"%d" % server.asked[body])
        fault = draw.choice([*FAULTS, *["ok"] * len(FAULTS)])
    return misbehave(fault, request, headers)


def misbehave(fault: str, request: dict[str, Any], headers: dict[str, str]) -> bytes | None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    match fault:
        case "ok":
            return GOOD
        case "echo_key":
            return packet(200, json.dumps(completion(f"you sent {headers.get('authorization')}")).encode())
        case "echo_key_in_garbage":
            return packet(200, json.dumps({"choices": [{"message": headers.get("authorization")}]}).encode())
        case "echo_key_in_tool_call":
            key = headers.get("authorization", "")
            call = {
                "id": key,
                "type": "function",
                "function": {"name": key, "arguments": json.dumps({"q": key})},
            }
            said = completion(None, tool_calls=[call])  # type: ignore[arg-type]
            said["choices"][0]["finish_reason"] = f"because of {key}"
            return packet(200, json.dumps(said).encode())
        case "chunked":
            body = json.dumps(completion()).encode()
            return chunked + b"5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (body[:5], len(body) - 5, body[5:])
        case "tool_call":
            call = {
                "id": "call_7",
                "type": "function",
                "function": {"name": "search", "arguments": '{"q": "mug"}'},
            }
            return packet(200, json.dumps(completion(None, tool_calls=[call])).encode())  # type: ignore[arg-type]
        case "rate_limited":
            return error(429, "slow down", None, "Retry-After: 0.05")
        case "rate_limited_long":
            return error(429, "slow down", None, "Retry-After: 3600")
        case "quota":
            return error(429, "You exceeded your current quota", "insufficient_quota")
        case "error_500":
            return error(500, "internal error")
        case "hang":
            return None
        case "cut":
            return GOOD[: len(GOOD) - 30]
        case "cut_chunked":
            return chunked + b"40\r\n" + b'{"choices'
        case "hang_up":
            return b""
        case "empty_body":
            return packet(200, b"")
        case "huge":
            return packet(200, json.dumps(completion("x" * 2_000_000)).encode())
        case "huge_chunked":
            return chunked + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 32 + b"0\r\n\r\n"
        case "not_utf8":
            return packet(200, b'{"choices": [{"message": {"content": "\xff\xfe\xc3"}}]}')
        case "not_json":
            return packet(200, b"<html>502 from a proxy</html>")
        case "deep":
            return packet(200, b"[" * 200_000)
        case "no_choices":
            return packet(200, b'{"choices": []}')
        case "paid_for_nothing":
            return packet(200, json.dumps(completion() | {"choices": []}).encode())
        case "paid_for_numbers":
            return packet(200, json.dumps(completion(42)).encode())  # type: ignore[arg-type]
        case "surrogate":
            return packet(200, json.dumps(completion("half \ud83d of a pair")).encode())
        case "surrogate_reason":
            said = completion()
            said["choices"][0]["finish_reason"] = "half \ud83d " + "x" * 99
            return packet(200, json.dumps(said).encode())
        case "garbage":
            return b"\x00\x01 nonsense\r\n\r\n"
        case "gzip":
            return packet(200, b"\x1f\x8b\x08", "Content-Encoding: gzip")
        case "wrong_model":
            return error(404, f"The model `{request['model']}` does not exist", "model_not_found")
        case "no_tools" if "tools" in request:
            return error(400, f"{request['model']} does not support tools")
        case "context":
            return error(400, "This model's maximum context length is 4096 tokens", "context_length_exceeded")
        case "wrong_key":
            return error(
                401, f"Incorrect API key provided: {headers.get('authorization', '')}", "invalid_api_key"
            )
    return GOOD


class Connection(asyncio.Protocol):
    """One client; requests come one after another."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.server.open.add(self.transport)
        self.server.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.open.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
        }
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return
        self.buffer = rest[length:]
        path = lines[0].split(" ")[1]
        reply = answer(self.server, path, headers, rest[:length])
        self.server.in_flight += 1
        self.server.most_in_flight = max(self.server.most_in_flight, self.server.in_flight)
        latency = path.split("/")[1].partition("~")[2]
        asyncio.get_running_loop().call_later(int(latency or 0) / 1000, self.send, reply)

    def send(self, reply: bytes | None) -> None:
        self.server.in_flight -= 1
        if reply is None:
            return
        body = reply.partition(b"\r\n\r\n")[2]
        whole = reply.endswith(b"0\r\n\r\n") or b"\r\nContent-Length: %d\r\n" % len(body) in reply
        self.transport.write(reply)
        if not whole:
            self.transport.close()


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """The server in a thread of its own."""
    server, loop = Server(), asyncio.new_event_loop()
    listener = loop.run_until_complete(
        loop.create_server(lambda: Connection(server), "127.0.0.1", 0, backlog=256)
    )
    server.port, server.loop = listener.sockets[0].getsockname()[1], loop
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(_end(server, listener), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(server: Server, listener: asyncio.Server) -> None:
    listener.close()
    await _abort(server)


async def _abort(server: Server) -> None:
    for transport in list(server.open):
        transport.abort()
    await asyncio.sleep(0.01)  # until the sockets are closed


async def _serve() -> None:
    server = Server(keep=False)
    listener = await asyncio.get_running_loop().create_server(
        lambda: Connection(server), "127.0.0.1", 0, backlog=256
    )
    sys.stdout.write(f"{listener.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await listener.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())

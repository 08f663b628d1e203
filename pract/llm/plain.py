"""Plain HTTP/1.1 to a server of one's own: whole replies, capped in size, over reused connections.

The SDK spends 1 to 3 ms of CPU on a call, most of it on building a request that hardly changes and on connection
bookkeeping that grows with the calls in flight. This takes a tenth of that, which is what lets one process keep
64 calls at once waiting for the server and not the server for it (docs/performance.md). Replies are read by
`httptools`, the parser of Node.js. TLS and proxies are left to the SDK (`hosted`): far-away servers are slow enough
not to notice.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote, urlsplit

import httptools

from pract.records import packed

_HEAD_LIMIT = 65536
_BUFFER = 16384
"""Bytes read at once; most replies are shorter."""
_IN_PATHS = "/%:?=&~+!$,;'()*[]"

Address = tuple[str, int]


class ReplyTooLong(Exception):
    """The body is longer than allowed; it was not read to its end."""


class GarbledReply(Exception):
    """What came is not HTTP/1.1, or is encoded in a way that was not asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a server sent back."""

    status: int
    headers: Mapping[str, str]
    """By name in small letters."""
    content: bytes


class PlainSender:
    """Requests over plain `http://`."""

    def __init__(
        self,
        base_url: str,
        key: str | None,
        *,
        max_bytes: int,
        connect_seconds: float,
        timeout_seconds: float,
    ) -> None:
        self._base_url = base_url
        self._max_bytes = max_bytes
        self._connect_seconds = min(connect_seconds, timeout_seconds)
        self._timeout_seconds = timeout_seconds
        self._headers = (
            "Accept: application/json\r\nAccept-Encoding: identity\r\nUser-Agent: latro-pract\r\n"
            + (f"Authorization: Bearer {key}\r\n" if key else "")
        )
        self._heads: dict[tuple[str, str], tuple[Address, bytes]] = {}
        self._idle: dict[Address, list[_Connection]] = {}

    async def send(self, method: str, path: str, body: Mapping[str, Any] | None) -> Answer:
        """The answer with its whole body. Raises ReplyTooLong, GarbledReply, TimeoutError, OSError, EOFError.

        path: below the base address, or a whole address. body: sent as JSON; None sends none.
        """
        address, head = self._heads.get((method, path)) or self._head(method, path)
        content = b"" if body is None else packed(body)
        packet = b"%sContent-Length: %d\r\n\r\n%s" % (head, len(content), content)
        reused = self._reusable(address)
        while True:
            connection = reused or await self._connect(address)
            try:
                return await connection.ask(packet, self._timeout_seconds)
            except _Stale:  # which a new connection never is, so that a request goes out twice at most
                reused = None
            finally:  # also when cancelled: half a reply may still be on its way
                if connection.reusable:
                    self._idle.setdefault(address, []).append(connection)
                else:
                    connection.close()

    async def close(self) -> None:
        """Close every connection."""
        for connection in [c for waiting in self._idle.values() for c in waiting]:
            connection.close()
        self._idle.clear()
        await asyncio.sleep(0)  # lets the event loop close the sockets

    def _head(self, method: str, path: str) -> tuple[Address, bytes]:
        """Where a request goes and how it begins; kept, because all calls are to the same few paths."""
        url = urlsplit(path if path.startswith("http") else self._base_url + path)
        target = quote(url.path or "/", safe=_IN_PATHS) + (f"?{url.query}" if url.query else "")
        lines = f"{method} {target} HTTP/1.1\r\nHost: {url.netloc}\r\n{self._headers}"
        head = (lines + "Content-Type: application/json\r\n").encode("utf-8")
        found = ((url.hostname or "", url.port or 80), head)
        self._heads[method, path] = found
        return found

    async def _connect(self, address: Address) -> "_Connection":
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_seconds):
                _, made = await loop.create_connection(lambda: _Connection(self._max_bytes), *address)
                return made
        except TimeoutError:
            raise ConnectionError(f"no connection in {self._connect_seconds:g} s") from None

    def _reusable(self, address: Address) -> "_Connection | None":
        waiting = self._idle.get(address, [])
        while waiting:
            connection = waiting.pop()
            if connection.reusable:
                return connection
        return None


class _Stale(Exception):
    """A reused connection had been closed at the other end before anything came back."""


class _Connection(asyncio.BufferedProtocol):
    """One kept-alive HTTP/1.1 connection.

    It reads into a buffer of its own: for the other kind of protocol the event loop asks the system for 256 kB of
    memory and gives it back with every reply.
    """

    _transport: asyncio.Transport

    def __init__(self, max_bytes: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._max_bytes = max_bytes
        self._buffer = memoryview(bytearray(_BUFFER))
        self._used = False
        self._reply: _Reply | None = None
        self._answered: asyncio.Future[Answer] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._expires = 0.0
        self.reusable = False
        """Whether its last exchange is over and both sides keep it open."""

    def ask(self, packet: bytes, seconds: float) -> "asyncio.Future[Answer]":
        """Send a request; its answer to come. That raises TimeoutError if it is not whole in so many seconds.

        seconds: the same for all requests over this connection. One timer serves them all, because setting one and
        cancelling it takes as long as reading a reply.
        """
        self.reusable = False
        self._reply = _Reply(self._max_bytes)
        self._answered = self._loop.create_future()
        self._transport.write(packet)
        self._expires = self._loop.time() + seconds
        if self._timer is None:
            self._timer = self._loop.call_at(self._expires, self._expire)
        return self._answered

    def _expire(self) -> None:
        self._timer = None
        if self._answered is None or self._answered.done():
            return
        if self._loop.time() < self._expires:  # it was set for an earlier request
            self._timer = self._loop.call_at(self._expires, self._expire)
        else:
            self._answered.set_exception(TimeoutError())

    def close(self) -> None:
        """Close it; an answer still on its way is thrown away."""
        self._answered = None
        self._cancel_timer()
        self._transport.abort()

    def _cancel_timer(self) -> None:
        """It would keep the connection in memory."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The event loop's."""
        self._transport = cast(asyncio.Transport, transport)  # of uvloop's and the like it is no subclass

    def get_buffer(self, sizehint: int) -> memoryview:
        """The event loop's: where to put what comes."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """The event loop's: more of the reply."""
        if self._reply is None or self._answered is None or self._answered.done():
            self.reusable = False  # nothing was asked
            self._transport.abort()
            return
        try:
            whole = self._reply.feed(self._buffer[:nbytes])
        except (ReplyTooLong, GarbledReply) as error:
            self._answered.set_exception(error)
            return
        if whole:
            self.reusable = self._reply.keeps_alive
            self._used = True
            self._answered.set_result(self._reply.answer())

    def connection_lost(self, error: Exception | None) -> None:
        """The event loop's: what was still asked for fails, unless the end of the connection is the reply's end."""
        self.reusable = False
        self._cancel_timer()
        if self._reply is None or self._answered is None or self._answered.done():
            return
        if error is None and self._reply.ends_with_connection:
            self._answered.set_result(self._reply.answer())
        elif self._used and not self._reply.begun:
            self._answered.set_exception(_Stale())
        else:
            self._answered.set_exception(error or EOFError("the connection was closed"))


class _Reply:
    """One reply as it comes in. The methods named on_... are httptools'."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._read = 0
        self._headed = self._whole = False
        self._refusal: ReplyTooLong | GarbledReply | None = None
        self.keeps_alive = False

    @property
    def begun(self) -> bool:
        """Whether anything came."""
        return self._read > 0

    @property
    def ends_with_connection(self) -> bool:
        """Whether the head came without a length, so that the end of the connection is the body's end."""
        framed = "content-length" in self._headers or "transfer-encoding" in self._headers
        return self._headed and not framed

    def feed(self, data: memoryview) -> bool:
        """Take in more bytes; whether the reply is whole. Raises ReplyTooLong, GarbledReply."""
        self._read += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self._refusal is None:
                raise GarbledReply(f"the answer is not HTTP/1.1 ({error})") from None
        if self._refusal is not None:
            raise self._refusal
        if not self._headed and self._read > _HEAD_LIMIT:
            raise GarbledReply(f"a header of more than {_HEAD_LIMIT} bytes")
        return self._whole

    def answer(self) -> Answer:
        """What came."""
        return Answer(status=self._parser.get_status_code(), headers=self._headers, content=bytes(self._body))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1").strip()

    def on_headers_complete(self) -> None:
        self._headed = True
        try:
            refuse_encoding(self._headers.get("content-encoding", ""))
        except GarbledReply as refusal:
            self._refusal = refusal
        length = self._headers.get("content-length", "")
        if length.isdigit() and int(length) > self._max_bytes:
            self._refusal = ReplyTooLong(f"{int(length)} bytes")

    def on_body(self, piece: bytes) -> None:
        self._body += piece
        if len(self._body) > self._max_bytes:
            self._refusal = ReplyTooLong(f"over {self._max_bytes} bytes")

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < 200:  # 100 Continue and the like come before the real one
            self._headers, self._headed = {}, False
            return
        self._whole = True
        self.keeps_alive = self._parser.should_keep_alive()


def refuse_encoding(encoding: str) -> None:
    """A compressed reply was not asked for, and a megabyte of it may unfold to a thousand. Raises GarbledReply."""
    if encoding.lower() not in ("", "identity"):
        raise GarbledReply(f"unasked content encoding {encoding[:20]!r}")

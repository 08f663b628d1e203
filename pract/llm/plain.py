"""Plain HTTP/1.1 to a server of one's own: whole replies, capped in size, over reused connections.

The SDK spends 1 to 3 ms of CPU on a call, most of it on building a request that hardly changes and on connection
bookkeeping that grows with the calls in flight. This takes a tenth of that, which is what lets one process keep
64 calls at once waiting for the server and not the server for it (docs/performance.md). TLS and proxies are left
to the SDK (`hosted`): far-away servers are slow enough not to notice.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

_HEAD_LIMIT = 65536
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

    def __init__(self, base_url: str, key: str | None, *, max_bytes: int, connect_seconds: float) -> None:
        self._base_url = base_url
        self._max_bytes = max_bytes
        self._connect_seconds = connect_seconds
        self._headers = (
            "Accept: application/json\r\nAccept-Encoding: identity\r\nUser-Agent: latro-pract\r\n"
            + (f"Authorization: Bearer {key}\r\n" if key else "")
        )
        self._heads: dict[tuple[str, str], tuple[Address, bytes]] = {}
        self._idle: dict[Address, list[_Connection]] = {}

    async def send(self, method: str, path: str, body: Mapping[str, Any] | None) -> Answer:
        """The answer with its whole body. Raises ReplyTooLong, GarbledReply, OSError, EOFError.

        path: below the base address, or a whole address. body: sent as JSON; None sends none.
        """
        address, head = self._heads.get((method, path)) or self._head(method, path)
        content = b"" if body is None else json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        packet = b"%sContent-Length: %d\r\n\r\n%s" % (head, len(content), content)
        connection = self._reusable(address)
        if connection is not None:
            with contextlib.suppress(_Stale):
                return await self._exchange(connection, address, packet)
        return await self._exchange(await self._connect(address), address, packet)

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
        try:
            async with asyncio.timeout(self._connect_seconds):
                return _Connection(*await asyncio.open_connection(*address, limit=_HEAD_LIMIT))
        except TimeoutError:
            raise ConnectionError(f"no connection in {self._connect_seconds:g} s") from None

    def _reusable(self, address: Address) -> "_Connection | None":
        waiting = self._idle.get(address, [])
        while waiting:
            connection = waiting.pop()
            if not connection.reader.at_eof():
                return connection
            connection.close()
        return None

    async def _exchange(self, connection: "_Connection", address: Address, packet: bytes) -> Answer:
        keep = False
        try:
            status, headers, body, keep = await connection.exchange(packet, self._max_bytes)
        finally:  # also when cancelled: half a reply may still be on its way
            if not keep:
                connection.close()
        if keep:
            self._idle.setdefault(address, []).append(connection)
        return Answer(status=status, headers=headers, content=body)


class _Stale(Exception):
    """A reused connection had been closed at the other end before anything came back."""


class _Connection:
    """One kept-alive HTTP/1.1 connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer
        self._used = False

    def close(self) -> None:
        self._writer.close()

    async def exchange(self, packet: bytes, max_bytes: int) -> tuple[int, dict[str, str], bytes, bool]:
        """Status, headers, body, and whether the connection can serve again."""
        self._writer.write(packet)
        try:
            status, headers = await self._head()
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            if self._used and not getattr(error, "partial", b""):
                raise _Stale from error
            raise
        self._used = True
        refuse_encoding(headers.get("content-encoding", ""))
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body, framed = await self._chunks(max_bytes), True
        elif "content-length" in headers:
            body, framed = await self._exactly(headers["content-length"], max_bytes), True
        else:
            body, framed = await read_capped(_until_end(self.reader), max_bytes), False
        return status, headers, body, framed and headers.get("connection", "").lower() != "close"

    async def _head(self) -> tuple[int, dict[str, str]]:
        while True:
            try:
                lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            except asyncio.LimitOverrunError:
                raise GarbledReply(f"a header of more than {_HEAD_LIMIT} bytes") from None
            version, _, rest = lines[0].partition(" ")
            if not (version.startswith("HTTP/1.") and rest[:3].isascii() and rest[:3].isdigit()):
                raise GarbledReply("the answer is not HTTP/1.1")
            if int(rest[:3]) >= 200:  # 100 Continue and the like come before the real one
                pairs = (line.partition(":") for line in lines[1:] if line)
                return int(rest[:3]), {name.strip().lower(): value.strip() for name, _, value in pairs}

    async def _exactly(self, length: str, max_bytes: int) -> bytes:
        if not (length.isascii() and length.isdigit()):
            raise GarbledReply("Content-Length is not a number")
        if int(length) > max_bytes:
            raise ReplyTooLong(f"{int(length)} bytes")
        return await self.reader.readexactly(int(length))

    async def _chunks(self, max_bytes: int) -> bytes:
        body = bytearray()
        while True:
            try:
                size = int((await self.reader.readuntil(b"\r\n")).partition(b";")[0], 16)
            except (ValueError, asyncio.LimitOverrunError):
                raise GarbledReply("a chunk without a size") from None
            if size < 0 or len(body) + size > max_bytes:
                raise ReplyTooLong(f"over {max_bytes} bytes")
            if size == 0:
                while await self.reader.readuntil(b"\r\n") != b"\r\n":
                    pass  # trailers
                return bytes(body)
            body += (await self.reader.readexactly(size + 2))[:-2]


async def _until_end(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while piece := await reader.read(_HEAD_LIMIT):
        yield piece


async def read_capped(pieces: AsyncIterator[bytes], max_bytes: int) -> bytes:
    """The pieces in one. Raises ReplyTooLong as soon as they are more than so many bytes."""
    body = bytearray()
    async for piece in pieces:
        body += piece
        if len(body) > max_bytes:
            raise ReplyTooLong(f"over {max_bytes} bytes")
    return bytes(body)


def refuse_encoding(encoding: str) -> None:
    """A compressed reply was not asked for, and a megabyte of it may unfold to a thousand. Raises GarbledReply."""
    if encoding.lower() not in ("", "identity"):
        raise GarbledReply(f"unasked content encoding {encoding[:20]!r}")

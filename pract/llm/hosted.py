"""Servers behind TLS or a proxy, through the `openai` SDK: hosted APIs, and `direct=false` for any address.

The SDK builds and sends the request. Its stock transport is wrapped so that a reply is read whole and capped in
size; retries are the session's.
"""

import asyncio
import importlib
import logging
from collections.abc import AsyncIterator, Mapping
from types import ModuleType, TracebackType
from typing import Any

from pract.llm.plain import Answer, GarbledReply, ReplyTooLong, refuse_encoding

_UNSENT = tuple(
    f"X-Stainless-{name}"
    for name in ("Lang", "Package-Version", "OS", "Arch", "Runtime", "Runtime-Version", "Async")
)
"""Headers in which the SDK describes this machine; nobody here needs them."""


def sdk_http() -> ModuleType:
    """The HTTP package that the installed SDK stands on: httpx up to version 2, httpx2 from version 3."""
    import openai

    return importlib.import_module("httpx2" if int(openai.__version__.partition(".")[0]) >= 3 else "httpx")


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for this address, if any."""
    import urllib.request  # 0.05 s: not before the first call

    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0]
    if urllib.request.proxy_bypass(host.partition(":")[0]) or host.startswith(("127.", "localhost", "[::1]")):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(scheme) or proxies.get("all")


class SdkSender:
    """Requests through the SDK's client."""

    def __init__(
        self,
        base_url: str,
        key: str | None,
        *,
        max_bytes: int,
        connect_seconds: float,
        timeout_seconds: float,
    ) -> None:
        import openai  # 0.4 s: not before the first call

        http = sdk_http()
        for name in ("httpx", "httpx2"):  # one INFO line a call would drown the run's log
            if logging.getLogger(name).level == logging.NOTSET:
                logging.getLogger(name).setLevel(logging.WARNING)
        headers: dict[str, Any] = {"Accept-Encoding": "identity"} | {name: openai.Omit() for name in _UNSENT}
        self._sdk = openai
        self._timeout_seconds = timeout_seconds
        self._response: type[Any] = http.Response
        transport = CappedTransport(http, max_bytes=max_bytes, proxy=proxy_for(base_url))
        self._client = openai.AsyncOpenAI(
            base_url=base_url,
            api_key=key or "none",  # the SDK insists on one; servers without keys ignore it
            max_retries=0,
            timeout=http.Timeout(timeout_seconds, connect=connect_seconds),
            default_headers=headers,
            http_client=http.AsyncClient(transport=transport),
        )

    async def send(self, method: str, path: str, body: Mapping[str, Any] | None) -> Answer:
        """The answer with its whole body. Raises ReplyTooLong, GarbledReply, TimeoutError, OSError, EOFError."""
        try:
            async with asyncio.timeout(self._timeout_seconds):  # httpx counts from one piece to the next
                if body is None:
                    response = await self._client.get(path, cast_to=self._response)
                else:
                    response = await self._client.post(path, cast_to=self._response, body=body)
        except self._sdk.APIStatusError as error:
            response = error.response
        except self._sdk.APITimeoutError:
            raise TimeoutError from None
        except self._sdk.APIConnectionError as error:  # which failures the SDK wraps differs by version
            cause = error.__cause__ or error
            if isinstance(cause, OSError | EOFError | ReplyTooLong | GarbledReply):
                raise cause from None
            raise ConnectionError(str(cause)) from None
        return Answer(status=response.status_code, headers=response.headers, content=response.content)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()


class CappedTransport:
    """An HTTP transport for the SDK's client; has the methods that httpx asks of one."""

    def __init__(self, http: ModuleType, *, max_bytes: int, proxy: str | None) -> None:
        self._http = http
        self._max_bytes = max_bytes
        self._stock: Any = http.AsyncHTTPTransport(proxy=proxy, limits=http.Limits())

    async def handle_async_request(self, request: Any) -> Any:
        """The response with its whole body. Raises ReplyTooLong, GarbledReply, and what httpx raises."""
        response = await self._stock.handle_async_request(request)
        try:
            refuse_encoding(response.headers.get("content-encoding", ""))
            body = await self._capped(response.stream)
        finally:
            await response.aclose()
        headers = [pair for pair in response.headers.raw if pair[0].lower() != b"transfer-encoding"]
        return self._http.Response(response.status_code, headers=headers, content=body)

    async def _capped(self, pieces: AsyncIterator[bytes]) -> bytes:
        """The pieces in one. Raises ReplyTooLong as soon as they are more than is allowed."""
        body = bytearray()
        async for piece in pieces:
            body += piece
            if len(body) > self._max_bytes:
                raise ReplyTooLong(f"over {self._max_bytes} bytes")
        return bytes(body)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._stock.aclose()

    async def __aenter__(self) -> "CappedTransport":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

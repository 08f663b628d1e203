"""Calls to one server: who sends them, the limit of calls in flight, the attempts of each call."""

import asyncio
import logging
import os
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from pract.errors import InputError
from pract.llm import wire
from pract.llm.base import ChatError, ChatErrorKind
from pract.llm.hosted import SdkSender, proxy_for
from pract.llm.plain import Answer, GarbledReply, PlainSender, ReplyTooLong
from pract.llm.retry import Patience, retry_after
from pract.types import Reply, ToolCall

T = TypeVar("T")

MAX_REASON = 40
"""Characters of what a server says of why a reply ended."""

_log = logging.getLogger(__name__)
_KEY_LIKE = re.compile(r"\b(sk|key|hf|gsk)[-_][A-Za-z0-9*_-]{8,}|Bearer\s+\S+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a session allows."""

    concurrency: int
    timeout_seconds: float
    connect_seconds: float
    max_reply_bytes: int
    patience: Patience
    direct: bool = True
    """Whether plain `http://` without a proxy is spoken here, and not through the SDK."""


class Sender(Protocol):
    """How bytes reach a server."""

    async def send(self, method: str, path: str, body: Mapping[str, Any] | None) -> Answer:
        """The answer with its whole body. Raises ReplyTooLong, GarbledReply, OSError, EOFError.

        Raises TimeoutError if the whole body is not there in time.
        """
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class _Failed(Exception):
    """One attempt that failed."""

    def __init__(
        self, kind: ChatErrorKind, message: str, *, asked: float | None = None, final: bool = False
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.asked = asked
        self.final = final
        """Whether another attempt would surely end likewise."""


class Session:
    """Connections to one server within one event loop."""

    def __init__(self, base_url: str, api_key_env: str | None, limits: Limits) -> None:
        self.loop = asyncio.get_running_loop()
        self.base_url = base_url
        self.slots = asyncio.Semaphore(limits.concurrency)
        self._limits = limits
        self._key = read_key(api_key_env)
        self._sender = _sender(base_url, self._key, limits)

    async def close(self) -> None:
        """Close all connections."""
        await self._sender.close()

    def scrub(self, text: str) -> str:
        """The text without the key, whoever repeated it."""
        return text.replace(self._key, "***") if self._key and self._key in text else text

    def masked(self, message: str) -> str:
        """An error's message without this key, or what looks like one."""
        return self.scrub(_KEY_LIKE.sub("***", message))

    def scrubbed(self, reply: Reply, text: str) -> Reply:
        """The reply with this text, a short finish reason, and without the key wherever the server may have put it."""
        calls = tuple(
            ToolCall(id=self.scrub(call.id), name=self.scrub(call.name), arguments=self.scrub(call.arguments))
            for call in reply.tool_calls
        )
        text, reason = self.scrub(text), self.scrub(reply.finish_reason)[:MAX_REASON]
        if (text, calls, reason) == (reply.text, reply.tool_calls, reply.finish_reason):
            return reply
        return replace(reply, text=text, tool_calls=calls, finish_reason=reason)

    async def post(
        self,
        path: str,
        body: wire.Json,
        read: Callable[[wire.Json], T],
        *,
        tag: str,
        tools_offered: bool = False,
        once: bool = False,
    ) -> T:
        """What `read` makes of the answer. Raises ChatError once no attempt is left.

        path: below the base address, or a whole address. read may raise ChatError: a spoilt attempt. once: without a
        second attempt.
        """
        patience = self._limits.patience
        jitter: random.Random | None = None
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._attempt("POST", path, body, read, tools_offered=tools_offered)
            except _Failed as failed:
                jitter = jitter or random.Random(f"{patience.seed}/{tag}")
                final = failed.final or once
                pause = None if final else patience.pause(failed.kind, attempt, failed.asked, jitter)
                message = self.masked(failed.message)
                if pause is None:
                    raise ChatError(failed.kind, message, attempts=attempt) from None
                _log.info(
                    "%s: attempt %d: %s: %s; again in %.1f s", tag, attempt, failed.kind.value, message, pause
                )
            await asyncio.sleep(pause)

    async def get(self, path: str) -> wire.Json:
        """The JSON at a path, in one attempt. Raises ChatError."""
        try:
            return await self._attempt("GET", path, None, lambda data: data, tools_offered=False)
        except _Failed as failed:
            raise ChatError(failed.kind, self.masked(failed.message)) from None

    async def _attempt(
        self,
        method: str,
        path: str,
        body: wire.Json | None,
        read: Callable[[wire.Json], T],
        *,
        tools_offered: bool,
    ) -> T:
        try:
            answer = await self._sender.send(method, path, body)
        except TimeoutError:
            said = f"no whole reply from {self.base_url} in {self._limits.timeout_seconds:g} s"
            raise _Failed(ChatErrorKind.TIMEOUT, said) from None
        except (OSError, EOFError, ReplyTooLong, GarbledReply) as error:
            raise _broken_connection(error, self.base_url) from None
        if answer.status != 200:
            kind, said = wire.classify(answer.status, answer.content, tools_offered=tools_offered)
            asked = retry_after(answer.headers)
            if asked is None and kind is ChatErrorKind.RATE_LIMITED:
                asked = wire.told_wait(answer.content)
            wait = f" (asks to wait {asked:.0f} s)" if asked is not None else ""
            raise _Failed(kind, said + wait, asked=asked)
        try:
            return read(wire.decode_json(answer.content))
        except ChatError as error:
            raise _Failed(error.kind, error.message) from None


def _sender(base_url: str, key: str | None, limits: Limits) -> Sender:
    """The quick way where it can be gone, otherwise the SDK."""
    if limits.direct and base_url.startswith("http://") and proxy_for(base_url) is None:
        return PlainSender(
            base_url,
            key,
            max_bytes=limits.max_reply_bytes,
            connect_seconds=limits.connect_seconds,
            timeout_seconds=limits.timeout_seconds,
        )
    return SdkSender(
        base_url,
        key,
        max_bytes=limits.max_reply_bytes,
        connect_seconds=limits.connect_seconds,
        timeout_seconds=limits.timeout_seconds,
    )


def _broken_connection(cause: BaseException, base_url: str) -> _Failed:
    if isinstance(cause, ReplyTooLong):
        said = f"the reply is too long: {cause}; llm.max_reply_bytes allows no more"
        return _Failed(ChatErrorKind.BAD_RESPONSE, said, final=True)
    if isinstance(cause, GarbledReply):
        return _Failed(ChatErrorKind.BAD_RESPONSE, f"{base_url}: {cause}")
    if isinstance(cause, EOFError):
        return _Failed(ChatErrorKind.CONNECTION, f"{base_url} broke off in the middle of its reply")
    reason = wire.excerpt(str(cause)) or type(cause).__name__
    return _Failed(ChatErrorKind.CONNECTION, f"{base_url}: {reason}")


def read_key(variable: str | None) -> str | None:
    """The key in that environment variable; None where no variable is named.

    Raises InputError if the variable is not set.
    """
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise InputError(
            f"llm.api_key_env={variable}: this environment variable is not set; export {variable}=..."
        )
    if not (key.isascii() and key.isprintable()):
        raise InputError(
            f"llm.api_key_env={variable}: its value is no key; it has characters no header may hold"
        )
    return key

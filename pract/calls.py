"""Chat calls under a budget and on record: each outcome is logged under its tag and taken from there on resume."""

import asyncio
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from functools import lru_cache
from typing import Any

from pract.budget import Ledger
from pract.events import CHAT, EventLog
from pract.llm.base import Chat, ChatError, ChatErrorKind
from pract.records import from_json
from pract.types import ActionSpec, Message, Reply, ToolCall

_log = logging.getLogger(__name__)

_QUOTE = json.encoder.encode_basestring_ascii

MAX_TEXT = 200_000
"""Characters of a reply that are kept."""


class RecordedChat:
    """A Chat around another: one budget, one log, and every tag is a key of the run.

    A call whose tag is in the log, made with the same messages, is answered from there and costs nothing anew.
    If the messages differ (the environment answered otherwise this time) the call is made again, and its event
    supersedes the old one; both were paid for and both count. Failures that end a run (a wrong key) are not
    logged, so that a resumed run tries again.
    """

    def __init__(
        self,
        chat: Chat,
        log: EventLog,
        ledger: Ledger,
        slots: AbstractAsyncContextManager[None] | None = None,
    ) -> None:
        """slots: held during a call; None: as many as the chat answers calls at once."""
        self._chat = chat
        self._slots = slots_of(chat) if slots is None else slots
        self._log = log
        self._ledger = ledger
        self._silent_at: set[int] = set()
        self.model = chat.model
        self.context_tokens = chat.context_tokens

    async def reply(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        temperature: float,
        stop: Sequence[str] = (),
        tools: Sequence[ActionSpec] | None = None,
        choices: Sequence[str] | None = None,
        seed: int | None = None,
        tag: str,
    ) -> Reply:
        """The logged or the model's answer. Raises ChatError, or BudgetExhausted when no call may be made."""
        prompt = digest(messages, choices)
        logged = self._log.past(CHAT, tag)
        if logged is not None and logged["prompt"] == prompt:
            return _outcome(logged)
        async with self._slots:  # before the ledger is asked: what waits for a slot may not be made any more
            self._ledger.reserve()
            try:
                reply = await self._chat.reply(
                    messages,
                    max_tokens=max_tokens,
                    temperature=temperature,
                    stop=stop,
                    tools=tools,
                    choices=choices,
                    seed=seed,
                    tag=tag,
                )
            except ChatError as error:
                self._ledger.settle(error.cost)
                if not error.kind.fatal:
                    cost = {} if error.cost is None else {"cost": error.cost}
                    said = {"error": error.kind.value, "message": error.message}
                    self._write(tag, {"prompt": prompt, **said, **cost})
                raise
            except BaseException:
                self._ledger.release()
                raise
            reply = _storable(reply)
            self._ledger.settle(reply)
        if reply.finish_reason == "length" and not (reply.text or reply.tool_calls):
            self._warn_of_silence(max_tokens)
        self._write(tag, {"prompt": prompt, "reply": reply})
        return reply

    def _warn_of_silence(self, max_tokens: int) -> None:
        """Say once that the model spent a whole reply before its first word."""
        if max_tokens not in self._silent_at:
            self._silent_at.add(max_tokens)
            _log.warning(
                "%s: a reply ended at max_tokens=%d before its first word; a model that reasons needs more: raise "
                "agent.max_tokens, rpo.reflector.max_tokens or rpo.optimizer.max_tokens",
                self.model,
                max_tokens,
            )

    def _write(self, tag: str, data: Mapping[str, Any]) -> None:
        self._log.append(CHAT, tag, data, at=self._ledger.seconds)

    def count_tokens(self, text: str) -> int:
        """As the model behind it counts."""
        return self._chat.count_tokens(text)

    async def close(self) -> None:
        """Close the model behind it."""
        await self._chat.close()


def recorded_roles(chats: Sequence[Chat], log: EventLog, ledger: Ledger) -> list[RecordedChat]:
    """Each role's chat on record; roles that share a chat share its slots."""
    slots = {id(chat): slots_of(chat) for chat in chats}
    return [RecordedChat(chat, log, ledger, slots[id(chat)]) for chat in chats]


def slots_of(chat: Chat) -> AbstractAsyncContextManager[None]:
    """As many as the chat answers calls at once, where it says so."""
    width = getattr(chat, "concurrency", None)
    return nullcontext() if width is None else asyncio.Semaphore(width)


def digest(messages: Sequence[Message], choices: Sequence[str] | None = None) -> str:
    """Sixteen hexadecimal digits that tell one prompt from another."""
    return _digest(tuple(messages), tuple(choices or ()))


@lru_cache(maxsize=1)  # the agent asks, and then the chat on record
def _digest(messages: tuple[Message, ...], choices: tuple[str, ...]) -> str:
    """Of the JSON `[[turn, ...], choices]`."""
    hashed = _begun(messages[0]).copy() if messages else hashlib.sha256(b"[[")
    for message in messages[1:]:
        hashed.update(f", {_packed(message)}".encode())
    hashed.update(f"], [{', '.join(map(_QUOTE, choices))}]]".encode())
    return hashed.hexdigest()[:16]


@lru_cache(maxsize=8)
def _begun(first: Message) -> Any:
    """The system turn is the longest, and the same in all episodes under the same principles."""
    return hashlib.sha256(f"[[{_packed(first)}".encode())


def _packed(m: Message) -> str:
    """The JSON `[role, content, tool_call_id, [[id, name, arguments], ...]]`; setting an encoder up takes longer."""
    calls = [f"[{_QUOTE(c.id)}, {_QUOTE(c.name)}, {_QUOTE(c.arguments)}]" for c in m.tool_calls]
    answers = "null" if m.tool_call_id is None else _QUOTE(m.tool_call_id)
    return f"[{_QUOTE(m.role)}, {_QUOTE(m.content)}, {answers}, [{', '.join(calls)}]]"


def _outcome(logged: Mapping[str, Any]) -> Reply:
    if "error" in logged:
        raise ChatError(ChatErrorKind(logged["error"]), logged["message"])
    return from_json(Reply, logged["reply"])


def _storable(reply: Reply) -> Reply:
    """The reply with its texts cut to a bounded length and fit for UTF-8."""
    text = _clean(reply.text)
    if text == reply.text and not reply.tool_calls:
        return reply
    calls = tuple(
        ToolCall(id=_clean(call.id), name=_clean(call.name), arguments=_clean(call.arguments))
        for call in reply.tool_calls[:16]
    )
    return replace(reply, text=text, tool_calls=calls)


def _clean(text: str) -> str:
    short = text[:MAX_TEXT]
    return short if short.isascii() else short.encode("utf-8", "replace").decode("utf-8")

"""Any OpenAI-compatible address: hosted APIs, vLLM, Ollama, llama.cpp.

The `openai` SDK sends the request (`hosted`); plain `http://`, as servers of one's own speak it, is sent directly
(`plain`), for a tenth of the SDK's CPU time. Retries are ours, so that every attempt is seen, timed and bounded; and
the body is checked here (`wire`), because the SDK trusts what it is sent.
"""

import asyncio
import dataclasses
import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pract.errors import InputError
from pract.llm import probe, ranking, wire
from pract.llm.base import ChatError, ChatErrorKind, estimate_tokens
from pract.llm.retry import Patience
from pract.llm.session import Limits, Session
from pract.llm.wire import Json, Prices
from pract.types import ActionSpec, Message, Reply, sum_told

_log = logging.getLogger(__name__)
_ADDRESS = re.compile(r"https?://[^/@?#\s]+(/[^@?#\s]*)?")


@dataclass(kw_only=True, eq=False)
class OpenAIChat:
    """A chat model behind an OpenAI-compatible address. Satisfies `Chat` and `HasCheck`."""

    base_url: str
    """Up to and without `/chat/completions`, e.g. `http://127.0.0.1:8080/v1`."""
    model: str
    """The name under which the server knows it."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key; None for servers without one."""
    context_tokens: int = 4096
    """Prompt and reply together must fit into this many tokens."""
    concurrency: int = 16
    """Calls in flight at once; more wait their turn."""
    timeout_seconds: float = 120.0
    """For one attempt, from request to the last byte."""
    connect_seconds: float = 10.0
    direct: bool = True
    """Send plain `http://` without the SDK; False sends everything through it, which is slower and says the same."""
    patience: Patience = field(default_factory=Patience)
    """How often and after what pauses a failed attempt is repeated."""
    max_reply_bytes: int = 1_000_000
    """A longer reply is refused unread."""
    prices: Prices = field(default_factory=Prices)
    """What the tokens cost."""
    rank_by: str | None = None
    """How `choices` are ranked: `llama_cpp`, `vllm`, or None where the server cannot score a given text."""
    max_tokens_key: str = "max_tokens"
    """OpenAI's newer models want `max_completion_tokens`."""
    omit: Sequence[str] = ()
    """Request fields this server refuses, e.g. `temperature` and `stop` for some reasoning models."""
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    """Further request fields, as the server defines them."""

    def __post_init__(self) -> None:
        self.base_url = self.base_url.rstrip("/")
        if not _is_address(self.base_url):  # not shown: it may have a password in it
            raise InputError(
                "llm.base_url is no address like http://127.0.0.1:8080/v1 (without user, key or query in it); a key is "
                "given by the environment variable that llm.api_key_env names"
            )
        if self.rank_by not in (None, *ranking.METHODS):
            raise InputError(
                f"llm.rank_by={self.rank_by!r} is unknown; use {', '.join(ranking.METHODS)} or null"
            )
        for name in (
            "concurrency",
            "timeout_seconds",
            "connect_seconds",
            "max_reply_bytes",
            "context_tokens",
        ):
            if getattr(self, name) <= 0:
                raise InputError(f"llm.{name}={getattr(self, name)!r} must be above zero")
        if not self.model:
            raise InputError("llm.model is empty; name the model as the server does")
        self._prices = self.prices.of(self.model)
        if self._prices is not self.prices:
            _log.warning(
                "llm.prices are those of %s and llm.model is %s, so its calls count as $0: give llm.prices.prompt, "
                "llm.prices.completion and llm.prices.model=%s",
                self.prices.model,
                self.model,
                self.model,
            )
        self._session: Session | None = None

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
        """The model's answer; see `Chat.reply`."""
        started = time.perf_counter()
        session = self._open_session()
        async with session.slots:
            answers: list[Json] = []

            def read(data: Json) -> Json:
                answers.append(data)
                return _with_message(data)

            try:
                if choices is not None:
                    scored = await ranking.rank(session, self.rank_by, self.model, messages, choices, tag=tag)
                    return self._chosen(scored, choices, time.perf_counter() - started)
                body = self._body(messages, max_tokens, temperature, stop, tools, seed)
                data = await session.post("/chat/completions", body, read, tag=tag, tools_offered=bool(tools))
                seconds = time.perf_counter() - started
                reply = wire.read_reply(
                    data,
                    prompt=messages,
                    tools=tools or (),
                    prices=self._prices,
                    model=self.model,
                    seconds=seconds,
                )
            except ChatError as error:
                # What is found wrong in a body may quote it, and it may repeat the request.
                raise ChatError(
                    error.kind,
                    session.masked(error.message),
                    attempts=error.attempts,
                    cost=wire.cost_of(answers, self._prices) if answers else None,
                ) from None
        reply = session.scrubbed(reply, wire.cut_at_stop(reply.text, stop))
        return _with_cost(reply, wire.cost_of(answers[:-1], self._prices)) if answers[1:] else reply

    def _body(
        self,
        messages: Sequence[Message],
        max_tokens: int,
        temperature: float,
        stop: Sequence[str],
        tools: Sequence[ActionSpec] | None,
        seed: int | None,
    ) -> Json:
        body: Json = {"model": self.model, "messages": wire.messages_json(messages)}
        body |= {self.max_tokens_key: max_tokens, "temperature": temperature}
        if stop:
            body["stop"] = list(stop)[:4]  # hosted APIs take no more; the rest is cut from the reply
        if tools:
            body["tools"] = wire.tools_json(tools)
        if seed is not None:
            body["seed"] = seed
        body |= self.extra_body
        return {name: value for name, value in body.items() if name not in self.omit}

    def _chosen(self, scored: ranking.Scored, choices: Sequence[str], seconds: float) -> Reply:
        prompt, written, cached = scored.prompt_tokens, scored.choice_tokens, scored.cached_tokens
        return Reply(
            text=choices[scored.best],
            prompt_tokens=prompt,
            completion_tokens=written,
            cached_tokens=cached,
            usd=self._prices.usd(prompt, cached, written),
            seconds=seconds,
            model=self.model,
        )

    def count_tokens(self, text: str) -> int:
        """An estimate: the server's tokenizer is not at hand."""
        return estimate_tokens(text)

    async def check(self, *, tools: bool = False, choices: bool = False) -> None:
        """A few quick questions to the server; see `HasCheck.check`."""
        session = self._open_session()
        await probe.check_model(session, self.model, self.context_tokens)
        if tools:
            await probe.check_tools(session, self.model, self.max_tokens_key)
        if choices:
            await probe.check_choices(session, self.rank_by, self.model)

    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        session, self._session = self._session, None
        if session is not None and session.loop is asyncio.get_running_loop():
            await session.close()

    def _open_session(self) -> Session:
        """Connections belong to an event loop: a new loop gets new ones."""
        if self._session is None or self._session.loop is not asyncio.get_running_loop():
            limits = Limits(
                concurrency=self.concurrency,
                timeout_seconds=self.timeout_seconds,
                connect_seconds=self.connect_seconds,
                max_reply_bytes=self.max_reply_bytes,
                patience=self.patience,
                direct=self.direct,
            )
            self._session = Session(self.base_url, self.api_key_env, limits)
        return self._session


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(_ADDRESS.fullmatch(url) and parts.hostname) and parts.port != 0
    except ValueError:  # an impossible port, or half of an IPv6 address
        return False


def _with_cost(reply: Reply, spoilt: Reply) -> Reply:
    """The reply, with what the spoilt attempts before it cost."""
    return dataclasses.replace(
        reply,
        prompt_tokens=reply.prompt_tokens + spoilt.prompt_tokens,
        completion_tokens=reply.completion_tokens + spoilt.completion_tokens,
        cached_tokens=sum_told(reply.cached_tokens, spoilt.cached_tokens),
        usd=reply.usd + spoilt.usd,
    )


def _with_message(data: Json) -> Json:
    """The answer, if it has a choice in it; else the attempt is spoilt and worth another one."""
    if not isinstance(data.get("choices"), list) or not data["choices"]:
        raise ChatError(ChatErrorKind.BAD_RESPONSE, f"the reply has no choices: {wire.excerpt(data)}")
    return data

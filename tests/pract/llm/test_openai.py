"""Calls to OpenAI-compatible servers, against one on loopback that misbehaves on purpose. No network, no model."""

import asyncio
import logging
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from pract.errors import InputError
from pract.llm.base import Chat, ChatError, ChatErrorKind, HasCheck
from pract.llm.openai import OpenAIChat
from pract.llm.retry import Patience
from pract.llm.wire import Prices
from pract.types import ActionSpec, Message, Reply, ToolCall
from tests.pract.llm import bad_server
from tests.pract.llm.bad_server import KEY, MODEL, TEXT, Server

T = TypeVar("T")
HASTY = Patience(attempts=3, first_pause=0.01, rate_pause=0.01)
ASK = (Message(role="system", content="You shop."), Message(role="user", content="Find a mug."))
SEARCH = ActionSpec(name="search", description="Search the shop.")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with bad_server.running() as running:
        yield running


def chat_at(url: str, **settings: Any) -> OpenAIChat:
    return OpenAIChat(
        **{"base_url": url, "model": MODEL, "patience": HASTY, "timeout_seconds": 0.5} | settings
    )


def run(chat: OpenAIChat, work: Coroutine[Any, Any, T]) -> T:
    async def closing() -> T:
        try:
            return await work
        finally:
            await chat.close()

    return asyncio.run(closing())


def ask(chat: OpenAIChat, **settings: Any) -> Reply:
    return run(chat, chat.reply(ASK, **{"max_tokens": 50, "temperature": 0.0, "tag": "agent/e/0"} | settings))


def fail(chat: OpenAIChat, **settings: Any) -> ChatError:
    with pytest.raises(ChatError) as caught:
        ask(chat, **settings)
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_reply_carries_its_text_tokens_price_and_time(server: Server) -> None:
    chat = chat_at(server.url("ok~20"), prices=Prices(prompt=2.0, cached=0.5, completion=8.0))
    contract: Chat = chat
    assert isinstance(contract, HasCheck)
    reply = ask(chat)
    assert (reply.text, reply.finish_reason, reply.model) == (TEXT, "stop", MODEL)
    assert (reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens) == (100, 10, 40)
    assert reply.usd == pytest.approx((60 * 2.0 + 40 * 0.5 + 10 * 8.0) / 1e6)
    assert 0.02 <= reply.seconds < 2


def test_spoilt_attempts_that_were_paid_for_count(server: Server) -> None:
    prices = Prices(prompt=2.0, cached=0.5, completion=8.0)
    reply = ask(chat_at(server.url("paid_for_nothing.2.then"), prices=prices))
    assert (reply.text, reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens) == (
        TEXT,
        300,
        30,
        120,
    )
    assert reply.usd == pytest.approx(3 * (60 * 2.0 + 40 * 0.5 + 10 * 8.0) / 1e6)


@pytest.mark.parametrize(("mode", "answers"), [("paid_for_nothing", 3), ("paid_for_numbers", 1)])
def test_a_refused_reply_tells_what_it_cost(server: Server, mode: str, answers: int) -> None:
    cost = fail(chat_at(server.url(mode), prices=Prices(completion=8.0))).cost
    assert cost is not None
    assert (cost.prompt_tokens, cost.completion_tokens, cost.cached_tokens) == tuple(
        answers * tokens for tokens in (100, 10, 40)
    )
    assert cost.usd == pytest.approx(answers * 80e-6)
    assert fail(chat_at(server.url("error_500.99.cost"))).cost is None


def test_the_request_holds_what_was_asked_for_and_nothing_omitted(server: Server) -> None:
    chat = chat_at(
        server.url("ok"),
        max_tokens_key="max_completion_tokens",
        omit=["temperature"],
        extra_body={"top_k": 1},
    )
    ask(chat, stop=["a", "b", "c", "d", "e"], seed=7, tools=[SEARCH])
    parameters = {"type": "object", "properties": {}}
    assert server.bodies[-1] == {
        "model": MODEL,
        "messages": [{"role": "system", "content": "You shop."}, {"role": "user", "content": "Find a mug."}],
        "max_completion_tokens": 50,
        "stop": ["a", "b", "c", "d"],
        "seed": 7,
        "top_k": 1,
        "tools": [
            {
                "type": "function",
                "function": {"name": "search", "description": "Search the shop.", "parameters": parameters},
            }
        ],
    }


def test_native_tool_calls_are_read_and_sent_back(server: Server) -> None:
    chat = chat_at(server.url("tool_call"))
    reply = ask(chat, tools=[SEARCH])
    assert reply.text == ""
    assert reply.tool_calls == (ToolCall(id="call_7", name="search", arguments='{"q": "mug"}'),)
    turns = (
        *ASK,
        Message(role="assistant", content="", tool_calls=reply.tool_calls),
        Message(role="tool", content="3 mugs", tool_call_id="call_7"),
    )
    run(chat, chat.reply(turns, max_tokens=5, temperature=0.0, tag="t"))
    function = {"name": "search", "arguments": '{"q": "mug"}'}
    calls = [{"id": "call_7", "type": "function", "function": function}]
    assert server.bodies[-1]["messages"][2:] == [
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "content": "3 mugs", "tool_call_id": "call_7"},
    ]


def test_a_stop_text_ends_the_reply_even_if_the_server_ignores_it(server: Server) -> None:
    assert ask(chat_at(server.url("ok")), stop=["[{"]).text == "Search"


def patience_with(mode: str) -> float:
    """Seconds for one attempt: few only with a server that never answers, as a busy machine may be slow."""
    return 0.2 if mode.startswith("hang.") or mode == "hang" else 20.0


@pytest.mark.parametrize(
    ("mode", "kind", "attempts", "said"),
    [
        ("rate_limited", ChatErrorKind.RATE_LIMITED, 3, "HTTP 429: slow down"),
        ("rate_limited_long", ChatErrorKind.RATE_LIMITED, 1, "asks to wait 3600 s"),
        ("quota", ChatErrorKind.AUTH, 1, "no credit left"),
        ("error_500", ChatErrorKind.SERVER, 3, "HTTP 500: internal error"),
        ("hang", ChatErrorKind.TIMEOUT, 3, "no whole reply from"),
        ("cut", ChatErrorKind.CONNECTION, 3, "broke off in the middle of its reply"),
        ("cut_chunked", ChatErrorKind.CONNECTION, 3, "broke off in the middle of its reply"),
        ("hang_up", ChatErrorKind.CONNECTION, 3, "broke off in the middle of its reply"),
        ("empty_body", ChatErrorKind.BAD_RESPONSE, 3, "the reply is empty"),
        ("huge", ChatErrorKind.BAD_RESPONSE, 1, "the reply is too long"),
        ("huge_chunked", ChatErrorKind.BAD_RESPONSE, 1, "the reply is too long"),
        ("not_utf8", ChatErrorKind.BAD_RESPONSE, 3, "not UTF-8"),
        ("not_json", ChatErrorKind.BAD_RESPONSE, 3, "not JSON"),
        ("deep", ChatErrorKind.BAD_RESPONSE, 3, "not JSON (RecursionError)"),
        ("no_choices", ChatErrorKind.BAD_RESPONSE, 3, "no choices"),
        ("garbage", ChatErrorKind.BAD_RESPONSE, 3, "not HTTP/1.1"),
        ("gzip", ChatErrorKind.BAD_RESPONSE, 3, "unasked content encoding"),
        ("wrong_model", ChatErrorKind.MODEL_NOT_FOUND, 1, "does not exist"),
        ("context", ChatErrorKind.CONTEXT_LENGTH, 1, "maximum context length"),
    ],
)
def test_every_fault_has_a_kind(
    server: Server, mode: str, kind: ChatErrorKind, attempts: int, said: str
) -> None:
    mode = f"{mode}.99.kinds"
    error = fail(chat_at(server.url(mode), timeout_seconds=patience_with(mode)))
    assert (error.kind, error.attempts) == (kind, attempts)
    assert said in error.message
    assert server.calls[mode] == attempts
    assert error.kind.fatal == (kind in (ChatErrorKind.AUTH, ChatErrorKind.MODEL_NOT_FOUND))


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("rate_limited", ChatErrorKind.RATE_LIMITED),
        ("error_500", ChatErrorKind.SERVER),
        ("hang", ChatErrorKind.TIMEOUT),
        ("cut", ChatErrorKind.CONNECTION),
        ("hang_up", ChatErrorKind.CONNECTION),
        ("empty_body", ChatErrorKind.BAD_RESPONSE),
        ("huge", ChatErrorKind.BAD_RESPONSE),
        ("not_utf8", ChatErrorKind.BAD_RESPONSE),
        ("not_json", ChatErrorKind.BAD_RESPONSE),
        ("garbage", ChatErrorKind.CONNECTION),
        ("gzip", ChatErrorKind.BAD_RESPONSE),
        ("wrong_model", ChatErrorKind.MODEL_NOT_FOUND),
    ],
)
def test_through_the_sdk_a_fault_has_a_kind_as_well(server: Server, mode: str, kind: ChatErrorKind) -> None:
    seconds = patience_with(mode)
    chat = chat_at(server.url(mode), direct=False, timeout_seconds=seconds, patience=Patience(attempts=1))
    assert fail(chat).kind is kind


@pytest.mark.parametrize("mode", ["ok", "tool_call", "chunked"])
def test_the_quick_way_and_the_sdk_ask_and_answer_alike(server: Server, mode: str) -> None:
    replies, bodies = [], []
    for direct in (True, False):
        chat = chat_at(server.url(mode), direct=direct)
        replies.append(replace(ask(chat, tools=[SEARCH], stop=["zz"], seed=3), seconds=0.0))
        bodies.append(server.bodies[-1])
    assert replies[0] == replies[1]
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize(
    "mode", ["rate_limited", "error_500", "hang", "cut", "hang_up", "empty_body", "not_json"]
)
def test_a_fault_that_passes_is_outlived(server: Server, mode: str) -> None:
    mode = f"{mode}.2.passes"
    assert ask(chat_at(server.url(mode), timeout_seconds=patience_with(mode))).text == TEXT
    assert server.calls[mode] == 3


def test_retry_after_is_waited_for(server: Server) -> None:
    reply = ask(
        chat_at(
            server.url("rate_limited.2.waits"), patience=Patience(attempts=3, first_pause=0.0, rate_pause=0.0)
        )
    )
    assert 0.1 <= reply.seconds < 1


def test_half_a_surrogate_pair_cannot_spoil_a_file(server: Server) -> None:
    assert ask(chat_at(server.url("surrogate"))).text == "half \N{REPLACEMENT CHARACTER} of a pair"


def test_a_reason_for_the_end_is_short_and_fit_for_a_file(server: Server) -> None:
    reply = ask(chat_at(server.url("surrogate_reason")))
    assert reply.finish_reason == "half \ufffd " + "x" * 33


def test_chunked_replies_are_read_and_the_connection_kept(server: Server) -> None:
    chat = chat_at(server.url("chunked"))

    async def twice() -> list[str]:
        return [(await chat.reply(ASK, max_tokens=5, temperature=0.0, tag="t")).text for _ in range(2)]

    assert run(chat, twice()) == [TEXT, TEXT]


def test_a_storm_of_faults_ends_with_an_outcome_for_every_call(server: Server) -> None:
    chat = chat_at(
        server.url("mixed"),
        concurrency=16,
        timeout_seconds=0.2,
        patience=Patience(attempts=2, first_pause=0.0, rate_pause=0.0),
    )

    async def one(index: int) -> str:
        try:
            return (await chat.reply(ASK, max_tokens=5, temperature=0.0, seed=index, tag=str(index))).text
        except ChatError as error:
            return error.kind.value

    async def storm() -> list[str]:
        outcomes = await asyncio.gather(*[one(index) for index in range(300)])
        assert len(asyncio.all_tasks()) == 1
        return outcomes

    outcomes = Counter(run(chat, storm()))
    assert outcomes.total() == 300
    assert outcomes[TEXT] > 150
    assert {"timeout", "connection", "bad_response", "model_not_found"} < set(outcomes)


@pytest.mark.parametrize(
    ("mode", "outcome"),
    [
        ("ok", None),
        ("huge", "the reply is too long"),
        ("huge_chunked", "the reply is too long"),
        ("gzip", "unasked content encoding"),
        ("cut", "shop.invalid"),
        ("hang", "no whole reply"),
    ],
)
def test_through_a_proxy_the_same_limits_hold(
    server: Server, mode: str, outcome: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    chat = chat_at(f"http://shop.invalid/{mode}/v1", timeout_seconds=0.5, patience=Patience(attempts=1))
    if outcome is None:
        assert ask(chat).text == TEXT
    else:
        assert outcome in fail(chat).message


def test_no_more_calls_are_in_flight_than_allowed(server: Server) -> None:
    chat = chat_at(server.url("ok~30"), concurrency=3)
    server.most_in_flight = 0

    async def many() -> None:
        await asyncio.gather(*[chat.reply(ASK, max_tokens=5, temperature=0.0, tag=str(i)) for i in range(12)])

    run(chat, many())
    assert server.most_in_flight == 3


@pytest.mark.parametrize("direct", [True, False])
def test_the_key_is_sent_but_never_shown(
    server: Server, direct: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SHOP_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    chat = chat_at(server.url("wrong_key"), api_key_env="SHOP_KEY", direct=direct)
    error = fail(chat)
    assert server.headers[-1]["authorization"] == f"Bearer {KEY}"
    assert error.kind is ChatErrorKind.AUTH
    echo = ask(chat_at(server.url("echo_key"), api_key_env="SHOP_KEY"))
    assert echo.text == "you sent Bearer ***"
    called = ask(chat_at(server.url("echo_key_in_tool_call"), api_key_env="SHOP_KEY"))
    assert called.tool_calls == (
        ToolCall(id="Bearer ***", name="Bearer ***", arguments='{"q": "Bearer ***"}'),
    )
    assert called.finish_reason == "because of Bearer ***"
    garbled = fail(chat_at(server.url("echo_key_in_garbage"), api_key_env="SHOP_KEY", direct=direct))
    assert garbled.kind is ChatErrorKind.BAD_RESPONSE
    assert "***" in garbled.message
    seen = [
        repr(called),
        str(error),
        repr(error),
        str(garbled),
        repr(chat),
        str(vars(chat)),
        *(record.getMessage() for record in caplog.records),
    ]
    assert not [text for text in seen if KEY in text]


def test_a_missing_key_names_its_variable(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOP_KEY", raising=False)
    with pytest.raises(InputError, match=r"llm\.api_key_env=SHOP_KEY: this environment variable is not set"):
        ask(chat_at(server.url("ok"), api_key_env="SHOP_KEY"))


def test_a_key_that_would_break_the_header_is_refused_and_not_shown(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_KEY", "sk-two\r\nlines")
    with pytest.raises(InputError, match="its value is no key") as caught:
        ask(chat_at(server.url("ok"), api_key_env="SHOP_KEY"))
    assert "two" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8080/v1",
        "ftp://x/v1",
        "http://me:password@host/v1",
        "https://host/v1?api-key=password",
        "https://host?api-key=password",
        "https://host/v1#password",
        "",
        "http://127.0.0.1:99999/v1",
        "http://127.0.0.1:http/v1",
        "http://127.0.0.1:0/v1",
        "http://[::1/v1",
        "http://:8080/v1",
    ],
)
def test_an_address_that_is_none_or_holds_a_password_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(InputError, match=r"llm\.base_url is no address") as caught:
        chat_at(url)
    assert "password" not in str(caught.value)


class TestCheck:
    """What is asked at the door, each answered in one line."""

    def test_all_is_well(self, server: Server) -> None:
        chat = chat_at(server.url("ok"), max_tokens_key="max_completion_tokens")
        run(chat, chat.check(tools=True))
        assert server.bodies[-1]["max_completion_tokens"] == 16

    def test_tools_are_asked_for_once(self, server: Server) -> None:
        chat = chat_at(server.url("error_500"))
        before = server.calls["error_500"]
        with pytest.raises(InputError, match=r"takes no native tools .*HTTP 500"):
            run(chat, chat.check(tools=True))
        assert server.calls["error_500"] - before == 1

    @pytest.mark.parametrize(
        ("mode", "settings", "asked", "said"),
        [
            (
                "ok",
                {"model": "mdoel"},
                {},
                "llm.model=mdoel is not served at .*; served: right-model, other-model",
            ),
            ("ok", {"context_tokens": 8192}, {}, "llm.context_tokens=8192 is more than the 4096 that"),
            ("wrong_key", {}, {}, "refuses the key"),
            ("loading", {}, {}, r"is not ready \(HTTP 503: Loading model; unavailable_error\); .* try again"),
            ("rate_limited", {}, {}, r"is not ready \(HTTP 429: slow down\); .* try again"),
            ("no_tools", {}, {"tools": True}, "takes no native tools .*does not support tools"),
            ("ok", {}, {"choices": True}, "choices cannot be ranked with llm.rank_by=None"),
        ],
    )
    def test_what_will_not_work_is_said(
        self, server: Server, mode: str, settings: dict[str, Any], asked: dict[str, bool], said: str
    ) -> None:
        chat = chat_at(server.url(mode), **settings)
        with pytest.raises(InputError, match=said) as caught:
            run(chat, chat.check(**asked))
        assert "\n" not in str(caught.value)

    def test_nobody_at_the_address(self) -> None:
        chat = chat_at("http://127.0.0.1:9/v1")
        with pytest.raises(
            InputError, match=r"llm.base_url=http://127.0.0.1:9/v1 does not answer .*serve_llm"
        ):
            run(chat, chat.check())


def test_choices_without_a_way_to_rank_are_refused(server: Server) -> None:
    error = fail(chat_at(server.url("ok")), choices=["a", "b"])
    assert error.kind is ChatErrorKind.NO_CHOICES
    assert error.kind.fatal


@pytest.fixture(scope="module")
def quick_server() -> Iterator[str]:
    """Address of a server with a process of its own, which answers in 50 ms."""
    program = Path(bad_server.__file__)
    with subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/ok~50/v1"
        process.kill()


def test_a_call_costs_little_enough_for_sixty_four_at_once(quick_server: str) -> None:
    """64 calls every 50 ms leave 0.78 ms of CPU for each; half of it stays free for agent and environment."""
    assert min(_measure(quick_server).cpu_ms for _ in range(3)) < 0.6


def test_the_quick_way_takes_less_than_half_of_the_sdks_time(quick_server: str) -> None:
    """A ratio of CPU times from one run: about a tenth; docs/performance.md."""
    quick = min(_measure(quick_server, calls=320).cpu_ms for _ in range(2))
    assert quick < 0.5 * _measure(quick_server, calls=320, direct=False).cpu_ms


@pytest.mark.slow
def test_sixty_four_calls_at_once_reach_nine_tenths_of_the_ideal_rate(quick_server: str) -> None:
    """Wall time, so it needs a core of its own for the server; the best of six counts."""
    assert max(_measure(quick_server).rate for _ in range(6)) >= 0.9


@dataclass(frozen=True)
class Measured:
    rate: float
    """Calls a second over the ideal 64 / 50 ms."""
    cpu_ms: float
    """CPU time of this process for each call."""


def _measure(url: str, calls: int = 1280, direct: bool = True) -> Measured:
    chat = chat_at(url, concurrency=64, timeout_seconds=10, direct=direct)

    async def caller(count: int) -> None:
        for index in range(count):
            await chat.reply(ASK, max_tokens=50, temperature=0.0, tag=f"agent/{index}")

    async def measured() -> Measured:
        await asyncio.gather(*[caller(2) for _ in range(64)])  # connect first
        started, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*[caller(calls // 64) for _ in range(64)])
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        return Measured(calls / seconds / (64 / 0.05), cpu / calls * 1000)

    return run(chat, measured())

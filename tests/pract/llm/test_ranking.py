"""Ranking of given texts over a stand-in for each server, with log-probabilities from a table. No model."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import pytest

from pract.llm.base import ChatError, ChatErrorKind
from pract.llm.openai import OpenAIChat
from pract.llm.retry import Patience
from pract.types import Message, Reply
from tests.pract.llm import bad_server
from tests.pract.llm.bad_server import MODEL, Server

ASK = (Message(role="user", content="Where to?"),)
LOGPROBS = {"go": -1.0, "north": -2.0, "south": -0.5, "stay": -1.4}


@pytest.fixture
def server() -> Iterator[Server]:
    with bad_server.running() as running:
        yield running


def choose(server: Server, rank_by: str, choices: list[str]) -> Reply:
    chat = OpenAIChat(
        base_url=server.url("ok"),
        model=MODEL,
        rank_by=rank_by,
        patience=Patience(attempts=2, first_pause=0.0, rate_pause=0.0),
    )

    async def once() -> Reply:
        try:
            return await chat.reply(ASK, max_tokens=9, temperature=0.0, choices=choices, tag="agent/e/0")
        finally:
            await chat.close()

    return asyncio.run(once())


def as_llama_cpp(server: Server) -> None:
    """Forces the tokens of the grammar. A word is a token; its id is its place in the table, from 100 on."""
    words = list(LOGPROBS)

    def completion(request: dict[str, Any]) -> dict[str, Any]:
        assert request["prompt"] == "<Where to?>"
        ids = [
            int(number) for number in re.findall(r"<\[(\d+)\]>", request["grammar"].removeprefix("root ::= "))
        ]
        assert request["n_predict"] == len(ids)
        return {
            "completion_probabilities": [{"id": i, "logprob": LOGPROBS[words[i - 100]]} for i in ids],
            "tokens_evaluated": 44,
            "timings": {"prompt_n": 14},
        }

    server.routes["apply-template"] = lambda request: {"prompt": f"<{request['messages'][0]['content']}>"}
    server.routes["tokenize"] = lambda request: {
        "tokens": [100 + words.index(w) for w in request["content"].split(" ")]
    }
    server.routes["completion"] = completion


def as_vllm(server: Server) -> None:
    """Scores whole prompts; token ids are places in the table, from 100 on; the prompt is three tokens."""
    words = list(LOGPROBS)

    def tokenize(request: dict[str, Any]) -> dict[str, Any]:
        text = request.get("prompt")
        return {
            "tokens": [7, 8, 9] if text is None else [100 + words.index(word) for word in text.split(" ")]
        }

    def completions(request: dict[str, Any]) -> dict[str, Any]:
        choices: list[dict[str, Any]] = []
        for index, ids in enumerate(request["prompt"]):
            rows: list[Any] = [None, *[{str(i): {"logprob": -0.01}} for i in ids[1:3]]]
            rows += [{str(i): {"logprob": LOGPROBS[words[i - 100]]}, "1": {"logprob": -0.2}} for i in ids[3:]]
            choices.insert(0, {"index": index, "text": "", "prompt_logprobs": rows})
        return {"choices": choices}

    server.routes["tokenize"] = tokenize
    server.routes["v1/completions"] = completions


@pytest.mark.parametrize(("rank_by", "cached"), [("llama_cpp", 30), ("vllm", None)])
def test_the_likeliest_text_by_token_is_chosen(server: Server, rank_by: str, cached: int | None) -> None:
    (as_llama_cpp if rank_by == "llama_cpp" else as_vllm)(server)
    # means: -1.5, -0.75, -1.4; by sums the one-word text would win
    reply = choose(server, rank_by, ["go north", "go south", "stay"])
    assert reply.text == "go south"
    assert (reply.completion_tokens, reply.cached_tokens) == (5, cached)
    assert reply.prompt_tokens == (44 if rank_by == "llama_cpp" else 3)


def test_the_first_of_equals_is_chosen(server: Server) -> None:
    as_llama_cpp(server)
    assert choose(server, "llama_cpp", ["stay", "stay"]).text == "stay"


@pytest.mark.parametrize("choices", [[], ["go", ""]])
def test_nothing_to_choose_from_is_an_error(server: Server, choices: list[str]) -> None:
    with pytest.raises(ChatError) as caught:
        choose(server, "llama_cpp", choices)
    assert caught.value.kind is ChatErrorKind.NO_CHOICES


@pytest.mark.parametrize(
    "answer",
    [
        {"content": "stay"},
        {"completion_probabilities": [], "tokens_evaluated": 1},
        {"completion_probabilities": [{"id": 101, "logprob": -1.0}], "tokens_evaluated": 1},
        {"completion_probabilities": [{"id": 103, "logprob": None}], "tokens_evaluated": 1},
        {"completion_probabilities": [{"id": 103, "logprob": -1.0}]},
    ],
)
def test_an_answer_without_the_log_probabilities_is_a_bad_response(
    server: Server, answer: dict[str, Any]
) -> None:
    as_llama_cpp(server)
    server.routes["completion"] = lambda _: answer
    with pytest.raises(ChatError) as caught:
        choose(server, "llama_cpp", ["stay"])
    assert caught.value.kind is ChatErrorKind.BAD_RESPONSE

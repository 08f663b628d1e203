"""Which of some given texts a served model finds most likely as its reply: mean log-probability per token.

A chat endpoint tells the likelihood of what it wrote, not of a given text. Two servers can be asked anyway:

- llama.cpp: a grammar that admits one sequence of tokens alone forces it, and each forced token comes back
  with its log-probability under the whole vocabulary (measured before the grammar). One `/completion` a text;
  all but the first find the prompt in the slot's cache. The grammar must name tokens, not letters: given
  letters, the server picks whatever token is likeliest at each place, and scores `l|oo|k` instead of `look`.
- vLLM: `prompt_logprobs` of prompt and text together, all texts in one `/v1/completions`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pract.llm import wire
from pract.llm.base import ChatError, ChatErrorKind
from pract.llm.session import Session
from pract.types import Message

METHODS = ("llama_cpp", "vllm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Mean log-probabilities of some texts, and the tokens it took."""

    means: tuple[float, ...]
    """Mean over each text's tokens, in nats, in the order of the texts; the end of the turn not counted."""
    prompt_tokens: int
    """Of the prompt, counted once."""
    cached_tokens: int | None
    """None: the server did not tell."""
    choice_tokens: int
    """Of all texts together."""

    @property
    def best(self) -> int:
        """Index of the likeliest text; the first of equals."""
        return max(range(len(self.means)), key=self.means.__getitem__)


async def rank(
    session: Session,
    method: str | None,
    model: str,
    messages: Sequence[Message],
    choices: Sequence[str],
    *,
    tag: str,
) -> Scored:
    """Score every choice as a reply to the messages. Raises ChatError, of kind `no_choices` without a method."""
    if method is None:
        raise ChatError(
            ChatErrorKind.NO_CHOICES,
            f"{session.base_url} cannot rank given texts; use llm=llama_cpp, llm=vllm or llm=local, "
            "or an agent without choices",
        )
    if not choices or not all(choices):
        raise ChatError(
            ChatErrorKind.NO_CHOICES, "there is nothing to choose from, or an empty text among the choices"
        )
    one_by_one = _by_llama_cpp if method == "llama_cpp" else _by_vllm
    return await one_by_one(session, model, messages, choices, tag)


def _root(session: Session) -> str:
    return session.base_url.removesuffix("/v1")


async def _by_llama_cpp(
    session: Session, model: str, messages: Sequence[Message], choices: Sequence[str], tag: str
) -> Scored:
    root = _root(session)
    conversation = {"model": model, "messages": wire.messages_json(messages)}
    prompt = await session.post(
        f"{root}/apply-template", conversation, lambda d: _expect(d, "prompt", str), tag=tag
    )
    means, written, read = [], 0, 0
    cached: int | None = None
    for index, choice in enumerate(choices):
        bare = {"content": choice, "add_special": False, "parse_special": False}
        tokens = await session.post(f"{root}/tokenize", bare, lambda d: _expect(d, "tokens", list), tag=tag)
        body = {
            "model": model,
            "prompt": prompt,
            "grammar": "root ::= " + " ".join(f"<[{token}]>" for token in tokens),
            "n_predict": len(tokens),
            "temperature": 0.0,
            "n_probs": 1,
            "cache_prompt": True,
        }
        answer = await session.post(f"{root}/completion", body, dict, tag=tag)
        means.append(_forced(answer, tokens))
        written += len(tokens)
        if index == 0:
            read, cached = _prompt_tokens(answer)
    return Scored(means=tuple(means), prompt_tokens=read, cached_tokens=cached, choice_tokens=written)


def _forced(answer: wire.Json, tokens: list[int]) -> float:
    """Mean log-probability of the tokens that the grammar forced."""
    spoken = [entry for entry in _expect(answer, "completion_probabilities", list) if isinstance(entry, dict)]
    if [entry.get("id") for entry in spoken] != tokens:
        raise ChatError(
            ChatErrorKind.BAD_RESPONSE, f"the grammar did not force the choice: {wire.excerpt(answer)}"
        )
    return _mean([entry.get("logprob") for entry in spoken])


def _prompt_tokens(answer: wire.Json) -> tuple[int, int | None]:
    """Tokens of the prompt, and how many of them were cached."""
    total, timings = _expect(answer, "tokens_evaluated", int), answer.get("timings")
    fresh = timings.get("prompt_n") if isinstance(timings, dict) else None
    return total, None if fresh is None else max(0, total - fresh)


async def _by_vllm(
    session: Session, model: str, messages: Sequence[Message], choices: Sequence[str], tag: str
) -> Scored:
    async def tokens_of(body: wire.Json) -> list[int]:
        url = f"{_root(session)}/tokenize"
        return await session.post(url, {"model": model} | body, lambda d: _expect(d, "tokens", list), tag=tag)

    prompt = await tokens_of({"messages": wire.messages_json(messages), "add_generation_prompt": True})
    texts = [await tokens_of({"prompt": choice, "add_special_tokens": False}) for choice in choices]
    body = {
        "model": model,
        "prompt": [prompt + text for text in texts],
        "max_tokens": 1,
        "temperature": 0.0,
        "prompt_logprobs": 0,
    }
    means = await session.post("/completions", body, lambda data: _prompt_means(data, prompt, texts), tag=tag)
    return Scored(
        means=tuple(means),
        prompt_tokens=len(prompt),
        cached_tokens=None,
        choice_tokens=sum(len(text) for text in texts),
    )


def _prompt_means(data: wire.Json, prompt: list[int], texts: list[list[int]]) -> list[float]:
    found = {entry.get("index"): entry for entry in _expect(data, "choices", list) if isinstance(entry, dict)}
    means = []
    for index, text in enumerate(texts):
        positions = _expect(found.get(index, {}), "prompt_logprobs", list)[len(prompt) :]
        if len(positions) != len(text):
            raise ChatError(
                ChatErrorKind.BAD_RESPONSE, f"prompt_logprobs of choice {index} have the wrong length"
            )
        logprobs = []
        for token, alternatives in zip(text, positions, strict=True):
            entry = alternatives.get(str(token)) if isinstance(alternatives, dict) else None
            logprobs.append(entry.get("logprob") if isinstance(entry, dict) else None)
        means.append(_mean(logprobs))
    return means


def _mean(logprobs: list[Any]) -> float:
    values = [value for value in logprobs if isinstance(value, float | int) and not math.isnan(value)]
    if not values or len(values) != len(logprobs):
        raise ChatError(
            ChatErrorKind.BAD_RESPONSE, f"log-probabilities are missing: {wire.excerpt(logprobs)}"
        )
    return sum(values) / len(values)


def _expect(data: wire.Json, key: str, kind: type) -> Any:
    value = data.get(key)
    if not isinstance(value, kind):
        raise ChatError(
            ChatErrorKind.BAD_RESPONSE, f"no {key} of type {kind.__name__} in: {wire.excerpt(data)}"
        )
    return value

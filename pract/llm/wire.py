"""Our messages to the JSON of OpenAI-compatible servers, and their answers back. Pure functions.

What a server sends is never trusted: every oddity becomes a ChatError of a named kind.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pract.llm.base import ChatError, ChatErrorKind, estimate_tokens
from pract.types import ActionSpec, Message, Reply, ToolCall, sum_told

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """A price list, in US dollars per million tokens."""

    prompt: float = 0.0
    cached: float | None = None
    """For prompt tokens read from the server's prefix cache; None: as other prompt tokens."""
    completion: float = 0.0
    model: str | None = None
    """Whose prices they are; None: those of whatever model is asked."""

    def of(self, model: str) -> "Prices":
        """The list for a model: nothing where it is another one's."""
        return self if self.model in (None, model) else Prices()

    def usd(self, prompt_tokens: int, cached_tokens: int | None, completion_tokens: int) -> float:
        """Price of one call; `cached_tokens` are part of `prompt_tokens`, and taken for none where not told."""
        price, cached = self.prompt if self.cached is None else self.cached, cached_tokens or 0
        fresh = prompt_tokens - cached
        return (fresh * self.prompt + cached * price + completion_tokens * self.completion) / 1e6


def messages_json(messages: Sequence[Message]) -> list[Json]:
    """The conversation as the chat-completions endpoint takes it."""
    return [_message_json(message) for message in messages]


def _message_json(message: Message) -> Json:
    data: Json = {"role": message.role, "content": message.content}
    if message.tool_calls:
        data["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        data["tool_call_id"] = message.tool_call_id
    return data


def tools_json(tools: Sequence[ActionSpec]) -> list[Json]:
    """Actions as native tools."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(tool.parameters),
            },
        }
        for tool in tools
    ]


def decode_json(body: bytes) -> Json:
    """The object in a reply's body. Raises ChatError (`bad_response`) for anything else."""
    if not body.strip():
        raise ChatError(ChatErrorKind.BAD_RESPONSE, "the reply is empty")
    try:
        data = json.loads(
            body.decode("utf-8")
        )  # orjson is quicker, and makes floats of whole numbers beyond 64 bits
    except UnicodeDecodeError as error:
        raise ChatError(
            ChatErrorKind.BAD_RESPONSE, f"the reply is not UTF-8 (byte {error.start} of {len(body)})"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ChatError(
            ChatErrorKind.BAD_RESPONSE, f"the reply is not JSON ({type(error).__name__}): {excerpt(body)}"
        ) from None
    if not isinstance(data, dict):
        raise ChatError(ChatErrorKind.BAD_RESPONSE, f"the reply is not a JSON object: {excerpt(body)}")
    return data


def prompt_tokens_of(prompt: Sequence[Message], tools: Sequence[ActionSpec]) -> int:
    """An estimate on the high side, for servers that tell no usage: turns, the calls in them, and the tools offered."""
    turns = sum(4 + estimate_tokens(turn.content) + _call_tokens(turn.tool_calls) for turn in prompt)
    return turns + (estimate_tokens(json.dumps(tools_json(tools))) if tools else 0)


def _call_tokens(calls: Sequence[ToolCall]) -> int:
    return sum(estimate_tokens(call.name) + estimate_tokens(call.arguments) + 8 for call in calls)


def read_reply(
    data: Json,
    *,
    prompt: Sequence[Message],
    tools: Sequence[ActionSpec] = (),
    prices: Prices,
    model: str,
    seconds: float,
) -> Reply:
    """The Reply in a chat-completions answer.

    Where the server tells no usage, tokens are estimated on the high side, so that a budget holds. Reasoning is no
    part of the reply's text, but of what was written and is paid for.
    """
    choices = data.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict) or not isinstance(choice, dict):
        raise ChatError(ChatErrorKind.BAD_RESPONSE, f"the reply has no choices[0].message: {excerpt(data)}")
    written, calls = mend(_text(message.get("content"))), _tool_calls(message.get("tool_calls"))
    prompt_tokens, completion_tokens, cached_tokens = _usage(data.get("usage"))
    if not prompt_tokens:
        prompt_tokens = prompt_tokens_of(prompt, tools)
    if not completion_tokens:
        completion_tokens = estimate_tokens(written + _reasoning(message)) + _call_tokens(calls)
    finish = choice.get("finish_reason")
    return Reply(
        text=without_thinking(written),
        tool_calls=calls,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        cached_tokens=cached_tokens,
        usd=prices.usd(prompt_tokens, cached_tokens, completion_tokens),
        seconds=seconds,
        model=model,
        finish_reason=mend(finish) if isinstance(finish, str) else "stop",
    )


def _text(content: Any) -> str:
    """The content, which may come in parts; those that are no text, such as reasoning, are left out."""
    if content is None or isinstance(content, str):
        return content or ""
    found = []
    for part in content if isinstance(content, list) else [content]:
        text = part.get("text") if isinstance(part, dict) else part
        if isinstance(part, dict) and part.get("type", "text") not in ("text", "output_text"):
            continue
        if not isinstance(text, str) or not isinstance(content, list):
            raise ChatError(
                ChatErrorKind.BAD_RESPONSE, f"the reply's content is not text: {excerpt(content)}"
            )
        found.append(text)
    return "".join(found)


def _reasoning(message: Json) -> str:
    """What the model wrote beside its answer, under the names that servers give it."""
    found = message.get("reasoning_content") or message.get("reasoning")
    return mend(found) if isinstance(found, str) else ""


def cost_of(answers: Sequence[Json], prices: Prices) -> Reply:
    """What answers cost by their own account, whether they are of use or not; a reply without text."""
    prompt = written = 0
    cached: int | None = None
    for answer in answers:
        usage = _usage(answer.get("usage"))
        prompt, written, cached = prompt + usage[0], written + usage[1], sum_told(cached, usage[2])
    usd = prices.usd(prompt, cached, written)
    return Reply(text="", prompt_tokens=prompt, completion_tokens=written, cached_tokens=cached, usd=usd)


def _tool_calls(found: Any) -> tuple[ToolCall, ...]:
    if found is None:
        return ()
    if not isinstance(found, list):
        raise ChatError(ChatErrorKind.BAD_RESPONSE, f"the reply's tool_calls are no list: {excerpt(found)}")
    calls = []
    for index, entry in enumerate(found):
        function = entry.get("function") if isinstance(entry, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise ChatError(
                ChatErrorKind.BAD_RESPONSE, f"the reply has a tool call without a name: {excerpt(entry)}"
            )
        arguments = function.get("arguments")
        if not isinstance(arguments, str):  # some servers send the object itself
            arguments = json.dumps(arguments or {})
        name = entry.get("id")
        calls.append(
            ToolCall(
                id=mend(name) if isinstance(name, str) and name else f"call_{index}",
                name=mend(function["name"]),
                arguments=mend(arguments),
            )
        )
    return tuple(calls)


def _usage(found: Any) -> tuple[int, int, int | None]:
    """Prompt, completion and cached tokens; zero where the server is silent or talks nonsense, of cached ones None."""
    usage = found if isinstance(found, dict) else {}
    details = usage.get("prompt_tokens_details")
    details = details if isinstance(details, dict) else {}
    prompt, cached = _count(usage.get("prompt_tokens")) or 0, _count(details.get("cached_tokens"))
    completion = _count(usage.get("completion_tokens")) or 0
    if prompt:  # some servers count reasoning in the total alone
        completion = max(completion, (_count(usage.get("total_tokens")) or 0) - prompt)
    return prompt, completion, None if cached is None else min(prompt, cached)


def _count(value: Any) -> int | None:
    plausible = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40
    return value if plausible else None


def without_thinking(text: str) -> str:
    """The text without the `<think>...</think>` it begins with: what a model tries out while it reasons is no answer.

    A template that writes `<think>` itself leaves only the end of it in the reply. Reasoning that was cut off before
    its end leaves nothing.
    """
    thought, end, answer = text.partition("</think>")
    if text.lstrip().startswith("<think>") or (end and "<think>" not in thought):
        return answer.lstrip()
    return text


def cut_at_stop(text: str, stop: Sequence[str]) -> str:
    """The text before the first stop; servers differ in how many they heed and whether they keep one."""
    ends = [position for word in stop if word and (position := text.find(word)) >= 0]
    return text[: min(ends)] if ends else text


def mend(text: str) -> str:
    """The text with lone surrogates replaced: JSON can carry them, but no file can."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def excerpt(value: Any, length: int = 160) -> str:
    """One line of whatever a server sent, for an error message."""
    if isinstance(value, bytes):
        text = value[: 4 * length].decode("utf-8", "replace")
    else:
        text = value if isinstance(value, str) else repr(value)
    line = " ".join("".join(c if c.isprintable() else " " for c in mend(text[: 4 * length])).split())
    return line if len(line) <= length else line[: length - 1] + "…"


_CONTEXT = re.compile(
    r"context.{0,40}(length|size|window|limit|exceed)|exceed.{0,40}context|too many tokens", re.I
)
_OFFERED = r"\b(tools?|function.?call\w*|tool.choice)\b"
_REFUSED = r"(not support|unsupported|unrecogni[sz]ed|not permitted|not available|requires --)"
_TOOLS = re.compile(f"{_OFFERED}.{{0,60}}{_REFUSED}|{_REFUSED}.{{0,60}}{_OFFERED}", re.I | re.S)
"""A server or model that takes no tools at all; one that could not read what its model called says it otherwise."""
_MODEL = re.compile(
    r"model.{0,120}(not found|does not exist|not exist|unknown|invalid|not supported)", re.I | re.S
)
_QUOTA = re.compile(r"insufficient_quota|billing|exceeded your current quota", re.I)
_SOON = re.compile(r"(retry|again) in \d|per.?minute", re.I)
"""Google words a limit of calls a minute as a quota that was used up."""
_SPAN = r"(\d+(?:\.\d+)?)\s*(ms|h(?:ours?)?|m(?:in(?:ute)?s?)?|s(?:ec(?:ond)?s?)?)(?![a-z])"
_WAIT = re.compile(rf"(?:retry|again) in ((?:{_SPAN}\s*)+)", re.I)
_SECONDS = {"ms": 0.001, "h": 3600.0, "m": 60.0, "s": 1.0}
_MODERATED = re.compile(r"moderat|flagged|content.{0,2}(filter|policy|management)|responsible.?ai", re.I)


def classify(status: int, body: bytes, *, tools_offered: bool) -> tuple[ChatErrorKind, str]:
    """Kind and message of an HTTP status other than 200."""
    said = _error_text(body)
    shown = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    if status in (400, 403) and _MODERATED.search(said):
        return ChatErrorKind.MODERATED, shown
    if status in (401, 403, 407):
        return ChatErrorKind.AUTH, shown
    if status == 402 or (
        status == 429 and _QUOTA.search(said) and not _SOON.search(body.decode("utf-8", "replace"))
    ):
        return ChatErrorKind.AUTH, f"{shown} (no credit left)"
    if status == 429:
        return ChatErrorKind.RATE_LIMITED, shown
    if status == 413 or (status < 500 and _CONTEXT.search(said)):
        return ChatErrorKind.CONTEXT_LENGTH, shown
    if tools_offered and _TOOLS.search(said):  # llama.cpp says so with a 500
        return ChatErrorKind.NO_TOOLS, shown
    if status in (408, 504):
        return ChatErrorKind.TIMEOUT, shown
    if status >= 500 or status in (409, 425):
        return ChatErrorKind.SERVER, shown
    if status in (404, 405) or _MODEL.search(said):
        return ChatErrorKind.MODEL_NOT_FOUND, shown
    return ChatErrorKind.BAD_RESPONSE, shown


def told_wait(body: bytes) -> float | None:
    """Seconds after which an error's text says that the call may be made again."""
    found = _WAIT.search(body.decode("utf-8", "replace"))
    if found is None:
        return None
    spans = re.findall(_SPAN, found[1].lower())
    return sum(float(count) * _SECONDS[unit if unit == "ms" else unit[0]] for count, unit in spans)


def _error_text(body: bytes) -> str:
    """What the server says went wrong: OpenAI's {"error": {"message", "code"}}, others' {"detail"}, or text."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return excerpt(body)
    if isinstance(data, list) and len(data) == 1:  # Google's
        data = data[0]
    error = data.get("error", data) if isinstance(data, dict) else data
    if not isinstance(error, dict):
        return excerpt(error)
    parts = [error.get(key) for key in ("message", "detail", "type", "code")]
    return excerpt("; ".join(str(part) for part in parts if part), 300)

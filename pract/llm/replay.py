"""Record what a chat model says, and replay it: free, deterministic, without a network.

The file has one JSON line for the model and then one for each call. A call is found by its *prompt* (messages,
tools, choices and settings, exactly) and among equal prompts by its tag; without one of that tag, the n-th
time a prompt is asked gets the n-th answer recorded for it. A prompt that was never recorded fails, and says
where it departs from the nearest one. Recordings may be packed: `.xz` and `.gz` are read as they are.
"""

import gzip
import hashlib
import json
import lzma
import os
from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import IO, Any

from pract.errors import InputError
from pract.llm.base import Chat, ChatError, ChatErrorKind, HasCheck, estimate_tokens
from pract.records import from_json, to_json
from pract.types import ActionSpec, Message, Reply

FORMAT = "pract-chat-recording/1"
MODES = ("replay", "record")


class UnseenPrompt(InputError):
    """A prompt that is not in the recording: prompts, settings or an environment have changed since."""


class ReplayChat:
    """Record and replay around another chat, or replay alone. Satisfies `Chat` and `HasCheck`.

    Mode `replay` never asks the chat behind it (which may be None). Mode `record` answers from the file what is
    there under the same tag, so that a stopped run goes on where it was, and asks and writes the rest. Tokens
    are counted by the estimate in both modes, or the same prompts would not arise again.
    """

    def __init__(self, path: str, *, mode: str = "replay", inner: Chat | None = None) -> None:
        if mode not in MODES:
            raise InputError(f"llm.mode={mode!r} is unknown; use {' or '.join(MODES)}")
        if mode == "record" and inner is None:
            raise InputError("llm.mode=record needs a chat model to record: set llm.inner")
        self._path = Path(path)
        self._inner = inner
        self._recording = mode == "record"
        if self._recording and self._path.suffix in (".xz", ".gz"):
            raise InputError(
                f"llm.path={path}: a packed recording can be replayed only; record into a .jsonl file"
            )
        self._entries: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._asked: dict[tuple[str, str | None], int] = defaultdict(int)
        self._out: IO[str] | None = None
        header = self._read()
        self.model: str = header["model"]
        self.context_tokens: int = header["context_tokens"]
        self.replaying = not self._recording
        """Whether replies come from the file alone, and with them what they cost when they were recorded."""
        self.prices: Any = getattr(inner, "prices", None) if self._recording else None
        """The price list of the chat that is recorded, if it has one."""
        self.concurrency: int | None = getattr(inner, "concurrency", None) if self._recording else None

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
        """The recorded answer, error included. Raises UnseenPrompt if there is none and none is asked for."""
        prompt = {
            "messages": to_json(list(messages)),
            "max_tokens": max_tokens,
            "temperature": float(temperature),
            "stop": list(stop),
            "tools": to_json(list(tools or ())),
            "choices": None if choices is None else list(choices),
            "seed": seed,
        }
        key = _key(prompt)
        entry = self._find(key, tag)
        if entry is not None:
            return _answer(entry)
        if not self._recording or self._inner is None:
            raise UnseenPrompt(f"{tag}: {self._path}: {self._departure(prompt, key)}")
        try:
            reply = await self._inner.reply(
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
            if not error.kind.fatal:  # a wrong key is no answer
                self._write(key, {"prompt": prompt, "tag": tag, "error": [error.kind.value, error.message]})
            raise
        self._write(key, {"prompt": prompt, "tag": tag, "reply": to_json(reply)})
        return reply

    def count_tokens(self, text: str) -> int:
        """The estimate, whatever the chat behind it could do."""
        return estimate_tokens(text)

    async def check(self, *, tools: bool = False, choices: bool = False) -> None:
        """When recording, what the chat behind it says at the door."""
        if self._recording and isinstance(self._inner, HasCheck):
            await self._inner.check(tools=tools, choices=choices)

    async def close(self) -> None:
        """Close the file and the chat behind it."""
        if self._out is not None:
            self._out.close()
            self._out = None
        if self._inner is not None:
            await self._inner.close()

    def _find(self, key: str, tag: str) -> dict[str, Any] | None:
        same_prompt = self._entries.get(key, [])
        same_tag = [entry for entry in same_prompt if entry["tag"] == tag]
        if self._recording:  # the last one; an error is worth asking again
            return next((entry for entry in reversed(same_tag) if "reply" in entry), None)
        count = self._asked[key, tag if same_tag else None]
        self._asked[key, tag if same_tag else None] += 1
        # An error that was asked again and answered, as after an outage, is no longer what the run rests on.
        same_tag = [entry for entry in same_tag if "reply" in entry] or same_tag
        if same_tag:
            return same_tag[min(count, len(same_tag) - 1)]
        return same_prompt[count] if count < len(same_prompt) else None

    def _read(self) -> dict[str, Any]:
        """The header; fills the entries. A last line cut short by a crash is cut off when recording goes on."""
        if not self._path.exists():
            if self._inner is None or not self._recording:
                raise InputError(f"llm.path={self._path}: no such recording; make one with llm.mode=record")
            return self._begin(self._inner)
        opener: Any = {".xz": lzma.open, ".gz": gzip.open}.get(self._path.suffix, open)
        with opener(self._path, "rb") as file:
            try:
                lines = file.read().splitlines(keepends=True)
            except (OSError, EOFError, lzma.LZMAError):
                raise InputError(
                    f"{self._path} is damaged or no packed file; fetch or record it anew"
                ) from None
        if self._recording and lines and not lines[-1].endswith(b"\n"):
            os.truncate(self._path, sum(len(line) for line in lines[:-1]))
            lines.pop()
        if self._recording and not lines and self._inner is not None:
            return self._begin(self._inner)
        header: dict[str, Any] = {}
        for number, line in enumerate(lines, 1):
            data = _parse(
                line, f"{self._path}, line {number}", keys=("format",) if number == 1 else ("prompt", "tag")
            )
            if number == 1:
                header = data
            else:
                self._entries[_key(data["prompt"])].append(data)
        if header.get("format") != FORMAT:
            raise InputError(f"{self._path}, line 1: not a recording of format {FORMAT}; record it anew")
        if self._recording and self._inner is not None and header["model"] != self._inner.model:
            raise InputError(
                f"{self._path} is a recording of {header['model']}, not of {self._inner.model}; name another file"
            )
        return header

    def _begin(self, inner: Chat) -> dict[str, Any]:
        header = {
            "format": FORMAT,
            "model": inner.model,
            "context_tokens": inner.context_tokens,
            "note": f"a recording of what {inner.model} replied, made on {date.today()}; replayed, no model is asked",
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(header) + "\n", encoding="utf-8")
        return header

    def _write(self, key: str, entry: dict[str, Any]) -> None:
        if self._out is None:
            self._out = self._path.open("a", encoding="utf-8")
        self._out.write(json.dumps(entry) + "\n")
        self._out.flush()
        self._entries[key].append(entry)

    def _departure(self, prompt: dict[str, Any], key: str) -> str:
        """In one line, what is new about a prompt."""
        recorded = self._entries.get(key)
        if recorded:
            return f"this prompt was recorded {len(recorded)} times and is now asked once more"
        total = sum(len(entries) for entries in self._entries.values())
        if not total:
            return "unseen prompt; the recording is empty"
        asked = _flat(prompt)
        nearest = max(
            (entries[0]["prompt"] for entries in self._entries.values()),
            key=lambda other: _shared(asked, _flat(other)),
        )
        return f"unseen prompt ({total} recorded); nearest differs in {_first_difference(nearest, prompt)}"


def _key(prompt: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(prompt, sort_keys=True).encode()).hexdigest()


def _flat(prompt: dict[str, Any]) -> str:
    return "\n".join(f"{turn['role']}\n{turn['content']}" for turn in prompt["messages"])


def _answer(entry: dict[str, Any]) -> Reply:
    if "error" in entry:
        kind, message = entry["error"]
        raise ChatError(ChatErrorKind(kind), message)
    return from_json(Reply, entry["reply"])


def _parse(line: bytes, place: str, keys: tuple[str, ...]) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except ValueError:
        raise InputError(f"{place}: not JSON; the recording is damaged, record it anew") from None
    if not isinstance(data, dict) or any(key not in data for key in keys):
        raise InputError(f"{place}: no {' and '.join(keys)}; the recording is damaged, record it anew")
    return data


def _first_difference(recorded: dict[str, Any], asked: dict[str, Any]) -> str:
    for index, (old, new) in enumerate(zip(recorded["messages"], asked["messages"], strict=False)):
        if old == new:
            continue
        where = f"message {index} ({new['role']})"
        if old["role"] != new["role"] or old["content"] == new["content"]:
            return f"{where}: role or tool calls"
        at = _shared(old["content"], new["content"])
        start = max(0, at - 20)
        before, after = old["content"][start : at + 40], new["content"][start : at + 40]
        return f"{where}, character {at}: recorded {before!r}, asked {after!r}"
    if len(recorded["messages"]) != len(asked["messages"]):
        return f"the number of messages: recorded {len(recorded['messages'])}, asked {len(asked['messages'])}"
    names = [name for name in asked if asked[name] != recorded.get(name)]
    return "; ".join(
        f"{name}: recorded {recorded.get(name)!r:.60}, asked {asked[name]!r:.60}" for name in names
    )


def _shared(one: str, other: str) -> int:
    """How many characters two texts have in common at their beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low

"""Recording and replaying a scripted chat. No model, no network."""

import asyncio
import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from pract.errors import InputError
from pract.llm.base import ChatError, ChatErrorKind
from pract.llm.replay import ReplayChat, UnseenPrompt
from pract.llm.scripted import ScriptedChat
from pract.types import Message, Reply, ToolCall


def ask(chat: ReplayChat, text: str, tag: str = "agent/e/0", **settings: Any) -> Reply:
    asked = {"max_tokens": 9, "temperature": 0.0, "tag": tag} | settings
    turns = (Message(role="system", content="You shop."), Message(role="user", content=text))
    return asyncio.run(chat.reply(turns, **asked))


def close(chat: ReplayChat) -> None:
    asyncio.run(chat.close())


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "calls" / "agent.jsonl")


def record(path: str, *answers: str | Reply | ChatError) -> ReplayChat:
    return ReplayChat(path, mode="record", inner=ScriptedChat(answers, model="qwen", context_tokens=2048))


def test_what_was_recorded_is_replayed_to_the_letter(path: str) -> None:
    first = Reply(
        text="Ü\ud7ff",
        tool_calls=(ToolCall(id="1", name="f", arguments="{}"),),
        usd=0.1,
        seconds=2.5,
        model="q",
    )
    recording = record(path, first, "second")
    assert ask(recording, "one") == first
    second = ask(recording, "two", tag="agent/e/1")
    close(recording)
    replay = ReplayChat(path)
    assert (replay.model, replay.context_tokens) == ("qwen", 2048)
    header = json.loads(Path(path).read_text().splitlines()[0])
    assert header["note"].startswith("a recording of what qwen replied, made on 2")
    assert ask(replay, "two", tag="agent/e/1") == second
    assert ask(replay, "one") == first


def test_equal_prompts_are_told_apart_by_tag_and_without_it_by_their_order(path: str) -> None:
    recording = record(path, "a", "b")
    ask(recording, "same", tag="t/1")
    ask(recording, "same", tag="t/2")
    close(recording)
    replay = ReplayChat(path)
    assert [ask(replay, "same", tag=tag).text for tag in ("t/2", "t/1", "t/2")] == ["b", "a", "b"]
    assert [ask(replay, "same", tag=tag).text for tag in ("new/1", "new/2")] == ["a", "b"]
    with pytest.raises(UnseenPrompt, match="this prompt was recorded 2 times and is now asked once more"):
        ask(replay, "same", tag="new/3")


@pytest.mark.parametrize(
    ("text", "settings", "said"),
    [
        (
            "buy a red mug",
            {},
            r"message 1 \(user\), character 6: recorded 'buy a blue mug', asked 'buy a red mug'",
        ),
        ("buy a blue mug", {"max_tokens": 10}, "max_tokens: recorded 9, asked 10"),
        (
            "buy a blue mug",
            {"seed": 3, "stop": ["x"]},
            r"stop: recorded \[\], asked \['x'\]; seed: recorded None",
        ),
    ],
)
def test_an_unseen_prompt_fails_and_says_in_one_line_what_is_new(
    path: str, text: str, settings: dict[str, Any], said: str
) -> None:
    recording = record(path, "a", "b")
    ask(recording, "buy a blue mug")
    ask(recording, "something else")
    close(recording)
    with pytest.raises(InputError, match=said) as caught:
        ask(ReplayChat(path), text, **settings)
    assert str(caught.value).startswith(f"agent/e/0: {path}: unseen prompt (2 recorded)")
    assert "\n" not in str(caught.value)


def test_a_stopped_recording_goes_on_and_asks_only_what_is_new(path: str) -> None:
    first = record(path, "a")
    ask(first, "one", tag="t/1")
    close(first)
    with Path(path).open("a") as file:
        file.write('{"prompt": {"mess')  # killed in the middle of a line
    again = record(path, "b")
    assert [ask(again, text, tag=tag).text for text, tag in (("one", "t/1"), ("two", "t/2"))] == ["a", "b"]
    close(again)
    assert len([json.loads(line) for line in Path(path).read_text().splitlines()]) == 3


def test_of_errors_and_an_answer_the_answer_is_replayed_and_fatal_errors_are_not_recorded(path: str) -> None:
    recording = record(
        path, ChatError(ChatErrorKind.TIMEOUT, "slow"), ChatError(ChatErrorKind.AUTH, "wrong key"), "ok"
    )
    for _ in range(2):
        with pytest.raises(ChatError):
            ask(recording, "one")
    assert ask(recording, "one").text == "ok"
    close(recording)
    assert ask(ReplayChat(path), "one").text == "ok"  # the run went on with it


def test_an_error_that_was_never_answered_is_replayed(path: str) -> None:
    recording = record(path, ChatError(ChatErrorKind.TIMEOUT, "slow"))
    with pytest.raises(ChatError):
        ask(recording, "one")
    close(recording)
    with pytest.raises(ChatError, match="timeout: slow"):
        ask(ReplayChat(path), "one")


def test_a_packed_recording_is_read_and_not_written(path: str, tmp_path: Path) -> None:
    recording = record(path, "a")
    ask(recording, "one")
    close(recording)
    packed = tmp_path / "agent.jsonl.xz"
    packed.write_bytes(lzma.compress(Path(path).read_bytes()))
    assert ask(ReplayChat(str(packed)), "one").text == "a"
    with pytest.raises(InputError, match="a packed recording can be replayed only"):
        record(str(packed), "b")


def test_bad_recordings_are_refused_with_file_and_line(path: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such recording; make one with llm\.mode=record"):
        ReplayChat(path)
    close(record(path, "a"))
    with pytest.raises(InputError, match="is a recording of qwen, not of other; name another file"):
        ReplayChat(path, mode="record", inner=ScriptedChat(["a"], model="other"))
    with Path(path).open("a") as file:
        file.write("{broken\n")
    with pytest.raises(InputError, match=r"agent\.jsonl, line 2: not JSON"):
        ReplayChat(path)
    strange = tmp_path / "x.jsonl"
    strange.write_text('{"a": 1}\n')
    with pytest.raises(InputError, match=r"x\.jsonl, line 1: no format"):
        ReplayChat(str(strange))
    with pytest.raises(InputError, match=r"llm\.mode=record needs a chat model"):
        ReplayChat(path, mode="record")

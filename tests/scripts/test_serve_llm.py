"""Serving a GGUF file. Bad input without a model; a server with a tiny random model where xllamacpp is installed."""

import asyncio
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pract.errors import InputError
from pract.llm.gguf import GgufServer, gguf_chat
from pract.llm.openai import OpenAIChat
from pract.types import Message
from tests.pract.llm.tiny_gguf import write_tiny_gguf

ROOT = Path(__file__).parents[2]
needs_server = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None, reason="the extra `serve` is not installed"
)


def serve(*overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.serve_llm", *overrides]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_bad_input_ends_in_one_line(tmp_path: Path) -> None:
    done = serve("model.path=" + str(tmp_path / "none.gguf"))
    assert done.returncode == 2
    assert re.fullmatch(r"error: model\.path=\S*none\.gguf: no such file; give a GGUF file\n", done.stderr)


def test_what_cannot_be_served_is_said_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"model\.path is not set; give a GGUF file"):
        GgufServer(path="").start()
    text = tmp_path / "text.gguf"
    text.write_text("not a model")
    with pytest.raises(InputError, match=r"text\.gguf is not a GGUF file"):
        GgufServer(path=str(text)).start()
    with pytest.raises(InputError, match=r"server\.threads=0 must be 1 or more"):
        GgufServer(path="x", threads=0)
    whole = tmp_path / "whole.gguf"
    whole.write_bytes(b"GGUF")
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(
        InputError, match=r"needs the package xllamacpp; run: pip install 'latro-pract\[serve\]'"
    ):
        GgufServer(path=str(whole)).start()


@needs_server
def test_a_taken_port_and_a_truncated_file_are_refused(tmp_path: Path) -> None:
    model = write_tiny_gguf(tmp_path / "tiny.gguf")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"server.port={port} on 127.0.0.1: Address already in use"):
            GgufServer(path=str(model), port=port).start()
    model.write_bytes(model.read_bytes()[:-5000])
    with pytest.raises(InputError, match=r"cannot be served: .*; is the file whole\?"):
        GgufServer(path=str(model)).start()


@needs_server
def test_the_script_prints_an_address_that_answers_and_ends_on_ctrl_c(tmp_path: Path) -> None:
    model = write_tiny_gguf(tmp_path / "tiny.gguf")
    command = [
        sys.executable,
        "-m",
        "scripts.serve_llm",
        f"model.path={model}",
        "server.port=0",
        "server.slots=2",
    ]
    with subprocess.Popen(
        [*command, "server.context_tokens=256"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(3)]
        found = re.fullmatch(r"use it: llm=llama_cpp llm\.base_url=(\S+) llm\.model=tiny\n", lines[2])
        assert found, lines
        chat = OpenAIChat(base_url=found[1], model="tiny", context_tokens=256, rank_by="llama_cpp")
        try:
            asyncio.run(_talk(chat))
        finally:
            os.kill(child.pid, signal.SIGINT)
        assert child.stdout.read() == "stopped\n"
    assert child.returncode == 0


@needs_server
def test_a_gguf_chat_serves_itself(tmp_path: Path) -> None:
    model = write_tiny_gguf(tmp_path / "tiny.gguf")
    chat = gguf_chat(GgufServer(path=str(model), slots=2, context_tokens=256))
    assert (chat.model, chat.context_tokens, chat.concurrency) == ("tiny", 256, 2)
    asyncio.run(_talk(chat))


async def _talk(chat: OpenAIChat) -> None:
    """Greedy replies repeat, prefixes are cached, choices are ranked, a wrong name is found out."""
    ask = [Message(role="user", content="abc abc abc")]
    try:
        await chat.check(choices=True)
        first, second = [await chat.reply(ask, max_tokens=8, temperature=0.0, tag="t") for _ in range(2)]
        assert first.text == second.text
        assert 0 < second.cached_tokens < second.prompt_tokens
        ranked = [
            await chat.reply(ask, max_tokens=1, temperature=0.0, choices=order, tag="t")
            for order in (["abc", "ba\n", 'c"a'], ['c"a', "abc", "ba\n"])
        ]
        assert ranked[0].text == ranked[1].text
        chat.model = "other"
        with pytest.raises(InputError, match=r"llm\.model=other is not served at .*; served: tiny"):
            await chat.check()
    finally:
        await chat.close()


HANGING = """
import sys, time, types
import hydra.utils

def start():
    print("loading", flush=True)
    time.sleep(60)

hydra.utils.instantiate = lambda cfg: types.SimpleNamespace(start=start)
sys.argv = ["serve_llm", "model.path=model.gguf"]
from scripts.serve_llm import main
main()
"""


def test_a_second_signal_ends_a_server_that_hangs_while_it_loads() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HANGING], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == -signal.SIGTERM

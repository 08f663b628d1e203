"""The demo's third stage on its recording. No model, no network."""

import asyncio
import json
import lzma
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hydra.utils import instantiate

from pract.llm.bundled import FOLDER
from pract.types import Message
from scripts.comparing import compare_arms
from scripts.demo_pract import OWN_SERVER, RECORDING, choose_player, held_out, run_stage
from scripts.learning import learn
from tests.pract.llm.bad_server import MODEL, running
from tests.scripts.clerk import configuration


def run_here(script: str, overrides: Sequence[str]) -> None:
    start = {"optimize_pract": learn, "evaluate_pract": compare_arms}[script]
    start(configuration(script, *overrides))


def test_the_stage_replays_a_recorded_run_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    started = time.process_time()
    changes = run_stage(tmp_path, choose_player({}), run_here)
    label = "model: REPLAY of a recorded run of Qwen2.5-Coder-1.5B-Instruct: no model is asked now"
    assert capsys.readouterr().out.startswith(label)
    lines = changes.splitlines()
    assert lines[0] == f"  {label}"
    assert [line for line in lines if line in ("  search", "  click")] == ["  search", "  click"]
    assert sum(line.startswith("    before: (none)") for line in lines) == 2
    assert lines[-5:-1] == [
        "  round 1: accepted",
        "  test score, act: 0.802 [0.581, 1.000], n=10",
        "  test score, learned: 0.902 [0.807, 0.996], n=10",
        "  learned - act: +0.100 [-0.126, +0.326], 1 won, 0 lost",
    ]
    assert lines[-1] == f"  history: {tmp_path}/learned/history.html"
    assert (tmp_path / "learned" / "history.html").stat().st_size > 1000
    assert time.process_time() - started < 60


def test_the_recording_is_small_and_names_its_model() -> None:
    path = FOLDER / f"{RECORDING}.jsonl.xz"
    assert path.stat().st_size < 300_000
    with lzma.open(path, "rt") as file:
        header = json.loads(file.readline())
    assert header["model"] == "Qwen2.5-Coder-1.5B-Instruct"
    assert header["note"].startswith(
        "a recording of what Qwen2.5-Coder-1.5B-Instruct replied, made on 2026-11-"
    )


@pytest.mark.parametrize(
    ("environ", "label", "overrides"),
    [
        (
            {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "GGUF": "m.gguf"},
            "the default model at http://127.0.0.1:1/v1",
            ("llm=openai", "llm.api_key_env=null", *OWN_SERVER, "budget.seconds=300"),
        ),
        (
            {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "OPENAI_MODEL": "m", "OPENAI_API_KEY": "k"},
            "m at http://127.0.0.1:1/v1",
            ("llm=openai", "llm.model=m", *OWN_SERVER, "budget.seconds=300"),
        ),
        (
            {"OPENAI_BASE_URL": "https://api.openai.com/v1", "OPENAI_API_KEY": "k"},
            "the default model at https://api.openai.com/v1",
            ("llm=openai", "budget.seconds=300"),
        ),
        (
            {"GGUF": "m.gguf"},
            "m.gguf, on this machine",
            ("llm=gguf", "llm.server.path=m.gguf", "budget.seconds=300"),
        ),
    ],
)
def test_the_model_is_the_one_that_the_environment_names(
    environ: dict[str, str], label: str, overrides: tuple[str, ...]
) -> None:
    player = choose_player(environ)
    assert (player.label, player.overrides) == (label, overrides)
    for script in ("optimize_pract", "evaluate_pract"):
        configuration(script, "experiment=pract/demo", *overrides)


def test_a_server_of_ones_own_passes_the_door_and_takes_the_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url("ok"))
        player = choose_player({"OPENAI_BASE_URL": server.url("ok"), "OPENAI_MODEL": MODEL})
        chat = instantiate(configuration("optimize_pract", "experiment=pract/demo", *player.overrides).llm)

        async def ask() -> None:
            await chat.check()
            await chat.reply([Message(role="user", content="hi")], max_tokens=9, temperature=0.0, tag="t")
            await chat.close()

        asyncio.run(ask())
        assert server.bodies[0]["max_tokens"] == 9


def test_the_held_out_scores_are_told_with_intervals_and_pairs() -> None:
    results = {
        "results": {"shop": {"score,act": 0.25, "score,learned": 0.5}},
        "intervals_95": {"shop": {"score,act": [0.0, 0.5], "score,learned": [0.25, 0.75]}},
        "n-samples": {"shop": {"act": {"effective": 8}, "learned": {"effective": 8}}},
        "paired": [
            {
                "arms": ["learned", "act"],
                "measure": "score",
                "value": 0.25,
                "low": -0.1,
                "high": 0.6,
                "won": ["a"],
                "lost": [],
            },
            {"arms": ["learned", "act"], "measure": "progress"},
            {
                "arms": ["old", "act"],
                "measure": "score",
                "value": 0.0,
                "low": None,
                "high": None,
                "won": [],
                "lost": [],
            },
        ],
    }
    assert held_out(results) == [
        "  test score, act: 0.250 [0.000, 0.500], n=8",
        "  test score, learned: 0.500 [0.250, 0.750], n=8",
        "  learned - act: +0.250 [-0.100, +0.600], 1 won, 0 lost",
        "  old - act: +0.000 unbounded, 0 won, 0 lost",
    ]

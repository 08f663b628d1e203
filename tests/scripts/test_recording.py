"""What may change when a run of PRAct is taken up again, and what makes it another run; no model."""

import json
from pathlib import Path

import pytest

from pract.errors import InputError
from scripts.recording import LoggedRun
from tests.scripts.clerk import configuration

OPENAI = ("llm=openai", "llm.model=m")
RECORDING = (
    "llm=replay",
    "llm.path=a.jsonl",
    "llm.mode=record",
    "+llm@llm.inner=llama_cpp",
    "llm.inner.model=m",
)
GGUF = ("llm=gguf", "llm.server.path=a.gguf")


def taken_up(folder: Path, before: tuple[str, ...], *after: str, script: str = "evaluate_pract") -> None:
    LoggedRun(configuration(script, f"output_dir={folder}", *before), opens=False).open(overwrite=False)
    LoggedRun(configuration(script, f"output_dir={folder}", *before, *after), opens=False)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (OPENAI, ("llm.base_url=http://127.0.0.1:9/v1", "llm.api_key_env=KEY", "llm.concurrency=2")),
        (
            OPENAI,
            ("llm.timeout_seconds=9", "llm.patience.attempts=9", "llm.prices.prompt=9", "+llm.direct=false"),
        ),
        (GGUF, ("llm.server.threads=2", "llm.server.slots=2", "+llm.server.port=8080")),
        (RECORDING, ("llm.path=b.jsonl", "llm.mode=replay", "~llm.inner")),
        (RECORDING, ("llm.inner.base_url=http://127.0.0.1:9/v1",)),
    ],
)
def test_how_a_model_is_reached_may_change(
    before: tuple[str, ...], after: tuple[str, ...], tmp_path: Path
) -> None:
    taken_up(tmp_path / "run", before, *after)


@pytest.mark.parametrize(
    ("before", "after", "names"),
    [
        (("llm=local", "llm.path=A/best"), ("llm.path=B/best",), "llm.path"),
        (("llm=local", "llm.path=A/best"), ("llm.dtype=float32",), "llm.dtype"),
        (GGUF, ("llm.server.path=b/a.gguf", "+llm.server.name=b"), "llm.server.name, llm.server.path"),
        (OPENAI, ("llm.context_tokens=9", "llm.omit=[stop]"), "llm.context_tokens, llm.omit"),
        (OPENAI, ("+llm.extra_body.top_k=1", "llm.max_tokens_key=max_tokens"), "llm.extra_body, llm.max_tokens_key"),
        (RECORDING, ("llm.inner.context_tokens=9",), "llm.inner.context_tokens"),
    ],
)  # fmt: skip
def test_what_changes_a_model_makes_it_another_run(
    before: tuple[str, ...], after: tuple[str, ...], names: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        taken_up(tmp_path / "run", before, *after)
    assert f"holds a run with another configuration ({names})" in str(caught.value)


def test_every_role_has_its_own_model(tmp_path: Path) -> None:
    before = (*OPENAI, "llm@reflector=vllm")
    taken_up(tmp_path / "run", before, "reflector.base_url=http://127.0.0.1:9/v1", script="optimize_pract")
    with pytest.raises(InputError, match=r"another configuration \(reflector.rank_by\)"):
        taken_up(tmp_path / "run", before, "reflector.rank_by=null", script="optimize_pract")


def test_what_failed_in_a_finished_run_can_be_tried_again_and_again(tmp_path: Path) -> None:
    folder, retry = tmp_path / "run", (*OPENAI, "retry_failed=true")
    taken_up(folder, OPENAI)
    (folder / "results.json").write_text(json.dumps({"stopped": ""}))
    with pytest.raises(InputError, match="holds a finished run"):
        LoggedRun(configuration("evaluate_pract", f"output_dir={folder}", *OPENAI), opens=False)
    taken_up(folder, retry)

"""RPO from the command line: whole runs on the bundled to-do list with a replayed clerk; loopback servers only."""

import asyncio
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from omegaconf import OmegaConf

from latro.errors import InputError
from pract.events import canonical, read_events
from pract.types import Status
from scripts.entry import explain
from scripts.learning import learn, round_metrics
from tests.pract.llm import bad_server
from tests.pract.looping import learning, run
from tests.scripts.clerk import PRINCIPLES, RECORDING, configuration, record

ROOT = Path(__file__).parents[2]
STATUSES = {status.value for status in Status}


def smoke(folder: Path, *overrides: str) -> Any:
    return configuration("optimize_pract", "experiment=pract/smoke", f"output_dir={folder}", *overrides)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def refusal(cfg: Any) -> str:
    """The one line with which a configuration is refused."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - what matters is the line that the script prints
        learn(cfg)
    line = explain(caught.value, "optimize_pract")
    assert line is not None
    assert "\n" not in line
    return line


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished smoke run."""
    folder = tmp_path_factory.mktemp("smoke") / "run"
    learn(smoke(folder))
    return folder


def test_the_recording_is_what_the_clerk_says_today(tmp_path: Path) -> None:
    """If this fails, prompts or tasks changed: python -m tests.scripts.clerk"""
    record(tmp_path / "anew.jsonl", tmp_path)
    anew, shipped = (
        {tuple(row) for row in map(prompts_of, rows(path))} for path in (tmp_path / "anew.jsonl", RECORDING)
    )
    assert anew == shipped


def prompts_of(row: dict[str, Any]) -> tuple[str, str, str]:
    return row.get("tag", ""), json.dumps(row.get("prompt")), row.get("reply", {}).get("text", "")


def test_a_run_leaves_everything_that_is_promised(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == {
        ".lock", "card.md", "config.yaml", "environment.json", "episodes.jsonl", "events.jsonl", "history.html",
        "metrics.jsonl", "principles.json", "reflections.jsonl", "report.html", "results.json",
    }  # fmt: skip
    principles = json.loads((finished / "principles.json").read_text())
    assert {name: text for name, text in principles["best"]["texts"].items() if text} == PRINCIPLES
    assert [(row["round"], row["fate"]) for row in principles["versions"]] == [
        (0, "start"), (1, "accepted"), (2, "rejected"),
    ]  # fmt: skip
    assert len(rows(finished / "episodes.jsonl")) == 6 + (4 + 6) + (4 + 6)
    assert len(rows(finished / "reflections.jsonl")) == 8
    metrics = rows(finished / "metrics.jsonl")
    assert [row["rpo/decision"] for row in metrics] == ["start", "accepted", "rejected"]
    assert [row["rpo/validation_score"] for row in metrics] == [pytest.approx(v / 6) for v in (2, 5, 2)]
    assert metrics[1]["rpo/won"] == 3
    assert metrics[1]["rpo/errors/insufficient_calls"] == 4


def test_cached_tokens_that_no_server_told_are_left_out_of_the_metrics() -> None:
    ready, _ = learning(rounds=1)
    row = round_metrics(run(ready)[-1], ready)
    assert (row["rpo/calls"], "rpo/cached_tokens" in row) == (35, False)


def test_results_are_in_lm_evals_shape_with_version_hash_intervals_and_cost(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    assert results["results"]["todo"]["score,best"] == pytest.approx(5 / 6)
    assert results["intervals_95"]["todo"]["score,best"] == pytest.approx([0.436, 0.970], abs=1e-3)  # Wilson
    assert results["versions"] == {"todo": "2"}
    assert results["licence"] == {"todo": "Apache-2.0"}
    assert len(results["content_hash"]["todo"]) >= 8
    assert results["split"] == "validation"
    score = next(row for row in results["paired"] if row["measure"] == "score")
    assert (score["value"], score["n"], len(score["won"]), score["lost"]) == (0.5, 6, 3, [])
    assert results["cost"]["calls"] == 69
    assert results["cost"]["usd"] > 0
    assert results["stopped"] == ""


def test_the_same_command_again_is_refused_and_more_rounds_go_on(finished: Path, tmp_path: Path) -> None:
    assert "holds a finished run; raise one of budget, retry_failed, rpo.rounds" in refusal(smoke(finished))
    assert "another configuration (rpo.batch_size)" in refusal(smoke(finished, "rpo.batch_size=3"))
    learn(smoke(tmp_path / "run", "rpo.rounds=1"))
    learn(smoke(tmp_path / "run"))
    for name in ("principles.json", "episodes.jsonl", "reflections.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (finished / name).read_bytes(), name


def test_a_run_that_is_out_of_patience_is_finished(finished: Path, tmp_path: Path) -> None:
    given = ("rpo.rounds=9", "rpo.patience=1")
    results = learn(smoke(tmp_path / "run", *given))
    learn(smoke(tmp_path / "more", "rpo.patience=1"))
    learn(smoke(tmp_path / "more"))
    assert "is spent without" not in (tmp_path / "more/history.html").read_text()
    assert (results["stopped"], results["rounds"]) == ("", 3)
    assert (tmp_path / "run/principles.json").read_bytes() == (finished / "principles.json").read_bytes()
    assert (
        "rpo.patience=1 is spent without an accepted candidate" in (tmp_path / "run/history.html").read_text()
    )
    assert "holds a finished run" in refusal(smoke(tmp_path / "run", *given))
    said = refusal(smoke(tmp_path / "gepa", "method=gepa", "llm=scripted", "rpo.patience=1"))
    assert "rpo.patience=1: this method has a loop of its own" in said


def test_a_refused_resume_leaves_everything_as_it_was(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    line = refusal(smoke(folder, "rpo.rounds=3", "llm=scripted"))
    assert "another configuration (llm._target_, llm.answers, llm.name, llm.repeat)" in line
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_two_runs_do_not_work_in_one_folder(tmp_path: Path) -> None:
    with FileLock(tmp_path / "run/.lock"):
        line = refusal(smoke(tmp_path / "run", "overwrite=true"))
    assert line == f"{tmp_path}/run: another run is at work there; wait for it, or choose another output_dir"
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


def test_overwriting_goes_on_with_what_the_same_command_began(tmp_path: Path) -> None:
    command = ("overwrite=true", "budget.calls=5")
    assert learn(smoke(tmp_path / "run", *command))["cost"]["calls"] == 5
    before = (tmp_path / "run/events.jsonl").read_bytes()
    learn(smoke(tmp_path / "run", *command))
    assert (tmp_path / "run/events.jsonl").read_bytes().startswith(before)
    sessions = json.loads((tmp_path / "run/environment.json").read_text())
    assert len(sessions["taken_up"]) == 1


def test_what_a_run_left_that_was_killed_at_its_start_can_be_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in (".lock", "events.jsonl"):
        (folder / name).touch()
    assert "nothing" in refusal(smoke(folder, "overwrite=true", "rpo.validation_split=nothing"))
    assert not folder.exists()


def test_a_spent_budget_stops_the_run_and_a_raised_one_ends_it_as_if_never_stopped(
    finished: Path, tmp_path: Path
) -> None:
    stopped = learn(smoke(tmp_path / "run", "budget.calls=30"))
    assert stopped["stopped"] == "budget: calls: budget.calls=30 is spent"
    assert stopped["cost"]["calls"] == 30
    results = learn(smoke(tmp_path / "run", "budget.calls=1000"))
    assert (results["stopped"], results["cost"]["calls"]) == ("", 69)
    assert (tmp_path / "run/principles.json").read_bytes() == (finished / "principles.json").read_bytes()


@pytest.fixture(scope="module")
def processes() -> Any:
    """Processes that start with everything imported, and can be killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.scripts.pract_worker"])
    return context


def test_killed_at_a_random_write_fifty_times_a_run_ends_as_the_uninterrupted_one(
    processes: Any, finished: Path, tmp_path: Path
) -> None:
    from tests.scripts import pract_worker

    cfg = smoke(tmp_path)

    def start(name: str, kill_at: int | None = None) -> Any:
        arguments = (
            OmegaConf.merge(cfg, {"output_dir": str(tmp_path / name)}),
            kill_at,
            str(tmp_path / "writes"),
        )
        process = processes.Process(target=pract_worker.run, args=arguments)
        process.start()
        return process

    def ended(process: Any) -> int:
        process.join(60)
        return int(process.exitcode)

    assert ended(start("counted")) == 0
    writes = int((tmp_path / "writes").read_text())
    expected = state(finished)
    chance = random.Random(0)
    trials = [(f"killed-{number}", chance.randrange(writes)) for number in range(50)]
    for first, second in zip(trials[::2], trials[1::2], strict=True):  # two at a time
        pair = (first, second)
        assert [ended(p) for p in [start(name, at) for name, at in pair]] == [-9, -9], pair
        assert [ended(p) for p in [start(name) for name, _ in pair]] == [0, 0], pair
        for name, at in pair:
            assert state(tmp_path / name) == expected, at


def state(folder: Path) -> Any:
    """All that an interruption must not change."""
    cost = json.loads((folder / "results.json").read_text())["cost"]
    files = ("principles.json", "episodes.jsonl", "reflections.jsonl")
    events = [
        line for line in canonical(read_events(folder / "events.jsonl")) if '"kind": "round"' not in line
    ]
    spent = (cost["calls"], cost["prompt_tokens"], cost["completion_tokens"], round(cost["usd"], 9))
    return [(folder / name).read_bytes() for name in files], events, spent


def test_a_run_stopped_by_hand_saves_what_was_learned_and_goes_on(tmp_path: Path, finished: Path) -> None:
    from scripts.learning import _learn

    async def interrupted() -> None:
        task = asyncio.ensure_future(_learn(smoke(tmp_path / "run")))
        while not (tmp_path / "run/history.html").exists():
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(interrupted())
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert results["stopped"] == "stopped by hand"
    assert (tmp_path / "run/principles.json").exists()
    learn(smoke(tmp_path / "run"))
    assert state(tmp_path / "run") == state(finished)


def test_sigterm_ends_a_run_as_ctrl_c_does(processes: Any, tmp_path: Path) -> None:
    from tests.scripts import pract_worker

    cfg = smoke(tmp_path / "run", "llm=scripted", "+llm.seconds=60")
    process = processes.Process(target=pract_worker.run, args=(cfg,))
    process.start()
    deadline = time.monotonic() + 60
    while not (tmp_path / "run/principles.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.terminate()
    process.join(60)
    assert process.exitcode == 1  # KeyboardInterrupt, which the script turns into 130
    assert json.loads((tmp_path / "run/results.json").read_text())["stopped"] == "stopped by hand"


SERVED = ("llm=openai", "llm.model=right-model", "llm.timeout_seconds=0.4", "llm.patience.attempts=2",
          "llm.patience.first_pause=0.01", "llm.context_tokens=4096")  # fmt: skip


def test_faults_of_the_server_are_named_statuses_and_the_budget_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", bad_server.KEY)
    with bad_server.running() as server:
        folder = tmp_path / "run"
        for session in range(8):  # a wrong model name ends a session; starting again goes on
            cfg = smoke(
                folder,
                *SERVED,
                f"llm.base_url={server.url('mixed')}",
                "budget.calls=150",
                f"concurrency={4 + session}",
            )
            results = learn(cfg)
            if "budget" in results["stopped"] or not results["stopped"]:
                break
        attempts = sum(server.calls.values())
    assert results["cost"]["calls"] <= 150
    assert attempts <= 2 * 150  # each call is tried twice at most
    episodes = rows(folder / "episodes.jsonl")
    assert {episode["status"] for episode in episodes} <= STATUSES
    assert all(episode["failure"] for episode in episodes if episode["status"] in ("chat_error", "budget"))
    statuses = {episode["status"] for episode in episodes}
    assert "chat_error" in statuses
    logged = [event for event in read_events(folder / "events.jsonl") if event.kind == "chat"]
    assert len(logged) <= results["cost"]["calls"] + 8
    for path in folder.rglob("*"):
        assert bad_server.KEY.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["env.data=nowhere"], r"todo_projects.json"),
        (["llm=openai", "llm.base_url=http://127.0.0.1:9/v1"], "127.0.0.1:9"),
        (["rpo.validation_split=nothing"], "there is no split 'nothing'"),
        (["principles=webshop"], "principles=webshop: there is no action 'search'"),
        (["principles=wishes"], "principles=wishes: no such file; give a YAML or JSON file, or one of hotpotqa"),
        (["budget.calls=many"], "budget.calls='many' is no number"),
        (["budget.usd=0"], "budget.usd=0 is not above 0"),
        (["llm=vllm", "llm.model=m", "budget.usd=1"], "budget.usd=1: llm has no prices, so it would never be reached"),
        (["llm=scripted", "budget.usd=1"], "budget.usd=1: no role's model has prices, so it would never be reached"),
        (["llm=openai", "llm.model=m", "budget.usd=1"],
         "the prices of llm are those of gpt-4.1-mini, and its model is m; give llm.prices.prompt and llm.prices."),
        (["llm=openai", "llm.model=m", "budget.usd=1", "llm.prices.model=m", "llm.base_url=http://127.0.0.1:9/v1"],
         "127.0.0.1:9"),
        (["llm.name=nobody"], "no such recording; those of the package are shop_qwen_coder_1_5b, todo_clerk"),
        (["rpo.schedule=daily"], "rpo.schedule='daily' is none of traj, batch"),
        (["rpo.train_split=test"], "the test split is for evaluate_pract alone"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_leaves_no_folder(
    overrides: list[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    said = refusal(smoke(tmp_path / "run", *overrides))
    assert line in said
    assert not (tmp_path / "run").exists()


def test_an_installed_packages_environment_is_learned_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package is stood in for by a folder on the path with its metadata."""
    (tmp_path / "their_worlds.py").write_text(
        "from pract.envs.todo import Todo\n\n\nclass Theirs(Todo):\n"
        "    def __init__(self):\n        super().__init__()\n        self.name = 'theirs'\n"
    )
    metadata = tmp_path / "their_worlds-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-worlds\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[pract.environments]\ntheir_world = their_worlds:Theirs\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    installed = ("env=installed", "env.name_or_target=their_world", "llm=scripted", "rpo.rounds=1")
    results = learn(smoke(tmp_path / "run", *installed))
    assert list(results["results"]) == ["theirs"]
    said = refusal(smoke(tmp_path / "other", "env=installed", "env.name_or_target=nothing"))
    assert "unknown environment 'nothing'; known are academia, bfcl" in said
    assert "their_world" in said
    assert "environment 'their_world': " in refusal(smoke(tmp_path / "other", *installed, "+env.colour=red"))


def test_choices_where_the_environment_names_none_are_one_line(tmp_path: Path) -> None:
    assert "agent.calls=choice needs the environment's `admissible` hint" in refusal(
        smoke(tmp_path / "run", "agent=choice")
    )


def test_a_truncated_data_file_is_named(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "todo_projects.json").write_text('[{"name": "Half')
    for name in ("todo.jsonl", "todo_raw.json"):
        (data / name).write_text("{}")
    assert "todo_projects.json" in refusal(smoke(tmp_path / "run", f"env.data={data}"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("mode", "overrides", "line"),
    [
        ("wrong_key", [], "refuses the key"),
        ("no_tools", ["agent=native"], "takes no native tools"),
        ("ok", ["llm.model=wrong-model"], "llm.model=wrong-model is not served"),
    ],
)
def test_a_model_that_cannot_do_its_part_is_refused_at_the_door(
    mode: str, overrides: list[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", bad_server.KEY)
    with bad_server.running() as server:
        said = refusal(smoke(tmp_path / "run", *SERVED, f"llm.base_url={server.url(mode)}", *overrides))
    assert line in said
    assert bad_server.KEY not in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("count", ["0", "-2", "null", "1.5"])
def test_no_episode_at_once_is_refused_at_the_door(count: str, tmp_path: Path) -> None:
    said = refusal(smoke(tmp_path / "run", f"concurrency={count}"))
    assert said.startswith("concurrency=")
    assert "give a whole number of at least 1" in said
    assert not (tmp_path / "run").exists()


def test_the_script_exits_with_2_and_one_line_for_an_unknown_environment(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scripts.optimize_pract", "env=webshpo", f"output_dir={tmp_path}/run"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no config 'env/webshpo'; did you mean 'webshop'?")
    assert done.stderr.count("\n") == 1


EMPTY = """
from pract.envs.todo import Todo


class Empty(Todo):
    def tasks(self, split):
        return [] if split == "validation" else super().tasks(split)
"""


def test_an_empty_split_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty_world.py").write_text(EMPTY)
    monkeypatch.syspath_prepend(tmp_path)
    said = refusal(smoke(tmp_path / "run", "env._target_=empty_world.Empty"))
    assert said == "the split 'validation' is empty: give the environment's data or another split"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", ["reflexion", "ace"])
def test_baselines_run_in_the_same_harness(method: str, tmp_path: Path) -> None:
    results = learn(
        smoke(tmp_path / "run", f"method={method}", "llm=scripted", "rpo.rounds=1", "rpo.acceptance=off")
    )
    assert results["stopped"] == ""
    versions = json.loads((tmp_path / "run/principles.json").read_text())["versions"]
    assert versions[-1]["author"].split("/")[0] in ("reflexion", "hand")


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["rpo.acceptance=off"],
            "metric_calls=null, which is 4 here, what RPO would play, leaves nothing to learn",
        ),
        (
            ["method.metric_calls=6"],
            "metric_calls=6 leaves nothing to learn from after a validation of 6 tasks",
        ),
    ],
)
def test_gepa_is_refused_where_validation_alone_takes_its_episodes(
    overrides: list[str], line: str, tmp_path: Path
) -> None:
    given = ("method=gepa", "llm=scripted", "rpo.rounds=1", *overrides)
    said = refusal(smoke(tmp_path / "run", *given))
    assert line in said
    assert "raise it to 9 at least, or lower rpo.validation_tasks" in said
    assert not (tmp_path / "run").exists()


def test_gepa_asks_for_as_many_episodes_as_rpo_would_play(tmp_path: Path) -> None:
    pytest.importorskip("gepa")
    results = learn(smoke(tmp_path / "run", "method=gepa", "llm=scripted", "rpo.rounds=1"))
    assert results["stopped"] == ""
    assert 0 < len(rows(tmp_path / "run/episodes.jsonl")) <= 6 + 4 + 6 + 6
    assert {"score,start", "score,best"} <= results["results"]["todo"].keys()
    first = rows(tmp_path / "run/metrics.jsonl")[0]
    assert (first["rpo/decision"], first["rpo/validation_left_out"]) == ("start", 0)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What goes to W&B."""
    import wandb

    sent: list[dict[str, Any]] = []

    class Tracked:
        id = "run-7"

        def define_metric(self, *names: str, **options: str) -> None:
            assert (names, options) == (("rpo/*",), {"step_metric": "rpo/round"})

        def log(self, row: dict[str, Any]) -> None:
            sent.append(row)

        def finish(self, exit_code: int | None) -> None:
            assert exit_code is None
            sent.append({"finished": True})

    monkeypatch.setattr(wandb, "init", lambda **options: Tracked())
    return sent


def test_a_round_that_stopped_is_sent_anew_when_it_was_played_to_its_end(
    tmp_path: Path, sent: list[dict[str, Any]]
) -> None:
    wandb_offline = ("logger=wandb", "logger.mode=offline")
    learn(smoke(tmp_path / "run", *wandb_offline, "budget.calls=30"))
    learn(smoke(tmp_path / "run", *wandb_offline, "budget.calls=null"))
    rows = [(row.get("rpo/round"), row.get("rpo/decision")) for row in sent if "finished" not in row]
    assert [index for index, _ in rows] == [0, 1, 1, 2]


def test_metrics_go_to_wandb_offline_and_are_not_sent_twice(
    tmp_path: Path, sent: list[dict[str, Any]]
) -> None:
    learn(smoke(tmp_path / "run", "logger=wandb", "logger.mode=offline", "rpo.rounds=1"))
    learn(smoke(tmp_path / "run", "logger=wandb", "logger.mode=offline"))
    assert [row.get("rpo/round") for row in sent] == [0, 1, None, 2, None]
    assert all(name.startswith("rpo/") for row in sent if "finished" not in row for name in row)


@pytest.mark.slow
def test_a_real_offline_wandb_run_holds_the_metrics(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scripts.optimize_pract", "experiment=pract/smoke", "logger=wandb",
               "logger.mode=offline", f"output_dir={tmp_path}/run"]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True, timeout=120, env={**os.environ, "WANDB_SILENT": "true"})
    assert list((tmp_path / "run/wandb").glob("offline-run-*/run-*.wandb"))


def test_metrics_go_to_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    learn(smoke(tmp_path / "run", "logger=tensorboard"))
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    written = [row for row in rows(tmp_path / "run/metrics.jsonl") if "rpo/round" in row]
    assert [event.step for event in events.Scalars("rpo/round")] == [row["rpo/round"] for row in written]
    assert [round(event.value, 5) for event in events.Scalars("rpo/validation_score")] == [
        round(row["rpo/validation_score"], 5) for row in written
    ]


def test_an_unknown_logger_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="choose one of none, wandb, tensorboard"):
        learn(smoke(tmp_path / "run", "logger.name=paper"))
    with pytest.raises(InputError, match=r"logger\.mode='x' is unknown"):
        learn(smoke(tmp_path / "run", "logger=wandb", "logger.mode=x"))

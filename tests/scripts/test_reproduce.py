"""Reproducing the tables with children that are made up: what is run, taken up again, told and refused. No model."""

import csv
import errno
import json
import lzma
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from latro.errors import InputError
from scripts import launching, reproduce, reproduce_request
from scripts.pract_rows import tiny
from scripts.reproduce import main, plan_of
from scripts.reproduce_request import read_request
from scripts.reproduced import estimate, found_sheets, learning_costs, shifted
from scripts.reproduction import Row
from scripts.sheets import Measure, Sheet
from scripts.sweep_plan import Job, composed
from tests.scripts.clerk import STUDY, record_study
from tests.scripts.run_folders import agents, episode

ROOT = Path(__file__).parents[2]
CHILD = Path(__file__).with_name("fake_reproduction.py")
LATRO = ("table=latro_gsm8k", "size=tiny")


def fake(plan: object, job: Job, further: object = ()) -> list[str]:
    """Instead of a job's own command."""
    return [sys.executable, str(CHILD), job.script, *job.overrides, f"output_dir='{job.folder}'"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Reproductions in a folder of its own; gives the exit status and the folder."""
    monkeypatch.setattr(launching, "command", fake)

    def call(*arguments: str) -> tuple[int, Path]:
        return main([*arguments, f"folder={tmp_path}/run"]), tmp_path / "run"

    return call


def cells(folder: Path) -> dict[str, dict]:
    return {cell["cell"]: cell for cell in json.loads((folder / "reproduce.json").read_text())["cells"]}


def starts(folder: Path) -> dict[str, int]:
    return {
        str(path.parent.relative_to(folder / "jobs")): len(path.read_text().splitlines())
        for path in folder.rglob("starts.txt")
    }


def test_a_table_has_ours_beside_the_papers_and_paired_changes(run, capsys) -> None:
    status, folder = run(*LATRO, "only=base,sft,latro,beta=0", "seeds=0,1")
    assert status == 0
    assert set(starts(folder).values()) == {1}
    assert len(starts(folder)) == 2 * (1 + 2 + 2) + 2  # base is only evaluated, beta=0 has one seed
    found = cells(folder)
    greedy = found["latro/greedy"]
    assert (greedy["status"], greedy["items"], greedy["seeds"]) == ("done", 8, 2)
    assert greedy["ours"] == pytest.approx(6.5 / 8)
    assert found["latro/maj@8"]["ours"] == pytest.approx(7.5 / 8)
    assert greedy["paper"] == {"phi35_mini": 87.6, "mistral_7b": 67.3, "llama31_8b": 80.1}
    assert greedy["difference"] is None  # another task and model
    changes = {change["from"]: change for change in greedy["changes"]}
    assert changes["base"]["value"] == pytest.approx(5.5 / 8)
    assert changes["sft"]["value"] == pytest.approx(2.5 / 8)
    (ablated,) = found["beta=0/greedy"]["changes"]
    assert (
        ablated["detectable"] is None
    )  # of eight items, of which one fell, no test finds anything four times in five
    assert changes["base"]["detectable"] == pytest.approx(0.939, abs=1e-3)  # two seeds see little
    assert (ablated["from"], ablated["value"], ablated["tested_by"]) == ("latro", -1 / 8, "McNemar, exact")
    assert found["beta=0/greedy"]["paper"] == "not in the paper"
    printed = capsys.readouterr().out
    assert "not comparable: wind tunnel" in printed
    assert "not run: not asked for: only= names others" in printed
    assert "min left" in printed or "less than a minute left" in printed
    with (folder / "reproduce.csv").open() as file:
        assert {row["cell"]: row["status"] for row in csv.DictReader(file)}["K=2/greedy"] == "not run"
    page = (folder / "reproduce.html").read_text()
    assert "87.6 / 67.3 / 80.1" in page
    assert "from latro, p 1.000, sees –" in page
    assert "sees 47.7" not in printed  # the table has a column of it
    assert "only=K=2" in page
    assert "http" not in page.replace("http-equiv", "")


def test_wilsons_interval_over_items_and_a_wider_one_over_seeds(tmp_path: Path) -> None:
    def sheet(right: int, seed: int, n: int = 8) -> Sheet:
        values = {str(number): float(number < right) for number in range(n)}
        measures = {
            f"accuracy_greedy,{name}": Measure(kind="right", values=values) for name in ("exact", "paper")
        }
        return Sheet(folder=tmp_path, seed=seed, identity={}, measures=measures, items={})

    one = estimate([sheet(1, 0)], "accuracy_greedy")
    assert (one.value, one.low, one.high) == (
        0.125,
        pytest.approx(0.0224, abs=1e-3),
        pytest.approx(0.4709, abs=1e-3),
    )
    two = estimate([sheet(7, 0), sheet(6, 1)], "accuracy_greedy")
    assert two.value == 6.5 / 8
    assert two.low == pytest.approx(0.018, abs=1e-3)  # Student's of one degree of freedom is wide
    assert two.high == 1.0
    alike = estimate([sheet(8, 0), sheet(8, 1)], "accuracy_greedy")
    assert (alike.value, alike.low) == (1.0, pytest.approx(0.6756, abs=1e-3))  # no spread is no certainty
    same = estimate([sheet(1, seed, n=40) for seed in range(3)], "accuracy_greedy")
    assert (same.value, round(same.low, 3), round(same.high, 3)) == (0.025, 0.004, 0.129)
    gap = shifted(one, 10.0)
    assert gap is not None
    assert (gap.value, gap.low) == (pytest.approx(0.025), pytest.approx(one.low - 0.1))
    with pytest.raises(InputError, match="has no accuracy_maj8; it has accuracy_greedy,exact"):
        estimate([sheet(1, 0)], "accuracy_maj8")


def test_every_cell_that_was_not_run_says_why_and_how(run) -> None:
    status, folder = run(*LATRO, "run=false")
    assert status == 0
    assert starts(folder) == {}
    found = cells(folder)
    assert len(found) == 53
    for key, cell in found.items():
        assert cell["status"] == "not run"
        row = key.rpartition("/")[0]
        assert cell["command"] == (
            f"python -m scripts.reproduce table=latro_gsm8k size=tiny folder={folder} only={row}"
        )
        assert cell["why"] in ("run=false", "only if it is named")
    *_, tested = found["K=4/greedy"]["by_hand"]
    assert tested == (
        "python -m scripts.evaluate_latro task=running_sums evaluation.batch_rows=128 "
        "evaluation.answer_likelihood=false chunk=250 model=base "
        f"""'model.path='"'"'{folder}/jobs/K=4/seed=0/best'"'"'' evaluation.max_tokens=24 seed=0 """
        f"""'output_dir='"'"'{folder}/jobs/K=4-evaluated/seed=0'"'"''"""
    )
    parser = OverridesParser.create()
    for line in (line for cell in found.values() for line in cell["by_hand"]):
        parser.parse_overrides(shlex.split(line)[3:])  # as Hydra reads them


def test_what_another_command_left_in_the_folder_is_no_cell_of_this_table(run, capsys) -> None:
    _, folder = run(*LATRO, "only=base,latro,K=2,beta=0", "seeds=0")
    for name in ("K=2", "K=2-evaluated", "beta=0", "beta=0-evaluated"):
        (folder / f"jobs/{name}/seed=0/config.yaml").write_text("max_steps: 2\n")
    at_last = folder / "jobs/beta=0/seed=0/config.yaml"
    capsys.readouterr()
    status, folder = run(*LATRO, "only=base,latro", "seeds=0")
    assert status == 0
    found = cells(folder)
    assert {key: found[f"{key}/greedy"]["status"] for key in ("latro", "K=2", "beta=0")} == {
        "latro": "done", "K=2": "not run", "beta=0": "not run",
    }  # fmt: skip
    reason = "its folder holds another configuration; give another folder=, or delete it"
    assert found["K=2/greedy"]["why"] == reason
    assert found["K=2/greedy"]["changes"] == []
    printed = " ".join(capsys.readouterr().out.split())
    assert f"not run: {reason}" in printed
    assert at_last.read_text() == "max_steps: 2\n"


def test_a_pair_that_is_unlike_costs_no_table(run, capsys) -> None:
    _, folder = run(*LATRO, "only=base,sft,latro", "seeds=0")
    place = folder / "jobs/sft-evaluated/seed=0"
    rows = (place / "items.jsonl").read_text().splitlines(keepends=True)
    (place / "items.jsonl").write_text("".join(rows[:4]))  # as evaluate_latro.limit=4 leaves it
    results = json.loads((place / "results.json").read_text())
    results["n-samples"]["sums"] = {"original": 4, "effective": 4}
    (place / "results.json").write_text(json.dumps(results))
    capsys.readouterr()
    assert run(*LATRO, "only=base,latro", "seeds=0")[0] == 0
    latro = cells(folder)["latro/greedy"]
    assert [change["from"] for change in latro["changes"]] == ["base"]
    assert "differ in 4 items, the first 4" in latro["unpaired"]["sft"]
    line = f"not paired: latro with sft: {latro['unpaired']['sft']}"
    assert line in " ".join(capsys.readouterr().out.split())
    assert line in (folder / "reproduce.html").read_text()


def test_a_cell_that_its_run_did_not_measure_costs_no_table(run) -> None:
    _, folder = run(*LATRO, "only=base", "seeds=0")
    items = folder / "jobs/base-evaluated/seed=0/items.jsonl"
    rows = [json.loads(line) | {"majority": {}} for line in items.read_text().splitlines()]
    items.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(*LATRO, "only=base", "seeds=0")[0] == 0
    assert cells(folder)["base/greedy"]["status"] == "done"
    voted = cells(folder)["base/maj@8"]
    assert (voted["status"], "has no accuracy_maj8; it has accuracy_greedy,exact" in voted["why"]) == (
        "not run",
        True,
    )


@pytest.mark.parametrize(
    ("size", "given", "seeds"),
    [
        ("table=latro_gsm8k size=paper", "", {"phi35_mini/latro": (0,), "phi35_mini/beta=0": (0,)}),
        ("table=latro_gsm8k size=paper", "3,4", {"phi35_mini/latro": (3, 4), "phi35_mini/beta=0": (3,)}),
        ("table=latro_gsm8k size=tiny", "", {"latro": (0, 1, 2), "beta=0": (0,)}),
        ("table=pract size=small model_path=m.gguf", "", {"todo/batch": (0,)}),
        (
            "table=pract size=small model_path=m.gguf",
            "0,1,2",
            {"todo/batch": (0, 1, 2), "todo/act": (0, 1, 2)},
        ),
        ("table=pract size=paper", "0,1", {"webshop/batch": (0, 1)}),
    ],
)
def test_seeds_are_taken_by_every_size_that_can_have_several(size: str, given: str, seeds: dict) -> None:
    asked = [*size.split(), *[f"seeds={given}"] * bool(given)]
    rows = {row.key: row for row in read_request(asked).reproduction().rows}
    assert {key: rows[key].seeds for key in seeds} == seeds


@pytest.mark.parametrize(
    ("line", "gpus", "jobs"),
    [
        ("table=latro_gsm8k size=paper", True, 1),
        ("table=latro_gsm8k size=paper jobs=2", True, 2),
        ("table=latro_gsm8k size=paper launcher=slurm", True, 2),
        ("table=latro_gsm8k size=small", True, 1),
        ("table=latro_gsm8k size=small", False, 2),
        ("table=latro_gsm8k size=tiny", True, 2),
        ("table=pract size=paper", True, 2),
    ],
)
def test_two_trainings_are_not_put_on_the_same_gpus(line: str, gpus: bool, jobs: int, monkeypatch) -> None:
    monkeypatch.setattr(reproduce_request, "gpus_here", lambda: gpus)
    assert plan_of(read_request(line.split())).config.jobs == jobs


def asked_rows(line: str) -> dict[str, Row]:
    return {row.key: row for row in read_request(line.split()).reproduction().rows}


@pytest.mark.parametrize(
    ("model", "limits"), [("smollm2_135m", (64, 96, 128)), ("qwen_coder_0_5b", (144, 216, 288))]
)
def test_a_small_model_has_the_papers_ablations_of_length_and_votes(
    model: str, limits: tuple, tmp_path: Path
) -> None:
    rows = asked_rows(f"table=latro_gsm8k size=small model={model}")
    sources = ("base", "sft", "latro", f"latro_L={limits[0]}")
    asked = [f"{model}/{source}/L={limit}" for limit in limits for source in sources]
    asked.append(f"{model}/latro_L={limits[0]}/L={3 * limits[0]}")  # at the length of the main rows
    asked += [f"{model}/{source}/maj@{k}" for k in (2, 4, 16, 32) for source in ("base", "latro")]
    assert [key for key, row in rows.items() if row.section in ("rationale length", "votes")] == asked
    assert {rows[key].extra for key in asked} == {True}
    trained, tested = rows[f"{model}/latro_L={limits[0]}/L={limits[1]}"].jobs(tmp_path, 0)
    plan = plan_of(read_request(["table=latro_gsm8k", "size=small"]))
    (_, training), (_, evaluation) = composed(plan, [trained, tested])
    assert training.sampling.max_rationale_tokens == limits[0]
    assert (evaluation.evaluation.max_tokens, evaluation.evaluation.majority) == (limits[1], 0)
    longest = rows[f"{model}/latro_L={limits[0]}/L={3 * limits[0]}"]
    assert longest.against == (f"{model}/base",)  # a pair is measured alike
    (_, longer), (_, base) = composed(
        plan, [longest.jobs(tmp_path, 0)[-1], rows[f"{model}/base"].jobs(tmp_path, 0)[-1]]
    )
    assert longer.evaluation.majority == base.evaluation.majority


@pytest.mark.parametrize(
    ("line", "model"), [("latro_arc size=small", "smollm2_135m"), ("latro_arc size=paper", "mistral_7b")]
)
def test_sft_on_arc_learns_and_is_asked_direct_answers_and_no_other_row_is(line: str, model: str) -> None:
    asked = [*f"table={line}".split()]
    rows = {row.key: row for row in read_request(asked).reproduction().rows}
    prompts = {}
    for key in ("base", "sft", "latro"):
        jobs = rows[f"{model}/{key}"].jobs(Path("runs"), 0)
        prompts[key] = [cfg.task.prompt for _, cfg in composed(plan_of(read_request(asked)), jobs)]
    assert prompts == {"base": ["cot"], "sft": ["direct", "direct"], "latro": ["cot", "cot"]}


@pytest.mark.parametrize(
    ("line", "key", "takes"),
    [
        ("latro_gsm8k size=tiny", "base", "an evaluation, 20 s of a core a seed; before the first the model is pretrained, three to five minutes of a core, and cached"),  # noqa: E501
        ("latro_gsm8k size=tiny", "latro", "a training, half a minute of a core a seed, then an evaluation, 20 s of a core a seed"),  # noqa: E501
        ("latro_gsm8k size=tiny", "sft/L=6", "an evaluation, 20 s of a core a seed, of what sft trains; left out to keep the table within 20 minutes"),  # noqa: E501
        ("latro_arc size=small", "smollm2_135m/base/maj@32", "an evaluation, about an hour on two cores, minutes on a GPU"),  # noqa: E501
        ("latro_gsm8k size=paper", "phi35_mini/latro/L=300", "an evaluation on one GPU, of what phi35_mini/latro trains"),  # noqa: E501
        ("latro_gsm8k size=paper", "phi35_mini/latro_L=200/L=200", "a training on 8 GPUs, then an evaluation on one GPU"),  # noqa: E501
        ("latro_gsm8k size=paper", "mistral_7b/sft", "a training on 8 GPUs, then an evaluation on one GPU"),
    ],
)  # fmt: skip
def test_what_a_row_takes_is_its_own_training_or_only_an_evaluation(line: str, key: str, takes: str) -> None:
    rows = asked_rows(f"table={line}")
    assert rows[key].takes == takes
    assert all(row.takes for row in rows.values())


def test_commands_are_told_without_secrets(run) -> None:
    _, folder = run(*LATRO, "run=false", "evaluate_latro.+model.hub_token=hf_x")
    assert "hf_x" not in "".join(path.read_text() for path in folder.glob("reproduce.*"))
    assert "+model.hub_token=***" in cells(folder)["base/greedy"]["command"]


def test_what_failed_is_a_row_its_chain_ends_and_the_rest_goes_on(run, monkeypatch, capsys) -> None:
    monkeypatch.setenv("REPRODUCTION_FAILS", "jobs/sft/")
    status, folder = run(*LATRO, "only=base,sft,latro", "seeds=0")
    assert status == 1
    found = cells(folder)
    assert {key: cell["status"] for key, cell in found.items() if key.endswith("/greedy")}[
        "sft/greedy"
    ] == "failed"
    assert found["sft/greedy"]["why"] == "sft/seed=0: the job is unlucky"
    assert found["latro/greedy"]["status"] == "done"
    assert "sft-evaluated/seed=0" not in starts(folder)
    assert "failed: sft/seed=0: the job is unlucky: sft" not in capsys.readouterr().err
    monkeypatch.delenv("REPRODUCTION_FAILS")
    assert run(*LATRO, "only=base,sft,latro", "seeds=0")[0] == 0
    assert cells(folder)["sft/greedy"]["ours"] == 0.5
    assert starts(folder) == {
        "base-evaluated/seed=0": 1, "latro/seed=0": 1, "latro-evaluated/seed=0": 1, "sft/seed=0": 2,
        "sft-evaluated/seed=0": 1,
    }  # fmt: skip


@pytest.mark.parametrize("launcher", ["local", "slurm_local"])
def test_a_failed_evaluation_keeps_its_sisters_from_nothing(run, monkeypatch, launcher: str) -> None:
    if launcher != "local":
        pytest.importorskip("submitit")
    monkeypatch.setenv("REPRODUCTION_FAILS", "L=6-evaluated")
    asked = (*LATRO, "only=latro,latro/L=6,latro/L=10", "seeds=0", f"launcher={launcher}")
    for started in (1, 2):  # the second time the training is done, and the failed one comes first
        status, folder = run(*asked)
        assert status == 1
        assert starts(folder) == {
            "latro/seed=0": 1, "latro-evaluated/seed=0": 1, "latro/L=6-evaluated/seed=0": started,
            "latro/L=10-evaluated/seed=0": 1,
        }  # fmt: skip
        found = cells(folder)
        assert found["latro/L=6/greedy"]["why"] == "latro/L=6-evaluated/seed=0: the job is unlucky"
        assert (found["latro/greedy"]["status"], found["latro/L=10/greedy"]["status"]) == ("done", "done")
        (folder / "jobs/latro/L=10-evaluated/seed=0/results.json").unlink(missing_ok=started == 2)
        (folder / "jobs/latro/L=10-evaluated/seed=0/starts.txt").unlink()


def test_killed_half_way_and_started_again_it_redoes_nothing(run, tmp_path: Path) -> None:
    patched = (
        "import sys, scripts.launching as launching; from tests.scripts.test_reproduce import fake; "
        "launching.command = fake; from scripts.reproduce import main; sys.exit(main(sys.argv[1:]))"
    )
    asked = (*LATRO, "only=base,sft,latro", "seeds=0", "jobs=1")
    parent = subprocess.Popen(
        [sys.executable, "-c", patched, *asked, f"folder={tmp_path}/run"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "REPRODUCTION_HANGS": "jobs/sft-evaluated"},
    )
    deadline = time.monotonic() + 120
    while not (hanging := list(tmp_path.rglob("hanging"))) and time.monotonic() < deadline:
        time.sleep(0.05)
    parent.send_signal(signal.SIGKILL)  # no time for last words
    out, _ = parent.communicate(timeout=60)
    child = int(hanging[0].read_text())
    deadline = time.monotonic() + 20
    while running(child) and time.monotonic() < deadline:  # ended with its parent, it lets go of its folder
        time.sleep(0.05)
    assert not running(child)
    assert "5 jobs, 0 of them finished before" in out
    before = starts(tmp_path / "run")
    status, folder = run(*asked)
    assert status == 0
    after = starts(folder)
    assert {name for name in before if after[name] > before[name]} == {"sft-evaluated/seed=0"}
    assert {cell["status"] for key, cell in cells(folder).items() if key.split("/")[0] in ("base", "sft", "latro")
            and key.count("/") == 1} == {"done"}  # fmt: skip


def running(process: int) -> bool:
    """Whether it is there, and not merely waiting to be buried."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_on_a_cluster_an_evaluation_waits_for_its_training(run, monkeypatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("REPRODUCTION_FAILS", "jobs/sft/")
    status, folder = run(*LATRO, "only=base,sft,latro", "seeds=0", "launcher=slurm_local")
    assert status == 1
    assert starts(folder) == {
        "base-evaluated/seed=0": 1, "latro/seed=0": 1, "latro-evaluated/seed=0": 1, "sft/seed=0": 1,
    }  # fmt: skip
    assert cells(folder)["latro/greedy"]["ours"] == 7 / 8


def test_a_training_made_anew_is_not_shown_by_what_was_evaluated_before(run, capsys) -> None:
    asked = (*LATRO, "only=base,latro", "seeds=0")
    status, folder = run(*asked)
    assert status == 0
    shutil.rmtree(folder / "jobs/latro/seed=0")
    assert run(*asked)[0] == 2
    jobs = folder / "jobs"
    assert capsys.readouterr().err == (
        f"error: {jobs}/latro-evaluated/seed=0 is finished, but not {jobs}/latro/seed=0, which it took up: it tells of "
        "an earlier run; delete it too\n"
    )
    shutil.rmtree(jobs / "latro-evaluated/seed=0")
    assert run(*asked)[0] == 0
    assert starts(folder) == {"base-evaluated/seed=0": 1, "latro/seed=0": 1, "latro-evaluated/seed=0": 1}


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (
            "train_latro.seed=3",
            "train_latro.seed=: the table has its own seed for each row: seeds=; leave it out",
        ),
        (
            "evaluate_latro.output_dir=x",
            "evaluate_latro.output_dir=: the table has its own output_dir: folder=;",
        ),
        ("seeds=0,0", "seeds=0,0: name each seed once"),
    ],
)
def test_what_the_table_decides_is_not_said_of_a_script(key: str, line: str, run, capsys) -> None:
    assert run(*LATRO, key)[0] == 2
    assert line in capsys.readouterr().err


def test_what_learning_cost_is_a_mean_over_the_seeds_that_ended(tmp_path: Path) -> None:
    row = replace(asked_rows("table=pract size=tiny")["batch"], seeds=(0, 1, 2))
    for seed, calls in ((1, 10), (2, 13)):
        folder = row.jobs(tmp_path, seed)[0].folder
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps({"cost": {"calls": calls, "tokens": 100}}))
    assert learning_costs(row, tmp_path, [1, 2]) == {"calls": 11.5, "tokens": 100.0}
    assert learning_costs(row, tmp_path, [0]) == {}


def test_agents_are_read_by_their_arms_with_what_learning_cost(run, capsys) -> None:
    status, folder = run("table=pract", "size=tiny", "only=act,react,batch,traj")
    assert status == 0
    found = cells(folder)
    batch = found["batch/score"]
    assert (batch["ours"], batch["costs"]) == (1.0, {"calls": 12, "tokens": 3400})
    assert {change["from"]: change["value"] for change in batch["changes"]} == {
        "act": pytest.approx(4 / 6), "react": pytest.approx(4 / 6), "traj": 0.0,
    }  # fmt: skip
    assert batch["paper"].startswith("claim: better than ReAct")
    assert found["shop/react/score"]["why"].startswith("needs a recording of it")
    assert found["shop/react/score"]["command"] == ""
    assert "REPLAY: no model is asked" in capsys.readouterr().out


def test_every_method_learns_with_the_same_limit_of_calls_and_gepa_has_episodes_left() -> None:
    for asked, env in (
        ("size=small model_path=m.gguf env=todo", "todo"),
        ("size=paper env.data=d", "webshop"),
    ):
        request = read_request(["table=pract", *asked.split()])
        learned = {
            row.key.removeprefix(f"{env}/"): row.jobs(request.folder, 0)[0]
            for row in request.reproduction().rows
            if row.training is not None and row.key.startswith(env)
        }
        assert list(learned) == ["batch", "traj", "self_batch", "self_traj", "reflexion", "ace", "gepa"]
        methods = ["PrincipleOptimizer"] * 4 + ["NotesOptimizer", "DeltaOptimizer", "optimize_with_gepa"]
        found = [cfg for _, cfg in composed(plan_of(request), list(learned.values()))]
        assert [cfg.method["_target_"].rpartition(".")[2] for cfg in found] == methods
        assert {(cfg.budget.calls, cfg.rpo.train_tasks) for cfg in found} == {
            (400, 12) if env == "todo" else (10000, 40)
        }
        gepa = found[-1]
        assert gepa.method.metric_calls >= 5 * (gepa.rpo.validation_tasks + gepa.method.minibatch)


def test_environments_that_ask_a_service_need_its_record(tmp_path: Path) -> None:
    (tmp_path / "movie_record.jsonl").write_text("")
    rows = asked_rows(f"table=pract size=paper env.data=d env.records={tmp_path}")
    trained, tested = rows["movie/batch"].jobs(tmp_path, 0)
    for job in (trained, tested):
        assert f"env.records='{tmp_path}/movie_record.jsonl'" in job.overrides
    assert {env: rows[f"{env}/batch"].impossible for env in ("webshop", "movie", "weather")} == {
        "webshop": "",
        "movie": "",
        "weather": f"{tmp_path}/weather_record.jsonl, what the service answers: env.records=FOLDER (docs/pract.md)",
    }
    assert not any("records" in word for word in rows["webshop/batch"].jobs(tmp_path, 0)[0].overrides)
    rows = asked_rows("table=pract size=paper env.data=d")
    assert rows["academia/act"].impossible.startswith(
        "FOLDER/academia_record.jsonl, what the service answers"
    )


def test_methods_that_no_recording_has_say_so(run) -> None:
    _, folder = run("table=pract", "size=tiny", "run=false")
    found = cells(folder)
    for key in ("ace/score", "gepa/success", "shop/ace/score", "shop/gepa/score"):
        assert found[key]["why"].startswith("needs a recording of it")
        assert (found[key]["command"], found[key]["paper"]) == ("", "later than the paper")


def test_an_evaluation_that_its_budget_cut_short_is_no_cell(tmp_path: Path) -> None:
    row = next(row for row in tiny().rows if row.key == "react")
    played = {"react": [episode("react", "t0", 1.0)]}
    agents(row.evaluated(tmp_path / "short", 0), played, stopped="budget: calls: budget.calls=13 is spent")
    agents(row.evaluated(tmp_path / "whole", 0), played)
    assert found_sheets(row, tmp_path / "short") == {}
    assert found_sheets(row, tmp_path / "whole")[0].arm == "react"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["table=latro_gms8k", "size=tiny"], "table=latro_gms8k: did you mean latro_gsm8k? There are latro_gsm8k, latro_arc, pract"),  # noqa: E501
        (["table=pract", "size=huge"], "size=huge: choose one of tiny, small, paper"),
        (["table=pract"], "size=: choose one of tiny, small, paper"),
        ([*LATRO, "only=bae"], "only=bae: there is no such row; there are base, sft, latro, "),
        ([*LATRO, "job=2"], "job=: there is no such key; did you mean jobs=?"),
        ([*LATRO, "jobs=0"], "jobs=0: give whole numbers of at least 1"),
        ([*LATRO, "seeds=a"], "seeds=a: give whole numbers"),
        (["table=pract", "size=tiny", "seeds=0,1"], "seeds=: table=pract size=tiny replays recordings, which have one seed; leave it out"),  # noqa: E501
        ([*LATRO, "task.path=x"], "task.path=: table=latro_gsm8k size=tiny does not use it; it uses seeds"),
        ([*LATRO, "phi35_mini.path=x"], "phi35_mini.path=: table=latro_gsm8k size=tiny does not use it"),
        (["table=pract", "size=paper", "env=webshop"], "env=: table=pract size=paper does not use it; it uses seeds, env.data, env.records"),  # noqa: E501
        (["table=pract", "size=tiny", "train_latro.max_steps=2"], "train_latro.KEY=: table=pract does not run it; it runs optimize_pract, evaluate_pract"),  # noqa: E501
        ([*LATRO, "-m"], "-m: write key=value"),
        ([*LATRO, "train_latro.max_stpes=2"], "there is no key 'max_stpes' in this configuration; did you mean 'max_steps'?; no job was started"),  # noqa: E501
        (["table=latro_gsm8k", "size=small", "model=gpt2"], "model=gpt2: size=small has recipes for smollm2_135m, qwen_coder_0_5b"),  # noqa: E501
        (["table=latro_gsm8k", "size=small", "task.path=nowhere", "seeds=0"], "nowhere"),
        (["table=pract", "size=small"], "needs a model: model_path=MODEL.gguf"),
        (["table=pract", "size=small", "model_path=no.gguf"], "model_path=no.gguf: no such file"),
        (["table=latro_arc", "size=paper", "run=true", "only=phi35_mini/base"], "needs 8 GPUs of 80 GB, and 0 are"),
        (["table=latro_arc", "size=paper", "only=phi35_mini/base", "hardware=abacus"], "hardware='abacus': give"),
    ],
)  # fmt: skip
def test_bad_requests_are_refused_in_one_line_before_any_job(
    arguments, line, run, capsys, monkeypatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    status, folder = run(*arguments)
    err = capsys.readouterr().err
    assert (status, err.count("\n")) == (2, 1), err
    assert line in err
    assert starts(folder) == {}


def test_a_results_file_that_was_cut_in_half_is_named_and_nothing_is_lost(run, capsys) -> None:
    asked = (*LATRO, "only=base,latro", "seeds=0")
    _, folder = run(*asked)
    whole = folder / "jobs/latro-evaluated/seed=0/results.json"
    text = whole.read_text()
    whole.write_text(text[: len(text) // 2])
    assert run(*asked)[0] == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"{whole}: damaged or cut off; delete it and start again" in err
    whole.write_text(text)
    items = whole.with_name("items.jsonl")
    items.write_text(items.read_text()[:-40])
    assert run(*asked)[0] == 2
    assert f"{items}, line 8: damaged or cut off" in capsys.readouterr().err
    whole.unlink()
    assert run(*asked)[0] == 0
    assert starts(folder)["latro/seed=0"] == 1


def test_a_full_disk_is_said_in_one_line_and_what_was_run_stays(run, monkeypatch, capsys) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(reproduce, "write_text", full)
    status, folder = run(*LATRO, "only=base", "seeds=0")
    err = capsys.readouterr().err
    assert (status, err.count("\n")) == (2, 1)
    assert "the disk is full while writing" in err
    monkeypatch.undo()
    monkeypatch.setattr(launching, "command", fake)
    assert run(*LATRO, "only=base", "seeds=0")[0] == 0
    assert starts(folder) == {"base-evaluated/seed=0": 1}


def test_an_empty_folder_is_begun_in_and_a_file_is_refused(run, tmp_path: Path, capsys) -> None:
    (tmp_path / "run/jobs/base-evaluated/seed=0").mkdir(parents=True)
    assert run(*LATRO, "only=base", "seeds=0")[0] == 0
    (tmp_path / "file").write_text("")
    assert main([*LATRO, f"folder={tmp_path}/file/run"]) == 2
    assert "is a file; choose another" in capsys.readouterr().err


def test_two_reproductions_do_not_work_in_one_folder(run, tmp_path: Path, capsys) -> None:
    from filelock import FileLock

    (tmp_path / "run").mkdir()
    with FileLock(tmp_path / "run/.lock"):
        assert run(*LATRO, "only=base", "seeds=0")[0] == 2
    assert "another sweep is at work there; wait for it, or give another folder=" in capsys.readouterr().err


def test_the_clerks_recording_is_what_size_tiny_asks_today(tmp_path: Path) -> None:
    """If this fails, prompts, tasks or rows changed: python -m tests.scripts.clerk"""
    record_study(tmp_path / "anew.jsonl", tmp_path / "study")
    anew = (tmp_path / "anew.jsonl").read_text().splitlines()
    shipped = lzma.decompress(STUDY.read_bytes()).decode().splitlines()

    def asked(lines: list[str]) -> set[tuple[str, str, str]]:
        rows = [json.loads(line) for line in lines[1:]]
        return {(row["tag"], json.dumps(row["prompt"]), row["reply"]["text"]) for row in rows}

    assert asked(anew) == asked(shipped)
    assert json.loads(shipped[0])["model"] == "clerk (made up)"

"""Sweeps with children that are made up: what is planned, started, taken up again, told and stopped."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from latro.errors import InputError
from scripts import launching
from scripts.sweep import Sweep, main, tell
from scripts.sweep_folders import changed_keys, is_finished, refuse_other_runs
from scripts.sweep_plan import Job, file_name, quoted, read_plan
from scripts.sweep_results import Result, measured, with_figures
from scripts.sweep_table import effects, print_sweep, sweep_json

ROOT = Path(__file__).parents[2]
CHILD = f"launch='{sys.executable} {Path(__file__).with_name('fake_child.py')}'"
SMOKE = ("experiment=latro/smoke", CHILD)


@pytest.fixture
def swept(tmp_path: Path):
    """Sweeps in a folder of its own; gives the exit status and the folder."""

    def call(*arguments: str) -> tuple[int, Path]:
        return main([*SMOKE, f"sweep_dir={tmp_path}/sweep", *arguments]), tmp_path / "sweep"

    return call


def starts(folder: Path) -> int:
    return sum(len(path.read_text().splitlines()) for path in folder.rglob("starts.txt"))


def test_a_grid_has_a_folder_for_each_job() -> None:
    plan = read_plan(
        ["experiment=latro/smoke", "seed=range(0,2)", "objective.kl_weight=0.01,0.05", "max_steps=2"]
    )
    jobs = plan.grid()
    assert [job.name for job in jobs] == [
        "objective.kl_weight=0.01/seed=0", "objective.kl_weight=0.05/seed=0",
        "objective.kl_weight=0.01/seed=1", "objective.kl_weight=0.05/seed=1",
    ]  # fmt: skip
    assert jobs[1].overrides == (
        "experiment=latro/smoke",
        "max_steps=2",
        "seed=0",
        "objective.kl_weight=0.05",
    )
    assert str(plan.folder).startswith("runs/sweeps/latro_smoke-")
    other = read_plan(["experiment=latro/smoke", "seed=0,1,2", "max_steps=3"])
    assert other.folder != plan.folder
    recipe = ["experiment=pract/smoke", "seed=0,1"]
    learning, testing = (read_plan([f"script={s}_pract", *recipe]) for s in ("optimize", "evaluate"))
    assert learning.folder != testing.folder
    assert str(read_plan(["experiment=latro/smoke", "seed=0,1"]).folder) == "runs/sweeps/latro_smoke"
    assert str(read_plan(["script=evaluate_latro", "seed=0,1"]).folder) == "runs/sweeps/evaluate_latro"
    alike = read_plan(["script=train_latro", "separator='a b','a_b'"]).grid()
    assert len({job.folder for job in alike}) == 2  # their names differ only in what a file name loses


def test_a_program_that_is_not_there_is_a_failed_row(tmp_path: Path, capsys) -> None:
    assert main([SMOKE[0], f"sweep_dir={tmp_path}/s", "launch=no_such_program x", "seed=0,1"]) == 1
    why = "no_such_program cannot be started: No such file or directory"
    assert f"FAILED all/seed=0: {why}" in capsys.readouterr().out


def test_names_and_values_that_mean_something_elsewhere_are_taken_as_they_are(tmp_path: Path, capsys) -> None:
    assert quoted("it's") == r"'it\'s'"
    folder = tmp_path / "it's, a [b]"
    arguments = [*SMOKE, "++seed=0,1", "separator='$^$','[/x]'", "metric=eval/accuracy_greedy"]
    assert main([*arguments, f"sweep_dir={quoted(folder)}"]) == 0
    printed = capsys.readouterr().out
    assert "separator='[/x]'" in printed
    assert "(one seed)" not in printed
    assert (folder / "knob_separator.png").is_file()
    assert len(file_name("語" * 110).encode()) <= 130


def test_a_killed_job_names_its_signal(tmp_path: Path, capsys) -> None:
    killed = "launch='sh -c \"echo step 3; kill -{} $$\"'"
    for signal_number, why in [
        (9, "killed by SIGKILL, as happens where memory runs out: see plan=true, and run fewer jobs at once"),
        (6, "killed by signal 6 (Aborted): step 3"),
    ]:
        arguments = [
            SMOKE[0],
            f"sweep_dir={tmp_path}/{signal_number}",
            killed.format(signal_number),
            "seed=0,1",
        ]
        assert main(arguments) == 1
        assert f"FAILED all/seed=0: {why}" in capsys.readouterr().out


def test_a_sweeps_record_holds_no_secret() -> None:
    (job,) = read_plan([SMOKE[0], "+trainer.hub_token=hf_x", "seed=0"]).grid()
    assert job.overrides == (SMOKE[0], "+trainer.hub_token=hf_x", "seed=0")
    told = sweep_json([Result(job=job, status="finished")], ())
    assert told["jobs"][0]["overrides"] == [SMOKE[0], "+trainer.hub_token=***", "seed=0"]


def test_the_command_line_in_a_sweeps_record_is_masked(tmp_path: Path) -> None:
    arguments = [SMOKE[0], "+trainer.hub_token=hf_x", "seed=0,1", f"sweep_dir={tmp_path}"]
    tell(Sweep(plan=read_plan(arguments)), arguments)
    assert "hf_x" not in (tmp_path / "sweep.json").read_text()
    assert "+trainer.hub_token=***" in json.loads((tmp_path / "sweep.json").read_text())["command"]


def test_a_failed_job_is_a_row_and_the_rest_is_taken_up_again(swept, capsys) -> None:
    status, folder = swept("seed=0,7", "objective.kl_weight=0.01,0.05", "jobs=2")
    assert status == 1
    printed = capsys.readouterr().out
    assert "4 jobs, 0 of them finished before" in printed
    assert "FAILED objective.kl_weight=0.01/seed=7: the seed is unlucky" in printed
    with (folder / "sweep.csv").open() as file:
        rows = {row["job"]: row for row in csv.DictReader(file)}
    assert rows["objective.kl_weight=0.05/seed=7"]["error"] == "the seed is unlucky"
    assert float(rows["objective.kl_weight=0.05/seed=0"]["eval/accuracy_greedy@best"]) == 0.55
    assert float(rows["objective.kl_weight=0.05/seed=0"]["eval/accuracy_greedy@last"]) == pytest.approx(0.35)
    assert (folder / "knob_objective.kl_weight.png").stat().st_size > 5000
    status, _ = swept("seed=0,1,2", "objective.kl_weight=0.01,0.05", "metric=eval/accuracy_greedy")
    assert status == 0
    assert "6 jobs, 2 of them finished before" in capsys.readouterr().out
    assert starts(folder) == 4 + 4
    told = json.loads((folder / "sweep.json").read_text())
    assert told["command"][0] == "scripts.sweep"
    (effect,) = told["effects"]
    assert (effect["knob"], effect["value"], effect["difference"]["n"]) == ("objective.kl_weight", "0.05", 3)
    assert effect["difference"]["value"] == pytest.approx(0.04)
    assert effect["detectable"] is None  # the seeds are all alike

    setting = told["settings"][0]["eval/accuracy_greedy"]
    assert (setting["value"], setting["n"]) == (pytest.approx(0.52), 3)
    assert setting["high"] - setting["value"] == pytest.approx(
        4.302653 * 0.01 / 3**0.5
    )  # Student's, 2 degrees


def test_a_job_without_the_metric_is_a_row_that_says_so(swept, capsys) -> None:
    _, folder = swept("seed=0,1")
    place = folder / "jobs/all/seed=0/results.json"
    outcome = json.loads(place.read_text())
    del outcome["training"]
    place.write_text(json.dumps(outcome))
    capsys.readouterr()
    status, _ = swept("seed=0,1,2", "metric=[eval/accuracy_greedy,accuracy_greedy]")
    assert status == 0
    told = json.loads((folder / "sweep.json").read_text())["jobs"]
    assert [list(job["figures"]) for job in told] == [
        ["accuracy_greedy"], ["eval/accuracy_greedy", "accuracy_greedy"], ["eval/accuracy_greedy", "accuracy_greedy"],
    ]  # fmt: skip
    line = "metric=eval/accuracy_greedy: no such metric; there are none: no training"
    assert [job["error"] for job in told] == [line, "", ""]
    printed = capsys.readouterr()
    assert printed.err == f"warning: all/seed=0: {line}\n"
    assert f"finished: all/seed=0: {line}" in " ".join(printed.out.split())


def test_a_misspelt_metric_is_told_at_the_first_job_and_loses_nothing(swept, capsys) -> None:
    status, folder = swept("seed=0,1", "metric=[bleu,accuracy_greedy]")
    line = "metric=bleu: no such metric; there are accuracy_greedy,exact"
    assert status == 2
    assert capsys.readouterr().err == f"warning: all/seed=0: {line}\nerror: {line}\n"
    told = json.loads((folder / "sweep.json").read_text())
    assert [job["figures"] for job in told["jobs"]] == [{"accuracy_greedy": 0.5}, {"accuracy_greedy": 0.51}]
    assert (folder / "sweep.csv").read_text().startswith("job,status,seed,bleu,accuracy_greedy,")


def test_long_names_of_knobs_are_whole_where_there_is_no_terminal(capsys, monkeypatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    knob = "objective.a_very_long_name_of_a_knob_that_no_column_of_a_narrow_table_has_room_for"
    plan = read_plan(["experiment=latro/smoke", "seed=0,1", f"+{knob}=first_value,second_value"])
    metric = "eval/accuracy_greedy_of_a_long_name@best"
    results = [Result(job=job, status="finished", figures={metric: 0.5}) for job in plan.grid()]
    print_sweep(results, [metric])
    lines = capsys.readouterr().out.splitlines()
    name = knob.removeprefix("objective.")
    assert any(f"{name}=first_value " in line for line in lines)
    assert any(f"{name}: first_value → second_value " in line and metric in line for line in lines)
    narrow = Console(record=True, width=60)
    print_sweep(results, [metric], narrow)
    assert "…" not in narrow.export_text()


def test_an_effect_says_what_so_many_seeds_could_have_seen() -> None:
    plan = read_plan(["experiment=latro/smoke", "seed=0,1,2", "objective.kl_weight=0.01,0.05"])
    values = {("0.01", "0"): 0.5, ("0.01", "1"): 0.5, ("0.01", "2"): 0.5,
              ("0.05", "0"): 0.6, ("0.05", "1"): 0.7, ("0.05", "2"): 0.8}  # fmt: skip
    results = [
        Result(
            job=job,
            status="finished",
            figures={"a": values[job.knobs["objective.kl_weight"], job.knobs["seed"]]},
        )
        for job in plan.grid()
    ]
    (effect,) = effects(results, ["a"])
    stderr = 0.1 / 3**0.5
    assert effect.difference.value == pytest.approx(0.2)
    assert effect.detectable == pytest.approx(
        (4.302653 + 1.060660) * stderr, abs=1e-6
    )  # Student's of 2 degrees
    console = Console(record=True, width=120)
    print_sweep(results, ["a"], console)
    assert re.search(r"sees.*\n.*\n.*0\.31", console.export_text())


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["seed=0,1", "objective.kl_wieght=0,1"], "there is no key 'objective.kl_wieght' in this configuration; did you mean 'kl_weight'?; no job was started"),  # noqa: E501
        (["model=tiny,tinny"], "did you mean 'tiny'?"),
        (["seed=0"], "nothing is swept; give a key several values"),
        (["--config-dir", "a", "--config-dir", "b", "seed=0,1"], "--config-dir b: Hydra takes one such folder"),
        (["seed=0,1", "output_dir=x"], "each job of a sweep has a folder of its own"),
        (["seed=0,1", "jobs=0"], "jobs=0: give a whole number"),
        (["seed=0,1", "launcher=cloud"], "launcher=cloud: choose one of local, slurm, slurm_local"),
        (["seed=0,1", "script=train"], "script=train: no such script; there are "),
        (["objective.kl_weight=interval(0,1)"], "a grid needs values"),
        (["seed=0,1", "-m"], "-m: a sweep takes key=value"),
        (["objective.kl_weight=0,1", "sampler=optuna"], "sampler=optuna needs one metric"),
    ],
)  # fmt: skip
def test_bad_sweeps_are_refused_before_any_job(arguments, line, swept, capsys) -> None:
    status, folder = swept(*arguments)
    err = capsys.readouterr().err
    assert (status, err.count("\n")) == (2, 1), err
    assert line in err
    assert starts(folder) == 0


def test_a_job_of_another_configuration_is_not_taken_for_this_one(swept, capsys) -> None:
    _, folder = swept("seed=0,1")
    (folder / "jobs/all/seed=0/config.yaml").write_text("seed: 5\n")
    assert swept("seed=0,1")[0] == 2
    assert "holds a run with another configuration" in capsys.readouterr().err


def test_two_sweeps_do_not_work_in_one_folder(swept, tmp_path: Path, capsys) -> None:
    from filelock import FileLock

    (tmp_path / "sweep").mkdir()
    with FileLock(tmp_path / "sweep/.lock"):
        assert swept("seed=0,1")[0] == 2
    assert "another sweep is at work there" in capsys.readouterr().err


def test_ctrl_c_stops_the_children_and_what_was_done_is_told(tmp_path: Path) -> None:
    # A shell that starts the tests in the background lets them ignore SIGINT, and what they start inherits that.
    listening = (
        "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "runpy.run_module('scripts.sweep', run_name='__main__', alter_sys=True)"
    )
    command = [sys.executable, "-c", listening, *SMOKE, f"sweep_dir={tmp_path}/sweep", "seed=0,8,1"]
    sweep = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("hanging")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(sweep.pid, signal.SIGINT)
    out, err = sweep.communicate(timeout=120)
    assert sweep.returncode == 130, err
    assert (tmp_path / "sweep/jobs/all/seed=8/interrupted").exists()
    assert "not run: all/seed=1: the sweep was stopped" in out
    told = json.loads((tmp_path / "sweep/sweep.json").read_text())
    assert [job["status"] for job in told["jobs"]] == ["finished", "not run", "not run"]


def test_wandb_runs_of_a_sweep_share_a_group(tmp_path: Path, monkeypatch) -> None:
    asked: list[list[str]] = []
    real = launching.command
    monkeypatch.setattr(launching, "command", lambda *given: asked.append(real(*given)) or asked[-1])
    where = f"sweep_dir={tmp_path}/kl_study"
    assert main([*SMOKE, where, "seed=0,1", "logger=wandb"]) == 0
    assert [("logger.group='kl_study'" in arguments) for arguments in asked] == [True, True]
    assert not any("logger.group" in " ".join(arguments[:-2]) for arguments in asked)


def test_cluster_jobs_run_through_submitits_own_executor(swept) -> None:
    pytest.importorskip("submitit")
    status, folder = swept("seed=0,7", "launcher=slurm_local")
    assert status == 1
    told = json.loads((folder / "sweep.json").read_text())
    assert [(job["status"], job["error"]) for job in told["jobs"]] == [
        ("finished", ""), ("failed", "the seed is unlucky"),
    ]  # fmt: skip


def test_a_cluster_that_refuses_the_jobs_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    submitit = pytest.importorskip("submitit")

    def refused(self: object, commands: object) -> None:
        raise submitit.core.utils.FailedJobError("sbatch: error: invalid partition")

    monkeypatch.setattr(submitit.AutoExecutor, "_internal_process_submissions", refused)
    assert main([*SMOKE, f"sweep_dir={tmp_path}/s", "seed=0,7", "launcher=slurm_local"]) == 2
    assert (
        "error: launcher=slurm_local: sbatch: error: invalid partition; see slurm=" in capsys.readouterr().err
    )


def test_optuna_searches_and_goes_on_where_it_was(swept) -> None:
    pytest.importorskip("optuna")
    search = (
        "seed=0,1",
        "objective.kl_weight=interval(0,0.2)",
        "sampler=optuna",
        "metric=eval/accuracy_greedy",
    )
    status, folder = swept(*search, "trials=2")
    assert (status, starts(folder)) == (0, 4)
    swept(*search, "trials=3")
    assert starts(folder) == 6
    told = json.loads((folder / "sweep.json").read_text())
    weights = {float(job["knobs"]["objective.kl_weight"]) for job in told["jobs"]}
    assert len(weights) == 3
    assert all(0 <= weight <= 0.2 for weight in weights)


def test_metrics_are_found_by_name_and_by_step() -> None:
    evaluations = {"0": {"eval/a": 0.1}, "5": {"eval/a": 0.9}, "10": {"eval/a": 0.4}, "15": {"eval/a": 0.6}}
    outcome = {
        "results": {
            "sums": {"accuracy_greedy,exact": 0.9, "accuracy_greedy_stderr,exact": 0.1, "alias": "sums"}
        },
        "main_metric": {"sums": "accuracy_greedy,exact"},
        "training": {"best_step": 5, "evaluations": evaluations},
    }
    found = [measured(outcome, f"eval/a{at}") for at in ("", "@best", "@last", "@start", "@lowest")]
    assert found == [0.9, 0.9, 0.6, 0.1, 0.4]
    assert measured(outcome, "eval/a@mean") == pytest.approx((0.9 + 0.4 + 0.6) / 3, abs=1e-15)
    assert measured(outcome, "accuracy_greedy") == 0.9
    for metric, words in (
        ("bleu", "there are accuracy_greedy,exact"),
        ("eval/b", "there are eval/a"),
        ("eval/a@x", "one of best"),
    ):
        with pytest.raises(InputError, match=words):
            measured(outcome, metric)


def test_a_value_that_another_machine_chose_is_no_other_configuration(tmp_path: Path) -> None:
    job = Job(name="a", knobs={}, overrides=(), folder=tmp_path, script="train_latro")
    here = "${where_bfloat16_is_fast:bfloat16,float32}"
    cfg = OmegaConf.create({"model": {"dtype": here, "path": "a"}, "seed": 0})
    (tmp_path / "config.yaml").write_text("model: {dtype: elsewhere, path: b}\nseed: 0\n")
    assert changed_keys(job, cfg) == ["model.path"]


def agents(folder: Path, written: str, **outcome: object) -> Job:
    (folder / "config.yaml").write_text(written)
    if outcome:
        (folder / "results.json").write_text(json.dumps(outcome))
    return Job(name="a", knobs={}, overrides=(), folder=folder, script="evaluate_pract")


def test_a_job_of_agents_is_taken_further_by_what_may_change(tmp_path: Path) -> None:
    written = "budget: {usd: 20}\nretry_failed: false\nllm: {prices: {prompt: 1.0}, context_tokens: 4096}\n"
    job = agents(tmp_path, written)
    cfg = OmegaConf.create(
        {
            "budget": {"usd": 40},
            "retry_failed": True,
            "llm": {"prices": {"prompt": 2.0}, "context_tokens": 8192},
        }
    )
    assert changed_keys(job, cfg) == ["budget.usd", "retry_failed", "llm.prices.prompt", "llm.context_tokens"]
    with pytest.raises(InputError, match=r"another configuration \(llm.context_tokens\)"):
        refuse_other_runs(job, cfg)
    job = agents(tmp_path, written, stopped="", results={})
    cfg.retry_failed = False
    assert is_finished(job, cfg)  # it did not need the money
    cfg.retry_failed = True
    assert not is_finished(job, cfg)


def test_figures_of_an_evaluation_that_ran_out_of_money_are_left_out(tmp_path: Path) -> None:
    job = agents(tmp_path, "seed: 0\n", stopped="budget: usd", results={"env": {"score,mean": 0.5}})
    (result,), names = with_figures([Result(job=job, status="finished")], ["score,mean"])
    assert names == ("score,mean",)
    assert (result.figures, result.error) == ({}, "budget: usd: not all tasks were played")


def test_a_sweep_that_may_spend_more_keeps_its_folder() -> None:
    fixed = ["script=evaluate_pract", "env=todo", "seed=0,1"]
    folder = read_plan([*fixed, "budget.usd=20"]).folder
    assert folder == read_plan([*fixed, "budget.usd=40", "retry_failed=true"]).folder
    assert folder != read_plan([*fixed, "limit=3"]).folder

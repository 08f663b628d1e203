"""What a run writes as it goes, from rows of metrics written by hand; no model."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf
from transformers import TrainerControl

from scripts.callbacks import BestFound, Patience, Recorder, evaluation_line, patience
from scripts.run import Run

EVERY_KEY_EQUAL = {"loss": 0.0, "frac_reward_zero_std": 1.0, "grad_norm": 1.0}
IGNORED = {"eval_logp_answer/own": -2.0, "eval_logp_answer/other": -2.0, "eval_logp_answer/none": -3.0}


def log(recorder: Recorder, steps: range) -> None:
    """Steps whose prompts all have equal rewards, with an evaluation after every third."""
    none: Any = None
    for step in steps:
        state: Any = SimpleNamespace(global_step=step, is_world_process_zero=True)
        recorder.on_log(none, state, none, dict(EVERY_KEY_EQUAL))
        if step % 3 == 0:
            recorder.on_log(none, state, none, dict(IGNORED))


def test_run_that_is_taken_up_warns_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    whole, parted = (
        Run(OmegaConf.create({"output_dir": str(tmp_path / name)})) for name in ("whole", "parted")
    )
    log(Recorder(whole), range(1, 13))
    log(Recorder(parted), range(1, 9))
    parted.rewind(6)
    log(Recorder(parted), range(7, 13))
    assert [(row["step"], row["warning"][:24]) for row in whole.rows("health")] == [
        (3, "the answer is as likely "),
        (5, "100% of the prompts give"),
    ]
    assert parted.rows("health") == whole.rows("health")
    assert parted.rows("metrics") == whole.rows("metrics")


def test_an_evaluation_is_one_line_with_the_kinds_that_were_scored() -> None:
    logs = {"eval_accuracy_greedy": 0.25, "eval_unfinished": 0.5, **IGNORED}
    assert evaluation_line(logs | {"eval_logp_answer/gold": -1.0}) == (
        "validation accuracy 25.0% · log π(answer) -2.00 with its rationale, -3.00 without, -1.00 with the gold one, "
        "-2.00 with another's · 50% unfinished"
    )


def test_a_steps_time_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that of loading, of saving, or of steps that were not logged."""
    clock = iter([0.0, 100.0, 103.0, 107.0, 110.0, 111.0, 150.0, 152.0, 153.0])
    monkeypatch.setattr("scripts.callbacks.time.perf_counter", lambda: next(clock))
    run = Run(OmegaConf.create({"output_dir": str(tmp_path)}))
    none: Any = None
    recorder = Recorder(run)  # at 0
    state: Any = SimpleNamespace(global_step=1, is_world_process_zero=True)
    recorder.on_train_begin(none, state, none)  # at 100
    recorder.on_step_begin(none, state, none)
    recorder.on_step_end(none, state, none)
    state.global_step = 2
    recorder.on_step_begin(none, state, none)
    recorder.on_step_end(none, state, none)
    recorder.on_save(none, state, none)  # at 150
    state.global_step = 3
    recorder.on_step_begin(none, state, none)
    recorder.on_step_end(none, state, none)
    times = [(row["sample_time"], row["update_time"], row["step_time"]) for row in run.rows("timing")]
    assert times == [(3, 4, 7), (3, 1, 4), (2, 1, 3)]


def test_on_a_gpu_a_steps_time_ends_with_its_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[str] = []
    monkeypatch.setattr("scripts.callbacks.settle", lambda: waited.append("settled"))
    monkeypatch.setattr(
        "scripts.callbacks.gpu", lambda: SimpleNamespace(max_memory_allocated=lambda: 2_500_000_000)
    )
    run = Run(OmegaConf.create({"output_dir": str(tmp_path)}))
    none: Any = None
    recorder = Recorder(run)
    recorder.on_step_begin(none, none, none)
    assert waited == ["settled"]
    recorder.on_step_end(none, SimpleNamespace(global_step=1, is_world_process_zero=True), none)  # type: ignore[arg-type]
    assert waited == ["settled", "settled"]
    assert [row["gpu_memory_gb"] for row in run.rows("timing")] == [2.5]


def test_a_warning_that_a_run_was_stopped_behind_is_written_once(tmp_path: Path) -> None:
    """An evaluation that is made again, as its row was dropped, says again what it said."""
    run = Run(OmegaConf.create({"output_dir": str(tmp_path)}))
    log(Recorder(run), range(1, 4))
    said = run.rows("health")
    assert said
    kept = [row for row in run.rows("metrics") if not any(name.startswith("eval/") for name in row)]
    run.write_table("metrics", kept)
    state: Any = SimpleNamespace(global_step=3, is_world_process_zero=True)
    none: Any = None
    Recorder(run).on_log(none, state, none, dict(IGNORED))
    assert run.rows("health") == said


def test_the_best_checkpoint_is_found_where_the_run_lies_now(tmp_path: Path) -> None:
    run = Run(OmegaConf.create({"output_dir": str(tmp_path / "moved")}))
    (run.checkpoints / "checkpoint-2").mkdir(parents=True)
    none: Any = None
    for step, named in ((2, str(run.checkpoints / "checkpoint-2")), (4, None), (None, None)):
        state: Any = SimpleNamespace(best_global_step=step, best_model_checkpoint=None)
        BestFound(run).on_train_begin(none, state, none)
        assert state.best_model_checkpoint == named


@pytest.mark.parametrize(
    ("values", "greater", "ends"),
    [
        ([0.2, 0.5, 0.4], None, False),
        ([0.2, 0.5, 0.4, 0.5], None, True),  # as good is not better
        ([0.2, 0.5, 0.4, 0.6], None, False),
        ([0.5, 0.2, 0.3, 0.4], False, True),
        ([0.3], None, False),
    ],
)
def test_training_ends_after_so_many_evaluations_without_a_better_one(
    values: list[float], greater: bool | None, ends: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    args: Any = SimpleNamespace(metric_for_best_model="accuracy_greedy", greater_is_better=greater)
    history = [{"eval_accuracy_greedy": value} for value in values] + [{"loss": 1.0}]
    state: Any = SimpleNamespace(log_history=history, global_step=30, is_world_process_zero=True)
    control = TrainerControl()
    Patience(2).on_evaluate(args, state, control)
    assert control.should_training_stop is ends
    said = capsys.readouterr().err
    best = min(values) if greater is False else max(values)
    line = f"step 30: 2 evaluations without a better accuracy_greedy than {best:.3g}; the training ends (patience)"
    assert (line in said) is ends
    taken_up = TrainerControl()
    Patience(2).on_train_begin(args, state, taken_up)
    assert taken_up.should_training_stop is ends
    state.log_history = [{"loss": 1.0}]
    Patience(2).on_train_begin(args, state, taken_up)


def test_without_patience_nothing_is_watched() -> None:
    assert patience(OmegaConf.create({"patience": None})) == []
    (watcher,) = patience(OmegaConf.create({"patience": 3}))
    assert watcher.evaluations == 3

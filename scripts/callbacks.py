"""What a training run shows and writes: tables in the run folder, a progress bar, samples, warnings, trackers."""

import sys
import textwrap
import time
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig
from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from latro.health import HealthMonitor
from latro.records import Sample
from scripts.folders import table
from scripts.measuring import gpu, settle
from scripts.run import Run
from scripts.tables import has_evaluation
from scripts.training_story import greater_is_better

SUMMARY = ("train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos", "train_loss")
BAR = {"reward": "reward", "latro/logp_answer": "logp", "kl": "kl", "completions/mean_length": "len"}


class Recorder(TrainerCallback):
    """Writes metrics, timing and warnings; only the main process does."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.monitor = HealthMonitor()
        self.said: set[tuple[int, str]] = set()
        if run.writes:  # alone: another process might read what is being cut
            for row in table(run.folder, "metrics"):
                self.warnings(row)  # a run that is taken up knows what it has seen, and what it has said
            self.said = {(row["step"], row["warning"]) for row in table(run.folder, "health")}
        self.step_started = time.perf_counter()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Count from here: loading is no step's time."""
        self.step_started = time.perf_counter()

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Count from here: saving is no step's time."""
        self.step_started = time.perf_counter()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Remember when scoring and updating began: sampling is what came before."""
        settle()
        self.update_started = time.perf_counter()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write how long the step took, and on a GPU the most that its tensors have taken so far."""
        settle()
        if state.is_world_process_zero:
            now = time.perf_counter()
            started, self.step_started = self.step_started, now
            row = {
                "step": state.global_step,
                "step_time": now - started,
                "sample_time": self.update_started - started,
                "update_time": now - self.update_started,
            }
            if (cuda := gpu()) is not None:
                row["gpu_memory_gb"] = cuda.max_memory_allocated() / 1e9
            self.run.append("timing", [row])

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write a row of metrics; say what has gone wrong."""
        self.step_started = time.perf_counter()
        if not state.is_world_process_zero or not logs:
            return
        row = {renamed(name): value for name, value in logs.items() if name not in SUMMARY}
        summary = {name: logs[name] for name in SUMMARY if name in logs}
        if summary:
            self.run.append("timing", [{"step": state.global_step, **summary}])
            return
        self.run.append("metrics", [{"step": state.global_step, **row}])
        warnings = self.warnings(row)
        fresh = [text for text in warnings if (state.global_step, text) not in self.said]
        self.run.append("health", [{"step": state.global_step, "warning": text} for text in fresh])
        for warning in warnings:
            tqdm.write(f"warning, step {state.global_step}: {warning}", file=sys.stderr)

    def warnings(self, row: Mapping[str, float]) -> list[str]:
        """New warnings from a row of metrics, of a step or of an evaluation."""
        evaluation = {name.removeprefix("eval/"): v for name, v in row.items() if name.startswith("eval/")}
        return self.monitor.evaluation(evaluation) if evaluation else self.monitor.step(row)


def renamed(name: str) -> str:
    """`eval_accuracy` as `eval/accuracy`: the trainer insists on the one, trackers and readers on the other."""
    return "eval/" + name.removeprefix("eval_") if name.startswith("eval_") else name


class BestFound(TrainerCallback):
    """Finds the best checkpoint in the run's own folder: a state that is loaded names it by where it was written."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Name it as it lies now."""
        place = self.run.checkpoints / f"checkpoint-{state.best_global_step}"
        if state.best_global_step and place.is_dir():
            state.best_model_checkpoint = str(place)


class Patience(TrainerCallback):
    """Ends the training after so many evaluations in a row without a better one, by the metric that chooses `best/`.

    It asks the trainer's own history, which is the same on all processes and kept with every checkpoint.
    """

    def __init__(self, evaluations: int) -> None:
        self.evaluations = evaluations

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Look at what a run that is taken up knows: it may have ended, and been killed before its results."""
        if any(has_evaluation(row) for row in state.log_history):
            self.on_evaluate(args, state, control)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Count those behind the best one."""
        metric = str(args.metric_for_best_model).removeprefix("eval_")
        values = [row[f"eval_{metric}"] for row in state.log_history if f"eval_{metric}" in row]
        best = (max if greater_is_better(args.greater_is_better, metric) else min)(values)
        since = len(values) - 1 - values.index(best)
        if since < self.evaluations:
            return
        control.should_training_stop = True
        if state.is_world_process_zero:
            tqdm.write(
                f"step {state.global_step}: {since} evaluations without a better {metric} than {best:.3g}; "
                "the training ends (patience)",
                file=sys.stderr,
            )


def patience(cfg: DictConfig) -> list[TrainerCallback]:
    """`Patience` where it is asked for."""
    return [Patience(cfg.patience)] if cfg.patience else []


class ProgressBar(TrainerCallback):
    """Steps done with the time left, quiet when nobody watches; prints the evaluations."""

    def __init__(self, description: str) -> None:
        self.description = description
        self.bar: tqdm | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Open the bar."""
        if state.is_world_process_zero:
            self.bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                desc=self.description,
                unit="step",
                dynamic_ncols=True,
                mininterval=0.5 if sys.stderr.isatty() else 15,
            )

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Move on by one."""
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Show the latest figures."""
        if self.bar is None or not logs:
            return
        shown = {label: f"{logs[name]:.2f}" for name, label in BAR.items() if name in logs}
        if shown:
            self.bar.set_postfix(shown, refresh=False)
        if "eval_accuracy_greedy" in logs:
            self.bar.write(f"step {state.global_step}: " + evaluation_line(logs), file=sys.stderr)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Close the bar."""
        self.close()

    def close(self) -> None:
        """End the bar's line, so that what is printed next stands on its own."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def evaluation_line(logs: Mapping[str, float]) -> str:
    """An evaluation in one line."""
    parts = [f"validation accuracy {logs['eval_accuracy_greedy']:.1%}"]
    kinds = {
        "own": "with its rationale",
        "none": "without",
        "gold": "with the gold one",
        "other": "with another's",
    }
    scores = [
        f"{logs[f'eval_logp_answer/{k}']:.2f} {t}"
        for k, t in kinds.items()
        if f"eval_logp_answer/{k}" in logs
    ]
    if scores:
        parts.append("log π(answer) " + ", ".join(scores))
    parts.append(f"{logs['eval_unfinished']:.0%} unfinished")
    return " · ".join(parts)


class SampleWriter:
    """Writes every step's samples, and prints one now and then."""

    def __init__(self, run: Run, every: int) -> None:
        self.run = run
        self.every = every

    def __call__(self, samples: list[Sample]) -> None:
        """Take the samples of one step."""
        self.run.append("samples", [sample.row() for sample in samples])
        if self.every and samples[0].step % self.every == 0:
            tqdm.write(show(samples), file=sys.stderr)


def show(samples: list[Sample]) -> str:
    """The first prompt's best and worst rationale with their rewards, as text."""
    group = [sample for sample in samples if sample.id == samples[0].id]
    best, worst = max(group, key=lambda s: s.reward), min(group, key=lambda s: s.reward)
    lines = [f"── step {best.step} · {best.id} ──", wrapped(best.prompt), f"gold: {best.answer}"]
    for name, sample in (("best", best), ("worst", worst)):
        lines.append(
            f"{name} of {len(group)}: reward {sample.reward:.2f} = log π(answer) {sample.log_answer:.2f}, "
            f"log-ratio {sample.log_ratio:.2f}; advantage {sample.advantage:+.2f}"
            + ("" if sample.finished else "; not finished")
        )
        lines.append(wrapped(sample.rationale or "(empty)"))
    return "\n".join(lines)


def wrapped(text: str, width: int = 100) -> str:
    """`text` as at most six indented lines."""
    joined = " ".join(text.split())
    return textwrap.fill(
        joined, width, initial_indent="    ", subsequent_indent="    ", max_lines=6, placeholder=" ..."
    )

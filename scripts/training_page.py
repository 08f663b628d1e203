"""The page of a training: curves, warnings, one question over the training, samples, results by grader. All escaped."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from scripts import stats
from scripts.curves import RATIONALES, averaged_over, not_finite, spacing, training_panels
from scripts.line_chart import figure
from scripts.page import fill, fold, number, picker, section, table, tiles
from scripts.progress import duration
from scripts.question_rendering import question_choices, sample_choices
from scripts.training_story import Training

CONFIGURED = ("objective", "sampling", "trainer", "evaluation", "task", "model")
"""Sections of the configuration that are shown."""


def training_page(runs: Sequence[Training]) -> str:
    """The whole page, of one run or of several seeds of one setting."""
    first = runs[0]
    parts = [
        _head(runs),
        section("curves", "Curves", _curves(runs)),
        section("health", "Health", _health(runs)),
    ]
    if len(runs) == 1:
        questions, samples = question_choices(first), sample_choices(first)
        if questions:
            hint = "<p class=hint>Validation questions at evaluations of this run; equal outputs stand together.</p>"
            parts.append(
                section("question", "One question over training", hint + picker("ask", "question", questions))
            )
        if samples:
            hint = "<p class=hint>One prompt of a step, all rationales: reward = answer − β log-ratio − penalty.</p>"
            parts.append(section("samples", "What it sampled", hint + picker("draw", "step", samples)))
    if any(run.validation for run in runs):
        parts.append(section("results", "Results by grader", _results(runs)))
    parts.append(section("run", "The run", _about(runs)))
    return fill(f"{first.config['name']}: training", parts)


def _head(runs: Sequence[Training]) -> str:
    first = runs[0]
    named = first.config["name"]
    seeds = ", ".join(str(run.seed) for run in runs)
    task = first.config["task"].get("name", "")
    if first.outcome is not None:
        task, version = next(iter(first.outcome["versions"].items()))
        task = f"{task}, version {version}"
    method = "LaTRO" if "objective" in first.config else "supervised baseline"
    return (
        f"<header><h1>Training <em>{escape(str(named))}</em></h1>"
        f"<p class=sub>{method} · task {escape(str(task))} · start: {escape(start_of(first.config))} · "
        f"seed{'s' * (len(runs) > 1)} {seeds}</p>{_unfinished(runs)}{tiles(_figures(runs))}</header>"
    )


def start_of(config: Mapping[str, Any]) -> str:
    """The model that a run began with, or evaluated."""
    model = config["model"]
    return str(model.get("path") or model.get("hub_id") or model["_target_"])


def _unfinished(runs: Sequence[Training]) -> str:
    lines = []
    for run in runs:
        if run.outcome is None:
            planned = run.config.get("max_steps") or 0
            of = f" of {planned}" if planned > 0 else ""
            which = f"Seed {run.seed} is not finished" if len(runs) > 1 else "Not finished"
            lines.append(
                f"<p class=stopped>{which}: {run.last_step}{of} steps are done. The same command again goes on.</p>"
            )
    return "".join(lines)


def _figures(runs: Sequence[Training]) -> list[tuple[str, str]]:
    """The tiles."""
    found: list[tuple[str, str]] = []
    usable = [run for run in runs if run.evaluated and run.main_grader]
    if usable:
        n = len(next(iter(usable[0].validation.values())))
        start, best = (
            stats.mean([run.accuracy(step, run.main_grader).value for run, step in _at(usable, place)]).value
            for place in ("start", "best")
        )
        found.append((f"validation accuracy, start → best (n={n})", f"{start:.1%} → {best:.1%}"))
        gaps = [run.log_answer(step, "own") for run, step in _at(usable, "best")]
        known = [gap.value for gap in gaps if gap is not None]
        if known:
            found.append(("log π(answer) at the best", f"{number(sum(known) / len(known))} nats"))
    best_steps = [str(run.best_step) for run in runs if run.best_step is not None]
    if best_steps:
        found.append((runs[0].kept, f"step {', '.join(best_steps)}"))
    found.append(("steps", " ".join(dict.fromkeys(str(run.last_step) for run in runs))))
    found.append(("time in steps", duration(sum(run.seconds for run in runs))))
    found.append(("health warnings", str(sum(len(run.health) for run in runs))))
    return found


def _at(runs: Sequence[Training], place: str) -> list[tuple[Training, int]]:
    """Each run with its evaluated step at the `start`, the `best` or the `last`."""
    found = []
    for run in runs:
        best = run.best_step if run.best_step in run.evaluated else run.evaluated[-1]
        step = {"start": run.evaluated[0], "best": best, "last": run.evaluated[-1]}[place]
        found.append((run, int(step or 0)))
    return found


def _curves(runs: Sequence[Training]) -> str:
    panels = training_panels(runs)
    infinite = not_finite(runs)
    said = ""
    if infinite:
        names = ", ".join(f"{escape(name)} {count}" for name, count in infinite.items())
        said = f"<p class=stopped>Not finite in metrics.jsonl, and a line breaks there: {names}.</p>"
    if not panels:
        return said or "<p>No step has been done yet.</p>"
    window = averaged_over(runs)
    steps = window * spacing(runs)
    notes = []
    if len(runs) > 1:
        notes += [f"Lines and dots are means over {len(runs)} seeds, bands and bars their range."]
        notes.append(f"Each seed was averaged over its latest {steps} steps first." if window > 1 else "")
    else:
        thin = "single steps" if steps == window else "what was logged"
        averaged = f"Lines are means over the latest {steps} steps, the thin ones behind them {thin}."
        notes.append(averaged if window > 1 else "")
        notes.append("Dots are evaluations, their bars 95% intervals over the examples.")
        notes.append(f"The dashed line is the {runs[0].kept}." if runs[0].best_step is not None else "")
        notes.append("▼ marks a health warning." if runs[0].health else "")
    pictures = "".join(figure(panel) for panel in panels)
    return f"{said}<p class=hint>{' '.join(filter(None, notes))}</p><div class=plots>{pictures}</div>"


def _health(runs: Sequence[Training]) -> str:
    several = len(runs) > 1
    rows = [
        [*([f"seed {run.seed}"] if several else []), f"step {row['step']}", escape(row["warning"])]
        for run in runs
        for row in run.health
    ]
    if not rows:
        return "<p>The health monitor warned of nothing.</p>"
    lines = "".join(f"<li><b>{' · '.join(row[:-1])}</b> {row[-1]}</li>" for row in rows)
    return f"<ul class=warnings>{lines}</ul>"


def _results(runs: Sequence[Training]) -> str:
    """By grader at the start, the best and the last; of several seeds with intervals over seeds."""
    usable = [run for run in runs if run.validation]
    several = len(usable) > 1
    places = ("start", "best", "last")
    rows = [
        [
            f"accuracy, {escape(name)}",
            *(_cell(_accuracies(usable, place, name), several, share=True) for place in places),
        ]
        for name in usable[0].graders
    ]
    rows += [
        [f"log π(answer), {said}", *(_cell(_likelihoods(usable, place, kind), several) for place in places)]
        for kind, said in RATIONALES.items()
        if any(kind in row["log_answer"] for row in next(iter(usable[0].validation.values())))
    ]
    n = len(next(iter(usable[0].validation.values())))
    over = f"over {len(usable)} seeds" if several else f"over {n} examples, of this seed alone"
    main = usable[0].main_grader
    chosen = f"The best checkpoint was chosen here, by {escape(usable[0].chosen_by)}, which flatters it"
    if usable[0].kept != "best checkpoint":
        chosen = f"Under “best” stand the {usable[0].kept}, for no checkpoint was chosen"
    return (
        f"<p class=hint>Validation split, n={n}. Main grader: {escape(main)}. 95% intervals {over}. {chosen}: "
        "quote evaluate_latro.</p>" + table(("metric", *places), rows, words=1)
    )


def _accuracies(runs: Sequence[Training], place: str, grader: str) -> list[stats.Estimate]:
    return [run.accuracy(step, grader) for run, step in _at(runs, place)]


def _likelihoods(runs: Sequence[Training], place: str, kind: str) -> list[stats.Estimate]:
    return [found for run, step in _at(runs, place) if (found := run.log_answer(step, kind)) is not None]


def _cell(found: Sequence[stats.Estimate], several: bool, *, share: bool = False) -> str:
    if not found:
        return ""
    estimate = stats.mean([each.value for each in found]) if several else found[0]
    return estimate_cell(stats.within(estimate, 0.0, 1.0) if share else estimate)


def estimate_cell(estimate: stats.Estimate) -> str:
    """A value with its interval below it."""
    if estimate.n < 2:
        return number(estimate.value, 3)
    if not math.isfinite(estimate.value):
        bounds = "no finite number"
    elif estimate.low < estimate.high and math.isfinite(estimate.low):
        bounds = f"[{number(estimate.low, 3)}, {number(estimate.high, 3)}]"
    else:
        bounds = "all alike"
    return f"{number(estimate.value, 3)}<br><small>{bounds}</small>"


def _about(runs: Sequence[Training]) -> str:
    lines = []
    for run in runs:
        about = run.environment
        dirty = " with changes" if about.get("git_dirty") else ""
        lines.append(
            f"<p><code>python -m scripts.{escape(str(about.get('command', '')))}</code><br><small>commit "
            f"{escape(str(about.get('git_hash'))[:12])}{dirty}, {about.get('cpus')} CPUs, {about.get('world_size')} "
            f"process{'es' * (about.get('world_size') != 1)}, {run.left_out} rows or prompts left out</small></p>"
        )
    return "".join(lines) + configuration(runs[0].config, CONFIGURED) + versions(runs[0].environment)


def configuration(config: Mapping[str, Any], names: Sequence[str]) -> str:
    """Sections of the configuration, folded."""
    rows = [
        [escape(f"{name}.{key}"), f"<code>{escape(str(value))}</code>"]
        for name in names
        for key, value in (config.get(name) or {}).items()
        if value is not None and not isinstance(value, Mapping)
    ]
    return fold("Configuration", table(("key", "value"), rows, words=9))


def versions(environment: Mapping[str, Any]) -> str:
    """Versions of the packages, folded."""
    rows = [[escape(name), escape(str(v))] for name, v in (environment.get("versions") or {}).items() if v]
    rows += [[name, escape(str(environment.get(name)))] for name in ("python", "platform", "processor")]
    return fold("Versions", table(("package", "version"), rows, words=9))

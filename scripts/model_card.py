"""The card of a trained model, from its run's results: what was measured on what, and how to do it again."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.folders import read_json, table
from scripts.run import Run
from scripts.sessions import said
from scripts.tables import write_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What a card says of the way in which its model was trained."""

    tags: str
    """Of the hub, with commas."""
    summary: str
    """May name figures of `results.json`'s section `training` in braces."""


LATRO = Method(
    tags="latro, reasoning",
    summary="Trained by LaTRO (arXiv 2411.04282): the reward of a sampled rationale is the model's own likelihood of "
    "the gold\nanswer. No verifier and no reward model took part.",
)
SUPERVISED = Method(
    tags="sft",
    summary="The supervised baseline beside LaTRO: trained on {examples_with_rationale} gold rationales and "
    "{examples} answers, on the very\nprompts that it is evaluated on.",
)

CARD = """---
library_name: transformers
tags: [{tags}]
---
# {name}, seed {seed}

{summary}

| | |
|---|---|
| start | {start}{loaded} |
| task | {task}, version {version} |
{settings}
| steps | {steps}; {kept} |
| seed | {seed}, one run |
| graders | {graders} |
| cost | {cost} |
| left out | {left_out} rows or prompts |
| commit | {git_hash} |

## Validation split ({n} examples; {flattery})

{table}

## Known limits

{limits}

The command and all versions are in `environment.json` of the run, the full configuration in `config.yaml`.
"""


def write_card(path: Path, run: Run, outcome: Mapping[str, Any], method: Method) -> None:
    """Write the card of a finished run."""
    config, training = run.config, outcome["training"]
    task = next(iter(outcome["results"]))
    sections = {
        "objective": training.get("objective"),
        "sampling": config.get("sampling"),
        "trainer": config["trainer"],
    }
    text = CARD.format(
        tags=method.tags,
        name=config["name"],
        seed=config["seed"],
        summary=method.summary.format(**training),
        start=start(config["model"]),
        loaded=f" (loaded: {said(outcome['model'])})" if outcome.get("model") else "",
        task=task,
        version=outcome["versions"][task],
        settings="\n".join(f"| {name} | {settings(found)} |" for name, found in sections.items() if found),
        steps=training["steps"],
        kept=f"this checkpoint is from step {training['best_step']}, chosen by {training['chosen_by']}"
        if chosen(training)
        else "these are the last weights, no checkpoint was chosen",
        flattery="the checkpoint was chosen on it, so these figures flatter it"
        if chosen(training)
        else "no checkpoint was chosen on it",
        left_out=outcome["left_out"],
        graders=", ".join(graders(outcome)),
        cost=cost(run),
        git_hash=outcome["git_hash"],
        n=outcome["n-samples"][task]["effective"],
        table=results_table(outcome["results"][task], outcome["intervals_95"][task]),
        limits="\n".join(f"- {limit}" for limit in limits(run, outcome)),
    )
    write_text(path, text)


def start(model: Mapping[str, Any]) -> str:
    """What the training began with; of a path its last part: a card must not tell where this machine keeps things."""
    return Path(model["path"]).name if model.get("path") else str(model.get("hub_id") or model["_target_"])


def chosen(training: Mapping[str, Any]) -> bool:
    """Whether a metric chose the weights; else they are the last ones."""
    return bool(training.get("kept", "best") == "best")


def graders(outcome: Mapping[str, Any]) -> list[str]:
    """The graders of greedy outputs, as they stand in the results."""
    intervals = next(iter(outcome["intervals_95"].values()))
    return [name.partition(",")[2] for name in intervals if name.startswith("accuracy_greedy,")]


def cost(run: Run) -> str:
    """Seconds of all steps over all sessions, and on what."""
    about = read_json(run.folder / "environment.json") or {}
    seconds = sum(row.get("step_time", 0.0) for row in table(run.folder, "timing"))
    machine = f"{about.get('world_size')} process(es), {about.get('cpus')} CPUs, {about.get('platform')}"
    return f"{seconds:.0f} s in training steps, evaluations not counted; {machine}"


def limits(run: Run, outcome: Mapping[str, Any]) -> Iterator[str]:
    """What one should know before quoting these figures."""
    task, training = next(iter(outcome["results"])), outcome["training"]
    row = outcome["results"][task]
    yield "One seed: the intervals are over examples; train other seeds and use compare_runs to say that it is better."
    if chosen(training):
        yield f"Chosen by {training['chosen_by']} among the saved steps; what evaluate_latro finds is what to quote."
    else:
        yield "The last weights, not the best ones; what evaluate_latro finds is what to quote."
    gain = training.get("gain_over_start")
    if gain is not None and gain <= 0:
        what = "No checkpoint is" if chosen(training) else "These weights are not"
        yield f"{what} better than the start: {training['chosen_by']} {gain:+.3f}."
    if row.get("unfinished,none", 0) > 0.05:
        yield f"{row['unfinished,none']:.0%} of the validation outputs were cut off at the token limit."
    for warning in table(run.folder, "health"):
        yield f"Health monitor, step {warning['step']}: {warning['warning']}."


def settings(section: Mapping[str, Any]) -> str:
    """A configuration section in one line, without what was left to its default, and without this machine's folders."""
    return ", ".join(
        f"{key}={Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value}"
        for key, value in section.items()
        if key != "_target_" and value is not None
    )


def results_table(results: Mapping[str, Any], intervals: Mapping[str, Any]) -> str:
    """A Markdown table of the measured quantities with their intervals."""
    rows = ["| metric | value | 95% interval |", "|---|---|---|"]
    for name, (low, high) in intervals.items():
        bounds = "unbounded" if low is None or high is None else f"[{low:.3f}, {high:.3f}]"
        value = results[name]
        shown = (
            value if isinstance(value, str) else f"{value:.3f}"
        )  # "N/A" where one of the values was not finite
        rows.append(f"| {name.replace(',', ', ')} | {shown} | {bounds} |")
    return "\n".join(rows)

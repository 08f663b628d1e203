"""The page of a model's evaluation: accuracy by grader, the rationale's worth, outputs to look into. All escaped."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from latro.types import Graded
from scripts.agents_page import command, unfinished
from scripts.comparison_tables import spoken
from scripts.curves import RATIONALES
from scripts.folders import Row, read_config, read_json, refuse_missing, table
from scripts.interval_chart import Entry, interval_chart
from scripts.page import Choice, cut, fill, fold, number, picker, section, tiles
from scripts.page import table as html_table
from scripts.results import estimates
from scripts.stats import Estimate
from scripts.training_page import configuration, estimate_cell, start_of, versions

OUTPUTS = 12
"""Of each kind on the page; items.jsonl has all."""
TEXT = 2000
GRADED = {"greedy": "greedy", "majority": "maj@{votes}", "choices": "by likelihood"}


def evaluation_page(folder: Path) -> str:
    """The whole page, of a finished run or one on its way. Raises InputError for a damaged file."""
    config, outcome = read_config(folder), read_json(folder / "results.json")
    items = table(folder, "items")
    if outcome is not None:
        task = next(iter(outcome["versions"]))
        refuse_missing(folder / "items.jsonl", len(items), outcome["n-samples"][task]["effective"])
    main = _main(outcome, items)
    found = estimates([_item(row) for row in items], main) if items else {}
    parts = [_head(config, outcome, found, main, len(items))]
    if items:
        parts.append(section("results", "Results by grader", _results(found)))
        parts.append(section("outputs", "Outputs", picker("item", "example", _choices(items, main))))
    about = read_json(folder / "environment.json") or {}
    made = command(about) + configuration(config, ("evaluation", "task", "model")) + versions(about)
    return fill(f"{config['name']}: evaluation", [*parts, section("run", "The run", made)])


def _main(outcome: Row | None, items: Sequence[Row]) -> str:
    """The main grader, as far as it is known yet."""
    if outcome is not None:
        return str(next(iter(outcome["main_metric"].values()))).partition(",")[2]
    return next(iter(items[0]["greedy"]), "") if items else ""


def _item(row: Row) -> Any:
    graded = {kind: {name: Graded(**verdict) for name, verdict in row[kind].items()} for kind in GRADED}
    return SimpleNamespace(**(dict(row) | graded))


def _head(config: Row, outcome: Row | None, found: dict[str, Estimate], main: str, n: int) -> str:
    task, version = str(config["task"].get("name", "")), ""
    if outcome is not None:
        task, version = next(iter(outcome["versions"].items()))
    labels = {f"accuracy_greedy,{main}": "accuracy, greedy", "unfinished,none": "unfinished outputs"}
    figures = [
        (f"{label} (n={n})", f"{found[name].value:.1%}") for name, label in labels.items() if name in found
    ]
    for name in found:
        if name.startswith("accuracy_maj") and name.endswith(f",{main}"):
            figures.insert(1, (spoken(name).split(",")[0], f"{found[name].value:.1%}"))
    gap = found.get("logp_answer,own_minus_none")
    figures += [("own rationale over none", f"{number(gap.value, signed=True)} nats")] if gap else []
    return (
        f"<header><h1>Evaluation on <em>{escape(task)}</em></h1><p class=sub>model {escape(start_of(config))} · "
        f"{f'version {escape(str(version))} of the task · ' if version else ''}split "
        f"{escape(str(config['split']))} · seed {config['seed']}</p>{unfinished(outcome)}{tiles(figures)}</header>"
    )


def _results(found: dict[str, Estimate]) -> str:
    shares = [Entry(label=spoken(name), estimate=each) for name, each in found.items() if _is_accuracy(name)]
    cells = [[escape(spoken(name)), estimate_cell(each), str(each.n)] for name, each in found.items()]
    hint = (
        "<p class=hint>log π(answer) in nats. 95% intervals over examples, for this model and seed alone.</p>"
    )
    picture = interval_chart(shares, "accuracy, with 95% interval", share=True)
    return picture + hint + html_table(("metric", "value", "n"), cells, words=1)


def _is_accuracy(name: str) -> bool:
    return name.startswith("accuracy") or name.partition(",")[0] in ("acc", "acc_norm")


def _choices(items: Sequence[Row], main: str) -> list[Choice]:
    """Some outputs of each kind; those on which graders disagree first."""
    kinds: dict[str, list[Row]] = {"graders disagree": [], "wrong": [], "right": []}
    for row in items:
        verdicts = {verdict["correct"] for verdict in row["greedy"].values()}
        right = row["greedy"].get(main, {}).get("correct", False)
        kinds["graders disagree" if len(verdicts) > 1 else "right" if right else "wrong"].append(row)
    return [
        (
            f"{kind}: {len(rows)} of {len(items)}",
            f"{row['id']}: {' '.join(row['prompt'].split())[:60]}",
            _output(row),
        )
        for kind, rows in kinds.items()
        for row in rows[:OUTPUTS]
    ]


def _output(row: Row) -> str:
    ended = "" if row["finished"] else ", cut off at the limit"
    verdicts = [
        [
            escape(label.format(votes=len(row["samples"]))),
            escape(name),
            "✓ right" if verdict["correct"] else "✗ wrong",
            escape(str(verdict["extracted"])) if verdict["extracted"] is not None else "<i>nothing found</i>",
        ]
        for kind, label in GRADED.items()
        for name, verdict in row[kind].items()
    ]
    likely = ", ".join(
        f"{said} {number(row['log_answer'][kind])}"
        for kind, said in RATIONALES.items()
        if kind in row["log_answer"]
    )
    texts = (cut(text.rstrip(), TEXT) or "<i>(empty)</i>" for text in row["samples"])
    samples = "".join(f"<div class=card><pre>{text}</pre></div>" for text in texts)
    return (
        f"<p class=prompt>{cut(row['prompt'], TEXT)}</p><p class=sub>gold: <b>{escape(str(row['gold']))}</b></p>"
        f"<div class=card><p class=sub>greedy output, {row['tokens']} tokens{ended}</p>"
        f"<pre>{cut(row['output'].rstrip(), TEXT) or '<i>(empty)</i>'}</pre></div>"
        + (f"<p class=seen>log π(gold answer) in nats: {likely}</p>" if likely else "")
        + html_table(("how", "grader", "verdict", "extracted"), verdicts, words=9)
        + (fold(f"{len(row['samples'])} samples that voted", samples) if samples else "")
    )

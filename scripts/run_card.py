"""The card of a run, `card.md`, from its results: what was measured on what, at what cost, how far to trust it."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scripts.folders import Kind, Row, kind_of, read_json, table
from scripts.model_card import graders, results_table
from scripts.progress import thousands
from scripts.sheets import model_name
from scripts.stats import interval_text
from scripts.tables import write_text

CARD = """# {name}, seed {seed}

{summary}

| | |
|---|---|
{rows}

{results}

## Known limits

{limits}

The command and all versions are in `environment.json` of the run, the full configuration in `config.yaml`.
"""


def write_run_card(folder: Path) -> None:
    """Write `card.md` into the folder of a finished evaluation, or of an RPO run that ended or was stopped."""
    kind, outcome = kind_of(folder), read_json(folder / "results.json")
    assert outcome is not None
    about = read_json(folder / "environment.json") or {}
    made = {Kind.EVALUATION: _evaluation, Kind.ARMS: _arms, Kind.LEARNING: _learning}[kind]
    summary, rows, results, limits = made(folder, outcome)
    rows |= {"command": f"`python -m scripts.{about.get('command', '')}`", "commit": str(outcome["git_hash"])}
    text = CARD.format(
        name=outcome["config"]["name"],
        seed=outcome["config"]["seed"],
        summary=summary,
        rows="\n".join(f"| {name} | {_cell(value)} |" for name, value in rows.items()),
        results=results,
        limits="\n".join(f"- {limit}" for limit in limits),
    )
    write_text(folder / "card.md", text)


def _cell(value: str) -> str:
    """A text in a cell of a Markdown table."""
    return " ".join(value.split()).replace("|", "\\|")


RPO, GEPA = "PrincipleOptimizer", "GEPA"
BASELINES = {
    "NotesOptimizer": "Reflexion-style memory",
    "DeltaOptimizer": "ACE-style edits",
    "optimize_with_gepa": GEPA,
}
"""Methods by the names of their targets."""
Parts = tuple[str, dict[str, str], str, Iterator[str]]


def _evaluation(folder: Path, outcome: Row) -> Parts:
    task = next(iter(outcome["versions"]))
    config, counts = outcome["config"], outcome["n-samples"][task]
    model, measured = config["model"], config["evaluation"]
    k = measured["majority"]
    votes = f"maj@{k} at temperature {measured['temperature']}" if k else "no vote"
    rows = {
        "model": str(model.get("path") or model.get("hub_id") or model["_target_"]),
        "task": f"{task}, version {outcome['versions'][task]}",
        "split": f"{outcome['split']}: {counts['effective']} of {counts['original']} examples",
        "graders": f"{', '.join(graders(outcome))}; main: {outcome['main_metric'][task].partition(',')[2]}",
        "decoding": f"greedy, at most {measured['max_tokens']} tokens, {votes}",
        "cost": f"{float(outcome['total_evaluation_time_seconds']):.0f} s in the last session, no money",
        "left out": f"{outcome['left_out']} rows or prompts",
    }
    results = f"## Results ({counts['effective']} examples)\n\n"
    results += results_table(outcome["results"][task], outcome["intervals_95"][task])
    summary = (
        "A model's outputs on questions of one split, as each grader reads them. Nothing was chosen here."
    )
    return summary, rows, results, _evaluation_limits(folder, outcome, task)


def _evaluation_limits(folder: Path, outcome: Row, task: str) -> Iterator[str]:
    row, counts = outcome["results"][task], outcome["n-samples"][task]
    yield "One run: the intervals are over examples, and say nothing of other seeds of training or sampling."
    if counts["effective"] < counts["original"]:
        yield f"{counts['effective']} of the split's {counts['original']} examples were evaluated, the first that fit."
    if outcome["split"] in ("train", "validation"):
        yield f"The split is {outcome['split']}: what was trained or chosen on it is flattered by these figures."
    if row.get("unfinished,none", 0) > 0.05:
        yield f"{row['unfinished,none']:.0%} of the outputs were cut off at the token limit."
    if row.get("no_answer_found,none", 0) > 0.05:
        yield f"In {row['no_answer_found,none']:.0%} of the outputs the main grader found no answer."
    disagree = len(table(folder, "disagreements"))
    if disagree:
        yield f"The graders disagree on {disagree} examples, see `disagreements.jsonl`."


def _spent(cost: Mapping[str, Any]) -> str:
    """Calls, tokens, money, seconds."""
    cached = f", {thousands(cost['cached_tokens'])} of them cached" if cost.get("cached_tokens") else ""
    return (
        f"{cost['calls']} calls, {thousands(cost['prompt_tokens'])} tokens in{cached}, "
        f"{thousands(cost['completion_tokens'])} out, ${cost['usd']:.2f}, {cost['seconds']:.0f} s"
    )


def _played(outcome: Row) -> dict[str, str]:
    """What all runs of agents have in common."""
    name = next(iter(outcome["versions"]))
    return {
        "environment": f"{name} {outcome['versions'][name]}, content {outcome['content_hash'][name]}",
        "model": model_of(outcome["config"]),
        "split": str(outcome["split"]),
        "grader": "the environment's own score, success and progress",
        "cost": _spent(outcome["cost"]),
    }


def model_of(config: Mapping[str, Any]) -> str:
    """The agent's model as the configuration names it, with what stands before it."""
    return f"{model_name(config)} ({str(config['llm'].get('_target_', '')).rpartition('.')[2]})".strip()


def _arm_table(outcome: Row) -> str:
    name = next(iter(outcome["versions"]))
    row, intervals = outcome["results"][name], outcome["intervals_95"][name]
    lines = ["| arm | metric | value | 95% interval | episodes | left out |", "|---|---|---|---|---|---|"]
    for arm, counts in _arms_of(outcome).items():
        n = counts["effective"]
        passed = [f"pass^{k}" for k in range(2, n + 1) if f"pass^{k},{arm}" in row]
        for metric in ("score", "success", "progress", *passed):
            key = f"{metric},{arm}"
            if key in row:
                low, high = intervals[key]
                bounds = interval_text(low, high)
                lines.append(
                    f"| {arm} | {metric} | {row[key]:.3f} | {bounds} | {n} | {counts['original'] - n} |"
                )
    return "\n".join(lines)


def _paired(outcome: Row) -> str:
    lines = []
    for pair in outcome["paired"]:
        if pair["measure"] == "score":
            bounds = interval_text(pair["low"], pair["high"], signed=True)
            won, lost = len(pair["won"]), len(pair["lost"])
            arms = " − ".join(pair["arms"])
            lines.append(
                f"- {arms}: score {pair['value']:+.3f} {bounds}, n={pair['n']}, {won} won, {lost} lost"
            )
    return "\n\nPaired by task:\n\n" + "\n".join(lines) if lines else ""


def _arms(folder: Path, outcome: Row) -> Parts:
    config = outcome["config"]
    rows = _played(outcome) | {"attempts": f"{config['attempts']} at each task"}
    for arm, cost in outcome["cost_by_arm"].items():
        rows[f"cost of {arm}"] = _spent(cost)
    summary = "Agents on the same tasks of one split, paired. Nothing was chosen here."
    return summary, rows, f"## Results\n\n{_arm_table(outcome)}{_paired(outcome)}", _agent_limits(outcome)


def _agent_limits(outcome: Row) -> Iterator[str]:
    counts = _arms_of(outcome)
    most = max((each["effective"] for each in counts.values()), default=0)
    if most:
        yield f"One run of {most} episodes an arm: the intervals are over tasks, and say nothing of other seeds."
    for arm, each in counts.items():
        if each["original"] > each["effective"]:
            missing = each["original"] - each["effective"]
            yield f"{missing} episodes of {arm} do not count: the model, the environment or the budget failed."
    if outcome["stopped"]:
        yield f"The run was stopped: {outcome['stopped']}."
    if "replay" in str(outcome["config"]["llm"].get("_target_", "")) or "bundled" in str(
        outcome["config"]["llm"]
    ):
        yield (
            "The replies came from a recording, or went into one: running it again is no new evidence, and costs are "
            "the recorded ones."
        )


def _learning(folder: Path, outcome: Row) -> Parts:
    rpo = outcome["config"]["rpo"]
    decisions = Counter(str(row["rpo/decision"]) for row in table(folder, "metrics") if row["rpo/round"])
    told = ", ".join(f"{count} {each}" for each, count in decisions.items())
    method = method_of(outcome["config"])
    gated = rpo["acceptance"] != "off" or method == GEPA
    rows = _played(outcome) | {
        "method": method,
        "chosen": _chosen(outcome, method)
        if gated
        else "nothing: there is no gate, every candidate was taken",
        "rounds": f"{decisions.total()}: {told}" if told else "0",
        "version": str(outcome["best_version"]),
    }
    best = (read_json(folder / "principles.json") or {}).get("best", {}).get("texts", {})
    texts = "\n".join(f"- **{name}**: {' '.join(text.split())}" for name, text in best.items() if text)
    flattered = " (the best was chosen on it, so these figures flatter it)" if gated else ""
    validated = _arm_table(outcome) if _arms_of(outcome) else "None was played."
    results = f"## Validation{flattered}\n\n{validated}\n\n## The principles\n\n{texts or 'There are none.'}"
    return (
        "Principles learned by reflection; no weight was changed.",
        rows,
        results,
        _learning_limits(outcome),
    )


def method_of(config: Mapping[str, Any]) -> str:
    """What learned: RPO by its variant, or a baseline by its name; one of the user's own by that of its target."""
    rpo, target = config["rpo"], str((config.get("method") or {}).get("_target_", RPO)).rpartition(".")[2]
    if target == RPO:
        return f"{'Reward' if rpo['reflection'] == 'reward' else 'Self'}-RPO, {rpo['schedule']}"
    return BASELINES.get(target, target)


def _chosen(outcome: Row, method: str) -> str:
    """How the best principles were found, where something chose them."""
    rpo = outcome["config"]["rpo"]
    best = f"the best principles, by {rpo['measure']} on {outcome['split']}"
    return (
        f"{best}, of a pool that GEPA selects from" if method == GEPA else f"{best}; gate {rpo['acceptance']}"
    )


def _arms_of(outcome: Row) -> Mapping[str, Mapping[str, int]]:
    """The arms with their numbers of episodes."""
    arms: Mapping[str, Mapping[str, int]] = outcome["n-samples"][next(iter(outcome["versions"]))]
    return arms


def _learning_limits(outcome: Row) -> Iterator[str]:
    if not _arms_of(outcome):
        yield "No validation was played: whether the principles help is not known; evaluate_pract tells."
    else:
        yield "The best was chosen among all that were tried, on the very tasks counted here; quote evaluate_pract."
    yield from _agent_limits(outcome)

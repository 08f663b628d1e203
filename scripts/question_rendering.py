"""One question's outputs over a training, and one step's rationales with the parts of their rewards. All escaped."""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from scripts.folders import Row
from scripts.page import Choice, cut, number
from scripts.training_story import Training, spaced

QUESTIONS = 16
EVALUATIONS = 12
TEXT = 1500
"""Questions, evaluations and characters on the page; the tables of the run have all."""
KINDS = ("became right", "became wrong", "wrong throughout", "right throughout")


def question_choices(run: Training) -> list[Choice]:
    """Some validation questions, those that changed first, each with its outputs over the training."""
    found = _histories(run)
    kinds: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for id, history in found.items():
        kinds[_kind(history, run.main_grader)].append(id)
    # Turn by turn, so that each kind has its share.
    order = [
        (kind, ids[place]) for place in range(QUESTIONS) for kind, ids in kinds.items() if place < len(ids)
    ]
    chosen = sorted(order[:QUESTIONS], key=lambda pair: list(kinds).index(pair[0]))
    return [(kind, _name(run, id), _question(run, id, found[id])) for kind, id in chosen]


def _histories(run: Training) -> dict[str, dict[int, Row]]:
    """Rows of each question by step, at some steps: the first, the last and the best among them."""
    steps = set(spaced(run.evaluated, EVALUATIONS)) | ({run.best_step} & set(run.evaluated))
    found: dict[str, dict[int, Row]] = {}
    for step in sorted(step for step in steps if step is not None):
        for row in run.validation[step]:
            found.setdefault(row["id"], {})[step] = row
    return found


def _kind(history: Mapping[int, Row], grader: str) -> str:
    verdicts = [bool(row["correct"].get(grader)) for row in history.values()]
    if verdicts[0] == verdicts[-1]:
        return "right throughout" if verdicts[0] else "wrong throughout"
    return "became right" if verdicts[-1] else "became wrong"


def _name(run: Training, id: str) -> str:
    prompt = " ".join(run.prompts.get(id, "").split())
    return f"{id}: {prompt[:60]}{'…' * (len(prompt) > 60)}" if prompt else id


def _question(run: Training, id: str, history: Mapping[int, Row]) -> str:
    prompt = f"<p class=prompt>{cut(run.prompts[id], TEXT)}</p>" if id in run.prompts else ""
    gold = next(iter(history.values()))["gold"]
    lowest = min((row["log_answer"].get("own", 0.0) for row in history.values()), default=0.0)
    stages = "".join(_stage(run, steps, rows[0], rows[-1], lowest) for steps, rows in _alike(history))
    return f"{prompt}<p class=sub>gold: <b>{escape(str(gold))}</b></p><ol class=stages>{stages}</ol>"


def _alike(history: Mapping[int, Row]) -> Iterator[tuple[list[int], list[Row]]]:
    """Evaluations one after the other, equal outputs together."""
    steps: list[int] = []
    rows: list[Row] = []
    for step, row in history.items():
        if rows and row["output"] != rows[-1]["output"]:
            yield steps, rows
            steps, rows = [], []
        steps, rows = [*steps, step], [*rows, row]
    yield steps, rows


def _stage(run: Training, steps: Sequence[int], first: Row, last: Row, lowest: float) -> str:
    right = bool(last["correct"].get(run.main_grader))
    mark = f"<span class={'won' if right else 'lost'}>{'✓ right' if right else '✗ wrong'}</span>"
    when = f"step {steps[0]}" if len(steps) == 1 else f"steps {steps[0]} to {steps[-1]}"
    best = f" <span class=badge>{run.kept}</span>" if run.best_step in steps else ""
    ended = "" if last["finished"] else ", cut off at the limit"
    return (
        f"<li><p><b>{when}</b> {mark}{best} <small>{last['tokens']} tokens{ended}</small></p>"
        f"<pre>{cut(last['output'], TEXT) or '<i>(empty)</i>'}</pre>{_likelihoods(last['log_answer'], lowest)}"
        f"{_drift(first, last)}</li>"
    )


def _likelihoods(answers: Mapping[str, float], lowest: float) -> str:
    """log π(gold answer) behind the own rationale as a bar, and behind the others in words."""
    if "own" not in answers:
        return ""
    own = answers["own"]
    if not math.isfinite(own):
        return "<p class=seen>log π(gold answer) is no finite number</p>"
    width = 100.0 if not lowest else 100 * (1 - min(1.0, own / lowest)) if lowest < 0 else 100.0
    others = {"none": "without rationale", "gold": "with the gold one", "other": "with another's"}
    more = "".join(f", {said} {number(answers[kind])}" for kind, said in others.items() if kind in answers)
    return (
        f'<div class=likely title="the longer, the likelier"><i style="width:{max(1.0, width):.0f}%"></i></div>'
        f"<p class=seen>log π(gold answer) {number(own)} nats (chance {_chance(own)}){more}</p>"
    )


def _chance(nats: float) -> str:
    chance = math.exp(min(0.0, nats))
    return f"{chance:.0%}" if chance >= 0.01 else f"{chance:.0e}"


def _drift(first: Row, last: Row) -> str:
    """How the likelihood moved while the output stayed as it is."""
    if "own" not in first["log_answer"] or abs(first["log_answer"]["own"] - last["log_answer"]["own"]) < 0.01:
        return ""
    return f"<p class=seen>It was {number(first['log_answer']['own'])} nats at the first of these steps.</p>"


def sample_choices(run: Training) -> list[Choice]:
    """The first prompt of some steps, each with all its rationales, best first."""
    found = []
    for step, rows in sorted(run.samples.items()):
        group = [row for row in rows if row["id"] == rows[0]["id"]]
        found.append(("", f"step {step}: {rows[0]['id']}", _group(group)))
    return found


def _group(group: Sequence[Row]) -> str:
    first = group[0]
    cells = [
        [
            number(row["reward"]),
            number(row["answer_reward"]),
            number(row["log_ratio"]),
            number(row["penalty"]),
            number(row["advantage"], signed=True),
            str(row["length"]) + ("" if row["finished"] else " (cut off)"),
            f"<div class=rationale>{cut(row['rationale'], TEXT) or '<i>(empty)</i>'}</div>",
        ]
        for row in sorted(group, key=lambda row: -row["reward"])
    ]
    head = ("reward", "answer", "log-ratio", "penalty", "advantage", "tokens", "rationale")
    return (
        f"<p class=prompt>{cut(first['prompt'], TEXT)}</p>"
        f"<p class=sub>gold answer line: <b>{escape(first['answer'])}</b></p>{_cards(head, cells)}"
    )


def _cards(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows as cards, as their last cell is long: figures in a line, the text below."""
    cards = []
    for row in rows:
        figures = "".join(
            f"<span>{name} <b>{cell}</b></span>" for name, cell in zip(head[:-1], row[:-1], strict=True)
        )
        cards.append(f"<div class=card><p class=figures>{figures}</p>{row[-1]}</div>")
    return "".join(cards)

"""Evaluation: decode, grade by every grader, and ask whether the rationale carries the answer.

One `Item` per example is kept, so that runs can be compared pairwise. Nothing here names a split.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

import torch

from latro.encoding import NO_RATIONALE, Encoder, join
from latro.errors import InputError
from latro.evaluation_config import EvaluationConfig as EvaluationConfig
from latro.grading.likelihood import likelihood_grades
from latro.grading.vote import majority_vote
from latro.likelihood import answer_likelihood
from latro.rollout.base import Request, Rollout
from latro.rollout.choosing import make_engine
from latro.sampling import cut, row_seed
from latro.tasks.base import LikelihoodTask, Task
from latro.types import Example, Graded


@dataclass(slots=True, kw_only=True)
class Item:
    """All that was measured on one example."""

    id: str
    prompt: str
    gold: str
    output: str
    """The greedy output."""
    finished: bool
    """Whether the greedy output ended by itself."""
    tokens: int
    greedy: dict[str, Graded]
    samples: list[str] = field(default_factory=list)
    majority: dict[str, Graded] = field(default_factory=dict)
    choices: dict[str, Graded] = field(default_factory=dict)
    log_answer: dict[str, float] = field(default_factory=dict)
    """log π(y|x,z) in nats, with `own` rationale, with `none`, with the dataset's `gold` one, with `other` prompt's."""
    rationale_ids: list[int] = field(default_factory=list)
    """The rationale of the greedy output, up to the answer: what `own` was scored with."""


Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much is done, and how much there is."""


def evaluate(
    model: Any,
    encoder: Encoder,
    task: Task,
    examples: Sequence[Example],
    config: EvaluationConfig,
    progress: Progress = lambda *_: None,
    engine: Rollout | None = None,
) -> list[Item]:
    """One item per example, in order. `engine` stands in for the one that `config` names."""
    prompts = [encoder.prompt_ids(example.prompt) for example in examples]
    outputs = decode(model, encoder, prompts, config, progress, "greedy", engine=engine)
    items = []
    for example, output in zip(examples, outputs, strict=True):
        text = encoder.text(output)
        item = Item(
            id=example.id,
            prompt=example.prompt,
            gold=example.gold,
            output=text,
            finished=output[-1] in encoder.stop_token_ids,
            tokens=len(output),
            greedy=task.grade(example, text),
        )
        item.rationale_ids = list(cut(encoder, output, task.answer_markers).ids)
        items.append(item)
    if config.majority:
        vote(model, encoder, task, examples, prompts, items, config, progress, engine)
    if config.answer_likelihood:
        own = [item.rationale_ids for item in items]
        for kind, rationales in (("own", own), ("none", [[] for _ in own])):
            answer_likelihoods(model, encoder, examples, items, kind, rationales, config, progress)
    options = all(example.choices for example in examples)
    if config.choice_scores and options and isinstance(task, LikelihoodTask):
        choice_scores(model, encoder, task, examples, items, config, progress)
    return items


def by_length(rows: Sequence[Sequence[Any]], size: int) -> Iterator[list[int]]:
    """Indices of the rows in chunks of like length, longest first, so that memory runs out at once or never."""
    order = sorted(range(len(rows)), key=lambda index: -len(rows[index]))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def decode(
    model: Any,
    encoder: Encoder,
    prompts: Sequence[Sequence[int]],
    config: EvaluationConfig,
    progress: Progress,
    what: str,
    seeds: Sequence[int] | None = None,
    engine: Rollout | None = None,
) -> list[tuple[int, ...]]:
    """The continuation of every prompt: greedy, or drawn with one seed per prompt."""
    request = Request(
        prompts=prompts, seeds=seeds, max_tokens=config.max_tokens, temperature=config.temperature
    )
    found = (
        engine or make_engine(config.engine, config.batch_rows, share_prompt=config.share_prompt)
    ).continuations(model, encoder, request, lambda done: progress(what, done, len(prompts)))
    return [continuation.tokens for continuation in found]


def vote(
    model: Any,
    encoder: Encoder,
    task: Task,
    examples: Sequence[Example],
    prompts: Sequence[Sequence[int]],
    items: Sequence[Item],
    config: EvaluationConfig,
    progress: Progress,
    engine: Rollout | None,
) -> None:
    """Fill in maj@k: k samples per example vote by the answer that each grader extracts."""
    k = config.majority
    rows = [
        (index, row_seed(config.seed, examples[index].id, j)) for index in range(len(items)) for j in range(k)
    ]
    drawn = decode(
        model,
        encoder,
        [prompts[index] for index, _ in rows],
        config,
        progress,
        f"maj@{k}",
        [seed for _, seed in rows],
        engine,
    )
    for index, (example, item) in enumerate(zip(examples, items, strict=True)):
        item.samples = [encoder.text(output) for output in drawn[index * k : (index + 1) * k]]
        graded = [task.grade(example, text) for text in item.samples]
        item.majority = {name: majority_vote([each[name] for each in graded]) for name in graded[0]}


def compare_with_others(
    model: Any,
    encoder: Encoder,
    examples: Sequence[Example],
    items: Sequence[Item],
    partners: Sequence[Item],
    config: EvaluationConfig,
    progress: Progress = lambda *_: None,
) -> None:
    """Fill in log π(y|x,z) with another prompt's rationale, that of `partners`: does it matter which one it is?

    It comes after the rest, as the partner of an example is the next one of the whole evaluation.
    """
    if config.answer_likelihood:
        rationales = [partner.rationale_ids for partner in partners]
        answer_likelihoods(model, encoder, examples, items, "other", rationales, config, progress)


def answer_likelihoods(
    model: Any,
    encoder: Encoder,
    examples: Sequence[Example],
    items: Sequence[Item],
    kind: str,
    rationales: Sequence[Sequence[int]],
    config: EvaluationConfig,
    progress: Progress = lambda *_: None,
) -> None:
    """Fill in log π(y|x,z) of each example's gold answer with the given rationale."""
    prompts = [encoder.prompt_ids(example.prompt) for example in examples]
    answers = [encoder.answer_ids(e.answer, r) for e, r in zip(examples, rationales, strict=True)]
    rows = [(*p, *r, *a) for p, r, a in zip(prompts, rationales, answers, strict=True)]
    done = 0
    for chunk in by_length(rows, config.rows_scored):
        batch = join(
            [prompts[i] for i in chunk],
            [replace(NO_RATIONALE, ids=tuple(rationales[i])) for i in chunk],
            [answers[i] for i in chunk],
            encoder.pad_token_id,
        )
        with torch.no_grad():
            answer_B = answer_likelihood(model, batch.to(model.device), scoring=config.scoring)
        for index, value in zip(chunk, answer_B.tolist(), strict=True):
            items[index].log_answer[kind] = value
        done += len(chunk)
        progress(f"answer likelihood, {kind} rationale", done, len(items))


def choice_scores(
    model: Any,
    encoder: Encoder,
    task: LikelihoodTask,
    examples: Sequence[Example],
    items: Sequence[Item],
    config: EvaluationConfig,
    progress: Progress,
) -> None:
    """Fill in `acc` and `acc_norm`: the options' likelihoods behind a plain-text question, as lm-eval scores them."""
    rows: list[tuple[list[int], list[int]]] = []
    for example in examples:
        context, continuations = task.likelihood_request(example)
        rows += [split_ids(encoder, context, continuation) for continuation in continuations]
    scores: list[float] = [0.0] * len(rows)
    done = 0
    for chunk in by_length([[*context, *ids] for context, ids in rows], config.rows_scored):
        batch = join(
            [rows[i][0] for i in chunk],
            [NO_RATIONALE] * len(chunk),
            [rows[i][1] for i in chunk],
            encoder.pad_token_id,
        )
        with torch.no_grad():
            answer_B = answer_likelihood(model, batch.to(model.device), scoring=config.scoring)
        for index, value in zip(chunk, answer_B.tolist(), strict=True):
            scores[index] = value
        done += len(chunk)
        progress("option likelihoods", done, len(rows))
    score = iter(scores)
    for example, item in zip(examples, items, strict=True):
        item.choices = likelihood_grades(example, [next(score) for _ in example.choices])


def split_ids(encoder: Encoder, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Ids of context and continuation, cut where the context's own ids end, as lm-eval does."""
    context_ids = encoder.beginning_ids(context)
    return context_ids, encoder.beginning_ids(context + continuation)[len(context_ids) :]


def summary(items: Sequence[Item], main_grader: str) -> dict[str, float]:
    """Means over the items: accuracies as fractions, likelihoods in nats. The main grader's has no suffix."""
    if not items:
        raise InputError("there is no example to evaluate; raise limit or look at the rows left out")
    metrics: dict[str, float] = {}
    for kind in ("greedy", "majority", "choices"):
        label = f"maj{len(items[0].samples)}" if kind == "majority" else kind
        for name in getattr(items[0], kind):
            accuracy = fmean(getattr(item, kind)[name].correct for item in items)
            metrics[f"accuracy_{label}/{name}"] = accuracy
            if name == main_grader:
                metrics[f"accuracy_{label}"] = accuracy
    if main_grader in items[0].greedy:
        metrics["no_answer_found"] = fmean(item.greedy[main_grader].extracted is None for item in items)
    metrics["unfinished"] = fmean(not item.finished for item in items)
    metrics["output_tokens"] = fmean(item.tokens for item in items)
    for kind in items[0].log_answer:
        metrics[f"logp_answer/{kind}"] = fmean(item.log_answer[kind] for item in items)
    return metrics

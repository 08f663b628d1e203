"""The wiring of an evaluation: read the split, go on where it was, grade, write, print."""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console
from tqdm import tqdm

from latro.encoding import Encoder
from latro.errors import InputError
from latro.evaluation import Item, answer_likelihoods, compare_with_others, evaluate
from latro.rollout.base import Rollout
from latro.rollout.vllm import VllmConfig
from latro.tasks.base import Task
from latro.tasks.rows import Rows
from latro.types import Example, Graded
from scripts.building import (
    build_encoder,
    build_model,
    build_task,
    fitting,
    gold_rationales,
    vllm_config,
    vllm_maker,
)
from scripts.checking import check_config
from scripts.prompting import prompted_otherwise
from scripts.report import write_report
from scripts.results import disagreements, estimates, print_estimates, results_json
from scripts.run import Run
from scripts.sessions import model_record
from scripts.tables import whole_lines, write_text
from scripts.training import quiet_libraries

GRADED = ("greedy", "majority", "choices")


def evaluate_model(cfg: DictConfig) -> list[Item]:
    """Evaluate as `cfg` says and return one item per example, in order."""
    quiet_libraries()
    refuse_launcher()
    check_config(cfg)
    config = instantiate(cfg.evaluation)
    vllm = vllm_config(cfg, config.engine)
    run = Run(cfg, opens=False)
    task = build_task(cfg)
    if cfg.split == "test":
        task.open_test()
    rows = list(task.examples(cfg.split))
    tell_carved(task, cfg.split, len(rows))
    loaded, _ = build_model(cfg)
    model = loaded.model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    encoder = build_encoder(loaded, task, cfg.separator)
    warning = prompted_otherwise(cfg.model.get("path"), encoder, task)
    if warning:
        tqdm.write(f"warning: {warning}", file=sys.stderr)
    examples, long_prompts = fitting(rows[: cfg.limit], encoder, model, config.max_tokens, cfg.on_long_prompt)
    run.model = model_record(loaded.source)
    run.open(overwrite=run.overwrite)
    table = run.folder / "items.jsonl"
    items = {item.id: item for item in read_items(table)} if cfg.resume else {}
    refuse_outdated(items, examples, task, table)
    items = {example.id: items[example.id] for example in examples if example.id in items}
    rewrite(table, items)
    started = time.perf_counter()
    bar = ChunkBar(f"{task.name} {cfg.split}", len(examples), done=sum(e.id in items for e in examples))
    missing = [example for example in examples if example.id not in items]
    with decoding_by(vllm, model, encoder, missing, config.max_tokens) as engine:
        for chunk in chunks(missing, cfg.chunk):
            fresh = evaluate(model, encoder, task, chunk, config, bar.show, engine)
            items |= {item.id: item for item in fresh}
            run.append("items", fresh)
            bar.advance(len(chunk))
    ordered = [items[example.id] for example in examples]
    # Of all items anew, those of earlier sessions too: all have the same kinds.
    gold = gold_rationales(examples, encoder, model) if config.answer_likelihood else None
    if gold is not None:
        answer_likelihoods(model, encoder, examples, ordered, "gold", gold, config, bar.show)
    if len(ordered) > 1:
        compare_with_others(model, encoder, examples, ordered, [*ordered[1:], ordered[0]], config, bar.show)
    rewrite(table, items)
    bar.close()
    (run.folder / "left_out.jsonl").unlink(missing_ok=True)
    left_out = [*task.left_out, *long_prompts]
    run.append("left_out", left_out)
    counts = {"original": len(rows), "left_out": len(left_out)}
    report(cfg, run, task, ordered, counts, time.perf_counter() - started)
    return ordered


def tell_carved(task: Task, split: str, count: int) -> None:
    """Say in one line that these rows are a part of a file that has no split of this name."""
    told = task.carved_out(split) if isinstance(task, Rows) else None
    if told:
        tqdm.write(f"{count} examples: {told}", file=sys.stderr)


def refuse_launcher() -> None:
    """Raise InputError under a launcher of several processes: each would evaluate everything, into one folder."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1:
        raise InputError(
            f"evaluate_latro is one process, and {processes} were launched: start it by `python -m "
            "scripts.evaluate_latro`, with evaluation.engine=vllm for speed, or several by scripts.sweep"
        )


def refuse_outdated(items: Mapping[str, Item], examples: Sequence[Example], task: Task, table: Path) -> None:
    """Raise InputError for an item of an earlier session whose example, or whose graders, are others now."""
    for example in examples:
        item = items.get(example.id)
        if item is None:
            continue
        graders = task.grade(example, item.output)
        if (item.prompt, item.gold, item.greedy) != (example.prompt, example.gold, graders):
            raise InputError(
                f"{table}: {example.id} was evaluated under another prompt, answer or grader than it has now; start "
                "anew with overwrite=true resume=false, or give another output_dir"
            )


@contextmanager
def decoding_by(
    vllm: VllmConfig | None, model: Any, encoder: Encoder, examples: Sequence[Example], most_tokens: int
) -> Iterator[Rollout | None]:
    """vLLM with the model's weights, where it is wanted and there is something to decode."""
    make = vllm_maker(vllm, encoder, [(examples, most_tokens)])
    if make is None:
        yield None
        return
    engine = make(model, Accelerator())
    with engine.renewed():
        yield engine


def chunks(examples: Sequence[Example], size: int) -> Iterator[Sequence[Example]]:
    """The examples in runs of at most `size`."""
    for start in range(0, len(examples), size):
        yield examples[start : start + size]


class ChunkBar:
    """Examples done with the time left, and what is being done to the current chunk."""

    def __init__(self, description: str, total: int, done: int) -> None:
        self.bar = tqdm(
            total=total,
            initial=done,
            desc=description,
            unit="example",
            dynamic_ncols=True,
            mininterval=0.5 if sys.stderr.isatty() else 15,
        )

    def show(self, what: str, done: int, total: int) -> None:
        """Show progress inside a chunk."""
        self.bar.set_postfix_str(f"{what} {done}/{total}")

    def advance(self, count: int) -> None:
        """A chunk is done."""
        self.bar.update(count)

    def close(self) -> None:
        """Close the bar."""
        self.bar.close()


def read_items(table: Path) -> list[Item]:
    """The items that an earlier, unfinished evaluation left; a torn last line is dropped."""
    return [item_from(json.loads(line)) for line in whole_lines(table)] if table.exists() else []


def item_from(row: dict[str, Any]) -> Item:
    """An item from its row."""
    graded = {kind: {name: Graded(**verdict) for name, verdict in row[kind].items()} for kind in GRADED}
    return Item(**(row | graded))


def rewrite(table: Path, items: dict[str, Item]) -> None:
    """Leave only whole rows in the table."""
    write_text(table, "".join(json.dumps(asdict(item), ensure_ascii=False) + "\n" for item in items.values()))


def report(
    cfg: DictConfig, run: Run, task: Task, items: Sequence[Item], counts: Mapping[str, int], seconds: float
) -> None:
    """Print the table and where the graders disagree; `results.json` says that all is done, the page rests on it."""
    found = disagreements(items)
    (run.folder / "disagreements.jsonl").unlink(missing_ok=True)
    run.append("disagreements", found)
    outcome = results_json(task, items, split=cfg.split, config=run.config, seconds=seconds, **counts)
    outcome["model"] = run.model
    run.write_json("results", outcome)
    write_report(run.folder)
    print_estimates(f"{task.name} {cfg.split}: {len(items)} examples", estimates(items, task.main_grader))
    console = Console()
    if outcome["left_out"]:
        console.print(f"{outcome['left_out']} rows left out, see left_out.jsonl")
    console.print(f"graders disagree on {len(found)} of {len(items)} examples, see disagreements.jsonl")
    console.print(f"run folder: {run.folder}", highlight=False)

"""The wind tunnel: a tiny model that can reason but guesses, made from scratch in about two minutes of CPU.

Stage one trains on texts that reason step by step, until sampling and greedy decoding are always right. Stage
two goes on with texts that mostly guess: no rationale, and the answer of another question. Greedy decoding
then guesses, while the reasoning is still there in the sampling distribution, for LaTRO to unlock.
"""

import hashlib
import json
import logging
import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from filelock import FileLock
from transformers.utils import logging as transformers_logging

from latro.caching import kept_in
from latro.checkpoints import save_here
from latro.encoding import suffix_of
from latro.errors import InputError
from latro.pretraining import TinyLlamaShape, byte_tokenizer, fit, tiny_llama
from latro.tasks.base import Task
from latro.types import Example

THREADS = 1
"""That pretraining computes with: sums are rounded otherwise by another number."""
VERSION = 1
"""Raised whenever the same settings make other weights, so that no stale cache is used."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindTunnel:
    """The recipe of a model that can reason but guesses; `prepare()` makes it, or finds it in the cache.

    Texts are `prompt + rationale + answer` of the task's train split, or for a guess `prompt + answer` with
    the answer of any question, with the task's separator between them as in training, each closed by the end-of-text
    token. With both update counts 0 the model is
    random and any task will do; otherwise the task's examples need a rationale.
    """

    task: Task
    seed: int
    shape: TinyLlamaShape = field(default_factory=TinyLlamaShape)
    reasoning_updates: int = 900
    """Updates of stage one, where every text reasons."""
    guessing_updates: int = 400
    """Updates of stage two, where most texts guess."""
    reasoning_share: float = 0.3
    """Share of texts that still reason in stage two: afterwards, the chance that a sample reasons."""
    batch_size: int = 128
    learning_rate: float = 2e-3
    cache: Path | str | None = None
    """Where models are kept; None: `wind_tunnel` of `latro.caching`."""
    progress: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.reasoning_share <= 1:
            raise InputError(f"model.reasoning_share={self.reasoning_share}: give a share between 0 and 1")
        shape = self.shape
        if min(shape.width, shape.heads, shape.layers, shape.mlp_width) < 1 or shape.width % (
            2 * shape.heads
        ):
            raise InputError(
                f"model.shape.width={shape.width}, heads={shape.heads}: give sizes of at least 1, and a width that is "
                "a multiple of twice the heads"
            )
        if min(self.reasoning_updates, self.guessing_updates) < 0 or self.batch_size < 1:
            raise InputError(
                f"model.reasoning_updates={self.reasoning_updates}, guessing_updates="
                f"{self.guessing_updates}, batch_size={self.batch_size}: give at least 0, 0, 1"
            )

    def prepare(self) -> Path:
        """The model's Hugging Face folder, pretrained now unless the cache has it.

        Weights are bit-identical for the same settings, seed and torch version; all of them are part of the folder's
        name. They are made by one thread, so that they do not depend on how many there are. Safe to call from several
        processes: one trains, the others wait.
        """
        examples = self.task.examples("train")
        recipe = self._recipe(examples)
        digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
        folder = Path(self.cache or kept_in("wind_tunnel")) / f"{self.task.name}-seed{self.seed}-{digest}"
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = f"{error.strerror}: {error.filename}"
            raise InputError(
                f"model.cache={folder.parent}: {reason}; give a folder that can be written"
            ) from error
        with FileLock(folder.with_name(folder.name + ".lock")):
            if not folder.exists():
                self._pretrain(examples, recipe, folder)
        return folder

    def _recipe(self, examples: Sequence[Example]) -> dict[str, object]:
        """All that the weights depend on. The task counts by its texts, so a changed task is a new model."""
        settings = {
            name: getattr(self, name)
            for name in ("seed", "reasoning_updates", "guessing_updates", "reasoning_share", "batch_size")
        }
        texts = "\x00".join(f"{e.prompt}\x01{e.rationale}\x01{e.answer}" for e in examples)
        return (
            settings
            | {
                "learning_rate": self.learning_rate,
                "shape": asdict(self.shape),
                "texts": hashlib.sha256(texts.encode()).hexdigest(),
                "version": VERSION,
                "torch": torch.__version__,
                "threads": THREADS,
            }
            | ({"separator": self.task.answer_separator} if self.task.answer_separator else {})
        )

    def _pretrain(self, examples: Sequence[Example], recipe: dict[str, object], folder: Path) -> None:
        """Both stages. The folder appears only when complete: a killed run leaves none behind."""
        tokenizer = byte_tokenizer(self.shape.context)
        model = tiny_llama(self.shape, tokenizer, self.seed)
        stages = (
            ("stage 1 of 2: learning to reason", self.reasoning_updates, 1.0),
            ("stage 2 of 2: learning to guess", self.guessing_updates, self.reasoning_share),
        )
        for number, (description, updates, share) in enumerate(stages, start=1):
            if not updates:
                continue
            generator = random.Random(f"wind tunnel, seed {self.seed}, stage {number}")
            with threads(THREADS):
                losses = fit(
                    model,
                    tokenizer,
                    self._batches(examples, updates, share, generator),
                    updates=updates,
                    learning_rate=self.learning_rate,
                    progress=self.progress,
                    description=description,
                )
            logger.info("%s: loss %.3f to %.3f nats per token", description, losses[0], losses[-1])
        unfinished = folder.with_name(folder.name + ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        transformers_logging.disable_progress_bar()
        save_here(model, unfinished)
        tokenizer.save_pretrained(unfinished)
        (unfinished / "recipe.json").write_text(json.dumps(recipe, indent=2, sort_keys=True) + "\n")
        unfinished.rename(folder)

    def _batches(
        self, examples: Sequence[Example], updates: int, share: float, generator: random.Random
    ) -> Iterator[list[tuple[str, str]]]:
        for _ in range(updates):
            rows = generator.choices(examples, k=self.batch_size)
            between = self.task.answer_separator
            yield [
                (
                    row.prompt + suffix_of(between),
                    reasoned(row, between)
                    if generator.random() < share
                    else between + generator.choice(examples).answer,
                )
                for row in rows
            ]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Within the block torch computes with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def reasoned(example: Example, separator: str = "") -> str:
    """The continuation that reasons: the example's own rationale and, behind the separator, its answer line.

    Raises InputError if the example has no rationale.
    """
    if not example.rationale:
        raise InputError(
            f"{example.place}: example {example.id} has no rationale to learn; choose another task, or "
            "set model.reasoning_updates=0 model.guessing_updates=0 for a random model"
        )
    return example.rationale + separator + example.answer

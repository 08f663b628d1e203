"""From a composed configuration to a task, a model and an encoder: what every LaTRO script needs."""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig
from tqdm import tqdm

from latro.encoding import Encoder, suffix_of
from latro.errors import InputError
from latro.models import LoadedModel, ModelConfig, load_policy
from latro.rollout.choosing import VLLM
from latro.rollout.limits import rotary_reach
from latro.rollout.vllm import VllmConfig, VllmEngine
from latro.tasks.base import Task
from latro.types import Example, LeftOut

ROOM = "sampling.max_rationale_tokens or evaluation.max_tokens"


def build_task(cfg: DictConfig) -> Task:
    """The task that the configuration names."""
    task: Task = instantiate(cfg.task, _convert_="all")
    return task


def build_model(cfg: DictConfig) -> tuple[LoadedModel, ModelConfig]:
    """The loaded model, a fresh adapter drawn from the run's seed, and its configuration.

    A model that makes itself first (the wind tunnel) gives the folder to load by `prepare()`.
    """
    source = instantiate(cfg.model, _convert_="all")
    config = source if isinstance(source, ModelConfig) else ModelConfig(path=str(source.prepare()))
    return load_policy(config, cfg.get("seed", 0)), config


def build_encoder(loaded: LoadedModel, task: Task, separator: str) -> Encoder:
    """How this model's prompts and answers are written as ids.

    `separator` overrides the task's own unless it is `auto`. A text without one has none behind a plain-text
    prompt either.
    """
    if separator == "auto":
        separator = task.answer_separator
    return Encoder(
        tokenizer=loaded.tokenizer,
        chat=loaded.turns.chat,
        stop_token_ids=loaded.turns.stop_token_ids,
        end_of_answer_id=loaded.turns.end_of_answer_id,
        pad_token_id=loaded.turns.pad_token_id,
        system_prompt=loaded.system_prompt,
        separator=separator,
        prompt_suffix=suffix_of(separator),
    )


def vllm_config(cfg: DictConfig, *engines: str) -> VllmConfig | None:
    """Where vLLM runs, if one of the engines is vLLM. Raises InputError where it is not installed."""
    config: VllmConfig = instantiate(cfg.vllm)
    if VLLM not in engines:
        return None
    if importlib.util.find_spec("vllm") is None:
        raise InputError("engine=vllm needs the package vllm; run: pip install 'latro-pract[vllm]'")
    return config


def vllm_maker(
    config: VllmConfig | None, encoder: Encoder, wanted: Sequence[tuple[Sequence[Example], int]]
) -> Callable[[Any, Any], VllmEngine] | None:
    """Makes the engine for a model and its accelerator; None where there is nothing to make or to decode.

    `wanted` are examples with the most tokens that are decoded behind their prompts.
    """
    rows = [len(encoder.prompt_ids(e.prompt)) + most for examples, most in wanted for e in examples if config]
    if config is None or not rows:
        return None
    return partial(VllmEngine, config, tokenizer=encoder.tokenizer, longest=max(rows))


def context_length(model: Any) -> int | None:
    """Positions the model can attend to; None if its configuration names no limit.

    Where longer rows change what all rows beside them score (longrope, dynamic), the positions up to there: a row's
    likelihood must not depend on its neighbours.
    """
    limits = [getattr(model.config, "max_position_embeddings", None), rotary_reach(model.config)]
    return min((int(limit) for limit in limits if limit), default=None)


def gold_rationales(examples: Sequence[Example], encoder: Encoder, model: Any) -> list[list[int]] | None:
    """The dataset's own rationales as ids, an empty cell as an empty one: with and without them is LaTRO's figure 2.

    None where there are none, or, which is said in a line, where one does not fit into the model's context: a mean over
    other examples than the rest could not be compared with it.
    """
    if not any(example.rationale for example in examples):
        return None
    found = [encoder.continuation_ids(example.rationale or "") for example in examples]
    limit = context_length(model)
    for example, ids in zip(examples, found, strict=True):
        length = (
            len(encoder.prompt_ids(example.prompt)) + len(ids) + len(encoder.answer_ids(example.answer, ids))
        )
        if limit is not None and length > limit:
            tqdm.write(
                f"answers are not scored with gold rationales: that of {example.place or example.id} makes {length} "
                f"tokens with prompt and answer, the model's context has {limit}",
                file=sys.stderr,
            )
            return None
    return found


def fitting(
    examples: Sequence[Example], encoder: Encoder, model: Any, room: int, on_long_prompt: str
) -> tuple[list[Example], list[LeftOut]]:
    """The examples whose prompt, answer and `room` tokens fit into the model's context, and the others."""
    if on_long_prompt not in ("skip", "error"):
        raise InputError(f"on_long_prompt={on_long_prompt!r} is unknown; choose skip or error")
    limit = context_length(model)
    kept: list[Example] = []
    left_out: list[LeftOut] = []
    for example in examples:
        length = len(encoder.prompt_ids(example.prompt)) + len(encoder.answer_ids(example.answer)) + room
        if limit is None or length <= limit:
            kept.append(example)
            continue
        reason = f"prompt, answer and {room} tokens for the rationale make {length}, the model's context has {limit}"
        if on_long_prompt == "error":
            raise InputError(
                f"{example.place or example.id}: {reason}; lower {ROOM}, or set on_long_prompt=skip"
            )
        left_out.append(LeftOut(id=example.id, place=example.place, reason=reason))
    if not kept:
        raise InputError(
            f"no prompt fits into the model's context of {limit} tokens with {room} more; lower {ROOM}"
        )
    return kept, left_out

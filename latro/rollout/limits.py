"""What continuous batching cannot take, and how many rows fit into memory."""

import inspect
import math
import os
from pathlib import Path
from typing import Any

import torch

from latro.planning import LOGIT_BYTES

MOST_ROWS = 256
"""More rows in flight than this gain nothing: the matrix products are bound by arithmetic long before."""
MEMORY_SHARE = 0.5
"""Of the free memory that the rows may take; the rest is for the update."""


def find_obstacle(model: Any, longest: int) -> str | None:
    """Why rows of up to `longest` tokens need the plain engine; None if they do not.

    Continuous batching takes decoders whose only state is one key and one value per token, whole on this process:
    processes that share weights must call forward equally often, and rows end when they end.
    """
    base = base_model(model)
    config = base.config.get_text_config(decoder=True)
    if is_sharded(base):
        return "the weights are sharded, and all processes must call forward equally often"
    if kinds := other_layers(base):
        return kinds
    takes = inspect.signature(base.forward).parameters
    if not {"position_ids", "past_key_values", "attention_mask", "logits_to_keep"} <= takes.keys():
        return f"{type(base).__name__}'s forward does not take positions, a cache, a mask and logits_to_keep"
    if window := exceeded_window(config, longest):
        return f"rows outgrow the attention's window of {window} tokens"
    reach = rotary_reach(config)
    if reach is not None and reach < longest:
        return f"rotary frequencies change behind {reach} tokens, for all rows at once"
    return None


def rotary_reach(config: Any) -> int | None:
    """Tokens behind which the longest row changes the rotary frequencies of all beside it; None where it does not."""
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") not in ("longrope", "dynamic"):
        return None
    return int(rope.get("original_max_position_embeddings") or 0)


def exceeded_window(config: Any, longest: int) -> int | None:
    """Tokens of a sliding attention's window, if rows of `longest` tokens are longer."""
    window = getattr(config, "sliding_window", None)
    return window if window and window < longest else None


def other_layers(base: Any) -> str | None:
    """Why a model's cache is more than keys and values of a row's own columns; None where it is not."""
    config = base.config.get_text_config(decoder=True)
    if getattr(base, "_is_stateful", False) or config.is_encoder_decoder:
        return f"{type(base).__name__} keeps no plain cache of keys and values"
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    if not layers <= {"full_attention", "sliding_attention"}:
        return f"{type(base).__name__} has layers of other kinds: {', '.join(sorted(layers))}"
    return None


def base_model(model: Any) -> Any:
    """The model itself, without the adapter around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def must_keep_step(model: Any) -> bool:
    """Whether this process must go on calling forward until the rows of all processes have ended.

    Each forward of sharded weights gathers them from every process: one that stops early leaves the others waiting.
    """
    from torch import distributed

    several = distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
    return several and is_sharded(base_model(model))


def is_sharded(model: Any) -> bool:
    """Whether the weights are spread over processes, by DeepSpeed's stage 3 or FSDP."""
    from torch.distributed.tensor import DTensor
    from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
    from transformers.integrations.fsdp import is_fsdp_managed_module

    parts = any(isinstance(parameter, DTensor) for parameter in model.parameters())
    return bool(parts or is_deepspeed_zero3_enabled() or is_fsdp_managed_module(model))


def rows_that_fit(model: Any, longest: int) -> int:
    """Rows of up to `longest` tokens that fit into half of the free memory, 1 to 256.

    Processes that must keep step take the fewest that any of them has room for.
    """
    config = model.config.get_text_config(decoder=True)
    memory = free_bytes(model.device) * MEMORY_SHARE
    rows = max(1, min(MOST_ROWS, int(memory // row_bytes(config, longest, model.dtype.itemsize))))
    return fewest(rows, model.device) if must_keep_step(model) else rows


def fewest(rows: int, device: torch.device) -> int:
    """The smallest of all processes' numbers; every process calls it."""
    from torch import distributed

    smallest = torch.tensor(rows, device=device)
    distributed.all_reduce(smallest, op=distributed.ReduceOp.MIN)
    return int(smallest)


def row_bytes(config: Any, longest: int, itemsize: int) -> int:
    """Bytes of one row in flight: keys and values of every layer, and the scores of one token."""
    return int(column_bytes(config, itemsize) * longest + LOGIT_BYTES * config.vocab_size)


def column_bytes(config: Any, itemsize: int) -> int:
    """Bytes of one token's keys and values in every layer."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width * itemsize)


def free_bytes(device: torch.device) -> int:
    """Bytes free on the device, by what the system says now, and those that torch holds but does not use.

    A processor's memory is shared by the processes of this host that train together.
    """
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    import psutil

    free = min(psutil.virtual_memory().available, group_bytes())
    return int(free) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def group_bytes(folder: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes that this process's control group may still take (Linux, version 2), infinite where it has no limit.

    What it keeps of files that nobody reads any more is given back when memory is asked for.
    """
    most, now, stat = (folder / name for name in ("memory.max", "memory.current", "memory.stat"))
    if not most.exists() or (limit := most.read_text().strip()) == "max":
        return math.inf
    kept = dict(line.split() for line in stat.read_text().splitlines())
    return max(0, int(limit) - int(now.read_text()) + int(kept["inactive_file"]))

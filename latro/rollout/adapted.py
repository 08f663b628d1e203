"""An adapted model's weights as one matrix each, for whatever knows no adapters.

Each adapter is added to a copy of its matrix, never to the matrix: merged into the base and taken out again, it would
leave its rounding in weights that are supposed to be frozen, and that a LoRA run also takes for its reference.
"""

from collections.abc import Iterator
from typing import Any

from peft.tuners.lora import LoraLayer
from torch import Tensor

from latro.errors import InputError


def merged_parameters(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Each parameter of an adapted model's base under the base's own name, with the adapters added to a copy."""
    base = model.get_base_model()
    adapted = {name: module for name, module in base.named_modules() if isinstance(module, LoraLayer)}
    for name, parameter in base.named_parameters():
        owner, inside, leaf = name.partition(".base_layer.")
        if inside:
            yield f"{owner}.{leaf}", merged(adapted[owner], leaf, parameter.data)
        elif ".lora_" not in name:
            yield name, parameter.data


def merged(layer: LoraLayer, leaf: str, weight: Tensor) -> Tensor:
    """A matrix with the active adapters' products added, in the matrix's precision; a bias as it is."""
    if leaf != "weight":
        return weight
    deltas = [layer.get_delta_weight(adapter) for adapter in layer.active_adapters]
    return weight + sum(delta.to(weight.dtype) for delta in deltas)


def check_adapters(model: Any, *, sharded: bool) -> None:
    """Refuse an adapter that is more than products of two matrices, or whose weights are sharded."""
    for name, config in getattr(model, "peft_config", {}).items():
        more = [knob for knob in ("modules_to_save", "use_dora", "lora_bias") if getattr(config, knob, None)]
        if config.peft_type != "LORA" or more:
            what = ", ".join(more) or f"peft_type={config.peft_type}"
            raise InputError(
                f"engine=vllm with the adapter {name!r} ({what}): only plain LoRA is handed over; use "
                "engine=continuous, or merge the adapter into its base"
            )
        if sharded:
            raise InputError(
                f"engine=vllm with the adapter {name!r} and sharded weights: launch it with torchrun, without sharding"
            )

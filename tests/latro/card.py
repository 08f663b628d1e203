"""A device beside the processor that is made up: tensors that may not meet the processor's, with real values.

A GPU's arithmetic is not pretended, but its rules are: what is computed there has to lie there, and what Python wants
to know of it has to be fetched. `Card` holds a processor's tensor under the name of another device, `Placing` sends
every operation through `carried_out`, which refuses to mix the two.
"""

from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

CARD = "card:0"
COPIES = ("aten::copy_", "aten::_to_copy")
INDEXED = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")
"""A GPU's tensor takes indices from the processor as well, but not the other way about."""
WAITS = ("aten::_local_scalar_dense", "aten::equal", "aten::nonzero")
"""Operations whose outcome the processor has to know before it goes on."""
fetched: Counter[str] = Counter()
"""How often the processor had to wait for a value of the card, by operation."""


class Backend(_DummyBackendModule):
    """What torch asks of a device's module."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


def register() -> None:
    """Make the device known to torch, for this process from now on."""
    _setup_privateuseone_for_python_backend("card", backend_module=Backend())
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    torch._C._set_only_lift_cpu_tensors(
        True
    )  # `torch.tensor(..., device=CARD)` is made first, and then moved


class Card(torch.Tensor):
    """A tensor on the card; `held` is the processor's that it stands for."""

    held: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "Card":
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined, no-any-return]
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=CARD,
        )

    def __init__(self, held: torch.Tensor) -> None:
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return carried_out(func, args, kwargs or {})

    def tolist(self) -> Any:
        fetched["tolist"] += 1
        return self.held.tolist()


class Placing(TorchDispatchMode):
    """Within it, tensors can be made on the card."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return carried_out(func, args, kwargs or {})


def carried_out(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What an operation gives, on the device where its tensors are. Raises RuntimeError where these are on two."""
    name = func._schema.name
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    cards = [tensor for tensor in tensors if isinstance(tensor, Card)]
    others = [tensor for tensor in tensors if not isinstance(tensor, Card) and tensor.ndim]
    allowed = name in COPIES or (name in INDEXED and isinstance(args[0], Card))
    if cards and others and not allowed:
        raise RuntimeError(f"{name}: {len(cards)} tensors on the card, {len(others)} on the processor")
    device = kwargs.get("device")
    onto_card = torch.device(device).type == "card" if device is not None else bool(cards)
    if cards and (name in WAITS or not onto_card):
        fetched[name] += 1
    bare_args, bare_kwargs = tree_map_only(Card, lambda card: card.held, (args, kwargs))
    if device is not None:
        bare_kwargs = bare_kwargs | {"device": torch.device("cpu")}
    found = func(*bare_args, **bare_kwargs)
    if name == "aten::copy_":
        return args[0]
    if not onto_card:
        return found
    found = tree_map_only(torch.Tensor, lambda held: held if isinstance(held, Card) else Card(held), found)
    return return_and_correct_aliasing(func, args, kwargs, found) if cards and device is None else found

"""LoRA, and the reference: the model as it was before training, which only ever scores.

With all weights in training the reference is a frozen copy; with a fresh LoRA adapter it is the same model, adapter
off; where training goes on from a loaded adapter, that adapter as it was, over the same base weights.
"""

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch

from latro.errors import InputError, first_words
from latro.model_config import LoraSettings as LoraSettings


class Reference(Protocol):
    """What the policy is compared with; scores only."""

    def prepare(self, accelerator: Any) -> None:
        """Place it on the device beside the policy."""
        ...

    def scoring(self, policy: Any) -> AbstractContextManager[Callable[..., Any]]:
        """Within the block: a model to call, without gradients. `policy` is the model in training, as wrapped."""
        ...


class FrozenReference:
    """A copy of the policy as it was at the start: eval mode, no gradients."""

    def __init__(self, model: Any) -> None:
        """`model` is the copy itself; it is frozen here."""
        self.model = model.eval().requires_grad_(False)

    def prepare(self, accelerator: Any) -> None:
        """Place the copy on the device: sharded as the policy is under DeepSpeed, whole on each one under FSDP."""
        if accelerator.distributed_type == "DEEPSPEED":
            # Stage 3 shards weights as they are loaded; only an engine of its own gathers them for a forward.
            from trl.models.utils import prepare_deepspeed

            self.model = prepare_deepspeed(self.model, accelerator)
            return
        # Under FSDP accelerate leaves a model where it is unless it is told to place it.
        self.model = accelerator.prepare_model(self.model, device_placement=True, evaluation_mode=True)

    @contextmanager
    def scoring(self, policy: Any) -> Iterator[Callable[..., Any]]:
        """The frozen copy; the policy is not touched."""
        with torch.no_grad():
            yield self.model


class AdapterOffReference:
    """The policy itself with its LoRA adapter switched off: no second copy in memory."""

    def prepare(self, accelerator: Any) -> None:
        """Nothing to place: the weights are the policy's."""

    @contextmanager
    def scoring(self, policy: Any) -> Iterator[Callable[..., Any]]:
        """The policy, as wrapped for training, with its adapter off until the block ends."""
        with torch.no_grad(), peft_model(policy).disable_adapter():
            yield policy


class LoadedAdapterReference(FrozenReference):
    """The policy as it was when its adapter was loaded: a copy of the adapter over the policy's own base weights."""

    def __init__(self, policy: Any) -> None:
        """`policy` is the PEFT model before training; its base weights are shared, not copied."""
        base = {id(p): p for p in policy.parameters() if not p.requires_grad}
        super().__init__(copy.deepcopy(policy, base))

    def prepare(self, accelerator: Any) -> None:
        """Place the adapter's copy on the device. Raises `InputError` where the base weights would be sharded."""
        kind = str(getattr(accelerator.distributed_type, "value", accelerator.distributed_type))
        if kind in ("DEEPSPEED", "FSDP"):
            raise InputError(
                f"model.path is a LoRA adapter, and {kind} shards the base weights that the policy and its reference "
                "share: launch without sharding, or merge the adapter into its base and give model.path=MERGED"
            )
        super().prepare(accelerator)


def make_frozen_copy(model: Any) -> Any:
    """A copy with its own weights, tied ones still tied; the same dtype, so it agrees with `model` bit for bit."""
    return copy.deepcopy(model)


def peft_model(policy: Any) -> Any:
    """The PEFT model inside whatever wraps it for training (DDP, DeepSpeed)."""
    inner = policy
    while not hasattr(inner, "disable_adapter"):
        if not hasattr(inner, "module"):
            raise TypeError(f"{type(policy).__name__} holds no adapter")
        inner = inner.module
    return inner


def add_lora(model: Any, settings: LoraSettings, seed: int = 0) -> Any:
    """The model with fresh adapters, which change nothing yet; only they are trained.

    Their first factor is drawn from `seed` alone: torch's own generator starts anywhere in every process.
    """
    from peft import LoraConfig, get_peft_model

    modules = settings.target_modules
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=0.0,
        target_modules=modules if isinstance(modules, str) else list(modules),
        use_rslora=settings.rslora,
        bias="none",
    )
    try:
        with peft_quiet(), torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(seed)
            return get_peft_model(model, config)
    except ValueError as error:
        known = sorted(
            {name.rsplit(".", 1)[-1] for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
        )
        raise InputError(
            f"model.lora.target_modules={modules!r}: no such modules; this model has {', '.join(known)}"
        ) from error


@contextmanager
def peft_quiet() -> Iterator[None]:
    """Drop the one warning that PEFT causes by reading a name which transformers has renamed."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning
        )
        yield


def refuse_another(config: Any, settings: LoraSettings, folder: Path) -> None:
    """Raise `InputError` where an adapter's own configuration (PEFT's) is not what `settings` ask for."""
    asked: dict[str, object] = {"r": settings.r, "alpha": settings.alpha, "rslora": settings.rslora}
    found: dict[str, object] = {"r": config.r, "alpha": config.lora_alpha, "rslora": config.use_rslora}
    if settings.target_modules != "all-linear":  # PEFT writes down what that stood for
        asked["target_modules"] = module_names(settings.target_modules)
        found["target_modules"] = module_names(config.target_modules)
    for name, value in asked.items():
        if value != found[name]:
            raise InputError(
                f"model.lora.{name}={value}, but the adapter in {folder} has {found[name]}: give the same, or leave "
                "model.lora out"
            )


def module_names(modules: str | Iterable[str]) -> str:
    """Modules as one text: a pattern as it is, names in their order."""
    return modules if isinstance(modules, str) else ", ".join(sorted(modules))


def load_adapter(model: Any, folder: Path, settings: LoraSettings | None) -> Any:
    """The model with the adapter of a folder, ready to train on. Raises `InputError` if it does not fit."""
    from peft import PeftConfig, PeftModel
    from safetensors import SafetensorError

    if not (folder / "adapter_model.safetensors").exists():
        raise InputError(f"{folder}: no adapter_model.safetensors: give a folder that save_pretrained wrote")
    config = PeftConfig.from_pretrained(str(folder))
    if settings:
        refuse_another(config, settings, folder)
    config.lora_dropout = 0.0
    try:
        with peft_quiet():
            return PeftModel.from_pretrained(model, str(folder), config=config, is_trainable=True)
    except (RuntimeError, ValueError, SafetensorError) as error:
        raise InputError(
            f"{folder}: the adapter does not fit {type(model).__name__}: {first_words(error)}"
        ) from error

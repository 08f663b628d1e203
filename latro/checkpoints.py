"""A Hugging Face folder, read with suspicion: what is no causal language model, or not whole, is refused."""

import json
from pathlib import Path
from typing import Any

import torch

from latro.errors import InputError, first_words

SIZES = (
    "model_type",
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
)
"""What must agree for one model's checkpoint to be loaded into another."""


def load_causal_lm(folder: Path, *, dtype: torch.dtype | str = "auto", attention: str | None = None) -> Any:
    """The model in a folder, all dropout off. `dtype` "auto" is the stored one.

    Raises `InputError` for anything but a whole causal language model in safetensors files whose weights fit
    its configuration: weights are never filled in at random.
    """
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForCausalLM

    check_folder(folder)
    check_attention(attention)
    try:
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
        zero_dropout_fields(config)
        model, report = AutoModelForCausalLM.from_pretrained(
            str(folder),
            config=config,
            dtype=dtype,
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below, by name
        )
    except SafetensorError as error:
        raise InputError(
            f"{folder}: a weight file is truncated or corrupt ({error}): copy or fetch it again"
        ) from error
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise InputError(f"{folder}: cannot be loaded: {first_words(error)}") from error
    check_report(folder, report)
    set_dropout_to_zero(model)
    return model


def save_here(model: Any, folder: Path) -> None:
    """Write the model's folder from this very process.

    Among several processes `save_pretrained` writes on the first alone and does nothing on the others, which is
    wrong where a file lock has chosen the one that makes a folder.
    """
    model.should_save_on_this_rank = lambda is_main_process: True
    try:
        model.save_pretrained(folder)
    finally:
        del model.should_save_on_this_rank


def check_folder(folder: Path) -> None:
    """Refuse a folder by its files and configuration alone, before any weight is read."""
    config = read_config(folder / "config.json")
    architectures = config.get("architectures") or []
    if config.get("is_encoder_decoder") or (
        architectures and not any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in architectures)
    ):
        name = ", ".join(architectures) or config.get("model_type", "unknown")
        raise InputError(f"{folder}: not a causal language model: {name}; LaTRO trains ...ForCausalLM models")
    check_known_type(folder, config)
    if config.get("quantization_config"):
        method = config["quantization_config"].get("quant_method", "some method")
        raise InputError(
            f"{folder}: its weights are quantised ({method}) and cannot be trained: use the full model"
        )
    check_weight_files(folder)


def check_known_type(folder: Path, config: dict[str, Any]) -> None:
    """Refuse a model type that transformers has no causal language model for: remote code is never run."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind = config.get("model_type")
    if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return
    if config.get("auto_map"):
        raise InputError(
            f"{folder}: model type {kind!r} needs the Python code that comes with it, and such code is never run: "
            "choose a model that transformers knows"
        )
    raise InputError(
        f"{folder}: not a causal language model: model type {kind!r} is unknown to transformers as one"
    )


def check_weight_files(folder: Path) -> None:
    """Refuse missing shards, and weights in any form but safetensors."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        for name in sorted(set(read_config(index).get("weight_map", {}).values())):
            if not (folder / name).exists():
                raise InputError(
                    f"{folder}: {name} is missing, which {index.name} lists: copy or fetch it again"
                )
    elif not (folder / "model.safetensors").exists():
        pickled = sorted(
            file.name for file in [*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")]
        )
        if pickled:
            raise InputError(
                f"{folder}: only pickled weights ({pickled[0]}), which can run code when read: convert them to "
                "safetensors (save_pretrained does) or choose a revision that has them"
            )
        raise InputError(f"{folder}: no model.safetensors: give a folder that save_pretrained wrote")


def check_attention(attention: str | None) -> None:
    """Refuse flash attention where it is not installed."""
    from transformers.utils import is_flash_attn_2_available

    if attention == "flash_attention_2" and not is_flash_attn_2_available():
        raise InputError(
            "model.attention=flash_attention_2: not available here (it needs the flash-attn package and a GPU): "
            "use model.attention=sdpa"
        )


def check_report(folder: Path, report: dict[str, Any]) -> None:
    """Refuse weights that do not fit the configuration, naming the first of them."""
    for kind, words in (
        ("mismatched_keys", "have another shape than config.json says"),
        ("missing_keys", "are missing and would have been random"),
        ("unexpected_keys", "have no place in the model"),
    ):
        found = sorted(str(key[0] if isinstance(key, tuple) else key) for key in report.get(kind) or ())
        if found:
            raise InputError(
                f"{folder}: {len(found)} weights {words}, first {found[0]}: config and weights differ"
            )


def check_same_architecture(model: Any, checkpoint: Path) -> None:
    """Refuse a checkpoint that was made of another model than the one it is to be loaded into."""
    if (checkpoint / "adapter_config.json").exists():
        return  # the adapter's own shapes are checked when it is loaded
    stored = read_config(checkpoint / "config.json")
    for name in SIZES:
        here = getattr(model.config, name, None)
        if name in stored and here is not None and stored[name] != here:
            raise InputError(
                f"{checkpoint}: a checkpoint of another architecture: {name} is {stored[name]} there and {here} in "
                "this run's model; choose the model it was made of, or another output_dir"
            )


def read_config(file: Path) -> dict[str, Any]:
    """A JSON object in a file. Raises `InputError` if it is missing or broken."""
    if not file.exists():
        raise InputError(
            f"{file.parent}: no {file.name}, so it is no model folder; give one that save_pretrained wrote"
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"{file}: broken JSON ({error}): copy or fetch it again") from error
    if not isinstance(content, dict):
        raise InputError(f"{file}: holds {type(content).__name__}, not an object: copy or fetch it again")
    return content


def zero_dropout_fields(config: Any) -> None:
    """Set every dropout probability of a configuration to 0, so that what samples is what is scored."""
    for name, value in vars(config).items():
        noisy = "dropout" in name or name.endswith(("_pdrop", "layerdrop", "drop_rate", "jitter_noise"))
        if noisy and isinstance(value, int | float) and not isinstance(value, bool):
            setattr(config, name, 0.0)


def set_dropout_to_zero(model: Any) -> None:
    """The same for a model that is already built."""
    zero_dropout_fields(model.config)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0

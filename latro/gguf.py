"""GGUF files made trainable: dequantised and converted once into a cached safetensors folder.

Reading a GGUF file takes a minute, reading the folder a second. Four traps are dealt with here:

1. Loaded as it is, the model keeps a quantizer and neither trains nor saves: it is dequantised.
2. The header is parsed slowly and several times: the conversion happens once per file, version and dtype.
3. Tied embeddings may be stored twice, the output matrix more finely: they are found by likeness and tied again.
4. Tensors that transformers has no place for are dropped silently: every tensor must have arrived.
"""

import hashlib
import json
import logging
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from latro.checkpoints import save_here
from latro.errors import InputError, first_words

logger = logging.getLogger(__name__)

CONVERTER_VERSION = 1
"""Part of the cache key: raised when the conversion changes."""
ARCHITECTURES = ("llama", "qwen2", "qwen3", "phi3")
"""Dense architectures whose tensors map one to one; the tests convert a toy of each."""
SAME_MATRIX = 0.35
"""Largest relative difference of two quantised copies of one matrix; unrelated matrices differ by 1.4."""
SOURCE_FILE = "gguf_source.json"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def converted_folder(file: Path, dtype: torch.dtype, cache: Path, sha256: str | None = None) -> Path:
    """The safetensors folder of a GGUF file, converted now unless the cache has it.

    The folder appears whole or not at all, also when several processes ask at once. Raises `InputError` for a
    truncated or corrupt file, an architecture or rope scaling that would not arrive intact, a full disk.
    """
    sha256 = sha256 or file_sha256(file)
    folder = cache_folder(sha256, dtype, cache)
    if folder.exists():
        return folder
    check_header(file)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(folder.name + ".lock")):
            if not folder.exists():
                convert(file, sha256, dtype, folder)
    except OSError as error:
        raise InputError(
            f"cannot write the converted model to {cache} ({error.strerror or type(error).__name__}): "
            "free some space there, or choose another folder with model.cache_dir="
        ) from error
    return folder


def cache_folder(sha256: str, dtype: torch.dtype, cache: Path) -> Path:
    """Where the conversion of a file is kept: named by the file's hash, the converter's version and the dtype."""
    return cache / f"{sha256[:24]}-v{CONVERTER_VERSION}-{str(dtype).removeprefix('torch.')}"


def check_header(file: Path) -> None:
    """Refuse a GGUF file that is broken, cut short, or holds what the conversion would lose."""
    from gguf import GGUFReader

    try:
        reader = GGUFReader(file)
    except (ValueError, IndexError, KeyError, OverflowError, MemoryError) as error:
        raise InputError(
            f"{file}: truncated or no GGUF file ({first_words(error)}): fetch it again"
        ) from error
    size = file.stat().st_size
    for tensor in reader.tensors:
        if int(tensor.data_offset) + int(tensor.n_bytes) > size:
            raise InputError(f"{file}: truncated inside {tensor.name} ({size} bytes): fetch it again")
    field = reader.get_field("general.architecture")
    architecture = str(field.contents()) if field else "none"
    if architecture not in ARCHITECTURES:
        raise InputError(
            f"{file}: GGUF architecture {architecture!r} cannot be converted ({', '.join(ARCHITECTURES)} can): "
            "use the model's hub id or safetensors folder"
        )
    scaling = reader.get_field(f"{architecture}.rope.scaling.type")
    names = {tensor.name for tensor in reader.tensors}
    if any(name.startswith("rope_") for name in names) or (scaling and scaling.contents() != "none"):
        raise InputError(
            f"{file}: its rope scaling would be lost in conversion: use the model's hub id or safetensors folder"
        )


def convert(file: Path, sha256: str, dtype: torch.dtype, folder: Path) -> None:
    """Write `folder` from a GGUF file; the caller holds the folder's lock."""
    for stale in folder.parent.glob(
        f".{folder.name}-*"
    ):  # left by a process that was killed: the lock is ours
        shutil.rmtree(stale, ignore_errors=True)
    logger.info("converting %s to %s, once; expect half a minute to a few minutes", file.name, folder)
    start = time.perf_counter()
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        model, tokenizer = read_gguf(file, dtype)
        tied_again = tie_again(model)
        check_complete(file, model)
        save_here(model, part)
        tokenizer.save_pretrained(part)
        drop_invented_tokens(part, model.get_input_embeddings().weight.shape[0])
        facts = {
            "file": file.name,
            "sha256": sha256,
            "converter_version": CONVERTER_VERSION,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "tied_again": tied_again,
        }
        (part / SOURCE_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        part.chmod(0o755)
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    logger.info(
        "converted in %.0f s, %.1f M parameters", time.perf_counter() - start, facts["parameters"] / 1e6
    )


def read_gguf(file: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    """Model and tokenizer of a GGUF file, dequantised; raises `InputError` where weights are missing."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.quantization_config import GgufConfig

    place = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    try:
        tokenizer = AutoTokenizer.from_pretrained(**place)
        model, report = AutoModelForCausalLM.from_pretrained(
            **place,
            dtype=dtype,
            quantization_config=GgufConfig(gguf_file=file.name, dequantize=True),
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except (ValueError, KeyError, IndexError, RuntimeError, AssertionError) as error:
        raise InputError(f"{file}: cannot be converted ({first_words(error)})") from error
    lost = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
    if lost:
        raise InputError(f"{file}: {len(lost)} weights are missing or of another shape, first {lost[0]}")
    if getattr(model.config, "head_dim", None) is None and hasattr(model.config, "head_dim"):
        model.config.head_dim = model.config.hidden_size // model.config.num_attention_heads
    return model, tokenizer


def drop_invented_tokens(folder: Path, rows: int) -> None:
    """Remove the tokens that the tokenizer's conversion added beyond the model's embedding rows.

    Where a vocabulary lacks `<|endoftext|>`, as Llama 3's does, it is added as the unknown word.
    """
    place = folder / "tokenizer.json"
    tokenizer = json.loads(place.read_text(encoding="utf-8"))
    invented = {token["content"] for token in tokenizer["added_tokens"] if token["id"] >= rows}
    if not invented:
        return
    tokenizer["added_tokens"] = [t for t in tokenizer["added_tokens"] if t["content"] not in invented]
    place.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    place = folder / "tokenizer_config.json"
    settings = json.loads(place.read_text(encoding="utf-8"))
    for name, value in settings.items():
        content = value.get("content") if isinstance(value, dict) else value
        if isinstance(content, str) and content in invented:
            settings[name] = None
    place.write_text(json.dumps(settings, indent=2, ensure_ascii=False), encoding="utf-8")


def tie_again(model: Any) -> bool:
    """Tie embedding and output matrix where both are quantised copies of one; True if they were tied.

    The output matrix is kept: it is stored with more bits, and it makes the logits.
    """
    embedding, output = model.get_input_embeddings(), model.get_output_embeddings()
    if embedding.weight is output.weight or embedding.weight.shape != output.weight.shape:
        return False
    with torch.no_grad():
        difference = (embedding.weight.float() - output.weight.float()).norm() / output.weight.float().norm()
        if not difference < SAME_MATRIX:
            return False
        embedding.weight.copy_(output.weight)
    model.config.tie_word_embeddings = True
    model.tie_weights()
    logger.info("tied the embedding to the output matrix again (copies differ by %.1f%%)", 100 * difference)
    return True


def check_complete(file: Path, model: Any) -> None:
    """Refuse a conversion that dropped a tensor or read weights that are not numbers."""
    from gguf import GGUFReader

    stored = {tensor.name for tensor in GGUFReader(file).tensors}
    if model.config.tie_word_embeddings:
        stored.discard("output.weight")
    placed = sum(1 for _ in model.parameters())
    if len(stored) != placed:
        raise InputError(
            f"{file}: {len(stored)} tensors stored but {placed} have a place in {type(model).__name__}"
        )
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise InputError(
                f"{file}: {name} holds values that are not finite, so the file is corrupt: fetch it again"
            )

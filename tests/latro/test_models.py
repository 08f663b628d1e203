"""Policies, references and turns on toy models of the paper's architectures. Without a network or real weights."""

import dataclasses
import json
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file
from transformers.trainer_utils import align_special_tokens

from latro import hub, products
from latro.adapters import AdapterOffReference, FrozenReference, LoadedAdapterReference, LoraSettings
from latro.checkpoints import check_same_architecture
from latro.errors import InputError
from latro.hub import HubFailure, WheelConfig, hub_folder, hub_reason
from latro.models import LoadedModel, ModelConfig, assemble, load_policy, make_reference
from tests.latro.tiny_models import tiny_folder, tiny_model, tiny_tokenizer

KINDS = ["phi3", "mistral", "llama"]
CONF = Path(__file__).resolve().parents[2] / "conf"
IDS = torch.tensor([[5, 9, 60, 61, 62, 200, 33]])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: tiny_folder(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return tiny_folder("llama", tmp_path / "llama")


def edit_json(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def logits(model, ids: torch.Tensor = IDS) -> torch.Tensor:
    with torch.no_grad():
        return model(ids).logits


@pytest.mark.parametrize(
    ("kind", "end", "stops"),
    [
        ("phi3", "<|end|>", {"<|end|>", "<|endoftext|>"}),
        ("mistral", "</s>", {"</s>"}),
        ("llama", "<|eot_id|>", {"<|eot_id|>", "<|end_of_text|>"}),
    ],
)
def test_the_end_of_an_answer_is_what_the_template_puts_there(kind, end, stops, tmp_path) -> None:
    folder = tiny_folder(kind, tmp_path)
    tokenizer = tiny_tokenizer(kind)
    ids = sorted(tokenizer.convert_tokens_to_ids(list(stops)))
    edit_json(folder / "generation_config.json", eos_token_id=ids)
    loaded = load_policy(ModelConfig(path=str(folder)))
    assert loaded.turns.chat
    assert loaded.tokenizer.convert_ids_to_tokens(loaded.turns.end_of_answer_id) == end
    assert loaded.turns.stop_token_ids == tuple(ids)
    assert loaded.turns.pad_token_id == loaded.tokenizer.eos_token_id, (
        "an existing token, for there is no pad"
    )
    assert len(loaded.tokenizer) == loaded.model.get_input_embeddings().weight.shape[0], "no row was added"


def test_a_saved_model_tells_other_programs_every_token_that_ends_its_turn(tmp_path) -> None:
    """Not its tokenizer's end alone; the trainer aligns both, and takes nothing out."""
    folder = tiny_folder("phi3", tmp_path / "base")
    edit_json(folder / "generation_config.json", eos_token_id=tiny_tokenizer("phi3").eos_token_id)
    loaded = load_policy(ModelConfig(path=str(folder)))
    align_special_tokens(loaded.model, loaded.tokenizer)
    loaded.model.save_pretrained(tmp_path / "best")
    ends = json.loads((tmp_path / "best/generation_config.json").read_text())["eos_token_id"]
    assert set(loaded.tokenizer.convert_ids_to_tokens(ends)) == {"<|endoftext|>", "<|end|>"}
    assert ends == sorted(ends) == list(loaded.turns.stop_token_ids)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_reference_agrees_bit_for_bit_and_stays_when_the_policy_moves(kind, dtype, folders) -> None:
    config = ModelConfig(path=str(folders[kind]), dtype=dtype)
    loaded = load_policy(config)
    reference = make_reference(loaded, config)
    before = logits(loaded.model)
    with reference.scoring(loaded.model) as frozen:
        assert torch.equal(frozen(IDS).logits, before)
    with torch.no_grad():
        loaded.model.get_output_embeddings().weight.add_(1)
    with reference.scoring(loaded.model) as frozen:
        assert torch.equal(frozen(IDS).logits, before)
        assert not frozen(IDS).logits.requires_grad
    assert not torch.equal(logits(loaded.model), before)
    assert isinstance(reference, FrozenReference)
    assert not any(p.requires_grad for p in reference.model.parameters())


@pytest.mark.parametrize(
    ("asked", "fast", "got"),
    [
        ("auto", True, torch.bfloat16),
        ("auto", False, torch.float32),
        ("bfloat16", False, torch.bfloat16),
    ],
)
def test_half_precision_weights_are_widened_where_they_are_slow(
    asked, fast, got, llama, tmp_path, monkeypatch
) -> None:
    load_policy(ModelConfig(path=str(llama), dtype="bfloat16")).model.save_pretrained(tmp_path / "half")
    for file in llama.glob("tokenizer*"):
        (tmp_path / "half" / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr("latro.models.bfloat16_is_fast", lambda: fast)
    assert load_policy(ModelConfig(path=str(tmp_path / "half"), dtype=asked)).model.dtype == got


def test_products_are_onednns_by_default_where_they_pay(llama, monkeypatch) -> None:
    monkeypatch.setattr(products, "LEAST_WEIGHTS", 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for pays, asked, layer in (
        (True, {}, products.OneDnnLinear),
        (False, {}, torch.nn.Linear),
        (True, {"products": "torch"}, torch.nn.Linear),
    ):
        monkeypatch.setattr(products, "onednn_pays", lambda pays=pays: pays)
        model = load_policy(ModelConfig(path=str(llama), **asked)).model
        assert type(model.lm_head) is layer
        assert type(model.model.layers[0].mlp.up_proj) is layer


def test_where_weights_are_scattered_the_reference_is_read_from_its_folder(llama, monkeypatch) -> None:
    config = ModelConfig(path=str(llama), dtype="bfloat16")
    loaded = load_policy(config)
    monkeypatch.setattr("transformers.integrations.is_deepspeed_zero3_enabled", lambda: True)
    monkeypatch.setattr("latro.models.make_frozen_copy", None)
    with make_reference(loaded, config).scoring(loaded.model) as frozen:
        assert torch.equal(frozen(IDS).logits, logits(loaded.model))


def test_accelerate_places_the_frozen_copy(llama) -> None:
    from accelerate import Accelerator

    config = ModelConfig(path=str(llama), reference_dtype="bfloat16")
    loaded = load_policy(config)
    reference = make_reference(loaded, config)
    reference.prepare(Accelerator(cpu=True))
    with reference.scoring(loaded.model) as frozen:
        assert frozen(IDS).logits.dtype == torch.bfloat16
    assert loaded.model.dtype == torch.float32


def test_under_fsdp_accelerate_is_told_to_place_the_frozen_copy() -> None:
    """By itself it leaves models where they are, for FSDP to place: and this one is not given to FSDP."""
    asked: dict[str, object] = {}
    reference = FrozenReference(torch.nn.Linear(2, 2))

    def prepare_model(model: object, **how: object) -> object:
        asked.update(how)
        return model

    reference.prepare(SimpleNamespace(distributed_type="FSDP", prepare_model=prepare_model))
    assert asked == {"device_placement": True, "evaluation_mode": True}


@pytest.mark.parametrize("kind", KINDS)
def test_with_lora_the_reference_is_the_adapter_switched_off(kind, folders, tmp_path) -> None:
    """It may score between a policy's forward and backward pass, and inside a wrapper."""
    config = ModelConfig(path=str(folders[kind]), dtype="bfloat16", lora=LoraSettings(r=4))
    base = logits(load_policy(ModelConfig(path=str(folders[kind]), dtype="bfloat16")).model)
    loaded = load_policy(config)
    reference = make_reference(loaded, config)
    wrapped = torch.nn.Module()
    wrapped.module = loaded.model
    wrapped.forward = loaded.model.forward
    assert torch.equal(logits(loaded.model), base)
    trained = [p for p in loaded.model.parameters() if p.requires_grad]
    assert {p.dtype for p in trained} == {torch.float32}
    for p in trained:
        torch.nn.init.normal_(p)
    policy = loaded.model(IDS).logits
    with reference.scoring(wrapped) as frozen:
        assert torch.equal(frozen(IDS).logits, base)
    assert not torch.equal(policy, base)
    policy.float().logsumexp(-1).sum().backward()
    assert all(p.grad is not None for p in trained)
    assert isinstance(reference, AdapterOffReference)

    loaded.model.save_pretrained(tmp_path / "adapter")
    again = load_policy(ModelConfig(path=str(tmp_path / "adapter"), dtype="bfloat16"))
    assert torch.equal(logits(again.model), policy)
    assert again.source.name == str(folders[kind])
    with pytest.raises(InputError, match=r"model.lora.r=8.*has 4"):
        load_policy(ModelConfig(path=str(tmp_path / "adapter"), lora=LoraSettings(r=8)))


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"r": 4, "alpha": 4}, r"model\.lora\.r=4, but the adapter in .* has 2"),
        ({"alpha": 8}, r"model\.lora\.alpha=8, but the adapter in .* has 4"),
        ({"rslora": True}, r"model\.lora\.rslora=True, but the adapter in .* has False"),
        (
            {"target_modules": ["q_proj"]},
            r"model\.lora\.target_modules=q_proj, but .* has q_proj, v_proj: give",
        ),
    ],
)
def test_an_adapter_with_other_settings_than_those_asked_for_is_refused(
    asked: dict, line: str, llama: Path, tmp_path: Path
) -> None:
    own = {"r": 2, "alpha": 4, "target_modules": ["v_proj", "q_proj"]}
    made = load_policy(ModelConfig(path=str(llama), lora=LoraSettings(**own)))
    made.model.save_pretrained(tmp_path / "adapter")
    folder = str(tmp_path / "adapter")
    load_policy(ModelConfig(path=folder, lora=LoraSettings(**own)))
    load_policy(ModelConfig(path=folder, lora=LoraSettings(r=2, alpha=4)))
    with pytest.raises(InputError, match=line):
        load_policy(ModelConfig(path=folder, lora=LoraSettings(**{**own, **asked})))


@pytest.mark.parametrize("kind", KINDS)
def test_training_on_from_a_loaded_adapter_is_compared_with_that_adapter(
    kind, folders, tmp_path: Path
) -> None:
    """The reference is base and adapter as loaded, bit for bit, before and after the policy has moved."""
    first = load_policy(ModelConfig(path=str(folders[kind]), dtype="bfloat16", lora=LoraSettings(r=4))).model
    base = logits(first)
    for p in first.parameters():
        if p.requires_grad:
            torch.nn.init.normal_(p)
    first.save_pretrained(tmp_path)
    config = ModelConfig(path=str(tmp_path), dtype="bfloat16")
    loaded = load_policy(config)
    reference = make_reference(loaded, config)
    assert isinstance(reference, LoadedAdapterReference)
    reference.prepare(Accelerator(cpu=True))
    start = logits(loaded.model)
    assert not torch.equal(start, base)
    with reference.scoring(loaded.model) as frozen:
        log_ratio = loaded.model(IDS).logits.log_softmax(-1) - frozen(IDS).logits.log_softmax(-1)
    assert log_ratio.abs().max() == 0.0
    trained = [p for p in loaded.model.parameters() if p.requires_grad]
    for p in trained:
        torch.nn.init.normal_(p)
    policy = loaded.model(IDS).logits
    with reference.scoring(loaded.model) as frozen:
        assert torch.equal(frozen(IDS).logits, start)
    assert not torch.equal(policy, start)
    policy.float().logsumexp(-1).sum().backward()
    assert all(p.grad is not None for p in trained)
    own = {p.data_ptr() for p in reference.model.parameters()} - {
        p.data_ptr() for p in loaded.model.parameters()
    }
    assert len(own) == len(trained)  # the base weights are held once


def test_a_loaded_adapter_is_refused_where_its_reference_cannot_be_right(llama: Path, tmp_path: Path) -> None:
    load_policy(ModelConfig(path=str(llama), lora=LoraSettings(r=2))).model.save_pretrained(
        tmp_path / "adapter"
    )
    config = ModelConfig(path=str(tmp_path / "adapter"))
    loaded = load_policy(config)
    with pytest.raises(InputError, match="FSDP shards the base weights"):
        make_reference(loaded, config).prepare(SimpleNamespace(distributed_type="FSDP"))
    config = ModelConfig(path=str(tmp_path / "adapter"), reference_dtype="float32")
    with pytest.raises(InputError, match=r"leave model\.reference_dtype out"):
        make_reference(loaded, config)


def test_dropout_is_off_even_while_training(tmp_path: Path) -> None:
    folder = tiny_folder("phi3", tmp_path, resid_pdrop=0.5, embd_pdrop=0.5, attention_dropout=0.5)
    model = load_policy(ModelConfig(path=str(folder))).model.train()
    assert torch.equal(logits(model), logits(model))
    assert (model.config.resid_pdrop, model.config.attention_dropout) == (0.0, 0.0)
    built = tiny_model("phi3", tiny_tokenizer("phi3"), resid_pdrop=0.5, attention_dropout=0.5).train()
    assemble(built, tiny_tokenizer("phi3"), config=ModelConfig(path="memory"))
    assert torch.equal(logits(built), logits(built))


def test_the_record_names_the_weights(llama: Path) -> None:
    first = load_policy(ModelConfig(path=str(llama))).source
    assert (first.kind, first.name, len(first.identity)) == ("folder", str(llama), 64)
    weights = load_file(llama / "model.safetensors")
    weights["model.norm.weight"][0] += 1
    save_file(weights, llama / "model.safetensors", metadata={"format": "pt"})
    assert load_policy(ModelConfig(path=str(llama))).source.identity != first.identity


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "model.path and model.hub_id are both null"),
        ({"path": "x", "dtype": "fp8"}, "model.dtype='fp8': choose from auto, bfloat16"),
        ({"path": "x", "attention": "flash"}, "model.attention='flash': choose from null, eager"),
        ({"path": "x", "lora": {"dropout": 0.1}}, "model.lora.dropout=0.1: must be 0"),
        ({"path": "x", "lora": {"r": 4}, "reference_dtype": "float32"}, "shares its weights"),
        ({"path": "x", "fallback_wheel": {"requirement": "a", "sha256": "0" * 64}}, "one exact version"),
        ({"path": "x", "fallback_wheel": {"requirement": "a==1", "sha256": "b1"}}, "64 hexadecimal digits"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict, words: str) -> None:
    with pytest.raises(InputError, match=words.replace("[", r"\[")):
        ModelConfig(**settings)


def refused(path: Path | str, words: str, **settings: object) -> None:
    with pytest.raises(InputError, match=words) as caught:
        load_policy(ModelConfig(path=str(path), **settings))
    assert "\n" not in str(caught.value)


def test_paths_that_hold_no_model_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "missing", "missing: no such file or folder")
    refused(tmp_path, r"no config\.json, so it is no model folder")
    (tmp_path / "weights.bin").write_bytes(b"x")
    refused(tmp_path / "weights.bin", "a file must be GGUF")
    (tmp_path / "config.json").write_text('{"a": ')
    refused(tmp_path, r"config\.json: broken JSON")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architectures": ["T5ForConditionalGeneration"], "model_type": "t5"}, "language model: T5ForCond"),
        (
            {"architectures": ["BertForMaskedLM"], "model_type": "bert"},
            "not a causal language model: BertForMaskedLM",
        ),
        ({"model_type": "own", "auto_map": {"AutoConfig": "x.Y"}}, "such code is never run"),
        ({"model_type": "nonsense"}, "model type 'nonsense' is unknown"),
        ({"quantization_config": {"quant_method": "awq"}}, r"quantised \(awq\) and cannot be trained"),
        ({"hidden_size": 64, "head_dim": 16}, "weights have another shape than config.json says, first"),
        ({"num_hidden_layers": 3}, "weights are missing and would have been random, first model.layers.2"),
        ({"num_hidden_layers": 1}, "weights have no place in the model, first model.layers.1"),
        ({"hidden_act": "nonsense"}, "cannot be loaded"),
    ],
)
def test_a_folder_whose_configuration_does_not_fit_is_refused(changes, words, llama: Path) -> None:
    edit_json(llama / "config.json", **changes)
    refused(llama, words)


def test_weights_that_are_not_whole_safetensors_are_refused(llama: Path) -> None:
    whole = (llama / "model.safetensors").read_bytes()
    (llama / "model.safetensors").write_bytes(whole[:-1000])
    refused(llama, "truncated or corrupt")
    (llama / "model.safetensors").unlink()
    refused(llama, r"no model\.safetensors")
    (llama / "pytorch_model.bin").write_bytes(b"x")
    refused(llama, r"only pickled weights \(pytorch_model.bin\), which can run code")
    index = {"weight_map": {"lm_head.weight": "model-00001-of-00002.safetensors"}}
    (llama / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(llama, r"model-00001-of-00002\.safetensors is missing")


def test_a_tokenizer_that_does_not_belong_is_refused(llama: Path, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer("llama")
    tokenizer.add_tokens(["<new>"])
    tokenizer.save_pretrained(tmp_path / "other")
    refused(llama, "353 tokens but the model only 352 embedding rows", tokenizer=str(tmp_path / "other"))
    for file in llama.glob("tokenizer*"):
        file.unlink()
    refused(llama, "no tokenizer that loads")


def test_flash_attention_is_refused_where_it_is_missing(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.utils.is_flash_attn_2_available", lambda: False)
    refused(llama, "use model.attention=sdpa", attention="flash_attention_2")


def test_lora_on_modules_that_do_not_exist_names_those_that_do(llama: Path) -> None:
    refused(llama, r"no such modules; this model has .*q_proj", lora={"target_modules": ["query"]})


def test_a_checkpoint_of_another_architecture_is_told_apart(folders: dict[str, Path], llama: Path) -> None:
    model = tiny_model("llama", tiny_tokenizer("llama"))
    check_same_architecture(model, llama)
    with pytest.raises(InputError, match="model_type is mistral there and llama in this run's model"):
        check_same_architecture(model, folders["mistral"])


def test_a_silent_hub_is_given_up_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(hub, "PROBE_SECONDS", 0.3)
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        start = time.perf_counter()
        with pytest.raises(HubFailure, match=r"no connection to the hub \(ReadTimeout\)"):
            hub_folder("nobody/nothing", None)
        assert time.perf_counter() - start < 5


def test_without_a_connection_the_cached_snapshot_is_used(monkeypatch, tmp_path: Path) -> None:
    """The commit it stands for goes into the run record."""
    sha = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--nobody--toy"
    tiny_folder("llama", repository / "snapshots" / sha)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(sha)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    source = load_policy(ModelConfig(hub_id="nobody/toy")).source
    assert (source.kind, source.name, source.identity) == ("hub", "nobody/toy", sha)
    refused_id = ModelConfig(hub_id="nobody/other")
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set and nothing is cached; or give a folder"):
        load_policy(refused_id)


def test_an_adapters_base_is_loaded_at_the_commit_it_was_trained_on(
    llama: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    adapter = tmp_path / "adapter"
    load_policy(ModelConfig(path=str(llama), lora=LoraSettings(r=2))).model.save_pretrained(adapter)
    edit_json(adapter / "adapter_config.json", base_model_name_or_path="nobody/toy", revision="c0ffee")
    asked = []

    def snapshot(hub_id: str, revision: str | None) -> Path:
        asked.append((hub_id, revision))
        return llama

    monkeypatch.setattr("latro.models.hub_folder", snapshot)
    source = load_policy(ModelConfig(path=str(adapter))).source
    assert asked == [("nobody/toy", "c0ffee")]
    assert (source.kind, source.name) == ("hub", "nobody/toy")


def test_a_hub_that_refuses_is_explained_without_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    def answer(kind: type, status: int):
        error = kind.__new__(kind)
        error.response = SimpleNamespace(status_code=status)
        return error

    assert "gated: accept its terms" in hub_reason(answer(GatedRepoError, 403))
    assert "no such repository, or it is private" in hub_reason(answer(RepositoryNotFoundError, 401))
    assert hub_reason(answer(HfHubHTTPError, 503)) == "the hub answered with status 503"

    def fail(*_: object, **__: object) -> None:
        raise HubFailure("the repository is gated: accept its terms")

    monkeypatch.setattr("latro.models.hub_folder", fail)
    with pytest.raises(InputError, match=r"hub_id=meta/x: the repository is gated.*model.path="):
        load_policy(ModelConfig(hub_id="meta/x"))


NAMES = ["smollm2_135m", "qwen_coder_0_5b", "qwen_coder_1_5b", "phi35_mini", "mistral_7b", "llama31_8b"]


@pytest.mark.parametrize("name", NAMES)
def test_every_model_file_composes_and_takes_overrides(name: str) -> None:
    with initialize_config_dir(str(CONF / "model"), version_base="1.3"):
        config = instantiate(compose(name, ["path=FILE", "dtype=float32"]), _convert_="all")
        assert (config.path, config.dtype, "/" in config.hub_id, config.lora) == (
            "FILE",
            "float32",
            True,
            None,
        )
        config = instantiate(compose(name, ["lora=rank16", "lora.r=8"]), _convert_="all")
        assert config.lora == LoraSettings(r=8)
    assert (config.fallback_wheel is not None) == (name == "smollm2_135m")
    assert config.fallback_wheel is None or isinstance(config.fallback_wheel, WheelConfig)


def test_the_base_file_lists_every_key_with_its_default() -> None:
    listed = OmegaConf.to_container(OmegaConf.load(CONF / "model" / "base.yaml"))
    fields = {f.name: f.default for f in dataclasses.fields(ModelConfig)}
    assert set(listed) - {"_target_", "defaults"} == set(fields) - {"lora"}
    assert all(listed[name] == default for name, default in fields.items() if name != "lora")


def test_what_is_loaded_is_a_plain_record(llama: Path) -> None:
    assert [f.name for f in dataclasses.fields(LoadedModel)] == [
        "model",
        "tokenizer",
        "turns",
        "system_prompt",
        "source",
    ]


def test_an_adapter_without_its_weights_or_its_base_is_refused(llama: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    load_policy(ModelConfig(path=str(llama), lora=LoraSettings(r=2))).model.save_pretrained(adapter)
    (adapter / "adapter_model.safetensors").unlink()
    refused(adapter, r"no adapter_model\.safetensors")
    edit_json(adapter / "adapter_config.json", base_model_name_or_path="")
    refused(adapter, "base_model_name_or_path is empty")
    edit_json(adapter / "adapter_config.json", base_model_name_or_path=str(tmp_path / "gone"))
    refused(adapter, r"adapter_config\.json: its base model .*gone is no folder here")

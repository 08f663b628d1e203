"""`plan=true`: what a run will need, from configuration files alone."""

import json
import sys
from pathlib import Path

import psutil
import pytest
import torch
from hydra import compose, initialize_config_module

import scripts.entry  # noqa: F401 - registers the resolvers
from latro.errors import InputError
from latro.hardware import hardware_given
from latro.planning import ModelSizes
from scripts.planning import BESIDE, libraries, plan, tokens
from scripts.probing import narrow_rate, probe
from tests.latro.tiny_models import tiny_folder, tiny_model, tiny_tokenizer


def composed(*overrides: str):
    with initialize_config_module("conf", version_base="1.3"):
        return compose("train_latro", list(overrides))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder("llama", tmp_path_factory.mktemp("model"))


def test_the_plan_adds_up_what_the_run_will_hold_and_do(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "model.safetensors").rename(folder / "hidden")  # no weight is read
    try:
        figures = plan(
            composed("task=running_sums", "model=base", f"model.path={folder}", "model.dtype=float32",
                     "hardware='1e9,1e9,0.001'", "trainer.per_device_train_batch_size=2", "epochs=1", "limit=20")
        )  # fmt: skip
    finally:
        (folder / "hidden").rename(folder / "model.safetensors")
    parameters = tiny_model("llama", tiny_tokenizer("llama")).num_parameters()
    memory, seconds = figures["memory"], figures["seconds"]
    assert memory["weights"] == memory["reference"] == 4 * parameters
    assert memory["optimizer"] == 8 * parameters
    assert memory["peak"] == memory["resident"] + max(memory["update"], memory["sampling"])
    assert seconds["step"] == seconds["sampling"] + seconds["update"]
    assert figures["steps"] == 10
    said = capsys.readouterr().out
    assert "time: 10 steps" in said
    assert "warning: that is more than the 0 GiB there are" in said


def test_epochs_of_samples_are_a_kth_of_a_pass(folder: Path) -> None:
    common = (
        "task=running_sums",
        "model=base",
        f"model.path={folder}",
        "hardware=T4",
        "epochs=8",
        "limit=24",
    )
    assert plan(composed(*common))["steps"] == 64
    assert plan(composed(*common, "objective.preset=official_code"))["steps"] == 4


def test_the_plan_counts_vllms_share(folder: Path) -> None:
    common = ("task=running_sums", "model=base", f"model.path={folder}", "hardware=T4", "limit=24")
    alone = plan(composed(*common))["memory"]
    beside = plan(composed(*common, "sampling.engine=vllm", "vllm.gpu_memory_utilization=0.25"))["memory"]
    assert (beside["sampling"], beside["vllm"]) == (0, 4e9)
    assert beside["peak"] == alone["resident"] + alone["update"] + 4e9
    judged = plan(composed(*common, "evaluation.engine=vllm", "vllm.gpu_memory_utilization=0.25"))["memory"]
    assert (judged["sampling"], judged["vllm"]) == (alone["sampling"], 4e9)
    assert judged["peak"] == alone["peak"] + 4e9
    served = plan(
        composed(*common, "sampling.engine=vllm", "vllm=server", "vllm.server_base_url=http://host:8000")
    )
    assert (served["memory"]["sampling"], served["memory"]["vllm"]) == (0, 0)


def test_the_plan_counts_the_precision_that_is_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    common = ("task=running_sums", "model=base", f"model.path={folder}", "limit=24")
    parameters = tiny_model("llama", tiny_tokenizer("llama")).num_parameters()
    exact = plan(composed(*common, "hardware=T4", "model.dtype=float32"))["memory"]
    low = plan(composed(*common, "hardware=T4", "model.dtype=float32", "sampling.dtype=bfloat16"))["memory"]
    assert (exact["sampler"], low["sampler"]) == (0, 2 * parameters)
    assert low["resident"] == exact["resident"] + 2 * parameters
    assert low["sampling"] < exact["sampling"]  # keys and values are in the copy's precision
    config = folder / "config.json"
    assert json.loads(config.read_text())["dtype"] == "float32"
    assert plan(composed(*common, "hardware=T4"))["memory"]["weights"] == 4 * parameters
    config.write_text(config.read_text().replace('"float32"', '"bfloat16"'))
    for name, size in (("T4", 4), ("V100", 4), ("L4", 2), ("'1e9,1e9,1'", 2)):
        assert plan(composed(*common, f"hardware={name}"))["memory"]["weights"] == size * parameters
    monkeypatch.setattr("scripts.planning.probe", lambda _: hardware_given("1e9,1e9,1"))
    for fast, size in ((True, 2), (False, 4)):
        monkeypatch.setattr("scripts.planning.bfloat16_is_fast", lambda fast=fast: fast)
        assert plan(composed(*common))["memory"]["weights"] == size * parameters
    config.write_text(config.read_text().replace('"bfloat16"', '"float32"'))


def test_a_recipe_is_planned_in_the_precision_of_the_planned_machine(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = (
        "experiment=latro/gsm8k_qwen_coder_0_5b",
        "task=running_sums",
        f"model.path={folder}",
        "limit=24",
    )
    parameters = tiny_model("llama", tiny_tokenizer("llama")).num_parameters()
    for here in (False, True):
        monkeypatch.setattr("latro.precision.bfloat16_is_fast", lambda here=here: here)
        adapters = plan(composed(*recipe, "plan=true", "hardware=T4"))["memory"]["weights"] - 4 * parameters
        assert plan(composed(*recipe, "plan=true", "hardware=H100"))["memory"]["weights"] == (
            2 * parameters + adapters
        )
        cfg = composed(*recipe, "hardware=H100")  # which is for plans alone
        assert (cfg.model.dtype, cfg.trainer.bf16) == (("bfloat16", True) if here else ("float32", False))


def test_the_plan_counts_what_the_optimizer_keeps(folder: Path) -> None:
    common = ("task=running_sums", "model=base", f"model.path={folder}", "hardware=H100", "limit=24")
    model = tiny_model("llama", tiny_tokenizer("llama"))
    parameters, embedding = model.num_parameters(), model.get_input_embeddings().weight.numel()
    kept = {
        name: plan(composed(*common, "model.dtype=bfloat16", f"trainer.optim={name}"))["memory"]["optimizer"]
        for name in ("adamw_torch", "paged_adamw_32bit", "adamw_8bit", "adamw_bnb_8bit", "paged_adamw_8bit",
                     "lion_8bit", "adafactor")
    }  # fmt: skip
    eight = 2 * parameters + 6 * embedding  # whose moments stay in float32
    assert kept == {
        "adamw_torch": 4 * parameters, "paged_adamw_32bit": 8 * parameters, "adamw_8bit": eight,
        "adamw_bnb_8bit": eight, "paged_adamw_8bit": eight, "lion_8bit": parameters + 3 * embedding, "adafactor": 0,
    }  # fmt: skip
    adapters = [
        plan(composed(*common, "model/lora=rank16", f"trainer.optim={name}"))["memory"]["optimizer"]
        for name in ("adamw_torch_fused", "adamw_8bit")
    ]
    assert adapters[0] == 4 * adapters[1] > 0
    with pytest.raises(
        InputError, match=r"trainer\.optim=galore_adamw: plan=true does not know how much it keeps"
    ):
        plan(composed(*common, "trainer.optim=galore_adamw"))


def test_a_step_takes_the_time_of_its_precision(folder: Path) -> None:
    """All rows of a pass are multiplied at 67 TFLOP/s in float32 on an H100, and at 989 in bfloat16."""
    common = ("task=running_sums", "model=base", f"model.path={folder}", "limit=24", "model.dtype=float32")

    def update(*overrides: str) -> float:
        return plan(composed(*common, *overrides))["seconds"]["update"]

    exact, old = update("hardware=H100"), update("hardware=T4")
    for low in ("model.dtype=bfloat16", "trainer.bf16=true", "model.dtype=float16"):
        assert exact / update("hardware=H100", low) == pytest.approx(989 / 67)
    assert update("hardware=H100", "sampling.dtype=bfloat16") == exact
    assert old / update("hardware=T4", "trainer.bf16=true") == pytest.approx(1)
    assert old / update("hardware=T4", "+trainer.fp16=true") == pytest.approx(65 / 8.1)
    assert old / update("hardware=T4", "model.dtype=float16") == pytest.approx(65 / 8.1)


def test_a_pass_ends_with_a_short_step(folder: Path) -> None:
    common = (
        "task=running_sums",
        "model=base",
        f"model.path={folder}",
        "hardware=T4",
        "limit=10",
        "epochs=1",
    )
    batches = ("trainer.per_device_train_batch_size=1", "trainer.gradient_accumulation_steps=4")
    assert plan(composed(*common, *batches, "objective.preset=paper"))["steps"] == 3


def test_the_plan_goes_on_to_more_devices(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ("task=running_sums", "model=base", f"model.path={folder}", "hardware=T4", "limit=24")
    plan(composed(*common, "devices=[1,8]", "sharding=fsdp2"))
    said = capsys.readouterr().out
    assert "T4, fsdp2; each its own prompts: the batch grows" in said
    assert "T4, fsdp2; 24 prompts a step for all" in said
    assert "Arithmetic, not a measurement" in said
    plan(composed(*common, "devices=8"))
    with pytest.raises(InputError, match=r"devices=\[0\]: give whole numbers of at least 1"):
        plan(composed(*common, "devices=[0]"))
    with pytest.raises(InputError, match="sharding='zero2': choose one of none, zero3, fsdp2"):
        plan(composed(*common, "devices=[2]", "sharding=zero2"))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("experiment=latro/smoke",), "plan=true needs a model that exists"),
        (
            ("model=base", "model.path={empty}"),
            "config.json: no such file; plan=true reads the model's sizes",
        ),
    ],
)
def test_a_model_without_sizes_is_refused(overrides, words: str, tmp_path: Path) -> None:
    given = [part.format(empty=tmp_path) for part in overrides]
    with pytest.raises(InputError, match=words.replace(".", r"\.")):
        plan(composed("task=running_sums", *given))


def test_a_processor_is_measured_in_a_moment() -> None:
    found = probe(size=64, seconds=0.0)
    assert found.flops > 1e6
    assert found.float32_flops
    assert found.float32_flops > 1e6
    assert found.float32_flops != found.flops
    assert found.bandwidth > 1e6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_decoding_multiplies_is_measured_by_its_rows(dtype: torch.dtype) -> None:
    model = ModelSizes(
        hidden=64, layers=3, intermediate=96, query=64, key=64, heads=4, vocabulary=100, tied=True
    )
    assert narrow_rate(model, 4, dtype, seconds=0.0) > 1e6
    assert narrow_rate(model, 4, dtype, onednn=True, seconds=0.0) > 1e6


def test_a_token_has_about_four_characters() -> None:
    assert tokens("What is 2 + 2?") == 4


def test_on_this_processor_what_the_libraries_hold_is_part_of_the_peak(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("scripts.planning.on_processor", lambda cfg: not cfg.hardware)
    monkeypatch.setattr("scripts.planning.probe", lambda _: hardware_given("1e9,1e9,1"))
    monkeypatch.setattr("scripts.planning.libraries", lambda: 6e8)
    common = ("task=running_sums", "model=base", f"model.path={folder}", "model.dtype=float32", "limit=24")
    here = plan(composed(*common))["memory"]
    assert "memory: libraries │ 0.56 GiB" in capsys.readouterr().out
    there = plan(composed(*common, "hardware=T4"))["memory"]
    assert "libraries" not in capsys.readouterr().out
    assert (here["libraries"], there["libraries"]) == (6e8, 0)
    assert here["peak"] == here["resident"] + max(here["update"], here["sampling"]) + 6e8


def test_on_this_processor_decoding_is_timed_at_the_rate_of_its_rows(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, torch.dtype, bool]] = []

    def narrow(model: ModelSizes, rows: int, dtype: torch.dtype, onednn: bool) -> float:
        asked.append((rows, dtype, onednn))
        return rates[len(asked) - 1]

    monkeypatch.setattr("scripts.planning.on_processor", lambda cfg: not cfg.hardware)
    monkeypatch.setattr("scripts.planning.probe", lambda _: hardware_given("1e9,1e18,1"))
    monkeypatch.setattr("scripts.planning.narrow_rate", narrow)
    common = (
        "task=running_sums", "model=base", f"model.path={folder}", "model.dtype=float32", "limit=24",
        "model.products=onednn", "sampling.rationales_per_prompt=4", "trainer.per_device_train_batch_size=2",
        "trainer.gradient_accumulation_steps=1",
    )  # fmt: skip
    rates = (1e9, 1e7)
    seconds = [plan(composed(*common))["seconds"] for _ in rates]
    assert asked == [(8, torch.float32, True)] * 2
    assert seconds[0]["update"] == seconds[1]["update"]
    assert seconds[1]["sampling"] > 5 * seconds[0]["sampling"]


def test_what_the_libraries_hold_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "scripts.training", raising=False)
    assert 2e8 < libraries() == pytest.approx(psutil.Process().memory_info().rss + BESIDE, rel=0.05)
    assert "scripts.training" in sys.modules

"""Settings of a training that cannot work together, and inputs that are looked at first; no model is loaded."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig

import scripts.entry  # noqa: F401 - registers the resolver that names folders
from latro.errors import InputError
from scripts import arguments, supervising, training

CONF = str(Path(__file__).parents[2] / "conf")


def config(script: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose(script, list(overrides))


@pytest.mark.parametrize("launcher", ["ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP"])
def test_low_precision_copy_of_sharded_weights_is_refused(
    launcher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = config("train_latro", "experiment=latro/smoke", "sampling.dtype=bfloat16")
    settings = instantiate(cfg.objective), instantiate(cfg.sampling)
    monkeypatch.setattr(arguments, "arguments", lambda *_, **__: SimpleNamespace(deepspeed=None, fsdp=None))
    arguments.training_arguments(cfg, *settings)
    monkeypatch.setenv(launcher, "true")
    with pytest.raises(InputError, match=r"sampling\.dtype=bfloat16: DeepSpeed and FSDP shard the weights"):
        arguments.training_arguments(cfg, *settings)


def test_sharding_named_in_the_trainers_settings_counts_too() -> None:
    assert arguments.shards(SimpleNamespace(deepspeed="zero3.json", fsdp=None))  # type: ignore[arg-type]
    assert arguments.shards(SimpleNamespace(deepspeed=None, fsdp=True))  # type: ignore[arg-type]
    assert not arguments.shards(SimpleNamespace(deepspeed=None, fsdp=None))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("script", "module", "experiment"),
    [
        ("train_latro", training, "latro/gsm8k_smollm2_135m"),
        ("train_sft", supervising, "sft/gsm8k_smollm2_135m"),
    ],
)
def test_wrong_task_path_is_said_before_any_model_is_loaded(
    script, module, experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object) -> None:
        raise AssertionError("the model was loaded first")

    monkeypatch.setattr(module, "build_model", load)
    rows = tmp_path / "rows"
    rows.mkdir()
    (rows / "train.jsonl").write_text('{"question": "1+1?", "answer": "#### 2"}\n')
    (rows / "validation.jsonl").write_text('{"question": "1+1?"}\n')
    for path, words in ((tmp_path / "gone", "gone"), (rows, "validation.jsonl, line 1")):
        with pytest.raises(InputError, match=words):
            module.train(
                config(script, f"experiment={experiment}", f"task.path={path}", f"output_dir={tmp_path}/run")
            )
    assert not (tmp_path / "run").exists()


def test_several_gpus_without_a_launcher_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """For transformers would wrap the model in DataParallel."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    seen = {"device": "cuda:0", "world_size": 1}
    arguments.join_processes(SimpleNamespace(**seen, n_gpu=1))  # type: ignore[arg-type]
    with pytest.raises(
        InputError, match=r"^2 GPUs .* `torchrun --nproc_per_node 2 .* CUDA_VISIBLE_DEVICES=0$"
    ):
        arguments.join_processes(SimpleNamespace(**seen, n_gpu=2))  # type: ignore[arg-type]


def test_checkpoint_between_two_logged_steps_is_refused() -> None:
    cut = config("train_latro", "trainer.logging_steps=3", "trainer.save_steps=10")
    with pytest.raises(InputError, match=r"^trainer.save_steps=10 with trainer.logging_steps=3: "):
        arguments.arguments(cut)
    arguments.refuse_lost_logs({"logging_steps": 5, "save_steps": 10})
    arguments.refuse_lost_logs({"logging_steps": 3, "save_steps": 10, "save_strategy": "no"})
    arguments.refuse_lost_logs({"logging_steps": 0.1, "save_steps": 10})


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("+trainer.max_steps=100", "trainer.max_steps=100: the run settles this by itself; use max_steps="),
        (
            "+trainer.num_train_epochs=1",
            "trainer.num_train_epochs=1: the run settles this by itself; use epochs=",
        ),
        (
            "+trainer.disable_tqdm=false",
            "trainer.disable_tqdm=False: the run settles this by itself; leave it out",
        ),
    ],
)
def test_what_a_run_settles_by_itself_is_refused_among_the_trainers_keys(override: str, words: str) -> None:
    cfg = config("train_latro", override)
    with pytest.raises(InputError, match=f"^{words}"):
        arguments.arguments(cfg, num_train_epochs=6.0)


def test_a_best_step_that_may_not_be_saved_is_refused() -> None:
    apart = ("trainer.logging_steps=1", "trainer.eval_steps=5", "trainer.save_steps=10")
    with pytest.raises(
        InputError, match=r"^trainer.save_steps=10 with trainer.eval_steps=5: the best evaluated"
    ):
        arguments.arguments(config("train_latro", *apart))
    last = arguments.arguments(config("train_latro", *apart, "trainer.load_best_model_at_end=false"))
    assert (last.eval_steps, last.save_steps) == (5, 10)


@pytest.mark.parametrize(
    ("launcher", "precision", "warned"),
    [
        ({}, "no", True),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "no", False),
        ({"ACCELERATE_USE_FSDP": "true"}, "no", True),
        ({"ACCELERATE_USE_FSDP": "true"}, "bf16", False),
    ],
)
def test_small_updates_of_rounded_weights_are_warned_of_unless_a_launcher_keeps_them_exact(
    launcher: dict[str, str], precision: str, warned: bool, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    for name, value in (launcher | {"ACCELERATE_MIXED_PRECISION": precision}).items():
        monkeypatch.setenv(name, value)
    model = torch.nn.Linear(2, 2, dtype=torch.bfloat16)
    args = SimpleNamespace(deepspeed=None, fsdp=None, learning_rate=5e-7, bf16=False, fp16=False)
    arguments.warn_of_rounding(model, args)  # type: ignore[arg-type]
    assert ("updates of 5e-07 are smaller than its rounding" in capsys.readouterr().err) == warned


@pytest.mark.parametrize("script", ["train_latro", "train_sft"])
def test_patience_without_evaluations_is_refused(script: str) -> None:
    group = script.removeprefix("train_")
    cfg = config(script, f"experiment={group}/smoke", "patience=3", "trainer.eval_strategy=no")
    with pytest.raises(InputError, match=r"patience=3 with trainer\.eval_strategy=no: nothing is evaluated"):
        arguments.arguments(cfg)


def test_fsdp_gathers_after_each_micro_batch_and_shards_on_the_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cfg = config("train_latro", "experiment=latro/smoke")
    model = torch.nn.Linear(2, 2)
    place = SimpleNamespace(fsdp=None, deepspeed=None, device=torch.device("meta"))
    assert arguments.arguments(cfg).accelerator_config.gradient_accumulation_kwargs is None
    assert not arguments.on_its_device(model, place).weight.is_meta  # type: ignore[arg-type]
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    sharded = arguments.arguments(cfg)
    assert sharded.accelerator_config.gradient_accumulation_kwargs == {"sync_each_batch": True}
    assert arguments.on_its_device(model, place).weight.is_meta  # type: ignore[arg-type]

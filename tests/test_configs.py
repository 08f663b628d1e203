"""Every configuration composes, names itself, and builds its settings; no model or dataset is loaded."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException, HydraException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

import scripts.entry  # noqa: F401 - registers the resolver that names folders
from latro.errors import InputError
from latro.evaluation import EvaluationConfig
from latro.models import ModelConfig
from latro.objective import ObjectiveConfig
from latro.sampling import SamplingConfig
from latro.wind_tunnel import WindTunnel
from scripts.arguments import training_arguments
from scripts.supervising import sft_arguments

CONF = Path(__file__).parents[1] / "conf"
ROOTS = sorted(path.stem for path in CONF.glob("*.yaml"))
ROOT_OF = {"latro": "train_latro", "sft": "train_sft", "pract": "optimize_pract"}
EXPERIMENTS = sorted(
    str(path.relative_to(CONF / "experiment").with_suffix("")) for path in CONF.glob("experiment/*/*.yaml")
)
PAPER = [
    f"latro/{task}_{model}"
    for task in ("gsm8k", "arc")
    for model in ("phi35_mini", "mistral_7b", "llama31_8b")
]


@pytest.fixture(scope="module", autouse=True)
def _folder() -> Iterator[None]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def composed(experiment: str, *overrides: str) -> DictConfig:
    return compose(ROOT_OF[experiment.split("/")[0]], [f"experiment={experiment}", *overrides])


def targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        for value in node.values():
            yield from targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets(value)


def resolved(cfg: DictConfig) -> Any:
    return OmegaConf.to_container(cfg, resolve=True)


@pytest.mark.parametrize("root", ROOTS)
def test_every_root_composes_and_its_targets_exist(root: str) -> None:
    for target in targets(resolved(compose(root))):
        assert callable(get_object(target)), target


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_names_itself_and_its_targets_exist(experiment: str) -> None:
    values = resolved(composed(experiment))
    assert values["name"] == experiment
    for target in targets(values):
        assert callable(get_object(target)), target


@pytest.mark.parametrize("experiment", [name for name in EXPERIMENTS if not name.startswith("pract/")])
def test_every_training_experiment_builds_its_settings(experiment: str, tmp_path: Path) -> None:
    cfg = composed(experiment, f"output_dir={tmp_path}")
    # Left open, the limit follows from that of the rationales when the training starts.
    max_tokens = cfg.evaluation.max_tokens or cfg.sampling.max_rationale_tokens
    assert isinstance(instantiate(cfg.evaluation, max_tokens=max_tokens), EvaluationConfig)
    assert isinstance(instantiate(cfg.model, _convert_="all"), ModelConfig | WindTunnel)
    if experiment.startswith("sft/"):
        args = sft_arguments(cfg)
    else:
        objective, sampling = instantiate(cfg.objective), instantiate(cfg.sampling)
        assert isinstance(objective, ObjectiveConfig)
        assert isinstance(sampling, SamplingConfig)
        args = training_arguments(cfg, objective, sampling)
    assert args.eval_steps == args.save_steps
    assert args.max_steps == -1 or args.max_steps >= args.eval_steps


@pytest.mark.parametrize("group", ["task", "model", "logger"])
def test_every_option_of_a_group_fits_the_training_script(group: str) -> None:
    for path in sorted((CONF / group).glob("*.yaml")):
        for target in targets(resolved(compose("train_latro", [f"{group}={path.stem}"]))):
            assert callable(get_object(target)), target


@pytest.mark.parametrize("experiment", PAPER)
def test_paper_recipes_have_the_papers_hyper_parameters(experiment: str) -> None:
    cfg = composed(experiment)
    arc = "arc" in experiment
    assert cfg.objective.kl_weight == (0.25 if arc else 0.05)
    assert cfg.epochs == (12 if arc else 6)
    assert (cfg.objective.preset, cfg.objective.penalty_weight) == ("paper", 2.0)
    assert (cfg.sampling.rationales_per_prompt, cfg.sampling.max_rationale_tokens) == (16, 500)
    assert cfg.sampling.temperature == 1.0
    # The checkpoint is chosen under the limit that it is quoted with.
    assert cfg.evaluation.max_tokens == compose("evaluate_latro").evaluation.max_tokens == 500
    trainer = cfg.trainer
    assert trainer.per_device_train_batch_size * trainer.gradient_accumulation_steps == 3
    assert (trainer.learning_rate, trainer.activation_checkpointing) == (5e-7, True)
    assert (trainer.lr_scheduler_type, trainer.warmup_steps, trainer.max_grad_norm) == ("linear", 0, 0.0)
    assert trainer.bf16 is True
    assert (cfg.model.dtype, cfg.model.attention) == ("bfloat16", "flash_attention_2")


def test_epoch_unit_samples_makes_six_epochs_six_sixteenths_of_a_pass(tmp_path: Path) -> None:
    prompts, samples = (
        composed("latro/gsm8k_phi35_mini", f"output_dir={tmp_path}", f"objective.epoch_unit={unit}")
        for unit in ("prompts", "samples")
    )
    for cfg, epochs in ((prompts, 6), (samples, 0.375)):
        args = training_arguments(cfg, instantiate(cfg.objective), instantiate(cfg.sampling))
        assert args.num_train_epochs == epochs
    assert (
        instantiate(composed("latro/gsm8k_phi35_mini", "objective.preset=official_code").objective).epoch_unit
        == "samples"
    )


@pytest.mark.parametrize(
    "override", ["sede=1", "objective.kl_wieght=1", "sampling.k=4", "trainer.lr=1", "task.pth=x"]
)
def test_misspelt_key_is_refused(override: str) -> None:
    with pytest.raises(ConfigCompositionException, match="Could not override"):
        composed("latro/smoke", override)


def test_key_that_a_target_does_not_know_is_refused() -> None:
    with pytest.raises(HydraException, match="kl_wieght"):
        instantiate(composed("latro/smoke", "+objective.kl_wieght=1").objective)


@pytest.mark.parametrize(
    "override", ["objective.kl_weight=-1", "objective.preset=papre", "objective.epoch_unit=rows"]
)
def test_value_out_of_range_is_refused_by_its_owner(override: str) -> None:
    with pytest.raises(HydraException) as caught:
        instantiate(composed("latro/smoke", override).objective)
    assert isinstance(caught.value.__cause__, InputError)


def test_experiments_live_under_a_known_script() -> None:
    assert {name.split("/")[0] for name in EXPERIMENTS} <= ROOT_OF.keys()


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_file_says_what_it_is_for(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = lines[1] if lines[0] == "# @package _global_" else lines[0]
    assert comment.startswith("# "), f"{path} opens without a comment"
    assert yaml.safe_load(path.read_text()) is None or isinstance(yaml.safe_load(path.read_text()), dict)


@pytest.mark.parametrize(
    ("name", "processes", "deepspeed", "fsdp"),
    [("one_gpu", 1, False, False), ("zero3_8gpu", 8, True, False), ("fsdp2_8gpu", 8, False, True)],
)
def test_launch_files_are_read_by_accelerate(name: str, processes: int, deepspeed: bool, fsdp: bool) -> None:
    file = CONF / "accelerate" / f"{name}.yaml"
    assert load_config_from_file(str(file)).num_processes == processes
    given = launch_command_parser().parse_args(["--config_file", str(file), "-m", "scripts.train_latro"])
    args, _, _ = _validate_launch_command(given)
    assert (args.num_processes, args.use_deepspeed, args.use_fsdp) == (processes, deepspeed, fsdp)
    if deepspeed:
        settings = json.loads((CONF.parent / args.deepspeed_config_file).read_text())
        assert settings["zero_optimization"]["stage"] == 3
        assert settings["train_micro_batch_size_per_gpu"] == "auto"
    if fsdp:
        assert args.fsdp_version == 2

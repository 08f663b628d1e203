"""How quickly scripts answer: real processes, by the processor time that they take; nothing is trained."""

import os
import pydoc
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import get_type_hints

import pytest
from transformers import TrainingArguments

from scripts.checking import LIGHT
from scripts.checking import ROOT as ROOT_TYPES

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(
    path.stem
    for path in (ROOT / "scripts").glob("*.py")
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    and path.stem != "loopback"  # which others start
)
MOST = 1.5
"""Seconds of processor time; it takes about a third of them alone. torch would add two, transformers five."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    status: int
    out: str
    err: str
    cpu: float
    """Seconds, user and system."""


def run(script: str, *arguments: str) -> Ended:
    return started("-m", f"scripts.{script}", *arguments)


def started(*arguments: str) -> Ended:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    command = [sys.executable, *arguments]
    before = os.times()
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Ended(status=done.returncode, out=done.stdout, err=done.stderr, cpu=cpu)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_says_what_a_script_is_for_at_once(script: str) -> None:
    ended = run(script, "--help")
    assert (ended.status, ended.err) == (0, "")
    assert f"python -m scripts.{script}" in ended.out
    assert ended.cpu < MOST


def test_help_shows_groups_and_the_configuration_as_it_would_be() -> None:
    ended = run("train_latro", "--help", "experiment=latro/smoke", "objective.kl_weight=0.125")
    assert "logger=none | tensorboard | wandb" in ended.out
    assert "name: latro/smoke\n" in ended.out
    assert "kl_weight: 0.125\n" in ended.out


@pytest.mark.parametrize(
    ("script", "argument", "said"),
    [
        ("train_latro", "objective.kl_wieght=1", "there is no key 'objective.kl_wieght'"),
        ("optimize_pract", "experiment=pract/smok", "there is no config 'experiment/pract/smok'"),
        ("sweep", "seed=0,1 objective.kl_wieght=1", "there is no key 'objective.kl_wieght'"),
        ("compare_runs", "no/such/folder no/such/other", "no/such/folder"),
    ],
)
def test_bad_input_is_said_at_once_in_one_line(script: str, argument: str, said: str) -> None:
    ended = run(script, *argument.split())
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.count("\n") == 1
    assert ended.err.startswith("error: ")
    assert said in ended.err
    assert ended.cpu < MOST


HEAVY = """
import sys
from scripts.{script} import main
try:
    main()
finally:
    print(sorted({{"torch", "transformers"}} & sys.modules.keys()))
"""
RATIONALES = (
    "sampling.rationales_per_prompt=1: the leave-one-out baseline compares a rationale with its siblings; "
    "use 2 or more"
)


@pytest.mark.parametrize(
    ("script", "arguments", "said"),
    [
        ("train_latro", "sampling.rationales_per_prompt=1", RATIONALES),
        ("train_latro", "sampling.rationales_per_prompt=1 plan=true", RATIONALES),
        ("train_latro", "sampling.rationales_per_prompt=1 experiment=latro/gsm8k_smollm2_135m", RATIONALES),
        ("train_latro", "sampling.rationales_per_prompt=2.5", "sampling.rationales_per_prompt=2.5: give a whole number"),  # noqa: E501
        ("train_latro", "sampling.engine=fast", "sampling.engine='fast': choose continuous, generate or vllm"),
        ("train_latro", "objective.preset=nonsense", "objective.preset='nonsense' is unknown; choose one of paper, official_code"),  # noqa: E501
        ("train_latro", "+objective.gamma=1", "there is no key objective.gamma in latro.objective.ObjectiveConfig; leave it out; there are: preset, reward, kl_weight, answer_weight, answer_mask, penalty, penalty_weight, score_stop, epoch_unit, shuffle_rewards, importance_cap"),  # noqa: E501
        ("train_latro", "scoring.rows=0", "scoring.rows=0 must be positive, or null"),
        ("train_latro", "evaluation.temperature=0", "evaluation.temperature=0 must be a finite number above zero; greedy outputs are always there beside the samples"),  # noqa: E501
        ("train_latro", "model.dtype=float8", "model.dtype='float8': choose from auto, bfloat16, float16, float32"),
        ("train_latro", "model/lora=rank16 model.lora.r=0", "model.lora.r=0, alpha=32.0: both must be positive"),
        ("train_latro", "trainer.save_steps=0", "trainer.save_steps=0: give at least 1"),
        ("train_latro", "trainer.learning_rate=fast", "trainer.learning_rate='fast': give a number"),
        ("train_latro", "trainer.save_total_limit=1.5", "trainer.save_total_limit=1.5: give a whole number or null"),
        ("train_sft", "evaluation.majority=1", "evaluation.majority=1 is a single sample; use 0 for none or 2 and more"),  # noqa: E501
        ("train_sft", "evaluation.max_tokens=null", "evaluation.max_tokens=null must be at least 1"),
        ("evaluate_latro", "limit=0", "limit=0: give at least 1"),
        ("evaluate_latro", "evaluation.batch_rows=0", "evaluation.batch_rows=0 must be at least 1, or null to choose from memory"),  # noqa: E501
    ],
)  # fmt: skip
def test_bad_value_is_told_without_torch(script: str, arguments: str, said: str) -> None:
    ended = started("-c", HEAVY.format(script=script), *arguments.split())
    assert (ended.status, ended.err, ended.out) == (2, f"error: {said}\n", "[]\n")


def test_early_checks_are_those_of_the_classes_that_are_made_later() -> None:
    assert {target: pydoc.locate(target) for target in LIGHT} == LIGHT
    hints = get_type_hints(TrainingArguments)
    early = ("learning_rate", "warmup_steps", "weight_decay", "max_grad_norm", "save_total_limit")
    assert {name: ROOT_TYPES[f"trainer.{name}"] for name in early} == {name: hints[name] for name in early}


def test_help_beside_a_misspelt_recipe_is_refused_too() -> None:
    ended = run("train_latro", "--help", "experiment=latro/smok")
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert "did you mean 'smoke'?" in ended.err

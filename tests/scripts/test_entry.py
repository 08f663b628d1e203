"""How scripts start and how they refuse: errors made by hand; nothing is trained."""

import errno
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import OmegaConf

from latro.errors import InputError
from pract.errors import InputError as PractInputError
from scripts.entry import causes, explain, variant
from scripts.nearest import nearest_key

ROOT = Path(__file__).parents[2]


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    error.__cause__ = cause
    return error


def refused(*overrides: str) -> str | None:
    """What the training script says to overrides that Hydra or a dataclass refuses."""
    with (
        initialize_config_dir(str(ROOT / "conf"), version_base="1.3"),
        pytest.raises((HydraException, InputError)) as caught,
    ):
        instantiate(compose("train_latro", list(overrides)).sampling)
    return explain(caught.value, "train_latro")


@pytest.mark.parametrize("kind", [InputError, PractInputError])
def test_bad_input_is_its_own_line(kind: type[Exception]) -> None:
    assert explain(raised(kind("train.jsonl, line 17: broken"))) == "train.jsonl, line 17: broken"
    assert explain(raised(InstantiationException("long"), kind("short"))) == "short"


def test_bug_of_ours_keeps_its_traceback() -> None:
    assert explain(raised(KeyError("x"))) is None
    assert explain(raised(TypeError("f() got an unexpected keyword argument 'x'"))) is None


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "best/x"),
        RuntimeError("No space left on device (28)"),
    ],
)
def test_full_disk_is_said_in_one_line(error: Exception) -> None:
    line = explain(raised(error))
    assert line is not None
    assert line.startswith("the disk is full")


def test_causes_end_although_they_form_a_ring() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert list(causes(first)) == [first, second]


def test_misspelt_key_is_answered_with_the_nearest() -> None:
    line = refused("objective.kl_wieght=1")
    assert line == "there is no key 'objective.kl_wieght' in this configuration; did you mean 'kl_weight'?"


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("preset", "objective.preset"),
        ("max_grad_norm", "trainer.max_grad_norm"),
        ("trainer.kl_weight", "objective.kl_weight"),
        ("sede", "seed"),
        ("temprature", "sampling.temperature"),
        ("task.digts", "digits"),
        ("nonsense", None),
    ],
)
def test_misspelt_or_misplaced_key_finds_its_path_in_the_scripts_own_configuration(key, meant) -> None:
    assert nearest_key(key, "train_latro", ["experiment=latro/smoke", f"{key}=1"]) == meant


def test_keys_of_another_script_are_not_proposed() -> None:
    assert nearest_key("preset", "evaluate_pract", []) is None


def test_misspelt_experiment_is_answered_with_the_nearest() -> None:
    assert (
        refused("experiment=latro/smok")
        == "there is no config 'experiment/latro/smok'; did you mean 'smoke'?"
    )


def test_key_that_a_target_does_not_know_is_named() -> None:
    line = refused("+sampling.tempature=1")
    assert line is not None
    assert line.startswith("SamplingConfig knows no key 'tempature'")


def test_single_rationale_is_refused_with_the_reason() -> None:
    line = refused("sampling.rationales_per_prompt=1")
    assert line is not None
    assert line.startswith("sampling.rationales_per_prompt=1: the leave-one-out baseline")


def test_the_folder_of_a_swept_job_is_named_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = ["seed=1", "+llm.extra_body.api_key=SECRET", "rpo.rounds=2"]
    composed = SimpleNamespace(mode=RunMode.MULTIRUN, overrides=SimpleNamespace(task=overrides))
    hydra = SimpleNamespace(initialized=lambda: True, get=lambda: composed)
    monkeypatch.setattr("scripts.entry.HydraConfig", hydra)
    assert variant() == "/_llm.extra_body.api_key=_/rpo.rounds=2"


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ({"path": "runs/latro/smoke/seed_0/best", "hub_id": "a/b"}, "runs__latro__smoke__seed_0__best"),
        ({"path": "/models/x.gguf", "hub_id": None}, "models__x.gguf"),
        ({"path": None, "hub_id": "owner/name"}, "owner__name"),
        ({"path": "..", "hub_id": None}, "here"),
        ({"_target_": "latro.wind_tunnel.WindTunnel"}, "WindTunnel"),
    ],
)
def test_an_evaluations_folder_names_its_model(model: dict, name: str) -> None:
    cfg = OmegaConf.create({"model": model, "folder": "${weights:}"})
    assert cfg.folder == name


def test_a_job_of_a_multirun_that_fails_leaves_the_others_to_go_on(tmp_path: Path) -> None:
    several, secret = (
        subprocess.run(
            [sys.executable, "-m", "scripts.benchmark_latro", "-m", *words, f"hydra.sweep.dir={tmp_path}"],
            cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
        )
        for words in (["size=tiny,huge"], ["size=tiny", "+hub_token=s3cret"])
    )  # fmt: skip
    assert several.returncode == 2
    for size in ("tiny", "huge"):
        assert f"error: size={size}, rounds=5, shrink=1: size is small or full" in several.stderr
    assert "Traceback" not in several.stderr
    assert (secret.returncode, secret.stdout) == (2, "")
    assert secret.stderr.startswith(
        "error: -m would write the secret of this command line into multirun.yaml"
    )

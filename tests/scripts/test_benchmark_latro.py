"""The smallest benchmark: gradients agree, and the update is ahead of the published scheme's."""

import subprocess
import sys

import pytest
import torch
from omegaconf import OmegaConf

from latro.errors import InputError
from scripts.benchmark_latro import device_of, gradients_first
from scripts.benchmark_update import disagreements
from scripts.update_shapes import SHAPES


def test_the_smallest_update_agrees_and_is_ahead():
    command = [sys.executable, "-m", "scripts.benchmark_latro", "size=small", "rounds=1", "parts=[update]"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "gradients differ by" in done.stderr


def test_gradients_are_compared_even_where_no_update_is_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert gradients_first(OmegaConf.create({"seed": 0, "device": "cpu", "products": "auto"})) == []
    assert "1.5M, vocabulary 8k: gradients differ by" in capsys.readouterr().err
    distances = {"ours": 1e-6, "ours, shared prompt": 2e-5, "ours, two passes": float("nan")}
    assert disagreements(SHAPES["small"][0], distances) == [
        "1.5M, vocabulary 8k: the gradient of 'ours, shared prompt' differs by 2.0e-05",
        "1.5M, vocabulary 8k: the gradient of 'ours, two passes' differs by nan",
    ]


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="device=cuda: torch sees no GPU here"):
        device_of(OmegaConf.create({"device": "cuda"}))
    with pytest.raises(InputError, match="device=tpu: choose null, cpu or cuda"):
        device_of(OmegaConf.create({"device": "tpu"}))
    assert device_of(OmegaConf.create({"device": "cpu"})) == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    with pytest.raises(InputError, match="torch sees 8 GPUs: set CUDA_VISIBLE_DEVICES=0"):
        device_of(OmegaConf.create({"device": None}))

"""Runs a training in a process of its own, for tests that kill it or split it over processes."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_module
from transformers import TrainerCallback

from scripts.training import train


def whole_gradient(parameter: torch.Tensor) -> torch.Tensor:
    """The gradient, which ZeRO-3's processes have to put together."""
    if not hasattr(parameter, "ds_id"):
        return parameter.grad.clone()
    from deepspeed.utils import safe_get_full_grad

    return safe_get_full_grad(parameter).clone()


class FirstGradient(TrainerCallback):
    """Saves the gradient of the first optimizer step, then ends the training."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_pre_optimizer_step(
        self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any
    ) -> None:
        if state.global_step == 0:
            model = getattr(model, "module", model)
            found = {name: whole_gradient(p) for name, p in model.named_parameters()}
            if args.process_index == 0:
                torch.save(found, self.path)


class Terminated(TrainerCallback):
    """Sends SIGTERM to its own process while a step is under way."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step - 1:
            os.kill(os.getpid(), signal.SIGTERM)


def configuration(overrides: list[str]) -> Any:
    """The training configuration with these overrides."""
    with initialize_config_module("conf", version_base="1.3"):
        return compose("train_latro", overrides)


def run(overrides: list[str], gradient: str | None = None, terminated: int | None = None) -> None:
    """Train with these overrides; save the first gradient where a path is given; be told to end within a step."""
    torch.set_num_threads(1)
    cfg = configuration(overrides)
    log = os.open(f"{cfg.output_dir}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if cfg.trainer.deepspeed:
        import deepspeed

        deepspeed.init_distributed("gloo")
    callbacks: list[TrainerCallback] = [FirstGradient(Path(gradient))] if gradient else []
    train(cfg, [*callbacks, *([Terminated(terminated)] if terminated else [])])


if __name__ == "__main__":
    # TERMINATED="2 1": rank 1 is told to end within step 2
    step, rank = os.environ.get("TERMINATED", "0 0").split()
    run(sys.argv[2:], sys.argv[1] or None, int(step) if os.environ.get("RANK") == rank else None)

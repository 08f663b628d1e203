"""A training that is told to end by SIGTERM, as batch systems tell it: the step that is under way is saved first."""

import signal
import sys
import threading
from typing import Any, NoReturn

import torch
from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

STATUS = 128 + signal.SIGTERM
"""What the process ends with: not finished, for whoever started it."""


class Preemption(TrainerCallback):
    """Ends the training behind the step in which SIGTERM came to one of its processes, with a checkpoint."""

    def __init__(self) -> None:
        self.asked = self.stopped = False
        self.before: Any = None

    def ask(self, *_: Any) -> None:
        """The signal's handler."""
        self.asked = True

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Listen for the signal; Python lets the main thread alone do so."""
        if threading.current_thread() is threading.main_thread():
            self.before = signal.signal(signal.SIGTERM, self.ask)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Save and stop, unless it was the last step; between two logged steps metrics would be lost."""
        logged = state.global_step % max(1, int(state.logging_steps)) == 0
        if logged and state.global_step < state.max_steps and anywhere(self.asked, args):
            self.stopped = control.should_save = control.should_training_stop = True

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Leave the signal to whoever had it before."""
        if self.before is not None:
            signal.signal(signal.SIGTERM, self.before)


def anywhere(asked: bool, args: TrainingArguments) -> bool:
    """Whether one of the processes was asked: the signal reaches them within different steps."""
    if args.world_size == 1:
        return asked
    flag = torch.tensor(int(asked), device=args.device)
    torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
    return bool(flag)


def leave(state: TrainerState) -> NoReturn:
    """End the process, saying where it will go on."""
    if state.is_world_process_zero:
        tqdm.write(
            f"stopped by SIGTERM: step {state.global_step} is saved, the same command goes on",
            file=sys.stderr,
        )
    sys.exit(STATUS)

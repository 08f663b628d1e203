"""The end of a run that is taken up behind its last step, or behind the one that a callback ended it at."""

from transformers import Trainer


def ended(trainer: Trainer) -> bool:
    """Whether all steps were made before, or a callback says at the beginning that training is over.

    Then the trainer is told to stop, and to log, evaluate and save nothing more.

    transformers looks for the end only behind a step, so that a run which was stopped between its last checkpoint and
    its results would make one step too many. Asked where the next step's batch is wanted.
    """
    state, control = trainer.state, trainer.control
    if not (0 < state.max_steps <= state.global_step or control.should_training_stop):
        return False
    control.should_training_stop = True
    control.should_log = control.should_evaluate = control.should_save = False
    return True

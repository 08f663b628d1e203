"""Without these, a benchmark whose process is killed for want of memory would wait for ever."""

import os
import signal
from concurrent.futures.process import BrokenProcessPool

import pytest

from scripts.measuring import in_fresh_process


def other_process() -> float:
    return float(os.getpid())


def killed() -> float:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0.0


def test_work_is_done_in_another_process_and_its_end_is_told():
    assert in_fresh_process(other_process) != os.getpid()
    with pytest.raises(BrokenProcessPool):
        in_fresh_process(killed)

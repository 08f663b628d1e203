"""Without these, a benchmark whose process is killed for want of memory would wait for ever, or a machine's other work
would count as a scheme's.
"""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool

import pytest

from scripts.measuring import Spent, fair_clock, in_fresh_process, spent


def other_process() -> float:
    return float(os.getpid())


def killed() -> float:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0.0


def test_work_is_done_in_another_process_and_its_end_is_told():
    assert in_fresh_process(other_process) != os.getpid()
    with pytest.raises(BrokenProcessPool):
        in_fresh_process(killed)


def test_a_machine_that_others_use_is_measured_by_processor_time():
    quiet, shared = Spent(cpu=1.0, wall=4.0, others=0.1), Spent(cpu=1.0, wall=4.0, others=0.11)
    assert fair_clock([quiet, shared, quiet]) == "wall"
    assert fair_clock([quiet, shared, shared]) == "cpu"
    assert (quiet.by("wall"), quiet.by("cpu")) == (4.0, 1.0)


def test_other_programs_are_seen():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            taken = spent(lambda: time.sleep(1.0))
        finally:
            busy.kill()
    assert taken.others > 0.2
    assert taken.cpu < 0.5 < 1.0 <= taken.wall

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

from scripts import measuring
from scripts.measuring import (
    Spent,
    fair_clock,
    in_fresh_process,
    matmul_rate,
    peak_of,
    read_rate,
    spent,
    work_seconds,
)


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
    assert fair_clock([[quiet, shared, quiet], [quiet]]) == "wall"
    assert fair_clock([[quiet, shared, shared]]) == "cpu"
    assert fair_clock([[quiet, quiet, quiet], [shared]]) == "cpu"  # one scheme's others are its handicap
    assert (quiet.by("wall"), quiet.by("cpu")) == (4.0, 1.0)


def test_other_programs_are_seen():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            taken = spent(lambda: time.sleep(1.0))
        finally:
            busy.kill()
    assert taken.others > 0.2
    assert taken.cpu < 0.5 < 1.0 <= taken.wall


class Gpu:
    """Counts what it is asked; its allocator has 3 MB at first and 8 MB at its highest."""

    def __init__(self) -> None:
        self.waited = self.forgot = 0

    def synchronize(self) -> None:
        self.waited += 1

    def reset_peak_memory_stats(self) -> None:
        self.forgot += 1

    def memory_allocated(self) -> int:
        return 3_000_000

    def max_memory_allocated(self) -> int:
        return 8_000_000


def test_on_a_gpu_times_end_with_its_work_and_memory_is_its_own(monkeypatch: pytest.MonkeyPatch):
    gpu = Gpu()
    monkeypatch.setattr(measuring, "gpu", lambda: gpu)
    taken = spent(lambda: None)
    assert gpu.waited == 2
    assert peak_of(lambda: None) == 5.0
    assert gpu.forgot == 1
    busy = Spent(cpu=1.0, wall=4.0, others=3.0)
    assert fair_clock([[busy]]) == "wall"
    assert work_seconds(busy) == 4.0
    assert taken.wall < 1.0


def test_without_a_gpu_products_are_held_against_processor_time():
    assert measuring.gpu() is None
    assert work_seconds(Spent(cpu=1.0, wall=4.0)) == 1.0
    assert matmul_rate(seconds=0.05) > 1e8
    assert read_rate(megabytes=16, seconds=0.05) > 1e8

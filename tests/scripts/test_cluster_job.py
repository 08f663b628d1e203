"""A cluster job with submitit's own handler of signals and a real child: stopped, queued again, gone on with."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts.cluster_job import ClusterJob
from scripts.launching import grace_of
from scripts.sweep_plan import read_plan

submitit = pytest.importorskip("submitit")

REQUEUED = 144
"""What submitit's local executor ends a process with that is to be queued again."""
CHILD = """
import os, signal, sys, time
from pathlib import Path

def save(*_):
    with Path("stops").open("a") as file:
        file.write("stop\\n")
    if "stuck" in sys.argv:
        return
    time.sleep(1)
    if "finishes" in sys.argv:
        Path("results.json").write_text("{}")
        sys.exit(0)
    Path("saved").write_text("step 1\\n")
    sys.exit(143)

if Path("saved").exists():
    print("goes on", flush=True)
    Path("results.json").write_text("{}")
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("begins", flush=True)
Path("pid").write_text(f"{os.getpid()}\\n")
time.sleep(60)
print("is late", flush=True)
"""


class Queue:
    """What SLURM does with one job, in a folder."""

    def __init__(self, folder: Path, *words: str, grace: float = 20.0, launcher: str = "") -> None:
        (folder / "child.py").write_text(CHILD)
        self.folder = folder
        child = [sys.executable, "child.py", *words]
        arguments = ["sh", "-c", launcher.format(shlex.join(child))] if launcher else child
        self.paths = submitit.core.utils.JobPaths(folder, "1", 0)
        delayed = submitit.helpers.DelayedSubmission(
            ClusterJob("results.json", grace), arguments, str(folder / "log"), str(folder)
        )
        delayed.set_timeout(60, 3)
        delayed.dump(self.paths.submitted_pickle)

    def start(self) -> "subprocess.Popen[bytes]":
        """The process of submitit's that runs the job."""
        rank = {f"SUBMITIT_LOCAL_{name}": "0" for name in ("LOCALID", "GLOBALID", "NODEID")}
        environment = {**os.environ, **rank, "SUBMITIT_EXECUTOR": "local", "SUBMITIT_LOCAL_JOB_ID": "1"}
        command = [sys.executable, "-m", "submitit.core._submit", str(self.folder)]
        with (self.folder / "submitit").open("ab") as file:
            return subprocess.Popen(command, stderr=file, env=environment)

    def begun(self) -> "subprocess.Popen[bytes]":
        """The same, once its child is at work."""
        process = self.start()
        assert self.child()
        return process

    def child(self) -> int:
        """The process of the child."""
        return int(awaited(self.folder / "pid"))

    def result(self) -> object:
        """What the job returned; None if nothing."""
        path = self.paths.result_pickle
        return submitit.core.utils.pickle_load(path) if path.exists() else None


def awaited(path: Path) -> str:
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.05)
    return path.read_text()


def to_all(process: "subprocess.Popen[bytes]", child: int, kind: signal.Signals) -> None:
    """SLURM sends a signal to every process of a job."""
    for pid in (child, process.pid):
        os.kill(pid, kind)


@pytest.mark.parametrize("launcher", ["", "{} & wait"], ids=["alone", "behind a launcher that leaves first"])
def test_a_job_that_is_warned_saves_is_queued_again_and_goes_on(tmp_path: Path, launcher: str) -> None:
    queue = Queue(tmp_path, launcher=launcher)
    process = queue.begun()
    to_all(process, queue.child(), signal.SIGUSR2)
    assert process.wait(timeout=60) == REQUEUED
    assert (tmp_path / "saved").exists()
    assert (tmp_path / "stops").read_text() == "stop\n"
    assert queue.result() is None
    assert queue.start().wait(timeout=60) == 0
    assert queue.result() == ("success", 0)
    assert (tmp_path / "log").read_text() == "begins\ngoes on\n"


@pytest.mark.parametrize("warned", ["stops", "saved"])
def test_a_preempted_child_is_told_once_and_its_job_waits_to_be_queued_again(
    tmp_path: Path, warned: str
) -> None:
    """SIGTERM to all comes first, then SIGUSR2, while the child saves or after it left."""
    queue = Queue(tmp_path)
    process = queue.begun()
    to_all(process, queue.child(), signal.SIGTERM)
    awaited(tmp_path / warned)
    if warned == "saved":
        time.sleep(0.5)
        assert process.poll() is None  # no exit status of a child that may run again
    os.kill(process.pid, signal.SIGUSR2)
    assert process.wait(timeout=60) == REQUEUED
    assert (tmp_path / "saved").exists()
    assert (tmp_path / "stops").read_text() == "stop\n"
    assert queue.result() is None


def test_a_child_that_does_not_leave_is_killed_before_slurm_does(tmp_path: Path) -> None:
    queue = Queue(tmp_path, "stuck", grace=0.5)
    process, child = queue.begun(), queue.child()
    os.kill(process.pid, signal.SIGUSR2)
    assert process.wait(timeout=60) == REQUEUED
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert "is late" not in (tmp_path / "log").read_text()


def test_a_child_that_finished_while_it_was_stopped_is_not_started_again(tmp_path: Path) -> None:
    queue = Queue(tmp_path, "finishes")
    process = queue.begun()
    os.kill(process.pid, signal.SIGUSR2)
    assert process.wait(timeout=60) == REQUEUED
    assert queue.start().wait(timeout=60) == 0
    assert queue.result() == ("success", 0)
    assert (tmp_path / "log").read_text() == "begins\n"


def test_the_time_to_save_ends_before_slurms() -> None:
    plan = read_plan(["experiment=latro/smoke", "seed=0,1"])
    longer = read_plan(["experiment=latro/smoke", "seed=0,1", "slurm={slurm_signal_delay_s: 300}"])
    assert [grace_of(plan, "slurm"), grace_of(plan, "local"), grace_of(longer, "slurm")] == [
        75.0,
        15.0,
        285.0,
    ]

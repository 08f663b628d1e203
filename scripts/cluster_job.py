"""What a job of a cluster does: run a sweep's child, let it save before the end, and be queued again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
"""Linux's number for the request; see prctl(2)."""
POLL = 0.1
"""Seconds between two looks at a child that is stopped."""
HELD = 600.0
"""Seconds that a job which got SIGTERM waits, once its child has left, for what SLURM does with it."""


class ClusterJob:
    """Runs a child and returns its exit status; where SLURM warns by SIGUSR2, stops it and is queued again.

    submitit asks for that signal some time before the limit; on preemption a cluster sends it if it is set so
    (`PreemptParameters=send_user_signal`). submitit's handler calls `checkpoint`, in the middle of `__call__`, and
    requeues the job; the child then goes on from what it saved.
    """

    def __init__(self, outcome: str, grace: float, *, again: bool = False) -> None:
        """`outcome`: the file that a finished child leaves. `grace`: seconds that a stopped one has to save."""
        self.outcome, self.grace, self.again = outcome, grace, again
        self.child: subprocess.Popen[bytes] | None = None
        self.told = False

    def __call__(self, arguments: list[str], log: str, folder: str) -> int:
        """Run the child in `folder`, all that it prints in `log`."""
        if self.again and Path(folder, self.outcome).exists():
            return 0  # it finished while it was being stopped
        signal.signal(signal.SIGTERM, self._tell)
        Path(log).parent.mkdir(parents=True, exist_ok=True)
        with Path(log).open("ab" if self.again else "wb") as file:
            self.child = subprocess.Popen(
                arguments,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=folder,
                # torchrun and accelerate give their workers 30 seconds else.
                env={"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(int(self.grace)), **os.environ},
                start_new_session=True,
                preexec_fn=_deaf_to_warnings(),
            )
            try:
                status = self.child.wait()
                if status and self.told:
                    time.sleep(HELD)  # no result: a preempted job runs again, a cancelled one is killed
                return status
            finally:
                self._stop()

    def checkpoint(self, arguments: list[str], log: str, folder: str) -> Any:
        """Stop the child, and say what is to be run instead; called by submitit's handler of SIGUSR2."""
        from submitit.helpers import DelayedSubmission

        self._stop()
        return DelayedSubmission(ClusterJob(self.outcome, self.grace, again=True), arguments, log, folder)

    def _tell(self, *_: Any) -> None:
        """The handler of SIGTERM: SLURM sends that to all processes of a job, so the child has it too."""
        self.told = True

    def _stop(self) -> None:
        """SIGTERM to the child's process group, and SIGKILL to what is left of it after the grace."""
        if self.child is None or not self._alive(self.child):
            return
        if not self.told:  # a second one would interrupt torchrun, which waits for its workers
            self._send(self.child, signal.SIGTERM)
        deadline = time.monotonic() + self.grace
        while self._alive(self.child) and time.monotonic() < deadline:
            time.sleep(POLL)
        self._send(self.child, signal.SIGKILL)

    @staticmethod
    def _send(child: "subprocess.Popen[bytes]", kind: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, kind)

    @staticmethod
    def _alive(child: "subprocess.Popen[bytes]") -> bool:
        """Whether the child or another process of its group runs; a launcher may leave before its workers.

        The child is reaped past Popen, whose lock `wait` may hold: this is called from a handler that interrupted it.
        """
        if child.returncode is None:
            with suppress(ChildProcessError):
                pid, state = os.waitpid(child.pid, os.WNOHANG)
                child.returncode = os.waitstatus_to_exitcode(state) if pid else None
        try:
            os.killpg(child.pid, 0)
        except ProcessLookupError:
            return False
        return True


def ended_with_parent() -> Callable[[], None] | None:
    """What a child does before all else on Linux: ask to be ended with this process, whatever ends that.

    Else a parent that is killed would leave children behind which hold the folders of jobs that are started again.
    """
    if sys.platform != "linux":
        return None
    import ctypes

    ask = ctypes.CDLL(None).prctl  # found here: between fork and exec a child must not load anything
    return lambda: ask(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


def _deaf_to_warnings() -> Callable[[], None]:
    """The same, and ignore SIGUSR2, as all that the child starts then does.

    SLURM sends it to every process of the job, and it kills those that do not expect it.
    """
    ask = ended_with_parent()

    def prepare() -> None:
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        if ask is not None:
            ask()

    return prepare

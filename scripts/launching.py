"""A sweep's jobs as child processes: so many at once on this machine, or one for each job of a SLURM cluster."""

import asyncio
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from latro.errors import InputError
from scripts.cluster_job import ClusterJob, ended_with_parent
from scripts.sweep_plan import Job, Plan, quoted

GRACE = 30.0
"""Seconds that a stopped child has to save what it did."""
QUEUEING = 15.0
"""Seconds between SLURM's warning and the end of a job that are left for queueing it again."""
CANNOT_START = 127
"""The shell's exit status for a command that is not there."""
POLL = 1.0
"""Seconds between two looks at the cluster's queue."""
Ended = Callable[[Job, int, float], None]
"""Told of each job's end: the job, its exit status, its seconds."""
Chain = Sequence[tuple[Job, Sequence[str]]]
"""Jobs with further overrides of their own, one after the other."""


def command(plan: Plan, job: Job, further: Sequence[str] = ()) -> list[str]:
    """The command line of a job."""
    start = shlex.split(job.launch) or [sys.executable]
    folders = [piece for folder in plan.config_dirs for piece in ("--config-dir", folder)]
    module = ["-m", f"scripts.{job.script}"]
    return [*start, *module, *folders, *job.overrides, *further, f"output_dir={quoted(job.folder)}"]


def log_of(plan: Plan, job: Job) -> Path:
    """Where all that a job prints goes, beside the run folders."""
    return plan.folder / "logs" / f"{job.name.replace('/', '+')}.log"


async def run_chains(plan: Plan, chains: Sequence[Chain], ended: Ended) -> None:
    """Run all chains, so many side by side. Of a failed job only those are not started that need it.

    Cancelled, it stops what runs: first as Ctrl-C would, then for good.
    """
    if plan.config.launcher != "local":
        await _on_cluster(plan, chains, ended)
        return
    gate = asyncio.Semaphore(plan.config.jobs)

    async def one(chain: Chain) -> None:
        failed: set[Path] = set()
        async with gate:
            for job, further in chain:
                if job.needs in failed:
                    continue
                started = time.monotonic()
                status = await run_child(
                    command(plan, job, further), log_of(plan, job), child_environment(plan)
                )
                ended(job, status, time.monotonic() - started)
                if status:
                    failed.add(job.folder)

    async with asyncio.TaskGroup() as group:
        for chain in chains:
            group.create_task(one(chain))


async def run_child(arguments: Sequence[str], log: Path, environment: dict[str, str]) -> int:
    """One child in a process group of its own, so that a Ctrl-C reaches it once and from here; its exit status."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        try:
            child = await asyncio.create_subprocess_exec(
                *arguments,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                preexec_fn=ended_with_parent(),
            )
        except (FileNotFoundError, PermissionError) as error:
            file.write(f"error: {arguments[0]} cannot be started: {error.strerror}".encode())
            return CANNOT_START
        try:
            return await child.wait()
        finally:
            if child.returncode is None:
                await _stop(child)


async def _stop(child: asyncio.subprocess.Process) -> None:
    for kind in (signal.SIGINT, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, kind)
        with suppress(TimeoutError):
            await asyncio.shield(asyncio.wait_for(child.wait(), GRACE))
            return


def child_environment(plan: Plan) -> dict[str, str]:
    """The environment of this process; side by side, children share the cores instead of each taking all."""
    share = max(1, (os.cpu_count() or 1) // plan.config.jobs)
    return {**({"OMP_NUM_THREADS": str(share)} if plan.config.jobs > 1 else {}), **os.environ}


def last_words(log: Path, status: int) -> str:
    """Why a job failed: the last error in its log or just the last line, behind the signal that killed it."""
    if status in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return (
            "killed by SIGKILL, as happens where memory runs out: see plan=true, and run fewer jobs at once"
        )
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "left no log"
    lines = [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]
    told = [line for line in lines if re.match(r"error: |[\w.]+(Error|Exception|Interrupt)\b", line)]
    words = (told or lines or ["left an empty log"])[-1].removeprefix("error: ")[:300]
    return f"killed by signal {-status} ({signal.strsignal(-status)}): {words}" if status < 0 else words


async def _on_cluster(plan: Plan, chains: Sequence[Chain], ended: Ended) -> None:
    """An array of the chains' first jobs, then one of the second jobs but those that need a failed one, and so on."""
    failed: set[Path] = set()

    def noted(job: Job, status: int, seconds: float) -> None:
        if status:
            failed.add(job.folder)
        ended(job, status, seconds)

    for place in range(max(map(len, chains), default=0)):
        jobs = [chain[place] for chain in chains if len(chain) > place]
        ready = [(job, further) for job, further in jobs if job.needs not in failed]
        if ready:
            await _array(plan, ready, noted)


async def _array(plan: Plan, jobs: Chain, ended: Ended) -> None:
    """Submit all jobs as one array and wait; cancelled, it cancels what waits or runs."""
    try:
        import submitit
    except ModuleNotFoundError:
        raise InputError(
            f"launcher={plan.config.launcher}: the package submitit is not installed; install the extra slurm"
        ) from None
    cluster = "slurm" if plan.config.launcher == "slurm" else "local"
    try:
        executor = submitit.AutoExecutor(folder=plan.folder / "submitit", cluster=cluster)
        executor.update_parameters(**_cluster_parameters(plan, cluster))
        grace = grace_of(plan, cluster)
        with executor.batch():  # submitted as it is closed
            waiting = [
                (
                    job,
                    executor.submit(
                        ClusterJob(str(job.folder / "results.json"), grace),
                        command(plan, job, further),
                        str(log_of(plan, job)),
                        str(Path.cwd()),
                    ),
                )
                for job, further in jobs
            ]
    except (RuntimeError, TypeError, NameError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"launcher={plan.config.launcher}: {reason}; see slurm={{...}}") from None
    started = time.monotonic()
    try:
        while waiting:
            for pair in [pair for pair in waiting if pair[1].done()]:
                waiting.remove(pair)
                ended(pair[0], _cluster_status(plan, *pair), time.monotonic() - started)
            await asyncio.sleep(POLL)
    finally:
        for _, submitted in waiting:
            submitted.cancel(check=False)


def _cluster_parameters(plan: Plan, cluster: str) -> dict[str, Any]:
    """The user's parameters, and as many jobs of the array at once as `jobs` says."""
    limit = {"slurm_array_parallelism": plan.config.jobs} if cluster == "slurm" else {}
    return {**limit, **plan.config.slurm}


def grace_of(plan: Plan, cluster: str) -> float:
    """Seconds that a child has to save: from submitit's warning to the end, less those for queueing again."""
    warned = plan.config.slurm.get("slurm_signal_delay_s", 90) if cluster == "slurm" else 30
    return max(0.0, float(warned) - QUEUEING)


def _cluster_status(plan: Plan, job: Job, submitted: Any) -> int:
    """The child's exit status; 1, with the reason in the log, if the cluster job itself broke down."""
    error = submitted.exception()
    if error is None:
        return int(submitted.result())
    log = log_of(plan, job)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        file.write(
            f"\nerror: the cluster job {submitted.job_id} failed: {' '.join(str(error).split())[:200]}\n"
        )
    return 1

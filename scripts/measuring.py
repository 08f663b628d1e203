"""Time and memory of a call, and what the machine can do at most: on a GPU once torch has begun to use one."""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, TypeVar

import psutil

from latro.resident import resident_bytes

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
Key = TypeVar("Key", bound=Hashable)

MB = 1e6
QUIET = 0.1
"""Cores that other programs may keep busy on a machine that counts as quiet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What one call took."""

    cpu: float
    """Seconds of processor time, of all threads: what a machine shared with others still measures well."""
    wall: float
    """Seconds."""
    others: float = 0.0
    """Cores that other programs kept busy meanwhile."""

    def by(self, clock: str) -> float:
        """Seconds by `wall` or `cpu`."""
        return {"wall": self.wall, "cpu": self.cpu}[clock]


def gpu() -> Any:
    """`torch.cuda` if this process computes on a GPU; else None, without importing torch."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


def settle() -> None:
    """Wait for what a GPU has yet to do: its calls return before they are done."""
    if (cuda := gpu()) is not None:
        cuda.synchronize()


def spent(call: Callable[[], object]) -> Spent:
    """Call once and take the time."""
    settle()
    everybody, wall, cpu = busy_seconds(), time.perf_counter(), time.process_time()
    call()
    settle()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Spent(cpu=cpu, wall=wall, others=max(0.0, busy_seconds() - everybody - cpu) / max(wall, 1e-9))


def busy_seconds() -> float:
    """Processor time that all programs of this machine have had."""
    times = psutil.cpu_times()
    return times.user + times.nice + times.system + getattr(times, "softirq", 0.0)


def fair_clock(schemes: Iterable[Iterable[Spent]]) -> str:
    """The clock by which schemes are compared: `wall` on a GPU, or where most runs of each were quiet; else `cpu`."""
    quiet = gpu() is not None or all(median(run.others for run in runs) <= QUIET for runs in schemes)
    return "wall" if quiet else "cpu"


def alternating(calls: Mapping[Key, Callable[[], object]], rounds: int) -> dict[Key, list[Spent]]:
    """Each call's times, `rounds` of each, taken in turn so that all meet the same weather."""
    times: dict[Key, list[Spent]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(spent(call))
    return times


def in_turn(
    schemes: Mapping[str, Callable[[int], T]], rounds: int, seed: int, say: Callable[[str], None]
) -> dict[str, list[T]]:
    """What each scheme found, `rounds` times from one seed after another, in turn so that all meet one weather."""
    found: dict[str, list[T]] = {name: [] for name in schemes}
    for number in range(rounds):
        for name, scheme in schemes.items():
            found[name].append(scheme(seed + number))
            say(f"{name}: {found[name][-1]}")
    return found


def resident(field: str) -> float:
    """MB of resident memory of this process: `VmRSS` now, or `VmHWM` at its highest. Linux only."""
    return resident_bytes(field) / MB


def peak_of(call: Callable[[], object]) -> float:
    """MB that a call takes at its highest, above what was resident before; on a GPU, above what tensors took there."""
    if (cuda := gpu()) is not None:
        cuda.reset_peak_memory_stats()
        before = cuda.memory_allocated()
        call()
        return float(cuda.max_memory_allocated() - before) / MB
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest mark so far
    before = resident("VmRSS")
    call()
    return resident("VmHWM") - before


def spent_and_peak(call: Callable[[], object]) -> tuple[Spent, float]:
    """Call once and take the time, and the memory as `peak_of` does."""
    taken: list[Spent] = []
    peak = peak_of(lambda: taken.append(spent(call)))
    return taken[0], peak


def in_fresh_process(work: Callable[..., T], *arguments: object) -> T:
    """What `work(*arguments)` returns in a process of its own, where nothing was allocated before.

    Raises BrokenProcessPool where that process is killed, as for want of memory.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def work_seconds(taken: Spent) -> float:
    """The seconds that products are held against: of the processor, or of the wall where a GPU makes them."""
    return taken.wall if gpu() is not None else taken.cpu


def matmul_rate(
    dtype: "torch.dtype | None" = None, device: str = "cpu", size: int | None = None, seconds: float = 1.0
) -> float:
    """FLOP per second (see `work_seconds`) in matrix products, float32 unless told: the best of repeated runs."""
    import torch

    from latro.onednn import multiplied
    from latro.products import onednn_pays

    size = size or (1024 if device == "cpu" else 8192)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    products: list[Callable[[], object]] = [lambda: a @ b]
    if device == "cpu" and a.dtype == torch.float32 and onednn_pays():
        products.append(lambda: multiplied(a, b))
    best = 0.0
    times = 20 if device == "cpu" else 1  # processor time is counted in ticks of milliseconds

    def repeated(product: Callable[[], object]) -> None:
        for _ in range(times):
            product()

    for product in products:
        product()  # threads and kernels are made once
    for product in products:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            best = max(best, times * 2 * size**3 / work_seconds(spent(partial(repeated, product))))
    return best


def read_rate(device: str = "cpu", megabytes: int = 1024, seconds: float = 0.5) -> float:
    """Bytes per second that a sum over much memory reads, the best of repeated runs, by the clock on the wall."""
    import torch

    data = torch.ones(megabytes * 2**18, device=device)
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        best = max(best, data.numel() * 4 / spent(data.sum).wall)
    return best


def threads() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

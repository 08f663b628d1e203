"""Two processes over gloo, each of which does a test's work."""

import multiprocessing
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import torch


def in_pair(work: Callable[[int], Any], folder: Path) -> list[Any]:
    """What `work(rank)` returns in each of two processes that hear from one another; it must be picklable by name."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    arguments = [(work, rank, str(folder / "meet"), answers) for rank in (0, 1)]
    processes = [context.Process(target=one_of_two, args=each, daemon=True) for each in arguments]
    for process in processes:
        process.start()
    try:
        found = {}
        for _ in processes:
            rank, answer = answers.get(timeout=200)
            assert not isinstance(answer, Failed), answer.traceback
            found[rank] = answer
        for process in processes:
            process.join()
    finally:  # where one has failed, the other waits for it
        for process in processes:
            process.kill()
    return [found[rank] for rank in (0, 1)]


@dataclass(frozen=True)
class Failed:
    """What a process has to say in place of an answer."""

    traceback: str


def one_of_two(work: Callable[[int], Any], rank: int, rendezvous: str, answers: Queue) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    try:
        answer = work(rank)
    except Exception:
        answers.put((rank, Failed(traceback.format_exc())))
        raise
    answers.put((rank, answer))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()

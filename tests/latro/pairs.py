"""Two processes over gloo, each of which does a test's work."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import torch


def in_pair(work: Callable[[int], Any], folder: Path) -> list[Any]:
    """What `work(rank)` returns in each of two processes that hear from one another; it must be picklable by name."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    arguments = [(work, rank, str(folder / "meet"), answers) for rank in (0, 1)]
    processes = [context.Process(target=one_of_two, args=each) for each in arguments]
    for process in processes:
        process.start()
    found = dict(answers.get(timeout=200) for _ in processes)
    for process in processes:
        process.join()
    return [found[rank] for rank in (0, 1)]


def one_of_two(work: Callable[[int], Any], rank: int, rendezvous: str, answers: Queue) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    answers.put((rank, work(rank)))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()

"""Environments, each on a thread of its own: their authors write plain synchronous code and never meet a second thread.

An environment is made, played and closed on one thread, because SQLite connections and Java machines ask for it; only
one that promises to be quick (`pract.envs.base.Quick`) is played where its calls are waited for.
"""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from pract.envs.base import Environment, EnvironmentFactory, Quick
from pract.errors import InputError

T = TypeVar("T")
Work = queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]
"""What a thread has to do, in order; None ends it."""


class EnvironmentHung(RuntimeError):
    """An environment did not answer within its time."""


class Seat:
    """One environment on one thread."""

    def __init__(self, factory: EnvironmentFactory, step_seconds: float) -> None:
        self._factory = factory
        self._step_seconds = step_seconds
        self._environment: Environment | None = None
        self._quick: Environment | None = None
        """The same, if it promises to be quick."""
        self._work: Work | None = None
        self._changing = threading.Lock()

    async def call(self, act: Callable[[Environment], T]) -> T:
        """The outcome of act on the environment, which is made if need be.

        Raises what it raises, and EnvironmentHung if it takes too long; its thread is then left behind.
        """
        if self._quick is not None:
            return act(self._quick)
        try:
            # wait_for may swallow a cancellation (Python 3.11)
            async with asyncio.timeout(self._step_seconds) as limit:
                work = self._thread()
                return await self._on_thread(lambda: act(self._made(work)))
        except TimeoutError as error:
            if not limit.expired():  # it is the environment's own
                raise
            self._leave()
            raise EnvironmentHung(f"no answer within {self._step_seconds:g} s") from error

    async def renew(self) -> None:
        """Give the environment up after a fault; the next call makes another."""
        if self._environment is not None:
            environment, self._environment, self._quick = self._environment, None, None
            try:
                async with asyncio.timeout(self._step_seconds):
                    await self._on_thread(environment.close)
            except Exception:  # noqa: BLE001 - it is broken already, and that is on record
                self._leave()

    async def close(self) -> None:
        """Close the environment and end its thread."""
        await self.renew()
        self._leave()

    def _made(self, thread: Work) -> Environment:
        """The environment, made on this thread if need be. Raises EnvironmentHung if that took too long."""
        if self._environment is not None:
            return self._environment
        made = self._factory()
        with self._changing:
            if self._work is thread:
                self._environment = made
                if isinstance(made, Quick) and made.quick:
                    self._quick = made
                    self._end_thread()  # it was worth having for the making alone
                return made
        made.close()  # the seat was given another thread meanwhile, which must not meet what was made on this one
        raise EnvironmentHung("the environment was made too late")

    def _thread(self) -> Work:
        """Where work for the thread is put."""
        if self._work is None:
            self._work = queue.SimpleQueue()
            threading.Thread(target=_serve, args=(self._work,), name="environment", daemon=True).start()
        return self._work

    def _on_thread(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        future: Future[T] = Future()
        self._thread().put((future, work))
        return asyncio.wrap_future(future)

    def _leave(self) -> None:
        with self._changing:
            self._end_thread()
            self._environment = self._quick = None

    def _end_thread(self) -> None:
        """Let the thread end after what it is doing; the next work gets another."""
        if self._work is not None:
            self._work.put(None)
        self._work = None


def _serve(work: Work) -> None:
    """Do what comes, until told to stop. A daemon thread, so that a hung environment cannot keep the process."""
    while (item := work.get()) is not None:
        future, act = item
        if not future.set_running_or_notify_cancel():
            continue
        try:
            outcome = act()
        except StopIteration as error:  # asyncio lets no future end with one, and would wait for ever
            future.set_exception(
                RuntimeError("the environment raised StopIteration").with_traceback(error.__traceback__)
            )
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            future.set_exception(error)
        else:
            future.set_result(outcome)


class Seats:
    """So many environments, made when first needed and used again from episode to episode."""

    def __init__(self, factory: EnvironmentFactory, count: int, *, step_seconds: float = 120.0) -> None:
        """count: episodes that may run at once. step_seconds: how long one reset or step may take.

        Raises InputError for a count below 1, with which every episode would wait for ever.
        """
        if count < 1:
            raise InputError(f"concurrency={count} is below 1: give a positive number")
        self.count = count
        self._all = [Seat(factory, step_seconds) for _ in range(count)]
        self._free: asyncio.LifoQueue[Seat] = asyncio.LifoQueue()
        for seat in reversed(self._all):
            self._free.put_nowait(seat)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[Seat]:
        """A free seat, waited for if need be; the seat used last comes first, so that few are made."""
        seat = await self._free.get()
        try:
            yield seat
        finally:
            self._free.put_nowait(seat)

    async def close(self) -> None:
        """Close all environments."""
        for seat in self._all:
            await seat.close()

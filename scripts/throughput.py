"""Rate, CPU time and memory of episodes that wait for a model: the measurements of `benchmark_pract`."""

import asyncio
import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from pract.agent import Agent, AgentConfig
from pract.budget import Budget, Ledger
from pract.calls import RecordedChat
from pract.envs.base import Environment, EnvironmentFactory, HasOracle
from pract.episode import Job, play_many
from pract.errors import InputError
from pract.events import EventLog
from pract.llm.openai import OpenAIChat
from pract.llm.plain import PlainSender
from pract.principles import initial_principles
from pract.seats import Seats
from pract.types import Task
from scripts.casting import until_stopped
from scripts.loopback import MODEL, Served
from scripts.measuring import busy_seconds

PROMPT = "Which task is due next? " * 250
"""As long as an agent's, 6 kB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What every measurement has in common."""

    factory: EnvironmentFactory
    latency_ms: float
    slots: int
    steps: int
    """Calls of an episode."""
    direct: bool

    def ideal_rate(self, episodes: int) -> float:
        """Calls a second if client and network took no time."""
        return min(episodes, self.slots) / (self.latency_ms / 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """One measurement of calls."""

    episodes: int
    """At once."""
    calls: int
    calls_per_second: float
    ideal_share: float
    """Of the ideal rate, by wall time."""
    cpu_ms: float
    """CPU time of the client for each call: agent, environment, records, HTTP, and going to sleep and waking up."""
    waiting_ms: float
    """CPU time of as many coroutines that only sleep as long as the server takes, for each time one does."""
    possible_share: float
    """Of the ideal rate, if the client had a core to itself: what the CPU time allows."""
    others_cores: float
    """Cores that programs other than client and server kept busy meanwhile."""
    yardstick_us: float
    """CPU time of the same piece of pure Python before and after: others slow CPU time down as well."""

    @property
    def overhead_ms(self) -> float:
        """What a call costs beyond waiting for it."""
        return self.cpu_ms - self.waiting_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """CPU milliseconds for each call of a client that makes one after another and is no agent."""

    waiting_ms: float
    """Of an `asyncio.sleep` as long as the server takes, and no call at all."""
    exchange_ms: float
    """Of the HTTP exchange that the agent's calls go through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What many episodes hold."""

    episodes: int
    """At once."""
    kb_per_episode: float
    """Growth of the process, divided by the episodes under way."""
    queued: int
    """Episodes in all."""
    most_ahead: int
    """Episodes that were taken from the queue and not yet handed on, at most."""


def measure_rate(setting: Setting, server: Served, episodes: int, seconds: float) -> Rate:
    """Play so many episodes at once for about so many seconds."""

    async def measured() -> Rate:
        async with _Players(setting, server, episodes).ready() as players:
            await players.play(episodes, steps=1)  # connects, and makes the environments
            waves = max(1, round(seconds * setting.ideal_rate(episodes) / (episodes * setting.steps)))
            before, load = players.calls, _Load(server)
            await players.play(waves * episodes)
            rate = load.rate(setting, episodes, players.calls - before)
            return replace(rate, waiting_ms=await waiting_ms(setting, episodes, seconds))

    return until_stopped(measured())


async def waiting_ms(setting: Setting, sleepers: int, seconds: float) -> float:
    """CPU milliseconds of one sleep as long as the server takes, by so many at once for about so many seconds."""
    times = max(3, round(seconds * 1000 / setting.latency_ms))

    async def wait() -> None:
        for _ in range(times):
            await asyncio.sleep(setting.latency_ms / 1000)

    started = time.process_time()
    await asyncio.gather(*(wait() for _ in range(sleepers)))
    return (time.process_time() - started) / (sleepers * times) * 1000


def measure_alone(setting: Setting, server: Served, seconds: float) -> Alone:
    """What waiting and HTTP cost by themselves, over about so many seconds each."""
    calls = max(3, round(seconds * 1000 / setting.latency_ms))
    prompt = {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}]}

    async def measured() -> Alone:
        sender = PlainSender(
            server.base_url, None, max_bytes=1_000_000, connect_seconds=10.0, timeout_seconds=120.0
        )
        exchange = partial(sender.send, "POST", "/chat/completions", prompt)
        try:
            await exchange()  # connects
            waiting, started = await waiting_ms(setting, 1, seconds), time.process_time()
            for _ in range(calls):
                await exchange()
            taken = (time.process_time() - started) / calls * 1000
            return Alone(waiting_ms=waiting, exchange_ms=taken)
        finally:
            await sender.close()

    return until_stopped(measured())


def measure_memory(setting: Setting, server: Served, episodes: int, queued: int) -> Memory:
    """Queue episodes, so many of them at once, and look at the process while they wait."""
    process = psutil.Process()

    async def measured() -> Memory:
        async with _Players(setting, server, 1).ready() as first:
            await first.play(1)  # imports and caches are not the episodes'
        gc.collect()
        before, most = process.memory_info().rss, 0
        async with _Players(setting, server, episodes).ready() as players:
            playing = asyncio.ensure_future(players.play(queued))
            while not playing.done():
                most = max(most, process.memory_info().rss)
                await asyncio.sleep(0.05)
            await playing
            return Memory(
                episodes=episodes,
                kb_per_episode=max(0, most - before) / 1000 / episodes,
                queued=queued,
                most_ahead=players.most_ahead,
            )

    return until_stopped(measured())


class _Players:
    """An agent, its model and its seats, on record as in a real run."""

    def __init__(self, setting: Setting, server: Served, episodes: int) -> None:
        self._setting, self._server, self._episodes = setting, server, episodes
        self._task, self._actions = _first_task(setting.factory)
        self._games = 0
        self.most_ahead = 0

    @asynccontextmanager
    async def ready(self) -> Any:
        """With everything opened, and closed afterwards."""
        chat = OpenAIChat(
            base_url=self._server.base_url,
            model=MODEL,
            concurrency=self._episodes,
            context_tokens=16_000,
            direct=self._setting.direct,
        )
        seats = Seats(self._setting.factory, self._episodes)
        with tempfile.TemporaryDirectory() as folder:
            self._log = EventLog(Path(folder) / "events.jsonl")
            self._ledger = Ledger(Budget(), time.monotonic)
            self._agent = Agent(
                RecordedChat(chat, self._log, self._ledger),
                AgentConfig(style="act", max_steps=self._setting.steps),
                self._actions,
                initial_principles(self._actions, None, "benchmark"),
            )
            self._seats = seats
            try:
                yield self
            finally:
                await seats.close()
                await chat.close()
                self._log.close()

    @property
    def calls(self) -> int:
        return self._ledger.spent.calls

    async def play(self, count: int, steps: int | None = None) -> None:
        """Play so many episodes to their last step, or so many steps of each.

        Raises InputError if the model's answer ends an episode or cannot be read.
        """
        taken = done = 0
        steps = steps or self._setting.steps
        task = replace(self._task, max_steps=steps)

        def jobs() -> Iterator[Job]:
            nonlocal taken
            for _ in range(count):
                taken, self._games = taken + 1, self._games + 1
                self.most_ahead = max(self.most_ahead, taken - done)
                yield Job(key=f"benchmark/{self._games}", task=task, agent=self._agent, seed=0)

        async for episode in play_many(jobs(), self._seats, self._log):
            done += 1
            if len(episode.steps) != steps or any(s.action is None for s in episode.steps):
                said = episode.failure or episode.steps[-1].observation
                raise InputError(f"reply: an episode ended early ({said}); give a call that does not end it")


def _first_task(factory: EnvironmentFactory) -> tuple[Task, Any]:
    environment = factory()
    try:
        return environment.tasks(environment.splits()[0])[0], environment.actions()
    finally:
        environment.close()


class _Load:
    """Wall and CPU time from now on: of this process, of the server, and of everybody else."""

    def __init__(self, server: Served) -> None:
        self._server = psutil.Process(server.process)
        self._yardstick = yardstick()
        self._started = self._now()

    def rate(self, setting: Setting, episodes: int, calls: int) -> Rate:
        wall, own, served, everybody = (
            now - then for now, then in zip(self._now(), self._started, strict=True)
        )
        ideal = setting.ideal_rate(episodes)
        return Rate(
            episodes=episodes,
            calls=calls,
            calls_per_second=calls / wall,
            ideal_share=calls / wall / ideal,
            cpu_ms=own / calls * 1000,
            waiting_ms=0.0,
            possible_share=min(1.0, calls / own / ideal),
            others_cores=max(0.0, everybody - own - served) / wall,
            yardstick_us=(self._yardstick + yardstick()) / 2,
        )

    def _now(self) -> tuple[float, float, float, float]:
        served = self._server.cpu_times()
        return time.perf_counter(), time.process_time(), served.user + served.system, busy_seconds()


def yardstick(runs: int = 20) -> float:
    """CPU microseconds to square the numbers below 10,000."""
    started = time.process_time()
    for _ in range(runs):
        [number * number for number in range(10_000)]
    return (time.process_time() - started) / runs * 1e6


def steps_per_second(environment: Environment, tasks: int) -> float:
    """Steps of the oracle's episodes for each second of CPU, resets included. Raises InputError without an oracle."""
    if not isinstance(environment, HasOracle):
        raise InputError(f"webshop={environment.name}: it has no oracle; give an environment that has one")
    split = environment.splits()[0]
    plans = [(task, environment.oracle(task)) for task in environment.tasks(split)[:tasks]]
    rounds = -(-tasks // len(plans))
    started = time.process_time()
    for task, actions in plans * rounds:
        environment.reset(task)
        for action in actions:
            environment.step(action)
    return rounds * sum(len(actions) for _, actions in plans) / (time.process_time() - started)


def import_seconds(package: str = "pract.wiring", runs: int = 3) -> float:
    """CPU seconds to import the package in a fresh process, the best of some. Raises InputError if it brings torch."""
    code = (
        f"import time; t = time.process_time(); import {package}; s = time.process_time() - t\n"
        "import sys; print(s, 'torch' in sys.modules)"
    )
    found = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(runs)
    ]
    if any(torch == "True" for _, torch in found):
        raise InputError(f"import {package} brings torch; find the import and make it late")
    return min(float(seconds) for seconds, _ in found)

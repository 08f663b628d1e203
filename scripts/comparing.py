"""The wiring of an evaluation: arms of agents on the same held-out tasks, paired, resumable."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import Any

from omegaconf import DictConfig
from rich.console import Console

from pract.agent import Agent
from pract.budget import Estimate, Ledger, estimate
from pract.calls import RecordedChat
from pract.envs.base import EnvironmentFactory, stamp_of
from pract.errors import InputError
from pract.evaluation import Outcome, error_counts, evaluate, outcome, unrecorded
from pract.events import EventLog, begin_run, key_of
from pract.fitting import refuse_no_room
from pract.prompts import call_text
from pract.records import to_json
from pract.rounds import log_outage, stop_reason
from pract.rpo import shuffled
from pract.seats import Seats
from pract.types import ActionSpec, Episode, Task
from pract.wiring import spent_before
from scripts.arms import Arm, cast_arms
from scripts.casting import build_budget, environment_factory, open_roles, until_stopped
from scripts.learning import BY_HAND, tell_estimate, tell_unrecorded
from scripts.outcomes import print_arms, results_json
from scripts.progress import EpisodeBar
from scripts.recording import LoggedRun
from scripts.report import write_report

DRAW = 0
"""Which draw `limit` takes: the same tasks under every seed, so that seeds can be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What an evaluation has to know of the environment."""

    actions: tuple[ActionSpec, ...]
    tasks: tuple[Task, ...]
    stamp: Mapping[str, str]


def compare_arms(cfg: DictConfig) -> dict[str, Any]:
    """Play what is missing, compare, print; return what `results.json` holds.

    Raises InputError; KeyboardInterrupt once what was played is saved.
    """
    return until_stopped(_compare(cfg))


async def _compare(cfg: DictConfig) -> dict[str, Any]:
    for name in ("attempts", "chunk", "concurrency"):
        if cfg[name] < 1:
            raise InputError(f"{name}={cfg[name]} is below 1: give a positive number")
    run = LoggedRun(cfg, opens=False)
    factory, budget = environment_factory(cfg), build_budget(cfg)
    world = look(factory, cfg)
    arms = cast_arms(cfg, world.actions)
    async with open_roles(cfg, [arm.config for arm in arms.values()]) as roles:
        with run.event_log(retry_failed=bool(cfg.retry_failed)) as log:
            ledger = Ledger(budget, time.monotonic, spent_before(log))
            chat = RecordedChat(roles.agent, log, ledger)
            agents = {n: Agent(chat, arm.config, world.actions, arm.principles) for n, arm in arms.items()}
            for playing in agents.values():
                refuse_no_room(playing)
            description = _description(cfg, world, arms, chat.model)
            run.begin(log, description)
            begin_run(log, description)
            tell_estimate(expected(agents, world.tasks, cfg.attempts), roles, ledger)
            seats = Seats(factory, cfg.concurrency)
            try:
                return await _Comparison(cfg, run, log, ledger, world, agents).play(seats)
            finally:
                await seats.close()


def look(factory: EnvironmentFactory, cfg: DictConfig) -> World:
    """The environment's actions and the tasks to play. Raises InputError for a split that is missing or empty."""
    environment = factory()
    try:
        if cfg.split not in environment.splits():
            raise InputError(
                f"there is no split {cfg.split!r}; the environment has {', '.join(environment.splits())}: "
                "name one of these"
            )
        tasks = list(environment.tasks(cfg.split))
        if not tasks or (cfg.limit is not None and cfg.limit < 1):
            raise InputError(
                f"split={cfg.split} limit={cfg.limit} leaves no task: give data or another split"
            )
        if cfg.limit is not None and cfg.limit < len(tasks):
            tasks = shuffled(tasks, f"{DRAW}/{cfg.split}")[: cfg.limit]
        return World(
            actions=tuple(environment.actions()),
            tasks=tuple(tasks),
            stamp=stamp_of(environment),
        )
    finally:
        environment.close()


def expected(agents: Mapping[str, Agent], tasks: Sequence[Task], attempts: int) -> Estimate:
    """What the whole evaluation will need, before its first call."""
    chat = next(iter(agents.values())).chat
    prefixes = [
        sum(chat.count_tokens(message.content) for message in agent.prompt(tasks[0], "", []))
        for agent in agents.values()
    ]
    config = next(iter(agents.values())).config
    return estimate(
        episodes=len(tasks) * attempts * len(agents),
        steps=config.max_steps,
        prefix_tokens=sum(prefixes) // len(prefixes),
        step_tokens=config.max_tokens // 4 + 100,
        reply_tokens=config.max_tokens // 4,
        other_calls=0,
        other_prompt_tokens=0,
        other_reply_tokens=0,
    )


def _description(cfg: DictConfig, world: World, arms: Mapping[str, Arm], model: str) -> dict[str, Any]:
    """What decides the outcomes; more tasks or attempts may be asked for later."""
    shown = {
        name: {
            "agent": to_json(arm.config),
            "principles": None if arm.principles is None else arm.principles.version,
        }
        for name, arm in arms.items()
    }
    return {**world.stamp, "split": cfg.split, "seed": cfg.seed, "model": model, "arms": shown}


class _Comparison:
    """All arms on one chunk of tasks after another."""

    def __init__(
        self,
        cfg: DictConfig,
        run: LoggedRun,
        log: EventLog,
        ledger: Ledger,
        world: World,
        agents: Mapping[str, Agent],
    ) -> None:
        self.cfg, self.run, self.log, self.ledger = cfg, run, log, ledger
        self.world, self.agents = world, agents
        self.outcomes: dict[str, list[Outcome]] = {name: [] for name in agents}
        self.errors: dict[str, dict[str, dict[str, int]]] = {name: {} for name in agents}
        self.unrecorded = dict.fromkeys(agents, 0)
        total = len(world.tasks) * cfg.attempts * len(agents)
        self.bar = EpisodeBar(f"{world.stamp['environment']} {cfg.split}", total, ledger)

    async def play(self, seats: Seats) -> dict[str, Any]:
        """Play, write, print. What was played is written whatever ends it."""
        self.run.begin_tables("episodes", "outcomes")
        stopped = "ended by an error"
        try:
            stopped = await self._play_all(seats)
        except asyncio.CancelledError:
            stopped = BY_HAND
            raise
        finally:
            results = self._results(stopped)
            self.run.write_json("results", results)
            write_report(self.run.folder)
            self.bar.close()
        console = Console()
        print_arms(f"{self.world.stamp['environment']} {self.cfg.split}", self.outcomes, console)
        tell_unrecorded(sum(self.unrecorded.values()), console)
        if stopped:
            console.print(f"stopped: {stopped}; mend or raise it and start again to go on", highlight=False)
        console.print(f"run folder: {self.run.folder}", highlight=False)
        return results

    async def _play_all(self, seats: Seats) -> str:
        """Why it had to stop, or nothing."""
        fill = -(-self.cfg.concurrency // self.cfg.attempts)  # fewer tasks would leave seats empty
        for tasks in _chunks(self.world.tasks, max(self.cfg.chunk, fill)):
            for arm, agent in self.agents.items():
                episodes = await self._play(arm, agent, tasks, seats)
                reason = stop_reason(episodes)
                if reason:
                    log_outage(self.log, key_of("evaluate", arm), episodes)
                    return reason
        return ""

    async def _play(self, arm: str, agent: Agent, tasks: Sequence[Task], seats: Seats) -> list[Episode]:
        cfg, episodes = self.cfg, []
        playing: Any = evaluate(
            agent,
            tasks,
            seats,
            arm=arm,
            attempts=cfg.attempts,
            seed=cfg.seed,
            log=self.log,
            watch=self.bar.show,
        )
        async with aclosing(playing) as following:
            async for episode in following:
                found = outcome(episode, seed=cfg.seed)
                self.run.append("episodes", [to_json(episode)])
                shown = {"instruction": episode.instruction, "answer": final_answer(episode)}
                self.run.append("outcomes", [{"arm": arm, **to_json(found), **shown}])
                self.outcomes[arm].append(found)
                self.unrecorded[arm] += unrecorded(episode)
                episodes.append(episode)
        for action, patterns in error_counts(episodes, agent).items():
            counts = self.errors[arm].setdefault(action, {})
            for pattern, count in patterns.items():
                counts[pattern] = counts.get(pattern, 0) + count
        return episodes

    def _results(self, stopped: str) -> dict[str, Any]:
        found = results_json(
            self.world.stamp,
            self.outcomes,
            split=self.cfg.split,
            config=self.run.config,
            spent=self.ledger.spent,
            stopped=stopped,
        )
        found["error_patterns"] = self.errors
        found["unrecorded"] = self.unrecorded
        found["agents"] = {
            name: {
                "settings": asdict(agent.config),
                "principles": None if agent.principles is None else dict(agent.principles.texts),
                "notes": [] if agent.principles is None else list(agent.principles.notes),
            }
            for name, agent in self.agents.items()
        }
        return found


def final_answer(episode: Episode) -> str:
    """The last call that went to the environment, as the agent writes it; empty if there was none."""
    calls = [step.action for step in episode.steps if step.action is not None and not step.inner]
    return call_text(calls[-1]) if calls else ""


def _chunks(tasks: Sequence[Task], size: int) -> Iterator[Sequence[Task]]:
    for start in range(0, len(tasks), size):
        yield tasks[start : start + size]

"""The loop on the toy environment with a scripted chat, ready to run."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from pract.agent import AgentConfig
from pract.budget import Budget, Ledger
from pract.envs.base import EnvironmentFactory
from pract.events import EventLog
from pract.optimizer import PrincipleOptimizer
from pract.rounds import Round
from pract.rpo import RpoConfig
from pract.wiring import Learning, OptimizerFactory, Roles, spent_before, wire
from tests.pract.fakes import Clock, Doors, ScriptedChat, doors_script

VARIANTS = {
    f"{reflection}-{name}": {"reflection": reflection, **schedule}
    for reflection in ("reward", "self")
    for name, schedule in {
        "batch": {"schedule": "batch"},
        "traj-sequential": {"schedule": "traj", "traj_mode": "sequential"},
        "traj-merged": {"schedule": "traj", "traj_mode": "merged"},
    }.items()
}


def learning(
    path: Path | None = None,
    *,
    script: object = doors_script,
    budget: Budget | None = None,
    concurrency: int = 1,
    delay: float = 0.0,
    optimizer: OptimizerFactory = PrincipleOptimizer,
    retry_failed: bool = False,
    factory: EnvironmentFactory = Doors,
    notes: Sequence[str] = (),
    validates: bool = False,
    **config: object,
) -> tuple[Learning, ScriptedChat]:
    clock = Clock()
    log = EventLog(path, retry_failed=retry_failed)
    chat = ScriptedChat(script, clock=clock, delay=delay)  # type: ignore[arg-type]
    ready = wire(
        factory,
        Roles(agent=chat, reflector=chat, optimizer=chat),
        AgentConfig(style="act"),
        RpoConfig(**{"rounds": 2, "batch_size": 3, **config}),  # type: ignore[arg-type]
        log=log,
        ledger=Ledger(budget or Budget(), clock, spent_before(log)),
        concurrency=concurrency,
        optimizer=optimizer,
        notes=notes,
        validates=validates,
    )
    return ready, chat


def run(ready: Learning) -> list[Round]:
    async def collect() -> list[Round]:
        try:
            return [round_ async for round_ in ready.rounds()]
        finally:
            ready.crew.log.close()

    return asyncio.run(collect())

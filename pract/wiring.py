"""From an environment, three chat models and a configuration to a loop that is ready to run."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pract.agent import Agent, AgentConfig
from pract.budget import Estimate, Ledger, Spent, estimate
from pract.calls import recorded_roles
from pract.envs.base import EnvironmentFactory, stamp_of
from pract.errors import InputError
from pract.events import EventLog, begin_run
from pract.fitting import refuse_no_room
from pract.leaks import LeakCheck
from pract.llm.base import Chat
from pract.optimizer import Optimizer, OptimizerConfig, PrincipleOptimizer
from pract.principles import initial_principles
from pract.records import to_json
from pract.reflector import Reflector
from pract.rounds import Round
from pract.rpo import RpoConfig, learning_tasks, optimize
from pract.schedule import Crew
from pract.seats import Seats
from pract.types import ActionSpec, Episode, Principles, Task

OptimizerFactory = Callable[[Chat, OptimizerConfig, Sequence[ActionSpec], LeakCheck], Optimizer]
"""`PrincipleOptimizer` (RPO), or a baseline: `pract.baselines.ace.DeltaOptimizer`, `...reflexion.NotesOptimizer`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """The chat model of each role; they may be one and the same."""

    agent: Chat
    reflector: Chat
    optimizer: Chat


@dataclass(frozen=True, slots=True, kw_only=True)
class Learning:
    """A loop that is ready to run."""

    crew: Crew
    optimizer_chat: Chat
    """The optimizer's model, on record; for methods that ask it in their own way."""
    train: tuple[Task, ...]
    validation: tuple[Task, ...]
    start: Principles
    config: RpoConfig
    ledger: Ledger
    description: Mapping[str, Any]
    """What decides the run's outcomes; the first event of the log."""

    async def rounds(self) -> AsyncIterator[Round]:
        """The rounds, as they end. Raises InputError if the log is of another run."""
        begin_run(self.crew.log, self.description)
        loop = optimize(self.crew, self.train, self.validation, self.start, self.config, self.ledger)
        try:
            async for round_ in loop:
                yield round_
        finally:
            await self.crew.seats.close()

    def estimate(self) -> Estimate:
        """What the whole run is expected to need, before its first call."""
        config, agent = self.config, self.crew.agent
        validations = 0 if config.acceptance == "off" else config.rounds + 1
        played = (
            validations * len(self.validation) * config.validation_attempts
            + config.rounds * config.batch_size
        )
        rewrites = 1 if config.schedule == "batch" else config.batch_size + (config.traj_mode == "merged")
        calls = rewrites if config.optimizer.calls == "all" else rewrites * len(self.crew.actions)
        return estimate(
            episodes=played,
            steps=agent.max_steps,
            prefix_tokens=self._prefix_tokens(),
            step_tokens=agent.max_tokens // 4 + 100,
            reply_tokens=agent.max_tokens // 4,
            other_calls=config.rounds * (config.batch_size + calls),
            other_prompt_tokens=2 * self._prefix_tokens(),
            other_reply_tokens=config.optimizer.max_tokens // 2,
        )

    def _prefix_tokens(self) -> int:
        agent = Agent(self.crew.chat, self.crew.agent, self.crew.actions, self.start)
        begins = agent.prompt(self.train[0], "", [])[
            -1
        ]  # the task; with an example in turns of its own the last
        return agent.prefix_tokens + self.crew.chat.count_tokens(begins.content)


def wire(
    factory: EnvironmentFactory,
    roles: Roles,
    agent: AgentConfig,
    config: RpoConfig,
    *,
    principles: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    place: str = "principles",
    log: EventLog,
    ledger: Ledger,
    concurrency: int = 1,
    optimizer: OptimizerFactory = PrincipleOptimizer,
    validates: bool = False,
    watch: Callable[[Episode], None] | None = None,
) -> Learning:
    """The loop. Raises InputError for splits, principles or settings that do not fit the environment.

    principles: texts to begin with, by action; notes: a memory to begin with, which only an optimizer that has notes
    takes; place: where they come from. log and ledger: shared by all three models; make the ledger with
    `spent_before(log)`. optimizer: what learns, RPO's or a baseline's. validates: whether validation tasks are played
    whatever `rpo.acceptance` says, as by a method with a loop of its own.
    """
    learns = getattr(optimizer, "func", optimizer)
    _refuse_lost(notes, learns, place)
    world = _look(factory, config, validates=validates or config.acceptance != "off")
    start = replace(initial_principles(world.actions, principles, place), notes=tuple(notes))
    allowed = [spec.description for spec in world.actions]
    leaks = LeakCheck(world.train, ngram=config.optimizer.leak_ngram, allowed=allowed)
    chats = recorded_roles((roles.agent, roles.reflector, roles.optimizer), log, ledger)
    refuse_no_room(Agent(chats[0], agent, world.actions, start))
    reward_shown = config.reflection == "reward"
    crew = Crew(
        chat=chats[0],
        agent=agent,
        actions=world.actions,
        reflector=Reflector(chats[1], config.reflector, world.actions, reward_shown=reward_shown),
        optimizer=optimizer(chats[2], config.optimizer, world.actions, leaks),
        seats=Seats(factory, concurrency),
        log=log,
        seed=config.seed,
        watch=watch,
    )
    return Learning(
        crew=crew,
        optimizer_chat=chats[2],
        train=world.train,
        validation=world.validation,
        start=start,
        config=config,
        ledger=ledger,
        description=_description(world, agent, config, chats, start, learns),
    )


def _description(
    world: "_World",
    agent: AgentConfig,
    config: RpoConfig,
    chats: Sequence[Chat],
    start: Principles,
    method: Any,
) -> dict[str, Any]:
    """What a log is of: another run with the same log must say the same."""
    return {
        **world.stamp,
        "agent": to_json(agent),
        "rpo": {name: value for name, value in to_json(config).items() if name not in ("rounds", "patience")},
        "models": [chat.model for chat in chats],
        "principles": dict(start.texts),
        **({"notes": list(start.notes)} if start.notes else {}),
        "method": getattr(method, "__name__", str(method)),
    }


def _refuse_lost(notes: Sequence[str], learns: Any, place: str) -> None:
    if notes and not getattr(learns, "has_notes", False):
        raise InputError(
            f"{place} holds a memory of {len(notes)} notes, which this method would lose: use method=reflexion, or "
            "give principles without notes"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _World:
    """What the loop has to know of an environment before it plays."""

    actions: tuple[ActionSpec, ...]
    train: tuple[Task, ...]
    validation: tuple[Task, ...]
    stamp: Mapping[str, str]


def _look(factory: EnvironmentFactory, config: RpoConfig, *, validates: bool) -> _World:
    environment = factory()
    try:
        train, validation = learning_tasks(
            environment.splits(), environment.tasks, config, validates=validates
        )
        return _World(
            actions=tuple(environment.actions()),
            train=tuple(train),
            validation=tuple(validation),
            stamp=stamp_of(environment),
        )
    finally:
        environment.close()


def spent_before(log: EventLog) -> Spent:
    """What earlier sessions of the run spent, for the ledger of this one."""
    return replace(log.spent, seconds=log.elapsed)

"""From a composed configuration to environments, chat models, principles and a budget: what both PRAct scripts need."""

import asyncio
import gc
import json
import signal
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from pract.budget import Budget
from pract.errors import InputError
from pract.llm.base import Chat, HasCheck
from pract.records import from_json
from pract.types import Principles

if TYPE_CHECKING:  # they bring JSON schemas and all agents, which a sweep of trainings can do without
    from pract.agent import AgentConfig
    from pract.envs.base import Environment, EnvironmentFactory
    from pract.wiring import Roles

T = TypeVar("T")

ROLES = ("llm", "reflector", "optimizer")
"""Keys of the configuration; the agent's model is `llm`, and a role without one of its own has the agent's."""
BUNDLED = Path(__file__).parent.parent / "conf" / "hand_written"


def environment_factory(cfg: DictConfig) -> "EnvironmentFactory":
    """Makes one more environment each time it is called, on whatever thread. One is made, and closed, at once.

    Raises InputError for data that are missing or broken.
    """
    settings = OmegaConf.to_container(cfg.env, resolve=True)
    if not isinstance(settings, dict) or "_target_" not in settings:
        raise InputError("env names no _target_: give the import path of an environment's class")

    def make() -> "Environment":
        environment: Environment = instantiate(settings, _convert_="all")
        return environment

    make().close()  # what is wrong with it is said now, before a folder is made or deleted
    return make


def build_agent(cfg: DictConfig) -> "AgentConfig":
    """The agent's settings."""
    config: AgentConfig = instantiate(cfg.agent, _convert_="all")
    return config


def build_budget(cfg: DictConfig) -> Budget:
    """The limits of the run. Raises InputError for one that is no number."""
    limits = OmegaConf.to_container(cfg.budget, resolve=True)
    assert isinstance(limits, dict)
    for name, limit in limits.items():
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int | float)):
            raise InputError(
                f"budget.{name!s}={limit!r} is no number: give one above 0, or null for no limit"
            )
    return Budget(**{str(name): limit for name, limit in limits.items()})


def refuse_unpriced(limit: float | None, cast: Mapping[str, Chat]) -> None:
    """Raise InputError if `budget.usd` is set and no role has a price list, or one's is empty or another model's.

    Such a limit would never end the run, or end it at a sum that has nothing to do with the bill. What is replayed has
    the prices of when it was recorded.
    """
    if limit is None:
        return
    lists = {role: getattr(chat, "prices", None) for role, chat in cast.items()}
    replayed = any(getattr(chat, "replaying", False) for chat in cast.values())
    if not replayed and all(prices is None for prices in lists.values()):
        raise InputError(
            f"budget.usd={limit}: no role's model has prices, so it would never be reached; set budget.tokens or "
            "budget.calls instead"
        )
    for role, chat in cast.items():
        prices = lists[role]
        if prices is None:
            continue
        place = f"{role}.inner" if hasattr(chat, "replaying") else role
        keys = f"{place}.prices.prompt and {place}.prices.completion"
        if not prices.prompt and not prices.completion:
            raise InputError(
                f"budget.usd={limit}: {role} has no prices, so it would never be reached; give {keys} in dollars per "
                "million tokens, or set budget.tokens"
            )
        if prices.model not in (None, chat.model):
            raise InputError(
                f"budget.usd={limit}: the prices of {role} are those of {prices.model}, and its model is {chat.model}; "
                f"give {keys} and {place}.prices.model={chat.model}, or set budget.tokens"
            )


@asynccontextmanager
async def open_roles(cfg: DictConfig, agents: "Sequence[AgentConfig]") -> "AsyncIterator[Roles]":
    """The chat models, one object for all roles of equal settings, asked at the door whether they will work."""
    settings: dict[str, Any] = {}
    for role in ROLES:
        own = OmegaConf.select(cfg, role)
        settings[role] = settings["llm"] if own is None else OmegaConf.to_container(own, resolve=True)
    from pract.wiring import Roles

    chats: list[tuple[Any, Chat]] = []
    cast: dict[str, Chat] = {}
    try:
        for role, wanted in settings.items():
            known = next((chat for given, chat in chats if given == wanted), None)
            if known is None:
                known = instantiate(wanted, _convert_="all")
                chats.append((wanted, known))
            cast[role] = known
        refuse_unpriced(OmegaConf.select(cfg, "budget.usd"), cast)
        await _check(cast, agents)
        yield Roles(agent=cast["llm"], reflector=cast["reflector"], optimizer=cast["optimizer"])
    finally:
        await asyncio.gather(*(chat.close() for _, chat in chats))


async def _check(cast: Mapping[str, Chat], agents: "Sequence[AgentConfig]") -> None:
    """Ask each model once. Raises InputError for one that cannot do what its role takes."""
    asked: list[Chat] = []
    for role, chat in cast.items():
        if isinstance(chat, HasCheck) and chat not in asked:
            asked.append(chat)
            acts = role == "llm"
            await chat.check(
                tools=acts and any(agent.calls == "native" for agent in agents),
                choices=acts and any(agent.calls == "choice" for agent in agents),
            )


def until_stopped(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end. Ctrl-C, a batch system's SIGTERM and a closed terminal's SIGHUP end it by KeyboardInterrupt.

    All is saved then. A second Ctrl-C interrupts at once.
    """

    async def watched() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        stopped: list[bool] = []

        def stop() -> None:
            stopped.append(True)
            loop.remove_signal_handler(signal.SIGINT)
            cancel()

        def cancel() -> None:
            if not task.done():
                task.cancel()
                loop.call_later(0.2, cancel)  # one that meets the end of a wait may be lost

        with suppress(NotImplementedError, ValueError, RuntimeError):  # Windows, or not the main thread
            loop.add_signal_handler(signal.SIGTERM, stop)
            for kind in (signal.SIGINT, signal.SIGHUP):
                if signal.getsignal(kind) is not signal.SIG_IGN:  # as shells and nohup set it
                    loop.add_signal_handler(kind, stop)
        try:
            return await work
        except asyncio.CancelledError:
            if stopped:
                raise KeyboardInterrupt from None
            raise

    # What the imports left stays to the end: looking through it again and again stops all episodes for 50 ms each time.
    gc.collect()
    gc.freeze()
    return asyncio.run(watched())


def price(chat: Chat, prompt_tokens: int, completion_tokens: int) -> float:
    """US dollars by the chat's own price list, nothing cached; 0 where it has none, or another model's."""
    prices = getattr(chat, "prices", None)
    return prices.of(chat.model).usd(prompt_tokens, 0, completion_tokens) if prices is not None else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Principles as a file holds them."""

    best: Mapping[str, Any]
    """Texts to use, by action."""
    first: Mapping[str, Any]
    """Texts that the run began with; those to use where the file is no run's."""
    notes: tuple[str, ...] = ()
    """A memory shown beside the best ones (Reflexion)."""
    first_notes: tuple[str, ...] = ()
    """That with which the run began."""
    place: str


def read_principles(name: str | None) -> Written | None:
    """Principles by the name of a file in `conf/hand_written`, or from a YAML or JSON file; None for none.

    A file is one text per action, or a run's `principles.json`. Raises InputError for anything else.
    """
    if name is None or name == "none":
        return None
    path = Path(name)
    if not path.suffix:
        path = BUNDLED / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in BUNDLED.glob("*.yaml")))
        raise InputError(f"principles={name}: no such file; give a YAML or JSON file, or one of {known}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) if path.suffix != ".json" else _json(path)
    except (YAMLError, ValueError, OSError) as error:
        problem = " ".join(str(error).split())[:120]
        raise InputError(f"principles={name}: cannot be read ({problem}); write it as action: text") from None
    if content is None:
        return None
    if not isinstance(content, dict):
        raise InputError(f"principles={name}: not one text for each action; write it as action: text")
    return (
        _of_run(content, str(path))
        if "versions" in content
        else Written(best=content, first=content, place=str(path))
    )


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _of_run(content: Mapping[str, Any], place: str) -> Written:
    try:
        versions = [_principles(row) for row in content["versions"]]
        best = _principles(content["best"])
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"principles={place}: damaged ({error}); give the file as the run wrote it"
        ) from None
    first = versions[0]
    return Written(best=best.texts, first=first.texts, notes=best.notes, first_notes=first.notes, place=place)


def _principles(row: Mapping[str, Any]) -> Principles:
    names = ("texts", "parent", "evidence", "author", "notes")
    return from_json(Principles, {name: row[name] for name in names if name in row})

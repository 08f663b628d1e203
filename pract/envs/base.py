"""What an environment is."""

from collections.abc import Callable, Sequence
from typing import Literal, Protocol, runtime_checkable

from pract.types import Action, ActionSpec, Observation, StepResult, Task


class Environment(Protocol):
    """A text world with named actions. Any class with these members is one; no base class is needed.

    Synchronous; one object plays one episode at a time, and a factory (any callable without arguments) makes
    more. The agent's mistakes (unknown action, bad argument, impossible move) are answered by an observation
    with `refused=True`; an exception means a broken environment. Nothing that `Observation.text` says names
    reward, score or success, because Self-RPO must not see them.
    """

    name: str
    """One word, e.g. `webshop`."""
    version: str
    """Raised whenever behaviour or scoring changes, so that unlike results are never compared."""
    licence: str
    """SPDX expression of code and data, e.g. `MIT`, `Apache-2.0 AND GPL-2.0-only`."""

    def splits(self) -> Sequence[str]:
        """The splits it has, out of `train`, `validation` and `test`."""
        ...

    def tasks(self, split: str) -> Sequence[Task]:
        """All tasks of a split, always in the same order. Raises InputError for a split it has not."""
        ...

    def actions(self) -> Sequence[ActionSpec]:
        """The actions, always in the same order, the same for every task: 3 to 20 serve principles best."""
        ...

    def content_hash(self) -> str:
        """Digest of all that decides what the agent meets (tasks, data, scoring); stable over processes."""
        ...

    def reset(self, task: Task, seed: int = 0) -> Observation:
        """Begin an episode; the same task and seed begin the same one."""
        ...

    def step(self, action: Action) -> StepResult:
        """Carry out one action. Raises EpisodeOver after the end or before a reset."""
        ...

    def close(self) -> None:
        """Give back what it holds (processes, files); may be called twice."""
        ...


@runtime_checkable
class HasOracle(Protocol):
    """An environment that can say how each task is solved."""

    def oracle(self, task: Task) -> Sequence[Action]:
        """Actions that lead from reset to score 1."""
        ...


@runtime_checkable
class Quick(Protocol):
    """An environment that promises to compute, not to wait: no reset or step takes more than some milliseconds.

    It is then played beside the waiting calls, on whatever thread these are on, which saves two switches of
    threads a step; nobody watches that it answers in time.
    """

    quick: Literal[True]


class EpisodeOver(RuntimeError):
    """`step` was called although no episode is under way."""


EnvironmentFactory = Callable[[], Environment]
"""Makes one more environment object; episodes that run at the same time have one each."""


def stamp_of(environment: Environment) -> dict[str, str]:
    """What a run's description says of its environment, so that unlike ones are never compared."""
    return {
        "environment": environment.name,
        "environment_version": environment.version,
        "licence": environment.licence,
        "content_hash": environment.content_hash(),
    }

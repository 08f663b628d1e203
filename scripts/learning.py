"""The wiring of an RPO run: roles, log, ledger, loop; and what is written and shown as rounds end."""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from functools import partial
from statistics import fmean
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console

from pract.agent import Agent
from pract.budget import Estimate, Ledger
from pract.errors import InputError
from pract.evaluation import Outcome, outcome, unrecorded
from pract.events import ROUND
from pract.principles import principles_record
from pract.records import to_json
from pract.rounds import Decision, Round
from pract.rpo import RpoConfig
from pract.types import Episode, Principles
from pract.wiring import Learning, Roles, spent_before, wire
from scripts.casting import (
    build_agent,
    build_budget,
    environment_factory,
    open_roles,
    price,
    read_principles,
    until_stopped,
)
from scripts.history import write_history
from scripts.outcomes import print_arms, results_json
from scripts.progress import EpisodeBar, thousands
from scripts.recording import LoggedRun, Tracker, open_tracker
from scripts.report import write_report

BY_HAND = "stopped by hand"


def learn(cfg: DictConfig) -> dict[str, Any]:
    """Run RPO as `cfg` says, or go on with it; return what `results.json` holds.

    Raises InputError; KeyboardInterrupt once what was learned is saved.
    """
    return until_stopped(_learn(cfg))


async def _learn(cfg: DictConfig) -> dict[str, Any]:
    if not isinstance(cfg.concurrency, int) or cfg.concurrency < 1:
        raise InputError(f"concurrency={cfg.concurrency}: give a whole number of at least 1")
    run = LoggedRun(cfg, opens=False)
    factory, agent, budget = environment_factory(cfg), build_agent(cfg), build_budget(cfg)
    config: RpoConfig = instantiate(cfg.rpo, _convert_="all")
    method = instantiate(cfg.method, _convert_="all")
    own_loop = inspect.isasyncgenfunction(getattr(method, "func", method))
    written = read_principles(cfg.principles)
    async with open_roles(cfg, [agent]) as roles:
        with run.event_log(retry_failed=bool(cfg.retry_failed)) as log:
            watchers: list[Callable[[Episode], None]] = []
            learning = wire(
                factory,
                roles,
                agent,
                config,
                principles=written.best if written else None,
                notes=written.notes if written else (),
                place=f"principles={cfg.principles}",
                log=log,
                ledger=Ledger(budget, time.monotonic, spent_before(log)),
                concurrency=cfg.concurrency,
                watch=lambda episode: watchers[0](episode),
                validates=own_loop,
                **({} if own_loop else {"optimizer": method}),
            )
            rounds = _loop(method, own_loop, learning)
            known = {n: v for n, v in learning.description.items() if n != "method" or not own_loop}
            run.begin(log, known)
            tell_estimate(learning.estimate(), roles, learning.ledger)
            with open_tracker(cfg.logger, run) as tracker:
                recorder = Recorder(run, learning, tracker, title=cfg.name)
                watchers.append(recorder.episode)
                return await _follow(rounds, recorder, run)


def _loop(method: Any, own_loop: bool, learning: Learning) -> AsyncIterator[Round]:
    """RPO's loop with the method for its optimizer, or the method's own loop."""
    if not own_loop:
        return learning.rounds()
    if learning.config.patience is not None:
        raise InputError(
            f"rpo.patience={learning.config.patience}: this method has a loop of its own, which does not heed it: set "
            "rpo.patience=null"
        )
    if "metric_calls" in method.keywords:
        given, batch = method.keywords["metric_calls"], method.keywords.get("minibatch", 1)
        method = partial(method, metric_calls=_metric_calls(given, batch, learning))
    rounds: AsyncIterator[Round] = method(learning)
    return rounds


def _metric_calls(given: int | None, minibatch: int, learning: Learning) -> int:
    """Episodes that the method may ask for: those given, or as many as RPO would play.

    Raises InputError where the first validation of what it starts from leaves no batch to learn from.
    """
    calls = learning.estimate().episodes if given is None else given
    tasks, batch = len(learning.validation), min(minibatch, len(learning.train))
    if calls < tasks + batch:
        which = f"{given}" if given is not None else f"null, which is {calls} here, what RPO would play,"
        raise InputError(
            f"method.metric_calls={which} leaves nothing to learn from after a validation of {tasks} tasks: raise "
            f"it to {tasks + batch} at least, or lower rpo.validation_tasks"
        )
    return calls


async def _follow(rounds: Any, recorder: "Recorder", run: LoggedRun) -> dict[str, Any]:
    """Record the rounds; leave results and history whatever ends them."""
    stopped = "ended by an error"
    try:
        async with aclosing(rounds) as following:
            async for round_ in following:
                recorder.round(round_)
        stopped = recorder.stopped
    except asyncio.CancelledError:
        stopped = BY_HAND
        raise
    finally:
        results = recorder.results(stopped)
        run.write_json("results", results)
        if recorder.last is not None:
            write_history(run.folder)
        write_report(run.folder)
        recorder.close()
    recorder.report()
    return results


def tell_estimate(estimate: Estimate, roles: Roles, ledger: Ledger) -> None:
    """Print what the run is expected to need, and which limit will end it earlier."""
    usd = price(roles.agent, estimate.prompt_tokens, estimate.completion_tokens)
    spent, budget = ledger.spent, ledger.budget
    tokens = estimate.prompt_tokens + estimate.completion_tokens
    print(
        f"estimate: {estimate.episodes} episodes, about {estimate.likely_calls} calls (at most {estimate.calls}), "
        f"{thousands(estimate.prompt_tokens)} prompt and {thousands(estimate.completion_tokens)} completion tokens"
        + (f", ${usd:.2f} before caching" if usd else ""),
        flush=True,
    )
    if spent.calls:
        print(f"spent before: {spent.calls} calls, {thousands(spent.tokens)} tokens, {spent.seconds:.0f} s")
    for name, needed in (("calls", estimate.likely_calls), ("tokens", tokens), ("usd", usd)):
        limit = getattr(budget, name)
        if limit is not None and needed > limit:
            print(f"budget.{name}={limit} will probably end it early; raise it and start again to go on")


def tell_unrecorded(count: int, console: Console) -> None:
    """Say, if there were any, that requests had no answer on record."""
    if count:
        console.print(
            f"warning: the environment's record had no answer to {count} requests, so these scores say little; record "
            "what is missing (env.live=true)",
            highlight=False,
        )


class Recorder:
    """Writes tables, principles and metrics as episodes and rounds end, and moves the bar."""

    def __init__(self, run: LoggedRun, learning: Learning, tracker: Tracker, *, title: str) -> None:
        self.run, self.learning, self.tracker, self.title = run, learning, tracker, title
        rounds = learning.crew.log.earlier(ROUND)
        self.replayed = sum(data["decision"] != Decision.STOPPED.value for data in rounds)
        """Rounds that earlier sessions ended; one that stopped is played again."""
        # Each but the last was sent to the tracker before the next began. The table may have been cut short meanwhile.
        self.sent = min(self.replayed, max(run.count_rows("metrics"), self.replayed - 1))
        """Rounds that the tracker has."""
        run.begin_tables("episodes", "reflections", "metrics")
        self.bar = EpisodeBar(title, learning.estimate().episodes, learning.ledger)
        self.versions: dict[str, dict[str, Any]] = {}
        self.validated: dict[str, list[Outcome]] = {}
        """Validation outcomes by version of the principles."""
        self.last: Round | None = None
        self.unrecorded = 0
        self._keep_version(learning.start, 0, Decision.START.value)
        if not (run.folder / "principles.json").exists():
            self._write_principles(learning.start)

    @property
    def stopped(self) -> str:
        """Why the loop ended before its last round, or nothing."""
        last = self.last
        return last.reason if last is not None and last.decision is Decision.STOPPED else ""

    def episode(self, episode: Episode) -> None:
        """Take an episode."""
        self.run.append("episodes", [to_json(episode)])
        self.unrecorded += unrecorded(episode)
        self.bar.show(episode)

    def round(self, round_: Round) -> None:
        """Take a round: everything that is learned is on the disk when this returns."""
        self.last = round_
        self.run.append("reflections", [to_json(reflection) for reflection in round_.reflections])
        if round_.validation:
            seed = self.learning.config.seed
            found = [outcome(episode, seed=seed) for episode in round_.validation]
            self.validated[round_.candidate.version] = found
        for principles in (*round_.versions, round_.candidate):
            is_candidate = principles.version == round_.candidate.version
            self._keep_version(
                principles, round_.index, round_.decision.value if is_candidate else "on the way"
            )
        # A round that is only replayed must not hide what came after it.
        if round_.index >= self.replayed - 1:
            self._write_principles(round_.best)
        row = round_metrics(round_, self.learning)
        if round_.index >= self.sent:
            self.tracker.log(row, round_.index)
        self.run.append("metrics", [row])
        write_history(self.run.folder)
        self.bar.say(
            f"round {round_.index}: {round_.decision.value}" + f" ({round_.reason})" * bool(round_.reason)
        )

    def _keep_version(self, principles: Principles, index: int, fate: str) -> None:
        """Take down a version, unless it is known, with the round that wrote it and what became of it."""
        if principles.version not in self.versions:
            self.versions[principles.version] = {
                **principles_record(principles),
                "round": index,
                "fate": fate,
            }
        means = mean_of(self.validated.get(principles.version, ()), self.learning.config.measure)
        self.versions[principles.version]["validation"] = means

    def _write_principles(self, best: Principles) -> None:
        self.run.write_json(
            "principles", {"best": principles_record(best), "versions": list(self.versions.values())}
        )

    def results(self, stopped: str) -> dict[str, Any]:
        """The outcome: the principles at the start and the best ones, on the validation tasks they were chosen on."""
        arms = {}
        if self.last is not None:
            names = {"start": self.learning.start.version, "best": self.last.best.version}
            arms = {
                arm: self.validated[version] for arm, version in names.items() if version in self.validated
            }
        found = results_json(
            self.learning.description,
            arms,
            split=self.learning.config.validation_split,
            config=self.run.config,
            spent=self.learning.ledger.spent,
            stopped=stopped,
        )
        found["chosen_on"] = "validation: it flatters the best; evaluate_pract tells what it is worth"
        found["unrecorded"] = self.unrecorded
        found["rounds"] = self.run.count_rows("metrics")
        found["best_version"] = None if self.last is None else self.last.best.version
        return found

    def report(self) -> None:
        """Print what came of it."""
        console = Console()
        names = {"start": self.learning.start.version}
        if self.last is not None:
            names["best"] = self.last.best.version
        arms = {arm: self.validated[version] for arm, version in names.items() if version in self.validated}
        if arms:
            print_arms(f"{self.title}: validation tasks (the best was chosen on them)", arms, console)
        for action, text in self.last.best.texts.items() if self.last is not None else ():
            if text:
                console.print(f"[bold]{action}[/]: {text}", highlight=False)
        tell_unrecorded(self.unrecorded, console)
        if self.stopped:
            console.print(f"the run was stopped: {self.stopped}; mend or raise it and start again to go on")
        console.print(f"run folder: {self.run.folder}", highlight=False)

    def close(self) -> None:
        """Close the bar."""
        self.bar.close()


def mean_of(outcomes: Any, measure: str) -> dict[str, float | int] | None:
    """Mean measure and number of the outcomes that count; None if there are none."""
    values = [float(getattr(found, measure)) for found in outcomes if found.counts]
    return {"mean": fmean(values), "n": len(values)} if values else None


def round_metrics(round_: Round, learning: Learning) -> dict[str, Any]:
    """One row of metrics; what a round did not have is left out. docs/pract.md explains each name."""
    seed = learning.config.seed
    row: dict[str, Any] = {"rpo/round": round_.index, "rpo/decision": round_.decision.value}
    for stage, episodes in (("train", round_.episodes), ("validation", round_.validation)):
        found = [outcome(episode, seed=seed) for episode in episodes]
        for name in ("score", "progress", "success", "steps", "refused", "unread"):
            mean = mean_of(found, name)
            if mean is not None:
                row[f"rpo/{stage}_{name}"] = mean["mean"]
        if found:
            row[f"rpo/{stage}_left_out"] = sum(not one.counts for one in found)
    if round_.comparison is not None:
        row["rpo/won"], row["rpo/lost"] = len(round_.comparison.won), len(round_.comparison.lost)
        row["rpo/difference"], row["rpo/p_better"] = round_.comparison.difference, round_.comparison.p_better
    row["rpo/accepted"] = int(round_.decision is Decision.ACCEPTED)
    row["rpo/reflections_usable"] = sum(reflection.usable for reflection in round_.reflections)
    row["rpo/changes_taken"] = sum(not change.problem for change in round_.changes)
    row["rpo/changes_refused"] = sum(bool(change.problem) for change in round_.changes)
    for finding in round_.findings:
        name = f"rpo/errors/{finding.pattern.value.replace(' ', '_')}"
        row[name] = row.get(name, 0) + finding.count
    agent = Agent(learning.crew.chat, learning.crew.agent, learning.crew.actions, round_.after)
    count = learning.crew.chat.count_tokens
    row["rpo/principle_tokens"] = sum(
        count(text) for text in (*round_.after.texts.values(), *round_.after.notes)
    )
    row["rpo/prefix_tokens"] = agent.prefix_tokens
    row |= {f"rpo/{name}": value for name, value in to_json(round_.spent).items() if value is not None}
    return row

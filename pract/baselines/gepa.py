"""GEPA over the same principles, through the `gepa` package (an extra): one component for each action.

GEPA (Agrawal et al. 2025) mutates a Pareto pool of candidates by reflection on minibatches. It plays the same tasks
through the same agent, environment, log and ledger as RPO, so budgets are equal and a killed run is continued: the
package runs again from its seed, and every episode and call it asks for is found in the log. It has no token cap and
no leak check; its reflection prompt is its own.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from pract.baselines.gepa_rounds import Pool, Validated, validated
from pract.budget import BudgetExhausted
from pract.errors import InputError
from pract.events import begin_run, key_of
from pract.llm.base import ChatError
from pract.rounds import Round, incomplete, log_outage, stop_reason
from pract.types import Episode, Message, Principles, Task
from pract.wiring import Learning

T = TypeVar("T")

logger = logging.getLogger(__name__)


async def optimize_with_gepa(
    learning: Learning, *, metric_calls: int, minibatch: int = 3
) -> AsyncIterator[Round]:
    """A round for the start and for each candidate that GEPA validates, then one for what it tried in vain after them.

    metric_calls: episodes GEPA may ask for. minibatch: training tasks it reflects on at a time. Raises InputError if
    the package is not installed.
    """
    try:
        import gepa
    except ImportError as error:
        raise InputError(
            "the GEPA baseline needs the package gepa: pip install 'latro-pract[gepa]'"
        ) from error
    begin_run(learning.crew.log, {**learning.description, "method": "gepa"})
    loop, pool = asyncio.get_running_loop(), Pool(learning)
    adapter = PrincipleAdapter(learning, loop)
    running = asyncio.ensure_future(
        asyncio.to_thread(
            gepa.optimize,
            seed_candidate=dict(learning.start.texts),
            trainset=list(learning.train),
            valset=list(learning.validation),
            adapter=adapter,
            reflection_minibatch_size=min(minibatch, len(learning.train)),
            max_metric_calls=metric_calls,
            stop_callbacks=adapter.must_stop,
            callbacks=[adapter],
            logger=_Logger(),
            seed=learning.config.seed,
            raise_on_exception=True,
        )
    )
    running.add_done_callback(adapter.ended)
    try:
        while (found := await adapter.validated.get()) is not None:
            yield pool.round(found)
        if adapter.failed is None:
            await running
        else:  # what GEPA took for a failed proposal ends the run all the same
            raise adapter.failed
        last = pool.end(adapter.untold(), adapter.stop)
        if last is not None:
            yield last
    finally:
        try:
            await adapter.close()
        finally:
            await learning.crew.seats.close()


class PrincipleAdapter:
    """What GEPA asks of a system under optimisation. It runs on GEPA's thread and plays on the loop's."""

    def __init__(self, learning: Learning, loop: asyncio.AbstractEventLoop) -> None:
        self.learning, self.loop = learning, loop
        self.stop = ""
        """Why GEPA must end, once something forbids to go on."""
        self.failed: BaseException | None = None
        """The first error that is neither the model's nor the environment's."""
        self.closed = False
        self._working: asyncio.Task[Any] | None = None
        """What GEPA's thread waits for."""
        self.validated: asyncio.Queue[Validated | None] = asyncio.Queue()
        """The pool as it grows; None at the end."""
        self.episodes: list[Episode] = []
        self.evaluations = self.reflections = self.told = 0

    def evaluate(self, batch: list[Task], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        """The candidate's episodes on a batch of tasks; an episode that could not be played scores 0."""
        from gepa.core.adapter import EvaluationBatch

        key = f"gepa/evaluate-{self.evaluations:04d}"
        self.evaluations += 1
        episodes = self._on_loop(lambda: self._play(key, batch, Principles(texts=candidate, author="gepa")))
        self.episodes.extend(episodes)
        scores = [
            float(getattr(e, self.learning.config.measure)) if e.status.counts else 0.0 for e in episodes
        ]
        traces = list(episodes) if capture_traces else None
        return EvaluationBatch(outputs=[e.id for e in episodes], scores=scores, trajectories=traces)

    async def _play(self, key: str, batch: Sequence[Task], principles: Principles) -> tuple[Episode, ...]:
        crew = self.learning.crew
        places = [(f"{key}/{key_of(f'{n:03d}', task.id)}", task, crew.seed) for n, task in enumerate(batch)]
        episodes = await crew.play(places, principles)
        # A pool's best is chosen by whole validations: one that lost its server would lose its place.
        validation = {task.id for task in batch} == {task.id for task in self.learning.validation}
        self.stop = self.stop or stop_reason(episodes) or (incomplete(episodes) if validation else "")
        log_outage(crew.log, key, episodes, validation=validation)
        return episodes

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: Any, components_to_update: list[str]
    ) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """What GEPA's reflection reads: for each action, the episodes that tried it, or all if none did."""
        reflector = self.learning.crew.reflector
        dataset = {}
        for name in components_to_update:
            episodes = [
                e for e in eval_batch.trajectories if any(s.action and s.action.name == name for s in e.steps)
            ]
            dataset[name] = [
                {
                    "Inputs": {"task": episode.instruction, "action that this text is for": name},
                    "Generated Outputs": reflector.execution(episode),
                    "Feedback": " ".join(filter(None, (self._reward(episode), reflector.failures(episode)))),
                }
                for episode in episodes or eval_batch.trajectories
            ]
        return dataset

    def _reward(self, episode: Episode) -> str:
        reflector = self.learning.crew.reflector
        return reflector.reward(episode) if reflector.reward_shown else ""

    def propose_new_texts(
        self,
        candidate: dict[str, str],
        reflective_dataset: Mapping[str, Sequence[Mapping[str, Any]]],
        components_to_update: list[str],
    ) -> dict[str, str]:
        """GEPA's own reflection, a call for each action; none for an action whose reply is missing or cut off."""
        from gepa.strategies.instruction_proposal import InstructionProposalSignature as Reflection

        texts = {}
        for name in components_to_update:
            reply = self.reflect(
                Reflection.prompt_renderer(
                    {
                        "current_instruction_doc": candidate[name],
                        "dataset_with_feedback": reflective_dataset[name],
                        "prompt_template": None,
                    }
                )
            )
            if reply is not None:
                texts[name] = Reflection.output_extractor(reply)["new_instruction"]
        return texts

    def reflect(self, prompt: str) -> str | None:
        """GEPA's reflection model: the optimizer's chat; None if it gives no whole reply."""
        chat, config = self.learning.optimizer_chat, self.learning.config.optimizer
        tag = f"gepa/reflect-{self.reflections:04d}"
        self.reflections += 1
        try:
            reply = self._on_loop(
                lambda: chat.reply(
                    [Message(role="user", content=prompt)],
                    max_tokens=config.max_tokens,
                    temperature=config.temperature,
                    seed=self.learning.config.seed,
                    tag=tag,
                )
            )
        except ChatError as error:
            self.stop = self.stop or (f"chat_error: {error}" if error.kind.fatal else "")
            return None
        except BudgetExhausted as error:
            self.stop = self.stop or f"budget: {error}"
            return None
        return None if reply.finish_reason == "length" else reply.text

    def must_stop(self, state: Any) -> bool:
        """Whether GEPA has to end now."""
        return bool(self.stop) or self.closed

    def on_valset_evaluated(self, event: Mapping[str, Any]) -> None:
        """GEPA's word that a candidate is validated, the start first."""
        found = validated(event, self.untold(), self.learning.ledger.spent)
        self.loop.call_soon_threadsafe(self.validated.put_nowait, found)

    def untold(self) -> list[Episode]:
        """The episodes since this was asked last."""
        told, self.told = self.told, len(self.episodes)
        return self.episodes[told : self.told]

    def ended(self, running: "asyncio.Future[Any]") -> None:
        """GEPA's thread has come to its end."""
        if not running.cancelled():
            running.exception()  # looked at, or asyncio would complain of it where the run was interrupted
        self.validated.put_nowait(None)

    def _on_loop(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The outcome of work on the loop. GEPA catches much of what is raised here, so it is kept."""
        if self.closed:
            raise RuntimeError("the run has ended")
        try:
            return asyncio.run_coroutine_threadsafe(self._watched(work), self.loop).result()
        except (ChatError, BudgetExhausted):
            raise
        except BaseException as error:
            self.failed = self.failed or error
            self.stop = self.stop or f"{type(error).__name__}: {error}"
            raise

    async def _watched(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The work's outcome; begun too late it is not done."""
        if self.closed:
            raise RuntimeError("the run has ended")
        self._working = asyncio.current_task()
        return await work()

    async def close(self) -> None:
        """End what is under way; whoever calls this may then take away what it works with."""
        self.closed = True
        if self._working is not None:
            self._working.cancel()
            await asyncio.wait([self._working])


class _Logger:
    """GEPA's messages, among the module's log records instead of on the screen."""

    def log(self, message: str) -> None:
        logger.debug(message)

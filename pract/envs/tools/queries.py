"""What AgentBoard's three query environments share: problems, an answer to give, and where knowledge comes from."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pract.envs.tools.answers import same_answer
from pract.envs.tools.datafiles import PACKAGE_DATA, carve, data_file, digest, read_json
from pract.envs.tools.functions import FunctionTools, Refused, Verdict, action_of
from pract.envs.tools.published import declared_actions, problem_rows, wording
from pract.envs.tools.recorded_http import NotFound, NotRecorded, RecordedHttp
from pract.errors import InputError
from pract.types import Action, Task

_log = logging.getLogger(__name__)


class QueryWorld:
    """One episode of questions to a service; subclasses add the service's actions."""

    ACTIONS: tuple[str, ...] = ()

    def __init__(self, http: RecordedHttp) -> None:
        self._http = http
        self.finished = False
        self.given: Any = None
        self.unrecorded = 0

    def check_valid_actions(self) -> list[str]:
        """Lists the names of all actions."""
        return list(self.ACTIONS)

    def finish(self, answer: Any) -> str:
        """Gives the final answer and ends the task. Give the answer alone."""
        self.given, self.finished = answer, True
        return "Your answer has been taken."

    def ask(self, url: str, params: Mapping[str, Any], what: str) -> Any:
        """The service's answer; a refusal where it knows nothing or the record has no such request."""
        try:
            return self._http.get(url, params)
        except NotFound:
            raise Refused(f"There is no {what}.") from None
        except NotRecorded:
            self.unrecorded += 1
            raise Refused(f"The service has no answer about this {what}.") from None


class QueryTools(FunctionTools):
    """Problems that are answered by asking a service, as an environment.

    The score is answer match, and so is progress: the answer is the only sub-goal. The made-up world that stands
    in for `data` is `own` in the version.

    A result's info counts requests that the record could not answer: a score from a
    run in which there were some says little.
    """

    def __init__(
        self,
        *,
        name: str,
        world: type[QueryWorld],
        data: str | None,
        http: Callable[[Sequence[Mapping[str, Any]]], RecordedHttp],
        begin: Callable[[RecordedHttp, Task], QueryWorld],
        version: str = "1",
    ) -> None:
        if data is None:
            path = PACKAGE_DATA / f"{name}.json"
            own = read_json(path)
            tasks = [
                Task(
                    id=row["id"],
                    instruction=row["goal"],
                    data={"answer": row["answer"], **row.get("setting", {})},
                )
                for row in own["problems"]
            ]
            actions = [action_of(getattr(world, action)) for action in world.ACTIONS]
            service, content = http(own["records"]), digest(path)
        else:
            files = [data_file(data, f"{name}.jsonl"), data_file(data, f"{name}_raw.json")]
            tasks = list(_published_tasks(files[0], name))
            actions = declared_actions(files[1], world.ACTIONS)
            service, content = http(()), digest(*files)
        super().__init__(
            name=name,
            version=f"{version}-own" if data is None else version,
            licence="Apache-2.0" if data is None else "GPL-2.0-only",
            splits=carve(tasks, lambda task: wording(task.instruction)),
            actions=actions,
            start=lambda task, seed: begin(service, task),
            verdict=_verdict,
            content=content + service.fingerprint,
        )

    def oracle(self, task: Task) -> list[Action]:
        """The expected answer; a dictionary as text, since the published `finish` takes none."""
        answer = task.data["answer"]
        given = str(answer) if isinstance(answer, dict) else answer
        return [Action(name="finish", arguments={"answer": given})]


def record_of(name: str, data: str | None, records: str | None, live: bool) -> Path | None:
    """The record file in use. Raises InputError for AgentBoard's problems without a record and not live."""
    if data is not None and records is None and not live:
        raise InputError(
            f"env.data is set but nothing can answer for {name}: give env.records=FILE, or record with "
            "env.live=true env.records=FILE"
        )
    return Path(records).expanduser() if records is not None else None


@lru_cache(maxsize=4)  # every seat has an object of its own; what is left out is told once
def _published_tasks(path: Path, name: str) -> tuple[Task, ...]:
    tasks = []
    for row in problem_rows(path):
        setting = row["additional_info"].get("init_config") or {}
        answer = row["additional_info"].get("answer", row["subgoals"][0])
        task = Task(
            id=f"{name}-{row['id']}", instruction=row["goal"].strip(), data={**setting, "answer": answer}
        )
        if answer is None:
            _log.warning("%s: %s is left out: its answer is null, so nothing solves it", path, task.id)
        else:
            tasks.append(task)
    return tuple(tasks)


def _verdict(task: Task, world: QueryWorld) -> Verdict:
    right = world.finished and same_answer(world.given, task.data["answer"])
    return Verdict(score=float(right), info={"unrecorded": world.unrecorded} if world.unrecorded else {})

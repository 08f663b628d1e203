"""A to-do list to be asked about and changed: AgentBoard's `todo`, without the web service behind it.

A dictionary stands in for Todoist; actions are those of AgentBoard (Ma et al. 2024). Their answers are too, but for
two things: a change is answered by the changed task or project alone, where AgentBoard gives it under `task` or
`project` beside a `message`; and tasks tell their `project_id`, which AgentBoard's do not.

A problem is solved if `finish` gives the expected answer (any, where the expected one is `done`) and the list then
equals the expected one: a change that was not asked for loses the task. As in Todoist, a completed task leaves the
list. AgentBoard's expected lists cannot tell completing from deleting; our own problems can.

Without a data folder it is a small list of our own. With one it needs todo.jsonl (155 problems, AgentGym's
enlarged set), todo_projects.json and todo_raw.json; problems of equal wording stay in one split.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from functools import cache
from typing import Any, Literal

from pract.envs.tools.answers import same_answer
from pract.envs.tools.datafiles import PACKAGE_DATA, carve, data_file, digest, read_json
from pract.envs.tools.functions import FunctionTools, Refused, Verdict, action_of
from pract.envs.tools.published import declared_actions, problem_rows, wording
from pract.types import Action, Task

ACTIONS = (
    "get_user_current_date",
    "get_user_current_location",
    "get_projects",
    "update_project",
    "get_tasks",
    "get_task_description",
    "get_task_duration",
    "complete_task",
    "update_task",
    "delete_task",
    "check_valid_actions",
    "finish",
)
DONE = "done"


class TodoList:
    """Projects and tasks of one episode, and the user's date and place."""

    def __init__(self, projects: Sequence[Mapping[str, Any]], today: str, place: str) -> None:
        self.today, self.place = today, place
        self.finished = False
        self.answer: Any = None
        self.completed: list[str] = []
        self.needed = 0
        """What is left to do at the start of the episode."""
        self.projects: dict[str, dict[str, Any]] = {}
        self.tasks: dict[str, dict[str, Any]] = {}
        for number, project in enumerate(projects, start=1):
            facts = {"order": number, "color": "charcoal", "name": project["name"]}
            self.projects[str(100 * number)] = {**facts, "is_favorite": project["is_favorite"]}
            for order, task in enumerate(project["tasks"], start=1):
                kept = {**task, "order": order, "is_completed": False, "project_id": str(100 * number)}
                self.tasks[str(100 * number + order)] = kept

    def get_user_current_date(self) -> str:
        """Tells today's date as YYYY-MM-DD."""
        return self.today

    def get_user_current_location(self) -> str:
        """Tells the city the user is in."""
        return self.place

    def get_projects(self) -> list[dict[str, Any]]:
        """Lists all projects with their ids."""
        return [{"id": key, **project} for key, project in self.projects.items()]

    def update_project(self, project_id: str, is_favorite: Literal["True", "False"]) -> dict[str, Any]:
        """Makes a project a favorite, or no longer one."""
        project = self._project(project_id)
        project["is_favorite"] = is_favorite == "True"
        return {"id": project_id, **project}

    def get_tasks(self, project_id: str) -> list[dict[str, Any]]:
        """Lists the open tasks of a project with id, name, priority (1 normal to 4 urgent) and due date."""
        self._project(project_id)
        return [self._shown(key) for key, task in self.tasks.items() if task["project_id"] == project_id]

    def get_task_description(self, task_id: str) -> dict[str, Any]:
        """Tells the description of a task: place, tips and more."""
        task = self._task(task_id)
        return {"id": task_id, "content": task["content"], "description": task["description"]}

    def get_task_duration(self, task_id: str) -> dict[str, Any]:
        """Tells how long a task takes, as number(unit)."""
        task = self._task(task_id)
        duration = f"{task['duration']}({task['duration_unit']})"
        return {"id": task_id, "content": task["content"], "duration": duration}

    def complete_task(self, task_id: str) -> dict[str, Any]:
        """Marks a task as completed; it leaves the list."""
        shown = {**self._shown(task_id), "is_completed": True}
        self.completed.append(self.tasks.pop(task_id)["content"])
        return shown

    def update_task(self, task_id: str, due_date: str) -> dict[str, Any]:
        """Moves a task to another due date, given as YYYY-MM-DD."""
        task = self._task(task_id)
        try:
            task["due_date"] = date.fromisoformat(due_date.strip()).isoformat()
        except ValueError:
            raise Refused(f"{due_date[:40]!r} is no date; write it as YYYY-MM-DD.") from None
        return self._shown(task_id)

    def delete_task(self, task_id: str | None = None) -> dict[str, Any]:
        """Deletes a task without completing it."""
        shown = self._shown(task_id or "")
        del self.tasks[task_id or ""]
        return shown

    def check_valid_actions(self) -> list[str]:
        """Lists the names of all actions."""
        return list(ACTIONS)

    def finish(self, answer: Any = DONE) -> str:
        """Ends the task. Give the answer to a question; give 'done' after a change."""
        self.answer, self.finished = answer, True
        return "The task is closed."

    def snapshot(self) -> dict[str, Any]:
        """The list as AgentBoard's expected ones are written, and the names of completed tasks."""
        shown = ("order", "content", "is_completed", "priority", "due_date")
        return {
            "projects": [dict(project) for project in self.projects.values()],
            "tasks": [{field: task[field] for field in shown} for task in self.tasks.values()],
            "completed": sorted(self.completed),
        }

    def equals(self, expected: Mapping[str, Any]) -> bool:
        """Whether the list is the expected one in all that this tells."""
        now = self.snapshot()
        return all(now[part] == expected[part] for part in expected)

    def _project(self, key: str) -> dict[str, Any]:
        if key not in self.projects:
            raise Refused(f"There is no project with id {key[:40]!r}; get_projects lists them.")
        return self.projects[key]

    def _task(self, key: str) -> dict[str, Any]:
        if key not in self.tasks:
            raise Refused(f"There is no open task with id {key[:40]!r}; get_tasks lists those of a project.")
        return self.tasks[key]

    def _shown(self, key: str) -> dict[str, Any]:
        task = self._task(key)
        fields = ("project_id", "order", "content", "is_completed", "priority", "due_date")
        return {"id": key, **{field: task[field] for field in fields}}


class Todo(FunctionTools):
    """The to-do list as an environment."""

    quick: Literal[True] = True

    def __init__(self, data: str | None = None) -> None:
        """`data`: AgentBoard's folder; without it, our own small list."""
        if data is None:
            self._projects, tasks = _own_problems()
            content = digest(PACKAGE_DATA / "todo.json")
            actions = [action_of(getattr(TodoList, name)) for name in ACTIONS]
        else:
            names = ("todo_projects.json", "todo.jsonl", "todo_raw.json")
            files = [data_file(data, name) for name in names]
            self._projects = read_json(files[0])
            tasks, content = [_published_task(row) for row in problem_rows(files[1])], digest(*files)
            actions = declared_actions(files[2], ACTIONS)
        super().__init__(
            name="todo",
            version="2",
            licence="Apache-2.0" if data is None else "GPL-2.0-only",
            splits=carve(tasks, lambda task: wording(task.instruction)),
            actions=actions,
            start=lambda task, seed: self._begin_task(task.data),
            verdict=self._judge,
            content=content,
        )

    def oracle(self, task: Task) -> list[Action]:
        """The changes that lead from the first list to the expected one, then the expected answer."""
        world = self._begin(task.data)
        calls = [
            Action(name=name, arguments=arguments) for name, arguments in _changes(world, task.data["state"])
        ]
        return [*calls, Action(name="finish", arguments={"answer": task.data["answer"]})]

    def _begin_task(self, setting: Mapping[str, Any]) -> TodoList:
        world = self._begin(setting)
        world.needed = _left(world, setting["state"])
        return world

    def _begin(self, setting: Mapping[str, Any]) -> TodoList:
        return TodoList(self._projects, setting["date"], setting["place"])

    def _judge(self, task: Task, world: TodoList) -> Verdict:
        expected, asks = task.data["state"], task.data["answer"] != DONE
        answered = world.finished and (not asks or same_answer(world.answer, task.data["answer"]))
        score = float(answered and world.equals(expected))
        needed, left = world.needed, _left(world, expected)
        share = max(0.0, 1 - left / needed) / (1 + asks) if needed else 0.0
        return Verdict(score=score, progress=max(share, score))


@cache  # episodes at once have an object each, and need not have a copy of the tasks each
def _own_problems() -> tuple[list[dict[str, Any]], list[Task]]:
    """Our own projects and problems."""
    own = read_json(PACKAGE_DATA / "todo.json")
    return own["projects"], [_own_task(own["projects"], row) for row in own["problems"]]


def _own_task(projects: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> Task:
    """A problem of our own: its expected list is the first one after the changes that it names."""
    world = TodoList(projects, row["date"], row["place"])
    ids = {task["content"]: key for key, task in world.tasks.items()}
    ids |= {project["name"]: key for key, project in world.projects.items()}
    for name, target, *value in row.get("changes", []):
        getattr(world, name)(ids[target], *value)
    setting = {"date": row["date"], "place": row["place"], "answer": row["answer"]}
    return Task(id=row["id"], instruction=row["goal"], data={**setting, "state": world.snapshot()})


def _published_task(row: Mapping[str, Any]) -> Task:
    info = row["additional_info"]
    setting = {"date": info["init_config"]["current_date"], "place": info["init_config"]["current_location"]}
    data = {**setting, "answer": row["subgoals"][0], "state": info["answer"]}
    return Task(id=f"todo-{row['id']}", instruction=row["goal"].strip(), data=data)


def _changes(world: TodoList, expected: Mapping[str, Any]) -> list[tuple[str, dict[str, str]]]:
    """Calls that turn the list into the expected one (order and new entries apart: no action makes them)."""
    calls: list[tuple[str, dict[str, str]]] = []
    projects = {project["name"]: project for project in reversed(expected["projects"])}
    tasks = {task["content"]: task for task in reversed(expected["tasks"])}  # of two alike the first
    for key, project in world.projects.items():
        wanted = projects.get(project["name"], project)
        if wanted["is_favorite"] != project["is_favorite"]:
            calls.append(("update_project", {"project_id": key, "is_favorite": str(wanted["is_favorite"])}))
    for key, task in world.tasks.items():
        kept = tasks.get(task["content"])
        if kept is None:
            completes = task["content"] in expected.get("completed", ())
            calls.append(("complete_task" if completes else "delete_task", {"task_id": key}))
        elif kept["due_date"] != task["due_date"]:
            calls.append(("update_task", {"task_id": key, "due_date": kept["due_date"]}))
    return calls


def _left(world: TodoList, expected: Mapping[str, Any]) -> int:
    """Changes that lead to the expected list, and tasks past mending: gone wrongly, or in the wrong way."""
    listed = {task["content"] for task in world.tasks.values()}
    wanted = {task["content"] for task in expected["tasks"]}
    misjudged = set(expected.get("completed", world.completed)) ^ set(world.completed)
    return len(_changes(world, expected)) + len((wanted | misjudged) - listed)

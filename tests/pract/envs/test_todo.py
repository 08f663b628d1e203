"""The to-do list: exact scores, changes that were not asked for, torn data. No model, no web service."""

import json
from pathlib import Path

import pytest

from pract.envs.todo import Todo
from pract.errors import InputError
from pract.types import Action, Task


def call(action: str, **arguments: object) -> Action:
    return Action(name=action, arguments=arguments)


def task_about(todo: Todo, words: str) -> Task:
    tasks = [task for split in todo.splits() for task in todo.tasks(split)]
    return next(task for task in tasks if words in task.instruction)


def solved(todo: Todo, task: Task) -> float:
    todo.reset(task)
    return [todo.step(action) for action in todo.oracle(task)][-1].score


def test_the_list_is_read_by_its_actions() -> None:
    todo = Todo()
    todo.reset(task_about(todo, "Oil the chain due"))
    projects = json.loads(todo.step(call("get_projects")).observation.text)
    assert projects[2] == {
        "id": "300",
        "order": 3,
        "color": "charcoal",
        "name": "Bicycle",
        "is_favorite": False,
    }
    tasks = json.loads(todo.step(call("get_tasks", project_id=300)).observation.text)
    assert tasks[1] == {
        "id": "302",
        "project_id": "300",
        "order": 2,
        "content": "Oil the chain",
        "is_completed": False,
        "priority": 1,
        "due_date": "2031-04-05",
    }
    assert json.loads(todo.step(call("get_task_duration", task_id="302")).observation.text)["duration"] == (
        "10(minute)"
    )
    assert todo.step(call("get_user_current_date")).observation.text == "2031-04-01"


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("2031-04-05", 1.0),
        (" 2031-04-05. ", 1.0),
        (["2031-04-05"], 1.0),
        ("2031-04-06", 0.0),
        ("", 0.0),
        (5, 0.0),
    ],
)
def test_a_question_is_scored_by_its_answer(answer: object, score: float) -> None:
    todo = Todo()
    todo.reset(task_about(todo, "Oil the chain due"))
    result = todo.step(call("finish", answer=answer))
    assert (result.score, result.terminated) == (score, True)


def test_a_right_answer_with_a_needless_change_scores_nothing() -> None:
    todo = Todo()
    todo.reset(task_about(todo, "Oil the chain due"))
    todo.step(call("delete_task", task_id="301"))
    assert todo.step(call("finish", answer="2031-04-05")).score == 0.0


def test_half_of_the_changes_is_half_of_the_way_and_no_success() -> None:
    todo = Todo()
    todo.reset(task_about(todo, "move all overdue tasks"))
    result = todo.step(call("update_task", task_id="102", due_date="2031-04-02"))
    assert (result.score, result.progress) == (0.0, 0.5)
    assert todo.step(call("finish", answer="done")).score == 0.0


def test_deleting_is_not_completing_in_our_own_problems() -> None:
    todo = Todo()
    task = task_about(todo, "I have oiled the chain")
    todo.reset(task)
    todo.step(call("delete_task", task_id="302"))
    assert todo.step(call("finish", answer="done")).score == 0.0
    todo.reset(task)
    todo.step(call("complete_task", task_id="302"))
    assert todo.step(call("finish", answer="done")).score == 1.0


@pytest.mark.parametrize(
    ("words", "action", "progress"),
    [
        ("I have oiled the chain", call("delete_task", task_id="302"), 0.0),
        ("I have oiled the chain", call("complete_task", task_id="302"), 1.0),
        ("delete the task Lend the trailer", call("complete_task", task_id="303"), 0.0),
        ("move all overdue tasks", call("delete_task", task_id="102"), 0.0),
        ("move all overdue tasks", call("complete_task", task_id="102"), 0.0),
    ],
)
def test_a_task_that_is_lost_is_no_progress(words: str, action: Action, progress: float) -> None:
    todo = Todo()
    todo.reset(task_about(todo, words))
    result = todo.step(action)
    assert (result.score, result.progress, result.refused) == (0.0, progress, False)


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (call("get_tasks", project_id="9"), "There is no project with id '9'; get_projects lists them."),
        (
            call("update_task", task_id="101", due_date="May"),
            "'May' is no date; write it as YYYY-MM-DD.",
        ),
        (
            call("delete_task", task_id="x"),
            "There is no open task with id 'x'; get_tasks lists those of a project.",
        ),
    ],
)
def test_an_impossible_change_is_refused(action: Action, said: str) -> None:
    todo = Todo()
    todo.reset(todo.tasks("train")[0])
    result = todo.step(action)
    assert result.refused
    assert result.observation.text == said


def test_the_oracle_solves_every_own_problem() -> None:
    todo = Todo()
    tasks = [task for split in todo.splits() for task in todo.tasks(split)]
    assert len(tasks) == 24
    assert [solved(todo, task) for task in tasks] == [1.0] * 24


def test_the_oracle_solves_all_of_agentboards_problems(real_data: Path) -> None:
    todo = Todo(str(real_data / "agentboard_tools"))
    tasks = [task for split in todo.splits() for task in todo.tasks(split)]
    assert len(tasks) == 155
    assert [task.id for task in tasks if solved(todo, task) != 1.0] == []


def test_a_wrong_answer_scores_nothing_on_agentboards_questions(real_data: Path) -> None:
    todo = Todo(str(real_data / "agentboard_tools"))
    for task in (task for split in todo.splits() for task in todo.tasks(split)):
        if task.data["answer"] != "done":
            todo.reset(task)
            assert todo.step(call("finish", answer="certainly wrong")).score == 0.0


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("todo.jsonl", None, "todo.jsonl: no such file"),
        ("todo.jsonl", '{"id": 0, "goal": "a", "sub', "todo.jsonl, line 1: not JSON"),
        ("todo.jsonl", '{"id": 0, "goal": "a"}', "line 1: field 'subgoals' is missing"),
        ("todo_raw.json", '{"tool_set_message": []}', "declares other actions"),
        ("todo_projects.json", "[{]", "line 1: not JSON"),
    ],
)
def test_a_torn_folder_is_named_by_file_and_line(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    row = {"id": 0, "goal": "a", "subgoals": ["b"]}
    setting = {"init_config": {"current_date": "2031-01-01", "current_location": "Lund"}, "answer": {}}
    (tmp_path / "todo.jsonl").write_text(json.dumps({**row, "additional_info": setting}), encoding="utf-8")
    (tmp_path / "todo_projects.json").write_text("[]", encoding="utf-8")
    (tmp_path / "todo_raw.json").write_text("{}", encoding="utf-8")
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        Todo(str(tmp_path))

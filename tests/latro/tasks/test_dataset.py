"""Splits, the lock on test, and the carved validation set, on rows written here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from latro.errors import InputError
from latro.tasks.base import Task
from latro.tasks.dataset import bucket
from latro.tasks.gsm8k import Gsm8k
from latro.tasks.rows import Rows

ROWS = [{"question": f"What is {n} + 1?", "answer": f"#### {n + 1}"} for n in range(300)]


def folder_of(folder: Path, **splits: list[dict[str, str]]) -> str:
    for name, rows in splits.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)


def test_validation_is_carved_from_train_by_the_questions_hash(tmp_path: Path) -> None:
    task = Gsm8k(path=folder_of(tmp_path, train=ROWS))
    validation = [example.question for example in task.examples("validation")]
    train = [example.question for example in task.examples("train")]
    assert len(validation) + len(train) == 300
    assert len(validation) == 21
    assert set(validation) == {row["question"] for row in ROWS if bucket(row["question"], 15) == 0}
    assert set(validation).isdisjoint(train)
    assert task.examples("validation")[0].id.startswith("gsm8k/train/")


def test_the_bucket_of_a_text_never_changes() -> None:
    assert [bucket(text, 15) for text in ("", "What is 1 + 1?", "Wie viel?")] == [7, 8, 11]


def test_carving_does_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    (tmp_path / "turned").mkdir()
    task = Gsm8k(path=folder_of(tmp_path, train=ROWS))
    turned = Gsm8k(path=folder_of(tmp_path / "turned", train=ROWS[::-1]))
    questions = {example.question for example in task.examples("validation")}
    assert {example.question for example in turned.examples("validation")} == questions


def test_a_validation_file_is_taken_as_it_is(tmp_path: Path) -> None:
    task = Gsm8k(path=folder_of(tmp_path, train=ROWS[:200], validation=ROWS[200:]))
    assert (len(task.examples("train")), len(task.examples("validation"))) == (200, 100)
    assert task.examples("validation")[0].id == "gsm8k/validation/0"


def test_a_carved_test_split_stays_the_same_when_validation_gets_a_file(tmp_path: Path) -> None:
    questions = []
    for files in ({"train": ROWS}, {"train": ROWS, "validation": [{"question": "1?", "answer": "1"}]}):
        task = Rows(path=folder_of(tmp_path, **files))
        task.open_test()
        questions.append({example.question for example in task.examples("test")})
    assert questions[0] == questions[1] == {q for row in ROWS if bucket(q := row["question"], 15) == 1}


def test_test_is_locked_until_it_is_opened(tmp_path: Path) -> None:
    task = Gsm8k(path=folder_of(tmp_path, train=ROWS[:20], test=ROWS[20:22]))
    with pytest.raises(InputError) as caught:
        task.examples("test")
    assert str(caught.value) == "the test split of gsm8k is locked; only evaluation opens it (open_test)"
    task.open_test()
    assert [example.id for example in task.examples("test")] == ["gsm8k/test/0", "gsm8k/test/1"]
    assert task.examples("test") is task.examples("test")


def test_an_unknown_split_and_odd_settings_are_refused(tmp_path: Path) -> None:
    path = folder_of(tmp_path, train=ROWS)
    with pytest.raises(InputError, match=r"no split 'dev'; the splits are train, validation, test"):
        Gsm8k(path=path).examples("dev")
    with pytest.raises(InputError, match=r"task\.on_bad_row='warn'; use skip or error"):
        Gsm8k(path=path, on_bad_row="warn")
    with pytest.raises(InputError, match=r"task\.validation_one_in=1; it must be 3 or more"):
        Gsm8k(path=path, validation_one_in=1)


def test_a_split_without_a_usable_row_is_refused(tmp_path: Path) -> None:
    task = Gsm8k(
        path=folder_of(tmp_path, train=ROWS, validation=[{"question": "Who?", "answer": "#### Ada"}])
    )
    with pytest.raises(InputError) as caught:
        task.examples("validation")
    reason = "the first one left out: the gold answer 'Ada' is not a number"
    expected = f"gsm8k: the validation split has no usable row; {reason}; give it more rows"
    assert str(caught.value) == expected


def test_an_id_in_two_rows_is_refused_even_across_splits(tmp_path: Path) -> None:
    row = {"key": "k1", "question": "What is 1?", "answer": "1"}
    path = folder_of(tmp_path, train=[row], validation=[row | {"question": "Other?"}], test=[row])  # type: ignore[dict-item]
    task = Rows(path=path, id="key")
    assert task.examples("train")[0].id == "k1"
    with pytest.raises(InputError) as caught:
        task.examples("validation")
    places = f"{tmp_path}/validation.jsonl, line 1: id 'k1' is already that of {tmp_path}/train.jsonl, line 1"
    assert str(caught.value) == f"{places}; results are paired by id, so make it unique"


def test_our_tasks_keep_the_contract(tmp_path: Path) -> None:
    task: Task = Gsm8k(
        path=folder_of(tmp_path, train=ROWS)
    )  # the type checker holds this line to the protocol
    assert task.main_grader in task.grade(task.examples("train")[0], "The answer is 1.")
    assert task.answer_markers[0] == "The answer is"


def test_importing_tasks_imports_no_heavy_library() -> None:
    heavy = "torch transformers datasets sympy math_verify reasoning_gym pyarrow httpx numpy"
    tasks = "gsm8k arc_challenge arithmetic reasoning_gym rows"
    code = (
        "import importlib, sys\n"
        f"for name in {tasks.split()!r}: importlib.import_module('latro.tasks.' + name)\n"
        f"print([name for name in {heavy.split()!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

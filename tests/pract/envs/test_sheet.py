"""The spreadsheet: actions by literal tables, formulas, searches that cannot hang. No web service."""

import json
import time
from pathlib import Path

import pytest

from pract.envs.grid.formula import BadFormula, aggregate, evaluate
from pract.envs.grid.search import BadExpression, Matcher
from pract.envs.grid.table import OutOfSheet, position_name, position_of
from pract.envs.sheet import Sheet, equal_share
from pract.errors import InputError
from pract.types import Action, StepResult, Task


def call(action: str, **arguments: object) -> Action:
    return Action(name=action, arguments=arguments)


def all_tasks(sheet: Sheet) -> list[Task]:
    return [task for split in sheet.splits() for task in sheet.tasks(split)]


def opened(name: str) -> Sheet:
    sheet = Sheet()
    sheet.reset(next(task for task in all_tasks(sheet) if task.data["sheet"] == name))
    sheet.step(call("open_sheet", name=name))
    return sheet


def solved(sheet: Sheet, task: Task) -> StepResult:
    actions = sheet.oracle(task)
    sheet.reset(task)
    return [sheet.step(action) for action in actions][-1]


@pytest.mark.parametrize(("name", "place"), [("A1", (0, 0)), ("$z$9", (8, 25)), ("AB300", (299, 27))])
def test_positions_are_read_and_named(name: str, place: tuple[int, int]) -> None:
    assert position_of(name) == place
    assert position_of(position_name(*place)) == place


@pytest.mark.parametrize("name", ["", "1", "A0", "A301", "ZZ1", "A1:B2", "AAA1"])
def test_what_is_no_position_is_refused(name: str) -> None:
    with pytest.raises(OutOfSheet):
        position_of(name)


@pytest.mark.parametrize(
    ("operator", "values", "result"),
    [
        ("SUM", [1.0, "x", 2.5], 3.5),
        ("AVERAGE", [1.0, 2.0], 1.5),
        ("COUNT", [1.0, "", "a"], 1.0),
        ("MAX", [1.0, 7.0], 7.0),
        ("min", [1.0, 7.0], 1.0),
        ("MINUS", [9.0, 2.0, 3.0], 4.0),
        ("PRODUCT", [2.0, 3.5], 7.0),
    ],
)
def test_operators_compute_over_the_numbers(operator: str, values: list[object], result: float) -> None:
    assert aggregate(operator, values) == result


def test_formulas_compute_and_nothing_else() -> None:
    cells = {"A1": 2.0, "B1": 3.0, "C1": "x", "D1": ""}

    def spread(start: str, end: str) -> list[object]:
        return [2.0, 3.0]

    assert evaluate("=A1*B1+1", cells.__getitem__, spread) == 7.0
    assert evaluate("=SUM(A1:B1)/2", cells.__getitem__, spread) == 2.5
    assert evaluate("=-(a1 - D1)", cells.__getitem__, spread) == -2.0
    for text in ("=SUM(1E999,-1E999)", "=1/MAX(1E999)", "=AVERAGE(1E308*10-1E308*10)"):
        with pytest.raises(BadFormula, match="a number is too large"):
            evaluate(text, cells.__getitem__, spread)
    for text in ("=A1**B1", "=C1+1", "=1/0", "=open(1)", "=A1.real", "=(", "=" + "9" * 400, "=1e308*10"):
        with pytest.raises(BadFormula):
            evaluate(text, cells.__getitem__, spread)


def test_searching_matches_texts_and_expressions_but_no_costly_ones() -> None:
    assert Matcher("95.0").matches(95.0)
    assert not Matcher("9").matches(95.0)
    assert Matcher("re.compile('8[1-9]|9\\\\d')").matches(93.0)
    assert not Matcher("re.compile('^(Fruits|Vegetables)$')").matches("Fruit")
    for costly in ("(a+)+$", "(a|b*)*", "a*a*a*a*a*b", r"(a)\1", "(" * 50, "x" * 300):
        with pytest.raises(BadExpression):
            Matcher(f"re.compile('{costly}')")
    began = time.perf_counter()
    Matcher("re.compile('a*a*a*b')").matches("a" * 5000)
    assert time.perf_counter() - began < 1.0


def test_a_sheet_is_changed_as_told() -> None:
    sheet = opened("Grades")
    shown = sheet.step(call("sort_sheet_by_col", col_num="2", order="asc")).observation.text
    assert [row[0] for row in json.loads(shown)] == ["Name", "Emil", "Bela", "Dora", "Ada", "Cem"]
    assert sheet.step(call("update_cell", position="E2", value="=SUM(B2:D2)")).observation.text == "217"
    assert sheet.step(call("filter_cells", query="-1")).observation.text == '["D4"]'
    shown = sheet.step(call("delete_batch_data", dimension="row", index_list="[4, 6]")).observation.text
    assert [row[0] for row in json.loads(shown)] == ["Name", "Emil", "Bela", "Ada"]
    shown = sheet.step(call("insert_cols", values_list=[["Form", "5b"]], col_idx=2)).observation.text
    assert json.loads(shown)[:2] == [
        ["Name", "Form", "Maths", "History", "Music", "Total"],
        ["Emil", "5b", 59, 70, 88, 217],
    ]
    shown = sheet.step(call("merge_cells", start_position="C1", end_position="D1")).observation.text
    assert json.loads(shown)[0] == ["Name", "Form", "Maths", "Maths", "Music", "Total"]


def test_a_column_may_be_as_long_as_a_sheet_and_no_longer() -> None:
    sheet = opened("Grades")
    shown = sheet.step(call("insert_cols", values_list=[["a"] * 300], col_idx=7)).observation.text
    assert [len(json.loads(shown)), json.loads(shown)[299][6]] == [300, "a"]
    limits = "insert_cols was not carried out: the sheet has at most 300 rows and 60 columns, counted from 1."
    for columns in ([["a"] * 301], [["a"]] * 54):
        assert sheet.step(call("insert_cols", values_list=columns, col_idx=1)).observation.text == limits
    shown = sheet.step(call("insert_cols", values_list=[["b"]] * 53, col_idx=1)).observation.text
    assert len(json.loads(shown)[0]) == 60


def test_notes_move_with_their_rows() -> None:
    sheet = opened("Bakery")
    assert sheet.step(call("get_note", position="A5")).observation.text == "Price rises to 4.0"
    sheet.step(call("sort_sheet_by_col", col_num=1, order="asc"))
    assert sheet.step(call("get_note", position="A4")).observation.text == "Price rises to 4.0"
    sheet.step(call("delete_batch_data", dimension="row", index_list=[2]))
    assert sheet.step(call("get_note", position="A3")).observation.text == "Price rises to 4.0"


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (call("get_cell_value", position="Q"), "'Q' is no cell position; write it like B2."),
        (call("sort_sheet_by_col", col_num=1, order="up"), "order is 'up'; choose asc or des."),
        (
            call("update_range", start_position="A1", end_position="B1", values_list=[[1]]),
            "the range has 1 rows of 2 cells, the values have another shape.",
        ),
        (
            call("get_value_by_formula", operator="SUM"),
            "give start_position and end_position, or position_list.",
        ),
        (call("update_cell", position="A1", value="=A2+1"), "cell A2 holds no number."),
        (call("delete_batch_data", dimension="row", index_list=[0]), "rows and columns are counted from 1."),
        (call("delete_batch_data", dimension="col", index_list=[-1]), "rows and columns are counted from 1."),
    ],
)
def test_what_a_sheet_cannot_do_is_refused(action: Action, said: str) -> None:
    result = opened("Grades").step(action)
    assert result.refused
    assert result.observation.text == f"{action.name} was not carried out: {said}"


def test_a_refused_range_leaves_the_sheet_as_it_was() -> None:
    sheet = opened("Grades")
    before = sheet.step(call("get_all_values")).observation.text
    values = [[1, "=A2+1"]]
    refused = sheet.step(call("update_range", start_position="A1", end_position="B1", values_list=values))
    assert refused.refused
    assert sheet.step(call("get_all_values")).observation.text == before


def test_partial_credit_is_the_share_of_equal_cells() -> None:
    assert equal_share([["a", 1.0], ["b", 2.0]], [["a", "1.0"], ["b", "3"]]) == 0.75
    assert equal_share([["a"]], [["a", "b"]]) == 0.5
    assert equal_share([], []) == 1.0


def test_handing_in_an_untouched_sheet_scores_nothing() -> None:
    sheet = Sheet()
    for task in all_tasks(sheet):
        sheet.reset(task)
        result = sheet.step(call("finish"))
        assert result.score == 0.0
        assert 0.0 < result.progress < 1.0


def test_the_oracle_solves_every_own_problem() -> None:
    sheet = Sheet()
    assert [solved(sheet, task).score for task in all_tasks(sheet)] == [1.0] * 12


def test_the_oracle_solves_all_of_agentboards_problems(real_data: Path) -> None:
    sheet = Sheet(str(real_data / "agentboard_tools"))
    tasks = all_tasks(sheet)
    assert len(tasks) == 20
    assert [task.id for task in tasks if solved(sheet, task).score != 1.0] == []
    for task in tasks:
        sheet.reset(task)
        assert sheet.step(call("finish")).score == 0.0


def test_a_torn_workbook_is_refused(tmp_path: Path) -> None:
    for name in ("sheet_template.xlsx", "sheet.jsonl", "sheet_raw.json"):
        (tmp_path / name).write_text("PK", encoding="utf-8")
    with pytest.raises(InputError, match=r"sheet_template\.xlsx: not a workbook"):
        Sheet(str(tmp_path))

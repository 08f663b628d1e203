"""The leak check, with a scripted chat; no model."""

from pract.leaks import LeakCheck
from pract.types import Task


def test_a_run_of_words_of_a_task_is_a_leak_unless_it_was_there_before() -> None:
    tasks = [
        Task(id=f"t{n}", instruction=f"Find a pair of {c} shoes under {n}0 dollars.")
        for n, c in enumerate("abcd")
    ]
    leaks = LeakCheck(tasks, ngram=5)
    said = "Always find a pair of c shoes first."
    found = leaks.find(said)
    assert found is not None
    assert (found.task_id, found.words, found.kind) == ("t2", "find a pair of c", "instruction")
    assert leaks.find(said, known=said) is None
    assert leaks.find("Find the right shoes under the price limit.") is None


def test_what_actions_say_or_many_tasks_share_is_no_leak() -> None:
    tasks = [
        Task(id=f"t{n}", instruction="Answer the question below.", data={"tool": "web search", "n": n})
        for n in range(30)
    ]
    leaks = LeakCheck(tasks, ngram=3, allowed=["Use version 2.0 of it"])
    assert leaks.find("Answer the question below by web search.") is None


def test_a_value_that_a_third_of_the_tasks_share_may_be_said_and_one_of_fewer_not() -> None:
    def check(sharing: int) -> object:
        data = [{"answer": "slip resistant"} if n < sharing else {} for n in range(30)]
        tasks = [Task(id=f"t{n}", instruction="Find it.", data=row) for n, row in enumerate(data)]
        return LeakCheck(tasks).find("Take the slip resistant ones.")

    assert check(10) is None
    assert check(9) is not None
    assert check(4) is not None


def test_a_name_in_a_tasks_data_is_a_leak_unless_an_instruction_or_action_has_it() -> None:
    tasks = [
        Task(id="t1", instruction="Where was she born?", data={"answer": "Aarhus"}),
        Task(id="t2", instruction="Who wrote to Bruno?", data={"answer": "Bruno", "kind": "Search"}),
        Task(id="t3", instruction="Which river?", data={"answer": "high"}),
    ]
    leaks = LeakCheck(tasks, allowed=["Search for a page."])
    found = leaks.find("When in doubt, answer Aarhus.")
    assert found is not None
    assert (found.task_id, found.words, found.kind) == ("t1", "Aarhus", "data")
    assert leaks.find("Mostly (Aarhus) is right.") is not None
    assert leaks.find("When in doubt, answer Aarhus.", known="Say Aarhus.") is None
    for general in ("Ask Bruno first.", "Then Search again.", "Aim high.", "Look at aarhus and harbours."):
        assert leaks.find(general) is None


def test_words_of_other_scripts_are_words() -> None:
    tasks = [
        Task(id="ru", instruction="Найдите красные туфли сорок второго размера."),
        Task(id="zh", instruction="请找到一双红色的鞋子。"),
        Task(id="en", instruction="Look around."),
    ]
    leaks = LeakCheck(tasks)
    russian = leaks.find("Сначала найдите красные туфли сорок второго размера!")
    chinese = leaks.find("总是先找到一双红色的鞋子。")
    assert russian is not None
    assert (russian.task_id, russian.words) == ("ru", "найдите красные туфли сорок второго размера")
    assert chinese is not None
    assert (chinese.task_id, chinese.words) == ("zh", "找 到 一 双 红 色")
    assert leaks.find("先看清楚价格，再决定。") is None

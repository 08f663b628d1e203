"""HotpotQA over ten given paragraphs: search, lookup, finish, as in ReAct (Yao et al. 2023), without Wikipedia.

This is the distractor setting: each question brings its ten paragraphs, of which two hold the answer; `search`
ranks them by SQLite FTS5. Figures do not compare with those over open Wikipedia. The score is HotpotQA's F1,
success its exact match.

Without a data folder there are three made-up questions of our own. With one it needs bolaa_easy.jsonl,
bolaa_medium.jsonl and bolaa_hard.jsonl (100 questions each, as BOLAA and AgentLite use them).
"""

import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

from pract.envs.tools.answers import exact_match, token_f1
from pract.envs.tools.datafiles import PACKAGE_DATA, carve, data_file, digest, read_jsonl
from pract.envs.tools.functions import FunctionTools, Refused, Verdict, action_of
from pract.envs.tools.published import wording
from pract.errors import InputError
from pract.types import Action, Task

LEVELS = ("easy", "medium", "hard")
FIELDS: dict[str, type | tuple[type, ...]] = {"question": str, "answer": str, "context": list}


class Shelf:
    """The paragraphs of one question, the open one, and where `lookup` stands in it."""

    def __init__(self, context: Sequence[tuple[str, Sequence[str]]]) -> None:
        self.paragraphs = {title: [s.strip() for s in sentences] for title, sentences in context}
        self.opened = ""
        self.found: tuple[str, int] = ("", 0)
        self.finished = False
        self.given = ""

    def search(self, query: str) -> str:
        """Finds the paragraph that fits the words best, by its title first, and opens it."""
        words = list(dict.fromkeys(re.findall(r"\w+", query.lower())))[:64]
        exact = next(
            (title for title in self.paragraphs if title.casefold() == query.strip().casefold()), None
        )
        ranked = [exact] if exact else []
        ranked += [title for title in self._ranked(words) if title != exact]
        if not ranked:
            titles = "; ".join(self.paragraphs)
            raise Refused(f"Nothing has any of these words. The paragraphs are: {titles}.")
        self.opened, self.found = ranked[0], ("", 0)
        others = f"\nOther matches: {'; '.join(ranked[1:5])}." if ranked[1:] else ""
        return f"{self.opened}: {' '.join(self.paragraphs[self.opened])}{others}"

    def _ranked(self, words: Sequence[str]) -> list[str]:
        """Titles of paragraphs that have any of the words, best first, a word in the title counting four times.

        The index lives for one search: ten paragraphs are indexed in half a millisecond, and nothing stays open.
        """
        if not words:
            return []
        with closing(sqlite3.connect(":memory:")) as index:
            index.execute("CREATE VIRTUAL TABLE shelf USING fts5(title, body, tokenize='porter')")
            rows = [(title, " ".join(body)) for title, body in self.paragraphs.items()]
            index.executemany("INSERT INTO shelf VALUES (?, ?)", rows)
            terms = " OR ".join(f'"{word}"' for word in words)
            best = "SELECT title FROM shelf WHERE shelf MATCH ? ORDER BY bm25(shelf, 4, 1), rowid"
            return [row[0] for row in index.execute(best, (terms,))]

    def lookup(self, keyword: str) -> str:
        """Shows the next sentence of the open paragraph that has the keyword."""
        if not self.opened:
            raise Refused("No paragraph is open; search first.")
        wanted = keyword.strip().casefold()
        hits = [s for s in self.paragraphs[self.opened] if wanted and wanted in s.casefold()]
        if not hits:
            raise Refused(f"The paragraph {self.opened!r} does not have {keyword.strip()[:60]!r}.")
        number = self.found[1] + 1 if self.found[0] == wanted else 1
        if number > len(hits):
            raise Refused(f"There are no more sentences with {keyword.strip()[:60]!r}.")
        self.found = (wanted, number)
        return f"(Result {number} of {len(hits)}) {hits[number - 1]}"

    def finish(self, answer: str) -> str:
        """Gives the final answer and ends the task. Give a name, a date, yes or no: as short as possible."""
        self.given, self.finished = answer, True
        return "Your answer has been taken."


class HotpotQA(FunctionTools):
    """The questions as an environment."""

    quick: Literal[True] = True

    def __init__(self, data: str | None = None, levels: Sequence[str] = LEVELS) -> None:
        """`data`: folder with BOLAA's files; `levels`: which of easy, medium, hard."""
        unknown = [level for level in levels if level not in LEVELS]
        if unknown or not levels:
            raise InputError(f"env.levels is {list(levels)}; choose from {', '.join(LEVELS)}")
        if data is None:
            path = PACKAGE_DATA / "hotpotqa.jsonl"
            tasks = _read_tasks(path, "own")
            splits = {split: [task for task in tasks if task.group == split] for split in _OWN_SPLITS}
            files = [path]
        else:
            files = [data_file(data, f"bolaa_{level}.jsonl") for level in levels]
            tasks = [t for level, file in zip(levels, files, strict=True) for t in _read_tasks(file, level)]
            splits = carve(tasks, lambda task: wording(task.instruction))
        super().__init__(
            name="hotpotqa",
            version="1-closed-" + "-".join(levels if data else ["own"]),
            licence="Apache-2.0" if data is None else "CC-BY-SA-4.0",
            splits=splits,
            actions=[action_of(getattr(Shelf, name)) for name in ("search", "lookup", "finish")],
            start=lambda task, seed: Shelf(task.data["context"]),
            verdict=_verdict,
            content=digest(*files),
        )

    def oracle(self, task: Task) -> list[Action]:
        """Opens the paragraphs that hold the answer, then gives it."""
        titles = [Action(name="search", arguments={"query": title}) for title in task.data["supporting"]]
        return [*titles, Action(name="finish", arguments={"answer": task.data["answer"]})]


_OWN_SPLITS = ("train", "validation", "test")


def _verdict(task: Task, shelf: Shelf) -> Verdict:
    if not shelf.finished:
        return Verdict(score=0.0)
    f1 = token_f1(shelf.given, task.data["answer"])
    met = exact_match(shelf.given, task.data["answer"])
    return Verdict(score=1.0 if met else f1, success=met, info={"f1": f1, "exact_match": met})


def _read_tasks(path: Path, level: str) -> list[Task]:
    rows = read_jsonl(path, FIELDS)
    return [_task(row, f"{path}, line {number}", f"{level}-{number}") for number, row in enumerate(rows, 1)]


def _task(row: Mapping[str, Any], place: str, name: str) -> Task:
    for paragraph in row["context"]:
        if not (isinstance(paragraph, list) and len(paragraph) == 2 and isinstance(paragraph[1], list)):
            raise InputError(f"{place}: a paragraph of 'context' is not [title, [sentences]]")
    supporting = list(dict.fromkeys(title for title, _ in row.get("supporting_facts", [])))
    data = {"answer": row["answer"], "context": row["context"], "supporting": supporting}
    group = row.get("split") or row.get("level")
    return Task(id=f"hotpotqa-{name}", instruction=row["question"].strip(), data=data, group=group)

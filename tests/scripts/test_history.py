"""`history.html` and what it rests on: provenance of sentences, word diffs, escaping; a browser where one is there."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from latro.errors import InputError
from scripts.history import write_history
from scripts.learning import learn
from scripts.provenance import lineage, origins, sentences, word_diff
from scripts.rendering import principles_now, round_sections
from scripts.story import Story, read_story
from tests.scripts.clerk import configuration

ATTACK = "</code><script>alert('gotcha')</script><img src=http://evil.example/x.png>"


def record(
    text: str, parent: str | None = None, evidence: tuple[str, ...] = (), author: str = "hand"
) -> dict:
    return {
        "texts": {"open": text},
        "notes": [],
        "parent": parent,
        "evidence": list(evidence),
        "author": author,
    }


VERSIONS = {
    "a": record("Look first. Then open the door."),
    "b": record("Look first. Take the key. Then open the door.", "a", ("r1", "r2"), "optimizer/round-001"),
    "c": record("Look first. Take the right key. Then open the door.", "b", ("r3",), "optimizer/round-002"),
}
REFLECTIONS = {"r1": "It looked around.", "r2": "The key was never taken.", "r3": "It took the wrong key."}


def test_each_sentence_is_traced_to_the_version_that_first_had_it() -> None:
    found = {
        o.sentence: (o.version, o.reworded_from, o.evidence)
        for o in origins("c", "open", VERSIONS, REFLECTIONS)
    }
    assert found == {
        "Look first.": ("a", "", ()),
        "Take the right key.": ("c", "Take the key.", ("r3",)),
        "Then open the door.": ("a", "", ()),
    }


def test_the_reflection_nearest_in_words_comes_first() -> None:
    by_sentence = {
        o.sentence: o.evidence for o in origins("b", "open", VERSIONS, {**REFLECTIONS, "r2": "take the key"})
    }
    assert by_sentence["Take the key."] == ("r2", "r1")


def test_lineage_ends_at_an_unknown_parent_and_in_a_ring() -> None:
    assert list(lineage("c", VERSIONS)) == ["c", "b", "a"]
    assert list(lineage("x", {"x": record("", "gone")})) == ["x"]
    assert list(lineage("x", {"x": record("", "y"), "y": record("", "x")})) == ["x", "y"]


def test_sentences_are_cut_at_full_stops_and_not_at_decimals() -> None:
    assert sentences("Pay 3.50 at most. Is it dear? Go on!") == ["Pay 3.50 at most.", "Is it dear?", "Go on!"]
    assert sentences("") == []


def test_a_diff_holds_both_texts_and_takes_lone_words_into_the_change() -> None:
    pieces = word_diff("Take the key first.", "Take no door first.")
    assert pieces == [("same", "Take "), ("gone", "the key"), ("new", "no door"), ("same", " first.")]
    old, new = "one two three four", "six two seven eight four"
    for kinds, text in ((("same", "gone"), old), (("same", "new"), new)):
        assert "".join(piece for kind, piece in word_diff(old, new) if kind in kinds) == text


class Links(HTMLParser):
    """Collects what a page refers to and which ids it has."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.targets: set[str] = set()
        self.outside: set[str] = set()
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.scripts += tag == "script"
        self.ids |= {given["id"]} if given.get("id") else set()
        for name in ("href", "src", "action", "srcset"):
            value = given.get(name)
            if value:
                (self.targets if value.startswith("#") else self.outside).add(value)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished smoke run."""
    folder = tmp_path_factory.mktemp("history") / "run"
    learn(configuration("optimize_pract", "experiment=pract/smoke", f"output_dir={folder}"))
    return folder


def read(page: Path) -> Links:
    links = Links()
    links.feed(page.read_text(encoding="utf-8"))
    return links


def test_the_page_tells_versions_tasks_reflections_and_origins(run: Path) -> None:
    page = (run / "history.html").read_text(encoding="utf-8")
    text = re.sub(r"<[^>]+>", "", page)
    assert "0.33 → 0.83" in text
    assert "There from the start" not in text
    assert "First written in round 1 (accepted) by optimizer/round-001/optimize" in text
    assert "<b>lost</b> list-1" in page
    assert "finish came before any observation had shown the answer" in text
    assert page.count('class="badge accepted"') == 2
    assert re.search(r"<del>.*Give the bare value.*</del><ins>.*Looking.*</ins>", page)


def test_every_link_leads_somewhere_on_the_page_and_nothing_outside_is_asked_for(run: Path) -> None:
    links = read(run / "history.html")
    assert links.targets
    assert {target[1:] for target in links.targets} <= links.ids
    assert links.outside == {"data:,"}
    assert not re.search(r"url\(|@import|fetch\(|XMLHttp", (run / "history.html").read_text())


def played(name: str, task: str) -> dict:
    """An episode of one step with a long call."""
    step = {
        "action": {"name": "type", "arguments": {"text": "x" * 600}}, "problem": "", "thought": "", "refused": False,
        "reply": {"text": "", "prompt_tokens": 1, "completion_tokens": 1}, "observation": "",
    }  # fmt: skip
    return {
        "id": name, "task_id": task, "success": True, "score": 1.0, "failure": "", "status": "done",
        "instruction": "", "steps": [step],
    }  # fmt: skip


def test_of_a_round_of_many_episodes_those_that_are_linked_are_on_the_page_and_a_few_more() -> None:
    versions = {name: {"texts": {"open": name}, "notes": []} for name in "ab"}
    names = {kind: [f"{kind}/{number}" for number in range(40)] for kind in ("a", "b", "train")}
    bare = {"reason": "", "changes": [], "versions": [], "findings": [], "before": versions["a"]}
    compared = {"won": ["38"], "lost": ["39"], "tasks": 40, "old_mean": 0.5, "new_mean": 0.5, "p_better": 0.5}
    first = {
        "index": 0, "decision": "start", "candidate": versions["a"], "comparison": None, "reflections": [],
        "episodes": [], "validation": names["a"],
    }  # fmt: skip
    second = {
        "index": 1, "decision": "accepted", "candidate": versions["b"], "comparison": compared, "reflections": ["r"],
        "episodes": names["train"], "validation": names["b"],
    }  # fmt: skip
    reflection = {"id": "r", "episode_id": "train/20", "text": "", "problem": "", "actions": []}
    everything = [name for found in names.values() for name in found]
    story = Story(
        config={},
        description={"rpo": {"measure": "score"}},
        rounds=(bare | first, bare | second),
        versions=versions,
        best="b",
        episodes={name: played(name, name.rpartition("/")[2]) for name in everything},
        reflections={"r": reflection},
        played={(version, str(number)): f"{version}/{number}" for version in "ab" for number in range(40)},
    )
    later, start = round_sections(story)
    assert (start.count("class=episode"), later.count("class=episode")) == (12 + 2, 12 + 2 + 12 + 1)
    assert start.count("and 26 more in episodes.jsonl") == later.count("and 26 more in episodes.jsonl") == 1
    assert later.count("and 27 more in episodes.jsonl") == 1
    assert "Validation episodes: 40 of 40 solved" in later
    links = Links()
    links.feed(start + later)
    assert links.targets == {"#e-a_2f_38", "#e-b_2f_38", "#e-a_2f_39", "#e-b_2f_39", "#e-train_2f_20"}
    assert {target[1:] for target in links.targets} <= links.ids
    assert later.count(f"type[{{&quot;text&quot;: &quot;{'x' * 490} [...]]</code>") == 27


def test_texts_of_models_cannot_become_markup(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    for name in ("episodes.jsonl", "reflections.jsonl", "events.jsonl", "principles.json"):
        content = (folder / name).read_text()
        content = (
            content.replace("All went well", ATTACK)
            .replace("Begin with it", ATTACK)
            .replace("Greenhouse", ATTACK)
        )
        (folder / name).write_text(content)
    links = read(write_history(folder))
    assert links.scripts == 1
    assert links.outside == {"data:,"}


def test_a_run_in_progress_has_a_page_too(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (folder / "results.json").unlink()
    lines = (folder / "episodes.jsonl").read_text().splitlines(True)
    (folder / "episodes.jsonl").write_text("".join(lines[:8]) + lines[8][:40])  # a crash while writing
    assert read(write_history(folder)).ids


def test_a_run_whose_first_round_has_not_ended_is_refused_in_one_line(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "young"
    shutil.copytree(run, folder)
    (folder / "results.json").unlink()
    lines = (folder / "events.jsonl").read_text().splitlines(True)
    (folder / "events.jsonl").write_text("".join(lines[:5]))
    with pytest.raises(InputError) as caught:
        write_history(folder)
    assert str(caught.value) == (
        f"{folder}: no round has ended yet; wait for round 0, or start the run again to go on"
    )


def test_the_command_remakes_the_page_and_refuses_another_folder(run: Path, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    before = (run / "history.html").read_bytes()
    (run / "history.html").unlink()
    command = [sys.executable, "-m", "scripts.history"]
    subprocess.run([*command, str(run)], cwd=root, check=True, capture_output=True, timeout=60)
    assert (run / "history.html").read_bytes() == before
    done = subprocess.run(
        [*command, str(tmp_path)], cwd=root, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_a_version_without_reflections_behind_it_was_not_there_from_the_start(run: Path) -> None:
    """GEPA keeps none."""
    story = read_story(run)
    bare = {name: {**row, "evidence": []} for name, row in story.versions.items()}
    text = re.sub(r"<[^>]+>", "", principles_now(replace(story, versions=bare)))
    assert "First written in round 1 (accepted) by optimizer/round-001/optimize" in text
    assert "There from the start" not in text

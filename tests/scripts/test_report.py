"""The page and card of a run: what they say, what is said of damage, and that no text becomes markup; no model."""

import json
import re
import shutil
from pathlib import Path

import pytest

from scripts.comparing import compare_arms
from scripts.curves import Curve, Panel, Point
from scripts.folders import Kind, kind_of
from scripts.learning import learn
from scripts.line_chart import Frame, figure, powers, short, ticks
from scripts.page import fill
from scripts.report import main
from tests.scripts.clerk import EVALUATED, configuration
from tests.scripts.run_folders import ATTACK, training
from tests.scripts.test_history import read


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished smoke run of RPO, `learned`, and the evaluation after it, `compared`."""
    folder = tmp_path_factory.mktemp("agents")
    learn(configuration("optimize_pract", "experiment=pract/smoke", f"output_dir={folder}/learned"))
    principles = f"principles={folder}/learned/principles.json"
    compare_arms(configuration("evaluate_pract", *EVALUATED, f"output_dir={folder}/compared", principles))
    return folder


def evaluation(path: Path) -> Path:
    """An evaluation of a model on two examples, one right; the graders disagree on the other."""
    path.mkdir(parents=True)
    config = {
        "name": "evaluate", "seed": 0, "split": "validation", "task": {"name": "sums"}, "model": {"path": "best"},
        "evaluation": {"max_tokens": 16, "majority": 2, "temperature": 1.0},
    }  # fmt: skip
    (path / "config.yaml").write_text(json.dumps(config))
    found = {"extracted": "4", "correct": True}
    items = [
        {"id": id, "prompt": f"{id}? {ATTACK}", "gold": "4", "output": f"It is {right}. {ATTACK}", "finished": True,
         "tokens": 4, "greedy": {"exact": {"extracted": ATTACK, "correct": right}, "loose": found}, "choices": {},
         "samples": ["4", ATTACK], "majority": {"exact": found},
         "log_answer": {"own": -1.0, "none": -3.0, "other": -4.0}, "rationale_ids": [1]}
        for id, right in (("a", True), ("b", False))
    ]  # fmt: skip
    (path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in items))
    (path / "disagreements.jsonl").write_text('{"id": "b"}\n')
    outcome = {
        "results": {"sums": {"accuracy_greedy,exact": 0.5, "unfinished,none": 0.25}},
        "intervals_95": {"sums": {"accuracy_greedy,exact": [0.095, 0.905]}}, "left_out": 0, "git_hash": "c0ffee",
        "versions": {"sums": "1"}, "n-samples": {"sums": {"original": 9, "effective": 2}}, "split": "validation",
        "main_metric": {"sums": "accuracy_greedy,exact"}, "config": config, "total_evaluation_time_seconds": "7.2",
    }  # fmt: skip
    (path / "results.json").write_text(json.dumps(outcome))
    return path


def text_of(page: Path) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page.read_text(encoding="utf-8")).split())


def test_a_training_shows_curves_warnings_questions_samples_and_graders(tmp_path: Path) -> None:
    folder = training(tmp_path / "run")
    assert main([str(folder)]) == 0
    page, text = (folder / "report.html").read_text(), text_of(folder / "report.html")
    assert "validation accuracy, start → best (n=2) 50.0% → 100.0%" in text
    assert page.count("<figure class=plot>") == 7
    assert "step 3 it is odd" in text
    assert "became right" in page
    assert "steps 4 to 8" not in text  # the outputs differ
    assert "step 4 ✓ right best checkpoint 4 tokens" in text
    behind = "without rationale −3.00, with the gold one −1.25, with another's −2.50"
    assert f"log π(gold answer) −1.50 nats (chance 22%), {behind}" in text
    assert "log π(answer), gold rationale −1.25" in text
    assert "reward −1.00 answer −1.00 log-ratio 0.10" in text
    assert "accuracy, exact 0.500 [0.095, 0.905] 1.000 [0.342, 1.000] 1.000 [0.342, 1.000]" in text
    assert (folder / "curves.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_seeds_of_one_setting_make_one_page_with_bands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [training(tmp_path / f"seed_{seed}", seed) for seed in range(3)]
    assert main([*map(str, folders)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "report.html")
    page, text = (tmp_path / "report.html").read_text(), text_of(tmp_path / "report.html")
    assert page.count("<polygon") > 4
    assert "seeds 0, 1, 2" in text
    assert "95% intervals over 3 seeds" in text
    unlucky = folders[0] / "validation.jsonl"
    unlucky.write_text(
        unlucky.read_text().replace('"correct": {"exact": true}', '"correct": {"exact": false}')
    )
    assert main([*map(str, folders)]) == 0
    assert "accuracy, exact 0.333 [0.000, 1.000] 0.667 [0.000, 1.000]" in text_of(tmp_path / "report.html")
    capsys.readouterr()
    other = training(tmp_path / "other", 3, objective={"kl_weight": 0.1})
    assert main([str(folders[0]), str(other)]) == 2
    assert "differ in objective.kl_weight: no page over seeds can be made" in capsys.readouterr().err


def test_an_unfinished_training_is_shown_as_what_it_is(tmp_path: Path) -> None:
    folder = training(tmp_path / "run", steps=6, finished=False)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "rew')  # a crash while writing
    assert main([str(folder)]) == 0
    assert "Not finished: 6 of 8 steps are done." in text_of(folder / "report.html")
    begun = tmp_path / "begun"
    begun.mkdir()
    shutil.copy(folder / "config.yaml", begun)
    assert main([str(begun)]) == 0
    assert "No step has been done yet." in text_of(begun / "report.html")


def test_a_diverged_training_has_a_page_of_what_is_finite(tmp_path: Path) -> None:
    folder = training(tmp_path / "run")
    for name in ("metrics", "samples", "validation"):
        path = folder / f"{name}.jsonl"
        path.write_text(path.read_text().replace('"kl": 1.0', '"kl": NaN').replace("-1.0", "-Infinity"))
    assert "NaN" in (folder / "metrics.jsonl").read_text()
    assert "Infinity" in (folder / "validation.jsonl").read_text()
    assert main([str(folder)]) == 0
    pictures = re.findall(r"<svg .*?</svg>", (folder / "report.html").read_text(), flags=re.DOTALL)
    assert len(pictures) == 7
    assert not re.search(r'="[^"]*\b(nan|inf)\b', "".join(pictures))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("empty", "run is empty: no run was begun in it"),
        ("gone", "run: there is no such folder"),
        ("strange", "run holds no config.yaml"),
        ("config.yaml", "config.yaml: damaged or cut off"),
        ("metrics.jsonl", "metrics.jsonl, line 6: damaged or cut off"),
        ("samples.jsonl", "samples.jsonl ends at step 4 of 8: damaged or cut off"),
        ("validation.jsonl", "validation.jsonl holds 1 rows, and results.json tells of 2"),
        ("results.json", "results.json: damaged or cut off"),
    ],
)
def test_what_is_no_run_or_cut_in_half_is_one_line(
    damage: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = training(tmp_path / "run")
    if damage in ("empty", "gone", "strange"):
        shutil.rmtree(folder)
        if damage != "gone":
            folder.mkdir()
        if damage == "strange":
            (folder / "notes.txt").write_text("mine")
    else:
        whole = (folder / damage).read_bytes()
        (folder / damage).write_bytes(whole[: len(whole) // 2])
    assert main([str(folder)]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert not (folder / "report.html").exists()


def test_an_evaluation_shows_graders_and_outputs_and_has_a_card(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "run")
    assert kind_of(folder) is Kind.EVALUATION
    assert main([str(folder)]) == 0
    text = text_of(folder / "report.html")
    assert "accuracy, greedy (n=2) 50.0%" in text
    assert "own rationale over none +2.00 nats" in text
    assert "accuracy greedy, exact 0.500 [0.095, 0.905] 2" in text
    assert 'label="graders disagree: 1 of 2"' in (folder / "report.html").read_text()
    card = (folder / "card.md").read_text()
    for said in (
        "| split | validation: 2 of 9 examples |",
        "| graders | exact; main: exact |",
        "| decoding | greedy, at most 16 tokens, maj@2 at temperature 1.0 |",
        "| accuracy_greedy, exact | 0.500 | [0.095, 0.905] |",
        "- 25% of the outputs were cut off at the token limit.",
        "- The split is validation: what was trained or chosen on it is flattered by these figures.",
        "- The graders disagree on 1 examples, see `disagreements.jsonl`.",
    ):
        assert said in card


def test_runs_of_agents_leave_page_and_card(agents: Path) -> None:
    learned, compared = agents / "learned", agents / "compared"
    text = text_of(learned / "report.html")
    assert "0.33 → 0.83" in text
    assert "role calls tokens in of these cached tokens out model time cost agent" in text
    assert "reflector" in text
    assert "Round 1" in text
    card = (learned / "card.md").read_text()
    assert "| method | Reward-RPO, batch |" in card
    assert "the very tasks counted here; quote evaluate_pract." in card
    assert "- **finish**: Finish only after an observation has shown the answer" in card
    text = text_of(compared / "report.html")
    assert "arms differ" in (compared / "report.html").read_text()
    assert "comparisons" in text
    card = (compared / "card.md").read_text()
    assert "- learned − act: score +0.750" in card
    assert "The replies came from a recording" in card
    outcomes = [json.loads(line) for line in (compared / "outcomes.jsonl").read_text().splitlines()]
    assert outcomes[0]["instruction"].startswith("Please delete the overdue tasks.")
    assert outcomes[0]["answer"] == 'finish[{"answer": "done"}]'


def test_an_evaluation_of_agents_on_its_way_has_a_page(agents: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(agents / "compared", folder)
    (folder / "results.json").unlink()
    rows = (folder / "outcomes.jsonl").read_text().splitlines(True)
    (folder / "outcomes.jsonl").write_text("".join(rows[:3]) + rows[3][:20])
    (folder / "card.md").unlink()
    assert main([str(folder)]) == 0
    assert "Not finished." in text_of(folder / "report.html")
    assert not (folder / "card.md").exists()


def test_an_evaluation_whose_second_arm_has_nothing_that_counts_has_a_page(
    agents: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(agents / "compared", folder)
    rows = [json.loads(line) for line in (folder / "outcomes.jsonl").read_text().splitlines()]
    unlucky = {row["arm"] for row in rows} - {rows[0]["arm"]}
    assert unlucky
    told = [row | {"counts": row["arm"] not in unlucky} for row in rows]
    (folder / "outcomes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told))
    assert main([str(folder)]) == 0
    assert "paired by task" not in text_of(folder / "report.html")


def test_no_text_of_a_model_or_a_dataset_becomes_markup(agents: Path, tmp_path: Path) -> None:
    pages = [training(tmp_path / "training"), evaluation(tmp_path / "evaluation")]
    for name in ("learned", "compared"):
        shutil.copytree(agents / name, tmp_path / name)
        pages.append(tmp_path / name)
        for path in (tmp_path / name).glob("*.json*"):
            if path.name in ("environment.json", "results.json"):
                continue
            attacked = path.read_text()
            for word in ("All went well", "Begin with it", "Please delete", "Greenhouse"):
                attacked = attacked.replace(word, ATTACK)
            path.write_text(attacked)
    assert main([*map(str, pages)]) == 0
    for folder in pages:
        links = read(folder / "report.html")
        assert links.scripts == 1, folder
        assert links.outside == {"data:,"}, folder
        assert "&lt;script&gt;alert(&#x27;gotcha" in (folder / "report.html").read_text(), folder
        assert {target[1:] for target in links.targets} <= links.ids, folder


def test_a_title_that_holds_the_mark_of_the_body_does_not_swallow_it() -> None:
    page = fill("run {{body}}", ["<p>what was seen</p>"])
    assert page.count("what was seen") == 1
    assert "<title>run {{body}}</title>" in page


def test_a_run_of_another_kind_of_project_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text("trainer: {epochs: 3}\n")
    assert main([str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert f"{tmp_path}: damaged, or of another version of this project (KeyError" in told
    assert told.count("\n") == 1


def test_a_band_that_reaches_zero_is_drawn_on_a_plain_axis() -> None:
    points = (Point(x=0.0, y=1.0, low=0.0, high=2.0), Point(x=1.0, y=10.0, low=5.0, high=20.0))
    panel = Panel(title="norm", unit="", curves=(Curve(label="a", points=points),), logarithmic=True)
    assert not Frame(panel).logarithmic
    assert "<svg" in figure(panel)


def test_ticks_are_round_and_short() -> None:
    assert ticks(0.0, 150.0, 6) == [0.0, 50.0, 100.0, 150.0]
    assert ticks(-1.5, 0.1, 5) == [-1.5, -1.0, -0.5, 0.0]
    assert ticks(0, 4, 6, whole=True) == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert ticks(3, 3, 5) == [3]
    assert powers(0.5, 3.5) == [10, 100, 1000]
    assert powers(0.6, 1.1) == [5, 10]  # one power of ten alone would be no scale
    assert [short(value) for value in (0.0, -0.25, 12500.0, 2.5e6, 0.0001)] == [
        "0",
        "−0.25",
        "12.5k",
        "2.5M",
        "1e−4",
    ]

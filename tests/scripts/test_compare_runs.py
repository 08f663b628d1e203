"""Runs compared, from folders written by hand; no model."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from latro.errors import InputError
from scripts.compare_runs import _short, main, settings_of
from scripts.comparison_tables import latex
from scripts.contrasts import Contrast, contrasts
from scripts.sheets import read_sheets
from tests.scripts.run_folders import agents, episode, evaluation, item, write_rows
from tests.scripts.test_history import read


def compared(*arguments: Path | str, metrics: tuple[str, ...] = ()) -> dict[str, Contrast]:
    """Contrasts by measure; of several settings the last."""
    found = contrasts(settings_of([str(argument) for argument in arguments]), metrics)
    return {contrast.measure: contrast for contrast in found}


def test_accuracies_and_likelihoods_are_compared_in_pairs(tmp_path: Path) -> None:
    found = compared(
        evaluation(tmp_path / "a", "0000001110"), evaluation(tmp_path / "b", "1111110110", own=-0.5)
    )
    accuracy = found["accuracy_greedy,exact"]
    assert (accuracy.before, accuracy.after, accuracy.won, accuracy.lost) == (0.3, 0.8, 6, 1)
    assert accuracy.p == pytest.approx(2 * (1 + 7) / 2**7)
    assert accuracy.difference.value == 0.5
    assert (round(accuracy.difference.low, 3), round(accuracy.difference.high, 3)) == (-0.013, 0.846)
    assert [flip.id for flip in accuracy.flips if flip.after < flip.before] == ["6"]
    own = found["logp_answer,own_rationale"]
    assert (own.before, own.after, own.difference.value, own.test) == (-5.5, -2.75, 2.75, "sign flip")
    assert own.p == pytest.approx(2 / 2**10)
    assert round(own.difference.low, 3) == 1.667
    assert found["logp_answer,other_rationale"].p == 1.0
    # Four measures: own is multiplied by 4, accuracy by 3, the rest is held at 1.
    assert (own.adjusted, accuracy.adjusted) == pytest.approx((8 / 2**10, 3 * 16 / 2**7))
    assert (own.survives, accuracy.survives) == (True, False)


def test_an_interval_is_printed_as_fine_as_its_change(tmp_path: Path, capsys) -> None:
    rights = (("a", "0000001110"), ("b", "1111110110"))
    folders = [str(evaluation(tmp_path / name, right)) for name, right in rights]
    assert main([*folders, "--metric", "accuracy"]) == 0
    assert "0.300 0.800 +0.500 [-0.013,+0.846] 6 1" in " ".join(capsys.readouterr().out.split())


def test_gold_rationales_are_compared_where_both_sides_have_them(tmp_path: Path) -> None:
    def golden(name: str, gold: float) -> Path:
        folder = evaluation(tmp_path / name, "0011")
        rows = [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]
        write_rows(
            folder / "items.jsonl", [r | {"log_answer": r["log_answer"] | {"gold": gold}} for r in rows]
        )
        return folder

    without, one, other = evaluation(tmp_path / "without", "0011"), golden("one", -2.0), golden("other", -1.5)
    assert compared(one, other)["logp_answer,gold_rationale"].difference.value == 0.5
    assert "logp_answer,gold_rationale" not in compared(one, without)
    assert "logp_answer,own_rationale" in compared(without, one)


def test_twenty_random_tables_agree_with_scipy_and_statsmodels(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for case in range(20):
        n = int(draw.integers(12, 60))
        old, new = draw.random(n) < draw.random(), draw.random(n) < draw.random()
        logs = draw.normal(-3, 1, (2, n))
        folders = []
        for side, right, log in (("a", old, logs[0]), ("b", new, logs[1])):
            folder = evaluation(tmp_path / f"{case}{side}", "0" * n)
            rows = [item(str(i), bool(right[i]), float(log[i])) for i in range(n)]
            write_rows(folder / "items.jsonl", rows)
            folders.append(folder)
        found = compared(*folders)
        accuracy, own = found["accuracy_greedy,exact"], found["logp_answer,own_rationale"]
        table = [[(new & old).sum(), (new & ~old).sum()], [(~new & old).sum(), (~new & ~old).sum()]]
        assert accuracy.p == pytest.approx(mcnemar(table, exact=True).pvalue, abs=1e-9)
        assert accuracy.difference.value == pytest.approx(new.mean() - old.mean(), abs=1e-9)
        interval = scipy_stats.ttest_rel(logs[1], logs[0]).confidence_interval()
        assert (own.difference.low, own.difference.high) == pytest.approx(tuple(interval), abs=1e-9)
        again = scipy_stats.permutation_test(
            (logs[1] - logs[0],),
            np.sum,
            permutation_type="samples",
            vectorized=True,
            rng=np.random.default_rng(0),
        )
        assert own.p == pytest.approx(again.pvalue, abs=1e-9)
        adjusted = multipletests([contrast.p for contrast in found.values()], method="holm")[1]
        assert [contrast.adjusted for contrast in found.values()] == pytest.approx(adjusted, abs=1e-9)


def test_rows_are_paired_by_id_whatever_their_order(tmp_path: Path) -> None:
    before, after = evaluation(tmp_path / "a", "0011"), evaluation(tmp_path / "b", "0011")
    lines = (after / "items.jsonl").read_text().splitlines(True)
    (after / "items.jsonl").write_text("".join(reversed(lines)))
    accuracy = compared(before, after)["accuracy_greedy,exact"]
    assert (accuracy.won, accuracy.lost, accuracy.p) == (0, 0, 1.0)
    assert accuracy.difference.low < 0 < accuracy.difference.high


def test_seeds_are_clusters(tmp_path: Path) -> None:
    for seed, (old, new) in enumerate(
        [("0000011111", "0001111111"), ("0000001111", "1000111111"), ("0100011111", "0111111011")]
    ):
        evaluation(tmp_path / f"a/seed_{seed}", old, seed=seed)
        evaluation(tmp_path / f"b/seed_{seed}", new, seed=seed)
    found = compared(f"{tmp_path}/a/*", f"{tmp_path}/b/*", metrics=("accuracy",))
    (accuracy,) = found.values()
    assert (accuracy.test, accuracy.seeds, accuracy.setting) == ("seeds and items", (3, 3), "b/*")
    assert (accuracy.before, accuracy.after) == (pytest.approx(0.5), pytest.approx(22 / 30))
    names = ",".join(f"{tmp_path}/a/seed_{seed}" for seed in (2, 0, 1))
    assert compared(names, f"{tmp_path}/b/*", metrics=("accuracy",))["accuracy_greedy,exact"].p == accuracy.p
    one = compared(f"{tmp_path}/a/seed_0", f"{tmp_path}/b/*", metrics=("accuracy",))["accuracy_greedy,exact"]
    assert (one.seeds, one.before, one.test) == ((3, 1), 0.5, "seeds and items")


def test_a_side_of_one_run_against_several_seeds_is_said_to_be_taken_as_it_is(tmp_path: Path, capsys) -> None:
    evaluation(tmp_path / "a/seed_0", "00000111")
    for seed, right in enumerate(("00011111", "00001111")):
        evaluation(tmp_path / f"b/seed_{seed}", right, seed=seed)
    said = "A side of one run is taken as it is: the spread of its seed is not counted."
    for sides, told in (("a/*", "b/*"), True), (("b/*", "a/*"), True), (("b/seed_0", "b/seed_1"), False):
        out = tmp_path / "out"
        assert main([*(f"{tmp_path}/{side}" for side in sides), "--out", str(out)]) == 0
        printed = " ".join(capsys.readouterr().out.split())
        page = (out / "comparison.html").read_text()
        assert (said in printed, said in page, said in (out / "comparison.tex").read_text()) == (told,) * 3


def test_seeds_that_are_all_alike_are_no_proof(tmp_path: Path) -> None:
    for seed in range(3):
        evaluation(tmp_path / f"a/seed_{seed}", "1111", seed=seed)
        evaluation(tmp_path / f"b/seed_{seed}", "1111", seed=seed)
    accuracy = compared(f"{tmp_path}/a/*", f"{tmp_path}/b/*")["accuracy_greedy,exact"]
    assert (accuracy.p, accuracy.difference.value) == (1.0, 0.0)
    assert accuracy.difference.low < -0.3
    assert accuracy.detectable > 0.3


def test_copies_of_a_run_are_no_further_evidence(tmp_path: Path, capsys) -> None:
    for copy in ("x", "y", "z"):
        evaluation(tmp_path / f"a/{copy}", "0000011111", seed=0)
        evaluation(tmp_path / f"b/{copy}", "1111111111", seed=0)
    accuracy = compared(f"{tmp_path}/a/*", f"{tmp_path}/b/*")["accuracy_greedy,exact"]
    assert (accuracy.test, accuracy.p) == ("McNemar, exact", 2 / 2**5)
    assert main([f"{tmp_path}/a/*", f"{tmp_path}/b/*"]) == 0
    assert (
        "a/* has several runs of seed 0: copies of a run are no further evidence" in capsys.readouterr().err
    )


def test_checkpoints_that_were_evaluated_under_one_seed_are_no_copies(tmp_path: Path, capsys) -> None:
    for place, right in (("a/0", "0011"), ("b/0", "0111"), ("b/1", "1011"), ("c/0", "0111"), ("c/1", "0111")):
        evaluation(tmp_path / place, right, seed=0)
    assert main([f"{tmp_path}/{side}" for side in ("a/0", "b/*", "c/*")]) == 0
    warned = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert warned == [
        "warning: b/* has unlike runs that were evaluated under one seed, 0: they are not paired with another "
        "setting's by seed; evaluate each under its own for that",
        "warning: c/* has several runs of seed 0: copies of a run are no further evidence",
    ]


def test_copies_of_a_run_on_one_side_are_one_run(tmp_path: Path) -> None:
    for copy in ("x", "y", "z"):
        evaluation(tmp_path / f"a/{copy}", "1" * 20 + "0" * 30, seed=0)
    for seed, right in enumerate((25, 28, 31)):
        evaluation(tmp_path / f"b/{seed}", "1" * right + "0" * (50 - right), seed=seed)
    for sides, sign in (("a/x", "b/*"), 1), (("a/*", "b/*"), 1), (("b/*", "a/*"), -1):
        found = compared(*(f"{tmp_path}/{side}" for side in sides), metrics=("accuracy",))
        gap = found["accuracy_greedy,exact"].difference
        assert gap.value == pytest.approx(0.16 * sign)
        bounds = sorted((sign * gap.low, sign * gap.high))
        assert [round(bound, 3) for bound in bounds] == [-0.003, 0.323]  # not [0.033, 0.287]


def test_less_than_six_scores_find_nothing(tmp_path: Path) -> None:
    five = compared(evaluation(tmp_path / "a", "00000"), evaluation(tmp_path / "b", "00000", own=-0.5))
    assert five["logp_answer,own_rationale"].detectable == np.inf


def test_names_that_look_like_markup_are_printed_as_they_are(tmp_path: Path, capsys) -> None:
    folders = [tmp_path / "lr=[red]", tmp_path / "x[b]"]
    for folder, right in zip(folders, (False, True), strict=True):
        write_rows(evaluation(folder, "0") / "items.jsonl", [item("q[/INST]0", right, -1.0)])
    assert main([*map(str, folders), "--metric", "accuracy"]) == 0
    printed = capsys.readouterr().out
    assert "x[b] \nagainst lr=[red] \n" in re.sub(" +", " ", printed)
    assert "won in accuracy greedy, exact: q[/INST]0\n" in printed


def test_a_value_that_is_no_number_is_refused_by_name(tmp_path: Path, capsys) -> None:
    folders = [str(evaluation(tmp_path / name, "01")) for name in "ab"]
    write_rows(tmp_path / "b/items.jsonl", [item("0", True, float("nan")), item("1", True, -1.0)])
    assert main(folders) == 2
    assert f"{folders[1]}: logp_answer,own_rationale of 0 is nan" in capsys.readouterr().err
    assert main([*folders, "--metric", "accuracy"]) == 0


def test_where_nothing_can_be_written_is_said_before_all_else(tmp_path: Path, capsys) -> None:
    folders = [str(evaluation(tmp_path / name, "01")) for name in "ab"]
    (tmp_path / "file").touch()
    assert main([*folders, "--out", f"{tmp_path}/file/x"]) == 2
    printed = capsys.readouterr()
    assert printed.err == (
        f"error: --out={tmp_path}/file/x: {tmp_path}/file is a file; choose another --out\n"
    )
    assert printed.out == ""


def test_scores_that_are_all_zero_or_one_are_right_and_wrong(tmp_path: Path) -> None:
    for seed in range(2):
        config = {"seed": seed, "attempts": 1}
        for name, score in (("a", 0.0), ("b", 1.0)):
            rows = {"act": [episode("act", f"t{i}", score) for i in range(2)]}
            agents(tmp_path / f"{name}/seed_{seed}", rows, config=config)
    for folders in (("a/seed_0", "b/seed_0"), ("a/*", "b/*")):
        score = compared(*(f"{tmp_path}/{folder}" for folder in folders))["score"]
        assert (score.kind, score.test, score.p, score.survives) == ("right", "McNemar, exact", 0.5, False)
        assert (round(score.difference.low, 3), score.difference.high) == (-0.349, 1.0)
        assert score.detectable > 0.5


def test_scores_without_spread_have_no_bounds_and_prove_nothing(tmp_path: Path, capsys) -> None:
    for seed in range(2):
        for name, score in (("a", 0.5), ("b", 0.51)):
            rows = {"act": [episode("act", "t0", score)]}
            agents(tmp_path / f"{name}/seed_{seed}", rows, config={"seed": seed, "attempts": 1})
    sides = f"{tmp_path}/a/*", f"{tmp_path}/b/*"
    score = compared(*sides)["score"]
    assert (score.test, score.p, score.survives) == ("sign flip", 1.0, False)
    assert (score.difference.low, score.detectable) == (-np.inf, np.inf)
    assert main([*sides, "--metric", "score", "--out", str(tmp_path / "out")]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("score"))
    assert line.split() == ["score", "0.500", "0.510", "+0.010", "unbounded", "1", "0", "1.000", "1.000", "–"]
    with (tmp_path / "out/comparison.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["low"], row["high"], row["detectable"], row["p"]) == ("", "", "", "1.0")
    for name in ("comparison.tex", "comparison.html"):
        assert "unbounded" in (tmp_path / "out" / name).read_text()
    still = compared(f"{tmp_path}/a/seed_0", f"{tmp_path}/a/seed_1")["score"]
    assert (still.p, still.difference.low, still.detectable) == (1.0, -np.inf, np.inf)


def test_intervals_of_scores_end_at_one(tmp_path: Path) -> None:
    old, new = (
        agents(tmp_path / name, {"act": [episode("act", f"t{i}", score) for i, score in enumerate(scores)]})
        for name, scores in (("a", (0.0, 0.0, 0.3)), ("b", (1.0, 1.0, 0.9)))
    )
    gap = compared(old, new)["score"].difference
    assert (round(gap.low, 3), gap.high) == (0.293, 1.0)


def test_arms_of_one_evaluation_are_compared_with_the_first(tmp_path: Path) -> None:
    scores = {"act": [0, 0, 0.5, 0], "react": [0, 1, 0.5, 1], "learned": [1, 1, 1, 1]}
    arms = {arm: [episode(arm, f"t{i}", s) for i, s in enumerate(row)] for arm, row in scores.items()}
    arms["learned"][0]["counts"] = False  # the server failed
    found = contrasts(settings_of([str(agents(tmp_path / "run", arms))]))
    by = {(contrast.setting, contrast.measure): contrast for contrast in found}
    assert {contrast.base for contrast in found} == {"act"}
    assert by["react", "score"].difference.value == 0.5
    assert (by["react", "score"].test, by["react", "success"].test) == ("sign flip", "McNemar, exact")
    learned = by["learned", "score"]
    assert (learned.before, learned.after, learned.difference.n, learned.only_one_side) == (
        pytest.approx(1 / 6),
        1,
        3,
        1,
    )


def test_attempts_make_pass_hat_k_and_arms_of_two_runs_are_named(tmp_path: Path) -> None:
    def played(arm: str, *solved: int) -> list[dict]:
        return [episode(arm, f"t{i}", float(n > a), a) for i, n in enumerate(solved) for a in range(3)]

    one = agents(tmp_path / "one", {"act": played("act", 0, 1, 3), "react": played("react", 3, 3, 3)})
    two = agents(tmp_path / "two", {"act": played("act", 2, 2, 3)})
    found = compared(f"{one}:act", two)
    assert found["success"].kind == "score"
    assert (found["pass^2"].before, found["pass^2"].after) == pytest.approx((1 / 3, (1 / 3 + 1 / 3 + 1) / 3))
    assert (found["pass^3"].before, found["pass^3"].after) == pytest.approx((1 / 3, 1 / 3))
    with pytest.raises(
        InputError, match="take one arm of each, as FOLDER:ARM; there are one: act, react; two: act"
    ):
        compared(one, two)
    with pytest.raises(InputError, match="has no arm 'plan'"):
        compared(f"{one}:plan", two)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"versions": {"sums": "2"}}, "differ in version: 1 and 2"),
        ({"split": "validation"}, "differ in split: test and validation"),
        ({"right": "011"}, "differ in 1 items, the first 3, which only .*a has"),
        ({"greedy": {"paper": {"extracted": "4", "correct": True}}}, "differ in graders: .*exact.*paper"),
        ({"prompt": "other?"}, "differ in the prompt of 0"),
    ],
)
def test_unlike_evaluations_are_refused(change, words, tmp_path: Path) -> None:
    before = evaluation(tmp_path / "a", "0110")
    outcome = {key: value for key, value in change.items() if key in ("versions", "split")}
    counts = {"n-samples": {"sums": {"effective": 4}}} if outcome else {}
    after = evaluation(tmp_path / "b", change.get("right", "0110"), **outcome, **counts)
    rows = [json.loads(line) for line in (after / "items.jsonl").read_text().splitlines()]
    for row in rows:
        row |= {key: value for key, value in change.items() if key in ("greedy", "prompt")}
    write_rows(after / "items.jsonl", rows)
    with pytest.raises(InputError, match=words):
        compared(before, after)


def test_another_environments_content_is_refused(tmp_path: Path) -> None:
    arms = {"act": [episode("act", "t0", 1.0)]}
    one, two = agents(tmp_path / "a", arms), agents(tmp_path / "b", arms, content_hash={"todo": "beef"})
    with pytest.raises(InputError, match=r"a:act and .*b:act differ in content hash: c0ffee and beef"):
        compared(one, two)


def test_unlike_agents_and_models_are_told(tmp_path: Path, capsys) -> None:
    arms = {"act": [episode("act", f"t{i}", i % 2) for i in range(4)]}

    def run(name: str, model: str, style: str, wording: str, **settings: object) -> Path:
        agent = {"style": style, "wording": {"act": wording}, **settings}
        config = {"seed": 0, "attempts": 1, "llm": {"model": model}}
        return agents(tmp_path / name, arms, config=config, agents={"act": {"settings": agent}})

    one = run("one", "small", "act", "Do it. " * 40, max_steps=7, temperature=0.0)
    two = run("two", "large", "react", "Do it. " * 41, max_steps=20, temperature=0.0)
    old = agents(tmp_path / "old", arms)
    assert main([str(one), str(two), str(old)]) == 0
    told = [line.partition(" differ in ")[2] for line in capsys.readouterr().err.splitlines()]
    shown = " ".join(["Do it."] * 15)[:100]
    assert told == [
        "model: small and large", f"agent.wording.act: {shown} ... and {shown} ...", "agent.max_steps: 7 and 20",
    ]  # fmt: skip


def test_a_run_that_was_stopped_is_refused_but_its_page_may_read_it(tmp_path: Path) -> None:
    arms = {"act": [episode("act", "t0", 1.0)]}
    whole = agents(tmp_path / "a", arms)
    stopped = agents(tmp_path / "b", arms, stopped="budget: calls: budget.calls=13 is spent")
    with pytest.raises(InputError, match=r"b was stopped \(budget: calls: .*\): the run is not finished"):
        compared(whole, stopped)
    assert [sheet.arm for sheet in read_sheets(stopped, partial=True)] == ["act"]


def damage(folder: Path, how: str) -> None:
    results, items = folder / "results.json", folder / "items.jsonl"
    if how == "half results":
        results.write_text(results.read_text()[:40])
    if how == "half a row":
        items.write_text(items.read_text()[:-40])
    if how == "rows missing":
        items.write_text("".join(items.read_text().splitlines(True)[:2]))
    if how in ("empty", "unfinished", "gone"):
        shutil.rmtree(folder)
        if how != "gone":
            folder.mkdir()
        if how == "unfinished":
            items.write_text("")


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ("half results", "b/results.json: damaged or cut off (Unterminated"),
        ("half a row", "b/items.jsonl, line 4: damaged or cut off; start it again"),
        ("rows missing", "b/items.jsonl holds 2 rows, and results.json tells of 4; start it again"),
        ("empty", "b is empty; give the folder of a finished run"),
        ("unfinished", "b holds no results.json: the run is not finished"),
        ("gone", "b: there is no such folder"),
    ],
)
def test_damaged_runs_end_in_one_line(how: str, line: str, tmp_path: Path, capsys) -> None:
    before, after = evaluation(tmp_path / "a", "0110"), evaluation(tmp_path / "b", "0111")
    damage(after, how)
    assert main([str(before), str(after)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert line in err


def test_bad_arguments_end_in_one_line(tmp_path: Path, capsys) -> None:
    run = evaluation(tmp_path / "a", "0110")
    for arguments, line in (
        ([run], "a is one run; name two runs"),
        ([run, f"{tmp_path}/b*"], "no folder is called so; quote the pattern"),
        ([run, run], "is named twice"),
        ([run, f"{run},{run}"], "a run is named twice"),
        (
            [run, evaluation(tmp_path / "c", "0110"), "--metric", "bleu"],
            "metric=bleu: no such metric; there are acc",
        ),
    ):
        assert main([str(argument) for argument in arguments]) == 2
        err = capsys.readouterr().err
        assert (err.count("\n"), line in err) == (1, True), err


@pytest.fixture
def written(tmp_path: Path, capsys) -> Path:
    """A comparison's files: twelve items, eleven of which became right, and one with hostile texts."""
    config = {"evaluation": {"max_tokens": 32}, "separator": "auto", "seed": 0}
    before = evaluation(tmp_path / "before_training", "000000000000")
    after = evaluation(tmp_path / "after_training", "111111111110", config=config)
    for folder in (before, after):
        content = (folder / "items.jsonl").read_text()
        (folder / "items.jsonl").write_text(content.replace('"3?"', '"<script>alert(1)</script>"'))
    assert main([str(before), str(after), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert "12 items; task sums, version 1, split test" in printed.out
    assert "differ in evaluation: {'max_tokens': 16} and {'max_tokens': 32}" in printed.err
    assert "won in accuracy greedy, exact: 0, 1, 2, 3, 4, 5, 6, 7 and 3 more" in printed.out
    return tmp_path / "out"


def test_csv_and_latex_hold_what_was_printed(written: Path) -> None:
    with (written / "comparison.csv").open() as file:
        first = next(csv.DictReader(file))
    assert (first["won"], first["lost"], first["survives"]) == ("11", "0", "True")
    assert float(first["p"]) == pytest.approx(2 / 2**11)
    assert float(first["p_holm"]) == pytest.approx(4 * 2 / 2**11)
    assert len((written / "flips.csv").read_text().splitlines()) == 12
    table = (written / "comparison.tex").read_text()
    assert "after\\_training & accuracy greedy, exact & 0.000 & 0.917 & $\\mathbf{+0.917}$" in table
    assert table.count("mathbf{+") == 1
    assert latex("a_b^2 50% {x}") == r"a\_b\textasciicircum{}2 50\% \{x\}"


def test_page_shows_both_outputs_and_asks_for_nothing(written: Path) -> None:
    page = (written / "comparison.html").read_text()
    links = read(written / "comparison.html")
    assert (links.outside, links.scripts) == ({"data:,"}, 1)
    assert "&lt;script&gt;alert(1)" in page
    assert page.count("<details class=episode>") == 11
    assert "It is 5." in page
    assert "It is 4." in page
    text = re.sub(r"<[^>]+>", " ", page)
    assert "1 of 4" in text
    assert page.count('class="gap up"') == 1


def test_a_settings_name_leaves_out_what_all_folders_share() -> None:
    seeds, pattern = "runs/a/seed_0,runs/a/seed_1", "runs/b/*"
    assert _short([seeds, pattern]) == {seeds: "a/{seed_0,seed_1}", pattern: "b/*"}
    assert _short(["runs/a", "runs/b,other/c"]) == {"runs/a": "runs/a", "runs/b,other/c": "runs/b,other/c"}
    assert _short(["runs/a"]) == {"runs/a": "runs/a"}

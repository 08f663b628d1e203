"""Comparing agents from the command line, on the bundled to-do list with the replayed clerk; no network."""

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pract.errors import InputError
from pract.evaluation import Outcome
from pract.llm.base import ChatError, ChatErrorKind
from pract.llm.scripted import ScriptedChat
from pract.types import ActionSpec, Status
from scripts import comparing
from scripts.arms import cast_arms
from scripts.casting import environment_factory
from scripts.compare_runs import settings_of
from scripts.comparing import compare_arms
from scripts.contrasts import contrasts
from scripts.learning import learn
from scripts.loopback import loopback
from scripts.outcomes import compare_pairs, estimates, pass_hat
from tests.pract.llm import bad_server
from tests.scripts.clerk import EVALUATED, configuration, recorder

SCRIPTED = ("env=todo", "agent=act", "llm=scripted", "limit=2")


@pytest.fixture(scope="module")
def principles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`principles.json` of a smoke run."""
    folder = tmp_path_factory.mktemp("learned") / "run"
    learn(configuration("optimize_pract", "experiment=pract/smoke", f"output_dir={folder}"))
    return folder / "principles.json"


def evaluation(folder: Path, *overrides: str) -> Any:
    return configuration("evaluate_pract", f"output_dir={folder}", *overrides)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def outcome(task: str, score: float, attempt: int = 0, status: Status = Status.FINISHED) -> Outcome:
    return Outcome(
        task=task, attempt=attempt, group=None, status=status, counts=status.counts, score=score, progress=score,
        success=score == 1, steps=3, refused=0, unread=0, prompt_tokens=90, completion_tokens=10, usd=0.0, seconds=0.0,
    )  # fmt: skip


def test_attempts_at_a_task_count_once_in_what_episodes_took() -> None:
    played = [
        replace(outcome(task, 1.0, attempt), steps=steps, refused=steps // 2, prompt_tokens=100 * steps)
        for task, steps in (("x", 2), ("y", 6))
        for attempt in range(3)
    ]
    found = estimates(played)
    assert [(found[name].value, found[name].n) for name in ("steps", "refused", "unread", "tokens")] == [
        (4.0, 2), (2.0, 2), (0.0, 2), (410.0, 2),
    ]  # fmt: skip
    assert found["steps"].high - 4 == pytest.approx(12.7062 * 2, abs=1e-3)  # Student's, one degree of freedom


def test_arms_are_paired_by_task_on_the_test_split(principles: Path, tmp_path: Path) -> None:
    results = compare_arms(evaluation(tmp_path / "run", *EVALUATED, f"principles={principles}"))
    assert results["split"] == "test"
    assert results["versions"] == {"todo": "2"}
    assert results["n-samples"]["todo"] == {
        arm: {"original": 4, "effective": 4} for arm in ("act", "react", "learned")
    }
    assert results["results"]["todo"]["score,react"] == 0.25
    assert results["results"]["todo"]["score,learned"] == 1.0
    pairs = {(*row["arms"], row["measure"]): row for row in results["paired"]}
    score, success = (pairs["learned", "react", measure] for measure in ("score", "success"))
    assert (score["value"], score["n"], len(score["won"])) == (0.75, 4, 3)
    assert pairs["react", "act", "score"]["value"] == 0.0
    assert success["mcnemar"] == {"won": 3, "lost": 0, "p": 0.25}
    assert results["agents"]["learned"]["principles"]["get_projects"].startswith("Begin with it")
    assert results["error_patterns"]["react"]["finish"] == {"insufficient calls": 3}
    arms = {(row["arm"], row["task"]) for row in rows(tmp_path / "run/outcomes.jsonl")}
    assert len(arms) == 12


def test_a_stopped_evaluation_is_partial_and_paired_and_goes_on(principles: Path, tmp_path: Path) -> None:
    common = (*EVALUATED, f"principles={principles}", "chunk=1", "concurrency=1")
    whole = compare_arms(evaluation(tmp_path / "whole", *common))
    stopped = compare_arms(evaluation(tmp_path / "run", *common, "budget.calls=13"))
    assert stopped["stopped"] == "budget: calls: budget.calls=13 is spent"
    assert stopped["cost"]["calls"] == 13
    resumed = compare_arms(evaluation(tmp_path / "run", *common))
    assert resumed["results"] == whole["results"]
    assert resumed["cost"]["calls"] == whole["cost"]["calls"]
    names = ("episodes.jsonl", "outcomes.jsonl")
    assert all(
        (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes() for name in names
    )
    with pytest.raises(
        InputError, match=r"holds a finished run; raise one of budget, retry_failed, limit, attempts"
    ):
        compare_arms(evaluation(tmp_path / "run", *common))


def test_requests_without_an_answer_on_record_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = '["get_movie_details[{\\"movie_id\\": \\"999\\"}]", "finish[{\\"answer\\": \\"?\\"}]"]'
    given = ("env=movie", "agent=act", "llm=scripted", f"llm.answers={asked}", "limit=2", "concurrency=1")
    results = compare_arms(
        evaluation(tmp_path / "run", *given, "~arms.initial", "~arms.learned", "~arms.react")
    )
    assert results["unrecorded"] == {"act": 2}
    assert results["versions"] == {"movie": "3-own"}
    assert "the environment's record had no answer to 2 requests" in " ".join(capsys.readouterr().out.split())


def test_more_tasks_and_attempts_can_be_asked_for_later(tmp_path: Path) -> None:
    arms = ("~arms.initial", "~arms.learned", "~arms.react")
    compare_arms(evaluation(tmp_path / "run", *SCRIPTED, *arms))
    before = rows(tmp_path / "run/outcomes.jsonl")
    results = compare_arms(evaluation(tmp_path / "run", *SCRIPTED[:3], "limit=3", "attempts=2", *arms))
    after = rows(tmp_path / "run/outcomes.jsonl")
    assert len(after) == 6
    assert all(row in after for row in before)
    assert results["results"]["todo"]["pass^2,act"] == 0.0


def test_every_seed_plays_the_same_tasks_and_can_be_compared(tmp_path: Path) -> None:
    arms = ("~arms.initial", "~arms.learned", "~arms.react")
    for seed in (0, 1):
        compare_arms(evaluation(tmp_path / f"seed_{seed}", *SCRIPTED, f"seed={seed}", *arms))
    played = [{row["task"] for row in rows(tmp_path / f"seed_{seed}/outcomes.jsonl")} for seed in (0, 1)]
    assert played == [{"list-19", "list-23"}] * 2
    (one, two) = settings_of([str(tmp_path / "seed_0"), str(tmp_path / "seed_1")])
    assert contrasts([one, two])[0].difference.n == 2


def test_concurrency_above_a_chunk_fills_its_seats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together = []
    played = comparing.evaluate

    def watched(agent: Any, tasks: Any, *arguments: Any, **settings: Any) -> Any:
        together.append(len(tasks))
        return played(agent, tasks, *arguments, **settings)

    monkeypatch.setattr(comparing, "evaluate", watched)
    arms = ("~arms.initial", "~arms.learned", "~arms.react")
    for number, (overrides, sizes) in enumerate(
        [
            (["chunk=1", "concurrency=1"], [1, 1, 1, 1]),
            (["chunk=1", "concurrency=3"], [3, 1]),
            (["chunk=1", "concurrency=3", "attempts=2"], [2, 2]),
            (["chunk=3", "concurrency=1"], [3, 1]),
        ]
    ):
        compare_arms(evaluation(tmp_path / str(number), *SCRIPTED[:3], "limit=4", *overrides, *arms))
        assert together == sizes
        together.clear()


def test_a_refused_resume_leaves_the_outcome_as_it_was(tmp_path: Path) -> None:
    one = (*SCRIPTED[:3], "~arms.initial", "~arms.learned", "~arms.react")
    compare_arms(evaluation(tmp_path / "run", *one, "limit=1"))
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(
        InputError, match="the event log is of another run: model was 'scripted', now it is 'x'"
    ):
        compare_arms(evaluation(tmp_path / "run", *one, "limit=2", "+llm.model=x"))
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_an_evaluation_that_an_outage_stopped_goes_on_when_it_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = (*SCRIPTED[:3], "limit=4", "chunk=1", "concurrency=1", "~arms.initial", "~arms.learned")
    whole = compare_arms(evaluation(tmp_path / "whole", *common))
    reply = ScriptedChat.reply
    asked: list[str] = []

    async def failing(self: ScriptedChat, *messages: Any, tag: str, **settings: Any) -> Any:
        asked.append(tag)
        if len(asked) > 3:
            raise ChatError(ChatErrorKind.CONNECTION, "refused")
        return await reply(self, *messages, tag=tag, **settings)

    with monkeypatch.context() as patched:
        patched.setattr(ScriptedChat, "reply", failing)
        stopped = compare_arms(evaluation(tmp_path / "run", *common))
        assert stopped["stopped"] == "no episode could be played: connection: refused"
        again = compare_arms(evaluation(tmp_path / "run", *common))
        assert again["stopped"] == stopped["stopped"]
        assert asked[-1] == asked[-2]
    resumed = compare_arms(evaluation(tmp_path / "run", *common))
    assert resumed["stopped"] == ""
    assert resumed["results"] == whole["results"]


def test_arms_without_their_principles_are_left_out_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = compare_arms(evaluation(tmp_path / "run", *SCRIPTED))
    assert set(results["agents"]) == {"act", "react"}
    assert (
        "arm initial is left out: there are no initial principles (principles=None)"
        in capsys.readouterr().out
    )


def test_a_run_that_learned_nothing_plays_as_its_agent_does_without_principles(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "principles.json"
    empty.write_text(json.dumps({"search": "", "finish": ""}))
    cfg = evaluation(tmp_path / "run", *SCRIPTED, f"principles={empty}", "~arms.initial")
    arms = cast_arms(cfg, [ActionSpec(name=name, description="It.") for name in ("search", "finish")])
    assert arms["learned"].principles is None
    assert f"arm learned plays without principles: {empty} holds none" in capsys.readouterr().out


def test_arms_that_cannot_be_ranked_are_left_out_and_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    arms = cast_arms(configuration("evaluate_pract", "env=todo", "agent=choice"), ())
    assert {name: (arm.config.style, arm.config.calls) for name, arm in arms.items()} == {
        "act": ("act", "choice")
    }
    assert (
        "arm react is left out: agent.calls=choice ranks actions, and react has thoughts to write"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize("env", ["academia", "movie", "weather"])
def test_the_papers_recipe_has_its_other_environments(env: str) -> None:
    for script in ("optimize_pract", "evaluate_pract"):
        cfg = configuration(script, "experiment=pract/paper", f"env={env}", "agent.max_steps=3")
        assert environment_factory(cfg)().name == env


def test_the_papers_recipe_has_the_shop_with_its_own_splits() -> None:
    cfg = configuration("evaluate_pract", "experiment=pract/paper", "env.data=FOLDER")
    assert cfg.env.split_by == "index"


def test_hand_written_principles_and_another_runs_are_arms_too(principles: Path, tmp_path: Path) -> None:
    extra = (
        "+arms.hand={principles: todo}",
        f"+arms.other={{principles: {principles}}}",
        "~arms.act",
        "~arms.react",
    )
    results = compare_arms(evaluation(tmp_path / "run", *SCRIPTED, *extra))
    assert set(results["agents"]) == {"hand", "other"}
    assert results["agents"]["hand"]["principles"]["finish"].startswith("Finish when an observation holds")


def test_an_ablation_tells_which_principle_matters(principles: Path, tmp_path: Path) -> None:
    """The made-up clerk looks first where `finish` tells it to, and reads no other principle."""
    asked = (*EVALUATED, f"principles={principles}", "ablate=true", *recorder(tmp_path / "calls.jsonl"))
    results = compare_arms(evaluation(tmp_path / "run", *asked))
    scores = {arm: results["results"]["todo"][f"score,{arm}"] for arm in results["agents"]}
    assert scores == {
        "learned": 1.0, "without_get_projects": 1.0, "without_get_tasks": 1.0, "without_finish": 0.25,
        "misplaced": 0.25, "none": 0.25,
    }  # fmt: skip
    texts = {name: arm["principles"] for name, arm in results["agents"].items()}
    assert texts["without_finish"] == texts["learned"] | {"finish": ""}
    assert texts["misplaced"]["get_projects"] == texts["learned"]["finish"]
    assert texts["none"] is None
    held = contrasts(settings_of([str(tmp_path / "run")]), ["score"])
    assert [(row.setting, row.base) for row in held] == [(arm, "learned") for arm in list(scores)[1:]]


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["ablate=true"], "ablate=true needs principles to leave out: give principles=RUN/principles.json"),
        (["split=dev"], "there is no split 'dev'; the environment has train, validation, test"),
        (["limit=0"], "leaves no task"),
        (["attempts=0"], "attempts=0 is below 1"),
        (["principles=webshop"], "there is no action 'search'"),
        (["principles=missing/principles.json"], "no such file"),
        (["arms.act.style=dream"], "agent.style='dream' is none of"),
        (["+arms.x={principle: todo}"], "write it as"),
        (["~arms.act", "~arms.react"], "arms: none is left"),
    ],
)
def test_bad_input_is_one_line(overrides: list[str], line: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(line)) as caught:
        compare_arms(evaluation(tmp_path / "run", *SCRIPTED, *overrides))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_damaged_principles_are_named(tmp_path: Path) -> None:
    path = tmp_path / "principles.json"
    for content, problem in (
        ("{", "cannot be read"),
        ('{"versions": [], "best": {}}', "damaged"),
        ("[1]", "action: text"),
    ):
        path.write_text(content)
        with pytest.raises(InputError, match=problem):
            compare_arms(evaluation(tmp_path / "run", *SCRIPTED, f"principles={path}"))


def test_pass_hat_is_unbiased_and_wants_all_attempts() -> None:
    played = [
        outcome("a", 1, 0),
        outcome("a", 1, 1),
        outcome("a", 0, 2),
        *(outcome("b", 1, n) for n in range(3)),
    ]
    played += [outcome("c", 1, 0), outcome("c", 1, 1), outcome("c", 0, 2, Status.CHAT_ERROR)]
    found = pass_hat(played)
    assert found["pass^2"].value == pytest.approx((1 / 3 + 1) / 2)
    assert found["pass^3"].value == pytest.approx((0 + 1) / 2)
    assert found["pass^2"].n == 2


def test_failures_that_are_not_the_agents_are_left_out_and_counted() -> None:
    arms = {
        "a": [outcome("x", 1), outcome("y", 0), outcome("z", 0, status=Status.CHAT_ERROR)],
        "b": [outcome("x", 1), outcome("y", 0.5), outcome("z", 1)],
    }
    assert estimates(arms["a"])["score"].n == 2
    (score,) = (row for row in compare_pairs(arms) if row["measure"] == "score")
    assert (score["n"], score["value"], score["won"]) == (2, 0.25, ["y"])


def test_pass_hat_of_tasks_wholly_solved_or_not_has_wilsons_interval() -> None:
    never = [outcome(task, 0, attempt) for task in "abcdefghij" for attempt in range(2)]
    assert str(pass_hat(never)["pass^2"]) == "0.000 [0.000, 0.278] n=10"
    mixed = [
        outcome(task, int(task == "a" or attempt < 2), attempt) for task in "abc" for attempt in range(3)
    ]
    cut = pass_hat(mixed)["pass^2"]
    assert (cut.value, cut.low, cut.high) == (
        pytest.approx(5 / 9),
        0.0,
        1.0,
    )  # 1, 1/3, 1/3: Student's is beyond


def test_paired_gains_of_right_and_wrong_have_bonetts_and_prices_interval() -> None:
    arms = {arm: [outcome(task, right) for task in "abcdefghij"] for arm, right in (("a", 0), ("b", 1))}
    for row in compare_pairs(arms):
        assert (row["value"], round(row["low"], 4), row["high"]) == (1.0, 0.5206, 1.0)
    halves = {arm: [outcome(task, 0.5) for task in "abc"] for arm in "ab"}
    (score,) = (row for row in compare_pairs(halves) if row["measure"] == "score")
    assert (score["value"], score["low"], score["high"]) == (0.0, None, None)


def test_an_interval_of_equal_binary_scores_has_a_width() -> None:
    estimate = estimates([outcome("x", 1), outcome("y", 1)])["score"]
    assert (estimate.value, round(estimate.low, 3)) == (1.0, 0.342)  # Wilson, 2 of 2


@pytest.mark.slow
def test_sixty_four_episodes_at_once_cost_little_enough_for_nine_tenths_of_the_ideal_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole script, tables and all; by CPU time, as wall time tells of the machine's other work as well."""
    monkeypatch.setenv("OPENAI_API_KEY", bad_server.KEY)
    with loopback(50, 64, 'get_tasks[{"project_id": "100"}]') as server:
        cfg = evaluation(
            tmp_path / "run", "env=todo", "agent=act", "agent.max_steps=10", "llm=openai", "llm.model=loopback",
            f'llm.base_url="{server.base_url}"', "llm.context_tokens=16000", "llm.concurrency=64", "concurrency=64",
            "attempts=32", "chunk=6", "~arms.react", "~arms.initial", "~arms.learned",
        )  # fmt: skip
        started = time.process_time()
        results = compare_arms(cfg)
        cpu = time.process_time() - started
    calls = results["cost"]["calls"]
    assert calls == 6 * 32 * 10
    assert cpu / calls < 0.05 / 64 / 0.9 * 2  # twice what is allowed where nobody else is at work

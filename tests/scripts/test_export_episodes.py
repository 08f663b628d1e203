"""An agent's calls as training rows: what they hold, what is refused, that a training takes them. A made-up agent."""

import json
import shutil
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from scripts.comparing import compare_arms
from scripts.export_episodes import exported, held_out, main, open_source, recipe
from tests.latro.tiny_models import tiny_folder
from tests.scripts.clerk import configuration, recorder

PLAYED = ("env=todo", "agent.max_steps=8", "principles=todo", "~arms.initial", "~arms.react", "split=train")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clerk on the training tasks, with principles and without."""
    folder = tmp_path_factory.mktemp("played") / "run"
    asked = (*PLAYED, "agent=act", f"output_dir={folder}", *recorder(folder.parent / "calls.jsonl"))
    compare_arms(configuration("evaluate_pract", *asked))
    return folder


def test_rows_of_two_runs_have_ids_of_their_own(run: Path, tmp_path: Path) -> None:
    again, out = tmp_path / "again", tmp_path / "rows"
    shutil.copytree(run, again)
    assert main([str(run), str(again), "--arm", "learned", "--out", str(out)]) == 0
    ids = [row["id"] for name in ("train", "validation") for row in table(out / f"{name}.jsonl")]
    assert len(set(ids)) == len(ids)
    assert {name.partition("/")[0] for name in ids} == {"0", "1"}


def table(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_calls_of_solved_tasks_become_rows_with_the_prompt_of_an_agent_that_thinks_first(
    run: Path, tmp_path: Path
):
    out = tmp_path / "rows"
    assert main([str(run), "--arm", "learned", "--out", str(out)]) == 0
    parts = {name: table(out / f"{name}.jsonl") for name in ("train", "validation")}
    assert all(
        held_out(row["task"]) == (name == "validation") for name, rows in parts.items() for row in rows
    )
    episodes = {e["id"]: e for e in table(run / "episodes.jsonl") if e["id"].startswith("evaluate/learned/")}
    solved = [name for name, episode in episodes.items() if episode["score"] == 1]
    found = [row for rows in parts.values() for row in rows]
    assert {row["task"] for row in found} == {episodes[name]["task_id"] for name in solved}
    place = f"{episodes[solved[0]]['task_id']}/0"
    [first] = [row for row in found if row["id"] == f"{place}/0"]
    assert first["call"] == "get_projects[{}]"
    assert first["prompt"].startswith(f"# Execution\nTask: {episodes[solved[0]]['instruction']}")
    assert first["prompt"].endswith("then `Action:` with one call.")
    [second] = [row for row in found if row["id"] == f"{place}/1"]
    assert "\nAction: get_projects[{}]\nObservation: " in second["prompt"]
    assert [turn["role"] for turn in second["messages"]] == ["system", "user", "assistant"]
    assert second["messages"][1]["content"].endswith(
        "\nAction:"
    )  # as it was played: a bare call is asked for
    assert second["messages"][2]["content"] == second["call"]


def test_episodes_below_the_score_are_left_out(run: Path):
    guessing = open_source(run, "act")
    played = [e for e in table(run / "episodes.jsonl") if e["id"].startswith("evaluate/act/")]
    every = list(exported(guessing, 0.0))
    solved = list(exported(guessing, 1.0))
    assert {row["task"] for row in every} == {episode["task_id"] for episode in played}
    assert {row["task"] for row in solved} == {e["task_id"] for e in played if e["score"] == 1}
    assert 0 < len(solved) < len(every)


def test_a_training_takes_the_rows_by_the_recipe_beside_them(run: Path, tmp_path: Path):
    from scripts.training import train

    out, model = tmp_path / "rows", tiny_folder("qwen2", tmp_path / "model", max_position_embeddings=8192)
    assert main([str(run), "--arm", "learned", "--out", str(out)]) == 0
    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose(
            "train_latro",
            [
                f"hydra.searchpath=[file://{out}]", "experiment=episodes", f"model.path={model}",
                f"output_dir={tmp_path}/run", "max_steps=1", "sampling.rationales_per_prompt=2", "validation_limit=2",
                "sampling.max_rationale_tokens=4", "trainer.per_device_train_batch_size=2", "show_samples=0",
            ],
        )  # fmt: skip
    assert cfg.name == "latro/todo_calls"
    train(cfg)
    sample = table(tmp_path / "run/samples.jsonl")[0]
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert results["n-samples"]["todo_calls"]["effective"] == 2
    assert "# Action Principles\n- get_projects: " in cfg.model.system_prompt
    assert sample["log_answer"] < 0


def test_instructions_reach_the_model_letter_by_letter(tmp_path: Path):
    said = 'Pay ${price} "at once"\n# Actions\n- buy[{"id": "..."}]: é'
    (tmp_path / "episodes.yaml").write_text(recipe(tmp_path, "shop", said))
    assert OmegaConf.load(tmp_path / "episodes.yaml").model.system_prompt == said


def test_what_must_not_be_learned_from_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def refused(*arguments: str) -> str:
        assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err

    assert "--arm (none): name one of act, learned" in refused(str(run))
    assert "no finished run of evaluate_pract" in refused(str(tmp_path))
    for score in ("2", "nan"):
        said = refused(str(run), "--arm", "learned", "--least-score", score)
        assert f"--least-score {score}: give a score from 0 to 1" in said
    assert "a run is named twice" in refused(str(run), f"{run}/", "--arm", "learned")
    other = tmp_path / "other"
    other.mkdir()
    for name in ("results.json", "episodes.jsonl", "config.yaml"):
        (other / name).write_text((run / name).read_text())
    changed = (
        (run / "episodes.jsonl")
        .read_text()
        .replace("The task is closed.", "Closed.")
        .replace("Choir", "Band")
    )
    (other / "episodes.jsonl").write_text(changed)
    assert "the prompt is not the one that was played" in refused(str(other), "--arm", "learned")
    results = json.loads((run / "results.json").read_text()) | {"split": "test"}
    (other / "results.json").write_text(json.dumps(results))
    assert "played the test split, which is not learned from" in refused(str(other), "--arm", "learned")


def test_an_arm_whose_name_is_no_plain_file_name_is_found(tmp_path: Path):
    folder = tmp_path / "run"
    asked = (*PLAYED, "agent=act", f"output_dir={folder}", *recorder(tmp_path / "calls.jsonl"))
    cfg = configuration("evaluate_pract", *asked)
    cfg.arms = {"höhe": {"style": "act", "principles": None}}
    compare_arms(cfg)
    assert list(exported(open_source(folder, "höhe"), 0.0))


def test_rows_of_two_sets_of_principles_are_not_mixed(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "run"
    asked = (*PLAYED, "agent=act", "agent.example='Action: look'", "~arms.act")
    compare_arms(
        configuration("evaluate_pract", *asked, f"output_dir={folder}", *recorder(tmp_path / "calls.jsonl"))
    )
    assert main([str(run), str(folder), "--arm", "learned", "--out", str(tmp_path / "out")]) == 2
    assert "played under 2 different instructions or principles" in capsys.readouterr().err


def test_thoughts_that_were_calls_of_their_own_are_neither_rows_nor_history(tmp_path: Path):
    """An agent with Think as an action becomes one that thinks before a call."""
    answers = ['Think[{"response": "look"}]', "get_projects[{}]", 'finish[{"answer": "?"}]']
    asked = (
        "agent=react",
        "env=todo",
        "llm=scripted",
        "split=train",
        "limit=1",
        "~arms.act",
        "~arms.learned",
    )
    told = (
        f"llm.answers={json.dumps(answers)}",
        "~arms.initial",
        f"output_dir={tmp_path}/run",
        "concurrency=1",
    )
    compare_arms(configuration("evaluate_pract", *asked, *told))
    first, second = exported(open_source(tmp_path / "run", ""), 0.0)
    assert (first["call"], second["call"]) == ("get_projects[{}]", 'finish[{"answer": "?"}]')
    assert "Think" not in first["prompt"] + first["system"] + second["prompt"]
    assert "Think[" in first["messages"][1]["content"]

"""Run folders: opened, taken up, rewound and refused; no model and no training."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from latro.errors import InputError
from latro.types import Example
from scripts.run import Run, differing, environment, processor, resolved, under
from scripts.sessions import data_record
from scripts.tables import plain


def config(folder: Path, **values: Any) -> DictConfig:
    return OmegaConf.create({"output_dir": str(folder), "seed": 0, "overwrite": False} | values)


def checkpoint(run: Run, step: int, *, complete: bool = True) -> Path:
    folder = run.checkpoints / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    if complete:
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return folder


def test_configuration_and_versions_are_written_first(tmp_path: Path) -> None:
    Run(config(tmp_path / "run", twice="${seed}"))
    assert OmegaConf.load(tmp_path / "run/config.yaml").twice == 0
    versions = json.loads((tmp_path / "run/environment.json").read_text())["versions"]
    assert versions["torch"].startswith("2.13.0")


def test_second_process_writes_nothing(tmp_path: Path) -> None:
    run = Run(config(tmp_path / "run"), writes=False)
    run.append("metrics", [{"step": 1}])
    run.write_json("results", {})
    assert not (tmp_path / "run").exists()


def test_unfinished_run_of_the_same_configuration_is_taken_up(tmp_path: Path) -> None:
    Run(config(tmp_path)).append("metrics", [{"step": 1}])
    Run(config(tmp_path, resume=True))
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n'


def test_another_configuration_is_refused_with_the_keys_that_differ(tmp_path: Path) -> None:
    Run(config(tmp_path, objective={"kl_weight": 0.05}))
    with pytest.raises(InputError, match=r"another configuration \(objective.kl_weight, seed\)"):
        Run(config(tmp_path, seed=1, objective={"kl_weight": 0.1}))


def test_finished_run_is_refused_unless_overwritten(tmp_path: Path) -> None:
    run = Run(config(tmp_path / "run"))
    run.write_json("results", {"done": True})
    with pytest.raises(InputError, match="finished run"):
        Run(config(tmp_path / "run"))
    Run(config(tmp_path / "run", overwrite=True))
    assert not (tmp_path / "run/results.json").exists()


def test_overwriting_goes_on_with_what_the_same_command_began(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where a batch system queues the command again."""
    checkpoint(Run(config(tmp_path)), 1)
    run = Run(config(tmp_path, overwrite=True))  # what another command began is thrown away
    assert run.last_checkpoint() is None
    saved = checkpoint(run, 2)
    assert capsys.readouterr().err == ""
    assert Run(config(tmp_path, overwrite=True, logger="wandb")).last_checkpoint() == saved
    assert capsys.readouterr().err == (
        f"{tmp_path}: the unfinished run of this command goes on; delete it to begin anew\n"
    )
    assert Run(config(tmp_path, overwrite=True, resume=False)).last_checkpoint() is None
    checkpoint(run, 2)
    assert Run(config(tmp_path, overwrite=True, seed=1)).last_checkpoint() is None
    checkpoint(run, 2)
    run.write_json("results", {})
    assert Run(config(tmp_path, overwrite=True, seed=1)).last_checkpoint() is None


def test_a_folder_is_emptied_of_what_tells_its_run_at_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(config(tmp_path))
    run.write_json("results", {})
    run.append("metrics", [{"step": 1}])
    gone: list[str] = []
    unlink = Path.unlink
    monkeypatch.setattr(Path, "unlink", lambda path: (gone.append(path.name), unlink(path)))
    Run(config(tmp_path, overwrite=True))
    assert gone == ["metrics.jsonl", "environment.json", "results.json", "config.yaml"]


def test_overwriting_never_deletes_a_folder_that_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="no run folder"):
        Run(config(tmp_path, overwrite=True))
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def opened(folder: Path, identity: str, **values: Any) -> Run:
    run = Run(config(folder, **values), opens=False)
    run.model = {"kind": "hub", "name": "owner/small", "identity": identity, "adapter": None}
    run.open(overwrite=run.overwrite)
    return run


def about(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "environment.json").read_text())
    return found


@pytest.mark.parametrize("done", ["checkpoint", "items"])
def test_what_other_weights_began_is_not_gone_on_with(tmp_path: Path, done: str) -> None:
    run = opened(tmp_path, "a" * 40)
    assert about(tmp_path)["model"]["identity"] == "a" * 40
    opened(tmp_path, "b" * 40)  # nothing has been done yet
    if done == "checkpoint":
        checkpoint(run, 1)
    else:
        run.append("items", [{"id": "q"}])
    written = (tmp_path / "environment.json").read_text()
    with pytest.raises(
        InputError, match=r"other weights \(hub owner/small, b{12}\) .* \(hub owner/small, a{12}\)"
    ):
        opened(tmp_path, "a" * 40)
    assert (tmp_path / "environment.json").read_text() == written
    opened(tmp_path, "b" * 40)
    opened(tmp_path, "c" * 40, overwrite=True)


def test_another_number_of_processes_does_not_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    checkpoint(opened(tmp_path, "a"), 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=r"was begun by 1 process\(es\), and 2 would go on"):
        opened(tmp_path, "a")
    again = opened(tmp_path, "a", resume=False)
    assert about(tmp_path)["world_size"] == 2
    again.rewind(-1)  # as a training does that begins anew
    assert again.last_checkpoint() is None  # else the next session would go on from it


def test_a_run_does_not_go_on_with_other_training_data(tmp_path: Path) -> None:
    def example(answer: str) -> Example:
        return Example(id="a", question="1+1?", prompt="1+1? Think.", answer=answer, gold="2")

    def begun(*examples: Example) -> Run:
        run = Run(config(tmp_path), opens=False)
        run.data = data_record(examples) if examples else None  # earlier versions did not tell
        run.open(overwrite=False)
        return run

    checkpoint(begun(), 1)
    begun(example("It is 2."))
    begun(example("It is 2."))
    with pytest.raises(InputError) as caught:
        begun(example("It is 3."))
    sha256 = [hashlib.sha256(f'["a", "1+1? Think.", "It is {n}."]'.encode()).hexdigest()[:12] for n in (2, 3)]
    assert str(caught.value) == (
        f"{tmp_path} was begun on other training data (1 examples, SHA-256 {sha256[0]}) than is read now (1, "
        f"{sha256[1]}): ids, prompts or answers differ; restore what task.path or task.hub holds, choose another "
        "output_dir, or overwrite=true resume=false"
    )
    assert about(tmp_path)["taken_up"][-1]["data"]["examples"] == 1


def test_a_table_torn_within_a_letter_is_taken_up(tmp_path: Path) -> None:
    run = opened(tmp_path, "a")
    run.append("samples", [{"step": 1, "output": "3 × 4"}, {"step": 2, "output": "×"}])
    table = tmp_path / "samples.jsonl"
    whole = table.read_bytes()
    table.write_bytes(whole[: whole.rindex("×".encode()) + 1])
    run.rewind(2)
    assert run.rows("samples") == [{"step": 1, "output": "3 × 4"}]


def test_first_session_stays_on_record_when_a_run_is_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for commit in ("first", "second", "third"):
        monkeypatch.setattr("scripts.run.environment", lambda at=commit: {"git_hash": at, "world_size": 1})
        opened(tmp_path, "a")
    assert about(tmp_path)["git_hash"] == "first"
    assert [session["git_hash"] for session in about(tmp_path)["taken_up"]] == ["second", "third"]
    opened(tmp_path, "a", overwrite=True)
    assert about(tmp_path)["git_hash"] == "third"
    assert "taken_up" not in about(tmp_path)


def test_last_checkpoint_is_the_newest_whole_one(tmp_path: Path) -> None:
    run = Run(config(tmp_path))
    assert run.last_checkpoint() is None
    checkpoint(run, 9)
    ten = checkpoint(run, 10)
    checkpoint(run, 20, complete=False)
    assert run.last_checkpoint() == ten


def test_rewinding_forgets_later_rows_torn_lines_and_half_checkpoints(tmp_path: Path) -> None:
    run = Run(config(tmp_path))
    run.append("metrics", [{"step": 1}, {"step": 2}, {"step": 3}])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    half = checkpoint(run, 3, complete=False)
    run.rewind(2)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n{"step": 2}\n'
    assert not half.exists()


@pytest.mark.parametrize(
    ("history", "kept"), [([{"step": 2, "loss": 1.0}], 1), ([{"step": 2, "eval_a": 0.5}], 2)]
)
def test_an_evaluation_that_the_checkpoint_does_not_know_is_made_again(
    tmp_path: Path, history: list[dict[str, float]], kept: int
) -> None:
    """As after a kill while the run finished: its last rows would stand twice."""
    run = Run(config(tmp_path))
    steps: list[dict[str, float]] = [{"step": 1, "eval/a": 0.25}, {"step": 2, "loss": 1.0}]
    run.append("metrics", [*steps, {"step": 2, "eval/a": 0.5}])
    run.append("validation", [{"step": 1, "id": "a"}, {"step": 2, "id": "a"}])
    run.append("samples", [{"step": 2, "id": "a"}])
    state = {"global_step": 2, "log_history": history}
    (checkpoint(run, 2) / "trainer_state.json").write_text(json.dumps(state))
    run.rewind(2)
    assert run.rows("metrics") == [*steps, {"step": 2, "eval/a": 0.5}][: kept + 1]
    assert [row["step"] for row in run.rows("validation")] == [1, 2][:kept]
    assert len(run.rows("samples")) == 1


def test_rewinding_keeps_rows_whose_text_holds_other_line_ends(tmp_path: Path) -> None:
    run = Run(config(tmp_path))
    rows = [{"step": 1, "rationale": "one\u2028two\u2029three\x85four\x0cfive\r\nsix"}, {"step": 2}]
    run.append("samples", rows)
    run.rewind(1)
    assert run.rows("samples") == rows[:1]


def test_what_trackers_have_of_the_rows_that_go_is_remembered(tmp_path: Path) -> None:
    run = Run(config(tmp_path))
    run.append("metrics", [{"step": 1, "loss": 1}, {"step": 2, "loss": 1}, {"step": 2, "eval/a": 1}])
    run.append("samples", [{"step": 3}])
    run.rewind(1)
    assert run.forgotten == {(2, False), (2, True)}


def test_a_run_goes_on_under_other_costs_and_wherever_its_model_lies_now(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {"sampling": {"batch_rows": 64, "temperature": 1.0}, "model": {"path": "a", "dtype": "auto"}}
    Run(config(tmp_path, chunk=8, **before))
    Run(
        config(
            tmp_path,
            chunk=4,
            sampling={"batch_rows": 8, "temperature": 1.0},
            model={"path": "/b", "dtype": "auto"},
        )
    )
    assert capsys.readouterr().err == (
        "gone on with under another chunk, sampling.batch_rows: same up to rounding\n"
    )
    with pytest.raises(InputError, match=r"another configuration \(model.dtype, sampling.temperature\)"):
        Run(
            config(
                tmp_path,
                chunk=4,
                sampling={"batch_rows": 8, "temperature": 0.5},
                model={"path": "a", "dtype": "x"},
            )
        )


@pytest.mark.parametrize(
    ("key", "found"),
    [("vllm.mode", True), ("vllm", True), ("vllmx", False), ("scoring.rows", True), ("scoring", False)],
)
def test_a_key_is_under_a_name_or_a_part_of_it(key: str, found: bool) -> None:
    assert under(key, ("vllm", "scoring.rows")) is found


def test_environment_names_the_processor_by_which_products_are_chosen(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        "vendor_id\t: AuthenticAMD\nmodel name\t: EPYC\nflags\t\t: fpu avx512f\n\nvendor_id\t: other\n"
    )
    assert processor(cpuinfo) == "AuthenticAMD, EPYC, AVX-512"
    cpuinfo.write_text("vendor_id\t: GenuineIntel\nflags\t\t: fpu avx2\n")
    assert processor(cpuinfo) == "GenuineIntel"
    cpuinfo.write_text("")
    assert processor(cpuinfo) is None
    assert processor(tmp_path / "none") is None
    assert environment()["processor"] == processor()


def test_environment_names_the_command_without_its_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/x/train_latro.py", "seed=1", "+trainer.hub_token=hf_x"])
    Run(config(tmp_path / "run"))
    command = json.loads((tmp_path / "run/environment.json").read_text())["command"]
    assert command == "train_latro seed=1 '+trainer.hub_token=***'"


def test_resolved_configuration_holds_no_secret() -> None:
    cfg = OmegaConf.create({"llm": {"api_key": "sk-123"}})
    assert resolved(cfg)["llm"] == {"api_key": "***"}


def test_differing_names_nested_and_missing_keys() -> None:
    assert differing({"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 9, "d": 3}, "e": 4}) == ["b.c", "e"]


def test_records_become_plain_json() -> None:
    assert plain({"path": Path("x"), "pair": (1, None), 3: 0.5}) == {"path": "x", "pair": [1, None], "3": 0.5}

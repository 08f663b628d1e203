"""Phi-3, Mistral and Llama at toy size, with a chat template of each kind, take real optimisation steps."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import TrainingArguments
from transformers.trainer_callback import PrinterCallback

from latro.adapters import LoraSettings
from latro.encoding import Encoder
from latro.models import LoadedModel, ModelConfig, load_policy, make_reference
from latro.objective import ObjectiveConfig
from latro.records import Sample
from latro.sampling import SamplingConfig
from latro.scored_tokens import ScoringConfig
from latro.tasks.gsm8k import Gsm8k
from latro.trainer import LatroTrainer
from tests.latro.tiny_models import tiny_folder

KINDS = ["phi3", "mistral", "llama"]
END = {"phi3": "<|end|>", "mistral": "</s>", "llama": "<|eot_id|>"}
ROWS = [
    ("Tom has 3 apples and buys 4 more. How many has he?", "He has 3 + 4 = <<3+4=7>>7.\n#### 7"),
    ("A train goes 60 miles in 2 hours. How fast is it?", "It goes 60 / 2 = 30 miles an hour.\n#### 30"),
    ("What are 5 threes?", "5 times 3 is 15.\n#### 15"),
    ("Ann has 1,000 stamps and gives 250 away. How many are left?", "1000 - 250 = 750.\n#### 750"),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    return {kind: tiny_folder(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> Gsm8k:
    folder = tmp_path_factory.mktemp("gsm8k")
    for split in ("train", "validation"):
        rows = [json.dumps({"question": q, "answer": a}) for q, a in ROWS]
        (folder / f"{split}.jsonl").write_text("\n".join(rows) + "\n")
    return Gsm8k(path=str(folder))


def encoder_of(loaded: LoadedModel) -> Encoder:
    turns = loaded.turns
    return Encoder(
        tokenizer=loaded.tokenizer,
        chat=turns.chat,
        stop_token_ids=turns.stop_token_ids,
        end_of_answer_id=turns.end_of_answer_id,
        pad_token_id=turns.pad_token_id,
    )


class Stepped:
    """A trainer that took its steps, with what can be asked of it."""

    def __init__(self, folder: Path, task: Gsm8k, out: Path, *, lora: bool = False, **knobs: object) -> None:
        objective = knobs.pop("objective", ObjectiveConfig())
        sampling = knobs.pop("sampling", SamplingConfig(rationales_per_prompt=3, max_rationale_tokens=8))
        config = ModelConfig(path=str(folder), lora=LoraSettings(r=4) if lora else None)
        loaded = load_policy(config)
        self.before = {name: p.detach().clone() for name, p in loaded.model.named_parameters()}
        self.samples: list[Sample] = []
        self.reference = make_reference(loaded, config)
        self.trainer = LatroTrainer(
            model=loaded.model,
            reference=self.reference,
            encoder=encoder_of(loaded),
            examples=list(task.examples("train")),
            args=TrainingArguments(
                output_dir=str(out),
                **{
                    "per_device_train_batch_size": 2, "max_steps": 1, "learning_rate": 1e-2, "max_grad_norm": 0.0,
                    "save_strategy": "no", "report_to": [], "use_cpu": True, "disable_tqdm": True, "seed": 1,
                    "remove_unused_columns": False, "dataloader_pin_memory": False, "logging_steps": 1,
                }
                | {name: value for name, value in knobs.items() if name not in ("dtype", "scoring", "vllm")},
            ),
            objective_config=objective,
            sampling=replace(sampling, dtype=knobs.get("dtype")),
            scoring=knobs.get("scoring", ScoringConfig()),
            markers=task.answer_markers,
            on_samples=self.samples.extend,
            vllm=knobs.get("vllm"),
        )  # fmt: skip
        self.trainer.remove_callback(PrinterCallback)
        self.trainer.train()

    @property
    def changed(self) -> set[str]:
        """Names of the weights that the step changed."""
        after = self.trainer.model.named_parameters()
        return {name for name, p in after if not torch.equal(p, self.before[name])}

    def metrics(self, name: str) -> list[float]:
        return [row[name] for row in self.trainer.state.log_history if name in row]


def frozen_logits(stepped: Stepped, ids: torch.Tensor) -> torch.Tensor:
    with stepped.reference.scoring(stepped.trainer.model) as frozen:
        return frozen(input_ids=ids).logits


@pytest.mark.parametrize("kind", KINDS)
def test_prompt_has_one_beginning_and_the_answer_ends_the_turn(kind, folders, task) -> None:
    loaded = load_policy(ModelConfig(path=str(folders[kind])))
    encoder, example = encoder_of(loaded), task.examples("train")[1]
    ids = encoder.prompt_ids(example.prompt)
    begins = ids.count(loaded.tokenizer.bos_token_id)
    assert begins == loaded.tokenizer.chat_template.count("bos_token")  # Phi's template writes none
    assert begins == (0 if kind == "phi3" else 1)
    text = loaded.tokenizer.decode(ids)
    assert text.count("Let's think step by step.") == 1
    assert text.rstrip().endswith(
        {"phi3": "<|assistant|>", "mistral": "[/INST]", "llama": "<|end_header_id|>"}[kind]
    )
    answer = encoder.answer_ids(example.answer)
    assert loaded.tokenizer.decode(answer) == f"\nThe answer is 30.{END[kind]}"
    assert answer[-1] in encoder.stop_token_ids


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_changes_the_policy_and_not_the_reference(kind, lora, folders, task, tmp_path) -> None:
    stepped = Stepped(folders[kind], task, tmp_path, lora=lora, max_steps=2)
    trainable = {name for name, p in stepped.trainer.model.named_parameters() if p.requires_grad}
    assert stepped.changed == trainable
    assert all("lora_" in name for name in trainable) == lora
    ids = torch.tensor([[5, 9, 60, 61, 62, 200, 33]])
    start = load_policy(ModelConfig(path=str(folders[kind]))).model
    with torch.no_grad():
        assert torch.equal(frozen_logits(stepped, ids), start(input_ids=ids).logits)
        assert not torch.equal(stepped.trainer.model(input_ids=ids).logits, start(input_ids=ids).logits)
    assert len(stepped.samples) == 2 * 2 * 3  # steps, prompts, rationales
    assert max(abs(s.log_ratio) for s in stepped.samples if s.step == 1) < 1e-4
    assert max(abs(s.log_ratio) for s in stepped.samples if s.step == 2) > 1e-3


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("kind", KINDS)
def test_activation_checkpointing_changes_no_gradient(kind, lora, folders, task, tmp_path) -> None:
    plain, checkpointed = (
        Stepped(folders[kind], task, tmp_path, lora=lora, activation_checkpointing=on) for on in (False, True)
    )
    assert plain.metrics("grad_norm")[0] > 0
    assert checkpointed.metrics("grad_norm") == pytest.approx(plain.metrics("grad_norm"), rel=1e-4)
    assert [s.rationale for s in plain.samples] == [s.rationale for s in checkpointed.samples]


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_precision_trains_float_weights(kind, folders, task, tmp_path) -> None:
    stepped = Stepped(folders[kind], task, tmp_path, bf16=True)
    assert stepped.changed == set(stepped.before)
    assert {p.dtype for p in stepped.trainer.model.parameters()} == {torch.float32}
    assert stepped.metrics("grad_norm")[0] > 0
    assert max(abs(s.log_ratio) for s in stepped.samples) < 0.05  # policy and reference round alike


@pytest.mark.parametrize("kind", KINDS)
def test_two_micro_batches_give_the_gradient_of_one(kind, folders, task, tmp_path) -> None:
    """SGD at rate 1, so that the change of the weights is the gradient."""
    changes = []
    for prompts, accumulated in ((4, 1), (2, 2)):
        stepped = Stepped(
            folders[kind], task, tmp_path, optim="sgd", learning_rate=1.0, lr_scheduler_type="constant",
            per_device_train_batch_size=prompts, gradient_accumulation_steps=accumulated,
        )  # fmt: skip
        after = stepped.trainer.model.named_parameters()
        changes.append({name: p.detach() - stepped.before[name] for name, p in after})
        assert len(stepped.samples) == 4 * 3
    largest = max(change.abs().max() for change in changes[0].values())
    assert largest > 1e-3
    for name, change in changes[0].items():
        assert (change - changes[1][name]).abs().max() < 1e-5 * max(1.0, float(largest)), name


@pytest.mark.parametrize("kind", KINDS)
def test_sampling_with_a_low_precision_copy_trains_the_policy_itself(kind, folders, task, tmp_path) -> None:
    stepped = Stepped(folders[kind], task, tmp_path, dtype="bfloat16")
    assert stepped.changed == set(stepped.before)
    assert {p.dtype for p in stepped.trainer.sampler.model.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in stepped.trainer.model.parameters()} == {torch.float32}

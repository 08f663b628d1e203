"""The training loop on a toy Llama: every reward and preset takes a step, and what it reports adds up."""

import itertools
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate.utils import DistributedType

from latro import trainer
from latro.adapters import FrozenReference
from latro.balancing import Lengths
from latro.errors import InputError
from latro.objective import ObjectiveConfig, Reward
from latro.sampling import SamplingConfig
from latro.scored_tokens import ScoringConfig, refuse_misfits
from latro.tasks.gsm8k import Gsm8k
from latro.trainer import LatroTrainer
from latro.types import Example
from tests.latro.test_architectures import ROWS, Stepped, task  # noqa: F401 - a fixture
from tests.latro.tiny_models import tiny_folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Path:
    return tiny_folder("llama", tmp_path_factory.mktemp("llama"))


@pytest.mark.parametrize("reward", list(Reward))
def test_every_reward_takes_a_step_under_the_papers_preset(reward, llama, task, tmp_path) -> None:  # noqa: F811
    stepped = Stepped(llama, task, tmp_path, objective=ObjectiveConfig(reward=reward))
    # A likelihood of e-60 has a gradient that Adam's epsilon swallows.
    assert len(stepped.changed) > 15 or reward == Reward.LIKELIHOOD
    assert stepped.metrics("grad_norm")[0] > 0
    for sample in stepped.samples:
        assert sample.reward == pytest.approx(
            sample.answer_reward - 0.05 * sample.log_ratio - sample.penalty, abs=1e-5
        )
    if reward == Reward.LOG_LIKELIHOOD:
        assert all(s.answer_reward == s.log_answer for s in stepped.samples)
    if reward in (Reward.LIKELIHOOD, Reward.MEAN_TOKEN_PROBABILITY, Reward.RELATIVE_PERPLEXITY):
        assert all(0 <= s.answer_reward <= 1 for s in stepped.samples)
    if reward == Reward.MULTI_SAMPLE_BOUND:
        for _, group in itertools.groupby(stepped.samples, key=lambda s: s.id):
            assert len({s.answer_reward for s in group}) == 1


@pytest.mark.parametrize("reward", [Reward.LOG_LIKELIHOOD, Reward.LIKELIHOOD, Reward.MEAN_TOKEN_PROBABILITY])
def test_the_published_codes_preset_takes_a_step(reward, llama, task, tmp_path) -> None:  # noqa: F811
    """Some rationales finish; where none does, its penalty makes all rewards equal and nothing is learned."""
    objective = ObjectiveConfig(preset="official_code", reward=reward)
    long = SamplingConfig(rationales_per_prompt=8, max_rationale_tokens=64)
    stepped = Stepped(llama, task, tmp_path, objective=objective, sampling=long)
    assert 0 < sum(sample.finished for sample in stepped.samples) < 16
    assert stepped.metrics("grad_norm")[0] > 0
    cut_off = Stepped(llama, task, tmp_path, objective=objective)
    assert not any(sample.finished for sample in cut_off.samples)
    assert cut_off.metrics("grad_norm")[0] < 1e-5


def test_the_batch_mean_is_that_of_the_step_also_for_a_short_last_step(llama, task, tmp_path) -> None:  # noqa: F811
    """All but one micro-batch in the first step, one in the second, which must not see the first one's mean."""
    stepped = Stepped(
        llama,
        task,
        tmp_path,
        objective=ObjectiveConfig(preset="official_code"),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=len(task.examples("train")) - 1,
        max_steps=2,
    )
    for step in (1, 2):
        rows = [sample for sample in stepped.samples if sample.step == step]
        mean = sum(row.answer_reward for row in rows) / len(rows)
        cut_off = [row for row in rows if not row.finished]
        assert cut_off
        assert [row.answer_reward - row.penalty for row in cut_off] == [
            pytest.approx(2 * mean, rel=1e-5)
        ] * len(cut_off)
    assert len({sample.id for sample in stepped.samples if sample.step == 2}) == 1


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_every_way_of_scoring_takes_the_same_step(lora, llama, task, tmp_path) -> None:  # noqa: F811
    """SGD at rate 1, so that the change of the weights is the gradient."""

    def change(**knobs: object) -> torch.Tensor:
        stepped = Stepped(
            llama,
            task,
            tmp_path,
            lora=lora,
            optim="sgd",
            learning_rate=1.0,
            lr_scheduler_type="constant",
            **knobs,
        )
        after = stepped.trainer.model.named_parameters()
        return torch.cat([(p.detach() - stepped.before[name]).flatten() for name, p in after])

    plain = change(scoring=ScoringConfig(fused_head=False))
    assert float(plain.norm()) > 1e-3
    ways = [
        {"scoring": ScoringConfig()},
        {"scoring": ScoringConfig(head_memory=1.0)},
        {"scoring": ScoringConfig(share_prompt=True)},
        {"scoring": ScoringConfig(rows=2)},
        {"scoring": ScoringConfig(rows=4), "activation_checkpointing": True},
    ]
    for knobs in ways:
        other = change(**knobs)
        # The change is read from weights in float32, which rounds it.
        assert float((other - plain).norm() / plain.norm()) < 1e-4, knobs


def test_tokens_are_counted_from_the_start_of_training(llama, task, tmp_path) -> None:  # noqa: F811
    stepped = Stepped(llama, task, tmp_path, max_steps=2)
    encoder, seen = stepped.trainer.encoder, []
    for step in (1, 2):
        rows = [sample for sample in stepped.samples if sample.step == step]
        seen.append(
            sum(
                len(encoder.prompt_ids(r.prompt)) + r.length + len(encoder.answer_ids(r.answer)) for r in rows
            )
        )
    assert stepped.metrics("num_tokens") == [seen[0], sum(seen)]
    assert stepped.trainer.state.num_input_tokens_seen == sum(seen)  # kept with the checkpoint


def test_gold_rationales_are_never_learned_from(llama, task, tmp_path, monkeypatch) -> None:  # noqa: F811
    """Those of the dataset are for figures of an evaluation alone."""
    left, examples = [], type(task).examples
    for rationale in ("first 2 and then 3", "nonsense", None):
        monkeypatch.setattr(
            type(task),
            "examples",
            lambda self, split, words=rationale: [replace(e, rationale=words) for e in examples(self, split)],
        )
        assert {example.rationale for example in task.examples("train")} == {rationale}
        stepped = Stepped(llama, task, tmp_path, learning_rate=1.0)
        weights = torch.cat([p.detach().flatten() for p in stepped.trainer.model.parameters()])
        left.append((stepped.samples, weights))
    for samples, weights in left[1:]:
        assert samples == left[0][0]
        assert torch.equal(weights, left[0][1])


def test_which_prompts_are_scored_together_changes_no_gradient(llama, task, tmp_path, monkeypatch) -> None:  # noqa: F811
    def step() -> tuple[list[str], torch.Tensor]:
        stepped = Stepped(
            llama, task, tmp_path, optim="sgd", learning_rate=1.0, lr_scheduler_type="constant",
            gradient_accumulation_steps=2,
        )  # fmt: skip
        after = stepped.trainer.model.named_parameters()
        change = torch.cat([(p.detach() - stepped.before[name]).flatten() for name, p in after])
        return list(dict.fromkeys(sample.id for sample in stepped.samples)), change

    sorted_ids, change = step()
    monkeypatch.setattr(trainer, "by_length", lambda prompts, rationales, sizes: [[0, 1], [2, 3]])
    ids, same = step()
    assert sorted_ids != ids
    assert sorted(sorted_ids) == sorted(ids)
    assert float((change - same).norm() / same.norm()) < 1e-5


@pytest.mark.parametrize(("rank", "share"), [(0, ["b", "a"]), (1, ["c", "d"])])
def test_each_process_takes_its_share_of_what_all_have(rank, share, monkeypatch) -> None:
    def example(name: str) -> Example:
        return Example(id=name, question="?", prompt="?", answer="!", gold="1")

    everyone = [example(name) for name in "abcd"]
    mine = [2 * rank, 2 * rank + 1]
    own = [everyone[index] for index in mine]
    lengths = Lengths()
    lengths.mean = {"a": 10.0, "b": 90.0, "c": 50.0, "d": 40.0}
    monkeypatch.setattr(trainer, "gather_object", lambda given: [0, 1, 2, 3])
    stand_in = SimpleNamespace(
        examples=everyone,
        accelerator=SimpleNamespace(num_processes=2, process_index=rank),
        sampling=SamplingConfig(),
        objective_config=ObjectiveConfig(),
        lengths=lengths,
    )
    assert [found.id for found in LatroTrainer.balanced(stand_in, mine)] == share
    stand_in.sampling = SamplingConfig(balance=False)
    assert LatroTrainer.balanced(stand_in, mine) == own
    stand_in.sampling, stand_in.objective_config = SamplingConfig(), ObjectiveConfig(preset="official_code")
    # Its penalty is a mean over what a process was given.
    assert LatroTrainer.balanced(stand_in, mine) == own


def test_of_several_processes_lengths_are_kept_with_a_checkpoint_and_taken_up(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-3").mkdir()
    lengths = Lengths()
    lengths.mean = {"a": 10.0}
    args: Any = SimpleNamespace(output_dir=str(tmp_path), world_size=2)
    state: Any = SimpleNamespace(global_step=3, is_world_process_zero=True)
    trainer.StepEnd(SimpleNamespace(lengths=lengths)).on_save(args, state, None)  # type: ignore[arg-type]
    taken_up = Lengths()
    trainer.StepEnd(SimpleNamespace(lengths=taken_up)).on_train_begin(args, state, None)  # type: ignore[arg-type]
    assert taken_up.mean == {"a": 10.0}


def test_knobs_that_the_training_cannot_follow_are_refused(llama, task, tmp_path) -> None:  # noqa: F811
    with pytest.raises(InputError, match=r"scoring.share_prompt=true with trainer.activation_checkpointing"):
        Stepped(
            llama, task, tmp_path, scoring=ScoringConfig(share_prompt=True), activation_checkpointing=True
        )
    with pytest.raises(InputError, match=r"scoring.rows=2 with FSDP"):
        refuse_misfits(ScoringConfig(rows=2), False, DistributedType.FSDP)
    with pytest.raises(InputError, match=r"activation_checkpointing \(or FSDP's\)"):
        refuse_misfits(ScoringConfig(share_prompt=True), True, DistributedType.FSDP)
    with pytest.raises(InputError, match=r"scoring.liger_head=true: its kernels run on a GPU"):
        Stepped(llama, task, tmp_path, scoring=ScoringConfig(liger_head=True))


def test_the_mean_answer_reward_needs_no_reference(llama, task, tmp_path, monkeypatch) -> None:  # noqa: F811
    """Two micro-batches: the reference scores each once, for the loss, and not for the mean."""
    used = []
    scoring = FrozenReference.scoring
    monkeypatch.setattr(
        FrozenReference, "scoring", lambda self, policy: used.append(1) or scoring(self, policy)
    )
    Stepped(
        llama,
        task,
        tmp_path,
        objective=ObjectiveConfig(preset="official_code"),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=2,
    )
    assert len(used) == 2


def test_metrics_are_those_of_the_samples(llama, task, tmp_path) -> None:  # noqa: F811
    stepped = Stepped(llama, task, tmp_path)
    samples = stepped.samples
    assert stepped.metrics("reward") == [pytest.approx(sum(s.reward for s in samples) / 6)]
    assert stepped.metrics("completions/mean_length") == [pytest.approx(sum(s.length for s in samples) / 6)]
    assert stepped.metrics("loss") == [pytest.approx(sum(s.loss for s in samples) / 6, rel=1e-4)]
    for _, group in itertools.groupby(samples, key=lambda s: s.id):
        assert sum(s.advantage for s in group) == pytest.approx(0, abs=1e-4)


def test_the_same_seed_is_the_same_run_and_another_is_not(llama, task, tmp_path) -> None:  # noqa: F811
    first, again, other = (Stepped(llama, task, tmp_path, seed=seed) for seed in (1, 1, 2))
    assert first.samples == again.samples
    for mine, theirs in zip(first.trainer.model.parameters(), again.trainer.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert [s.rationale for s in other.samples] != [s.rationale for s in first.samples]


def test_a_step_towards_the_answer_makes_it_more_likely(llama, task, tmp_path) -> None:  # noqa: F811
    stepped = Stepped(llama, task, tmp_path, max_steps=12, per_device_train_batch_size=4)
    scores = stepped.metrics("latro/logp_answer")
    assert len(scores) == 12
    assert scores[-1] > scores[0] + 5
    assert isinstance(task, Gsm8k)
    assert len(ROWS) == 4


@pytest.mark.parametrize(
    ("objective", "temperature"),
    [(ObjectiveConfig(), 0.5), (ObjectiveConfig(preset="official_code"), 1.0)],
    ids=["another temperature", "stop not scored"],
)
def test_rationales_are_scored_as_they_were_drawn(objective, temperature, llama, task, tmp_path) -> None:  # noqa: F811
    long = SamplingConfig(rationales_per_prompt=8, max_rationale_tokens=64, temperature=temperature)
    stepped = Stepped(llama, task, tmp_path, objective=objective, sampling=long)
    assert stepped.metrics("latro/sampler_gap") == [pytest.approx(0, abs=1e-3)]


def test_metrics_of_several_steps_are_their_mean(llama, task, tmp_path) -> None:  # noqa: F811
    stepped = Stepped(llama, task, tmp_path, max_steps=2, logging_steps=2)
    assert [sample.step for sample in stepped.samples] == [1] * 6 + [2] * 6
    assert stepped.metrics("reward") == [pytest.approx(sum(s.reward for s in stepped.samples) / 12)]
    assert stepped.metrics("loss") == [pytest.approx(sum(s.loss for s in stepped.samples) / 12, rel=1e-4)]


def test_a_loss_that_is_no_number_names_its_step_and_its_prompts() -> None:
    trainer = object.__new__(LatroTrainer)
    trainer.state = SimpleNamespace(global_step=4)
    examples = [SimpleNamespace(id=id) for id in ("q1", "q2", "q3")]
    trainer.refuse_broken(torch.zeros(3, 2), examples)
    broken = torch.tensor([[0.5, math.nan], [0.5, 1.0], [math.inf, 1.0]])
    with pytest.raises(
        InputError, match=r"^step 5: the loss of q1, q3 is not a finite number: the weights have run"
    ):
        trainer.refuse_broken(broken, examples)

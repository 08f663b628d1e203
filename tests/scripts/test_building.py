"""How a task's text is joined: the task says so, the command line can override it. And what a run's seed settles."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from latro.exact import small_world
from latro.models import LoadedModel, ModelSource
from latro.tasks.rows import Rows
from latro.tasks.running_sums import RunningSums
from latro.types import Example
from scripts.building import build_encoder, build_model, gold_rationales
from tests.latro.tiny_models import tiny_folder

LOADED = LoadedModel(
    model=None,
    tokenizer=None,
    turns=SimpleNamespace(chat=False, stop_token_ids=(0,), end_of_answer_id=0, pad_token_id=0),  # type: ignore[arg-type]
    system_prompt=None,
    source=ModelSource(kind="memory", name="none", identity="", folder=None),
)


@pytest.mark.parametrize(
    ("task", "override", "separator"),
    [
        (RunningSums(), "auto", ""),
        (RunningSums(), "\n", "\n"),
        (Rows(), "auto", "\n"),
        (Rows(), "", ""),
        (Rows(answer_separator="\n\n"), "auto", "\n\n"),
    ],
)
def test_the_separator_is_the_tasks_own_unless_one_is_given(task, override, separator) -> None:
    encoder = build_encoder(LOADED, task, override)
    assert (encoder.separator, encoder.prompt_suffix) == (separator, "\n" if separator else "")


def test_a_fresh_adapter_is_drawn_from_the_runs_seed_and_disturbs_no_other_draw(tmp_path: Path) -> None:
    model = {
        "_target_": "latro.models.ModelConfig",
        "path": str(tiny_folder("llama", tmp_path)),
        "lora": {"r": 2},
    }

    def first_factors(seed: int, process: int) -> torch.Tensor:
        torch.manual_seed(process)
        expected = torch.rand(1)
        torch.manual_seed(process)
        loaded, _ = build_model(OmegaConf.create({"model": model, "seed": seed}))
        assert torch.equal(torch.rand(1), expected)
        return torch.cat([p.flatten() for name, p in loaded.model.named_parameters() if "lora_A" in name])

    first = first_factors(3, process=1)
    assert torch.equal(first_factors(3, process=2), first)
    assert not torch.equal(first_factors(4, process=1), first)


def row(rationale: str) -> Example:
    return Example(
        id="a", question="", prompt="cd", answer="#d", gold="", rationale=rationale, place="line 1"
    )


def model_of(positions: int) -> Any:
    return SimpleNamespace(config=SimpleNamespace(max_position_embeddings=positions))


def test_gold_rationales_are_those_of_the_dataset_an_empty_cell_an_empty_one() -> None:
    encoder = small_world(0).encoder
    assert gold_rationales([row(""), row("")], encoder, model_of(9)) is None
    assert gold_rationales([row("ab"), row("")], encoder, model_of(9)) == [[1, 2], []]


def test_gold_rationales_that_do_not_all_fit_are_left_out_in_a_line(capsys: pytest.CaptureFixture) -> None:
    """Prompt 2, rationale 3, answer line and end of turn 3."""
    encoder, rows = small_world(0).encoder, [row("a"), row("abc")]
    assert gold_rationales(rows, encoder, model_of(8)) == [[1], [1, 2, 3]]
    assert capsys.readouterr().err == ""
    assert gold_rationales(rows, encoder, model_of(7)) is None
    assert capsys.readouterr().err == (
        "answers are not scored with gold rationales: that of line 1 makes 8 tokens with prompt and answer, the "
        "model's context has 7\n"
    )

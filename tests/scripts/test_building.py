"""How a task's text is joined: the task says so, the command line can override it. And what a run's seed settles."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf

from latro.models import LoadedModel, ModelSource
from latro.tasks.rows import Rows
from latro.tasks.running_sums import RunningSums
from scripts.building import build_encoder, build_model
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

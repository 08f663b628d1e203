"""What goes to the hub at the end of a run, and how a hub that takes nothing is said; the hub is a stand-in."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]
from omegaconf import OmegaConf
from transformers import GenerationConfig

from latro.errors import InputError
from scripts.finishing import (
    check_push,
    gain_over_start,
    name_base,
    push,
    training_outcome,
    write_generation,
)
from scripts.run import Run


class Hub:
    """Records what it is asked; refuses every upload if `error` is given."""

    calls: list[tuple[str, dict]]
    error: Exception | None = None

    def create_repo(self, repository: str, **settings: object) -> None:
        self.calls.append((repository, settings))

    def upload_folder(self, *, repo_id: str, **settings: object) -> None:
        self.calls.append((repo_id, settings))
        if self.error:
            raise self.error

    def upload_file(self, *, repo_id: str, **settings: object) -> None:
        self.calls.append((repo_id, settings))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    stand_in = Hub()
    stand_in.calls = []
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: stand_in)
    return stand_in


def test_best_model_goes_to_the_hub_whole_but_for_the_pickle(hub: Hub) -> None:
    push("me/model", Path("run/best"))
    assert hub.calls == [
        ("me/model", {"exist_ok": True}),
        ("me/model", {"folder_path": Path("run/best"), "ignore_patterns": ["training_args.bin"]}),
    ]


@pytest.mark.parametrize(("base", "told"), [("/home/me/models/small", "small"), ("owner/small", None)])
def test_a_pushed_adapter_does_not_tell_where_its_base_lies(
    base: str, told: str | None, hub: Hub, tmp_path: Path
) -> None:
    place = tmp_path / "adapter_config.json"
    place.write_text(json.dumps({"r": 2, "base_model_name_or_path": base}))
    push("me/model", tmp_path)
    _, (_, folder), *more = hub.calls
    assert ("adapter_config.json" in folder["ignore_patterns"]) is (told is not None)  # type: ignore[operator]
    if told:
        ((_, file),) = more
        content = json.loads(file["path_or_fileobj"])  # type: ignore[arg-type]
        assert (file["path_in_repo"], content) == (
            "adapter_config.json",
            {"r": 2, "base_model_name_or_path": told},
        )
    assert json.loads(place.read_text())["base_model_name_or_path"] == base


def test_hub_that_refuses_is_one_line_without_secrets(hub: Hub) -> None:
    response = SimpleNamespace(status_code=403, headers={}, request=None, text="hf_secret")
    hub.error = HfHubHTTPError("denied for hf_secret", response=response)  # type: ignore[arg-type]
    with pytest.raises(InputError) as caught:
        push("me/model", Path("run/best"))
    assert str(caught.value) == (
        "push_to_hub=me/model: the hub answered with status 403; the run is finished, push its best model by "
        "`hf upload me/model run/best --exclude training_args.bin`"
    )
    assert caught.value.__suppress_context__
    hub.error = HTTPError("hf_secret")
    with pytest.raises(InputError, match=r"no connection to the hub \(HTTPError\)"):
        push("me/model", Path("run/best"))


def test_missing_login_and_bad_id_are_said_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    check_push(None)
    with pytest.raises(InputError, match=r"push_to_hub=me/model: not logged in to the hub"):
        check_push("me/model")
    with pytest.raises(InputError, match="no hub id; write OWNER/NAME"):
        check_push("a/b/c")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_secret")
    check_push("me/model")


def test_gain_is_of_the_best_trained_step_over_the_start() -> None:
    rows = {0: {"eval/a": 0.5}, 2: {"eval/a": 0.75}, 4: {"eval/a": 0.25}}
    assert gain_over_start(rows, "eval/a") == 0.25
    assert gain_over_start({2: {"eval/a": 0.75}}, "eval/a") is None


def test_gain_has_the_sign_of_better_and_is_that_of_the_weights_kept() -> None:
    rows = {0: {"eval/a": 0.5}, 2: {"eval/a": 0.75}, 4: {"eval/a": 0.25}}
    assert gain_over_start(rows, "eval/a", greater=False) == 0.25
    assert gain_over_start(rows, "eval/a", step=4) == -0.25
    assert gain_over_start(rows, "eval/a", step=2, greater=False) == -0.25
    assert gain_over_start(rows, "eval/a", step=3) is None


@pytest.mark.parametrize(
    ("chooses", "kept", "best_step", "gain"), [(True, "best", 2, 0.25), (False, "last", 4, -0.25)]
)
def test_outcome_names_the_step_of_the_weights_that_are_kept(
    chooses: bool, kept: str, best_step: int, gain: float, tmp_path: Path
) -> None:
    trainer = {"load_best_model_at_end": chooses, "metric_for_best_model": "a", "greater_is_better": True}
    cfg = OmegaConf.create({"output_dir": str(tmp_path), "seed": 0, "trainer": trainer})
    run = Run(cfg)
    run.append("metrics", [{"step": s, "eval/a": a} for s, a in ((0, 0.5), (2, 0.75), (4, 0.25))])
    state = SimpleNamespace(global_step=4, best_model_checkpoint="old/checkpoints/checkpoint-2")
    outcome = training_outcome(cfg, run, SimpleNamespace(state=state))
    assert (outcome["kept"], outcome["best_step"], outcome["gain_over_start"]) == (kept, best_step, gain)


def test_where_the_chosen_checkpoint_is_gone_the_last_weights_are_called_what_they_are(
    tmp_path: Path,
) -> None:
    trainer = {"load_best_model_at_end": True, "metric_for_best_model": "eval_a", "greater_is_better": None}
    cfg = OmegaConf.create({"output_dir": str(tmp_path), "seed": 0, "trainer": trainer})
    run = Run(cfg)
    run.append("metrics", [{"step": s, "eval/a": a} for s, a in ((0, 0.5), (2, 0.75), (4, 0.25))])
    state = SimpleNamespace(global_step=4, best_model_checkpoint=None)
    outcome = training_outcome(cfg, run, SimpleNamespace(state=state))
    assert (outcome["kept"], outcome["best_step"], outcome["gain_over_start"]) == ("last", 4, -0.25)


@pytest.mark.parametrize(
    ("kind", "base", "revision"), [("hub", "owner/small", "c0ffee"), ("folder", "/cache/x", None)]
)
def test_saved_adapter_names_its_base_as_any_machine_finds_it(
    kind: str, base: str, revision: str | None, tmp_path: Path
) -> None:
    place = tmp_path / "adapter_config.json"
    model = {"kind": kind, "name": "owner/small", "identity": "c0ffee", "adapter": None}
    name_base(tmp_path, model)  # a whole model has no such file
    assert not place.exists()
    place.write_text(json.dumps({"r": 2, "base_model_name_or_path": "/cache/x", "revision": None}))
    name_base(tmp_path, model)
    expected = {"r": 2, "base_model_name_or_path": base, "revision": revision}
    assert json.loads(place.read_text()) == expected


def test_an_adapter_says_where_its_model_stops(tmp_path: Path) -> None:
    model = SimpleNamespace(generation_config=GenerationConfig(eos_token_id=[2, 5]))
    write_generation(tmp_path, model)
    assert json.loads((tmp_path / "generation_config.json").read_text())["eos_token_id"] == [2, 5]
    model.generation_config.eos_token_id = [7]
    write_generation(tmp_path, model)  # a whole model has written its own
    assert json.loads((tmp_path / "generation_config.json").read_text())["eos_token_id"] == [2, 5]

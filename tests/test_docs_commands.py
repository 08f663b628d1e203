"""Every command in README, docs and recipes composes, so that none has a key or recipe that is gone; none starts."""

import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from scripts import compare_runs, export_episodes
from scripts.entry import INPUT_ERRORS  # importing it registers the resolver that names folders
from scripts.reproduce import selected
from scripts.reproduce_request import read_request
from scripts.sweep_plan import composed, read_plan
from tests.documented import PAGES, ROOT, commands_in, documented_commands

COMMANDS = documented_commands()
PLACES = sorted({command.place for command in COMMANDS})
RECIPE = "pract/smoke"
"""Stands for RECIPE where a page means any."""


def composes(script: str, arguments: Sequence[str]) -> None:
    overrides = [
        argument.replace("=RECIPE", f"={RECIPE}")
        for argument in arguments
        if argument != "-m" and not argument.endswith("...")  # the reader fills those in
    ]
    for override in OverridesParser.create().parse_overrides(overrides):
        if override.is_sweep_override():
            overrides.remove(override.input_line)
            overrides.append(f"{override.get_key_element()}={next(override.sweep_string_iterator())}")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        OmegaConf.to_container(compose(script, overrides))


def sweeps(arguments: Sequence[str]) -> None:
    plan = read_plan(arguments)
    jobs = plan.grid()
    assert len(jobs) > 1
    assert len(list(composed(plan, [jobs[0], jobs[-1]]))) == 2


def one_folder(arguments: Sequence[str]) -> None:
    assert len(arguments) == 1


def reproduces(arguments: Sequence[str]) -> None:
    if arguments:
        request = read_request(arguments)
        assert selected(request.reproduction(), request.only)


OTHERS: dict[str, Callable[[Sequence[str]], object]] = {
    "sweep": sweeps,
    "compare_runs": compare_runs.read_arguments,
    "export_episodes": export_episodes.read_arguments,
    "history": one_folder,
    "report": list,  # run folders, whatever they are
    "reproduce": reproduces,
}
"""Scripts that Hydra does not start, with what reads their command lines."""


@cache
def check(script: str, arguments: tuple[str, ...]) -> None:
    """Raise what the script would refuse these arguments with."""
    if "--help" in arguments or "--config-dir" in arguments:  # the folder is the reader's
        assert (ROOT / f"scripts/{script}.py").exists()
    elif script in OTHERS:
        OTHERS[script](arguments)
    else:
        composes(script, arguments)


@pytest.mark.parametrize("place", PLACES)
def test_every_command_can_be_given_as_it_stands(place: str) -> None:
    for command in COMMANDS:
        if command.place == place:
            try:
                check(command.script, command.arguments)
            except (HydraException, OmegaConfBaseException, *INPUT_ERRORS, SystemExit) as error:
                reason = " ".join(str(error).split())[:400]
                pytest.fail(f"{place}: scripts.{command.script} {' '.join(command.arguments)}: {reason}")


def test_commands_are_found() -> None:
    text = "    accelerate launch -m scripts.train_latro experiment=latro/smoke \\\n      seed=1 && ls\n"
    assert [c.arguments for c in commands_in("page", text)] == [("experiment=latro/smoke", "seed=1")]
    loop = 'X="-m"\nfor A in 1 2; do\n  python $X scripts.train_sft seed=$A logger=none|wandb [limit=4] # why\ndone\n'
    assert [" ".join(c.arguments) for c in commands_in("page", loop)] == [
        f"seed={seed} logger={logger} limit=4" for seed in (1, 2) for logger in ("none", "wandb")
    ]
    assert {path.name for path in PAGES} >= {Path(place).name for place in PLACES if place.endswith(".md")}
    assert len(COMMANDS) > 100


@pytest.mark.parametrize(
    "line",
    [
        "python -m scripts.train_latro experiment=latro/smok",
        "python -m scripts.train_latro sede=1",
        "python -m scripts.sweep experiment=latro/smoke sede=0,1",
        "python -m scripts.evaluate_latro max_tokens=3",
        "python -m scripts.gone seed=1",
        "python -m scripts.reproduce table=latro_gsm8k size=tiny only=bae",
        "python -m scripts.reproduce table=latro_gsm8k size=small model=gpt2",
    ],
)
def test_a_command_that_would_be_refused_is_found(line: str) -> None:
    (command,) = commands_in("page", line)
    with pytest.raises((HydraException, *INPUT_ERRORS)):
        check(command.script, command.arguments)


def test_every_file_that_pages_name_is_there() -> None:
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        named = re.findall(r"\]\(((?!http)[^)#]+)[^)]*\)", text)
        assert {name for name in named if not (path.parent / name).exists()} == set(), path
        for name in re.findall(
            r"(?<![\w/.])(?:conf|latro|pract|scripts|tests)/[\w/]+\.(?:yaml|py|json)\b", text
        ):
            assert (ROOT / name).exists(), f"{path.name}: {name}"


def test_every_page_is_in_the_sites_menu() -> None:
    menu = set(re.findall(r"[\w-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    assert menu == {path.name for path in PAGES[1:]}

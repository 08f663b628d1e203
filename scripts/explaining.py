"""What `--help` prints: what the script is for, the options of each group, and the configuration as composed.

Hydra's own help composes once for every folder under `conf/`, which takes longer than all the rest.
"""

import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from scripts.nearest import CONF


def asked_for(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for help, and not for what only Hydra's own knows, such as another config folder."""
    flags = [argument for argument in arguments if argument.startswith("-")]
    return bool(flags) and set(flags) <= {"-h", "--help"}


def help_text(config_name: str, arguments: Sequence[str], about: str) -> str:
    """The help of a script. Raises Hydra's errors for overrides that do not fit."""
    overrides = [argument for argument in arguments if not argument.startswith("-")]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = OmegaConf.to_yaml(compose(config_name, overrides))
    groups = "\n".join(
        textwrap.fill(f"{group}={' | '.join(options)}", 100, initial_indent="  ", subsequent_indent="    ")
        for group, options in groups_of(config_name)
    )
    keys = "Every key can be given as key=value; --cfg job prints the configuration alone, -m sweeps."
    return f"{about.strip()}\n\n== groups ==\n{groups}\n\n== configuration ==\n{composed}\n{keys}"


def groups_of(config_name: str) -> Iterator[tuple[str, list[str]]]:
    """The groups that a configuration's defaults list names, with the files there are."""
    defaults: list[Any] = yaml.safe_load((CONF / f"{config_name}.yaml").read_text(encoding="utf-8")).get(
        "defaults", []
    )
    for name in (key for entry in defaults if isinstance(entry, dict) for key in entry):
        folder = CONF / name.split("@")[0]
        if not name.startswith("override "):
            files = sorted(folder.rglob("*.yaml") if name == "experiment" else folder.glob("*.yaml"))
            yield name, [str(file.relative_to(folder).with_suffix("")) for file in files]


def print_help(config_name: str) -> None:
    """Print the help that this process's command line asks for."""
    about = sys.modules["__main__"].__doc__ or config_name
    print(help_text(config_name, sys.argv[1:], about))

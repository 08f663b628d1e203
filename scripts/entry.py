"""How every script starts: Hydra composes the configuration, and bad input ends in one line.

    python -m scripts.NAME key=value ...        -m sweeps, --help and --cfg job explain

Exit status: 0 done, 1 a broken system (with its traceback), 2 bad input (one line, no traceback), 130 stopped.
"""

import difflib
import errno
import functools
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from latro.errors import InputError as LatroInputError
from pract.errors import InputError as PractInputError
from scripts.explaining import asked_for, print_help
from scripts.masking import masked_command
from scripts.nearest import nearest_key

INPUT_ERRORS = (LatroInputError, PractInputError)
OURS = ("latro", "pract", "scripts", "conf")


def script(config_name: str) -> Callable[[Callable[[DictConfig], None]], Callable[[], None]]:
    """Make `task(cfg)` a script over `conf/{config_name}.yaml`."""

    def decorate(task: Callable[[DictConfig], None]) -> Callable[[], None]:
        def main() -> None:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions come here instead of being printed by Hydra
            os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
            if asked_for(sys.argv[1:]):
                guard(print_help, config_name, config_name=config_name)
                return
            guarded = functools.wraps(task)(functools.partial(one_job, task, config_name=config_name))
            guard(refuse_secret_sweep, sys.argv[1:], config_name=config_name)
            guard(
                hydra.main(version_base="1.3", config_path="../conf", config_name=config_name)(guarded),
                config_name=config_name,
            )

        return main

    return decorate


def in_multirun() -> bool:
    """Whether this is a job of Hydra's -m."""
    return bool(HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN)


def refuse_secret_sweep(arguments: list[str]) -> None:
    """Raise InputError for a secret on the command line of Hydra's -m, which writes it into multirun.yaml."""
    if {"-m", "--multirun"} & set(arguments) and masked_command(arguments) != arguments:
        raise LatroInputError(
            "-m would write the secret of this command line into multirun.yaml: give it by the environment, or use "
            "scripts.sweep"
        )


def variant() -> str:
    """The part of a sweep job's folder that its own overrides make; nothing outside a sweep."""
    if not in_multirun():
        return ""
    named_already = ("experiment", "seed", "output_dir", "overwrite", "resume", "hydra")
    overrides = [o for o in HydraConfig.get().overrides.task if not o.startswith(named_already)]
    return "".join("/" + re.sub(r"[^\w.=,-]+", "_", override) for override in masked_command(overrides))


def weights(*, _root_: DictConfig) -> str:
    """The configuration's model as a folder's name: its path or hub id, or the class that makes it."""
    model = _root_.model
    name = model.get("path") or model.get("hub_id") or model._target_.rpartition(".")[2]
    return re.sub(r"[^\w.=,-]+", "__", str(name).strip("./"))[-100:] or "here"


def where_bfloat16_is_fast(then: object, otherwise: object, *, _root_: DictConfig) -> object:
    """The first value on a machine that is fast in bfloat16, else the second; a plan's machine is its `hardware`."""
    if _root_.get("plan") and _root_.get("hardware"):
        from latro.hardware import hardware_given

        return then if hardware_given(str(_root_.hardware)).bfloat16 else otherwise
    from latro.precision import bfloat16_is_fast

    return then if bfloat16_is_fast() else otherwise


OmegaConf.register_new_resolver("variant", variant, replace=True)
OmegaConf.register_new_resolver("weights", weights, replace=True)
OmegaConf.register_new_resolver("where_bfloat16_is_fast", where_bfloat16_is_fast, replace=True)


def guard(call: Callable[..., None], *arguments: Any, config_name: str) -> None:
    """Call, and turn what the user can mend into one line and an exit status."""
    try:
        call(*arguments)
    except KeyboardInterrupt:
        sys.exit(fail("stopped by hand; what was done is in the run folder", status=130))
    except Exception as error:
        line = explain(error, config_name)
        if line is None:
            raise
        sys.exit(fail(line))


def one_job(task: Callable[[DictConfig], None], cfg: DictConfig, *, config_name: str) -> None:
    """Do what the script is for. Of a multirun, a job that fails says so and leaves the others to go on."""
    if not in_multirun():
        guard(task, cfg, config_name=config_name)
        return
    try:
        task(cfg)
    except Exception as error:
        line = explain(error, config_name)
        if line is not None:
            fail(line)
        raise


def status_of(call: Callable[[], int], stopped: str) -> int:
    """The call's exit status. What the user can mend is said in one line, and `stopped` after Ctrl-C.

    For scripts that Hydra does not start: the parents of sweeps.
    """
    try:
        return call()
    except KeyboardInterrupt:
        return fail(stopped, status=130)
    except Exception as error:
        first: BaseException = error
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        line = explain(first)
        if line is None:
            raise
        return fail(line)


def fail(line: str, status: int = 2) -> int:
    """Print one line to standard error and return the exit status."""
    print(f"error: {line}", file=sys.stderr)
    return status


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it was raised from, outermost first."""
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen:
        seen.append(current)
        current = current.__cause__ or current.__context__
    yield from seen


def explain(error: BaseException, config_name: str | None = None) -> str | None:
    """One line for an error that the user can mend; None for one that is ours.

    `config_name` is the script's own configuration, in which a misspelt key is looked for.
    """
    chain = list(causes(error))
    for cause in chain:
        if isinstance(cause, INPUT_ERRORS):
            return str(cause)
    for cause in chain:
        if no_room(cause):
            name = f" while writing {cause.filename}" if isinstance(cause, OSError) and cause.filename else ""
            return f"the disk is full{name}; free some space and start again: the run goes on from its last checkpoint"
        if isinstance(cause, ModuleNotFoundError) and cause.name and cause.name.split(".")[0] not in OURS:
            package = cause.name.split(".")[0]
            return f"the package {package} is not installed; install it, or the extra of this project that brings it"
    for cause in chain:
        if isinstance(cause, TypeError) and "unexpected keyword argument" in str(cause):
            return unexpected_keyword(str(cause), chain)
    if isinstance(error, InstantiationException) and not is_call_or_name(chain):
        return None
    if isinstance(error, HydraException | OmegaConfBaseException):
        return composition_error(chain, config_name)
    return None


def no_room(error: BaseException) -> bool:
    """Whether an error means that nothing more can be written; libraries written in C++ only say it in words."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    words = ("No space left on device", "Disk quota exceeded", "iostream error", "unexpected pos")
    return any(word in str(error) for word in words)


def is_call_or_name(chain: list[BaseException]) -> bool:
    """Whether a target could not be found or called; what it raises by itself is no matter of the configuration."""
    return any(
        isinstance(cause, ImportError) or (isinstance(cause, TypeError) and "argument" in str(cause))
        for cause in chain
    )


def unexpected_keyword(message: str, chain: list[BaseException]) -> str | None:
    """One line for a key that a config's target does not know; None if a bug of ours raised it."""
    if not any(isinstance(cause, HydraException) for cause in chain):
        return None
    match = re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", message)
    return f"{match[1]} knows no key {match[2]!r}; see its fields, or leave the key out" if match else message


def composition_error(chain: list[BaseException], config_name: str | None) -> str:
    """One line for an override or config file that Hydra refused, with the nearest name that exists."""
    text = " ".join(" ".join(str(cause) for cause in chain).split())
    key = re.search(r"Could not override '([^']+)'", text)
    if key:
        near_key = nearest_key(key[1], config_name, sys.argv[1:]) if config_name else None
        hint = f"did you mean {near_key!r}?" if near_key else "--cfg job prints those there are"
        return f"there is no key {key[1]!r} in this configuration; {hint}"
    group = re.search(
        r"Could not find '([^']+)'.*?Available options in '[^']*': (.*?)(?: Config search path|$)", text
    )
    if group:
        options = re.findall(r"[\w./-]+", group[2])
        wanted = group[1].rsplit("/", 1)[-1]
        near = difflib.get_close_matches(wanted, options, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ";"
        return f"there is no config {group[1]!r}{hint} there are: {', '.join(options)}".replace(
            "? there", "? There"
        )
    missing = re.search(r"Could not find '([^']+)'", text)
    if missing:
        return f"there is no config {missing[1]!r}{nearest_config(missing[1])}"
    return " ".join(str(chain[0]).split())


def nearest_config(wanted: str) -> str:
    """`; did you mean ...?` for a config in a folder of a group, or those that the folder holds."""
    from pathlib import Path

    folder = (Path(__file__).parent.parent / "conf" / wanted).parent
    options = sorted(path.stem for path in folder.glob("*.yaml"))
    near = difflib.get_close_matches(wanted.rsplit("/", 1)[-1], options, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; there are: {', '.join(options)}" if options else "; --config-dir adds a folder of your own"

"""What a sweep will run: a grid by Hydra's own override grammar, and every job's configuration, composed beforehand."""

import hashlib
import itertools
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from latro.errors import InputError
from scripts.entry import explain
from scripts.nearest import CONF

LAUNCHERS = ("local", "slurm", "slurm_local")
OWN_FOLDER = ("output_dir", "overwrite", "resume")
"""Keys of the jobs that are the sweep's affair."""
LONGEST = 120
"""Bytes of a folder's name; a longer one is cut and told apart by its digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepConfig:
    """The sweep's own keys on the command line; all others are the jobs'."""

    script: str = "train_latro"
    """Which of `scripts/` each job is."""
    jobs: int = 1
    """Jobs at once."""
    launcher: str = "local"
    """`local` processes; `slurm`, a cluster job each; `slurm_local` rehearses that on this machine."""
    slurm: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of submitit, as `slurm={timeout_min: 120, gpus_per_node: 1, slurm_partition: gpu}`."""
    launch: str = ""
    """Put before each job instead of `python`, as `accelerate launch --config_file FILE`."""
    sweep_dir: str | None = None
    """Where the sweep is kept; null: `runs/sweeps/`, by script, experiment and what is fixed."""
    metric: Any = None
    """One or a list: a name in results.json, or eval/NAME@best, @last, @start, @lowest, @mean of a training."""
    sampler: str = "grid"
    """`grid`, or `optuna` (extra: optuna), which needs a metric."""
    trials: int = 20
    """Of optuna, the finished ones included."""
    direction: str = "maximize"
    """Of optuna: `maximize` or `minimize` the metric's mean over seeds."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        if not (CONF / f"{self.script}.yaml").is_file():
            known = ", ".join(
                path.stem for path in sorted(CONF.glob("*.yaml")) if "output_dir" in path.read_text()
            )
            raise InputError(f"script={self.script}: no such script; there are {known}")
        try:
            shlex.split(self.launch)
        except ValueError as error:
            raise InputError(f"launch={self.launch}: {error}") from None
        for name in ("jobs", "trials"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}: give a whole number of at least 1")
        choices = {
            "launcher": LAUNCHERS,
            "sampler": ("grid", "optuna"),
            "direction": ("maximize", "minimize"),
        }
        for name, known_values in choices.items():
            if getattr(self, name) not in known_values:
                raise InputError(f"{name}={getattr(self, name)}: choose one of {', '.join(known_values)}")

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics asked for."""
        if self.metric is None:
            return ()
        return tuple(map(str, self.metric)) if isinstance(self.metric, list) else (str(self.metric),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One child process."""

    name: str
    knobs: Mapping[str, str]
    """The swept keys, seed included, with this job's values."""
    overrides: tuple[str, ...]
    """All that its command line says, but for its folder."""
    folder: Path
    script: str
    """Which of `scripts/` it is."""
    launch: str = ""
    """Put before it instead of `python`."""
    needs: Path | None = None
    """Folder of the job whose outcome it takes up; it is not started where that one failed."""

    @property
    def setting(self) -> tuple[tuple[str, str], ...]:
        """The swept keys but for the seed: jobs of one setting are told apart by their seed alone."""
        return without_seed(tuple(self.knobs.items()))


def without_seed(knobs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The knobs but for the seed."""
    return tuple((key, value) for key, value in knobs if key != "seed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A sweep before it starts."""

    config: SweepConfig
    fixed: tuple[str, ...]
    """Overrides that all jobs share."""
    knobs: Mapping[str, tuple[str, ...]]
    """Swept keys and their values."""
    searched: tuple[Override, ...]
    """Keys that a sampler draws from an interval."""
    folder: Path
    config_dirs: tuple[str, ...] = ()

    def grid(self, drawn: Mapping[str, str] | None = None) -> list[Job]:
        """A job for each combination, each in a folder of its own; `drawn` are values of a sampler's trial."""
        given = {key: (value,) for key, value in (drawn or {}).items()}
        axes = {**{key: values for key, values in self.knobs.items() if key not in given}, **given}
        found = [
            self.job(dict(zip(axes, values, strict=True))) for values in itertools.product(*axes.values())
        ]
        if len({job.folder for job in found}) < len(found):
            raise InputError("two jobs of the sweep are the same; give each value once")
        return found

    def job(self, knobs: Mapping[str, str]) -> Job:
        """The job of these values."""
        setting = (
            "+".join(f"{key.lstrip('+')}={value}" for key, value in knobs.items() if key != "seed") or "all"
        )
        leaf = f"seed={knobs['seed']}" if "seed" in knobs else "run"
        name = f"{file_name(setting)}/{file_name(leaf)}"
        return Job(
            name=name,
            knobs=knobs,
            overrides=(*self.fixed, *(f"{key}={value}" for key, value in knobs.items())),
            folder=self.folder / "jobs" / name,
            script=self.config.script,
            launch=self.config.launch,
        )


def file_name(text: str) -> str:
    """Text as a file's name. What is lost of it comes back as a digest, so that unlike texts have unlike names."""
    name = re.sub(r"[^\w.=+-]+", "_", text)
    if name == text and len(name.encode()) <= LONGEST:
        return name
    begins = name.encode()[:LONGEST].decode(errors="ignore")
    return f"{begins}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def quoted(text: object) -> str:
    """Text as one value of an override, whatever it holds."""
    return "'" + str(text).replace("'", r"\'") + "'"


def read_plan(arguments: Sequence[str]) -> Plan:
    """The sweep of a command line. Raises InputError for one that cannot be parsed or sweeps nothing."""
    config_dirs, given = _without_config_dirs(arguments)
    try:
        overrides = OverridesParser.create().parse_overrides(list(given))
    except HydraException as error:
        raise InputError(f"{explain(error)}; write key=value or key=a,b,c") from None
    names = {item.name for item in fields(SweepConfig)}
    own = {}
    for override in overrides:
        if override.key_or_group in names:
            if override.is_sweep_override():
                values = str(override.input_line).partition("=")[2]
                raise InputError(
                    f"{override.input_line}: the sweep itself has one {override.key_or_group}; a list is [{values}]"
                )
            own[override.key_or_group] = override.value()
    config = SweepConfig(**{key: _plain(value) for key, value in own.items()})
    theirs = [o for o in overrides if o.key_or_group not in names]
    for override in theirs:
        if override.key_or_group in OWN_FOLDER:
            raise InputError(
                f"{override.input_line}: each job of a sweep has a folder of its own, and goes on with what it holds; "
                "leave the key out, or give sweep_dir"
            )
    knobs, searched, fixed = _sorted_out(theirs, config)
    folder = Path(config.sweep_dir) if config.sweep_dir else _default_folder(config, fixed)
    return Plan(
        config=config,
        fixed=tuple(fixed),
        knobs=knobs,
        searched=searched,
        folder=folder,
        config_dirs=config_dirs,
    )


def _sorted_out(
    overrides: Sequence[Override], config: SweepConfig
) -> tuple[dict[str, tuple[str, ...]], tuple[Override, ...], list[str]]:
    """Swept keys, keys to be drawn, and the fixed rest."""
    knobs: dict[str, tuple[str, ...]] = {}
    searched, fixed = [], []
    for override in overrides:
        key = override.get_key_element()
        if key.lstrip("+") == "seed":
            key = "seed"
        if not override.is_sweep_override():
            fixed.append(str(override.input_line))
        elif config.sampler == "optuna" and key != "seed":
            searched.append(override)
        elif override.is_choice_sweep() or override.is_range_sweep():
            knobs[key] = tuple(dict.fromkeys(override.sweep_string_iterator()))
        else:
            raise InputError(
                f"{override.input_line}: a grid needs values, as a,b,c or range(...); intervals are for sampler=optuna"
            )
    return knobs, tuple(searched), fixed


def _without_config_dirs(arguments: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The folders that `--config-dir` names, and the other arguments. Raises InputError for another flag."""
    rest, folders, pending = [], [], iter(arguments)
    for argument in pending:
        if argument in ("--config-dir", "-cd"):
            folders.append(next(pending, ""))
            if folders[1:]:
                raise InputError(
                    f"--config-dir {folders[1]}: Hydra takes one such folder, which is {folders[0]} here; "
                    "put both into one"
                )
        elif argument.startswith("-"):
            raise InputError(f"{argument}: a sweep takes key=value, key=a,b,c and --config-dir FOLDER")
        else:
            rest.append(argument)
    return tuple(folders), rest


def _plain(value: Any) -> Any:
    """A parsed value as Python's own."""
    return json.loads(json.dumps(value, default=str)) if isinstance(value, dict | list) else value


def _default_folder(config: SweepConfig, fixed: Sequence[str]) -> Path:
    """A folder by what is run; other fixed values make another folder, other swept ones do not.

    Nor does what a sweep may spend, or that it tries again what failed: its jobs go on.
    """
    experiment = next(
        (o.removeprefix("experiment=") for o in fixed if o.startswith("experiment=")), config.script
    )
    rest = sorted(o for o in fixed if not o.startswith(("experiment=", "budget.", "retry_failed=")))
    if experiment != config.script and config.script != SweepConfig().script:
        rest.append(f"script={config.script}")  # two scripts can have a recipe in common
    digest = f"-{hashlib.sha256(json.dumps(rest).encode()).hexdigest()[:8]}" if rest else ""
    return Path("runs/sweeps") / f"{experiment.replace('/', '_')}{digest}"


def composed(plan: Plan, jobs: Sequence[Job]) -> Iterator[tuple[Job, DictConfig]]:
    """Each job with its configuration. Raises InputError, before any of them starts, if one does not compose."""
    search = [f"hydra.searchpath=[{','.join('file://' + str(Path(d).resolve()) for d in plan.config_dirs)}]"]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for job in jobs:
            try:
                overrides = [
                    *(search if plan.config_dirs else []),
                    *job.overrides,
                    f"output_dir={quoted(job.folder)}",
                ]
                cfg = compose(job.script, overrides)
                OmegaConf.to_container(cfg, resolve=True)
            except (HydraException, OmegaConfBaseException) as error:
                raise InputError(f"{explain(error, job.script)}; no job was started") from None
            yield job, cfg

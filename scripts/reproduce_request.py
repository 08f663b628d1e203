"""What the command line of a reproduction asks for, checked before anything is started."""

import difflib
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig

from latro.errors import InputError
from scripts import latro_sizes, pract_rows
from scripts.masking import masked_command
from scripts.published import tables
from scripts.reproduction import Reproduction, Row
from scripts.sweep_plan import LAUNCHERS, Job, quoted

SIZES = ("tiny", "small", "paper")
SCRIPTS = ("train_latro", "train_sft", "evaluate_latro", "optimize_pract", "evaluate_pract")
PRACT_SCRIPTS = ("optimize_pract", "evaluate_pract")
KEYS = (
    "table", "size", "only", "run", "jobs", "seeds", "folder", "task.path", "env.data", "env.records", "env", "model",
    "model_path", "hardware", "launch", "launcher", "slurm",
)  # fmt: skip
OWN = {
    "seed": " for each row: seeds=",
    "output_dir": ": folder=",
    "overwrite": ": what is finished is kept, what is to be made anew is deleted first",
    "resume": ": what is begun goes on",
    "plan": ": run=false",
}
"""Keys of the scripts that are the table's affair."""
COMMON = ("table", "size", "only", "run", "jobs", "folder", "launcher", "slurm")
USED = {
    ("latro", "tiny"): ("seeds",),
    ("latro", "small"): ("seeds", "task.path", "model", "model_path"),
    ("latro", "paper"): (
        "seeds",
        "task.path",
        "hardware",
        "launch",
        *(f"{m}.path" for m in latro_sizes.MODELS),
    ),
    ("pract", "tiny"): (),
    ("pract", "small"): ("seeds", "env", "env.data", "model_path"),
    ("pract", "paper"): ("seeds", "env.data", "env.records"),
}
"""Keys that a system's table asks for at a size, besides the common ones; any other would be ignored."""
GPUS_NEEDED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A table, a size, and what was said about how to run it."""

    table: str
    size: str
    only: tuple[str, ...] = ()
    run: bool = True
    jobs: int = 0
    """Commands at once; 0: as many as do not get in each other's way."""
    seeds: tuple[int, ...] = ()
    """Of the main rows; none were given: three for LaTRO where that is cheap, else one."""
    folder: Path
    data: str = ""
    """Of the dataset or environment, on this disk."""
    records: str = ""
    """Folder with what services answered, on this disk."""
    env: str = ""
    model: str = "smollm2_135m"
    model_path: str = ""
    paths: Mapping[str, str] = field(default_factory=dict)
    """Of the paper's models."""
    hardware: str = "H100"
    launch: str = ""
    launcher: str = "local"
    slurm: Mapping[str, Any] = field(default_factory=dict)
    given: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Overrides for the jobs of a script."""
    words: tuple[str, ...] = ()
    """The command line but for `only` and `run`, for commands that are told."""

    def reproduction(self) -> Reproduction:
        """The rows of the table at this size. Raises InputError for a model or an environment without any."""
        if self.table == "pract":
            if self.size == "tiny":
                return pract_rows.tiny()
            if self.size == "paper":
                return pract_rows.paper(self.data, self.records, self.seeds or (0,))
            if self.env not in ("", *pract_rows.HAND):
                raise InputError(f"env={self.env}: size=small has recipes for {', '.join(pract_rows.HAND)}")
            return pract_rows.small(self.env, self.model_path, self.data, self.seeds or (0,))
        if self.size == "paper":
            return latro_sizes.paper(self.table, self.seeds or (0,), self.data, dict(self.paths), self.launch)
        seeds = self.seeds or (0, 1, 2)
        if self.size == "tiny":
            return latro_sizes.tiny(self.table, seeds)
        return latro_sizes.small(self.table, seeds, self.model, self.model_path, self.data)

    @property
    def jobs_at_once(self) -> int:
        """As asked; else two, but one where two trainings would be put on the same GPUs."""
        shared = gpus_here() if self.size == "small" else self.size == "paper" and self.table != "pract"
        return self.jobs or (1 if shared and self.launcher == "local" else 2)

    def idle(self, reproduction: Reproduction) -> str:
        """Why a row that could be run was not."""
        if self.run:
            return "not asked for: only= names others"
        return f"needs {reproduction.needs}; start it with run=true" if reproduction.needs else "run=false"

    def command(self, keys: str) -> str:
        """What runs the rows of these keys."""
        return shlex.join(
            [
                "python",
                "-m",
                "scripts.reproduce",
                *masked_command(self.words),
                f"only={keys}",
                *["run=true"] * (self.size == "paper"),
            ]
        )

    def by_hand(self, row: Row) -> list[str]:
        """The commands behind a row under its first seed, as they can be given without this script."""
        if row.impossible:
            return []
        return [
            shlex.join(
                [
                    *(shlex.split(job.launch) or ["python"]),
                    *("-m", f"scripts.{job.script}"),
                    *masked_command((*job.overrides, *self.given.get(job.script, ()))),
                    f"output_dir={quoted(job.folder)}",
                ]
            )
            for job in row.jobs(self.folder, row.seeds[0])
        ]

    def refuse_what_is_missing(self, configurations: Sequence[tuple[Job, DictConfig]]) -> None:
        """Raise InputError for data, a model or hardware that is not here; nothing has been started by then."""
        if self.size == "tiny":
            return
        if self.size == "paper" and self.table != "pract" and self.launcher == "local" and not self.launch:
            _refuse_without_gpus()
        if self.table == "pract":
            if self.size == "small":
                _refuse_without_file(self.model_path)
            elif not self.data:
                raise InputError(
                    "size=paper of table=pract needs AgentBoard's and WebShop's data: env.data=FOLDER"
                )
            return
        _refuse_without_dataset(configurations[0][1])
        if self.size == "small":
            _refuse_without_model(configurations)


def gpus_here() -> bool:
    """Whether the system has devices of NVIDIA's; to ask torch takes seconds."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()


def _refuse_without_gpus() -> None:
    import torch

    found = torch.cuda.device_count()
    if found < GPUS_NEEDED:
        raise InputError(
            f"run=true: size=paper needs {GPUS_NEEDED} GPUs of 80 GB, and {found} are here; without run=true it is "
            "planned only, launcher=slurm sends it to a cluster, launch='accelerate launch ...' starts it otherwise"
        )


def _refuse_without_file(path: str) -> None:
    if not path:
        raise InputError("size=small of table=pract needs a model: model_path=MODEL.gguf (extra: serve)")
    if not Path(path).is_file():
        raise InputError(f"model_path={path}: no such file; give a GGUF file")


def _refuse_without_dataset(cfg: DictConfig) -> None:
    from scripts.building import build_task

    build_task(cfg).examples("train")


def _refuse_without_model(configurations: Sequence[tuple[Job, DictConfig]]) -> None:
    from hydra.utils import instantiate

    from scripts.planning import read_sizes

    # Of an evaluation of what is yet to be trained the model cannot be here.
    cfg = next(cfg for job, cfg in configurations if not any("/best" in o for o in job.overrides))
    config = instantiate(cfg.model, _convert_="all")
    if config.path and not Path(config.path).exists():
        raise InputError(
            f"model_path={config.path}: no such file or folder; give a model folder or a GGUF file"
        )
    if config.path or config.fallback_wheel is None:
        read_sizes(config)


def read_request(arguments: Sequence[str]) -> Request:
    """The request of a command line. Raises InputError for a key or a value that there is not."""
    given: dict[str, str] = {}
    theirs: dict[str, list[str]] = {}
    paths: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise InputError(f"{argument}: write key=value; --help has all keys")
        script, _, rest = key.partition(".")
        if script in SCRIPTS and rest in OWN:
            raise InputError(f"{key}=: the table has its own {rest}{OWN[rest]}; leave it out")
        if script in SCRIPTS and rest:
            theirs.setdefault(script, []).append(f"{rest}={value}")
        elif script in latro_sizes.MODELS and rest == "path":
            paths[script] = value
        elif key in KEYS:
            given[key] = value
        else:
            near = difflib.get_close_matches(key, KEYS, n=1)
            hint = f"did you mean {near[0]}=?" if near else f"there are {', '.join(KEYS)}"
            raise InputError(f"{key}=: there is no such key; {hint}")
    known = tables()
    table, size = _choice(given, "table", known), _choice(given, "size", SIZES)
    _refuse_unused(table, size, [*given, *(f"{model}.path" for model in paths)], list(theirs))
    read: dict[str, Callable[[str], Any]] = {
        "only": lambda text: tuple(part for part in text.split(",") if part),
        "run": lambda text: _truth("run", text),
        "jobs": lambda text: _whole("jobs", text, least=1),
        "seeds": _seeds,
        "env": str,
        "model": str,
        "model_path": str,
        "hardware": str,
        "launch": str,
        "launcher": lambda text: _choice({"launcher": text}, "launcher", LAUNCHERS),
        "slurm": _mapping,
    }
    values = {key: read[key](text) for key, text in given.items() if key in read}
    values.setdefault("run", size != "paper")
    return Request(
        table=table,
        size=size,
        folder=Path(given.get("folder") or f"runs/reproduce/{table}_{size}"),
        data=given.get("env.data" if table == "pract" else "task.path", ""),
        records=given.get("env.records", ""),
        paths=paths,
        given={script: tuple(overrides) for script, overrides in theirs.items()},
        words=tuple(word for word in arguments if not word.startswith(("only=", "run="))),
        **values,
    )


def _refuse_unused(table: str, size: str, keys: Sequence[str], scripts: Sequence[str]) -> None:
    """Raise InputError for a key that this table does not use at this size, or a script that it does not run."""
    system = "pract" if table == "pract" else "latro"
    used = USED[system, size]
    for key in keys:
        if key in (*COMMON, *used):
            continue
        if key == "seeds":
            raise InputError(
                f"seeds=: table={table} size={size} replays recordings, which have one seed; leave it out"
            )
        there = f"it uses {', '.join(used)}" if used else "leave it out"
        raise InputError(f"{key}=: table={table} size={size} does not use it; {there}")
    ours = [script for script in SCRIPTS if (script in PRACT_SCRIPTS) == (system == "pract")]
    for script in scripts:
        if script not in ours:
            raise InputError(f"{script}.KEY=: table={table} does not run it; it runs {', '.join(ours)}")


def _choice(given: Mapping[str, str], key: str, known: Sequence[str]) -> str:
    value = given.get(key, "")
    if value not in known:
        near = difflib.get_close_matches(value, known, n=1)
        hint = f"did you mean {near[0]}? There are" if near else "choose one of"
        raise InputError(f"{key}={value}: {hint} {', '.join(known)}")
    return value


def _truth(key: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise InputError(f"{key}={text}: give true or false")
    return text.lower() == "true"


def _whole(key: str, text: str, least: int = 0) -> int:
    if not text.isdecimal() or int(text) < least:
        raise InputError(f"{key}={text}: give whole numbers of at least {least}")
    return int(text)


def _seeds(text: str) -> tuple[int, ...]:
    seeds = tuple(_whole("seeds", part) for part in text.split(","))
    if len(set(seeds)) < len(seeds):
        raise InputError(f"seeds={text}: name each seed once")
    return seeds


def _mapping(text: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        content = None
    if not isinstance(content, dict):
        raise InputError(f"slurm={text}: write it as slurm='{{timeout_min: 120, gpus_per_node: 8}}'")
    return json.loads(json.dumps(content, default=str))

"""Optuna proposes what a sweep tries next: each trial is all seeds of one setting, and its value the metric's mean."""

import json
from statistics import fmean
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import IntervalSweep, Override

from latro.errors import InputError
from scripts.folders import rows
from scripts.launching import run_chains
from scripts.sweep_plan import composed
from scripts.tables import whole_lines, write_text

if TYPE_CHECKING:
    from scripts.sweep import Sweep


async def search(under_way: "Sweep") -> None:
    """Ask, run, tell, until the trials are used up; `trials.jsonl` holds what was asked, for a later session."""
    optuna = _optuna()
    plan, config = under_way.plan, under_way.plan.config
    if not plan.searched or len(config.metrics) != 1:
        raise InputError(
            "sampler=optuna needs one metric, and keys to search, as metric=eval/accuracy_greedy "
            "trainer.learning_rate='tag(log, interval(1e-5, 1e-3))'"
        )
    spaces = {o.get_key_element(): _space(optuna, o) for o in plan.searched}
    drawn = {key: str(_first(space)) for key, space in spaces.items()}
    list(composed(plan, plan.grid(drawn)))  # a misspelt knob is refused before any job
    table = plan.folder / "trials.jsonl"
    if table.exists():
        write_text(table, "".join(whole_lines(table)))  # what is added must not end a torn line
    asked = list(rows(table)) if table.exists() else []
    for params in asked:
        if any(key not in params or not _holds(space, params[key]) for key, space in spaces.items()):
            raise InputError(f"{table} holds trials of another search ({params}); give another sweep_dir")
    # Known trials draw nothing: with the first session's seed, a second one would begin with its draws again.
    sampler = optuna.samplers.TPESampler(seed=len(asked))
    study = optuna.create_study(direction=config.direction, sampler=sampler)
    for number in range(config.trials):
        if number < len(asked):
            study.enqueue_trial(asked[number])
        trial = study.ask(spaces)
        if number >= len(asked):
            with table.open("a", encoding="utf-8") as file:
                file.write(json.dumps(trial.params) + "\n")
        jobs = plan.grid({key: str(value) for key, value in trial.params.items()})
        missing = under_way.add(list(composed(plan, jobs)))
        await run_chains(plan, [[job] for job in missing], under_way.ended)
        values = under_way.figure(jobs)
        if len(values) == len(jobs):
            study.tell(trial, fmean(values))
        else:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError:
        raise InputError(
            "sampler=optuna: the package optuna is not installed; install the extra optuna"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _space(optuna: Any, override: Override) -> Any:
    """A key's values as Optuna's distribution; `tag(log, interval(a, b))` is drawn on the log scale."""
    sweep = override.value()
    if isinstance(sweep, IntervalSweep):
        assert sweep.start is not None  # the grammar has seen to it
        assert sweep.end is not None
        try:
            return optuna.distributions.FloatDistribution(
                float(sweep.start), float(sweep.end), log="log" in sweep.tags
            )
        except ValueError as error:
            raise InputError(f"{override.input_line}: {error}") from None
    return optuna.distributions.CategoricalDistribution(list(override.sweep_string_iterator()))


def _holds(space: Any, value: Any) -> bool:
    return value in space.choices if hasattr(space, "choices") else space.low <= value <= space.high


def _first(space: Any) -> Any:
    """Some value of a distribution."""
    return space.choices[0] if hasattr(space, "choices") else space.low

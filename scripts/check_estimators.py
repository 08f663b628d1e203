"""Are the gradients right? Sampled estimators against exact gradients, in a world where all can be enumerated.

    python -m scripts.check_estimators [samples=120000] [seed=1] [output_dir=runs/estimators]

A real Llama of 600 parameters, a vocabulary of six, rationales of up to two tokens. For every reward and preset,
and for each departure of the published code alone: bias with its standard error, and variance per sample. Exit
status 1 if an estimator that claims to be unbiased is not, or if the sampler does not draw from the policy.
"""

import sys
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from latro.errors import InputError
from scripts.entry import script

if TYPE_CHECKING:
    from rich.table import Table
    from torch import Tensor

    from latro.estimators import Bias, Loss, Tables
    from latro.exact import World
    from latro.objective import ObjectiveConfig

SIGMAS = 3.0
"""Standard errors that a bias along the exact gradient may be away from zero."""
P_VALUE = 1e-3
"""Smallest p-value of the joint test and of the sampler's chi-square test."""
ROUNDING = 1e-5
"""Relative error that counts as none: a Llama normalises in single precision."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One estimator to be judged."""

    name: str
    config: "ObjectiveConfig"
    claim: bool
    """Whether it claims to be unbiased."""
    world: str = "letters"
    loss: "Loss | None" = None
    """Another loss than that of training."""
    rationales_per_prompt: int | None = None
    """Another K than the one asked for, from the same draws."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found about one estimator."""

    name: str
    world: str
    claim: bool
    K: int
    bias: "Bias"
    expected_error: float | None
    """|E[estimate] - exact| / |exact| with the expectation enumerated, not sampled; None where it cannot be."""
    code_error: float | None
    """Relative difference of a batch's gradient here and by differentiating the training code end to end."""
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Draws:
    """A world, and what the real sampler drew in it."""

    world: "World"
    tables: "Tables"
    index_XPK: "Tensor"
    chi_square_p: list[float]
    """One per prompt."""


def worlds(seed: int) -> "dict[str, World]":
    """The worlds by name: plain, at another temperature, with a marker behind white space, with one within a line."""
    from latro.exact import small_world

    return {
        "letters": small_world(seed),
        "temperature 0.7": small_world(seed, temperature=0.7),
        "line break": small_world(
            seed, letters="abc\n#", separator="\n", questions=[("ab", "#a"), ("ca", "#b")]
        ),
        "doubled line break": small_world(
            seed,
            letters="a\n#",
            separator="\n",
            questions=[("a", "#a"), ("aa", "#aa")],
            max_rationale_tokens=3,
        ),
        "marker within a line": small_world(
            seed,
            letters="a\n#",
            separator="\n",
            markers=("#a",),
            questions=[("a", "#a"), ("aa", "#aa")],
            max_rationale_tokens=3,
        ),
    }


def cases(kl_weight: float, penalty_weight: float) -> list[Case]:
    """Every reward and preset, baselines, and the published code's departures one by one and together."""
    from latro.estimators import loss_without_baseline
    from latro.objective import AnswerMask, ObjectiveConfig, Penalty, Reward

    def config(**knobs: object) -> "ObjectiveConfig":
        return ObjectiveConfig(kl_weight=kl_weight, penalty_weight=penalty_weight, **knobs)  # type: ignore[arg-type]

    dependent = (Reward.RELATIVE_PERPLEXITY, Reward.MULTI_SAMPLE_BOUND)
    separable = [reward for reward in Reward if reward not in dependent]
    departures: dict[str, dict[str, object]] = {
        "score_stop=false": {"score_stop": False},
        "answer_weight=0": {"answer_weight": 0.0},
        "answer_mask=off_by_one": {"answer_mask": AnswerMask.OFF_BY_ONE},
        "penalty=batch_mean": {"penalty": Penalty.BATCH_MEAN},
    }
    return [
        *(Case(name=f"paper, {reward}", config=config(reward=reward), claim=True) for reward in Reward),
        Case(name="paper, log_likelihood", config=config(), claim=True, world="temperature 0.7"),
        Case(name="paper, log_likelihood", config=config(), claim=True, world="line break"),
        Case(name="paper, log_likelihood", config=config(), claim=True, world="doubled line break"),
        Case(name="paper, log_likelihood", config=config(), claim=True, world="marker within a line"),
        Case(name="paper, no baseline", config=config(), claim=True, loss=loss_without_baseline),
        *(
            Case(name="paper, leave-one-out", config=config(), claim=True, rationales_per_prompt=K)
            for K in (2, 16)
        ),
        *(
            Case(name=f"paper, {name}", config=config(**knob), claim=False)
            for name, knob in departures.items()
        ),
        *(
            Case(
                name=f"official_code, {reward}",
                config=config(preset="official_code", reward=reward),
                claim=False,
            )
            for reward in separable
        ),
    ]


def draw(world: "World", samples: int, K: int, seed: int) -> Draws:
    """Enumerate a world, and draw at least `samples` rationales from it."""
    from latro.estimators import draw_groups, frequency_p_values, indices, tabulate

    tables = tabulate(world)
    batches = -(-samples // (len(world.prompts) * K))
    index_XPK = indices(tables, draw_groups(world, batches, K, seed=seed), K)
    p_values = list(frequency_p_values(tables, index_XPK))
    return Draws(world=world, tables=tables, index_XPK=index_XPK, chi_square_p=p_values)


def investigate(case: Case, draws: Draws, enumerated: int) -> Finding:
    """Measure one estimator and list its faults; an estimator without a claim has none but broken code."""
    from latro.estimators import (
        expected_gradient,
        loss_coefficients,
        measure,
        real_gradient,
        regroup,
        tabulate,
        training_loss,
    )
    from latro.objective import Penalty

    tables = draws.tables if case.config.score_stop else tabulate(draws.world, score_stop=False)
    K = case.rationales_per_prompt or draws.index_XPK.shape[-1]
    index_XPK = regroup(draws.index_XPK, K)
    loss = case.loss or training_loss
    exact_D = tables.exact_gradient(case.config, K)
    coefficients_XC = loss_coefficients(tables, index_XPK, case.config, loss)
    bias = measure(coefficients_XC, tables, exact_D, rows_per_batch=index_XPK[0].numel())
    expected_error = code_error = None
    if case.config.penalty != Penalty.BATCH_MEAN and case.rationales_per_prompt is None:
        target_D = tables.exact_gradient(case.config, enumerated)
        expected_D = expected_gradient(tables, case.config, enumerated, loss)
        expected_error = float((expected_D - target_D).norm() / target_D.norm())
    if case.loss is None:
        real_D = real_gradient(tables, index_XPK[0], case.config)
        code_error = float((coefficients_XC[0] @ tables.jacobian_CD - real_D).norm() / real_D.norm())
    finding = Finding(
        name=case.name,
        world=case.world,
        claim=case.claim,
        K=K,
        bias=bias,
        expected_error=expected_error,
        code_error=code_error,
    )
    finding.faults.extend(faults(finding))
    return finding


def faults(finding: Finding) -> list[str]:
    """What speaks against an estimator's claim, and against the check itself."""
    found = []
    if finding.code_error is not None and finding.code_error > ROUNDING:
        found.append(f"differs from the training code by {finding.code_error:.1e}")
    if finding.claim and not abs(finding.bias.z) <= SIGMAS:
        found.append(f"bias of {finding.bias.z:+.1f} standard errors")
    if finding.claim and not finding.bias.p_value >= P_VALUE:
        found.append(f"joint test p={finding.bias.p_value:.1e}")
    if finding.claim and finding.expected_error is not None and not finding.expected_error <= ROUNDING:
        found.append(f"expectation off by {finding.expected_error:.1e}")
    return found


def table(findings: list[Finding]) -> "Table":
    """The findings as printed."""
    from rich.table import Table

    view = Table(title="Gradient estimators against the exact gradient g of the paper's objective")
    for column in ("estimator", "world"):
        view.add_column(column)
    for column in ("K", "bias along g", "z", "joint p", "|bias|/|g|", "cosine", "variance/sample", "verdict"):
        view.add_column(column, justify="right")
    for f in findings:
        distance = f"~{f.bias.distance:.2g}" if f.expected_error is None else f"{f.expected_error:.2g}"
        verdict = "FAILS" if f.faults else "unbiased" if f.claim else "no claim"
        view.add_row(
            f.name,
            f.world,
            str(f.K),
            f"{f.bias.along:+.2%} ± {f.bias.standard_error:.2%}",
            f"{f.bias.z:+.1f}",
            f"{f.bias.p_value:.2g}",
            distance,
            f"{f.bias.cosine:.3f}",
            f"{f.bias.variance_per_sample:.2f}",
            verdict,
        )
    return view


def run_checks(
    chosen: list[Case],
    *,
    samples: int,
    rationales_per_prompt: int,
    enumerated_rationales: int,
    seed: int,
    world_seed: int,
) -> tuple[list[Finding], dict[str, list[float]]]:
    """All findings, and the sampler's chi-square p-values by world."""
    findings: list[Finding] = []
    p_values: dict[str, list[float]] = {}
    every = worlds(world_seed)
    for name in dict.fromkeys(case.world for case in chosen):
        draws = draw(every[name], samples, rationales_per_prompt, seed)
        p_values[name] = draws.chi_square_p
        for case in chosen:
            if case.world == name:
                findings.append(investigate(case, draws, enumerated_rationales))
                print(f"  {case.name} ({name}): {', '.join(findings[-1].faults) or 'done'}", file=sys.stderr)
    order = {(case.name, case.world): number for number, case in reversed(list(enumerate(chosen)))}
    return sorted(findings, key=lambda f: order[f.name, f.world]), p_values


def failures(findings: list[Finding], p_values: dict[str, list[float]]) -> list[str]:
    """One line for everything that failed."""
    lines = [f"{f.name} ({f.world}): {fault}" for f in findings for fault in f.faults]
    return lines + [
        f"the sampler does not draw from the policy: world {world!r}, prompt {n}, chi-square p={p:.1e}"
        for world, values in p_values.items()
        for n, p in enumerate(values)
        if not p >= P_VALUE
    ]


@script("check_estimators")
def main(cfg: DictConfig) -> None:
    """Check, print, write, and exit with status 1 if a claim fails."""
    if cfg.samples < 1000 or cfg.rationales_per_prompt < 2 or not 2 <= cfg.enumerated_rationales <= 4:
        raise InputError(
            f"samples={cfg.samples}, rationales_per_prompt={cfg.rationales_per_prompt}, enumerated_rationales="
            f"{cfg.enumerated_rationales}: use at least 1000 samples, 2 rationales, and 2 to 4 enumerated ones"
        )
    from rich.console import Console

    from scripts.run import Run

    run = Run(cfg) if cfg.output_dir else None
    findings, p_values = run_checks(
        cases(cfg.kl_weight, cfg.penalty_weight),
        samples=cfg.samples,
        rationales_per_prompt=cfg.rationales_per_prompt,
        enumerated_rationales=cfg.enumerated_rationales,
        seed=cfg.seed,
        world_seed=cfg.world_seed,
    )
    failed = failures(findings, p_values)
    Console(width=None if sys.stdout.isatty() else 160).print(table(findings))
    for world, values in p_values.items():
        print(f"sampler, {world}: chi-square p " + ", ".join(f"{p:.2f}" for p in values))
    print(
        f"{findings[0].bias.samples} rationales per world, seed {cfg.seed}; ± is one standard error; |bias| by "
        f"enumerating all groups of {cfg.enumerated_rationales}, or from the samples (~: noise included)"
    )
    if run is not None:
        rows = [asdict(f) | {"bias": f.bias._asdict()} for f in findings]
        run.write_json("results", {"estimators": rows, "sampler_chi_square_p": p_values, "failures": failed})
    for line in failed:
        print(f"FAILED {line}", file=sys.stderr)
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()

"""The rows of PRAct's table at each size: RPO's variants and the baselines, learned with equal budgets."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from scripts.latro_rows import MAIN
from scripts.reproduction import Reproduction, Row, Stage

VARIANTS = {
    "batch": ("PRAct, Reward-RPO, batch", "batch", ("rpo.schedule=batch", "rpo.reflection=reward")),
    "traj": ("PRAct, Reward-RPO, trajectory", "traj", ("rpo.schedule=traj", "rpo.reflection=reward")),
    "self_batch": ("PRAct, Self-RPO, batch", "self", ("rpo.schedule=batch", "rpo.reflection=self")),
    "self_traj": ("PRAct, Self-RPO, trajectory", "self", ("rpo.schedule=traj", "rpo.reflection=self")),
    "reflexion": ("Reflexion-style memory", "reflexion", ("method=reflexion",)),
    "ace": ("ACE-style edits", "ace", ("method=ace",)),
    "gepa": ("GEPA", "gepa", ("method=gepa",)),
}
GEPA = {
    "small": ("rpo.validation_tasks=6", "method.metric_calls=60"),
    "paper": ("rpo.validation_tasks=20", "method.metric_calls=200"),
}
"""Of a size: it validates all that it keeps, gate or no gate, and must have episodes left to learn from."""
STYLES = {"act": "Act", "react": "ReAct", "plan_act": "plan, then act"}
HAND = ("todo", "webshop")
"""Environments that have hand-written principles."""
COLUMNS = {"score": "score", "success": "success"}
ONE_ARM = ("~arms.act", "~arms.react", "~arms.initial", "~arms.learned")
PAPER_ENVS = ("webshop", "academia", "movie", "weather")
RECORDED = ("academia", "movie", "weather")
"""Of these, the ones whose published problems need a record of what the service answers."""


def study(
    env: str,
    learning: Sequence[str],
    testing: Sequence[str],
    *,
    prefix: str = "",
    section: str = MAIN,
    style: str = "react",
    seeds: Sequence[int] = (0,),
    further: Mapping[str, Sequence[str]] = MappingProxyType({}),
    impossible: Mapping[str, str] = MappingProxyType({}),
    costs: tuple[float, float] = (20.0, 10.0),
) -> list[Row]:
    """Baselines and variants in one environment; all that learns has the same training tasks and limit of calls.

    Principles are paired with the agent of their own style without any, which tells what they add, and with ReAct.
    further: overrides of one variant's learning, by its key; impossible: what is missing for one.
    """

    def tested(key: str, arm: str, principles: str, *overrides: str) -> Stage:
        chosen = f"+arms.{key}={{style: {arm}, principles: {principles}}}"
        return Stage(
            name=f"{prefix}{key}-tested",
            script="evaluate_pract",
            overrides=(*testing, *ONE_ARM, chosen, *overrides),
            cost=costs[1],
        )

    def row(key: str, label: str, published: str, training: Stage | None, evaluation: Stage) -> Row:
        return Row(
            key=f"{prefix}{key}",
            section=section,
            label=label,
            training=training,
            evaluation=evaluation,
            columns=COLUMNS,
            arm=key,
            seeds=tuple(seeds),
            against=() if key in STYLES else tuple(dict.fromkeys((f"{prefix}{style}", f"{prefix}react"))),
            published=published,
            impossible=impossible.get(key, ""),
        )

    rows = [row(key, label, key, None, tested(key, key, "null")) for key, label in STYLES.items()]
    if env in HAND:
        by_hand = tested("initial", style, env)
        rows.append(row("initial", "PRAct, principles by hand, not learned", "initial", None, by_hand))
    for key, (label, published, overrides) in VARIANTS.items():
        learned = Stage(
            name=f"{prefix}{key}-learned",
            script="optimize_pract",
            overrides=(*learning, *overrides, *further.get(key, ())),
            cost=costs[0],
        )
        test = tested(key, style, "learned", "principles='{before}/principles.json'")
        rows.append(row(key, label, published, learned, test))
    return [
        replace(each, against=(*each.against, f"{prefix}traj")) if each.key == f"{prefix}batch" else each
        for each in rows
    ]


def tiny() -> Reproduction:
    """Recordings, replayed: a made-up clerk's of every variant, and a real model's of one."""
    clerk = ("llm=bundled", "llm.name=todo_clerk_study", "env=todo", "agent=act", "agent.max_steps=8")
    learning = (
        *clerk, "rpo.rounds=1", "rpo.batch_size=3", "rpo.train_tasks=3", "rpo.acceptance=off", "rpo.optimizer.words=40",
        "budget.calls=200", "name=reproduce",
    )  # fmt: skip
    missing = "a recording of it: the clerk's has the variants and Reflexion; size=small runs it"
    made_up = study(
        "todo",
        learning,
        clerk,
        section="to-do list, a made-up clerk replayed",
        style="act",
        impossible=dict.fromkeys(("ace", "gepa"), missing),
    )
    return Reproduction(
        table="pract",
        size="tiny",
        rows=(*made_up, *recorded_shop()),
        comparable="not comparable: replay",
        about=(
            "Everything here is a REPLAY: no model is asked. The clerk of the to-do list is made up, so its rows show "
            "that every variant runs, and at what cost, and say nothing about which is better. The shop's rows replay "
            "a recorded run of Qwen2.5-Coder-1.5B-Instruct."
        ),
        unit="score and success, %",
        measures=("calls", "tokens"),
    )


def recorded_shop() -> list[Row]:
    """The demo's recording of a real model: act against what one round of Reward-RPO in batch learned."""
    section = "bundled shop, a recorded run of Qwen2.5-Coder-1.5B-Instruct replayed"
    recipe = "experiment=pract/demo"
    learned = Stage(name="shop/learned", script="optimize_pract", overrides=(recipe,), cost=10.0)
    both = Stage(
        name="shop/tested",
        script="evaluate_pract",
        overrides=(
            recipe,
            "limit=10",
            "~arms.react",
            "~arms.initial",
            "principles='{before}/principles.json'",
        ),
        cost=10.0,
    )
    rows = [
        Row(
            key=f"shop/{key}",
            section=section,
            label=label,
            training=learned,
            evaluation=both,
            columns=COLUMNS,
            arm=arm,
            learned=arm == "learned",
            published=key,
            against=("shop/act",) * (key != "act"),
        )
        for key, label, arm in (
            ("act", "Act", "act"),
            ("batch", "PRAct, Reward-RPO, batch", "learned"),
        )
    ]
    missing = "a recording of it: llm.mode=record over a served model, hours on two cores (docs/pract.md)"
    wanted = {"react": "ReAct", "plan_act": "plan, then act"} | {
        key: VARIANTS[key][0] for key in VARIANTS if key != "batch"
    }
    return rows + [
        replace(
            rows[1],
            key=f"shop/{key}",
            label=label,
            published=VARIANTS.get(key, ("", key))[1],
            impossible=missing,
        )
        for key, label in wanted.items()
    ]


def small(env: str, model: str, data: str, seeds: Sequence[int]) -> Reproduction:
    """A model of the user's, from a GGUF file on this machine, in the bundled environments or on the user's data."""
    player = ("llm=gguf", f"llm.server.path='{model}'")
    rows: list[Row] = []
    for name in (env,) if env else ("webshop", "todo"):
        recipe = (f"experiment=pract/{name}_local", *player, *((f"env.data='{data}'",) * bool(data)))
        budget = ("rpo.acceptance=off", "budget.calls=400", f"name=reproduce/{name}")
        rows += study(
            name,
            (*recipe, *budget),
            (*recipe, "limit=30"),
            prefix=f"{name}/",
            section=f"{name}, {Path(model).stem or 'no model'}",
            style="act",
            seeds=seeds,
            further={"gepa": GEPA["small"]},
            costs=(7200.0, 3600.0),
        )
    takes = "at most 400 calls to learn and 210 to test, 5 to 60 s each on two cores"
    rows = [replace(row, takes=takes) for row in rows]
    return Reproduction(
        table="pract",
        size="small",
        rows=tuple(rows),
        comparable="not comparable: no public figure",
        about="A small model on this machine. All that learns may make 400 calls; costs stand beside the scores.",
        unit="score and success, %",
        measures=("calls", "tokens"),
    )


def paper(data: str, records: str, seeds: Sequence[int]) -> Reproduction:
    """The method as published, over a hosted API, in the environments that were likely the paper's.

    records: a folder with `ENV_record.jsonl`. An environment without its record cannot be run.
    """
    rows: list[Row] = []
    for env in PAPER_ENVS:
        chosen = "webshop_index" if env == "webshop" else env
        recipe = ("experiment=pract/paper", f"env={chosen}", *((f"env.data='{data}'",) * bool(data)))
        missing = ""
        if env in RECORDED:
            record = Path(records or "FOLDER", f"{env}_record.jsonl")
            recipe += (f"env.records='{record}'",)
            if not records or not record.expanduser().is_file():
                missing = f"{record}, what the service answers: env.records=FOLDER (docs/pract.md)"
        learned = study(
            env,
            (*recipe, "budget.calls=10000", f"name=reproduce/{env}"),
            recipe,
            prefix=f"{env}/",
            section=env,
            seeds=seeds,
            further={"gepa": GEPA["paper"]},
            costs=(7200.0, 3600.0),
        )
        rows += [replace(row, impossible=missing) for row in learned]
    takes = "at most 10,000 calls to learn; what is started prints tokens and price before its first call"
    rows = [replace(row, takes=takes) for row in rows]
    return Reproduction(
        table="pract",
        size="paper",
        rows=tuple(rows),
        comparable="not comparable: no public figure",
        about=(
            "The method as published, with numbers of our choice where the paper's are not public: the environments, "
            "40 training tasks, 4 rounds. All that learns may make 10,000 calls."
        ),
        unit="score and success, %",
        needs="a model behind an API (OPENAI_API_KEY, and money), and the environments' data by env.data=FOLDER",
        measures=("calls", "tokens"),
    )

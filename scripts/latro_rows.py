"""The rows of LaTRO's two tables at each size: base, SFT and LaTRO, the paper's ablations, and those it lacks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from latro.errors import InputError
from scripts.reproduction import Reproduction, Row, Stage

DATASETS = {"latro_gsm8k": ("gsm8k", "gsm8k", 0.05), "latro_arc": ("arc", "arc_challenge", 0.25)}
"""Of a table: the name in its recipes, its task, and the paper's beta."""
MODELS = ("phi35_mini", "mistral_7b", "llama31_8b")
SMALL = {"smollm2_135m": 192, "qwen_coder_0_5b": 432}
"""Models of size=small with the longest output that is evaluated: their recipes' rationales and an answer line."""
REWARDS = ("likelihood", "mean_token_probability", "relative_perplexity", "multi_sample_bound")
ZERO3 = "accelerate launch --config_file conf/accelerate/zero3_8gpu.yaml"
MAIN = "main rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What all rows of one model share."""

    prefix: str
    """Of keys and folders: empty, or the paper's model."""
    latro: tuple[str, ...]
    """Overrides of a LaTRO training."""
    sft: tuple[str, ...]
    asked: tuple[str, ...]
    """Overrides of an evaluation."""
    base: tuple[str, ...]
    """Overrides that load the model before training."""
    seeds: tuple[int, ...]
    launch: str = ""
    costs: tuple[float, float, float] = (60.0, 60.0, 30.0)
    """Of a LaTRO training, an SFT training and an evaluation, in seconds."""
    longest: int
    """Tokens of an output in the main rows."""
    model: str = ""

    def training(self, name: str, *overrides: str) -> Stage:
        """A LaTRO training."""
        return Stage(
            name=f"{self.prefix}{name}",
            script="train_latro",
            overrides=(*self.latro, *overrides),
            launch=self.launch,
            cost=self.costs[0],
        )

    def supervised(self) -> Stage:
        """The SFT training."""
        return Stage(
            name=f"{self.prefix}sft",
            script="train_sft",
            overrides=self.sft,
            launch=self.launch,
            cost=self.costs[1],
        )

    def evaluation(self, name: str, *overrides: str, trained: bool = True) -> Stage:
        """Of what a training left as its best, or of the model before any training."""
        loaded = ("model=base", "model.path='{before}/best'") if trained else self.base
        return Stage(
            name=f"{self.prefix}{name}-evaluated",
            script="evaluate_latro",
            overrides=(*self.asked, *loaded, f"evaluation.max_tokens={self.longest}", *overrides),
            cost=self.costs[2],
        )


def main_rows(ground: Ground) -> list[Row]:
    """Base, SFT and LaTRO, greedy and by vote of eight."""
    columns = {"greedy": "accuracy_greedy", "maj@8": "accuracy_maj8"}
    parts: list[tuple[str, str, Stage | None, tuple[str, ...]]] = [
        ("base", "base", None, ()),
        ("sft", "SFT", ground.supervised(), ("base",)),
        ("latro", "LaTRO", ground.training("latro"), ("base", "sft")),
    ]
    return [
        Row(
            key=f"{ground.prefix}{key}",
            section=MAIN,
            label=label,
            training=training,
            evaluation=ground.evaluation(key, trained=training is not None),
            columns=columns,
            seeds=ground.seeds,
            against=tuple(f"{ground.prefix}{other}" for other in against),
            published=key,
            model=ground.model,
        )
        for key, label, training, against in parts
    ]


def ablation(ground: Ground, key: str, section: str, label: str, *overrides: str) -> Row:
    """LaTRO with something changed, against LaTRO of the same seed."""
    columns = {"greedy": "accuracy_greedy", "maj@8": "accuracy_maj8"}
    return Row(
        key=f"{ground.prefix}{key}",
        section=section,
        label=label,
        training=ground.training(key, *overrides),
        evaluation=ground.evaluation(key),
        columns=columns,
        seeds=ground.seeds[:1],
        against=(f"{ground.prefix}latro",),
    )


def knobs(ground: Ground, beta: float, K: int, official: Sequence[str] = ()) -> list[Row]:
    """What the paper does not ask: K, beta, lambda, the published code's departures, other rewards, and a control."""
    rows = [
        ablation(ground, f"K={k}", "K", f"K={k} (LaTRO: {K})", f"sampling.rationales_per_prompt={k}")
        for k in (2, 4, 8, 16)
        if k != K
    ]
    rows += [
        ablation(ground, f"beta={b:g}", "beta", f"β={b:g} (LaTRO: {beta:g})", f"objective.kl_weight={b:g}")
        for b in (0.0, 0.05, 0.25, 1.0)
        if b != beta
    ]
    rows += [
        ablation(ground, f"lambda={w:g}", "lambda", f"λ={w:g} (LaTRO: 1)", f"objective.answer_weight={w:g}")
        for w in (0.0, 0.01)
    ]
    preset = ("objective.preset=official_code", *official)
    rows.append(
        ablation(ground, "preset=official_code", "preset", "preset official_code (LaTRO: paper)", *preset)
    )
    rows += [
        ablation(ground, f"reward={name}", "reward", f"reward {name}", f"objective.reward={name}")
        for name in REWARDS
    ]
    shuffled = ablation(
        ground, "shuffled", "control", "rewards shuffled: must not learn", "objective.shuffle_rewards=true"
    )
    return [*rows, shuffled]


def lengths(ground: Ground, limits: Sequence[int], trained_at: int) -> list[Row]:
    """Outputs cut off earlier at evaluation, and LaTRO trained with short rationales."""
    greedy = {"greedy": "accuracy_greedy"}
    sources: list[tuple[str, str, Stage | None]] = [
        ("base", "base", None),
        ("sft", "SFT", ground.supervised()),
        ("latro", "LaTRO", ground.training("latro")),
        (
            f"latro_L={trained_at}",
            f"LaTRO trained at L={trained_at}",
            ground.training(f"latro_L={trained_at}", f"sampling.max_rationale_tokens={trained_at}"),
        ),
    ]
    return [
        Row(
            key=f"{ground.prefix}{key}/L={limit}",
            section="rationale length",
            label=f"{label}, outputs of at most {limit} tokens",
            training=training,
            evaluation=ground.evaluation(
                f"{key}/L={limit}",
                f"evaluation.max_tokens={limit}",
                "evaluation.majority=0",
                trained=training is not None,
            ),
            columns=greedy,
            seeds=ground.seeds[:1],
            against=() if key == "base" else (f"{ground.prefix}base/L={limit}",),
        )
        for limit in limits
        for key, label, training in sources
    ]


def votes(ground: Ground, ks: Sequence[int]) -> list[Row]:
    """maj@k for other k than eight."""
    sources = [("base", "base", None), ("latro", "LaTRO", ground.training("latro"))]
    return [
        Row(
            key=f"{ground.prefix}{key}/maj@{k}",
            section="votes",
            label=f"{label}, maj@{k}",
            training=training,
            evaluation=ground.evaluation(
                f"{key}/maj@{k}", f"evaluation.majority={k}", trained=training is not None
            ),
            columns={f"maj@{k}": f"accuracy_maj{k}"},
            seeds=ground.seeds[:1],
            against=() if key == "base" else (f"{ground.prefix}base/maj@{k}",),
        )
        for k in ks
        for key, label, training in sources
    ]


def extras(rows: Sequence[Row], runs: Callable[[Row], bool], takes: str) -> list[Row]:
    """The rows, those that are not run unless they are named marked so."""
    return [row if runs(row) else replace(row, extra=True, takes=takes) for row in rows]


def tiny(table: str, seeds: Sequence[int]) -> Reproduction:
    """The wind tunnel: minutes on two cores, nothing to download."""
    beta = DATASETS[table][2]
    # One pretrained model for all seeds, as the paper's runs of a model have one start.
    short = ("max_steps=20", "validation_limit=200", "trainer.eval_steps=10", "model.seed=0")
    task = (
        "task=running_sums",
        "evaluation.batch_rows=128",
        "evaluation.answer_likelihood=false",
        "chunk=250",
    )
    ground = Ground(
        prefix="",
        latro=("experiment=latro/wind_tunnel", *short, f"objective.kl_weight={beta:g}", "show_samples=0"),
        sft=("experiment=sft/wind_tunnel", *short),
        asked=task,
        base=("model=wind_tunnel", "model.seed=0"),
        seeds=tuple(seeds),
        costs=(35.0, 30.0, 20.0),
        longest=24,
    )
    shown: tuple[str, ...] = (
        "K=4",
        "beta=0",
        "lambda=0",
        "preset=official_code",
        "reward=likelihood",
        "shuffled",
    )
    shown += ("base/L=10", "latro/L=10", "latro_L=6/L=10", "base/maj@4", "latro/maj@4")
    rows = [
        *main_rows(ground),
        *lengths(ground, (6, 10), 6),
        *votes(ground, (2, 4, 16, 32)),
        *knobs(ground, beta, 8),
    ]
    first = replace(
        rows[0], note="the model is pretrained first, three to five minutes of a core, and cached"
    )
    rows = extras(
        [first, *rows[1:]],
        lambda row: row.section == MAIN or row.key in shown,
        "about a minute of a core; left out to keep the table within 20 minutes",
    )
    return Reproduction(
        table=table,
        size="tiny",
        rows=tuple(rows),
        comparable="not comparable: wind tunnel",
        about=(
            "The wind tunnel: a model of 0.33 M parameters that can reason but guesses, on sums of four digits "
            "modulo 5. Neither the task nor the model is the paper's: its figures stand beside ours, and no difference "
            "is claimed."
        ),
    )


def small(table: str, seeds: Sequence[int], model: str, path: str, data: str) -> Reproduction:
    """A real small model on the paper's dataset. Raises InputError for a model without recipes."""
    if model not in SMALL:
        raise InputError(f"model={model}: size=small has recipes for {', '.join(SMALL)}")
    name, task, beta = DATASETS[table]
    own = (f"model.path='{path}'",) * bool(path)
    rows_from = (f"task.path='{data}'",) * bool(data)
    ground = Ground(
        prefix=f"{model}/",
        latro=(f"experiment=latro/{name}_{model}", *rows_from, *own),
        sft=(f"experiment=sft/{name}_{model}", *rows_from, *own),
        asked=(f"task={task}", *rows_from),
        base=(f"model={model}", *own),
        seeds=tuple(seeds),
        costs=(7200.0, 3600.0, 3600.0),
        longest=SMALL[model],
    )
    K = 4 if (name, model) == ("gsm8k", "smollm2_135m") else 8
    rows = [*main_rows(ground), *votes(ground, (2, 4, 16)), *knobs(ground, beta, K)]
    rows = extras(rows, lambda row: row.section == MAIN, "hours on two cores, minutes to an hour on a GPU")
    return Reproduction(
        table=table,
        size="small",
        rows=tuple(rows),
        comparable="not comparable: a much smaller model",
        about=f"{model} on the paper's dataset: the paper's figures are of models 7 to 60 times as large.",
    )


def paper(table: str, seeds: Sequence[int], data: str, paths: dict[str, str], launch: str) -> Reproduction:
    """The paper's three models on eight GPUs."""
    name, task, beta = DATASETS[table]
    rows_from = (f"task.path='{data}'",) * bool(data)
    rows: list[Row] = []
    for model in MODELS:
        own = (f"model.path='{paths[model]}'",) if model in paths else ()
        ground = Ground(
            prefix=f"{model}/",
            latro=(f"experiment=latro/{name}_{model}", *rows_from, *own),
            sft=(f"experiment=sft/{name}_{model}", *rows_from, *own),
            asked=(f"task={task}", *rows_from),
            base=(f"model={model}", *own),
            seeds=tuple(seeds),
            launch=launch or ZERO3,
            costs=(36000.0, 18000.0, 3600.0),
            longest=500,
            model=model,
        )
        rows += main_rows(ground)
        evaluations = "trainer.eval_steps=6" if name == "arc" else "trainer.eval_steps=18"
        if model == MODELS[0]:
            more = [*knobs(ground, beta, 16, (evaluations,))]
            if name == "gsm8k":
                more = [*lengths(ground, (200, 300, 400, 1000), 200), *votes(ground, (2, 4, 16, 32)), *more]
            rows += [replace(row, extra=True, takes=f"about what {model}/latro takes") for row in more]
    return Reproduction(
        table=table,
        size="paper",
        rows=tuple(rows),
        comparable="",
        about=(
            "The paper's models on the paper's data. Checkpoints are chosen on validation, where the paper chose them "
            "on test. The paper's own sampling error, about 2 points for one run, is not in the differences' intervals."
        ),
        needs="8 GPUs of 80 GB",
    )

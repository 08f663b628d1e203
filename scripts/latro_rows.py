"""The rows of LaTRO's two tables: base, SFT and LaTRO, the paper's ablations, and those that it lacks."""

from collections.abc import Sequence
from dataclasses import dataclass

from scripts.reproduction import Row, Stage

REWARDS = (
    "mean_log_likelihood", "likelihood", "mean_token_probability", "relative_perplexity", "multi_sample_bound",
)  # fmt: skip
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
    sft_asked: tuple[str, ...] = ()
    """Further ones of what SFT trained: a prompt of its own, under which it is paired with no other row."""
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
        if name.partition("/")[0] == "sft":
            loaded += self.sft_asked
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
    nothing = ("objective.shuffle_rewards=true", "objective.answer_weight=0")
    shuffled = ablation(ground, "shuffled", "control", "rewards shuffled, λ=0: must not learn", *nothing)
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
    short = sources[-1][0]
    return [
        Row(
            key=f"{ground.prefix}{key}/L={limit}",
            section="rationale length",
            label=f"{label}, outputs of at most {limit} tokens",
            training=training,
            evaluation=ground.evaluation(
                f"{key}/L={limit}",
                f"evaluation.max_tokens={limit}",
                # The longest is paired with a main row, which has votes.
                *(("evaluation.majority=0",) if limit in limits else ()),
                trained=training is not None,
            ),
            columns=greedy,
            seeds=ground.seeds[:1],
            against=(f"{ground.prefix}base" + f"/L={limit}" * (limit in limits),) if key != "base" else (),
        )
        for limit in (*limits, ground.longest)
        for key, label, training in sources
        if limit in limits or key == short  # the others have their longest outputs in the main rows
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

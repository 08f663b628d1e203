"""How far a sampled gradient is from the exact one: bias, its standard error, and variance.

One batch's gradient is linear in the gradients of a few log-probabilities: log π(z|x), log π(y_t|x,z,y_<t) and the
token before the answer. Their Jacobians are computed once per rationale; the coefficients come from differentiating
the real loss of `latro.objective`. So a hundred thousand samples cost no more backward passes than a hundred.

Legend: P prompts of the world, M generations of a prompt, F = T + 2 scored log-probabilities of a row, D parameters,
G groups of K rationales, X batches, C = P·M·F coefficients of a batch's gradient.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy import stats
from torch import Tensor

from latro.encoding import Rationale
from latro.exact import Enumeration, World, enumerate_prompt, flat_gradient, training_scores, value
from latro.objective import ObjectiveConfig, Penalty, Scores, answer_reward, objective
from latro.sampling import SamplingConfig, sample_rationales

Loss = Callable[[Scores, ObjectiveConfig], Tensor]
"""Scores of a batch to its loss per row, [N, K]."""


def training_loss(scores: Scores, config: ObjectiveConfig) -> Tensor:
    """The loss that training minimises."""
    return objective(scores, config, torch.Generator().manual_seed(0)).loss_NK


def loss_without_baseline(scores: Scores, config: ObjectiveConfig) -> Tensor:
    """The same gradient in expectation, with the reward itself in the advantage's place.

    For rewards of one rationale each, drawn by the policy: the multi-sample bound's advantage has a factor K besides.
    """
    reward_NK = objective(scores, config).reward_NK
    return -reward_NK * scores.rationale_NK - (config.answer_weight or 0.0) * answer_reward(scores, config)


class Bias(NamedTuple):
    """How a sampled gradient compares with the exact one. Lengths are relative to the exact gradient's norm."""

    along: float
    """Bias along the exact gradient: 0.1 is a tenth too long."""
    standard_error: float
    z: float
    p_value: float
    """Hotelling's test that the bias vanishes in several fixed random directions at once."""
    distance: float
    """|mean estimate - exact|; sampling noise alone gives `noise`."""
    noise: float
    cosine: float
    """Between the mean estimate and the exact gradient."""
    variance_per_sample: float
    """Trace of the covariance of one batch's gradient times its rows, over the exact gradient's squared norm."""
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """Everything about a world under one way of scoring the stop."""

    world: World
    prompts: tuple[Enumeration, ...]
    scores: Scores
    """Every generation of every prompt without gradient, [P, M]; answers padded to the longest."""
    jacobian_CD: Tensor

    def exact_gradient(self, config: ObjectiveConfig, K: int) -> Tensor:
        """[D] mean over the prompts of the gradient of J."""
        values = [value(prompt, config, K) for prompt in self.prompts]
        return flat_gradient(torch.stack(values).mean(), self.world.model)


def tabulate(world: World, *, score_stop: bool = True) -> Tables:
    """Enumerate all prompts and differentiate every scored log-probability of every generation."""
    prompts = tuple(enumerate_prompt(world, n, score_stop=score_stop) for n in range(len(world.prompts)))
    T = max(prompt.scores.answer_NKT.shape[-1] for prompt in prompts)
    features = torch.stack([row_features(prompt.scores, T) for prompt in prompts])
    rows = [flat_gradient(feature, world.model) for feature in features.flatten()]
    columns = {}
    for name in ("reference_NK", "length_NK", "finished_NK"):
        columns[name] = torch.cat([getattr(prompt.scores, name) for prompt in prompts])
    masks = [widen(prompt.scores.answer_mask_NKT, T) for prompt in prompts]
    plains = [plain for prompt in prompts if (plain := prompt.scores.plain_probability_N) is not None]
    scores = Scores(
        **feature_fields(features.detach()),
        **columns,
        answer_mask_NKT=torch.cat(masks),
        plain_probability_N=torch.cat(plains),
    )
    return Tables(world=world, prompts=prompts, scores=scores, jacobian_CD=torch.stack(rows))


def widen(values: Tensor, T: int) -> Tensor:
    """The last axis filled up with zeros to T."""
    return torch.nn.functional.pad(values, (0, T - values.shape[-1]))


def row_features(scores: Scores, T: int) -> Tensor:
    """[M, F] log π(z|x), the token before the answer, and the answer's tokens, of one group."""
    parts = [
        scores.rationale_NK[0, :, None],
        scores.before_answer_NK[0, :, None],
        widen(scores.answer_NKT[0], T),
    ]
    return torch.cat(parts, -1)


def feature_fields(features: Tensor) -> dict[str, Tensor]:
    """The fields of `Scores` that `row_features` lined up."""
    return {
        "rationale_NK": features[..., 0],
        "before_answer_NK": features[..., 1],
        "answer_NKT": features[..., 2:],
    }


def gather(tables: Tables, prompt_N: Tensor, index_NK: Tensor) -> tuple[Scores, Tensor]:
    """The scores of groups of generations, and the leaf [N, K, F] that their gradients flow to."""
    scores, n = tables.scores, prompt_N[:, None]
    whole = torch.cat(
        [scores.rationale_NK[..., None], scores.before_answer_NK[..., None], scores.answer_NKT], -1
    )
    leaf_NKF = whole[n, index_NK].requires_grad_()
    fixed = {
        name: getattr(scores, name)[n, index_NK]
        for name in ("reference_NK", "length_NK", "finished_NK", "answer_mask_NKT")
    }
    plain_N = None if scores.plain_probability_N is None else scores.plain_probability_N[prompt_N]
    drawn_NK = None if scores.drawn_NK is None else scores.drawn_NK[n, index_NK]
    return Scores(
        **feature_fields(leaf_NKF), **fixed, plain_probability_N=plain_N, drawn_NK=drawn_NK
    ), leaf_NKF


def loss_coefficients(
    tables: Tables, index_XPK: Tensor, config: ObjectiveConfig, loss: Loss = training_loss
) -> Tensor:
    """[X, C] coefficients of each batch's ascent direction -∇(mean loss), a batch being one group per prompt."""
    X, P, K = index_XPK.shape
    prompt_XP = torch.arange(P).expand(X, P)
    if config.penalty == Penalty.BATCH_MEAN:  # couples the rows of a batch, so every batch is on its own
        pairs = [gather(tables, prompt_XP[x], index_XPK[x]) for x in range(X)]
        total = torch.stack([loss(scores, config).mean() for scores, _ in pairs]).sum()
        grads = torch.stack(torch.autograd.grad(total, [leaf for _, leaf in pairs]))
    else:
        scores, leaf = gather(tables, prompt_XP.flatten(), index_XPK.flatten(0, 1))
        (grads,) = torch.autograd.grad(loss(scores, config).sum() / (P * K), leaf)
    grads_XPKF = grads.view(X, P, K, -1)
    M, F = tables.scores.rationale_NK.shape[1], grads_XPKF.shape[-1]
    C_XPMF = torch.zeros(X, P, M, F, dtype=grads_XPKF.dtype)
    C_XPMF.scatter_add_(2, index_XPK[..., None].expand(X, P, K, F), -grads_XPKF)
    return C_XPMF.flatten(1)


def expected_gradient(tables: Tables, config: ObjectiveConfig, K: int, loss: Loss = training_loss) -> Tensor:
    """[D] the estimator's expectation, by enumerating all M^K groups of every prompt: no sampling at all.

    Groups are as likely as the policy makes them, or as `drawn_NK` says where the tables have it. Not for penalties
    that couple the prompts of a batch.
    """
    M, P = tables.scores.rationale_NK.shape[1], len(tables.prompts)
    tuples_GK = torch.cartesian_prod(*[torch.arange(M)] * K).view(-1, K)
    total_C = torch.zeros(tables.jacobian_CD.shape[0], dtype=tables.jacobian_CD.dtype)
    log_PM = torch.stack([prompt.log_probability_M.detach() for prompt in tables.prompts])
    log_PM = log_PM if tables.scores.drawn_NK is None else tables.scores.drawn_NK
    for index_GK in tuples_GK.split(50_000):
        probability_PG = log_PM[:, index_GK].sum(-1).exp()
        coefficients = loss_coefficients(tables, index_GK[:, None].expand(-1, P, K), config, loss)
        weighted = coefficients.unflatten(1, (P, -1)) * probability_PG.T[..., None]
        total_C += weighted.sum(0).flatten()
    return total_C @ tables.jacobian_CD


def draw_groups(
    world: World, batches: int, K: int, *, seed: int, batch_rows: int = 16_384
) -> list[Rationale]:
    """`batches` · P · K rationales from the real sampler, in the order batch, prompt, k."""
    P = len(world.prompts)
    sampling = SamplingConfig(
        rationales_per_prompt=K,
        max_rationale_tokens=world.max_rationale_tokens,
        temperature=world.temperature,
        batch_rows=batch_rows,
    )
    prompts = list(world.prompts) * batches
    keys = [f"{group // P}/{group % P}" for group in range(len(prompts))]
    return sample_rationales(
        world.model, world.encoder, prompts, keys, sampling, markers=world.markers, seed=seed, step=0
    )


def indices(tables: Tables, rationales: Sequence[Rationale], K: int) -> Tensor:
    """[X, P, K] numbers of drawn rationales in the enumeration.

    Generations that leave the same rationale behind share the first one's number.
    """
    numbers: dict[Rationale, int] = {}
    for number, generation in enumerate(tables.prompts[0].generations):
        numbers.setdefault(generation.rationale, number)
    return torch.tensor([numbers[rationale] for rationale in rationales]).view(-1, len(tables.prompts), K)


def regroup(index_XPK: Tensor, K: int) -> Tensor:
    """The same independent draws in groups of another size; a rest that fills no group is left out."""
    P = index_XPK.shape[1]
    flat_PR = index_XPK.transpose(0, 1).flatten(1)
    whole = flat_PR.shape[1] // K * K
    return flat_PR[:, :whole].unflatten(1, (-1, K)).transpose(0, 1).reshape(-1, P, K)


def measure(
    coefficients_XC: Tensor, tables: Tables, exact_D: Tensor, rows_per_batch: int, seed: int = 0
) -> Bias:
    """Compare the batches' gradients with the exact one."""
    X = coefficients_XC.shape[0]
    jacobian_CD, norm = tables.jacobian_CD, float(exact_D.norm())
    mean_C = coefficients_XC.mean(0)
    centred_XC = coefficients_XC - mean_C
    covariance_CC = centred_XC.T @ centred_XC / (X - 1)
    mean_D = mean_C @ jacobian_CD
    error_D = mean_D - exact_D
    unit_C = jacobian_CD @ exact_D / norm
    along = float(error_D @ exact_D) / norm**2
    standard_error = float((unit_C @ covariance_CC @ unit_C / X).sqrt()) / norm
    trace = float(((covariance_CC @ jacobian_CD) * jacobian_CD).sum())
    return Bias(
        along=along,
        standard_error=standard_error,
        z=along / standard_error,
        p_value=joint_p_value(error_D, covariance_CC / X, jacobian_CD, seed),
        distance=float(error_D.norm()) / norm,
        noise=(trace / X) ** 0.5 / norm,
        cosine=float(torch.cosine_similarity(mean_D, exact_D, dim=0)),
        variance_per_sample=trace * rows_per_batch / norm**2,
        samples=X * rows_per_batch,
    )


def joint_p_value(
    error_D: Tensor, covariance_CC: Tensor, jacobian_CD: Tensor, seed: int, directions: int = 8
) -> float:
    """Probability of an error as large in fixed random directions, were there no bias (large-sample Hotelling)."""
    generator = torch.Generator().manual_seed(seed)
    directions_DR = torch.randn(error_D.shape[0], directions, generator=generator, dtype=error_D.dtype)
    projected_CR = jacobian_CD @ directions_DR
    covariance_RR = projected_CR.T @ covariance_CC @ projected_CR
    error_R = error_D @ directions_DR
    statistic = float(error_R @ torch.linalg.solve(covariance_RR, error_R))
    return float(stats.chi2.sf(statistic, directions))


def frequency_p_values(tables: Tables, index_XPK: Tensor) -> Iterator[float]:
    """Pearson's chi-square test per prompt: drawn rationales against their exact probabilities."""
    first = {g.rationale: m for m, g in reversed(list(enumerate(tables.prompts[0].generations)))}
    home_M = torch.tensor([first[g.rationale] for g in tables.prompts[0].generations])
    for n, prompt in enumerate(tables.prompts):
        probability_M = prompt.log_probability_M.detach().exp()
        merged_M = torch.zeros_like(probability_M).scatter_add_(0, home_M, probability_M)
        drawn_M = torch.bincount(index_XPK[:, n].flatten(), minlength=len(home_M)).to(merged_M.dtype)
        used = merged_M > 0
        expected = merged_M[used] * drawn_M.sum()
        statistic = float(((drawn_M[used] - expected) ** 2 / expected).sum())
        yield float(stats.chi2.sf(statistic, int(used.sum()) - 1))


def real_gradient(tables: Tables, index_PK: Tensor, config: ObjectiveConfig) -> Tensor:
    """[D] ascent direction of one batch by differentiating the training code itself, end to end."""
    world = tables.world
    groups = [[tables.prompts[0].generations[m].rationale for m in row] for row in index_PK.tolist()]
    scores = training_scores(world, range(len(groups)), groups, score_stop=bool(config.score_stop))
    return -flat_gradient(training_loss(scores, config).mean(), world.model)

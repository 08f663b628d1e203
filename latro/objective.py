"""The equations of LaTRO and its relatives, as pure functions of log-probabilities.

Legend: N prompts, K rationales per prompt, T answer tokens. Log-probabilities are in nats.
Sources: LaTRO, arXiv 2411.04282; VeriFree, 2505.21493; RLPR, 2506.18254; NOVER, 2505.16022; JEPO, 2503.19618.

Every objective here has the form J = E_z[R(z)] - β KL(π(·|x) || π0(·|x)), where the reward R itself depends on
the policy, so that its gradient has two terms:

    ∇J = E_z[ A(z) ∇ log π(z|x) + λ ∇ R(z) ],   λ = 1 for the unbiased gradient.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from latro.errors import InputError
from latro.objective_config import AnswerMask as AnswerMask
from latro.objective_config import ObjectiveConfig as ObjectiveConfig
from latro.objective_config import Penalty as Penalty
from latro.objective_config import Reward as Reward


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Log-probabilities of one batch of rationales and answers; the policy's carry gradients."""

    rationale_NK: Tensor
    """log π(z|x), with the decision to stop if it is scored."""
    reference_NK: Tensor
    """log π0(z|x), the same tokens under the frozen start."""
    answer_NKT: Tensor
    """log π(y_t|x,z,y_<t); zero where `answer_mask_NKT` is False."""
    answer_mask_NKT: Tensor
    before_answer_NK: Tensor
    """Log-probability of the one token before the answer; only the published code's mask counts it."""
    length_NK: Tensor
    """Rationale length in tokens."""
    finished_NK: Tensor
    """True where the rationale ended by itself, False where it was cut off at the limit."""
    plain_probability_N: Tensor | None = None
    """Mean token probability of the answer with no rationale, without gradient."""
    drawn_NK: Tensor | None = None
    """log μ(z|x), the same tokens under the model that drew them, as it drew them; None where that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What one batch says: reward parts and advantage (no gradient), and the loss (with gradient)."""

    loss_NK: Tensor
    """Its mean is minimised."""
    answer_reward_NK: Tensor
    log_ratio_NK: Tensor
    """log π(z|x) - log π0(z|x)."""
    penalty_NK: Tensor
    reward_NK: Tensor
    """The shaped reward: answer reward - β log-ratio - penalty."""
    advantage_NK: Tensor


def leave_one_out(reward_NK: Tensor) -> Tensor:
    """A_k = r_k minus the mean of the other K - 1 rewards of the same prompt. LaTRO, eq. 6."""
    K = reward_NK.shape[-1]
    if K < 2:
        raise InputError(f"rationales_per_prompt={K}: the leave-one-out baseline needs at least 2")
    baseline_NK = (reward_NK.sum(-1, keepdim=True) - reward_NK) / (K - 1)
    return reward_NK - baseline_NK


def answer_log_likelihood(scores: Scores) -> Tensor:
    """log π(y|x,z), [N, K], in nats: a sum over tokens, without length normalisation."""
    return scores.answer_NKT.sum(-1)


def counted(scores: Scores, mask: AnswerMask) -> Scores:
    """The scores with the answer as the mask counts it: for `off_by_one` with the one token before it."""
    if mask == AnswerMask.ANSWER:
        return scores
    return replace(
        scores,
        answer_NKT=torch.cat([scores.before_answer_NK.unsqueeze(-1), scores.answer_NKT], -1),
        answer_mask_NKT=pad(scores.answer_mask_NKT, (1, 0), value=True),
    )


def mean_token_probability(logprob_T: Tensor, mask_T: Tensor) -> Tensor:
    """Mean of the token probabilities over the last axis, where the mask is True."""
    return (logprob_T.exp() * mask_T).sum(-1) / mask_T.sum(-1)


def win_share(perplexity_NK: Tensor) -> Tensor:
    """Share of a prompt's other rationales with a higher perplexity, ties counted half, [N, K] in [0, 1]."""
    mine, other = perplexity_NK.unsqueeze(-1), perplexity_NK.unsqueeze(-2)
    wins_NKK = (mine < other).to(perplexity_NK.dtype) + 0.5 * (mine == other).to(perplexity_NK.dtype)
    return (wins_NKK.sum(-1) - 0.5) / (perplexity_NK.shape[-1] - 1)  # each ties with itself once


def normalised_perplexity(scores: Scores) -> Tensor:
    """exp(-log π(y|x,z) / (|y| · max(1, 1 + log|z|))), [N, K]: NOVER, section 3."""
    length_factor_NK = 1 + scores.length_NK.clamp(min=1).to(scores.answer_NKT.dtype).log()
    return (-scores.answer_NKT.sum(-1) / (scores.answer_mask_NKT.sum(-1) * length_factor_NK)).exp()


def bound_without_each(log_likelihood_NK: Tensor) -> Tensor:
    """log mean_{j≠k} π(y|x,z_j), [N, K]: the baseline of the multi-sample bound; it does not depend on z_k."""
    K = log_likelihood_NK.shape[-1]
    itself_KK = torch.eye(K, dtype=torch.bool, device=log_likelihood_NK.device)
    others_NKK = log_likelihood_NK.unsqueeze(-2).masked_fill(itself_KK, -math.inf)
    return others_NKK.logsumexp(-1) - math.log(K - 1)


def answer_reward(scores: Scores, config: ObjectiveConfig) -> Tensor:
    """R(z) of the chosen kind, [N, K], with gradient. For the multi-sample bound all K are equal."""
    whole = counted(scores, config.answer_mask or AnswerMask.ANSWER)
    log_likelihood_NK = answer_log_likelihood(whole)
    match config.reward:
        case Reward.LOG_LIKELIHOOD:
            return log_likelihood_NK
        case Reward.MEAN_LOG_LIKELIHOOD:
            return log_likelihood_NK / whole.answer_mask_NKT.sum(-1)
        case Reward.LIKELIHOOD:
            return log_likelihood_NK.exp()
        case Reward.MEAN_TOKEN_PROBABILITY:
            if scores.plain_probability_N is None:
                raise ValueError("mean_token_probability needs the answer's score without a rationale")
            mean_NK = mean_token_probability(whole.answer_NKT, whole.answer_mask_NKT)
            return (mean_NK - scores.plain_probability_N.unsqueeze(-1)).clamp(0, 1)
        case Reward.RELATIVE_PERPLEXITY:
            return win_share(normalised_perplexity(whole).detach())
        case Reward.MULTI_SAMPLE_BOUND:
            K = log_likelihood_NK.shape[-1]
            return (log_likelihood_NK.logsumexp(-1, keepdim=True) - math.log(K)).expand_as(log_likelihood_NK)


def advantage(answer_reward_NK: Tensor, rest_NK: Tensor, scores: Scores, config: ObjectiveConfig) -> Tensor:
    """A_k with a baseline that does not depend on z_k, [N, K], without gradient.

    `rest_NK` is the separable rest of the reward (KL and penalty). For the multi-sample bound the reward of the
    whole group is credited to k by what the bound loses without it, times K because the loss is a mean over k.
    """
    match config.reward:
        case Reward.MULTI_SAMPLE_BOUND:
            whole = counted(scores, config.answer_mask or AnswerMask.ANSWER)
            log_likelihood_NK = answer_log_likelihood(whole).detach()
            K = log_likelihood_NK.shape[-1]
            return K * (answer_reward_NK - bound_without_each(log_likelihood_NK)) + leave_one_out(rest_NK)
        case Reward.RELATIVE_PERPLEXITY:
            # Against its equals a rationale wins half of the time.
            return answer_reward_NK - 0.5 + leave_one_out(rest_NK)
        case _:
            return leave_one_out(answer_reward_NK + rest_NK)


def importance(scores: Scores, config: ObjectiveConfig) -> Tensor:
    """[N, K] truncated importance weights min(c, π(z|x) / μ(z|x)), without gradient; ones where none are asked for.

    Weighing both terms of the loss turns an expectation over μ into one over π. A baseline needs no weight: it does
    not depend on its own z. Truncated importance sampling, Ionides (2008); for language models Yao et al. (2025).
    """
    if config.importance_cap is None:
        return torch.ones_like(scores.rationale_NK.detach())
    if scores.drawn_NK is None:
        raise ValueError("importance_cap needs the log-probabilities with which the rationales were drawn")
    return (scores.rationale_NK.detach() - scores.drawn_NK).exp().clamp(max=config.importance_cap)


def objective(
    scores: Scores,
    config: ObjectiveConfig,
    generator: torch.Generator | None = None,
    mean_reward: float | None = None,
) -> Objective:
    """Rewards, advantages and loss of one batch. LaTRO, eq. 4 to 7.

    `generator` drives the shuffled-reward control and is needed only for it. `mean_reward` is the mean answer reward of
    all rows that the process handles in this step, for the batch-mean penalty; None takes the mean of these rows.
    """
    graded_answer_NK = answer_reward(scores, config)
    answer_reward_NK = graded_answer_NK.detach()
    log_ratio_NK = scores.rationale_NK.detach() - scores.reference_NK.detach()
    penalty_NK = torch.where(scores.finished_NK, 0.0, config.penalty_weight).to(answer_reward_NK.dtype)
    if config.penalty == Penalty.BATCH_MEAN:
        scaled_mean = config.penalty_weight * (
            answer_reward_NK.mean() if mean_reward is None else mean_reward
        )
        penalty_NK = torch.where(scores.finished_NK, 0.0, answer_reward_NK - scaled_mean)
    rest_NK = -config.kl_weight * log_ratio_NK - penalty_NK
    advantage_NK = advantage(answer_reward_NK, rest_NK, scores, config)
    if config.shuffle_rewards:
        order_NK = torch.rand(advantage_NK.shape, generator=generator).argsort(-1).to(advantage_NK.device)
        if (
            config.reward == Reward.MULTI_SAMPLE_BOUND
        ):  # its advantages do not add up to zero, and the rest would teach
            advantage_NK = advantage_NK - advantage_NK.mean(-1, keepdim=True)
        advantage_NK = advantage_NK.gather(-1, order_NK)
    gain_NK = advantage_NK * scores.rationale_NK + (config.answer_weight or 0.0) * graded_answer_NK
    loss_NK = -importance(scores, config) * gain_NK
    return Objective(
        loss_NK=loss_NK,
        answer_reward_NK=answer_reward_NK,
        log_ratio_NK=log_ratio_NK,
        penalty_NK=penalty_NK,
        reward_NK=answer_reward_NK + rest_NK,
        advantage_NK=advantage_NK,
    )

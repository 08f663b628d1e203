"""A world small enough to know everything: every rationale enumerated, every expectation a finite sum.

For a language model over a handful of letters and rationales of a few tokens, this gives the exact log-evidence,
bound, posterior, KL divergence and gradient, against which the sampled estimators are judged.

Legend: M generations of one prompt, T answer tokens, D model parameters. Probabilities of generations come from a
plain softmax over full logits, written apart from `latro.likelihood`, so that one checks the other.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from latro.encoding import NO_RATIONALE, Encoder, Rationale, join, pad_right
from latro.likelihood import likelihood
from latro.objective import ObjectiveConfig, Reward, Scores, answer_reward, mean_token_probability
from latro.rollout.ending import find_marker
from latro.sampling import cut


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A policy, its reference and the questions, all tiny."""

    model: Any
    reference: Any
    encoder: Encoder
    prompts: tuple[tuple[int, ...], ...]
    lines: tuple[str, ...]
    """The answer line of each prompt."""
    markers: tuple[str, ...]
    max_rationale_tokens: int
    temperature: float = 1.0

    def answers(self, prompts: Sequence[int], groups: Sequence[Sequence[Rationale]]) -> list[list[int]]:
        """The answers of prompts (given by index) as they follow each rationale of their groups."""
        return [
            self.encoder.answer_ids(self.lines[n], rationale.ids)
            for n, group in zip(prompts, groups, strict=True)
            for rationale in group
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One thing the sampler can produce: its tokens up to and including what ended them, and the rationale in it."""

    tokens: tuple[int, ...]
    rationale: Rationale


@dataclass(frozen=True, slots=True, kw_only=True)
class Enumeration:
    """Every generation of one prompt, with gradients to the model's parameters."""

    generations: tuple[Generation, ...]
    log_probability_M: Tensor
    """log π of all that was generated, its end included; the exponentials sum to 1."""
    log_reference_M: Tensor
    """The same under the reference, without gradient."""
    scores: Scores
    """What the training code makes of the same generations, as one group [1, M]."""

    @property
    def finished_M(self) -> Tensor:  # noqa: N802
        """True where the rationale ended by itself."""
        return self.scores.finished_NK[0]

    @property
    def log_likelihood_M(self) -> Tensor:  # noqa: N802
        """log π(y|x,z), nats."""
        return self.scores.answer_NKT[0].sum(-1)


def letter_tokenizer(letters: str) -> PreTrainedTokenizerFast:
    """Token 0 is `<eos>`, and every letter is one token; letters that are not listed vanish."""
    vocabulary = {letter: index for index, letter in enumerate(letters, start=1)}
    tokenizer = Tokenizer(models.BPE(vocab={"<eos>": 0, **vocabulary}, merges=[]))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(["<eos>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>", clean_up_tokenization_spaces=False
    )


def tiny_llama(vocabulary: int, seed: int) -> LlamaForCausalLM:
    """A real Llama in double precision with about 700 parameters, spread enough to have opinions."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=32,
        initializer_range=0.4,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).double().eval()


def small_world(
    seed: int,
    *,
    temperature: float = 1.0,
    letters: str = "abcd#",
    separator: str = "",
    markers: Sequence[str] = ("#",),
    questions: Sequence[tuple[str, str]] = (("ab", "#ba"), ("cdc", "#d")),
    max_rationale_tokens: int = 2,
) -> World:
    """A vocabulary of six, rationales of up to two letters that end at `<eos>` or at the marker `#`.

    The pad token is `<eos>`, a real token: a mask by token id would show.
    """
    encoder = Encoder(
        tokenizer=letter_tokenizer(letters),
        chat=False,
        stop_token_ids=(0,),
        end_of_answer_id=0,
        pad_token_id=0,
        separator=separator,
        prompt_suffix="",
    )
    return World(
        model=tiny_llama(len(letters) + 1, seed),
        reference=tiny_llama(len(letters) + 1, seed + 1000),
        encoder=encoder,
        prompts=tuple(tuple(encoder.prompt_ids(question)) for question, _ in questions),
        lines=tuple(answer for _, answer in questions),
        markers=tuple(markers),
        max_rationale_tokens=max_rationale_tokens,
        temperature=temperature,
    )


def generations(world: World, start: tuple[int, ...] = ()) -> Iterator[Generation]:
    """Everything the sampler can produce behind `start`, by the rule of `latro.sampling`: stop token, marker, or L."""
    encoder = world.encoder
    for token in range(world.model.config.vocab_size):
        tokens = (*start, token)
        ended = (
            token in encoder.stop_token_ids or find_marker(encoder.text(tokens), world.markers) is not None
        )
        if ended or len(tokens) == world.max_rationale_tokens:
            yield Generation(tokens=tokens, rationale=cut(encoder, tokens, world.markers))
        else:
            yield from generations(world, tokens)


def enumerate_prompt(world: World, n: int, *, score_stop: bool = True) -> Enumeration:
    """Every generation of prompt `n`, its exact probability, and its scores from the training code."""
    every = tuple(generations(world))
    tokens = [generation.tokens for generation in every]
    with torch.no_grad():
        log_reference_M = generation_logprob(world.reference, world.prompts[n], tokens, world.temperature)
    return Enumeration(
        generations=every,
        log_probability_M=generation_logprob(world.model, world.prompts[n], tokens, world.temperature),
        log_reference_M=log_reference_M,
        scores=training_scores(world, [n], [[g.rationale for g in every]], score_stop=score_stop),
    )


def generation_logprob(
    model: Any, prompt: Sequence[int], tokens: Sequence[Sequence[int]], temperature: float
) -> Tensor:
    """[M] log-probability of each continuation of `prompt`: a plain softmax over the full logits."""
    ids = pad_right([[*prompt, *row] for row in tokens], 0)
    logprob = (model(input_ids=ids, use_cache=False).logits / temperature).log_softmax(-1)
    rows = []
    for m, row in enumerate(tokens):
        steps = [logprob[m, len(prompt) - 1 + t, token] for t, token in enumerate(row)]
        rows.append(torch.stack(steps).sum())
    return torch.stack(rows)


def training_scores(
    world: World, prompts: Sequence[int], groups: Sequence[Sequence[Rationale]], *, score_stop: bool = True
) -> Scores:
    """The scores of one group of rationales per prompt (given by index), as a training step computes them."""
    N, flat = len(prompts), [rationale for group in groups for rationale in group]
    pad = world.encoder.pad_token_id
    questions = [world.prompts[n] for n in prompts]
    batch = join(questions, flat, world.answers(prompts, groups), pad)
    alone = join(questions, [NO_RATIONALE] * N, world.answers(prompts, [[NO_RATIONALE]] * N), pad)
    policy = likelihood(world.model, batch, temperature=world.temperature, score_stop=score_stop)
    with torch.no_grad():
        reference = likelihood(
            world.reference, batch.without_answers(), temperature=world.temperature, score_stop=score_stop
        )
        plain = likelihood(world.model, alone, score_stop=False)
    return Scores(
        rationale_NK=policy.rationale_B.view(N, -1),
        reference_NK=reference.rationale_B.view(N, -1),
        answer_NKT=policy.answer_BT.view(N, len(flat) // N, -1),
        answer_mask_NKT=policy.answer_mask_BT.view(N, len(flat) // N, -1),
        before_answer_NK=policy.before_answer_B.view(N, -1),
        length_NK=torch.tensor([len(rationale.ids) for rationale in flat]).view(N, -1),
        finished_NK=torch.tensor([rationale.finished for rationale in flat]).view(N, -1),
        plain_probability_N=mean_token_probability(plain.answer_BT, plain.answer_mask_BT),
    )


def log_evidence(world: Enumeration) -> Tensor:
    """log Σ_z π(z|x) π(y|x,z), nats: what the bound bounds."""
    return (world.log_probability_M + world.log_likelihood_M).logsumexp(-1)


def posterior(world: Enumeration) -> Tensor:
    """[M] π(z|x,y) = π(z|x) π(y|x,z) / evidence."""
    return (world.log_probability_M + world.log_likelihood_M).softmax(-1)


def kl_to_reference(world: Enumeration) -> Tensor:
    """KL(π(·|x) || π0(·|x)), nats, over whole generations."""
    return (world.log_probability_M.exp() * (world.log_probability_M - world.log_reference_M)).sum()


def value(world: Enumeration, config: ObjectiveConfig, rationales_per_prompt: int) -> Tensor:
    """J = E[R] - β KL - γ P(cut off), what the `paper` preset maximises. LaTRO, eq. 4 and section 4.2.

    The answer mask, penalty kind, answer weight and stop scoring of `config` are ways to estimate it and do not
    change it. Its gradient is the exact one; for `relative_perplexity` the win probability of each z is held
    constant, as the method does.
    """
    cut_off = (world.log_probability_M.exp() * ~world.finished_M).sum()
    return (
        expected_reward(world, config, rationales_per_prompt)
        - config.kl_weight * kl_to_reference(world)
        - config.penalty_weight * cut_off
    )


def expected_reward(world: Enumeration, config: ObjectiveConfig, rationales_per_prompt: int) -> Tensor:
    """E_z[R(z)] as a finite sum; for the multi-sample bound, over all K-tuples.

    The rewards that the project brings are written out once more, so that one checks the other; any further one is
    taken as `answer_reward` has it, which must then depend on its own rationale alone.
    """
    probability_M = world.log_probability_M.exp()
    match config.reward:
        case Reward.LOG_LIKELIHOOD:
            return probability_M @ world.log_likelihood_M
        case Reward.MEAN_LOG_LIKELIHOOD:
            rows_M = zip(world.scores.answer_NKT[0], world.scores.answer_mask_NKT[0], strict=True)
            return probability_M @ torch.stack([row[mask].mean() for row, mask in rows_M])
        case Reward.LIKELIHOOD:
            return probability_M @ world.log_likelihood_M.exp()
        case Reward.MEAN_TOKEN_PROBABILITY:
            return probability_M @ debiased_mean_probability(world)
        case Reward.RELATIVE_PERPLEXITY:
            return probability_M @ win_probability(world)
        case Reward.MULTI_SAMPLE_BOUND:
            return multi_sample_bound(world, rationales_per_prompt)
        case _:
            return probability_M @ answer_reward(world.scores, config)[0]


def debiased_mean_probability(world: Enumeration) -> Tensor:
    """[M] mean answer token probability less the one without a rationale (a constant), within [0, 1]."""
    assert world.scores.plain_probability_N is not None
    rows_M = zip(world.scores.answer_NKT[0], world.scores.answer_mask_NKT[0], strict=True)
    mean_M = torch.stack([row[mask].exp().mean() for row, mask in rows_M])
    return (mean_M - world.scores.plain_probability_N[0]).clamp(0, 1)


def win_probability(world: Enumeration) -> Tensor:
    """[M] constant probability that a fresh rationale has the higher normalised perplexity, ties half."""
    lengths = world.scores.answer_mask_NKT[0].sum(-1).tolist()
    wins = []
    perplexities = [
        math.exp(-ll / (T * max(1.0, 1.0 + math.log(max(1, len(g.rationale.ids))))))
        for ll, T, g in zip(world.log_likelihood_M.tolist(), lengths, world.generations, strict=True)
    ]
    probabilities = world.log_probability_M.exp().tolist()
    for mine in perplexities:
        shares = [1.0 if mine < other else 0.5 if mine == other else 0.0 for other in perplexities]
        wins.append(sum(p * share for p, share in zip(probabilities, shares, strict=True)))
    return torch.tensor(wins, dtype=world.log_probability_M.dtype)


def multi_sample_bound(world: Enumeration, K: int) -> Tensor:
    """E over K independent rationales of log mean_k π(y|x,z_k), nats."""
    M = len(world.generations)
    tuples = torch.cartesian_prod(*[torch.arange(M)] * K).view(-1, K)
    log_probability = world.log_probability_M[tuples].sum(-1)
    log_mean = world.log_likelihood_M[tuples].logsumexp(-1) - math.log(K)
    return (log_probability.exp() * log_mean).sum()


def flat_gradient(value: Tensor, model: Any) -> Tensor:
    """[D] gradient of a scalar in all parameters, one after another; the graph is kept."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    parts = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
    return torch.cat(
        [
            torch.zeros_like(p).flatten() if g is None else g.flatten()
            for p, g in zip(parameters, parts, strict=True)
        ]
    )

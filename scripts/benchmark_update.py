"""The update of one K-group, five ways: gradients compared, then time, memory and FLOPs.

`published` is the released code's scheme, `stock RLOO` trl's own (its order of passes, its head, a reward that costs
nothing and no answer: it does less). The others are ways of `latro.likelihood`. Generation and optimizer are left out.

Legend: B rows, K rationales of one prompt.
"""

import copy
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from latro.encoding import Rationale, RationaleBatch, join
from latro.likelihood import likelihood
from latro.objective import ObjectiveConfig, Scores, objective
from latro.products import choose_products
from latro.scored_tokens import ScoringConfig
from scripts.measuring import (
    Spent,
    alternating,
    fair_clock,
    in_fresh_process,
    matmul_rate,
    peak_of,
    read_rate,
    spent,
    work_seconds,
)
from scripts.memory_traffic import update_traffic
from scripts.published_scheme import published_update
from scripts.update_shapes import SHAPES, UpdateShape

OBJECTIVE = ObjectiveConfig(score_stop=False, penalty_weight=0.0)
"""What both schemes can say: no stop scored, nothing cut off."""


WAYS: dict[str, ScoringConfig] = {
    "ours": ScoringConfig(),
    "ours, shared prompt": ScoringConfig(share_prompt=True),
    "ours, two passes": ScoringConfig(rows=4),
}
SCHEMES = ("published", "stock RLOO", *WAYS)
AGREEMENT = 1e-5
"""Largest relative difference between two schemes' gradients, in float32."""


def build(shape: UpdateShape, seed: int, device: str = "cpu") -> tuple[Any, Any, RationaleBatch]:
    """A random policy, its reference, and one group of random texts."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=8,
        num_key_value_heads=4,
        tie_word_embeddings=True,
        initializer_range=shape.hidden**-0.5,  # logits that spread as those of a trained model do
    )
    model = LlamaForCausalLM(config).to(device)
    reference = copy.deepcopy(model).requires_grad_(False).eval()
    with torch.no_grad():  # a policy that has moved, so that the log-ratio is not zero
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1 * config.initializer_range)

    def text(length: int) -> list[int]:
        return torch.randint(shape.vocabulary, (length,)).tolist()

    rationales = [Rationale(ids=tuple(text(shape.rationale)), text="", ending=()) for _ in range(shape.K)]
    return model, reference, join([text(shape.prompt)], rationales, [text(shape.answer)], 0).to(device)


def update(scheme: str, model: Any, reference: Any, batch: RationaleBatch, products: str = "auto") -> None:
    """Leave one update's gradient in the model's parameters. products: of ours; others have torch's."""
    model.zero_grad(set_to_none=True)
    for each in (model, reference):
        choose_products(each, products if scheme in WAYS else "torch")
    if scheme == "published":
        knobs = {"kl_weight": OBJECTIVE.kl_weight, "answer_weight": OBJECTIVE.answer_weight or 0.0}
        published_update(model, reference, batch, **knobs)
    elif scheme == "stock RLOO":
        stock_update(model, reference, batch)
    else:
        our_update(model, reference, batch, WAYS[scheme])


def our_update(model: Any, reference: Any, batch: RationaleBatch, scoring: ScoringConfig) -> None:
    """As the trainer does it: the reference, then one pass of the policy that gives rewards and gradient."""
    score = partial(likelihood, score_stop=False, scoring=scoring)
    with torch.no_grad():
        frozen = score(reference, batch.without_answers())
    policy = score(model, batch)
    N, K = batch.ids_BT.shape[0] // batch.rationales_per_prompt, batch.rationales_per_prompt
    scores = Scores(
        rationale_NK=policy.rationale_B.view(N, K),
        reference_NK=frozen.rationale_B.view(N, K),
        answer_NKT=policy.answer_BT.view(N, K, -1),
        answer_mask_NKT=policy.answer_mask_BT.view(N, K, -1),
        before_answer_NK=policy.before_answer_B.view(N, K),
        length_NK=batch.rationale_mask_BT.sum(-1).view(N, K),
        finished_NK=torch.ones(N, K, dtype=torch.bool, device=batch.ids_BT.device),
    )
    objective(scores, OBJECTIVE).loss_NK.mean().backward()


def stock_update(model: Any, reference: Any, batch: RationaleBatch) -> None:
    """trl's RLOO: old policy, reference, policy with gradient, each over prompt and rationale, with trl's own head."""
    from trl.trainer.utils import add_fused_lm_head

    if "forward" not in vars(model):
        add_fused_lm_head(model, outputs=("log_probs", "entropy"))
        add_fused_lm_head(reference)
    short = batch.without_answers()
    labels_BT = short.ids_BT.masked_fill(~short.rationale_mask_BT, -100)

    def logprob(scored: Any) -> Tensor:
        output = scored(input_ids=short.ids_BT, labels=labels_BT, fused_lm_head=True)
        return (output.log_probs * short.rationale_mask_BT[:, -output.log_probs.shape[1] :]).sum(-1)

    with torch.no_grad():
        old_B, reference_B = logprob(model), logprob(reference)
    reward_B = torch.linspace(-1, 1, len(old_B), device=old_B.device) - 0.05 * (old_B - reference_B)
    advantage_B = reward_B - reward_B.mean()
    ratio_B = (logprob(model) - old_B).exp()
    loss_B = -torch.min(ratio_B * advantage_B, ratio_B.clamp(0.8, 1.2) * advantage_B)
    loss_B.mean().backward()


def gradient(model: Any) -> Tensor:
    """[D] the gradient that an update left, in double precision."""
    return torch.cat([p.grad.double().flatten() for p in model.parameters()])


def compared(
    model: Any, reference: Any, batch: RationaleBatch, products: str = "auto"
) -> tuple[dict[str, float], dict[str, Spent]]:
    """Relative distance of each of our ways' gradients from the published scheme's, and what every scheme took."""
    distances, times, published = {}, {}, torch.zeros(())
    for scheme in SCHEMES:
        times[scheme] = spent(partial(update, scheme, model, reference, batch, products))
        if scheme == "published":
            published = gradient(model)
        elif scheme in WAYS:
            distances[scheme] = float((gradient(model) - published).norm() / published.norm())
    return distances, times


def peak_memory(shape: UpdateShape, scheme: str, seed: int, device: str, products: str) -> float:
    """MB that one update takes above the loaded models. To be called in a process of its own."""
    torch.set_num_threads(1)
    model, reference, batch = build(shape, seed, device)
    warm_up(scheme, model, reference, batch, products)
    return peak_of(lambda: update(scheme, model, reference, batch, products))


def warm_up(scheme: str, model: Any, reference: Any, batch: RationaleBatch, products: str) -> None:
    """Run a scheme on a few tokens: what is imported and allocated once is not its cost."""
    ids = batch.ids_BT[0].tolist()
    rationales = [Rationale(ids=tuple(ids[2:4]), text="", ending=())] * 2
    few = join([ids[:2]], rationales, [ids[-1:]], 0).to(batch.ids_BT.device)
    update(scheme, model, reference, few, products)
    model.zero_grad(set_to_none=True)


def flops(shape: UpdateShape, scheme: str) -> float:
    """Multiply-adds times two of the matrix products with weights; attention's own, some 6 to 10% more, left out.

    Body and head are counted in token-forwards; a backward pass is two.
    """
    p, z, y, K = shape.prompt, shape.rationale, shape.answer, shape.K
    fused = 4  # forward, backward, and the logits once more, as none are kept
    body, head = {
        "published": ((p + z) * 2 + (p + z + y) + 3 * (2 * (p + z) + y),) * 2,
        "stock RLOO": (5 * (p + z), 2 * z + 4 * z),
        "ours": ((p + z) + 3 * (p + z + y), z + fused * (z + y)),
        "ours, shared prompt": ((p / K + z) + 3 * (p / K + z + y), z + fused * (z + y)),
        "ours, two passes": ((p + z) + 4 * (p + z + y), z + (1 + fused) * (z + y)),
    }[scheme]
    layer = shape.hidden * shape.hidden * 3 + 3 * shape.hidden * shape.intermediate
    return 2.0 * K * (body * layer * shape.layers + head * shape.vocabulary * shape.hidden)


def update_rows(
    shape: UpdateShape,
    rounds: int,
    seed: int,
    device: str = "cpu",
    products: str = "auto",
    say: Callable[[str], None] = print,
) -> list[dict]:
    """One row a scheme: medians of `rounds` alternating runs, peak memory, FLOPs, ratios to the published scheme."""
    model, reference, batch = build(shape, seed, device)
    for scheme in SCHEMES:
        warm_up(scheme, model, reference, batch, products)
    distances, first = compared(model, reference, batch, products)
    say(distances_told(shape, distances))
    calls = {scheme: partial(update, scheme, model, reference, batch, products) for scheme in SCHEMES}
    times = alternating(calls, rounds - 1)
    del model, reference, batch, calls
    ceiling, reads = matmul_rate(device=device), read_rate(device)
    taken = {scheme: [first[scheme], *times[scheme]] for scheme in SCHEMES}
    clock = fair_clock(taken.values())
    rows: list[dict] = []
    for scheme in SCHEMES:
        memory = in_fresh_process(peak_memory, shape, scheme, seed, device, products)
        work = flops(shape, scheme)
        traffic = update_traffic(shape.sizes, shape.work(WAYS.get(scheme, ScoringConfig())), scheme)
        at_work = median(work_seconds(t) for t in taken[scheme])
        wall = median(t.wall for t in taken[scheme])
        rows.append(
            {
                "part": "update",
                "shape": shape.name,
                "scheme": scheme,
                "cpu_seconds": median(t.cpu for t in taken[scheme]),
                "wall_seconds": wall,
                "every_cpu_seconds": [t.cpu for t in taken[scheme]],
                "every_wall_seconds": [t.wall for t in taken[scheme]],
                "clock": clock,
                "peak_mb": memory,
                "flops": work,
                "of_matmul_ceiling": work / at_work / ceiling,
                "of_bandwidth_ceiling": traffic / wall / reads,
                "gradient_distance": distances.get(scheme),
            }
        )
    for row in rows:
        row["times_faster"] = rows[0][f"{clock}_seconds"] / row[f"{clock}_seconds"]
        row["times_less_memory"] = rows[0]["peak_mb"] / row["peak_mb"]
        row["times_fewer_flops"] = rows[0]["flops"] / row["flops"]
    return rows


def distances_told(shape: UpdateShape, distances: Mapping[str, float]) -> str:
    """How far our ways' gradients are from the published scheme's, in a line."""
    return f"{shape.name}: gradients differ by " + ", ".join(f"{d:.1e} ({w})" for w, d in distances.items())


def disagreements(shape: UpdateShape, distances: Mapping[str, float]) -> list[str]:
    """One line for each of our ways whose gradient is not the published scheme's."""
    return [
        f"{shape.name}: the gradient of {way!r} differs by {distances[way]:.1e}"
        for way in WAYS
        if not distances[way] <= AGREEMENT
    ]


def compare_gradients(seed: int, device: str, products: str, say: Callable[[str], None]) -> list[str]:
    """The disagreements at the smallest shape, before what is measured without an update of its own."""
    shape = SHAPES["small"][0]
    distances, _ = compared(*build(shape, seed, device), products)
    say(distances_told(shape, distances))
    return disagreements(shape, distances)


def update_failures(shape: UpdateShape, rows: list[dict]) -> list[str]:
    """One line for each gradient that disagrees and each bar that is missed."""
    by_scheme = {row["scheme"]: row for row in rows}
    failed = disagreements(shape, {way: by_scheme[way]["gradient_distance"] for way in WAYS})
    bars = [
        ("ours", "times_faster", shape.least_time, "time"),
        ("ours, shared prompt", "times_faster", shape.least_shared, "time"),
        ("ours", "times_less_memory", shape.least_memory, "memory"),
    ]
    for scheme, key, least, what in bars:
        if by_scheme[scheme][key] < least:
            failed.append(
                f"{shape.name}: {scheme!r} takes {by_scheme[scheme][key]:.2f} times less {what} than the published "
                f"scheme, not {least}"
            )
    return failed

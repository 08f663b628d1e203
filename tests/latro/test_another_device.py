"""Scoring and drawing on a device that is not the processor: nothing lies on the wrong one, and values stay the same.

There is no GPU to test on; a made-up device has a GPU's rules. Torch gets to know it for the rest of a process, so all
of this runs in another one.
"""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
import torch

from latro import scored_tokens
from latro.likelihood import likelihood
from latro.sampling import SamplingConfig, sample_rationales
from scripts.benchmark_models import small_bench
from tests.latro.card import CARD, Placing, fetched, register
from tests.latro.test_likelihood import batch
from tests.latro.test_scored_tokens import MODELS, WAYS


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Callable[..., Any]]:
    """Calls in a process that knows the made-up device."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=register) as pool:
        yield lambda work, *arguments: pool.submit(work, *arguments).result()


def mixed() -> list[str]:
    """What the made-up device says of operations that mix it with the processor."""
    said = []
    with Placing():
        here, there = torch.ones(3), torch.ones(3, device=CARD)
        for mixing in (lambda: here + there, lambda: torch.cat([here, there]), lambda: here[there > 0]):
            try:
                said.append(str(mixing().device))
            except RuntimeError as error:
                said.append(str(error))
        said.append(str((there[torch.tensor([0, 1])] * torch.tensor(2.0)).tolist()))
    return said


def test_the_made_up_device_refuses_to_be_mixed_with_the_processor(elsewhere):
    assert elsewhere(mixed) == [
        "aten::add: 1 tensors on the card, 1 on the processor",
        "aten::cat: 1 tensors on the card, 1 on the processor",
        "aten::index: 1 tensors on the card, 1 on the processor",
        "[2.0, 2.0]",
    ]


def scored(name: str) -> list[tuple[str, str, float, float]]:
    """Of every way of scoring: the device of the scores, and how far they and the gradient are from the processor's."""
    # A parameter there is a class of its own, which the fused head would take for a sharded one.
    scored_tokens.plain_reason = lambda model: None
    found = []
    for way, scoring in WAYS.items():
        model, there = MODELS[name](), MODELS[name]()
        mine = likelihood(model, batch(), temperature=0.6, scoring=scoring)
        with Placing():
            there = there.to(CARD)
            theirs = likelihood(there, batch().to(CARD), temperature=0.6, scoring=scoring)
            gradients = [
                torch.autograd.grad(loss(each), trained(m)) for each, m in ((mine, model), (theirs, there))
            ]
            device = str(theirs.rationale_B.device)
            scores = float((theirs.rationale_B.detach().cpu() - mine.rationale_B.detach()).abs().max())
            pairs = zip(*gradients, strict=True)
            slope = max(float((other.cpu() - one).abs().max()) for one, other in pairs)
        found.append((way, device, scores, slope))
    return found


def loss(result: Any) -> torch.Tensor:
    return (result.rationale_B.square() + result.answer_BT.sum(-1) - result.before_answer_B).sum()


def trained(model: Any) -> list[torch.nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


@pytest.mark.parametrize("name", MODELS)
def test_every_way_of_scoring_keeps_to_the_models_device(name: str, elsewhere):
    found = elsewhere(scored, name)
    assert [way for way, *_ in found] == list(WAYS)
    assert {device for _, device, _, _ in found} == {"card:0"}
    assert max(scores for _, _, scores, _ in found) < 1e-12
    assert max(slope for *_, slope in found) < 2e-5  # Llama's norms and rotations are in float32


def drawn(engine: str) -> tuple[bool, int, dict[str, int]]:
    """Whether the tokens are the processor's, how many steps it took to draw them, and what was waited for."""
    bench = small_bench(6)
    config = SamplingConfig(rationales_per_prompt=4, max_rationale_tokens=24, batch_rows=16, engine=engine)

    def draw() -> list[tuple[int, ...]]:
        found = sample_rationales(
            bench.model, bench.encoder, bench.prompts, list(range(6)), config, markers=bench.markers, seed=0, step=0
        )  # fmt: skip
        return [rationale.ids for rationale in found]

    mine = draw()
    steps = 0

    def count(*_: Any) -> None:
        nonlocal steps
        steps += 1

    with Placing():
        bench.model.to(CARD)
        bench.model.register_forward_hook(count)
        fetched.clear()
        theirs = draw()
    return theirs == mine, steps, dict(fetched)


@pytest.mark.parametrize("engine", ["continuous", "generate"])
def test_rationales_are_drawn_where_the_model_is(engine: str, elsewhere):
    same, steps, waited = elsewhere(drawn, engine)
    assert same
    assert 24 <= steps <= 72  # 24 rows of up to 24 tokens, 16 at once
    assert sum(waited.values()) <= 4 * steps  # never once for each row

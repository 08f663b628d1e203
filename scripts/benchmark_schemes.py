"""The schemes that decode, by name, and which of ours a bar is held against.

`published` is the released code's, `stock RLOO` trl's own trainer (of a rollout, `generate` as it calls it), `ours`
what `train_latro` runs. `ours, bfloat16 copies` draws the rationales, and scores by the reference, with bfloat16 copies
of a float32 policy, whose own passes stay as they are: two knobs, for machines that are fast in bfloat16.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from latro.errors import InputError
from latro.precision import bfloat16_is_fast, processor_is_fast
from scripts.benchmark_models import Bench, BenchSource
from scripts.measuring import in_fresh_process, in_turn
from scripts.training import quiet_libraries

Size = TypeVar("Size")
Found = TypeVar("Found")
Scheme = Callable[[Bench, Size, int], Found]
"""What a scheme's run of a size from a seed found."""

COPIES = "ours, bfloat16 copies"
NAMES = ("published", "stock RLOO", "ours", COPIES)


def copies_pay(real: bool, dtype: str, device: str) -> bool:
    """Whether bfloat16 copies are measured: of a real model in float32, on a device that is fast in bfloat16."""
    fast = processor_is_fast if device == "cpu" else bfloat16_is_fast
    return real and dtype == "float32" and fast()


def possible(schemes: Iterable[str], real: bool, dtype: str, device: str) -> list[str]:
    """Those of a part's schemes that can be measured here; real: whether the model is one."""
    return [name for name in schemes if name != COPIES or copies_pay(real, dtype, device)]


def chosen(of_part: Sequence[str], names: Sequence[str] | None) -> list[str]:
    """The possible schemes of a part of a step, those of them that are named, in their order.

    A name that only another part knows is no error. Ratios are to the first.
    Raises InputError where a name is unknown, cannot be measured here, or where nothing is left to compare with ours.
    """
    if names is None:
        return list(of_part)
    for name in names:
        if name not in NAMES:
            raise InputError(f"schemes={list(names)}: {name!r} is none of {', '.join(map(repr, NAMES))}")
    if COPIES in names and COPIES not in of_part:
        raise InputError(
            f"schemes={list(names)}: {COPIES!r} takes size=full, dtype=float32 and a device that multiplies bfloat16"
        )
    taken = [name for name in of_part if name in names]
    if len(taken) < 2 or not {"ours", COPIES} & set(taken):
        raise InputError(f"schemes={list(names)}: ratios are of another scheme and of ours; name one of each")
    return taken


def held_to_bars(names: Collection[str]) -> str:
    """The scheme of ours that the bars are held against: with bfloat16 copies where that was measured."""
    return COPIES if COPIES in names else "ours"


def alternating_runs(
    schemes: Mapping[str, Scheme[Size, Found]],
    source: BenchSource,
    sizes: tuple[Size, Size],
    title: str,
    rounds: int,
    seed: int,
    say: Callable[[str], None],
) -> dict[str, list[Found]]:
    """What each scheme's runs found, in turn: what is imported and allocated once is no scheme's cost.

    A real model's runs have a process each, as a training has: the gigabytes that a scheme leaves with the allocator
    are not the next one's.
    sizes: that of a short run before, and that which is measured. title: of the lines that are said.
    """
    quiet_libraries()
    if source.real:
        calls = {
            name: partial(in_fresh_process, after_a_short_one, scheme, source, sizes)
            for name, scheme in schemes.items()
        }
    else:
        bench, (short, full) = source.bench(), sizes
        for scheme in schemes.values():
            scheme(bench, short, seed)
        calls = {name: partial(scheme, bench, full) for name, scheme in schemes.items()}
    return in_turn(calls, rounds, seed, lambda line: say(f"{title}, {line}"))


def after_a_short_one(
    scheme: Scheme[Size, Found], source: BenchSource, sizes: tuple[Size, Size], seed: int
) -> Found:
    """What a run found in a process that has made a short one."""
    quiet_libraries()
    bench, (short, full) = source.bench(), sizes
    scheme(bench, short, seed)
    return scheme(bench, full, seed)

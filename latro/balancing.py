"""Which process takes which prompts of a step, and which of them stand together in a micro-batch.

All processes wait for the slowest, so each should have about as much to draw; and like lengths need little padding.

Draws depend on prompt and step alone, and the gradient is a mean over the rows of all processes: who takes what changes
no result but by rounding. Expected is what a prompt's rationales had in the mean when they were last drawn.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from latro.encoding import Rationale
from latro.records import Sample

FILE = "rationale_lengths.json"
"""Within a checkpoint, so that a run that is taken up deals as it would have dealt."""


def dealt(expected: Sequence[float], processes: int) -> list[list[int]]:
    """The places of all prompts by process, as many each: the longest first, dealt back and forth.

    Raises ValueError where they cannot be divided.
    """
    if len(expected) % processes:
        raise ValueError(f"{len(expected)} prompts cannot be divided among {processes} processes")
    shares: list[list[int]] = [[] for _ in range(processes)]
    for number, place in enumerate(sorted(range(len(expected)), key=lambda n: -expected[n])):
        lap, seat = divmod(number, processes)
        shares[processes - 1 - seat if lap % 2 else seat].append(place)
    return shares


def by_length(
    prompts: Sequence[Sequence[int]], rationales: Sequence[Rationale], sizes: Sequence[int]
) -> list[list[int]]:
    """The places of N prompts, with their N·K rationales, in micro-batches of these sizes: like lengths together.

    Less is padded so, and the longest come first: memory runs out at once or never. The step's gradient is a mean over
    all its rows, whatever stands beside what.
    """
    K = len(rationales) // len(prompts)
    longest = [
        len(prompt) + max(len(rationale.ids) for rationale in rationales[n * K : (n + 1) * K])
        for n, prompt in enumerate(prompts)
    ]
    order = iter(sorted(range(len(prompts)), key=lambda n: -longest[n]))
    return [[next(order) for _ in range(size)] for size in sizes]


class Lengths:
    """Mean rationale tokens of each example, as they were last drawn."""

    def __init__(self) -> None:
        self.mean: dict[str, float] = {}

    def expected(self, ids: Sequence[str]) -> list[float]:
        """Tokens; the mean of all for an example that was never drawn."""
        usual = fmean(self.mean.values()) if self.mean else 0.0
        return [self.mean.get(name, usual) for name in ids]

    def learn(self, samples: Sequence[Sample]) -> None:
        """Take in a step's samples of all processes."""
        drawn: dict[str, list[int]] = {}
        for sample in samples:
            drawn.setdefault(sample.id, []).append(sample.length)
        self.mean |= {name: fmean(lengths) for name, lengths in drawn.items()}

    def save(self, checkpoint: Path) -> None:
        """Write what is known into a checkpoint's folder."""
        (checkpoint / FILE).write_text(json.dumps(self.mean) + "\n", encoding="utf-8")

    def load(self, checkpoint: Path) -> None:
        """Read it again; a checkpoint that has none leaves nothing known."""
        if (checkpoint / FILE).exists():
            self.mean = json.loads((checkpoint / FILE).read_text(encoding="utf-8"))

"""One step on many devices: bytes moved and seconds, from the model's sizes alone. Pure arithmetic, nothing measured.

Devices stand in nodes. A gather of S bytes, of which each of n devices holds its share, takes the longer of two times:
what a device receives, S (n - 1) / n, at the rate within a node; and what enters a node, S (m - 1) / m for m nodes, at
the rate between nodes. A reduction moves as much. Traffic of the update is hidden behind its multiplications as far as
those last; traffic of sampling is not, as the next token waits for it.
"""

import math
from dataclasses import dataclass, replace

from latro.errors import InputError
from latro.hardware import Hardware
from latro.planning import (
    ModelSizes,
    Work,
    highest,
    layer_activations,
    memory_parts,
    optimizer_bytes,
    time_parts,
    trained_weights,
)

SHARDINGS = ("none", "zero3", "fsdp2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """How fast devices hear from one another."""

    node: int = 8
    """Devices of a node."""
    inside: float = 450e9
    """Bytes per second that a device receives within its node (NVLink 4)."""
    between: float = 400e9
    """Bytes per second that enter a node (eight adapters of 400 Gbit/s)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One device's part of an optimizer step."""

    devices: int
    prompts: int
    """Of the whole step, over all devices."""
    memory: float
    """Bytes at the step's peak."""
    moved: float
    """Bytes that the device receives in a step."""
    sampling: float
    """Seconds, its traffic included."""
    update: float
    """Seconds, the traffic that cannot be hidden included."""

    @property
    def step(self) -> float:
        """Seconds."""
        return self.sampling + self.update

    @property
    def rate(self) -> float:
        """Prompts per second over all devices."""
        return self.prompts / self.step


def gather_seconds(size: float, devices: int, links: Links) -> float:
    """Seconds until every device holds `size` bytes of which each had its share."""
    nodes = math.ceil(devices / links.node)
    received, entering = size * (devices - 1) / devices, size * (nodes - 1) / nodes
    return max(received / links.inside, entering / links.between)


def gathers(model: ModelSizes, work: Work, sharding: str) -> tuple[float, float]:
    """Bytes that are gathered or reduced over all devices in a step: while sampling, and in the update.

    `none`: the gradients are summed once a step, which moves them twice. `zero3`: a micro-batch gathers the reference
    once, the policy for its forward and again for its backward pass, and scatters its gradients; sampling gathers the
    policy once. `fsdp2`: the reference is whole, but sampling gathers the policy again for every token of every round;
    where vLLM decodes it is gathered once, on the way there. Raises InputError for another word.
    """
    if sharding not in SHARDINGS:
        raise InputError(f"sharding={sharding!r}: choose one of {', '.join(SHARDINGS)}")
    whole = float(model.parameters * work.weight_bytes)
    gradients = trained_weights(model, work) * (work.weight_bytes if work.lora_rank is None else 4)
    if sharding == "none":
        return 0.0, 2.0 * gradients
    policy = work.micro_batches * (2 * whole + gradients)
    if sharding == "zero3":
        return whole, policy + work.micro_batches * model.parameters * work.reference_bytes
    if work.vllm_samples:
        return whole, policy
    rounds = -(-work.prompts * work.micro_batches * work.K // work.batch_rows)
    return whole * work.rationale * rounds, policy


def sharded_peak(model: ModelSizes, work: Work, processes: int) -> float:
    """Bytes on each of several devices under ZeRO-3 or FSDP2 in mixed precision.

    Divided are both models' weights, the gradients, and the float32 copy of the weights with its moments; whole are
    activations, head and sampling, and the one layer, embedding or head that is gathered at a time, twice for the next.
    """
    parts = memory_parts(model, work)
    exact = exact_bytes(model, work)
    divided = (parts["weights"] + parts["reference"] + parts["gradients"] + exact) / processes
    again = layer_activations(model, work) if work.checkpointing else 0.0
    gathered = 2 * max(model.layer, model.matrix) * work.weight_bytes
    return (
        divided
        + gathered
        + highest(work, parts["activations"] + max(parts["head"], again), parts["sampling"])
    )


def exact_bytes(model: ModelSizes, work: Work) -> float:
    """Bytes of the trained weights' float32 copy with the optimizer's moments, all shards together."""
    return trained_weights(model, work) * 4 + optimizer_bytes(model, work, 4)


def as_sharded(work: Work, sharding: str) -> Work:
    """The work as it is done where weights are sharded so: FSDP2's head computes its own logits."""
    return replace(work, fused_head=False) if sharding == "fsdp2" else work


def peak(model: ModelSizes, work: Work, devices: int, sharding: str) -> float:
    """Bytes on each device. ZeRO-3 holds the whole policy while that decodes; under FSDP2 the reference is whole."""
    work = as_sharded(work, sharding)
    parts = memory_parts(model, work)
    if sharding == "none":
        return parts["peak"]
    elsewhere = (devices - 1) / devices
    resident = parts["weights"] + parts["reference"] + exact_bytes(model, work)
    sampling = resident / devices + highest(work, 0.0, parts["sampling"])
    if sharding == "zero3":
        sampling += 0.0 if work.vllm_samples else parts["weights"] * elsewhere
        return max(sharded_peak(model, work, devices), sampling)
    return max(sharded_peak(model, work, devices), sampling) + parts["reference"] * elsewhere


def share(
    model: ModelSizes,
    work: Work,
    longest: int,
    hardware: Hardware,
    devices: int,
    sharding: str,
    links: Links,
) -> Share:
    """One device's part of a step of which `work` is its share; `longest` is the longest prompt, for memory."""
    seconds = time_parts(model, as_sharded(work, sharding), hardware)
    sampled, updated = gathers(model, work, sharding)
    hidden = gather_seconds(updated, devices, links)
    return Share(
        devices=devices,
        prompts=work.prompts * work.micro_batches * devices,
        memory=peak(model, replace(work, prompt=longest), devices, sharding),
        moved=(sampled + updated) * (devices - 1) / devices,
        sampling=seconds["sampling"] + gather_seconds(sampled, devices, links),
        update=max(seconds["update"], hidden),
    )


def same_batch(work: Work, prompts: int, devices: int) -> Work:
    """The share of one of so many devices in a step of `prompts`: a prompt's K rationales stay together."""
    return replace(work, micro_batches=max(1, math.ceil(prompts / (devices * work.prompts))))

"""What a training step will need, from the model's sizes alone: bytes, multiplications, seconds. Pure arithmetic.

Counted are tensors; what the libraries hold beside them (about 0.6 GiB, where memory is a processor's) is left to the
caller. The activations are those that autograd keeps in a Llama-like layer with fused attention, in elements a token:

    6h + 2a + 2g + 4m + heads + 2     all weights trained; h width, a query width, g key width, m width of the MLP
    4h + 2a + 2g + 4m + heads + 2 + 7r     LoRA of rank r: frozen norms need not remember their results

A matrix product takes two FLOP a weight and token, a backward pass twice a forward pass (with frozen weights, once).
Seconds assume that a share of what the hardware could do at most is reached; see `UPDATE_SHARE` and `DECODE_SHARE`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from latro.errors import InputError
from latro.hardware import Hardware

UPDATE_SHARE = 0.5
"""Share of the matrix-product rate that scoring and backward pass reach."""
DECODE_SHARE = 0.5
"""Share of the read bandwidth, or of the (narrow) matrix-product rate, that decoding reaches."""
HEAD_CHUNK = 2**26
"""Bytes of logits that the fused head holds at once (`latro.fused_head.CHUNK`)."""
PLAIN_CHUNK = 1024
"""Rows of logits whose softmax is taken at once without it (`latro.scored_tokens.CHUNK`)."""
LOGIT_BYTES = 12
"""Per row and vocabulary entry while a token is drawn: scores, these over the temperature, probabilities."""

EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSizes:
    """The sizes of a Llama-like model."""

    hidden: int
    layers: int
    intermediate: int
    query: int
    """Width of all query heads together."""
    key: int
    """Width of all key heads together."""
    heads: int
    vocabulary: int
    tied: bool

    @property
    def layer(self) -> int:
        """Weights of one layer's matrices."""
        attention = self.hidden * (2 * self.query + 2 * self.key)
        return attention + 3 * self.hidden * self.intermediate

    @property
    def matrix(self) -> int:
        """Weights of the head, or of the embedding."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All weights."""
        return (
            self.layers * (self.layer + 2 * self.hidden) + self.hidden + self.matrix * (1 if self.tied else 2)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One optimizer step of one process."""

    prompts: int
    """N of a micro-batch."""
    micro_batches: int
    K: int
    prompt: int
    """Tokens."""
    rationale: int
    """Tokens: the mean for time, the limit for memory, and here one number for both."""
    answer: int
    weight_bytes: int = 4
    reference_bytes: int = 4
    """Of a weight of the frozen copy; 0 where the reference is the policy with its adapter off."""
    sampler_bytes: int = 0
    """Of a weight of the copy that samples in low precision; 0 where the policy itself samples."""
    autocast: bool = False
    """Whether policy and reference compute in half precision, whatever their weights; a sampler's copy does not."""
    half: str = "bfloat16"
    """Which format numbers of two bytes have: bfloat16 or float16."""
    moments: int = 2
    """Numbers that the optimizer keeps of a trained weight."""
    moment_bytes: int | None = None
    """Of such a number; None: as many as the trained weight has."""
    lora_rank: int | None = None
    batch_rows: int = 64
    fused_head: bool = True
    head_memory: float = 0.0
    head_chunk: int | None = None
    """Bytes of logits that the fused head holds at once; None: `HEAD_CHUNK`."""
    share_prompt: bool = False
    packed: bool = False
    """With a shared prompt: whether the rows go through the body as one sequence without padding."""
    rows: int | None = None
    side_rows: bool = False
    """Whether every row's ending departs from the answer line and is scored in a row of its own: the most there are."""
    checkpointing: bool = False
    prefilled_once: bool = False
    """Whether a prompt goes through the model once for its K rationales where they are drawn."""
    prompt_kept_once: bool = False
    """Whether they share its keys and values there."""
    vllm_samples: bool = False
    """Whether vLLM draws the rationales, and not the policy itself."""
    vllm_bytes: float = 0.0
    """What a colocated vLLM takes, for sampling or for evaluation."""
    vllm_sleeps: bool = False
    """Whether that memory is free while vLLM has nothing to do."""

    @property
    def drawing_bytes(self) -> int:
        """Of a weight, a key or a value where rationales are drawn."""
        return self.sampler_bytes or self.weight_bytes

    @property
    def scoring_sizes(self) -> tuple[int, int]:
        """Bytes of the numbers that the policy and the reference multiply."""
        return (2, 2) if self.autocast else (self.weight_bytes, self.reference_bytes or self.weight_bytes)

    @property
    def drawing_size(self) -> int:
        """Of those that are multiplied where rationales are drawn."""
        return self.sampler_bytes or self.scoring_sizes[0]

    @property
    def rows_together(self) -> int:
        """Rows that one forward pass with gradient holds."""
        return min(self.rows or self.prompts * self.K, self.prompts * self.K)

    @property
    def sliced(self) -> bool:
        """Whether a micro-batch goes through in slices."""
        return self.rows_together < self.prompts * self.K


def model_sizes(config: Mapping[str, Any], place: str) -> ModelSizes:
    """From a model's config.json (at `place`). Raises `InputError` if it is not laid out like Llama's."""
    config = config.get("text_config", config)
    experts = next((name for name in EXPERTS if int(config.get(name) or 1) > 1), None)
    if experts:
        raise InputError(f"{place}: {experts}={config[experts]}: plan=true knows no mixtures of experts")
    names = ("hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads", "vocab_size")
    missing = [name for name in names if not config.get(name)]
    if missing:
        raise InputError(f"{place}: no {missing[0]}: plan=true knows models that are built like Llama")
    heads = int(config["num_attention_heads"])
    width = int(config.get("head_dim") or config["hidden_size"] // heads)
    return ModelSizes(
        hidden=int(config["hidden_size"]),
        layers=int(config["num_hidden_layers"]),
        intermediate=int(config["intermediate_size"]),
        query=heads * width,
        key=int(config.get("num_key_value_heads") or heads) * width,
        heads=heads,
        vocabulary=int(config["vocab_size"]),
        tied=bool(config.get("tie_word_embeddings", False)),
    )


def trained_weights(model: ModelSizes, work: Work) -> int:
    """Weights that the optimizer changes: all, or the adapters of every linear layer but the head."""
    if work.lora_rank is None:
        return model.parameters
    widths = (
        2 * (model.hidden + model.query)
        + 2 * (model.hidden + model.key)
        + 3 * (model.hidden + model.intermediate)
    )
    return model.layers * work.lora_rank * widths


def optimizer_bytes(model: ModelSizes, work: Work, exact: int) -> float:
    """Bytes that the optimizer keeps of the trained weights, which have `exact` bytes each."""
    kept = trained_weights(model, work) * work.moments * (work.moment_bytes or exact)
    if work.moment_bytes == 1 and work.lora_rank is None:
        kept += model.matrix * work.moments * 3  # transformers has the embedding's moments stay in float32
    return kept


def memory_parts(model: ModelSizes, work: Work) -> dict[str, float]:
    """Bytes by purpose. The step's peak is `resident` plus the `highest` of `update`, `sampling` and `vllm`."""
    trained = trained_weights(model, work)
    adapters = 0 if work.lora_rank is None else trained * 4
    exact = 4 if work.lora_rank is not None else work.weight_bytes  # adapters and their moments are float32
    parts = {
        "weights": model.parameters * work.weight_bytes + adapters,
        "reference": model.parameters * work.reference_bytes,
        "sampler": model.parameters * work.sampler_bytes,
        "optimizer": optimizer_bytes(model, work, exact),
        "gradients": trained * exact,
        "activations": activations(model, work),
        "head": head_bytes(model, work),
        "sampling": 0.0 if work.vllm_samples else sampling_bytes(model, work),
        "vllm": work.vllm_bytes,
    }
    # Gradients of the first micro-batch (or slice) grow while activations go; those of later ones find them there.
    held = parts["gradients"] if work.micro_batches > 1 or work.sliced else 0.0
    held += head_gradient(model, work) if work.sliced else 0.0  # the sum of two slices' is made beside them
    # Behind the head come a layer's own gradients, with checkpointing a layer run again; the head's waits for the
    # embedding's.
    layer = 2 * model.intermediate * body_tokens(work) * work.weight_bytes + head_gradient(model, work)
    if work.checkpointing:
        layer += layer_activations(model, work)
    # Where they are one matrix, the embedding's gradient is made beside the head's, when all others are there.
    ended = parts["gradients"] + (head_gradient(model, work) if model.tied else 0.0)
    parts["update"] = max(parts["activations"] + max(parts["head"], layer) + held, ended)
    parts["resident"] = parts["weights"] + parts["reference"] + parts["sampler"] + parts["optimizer"]
    parts["peak"] = parts["resident"] + highest(work, parts["update"], parts["sampling"])
    return parts


def highest(work: Work, update: float, sampling: float) -> float:
    """Bytes of what takes turns, update, sampling and a vLLM that sleeps; one that does not is there all the time."""
    if work.vllm_sleeps:
        return max(update, sampling, work.vllm_bytes)
    return max(update, sampling) + work.vllm_bytes


def body_tokens(work: Work) -> int:
    """Tokens that go through the body together."""
    behind = work.rationale + work.answer
    if work.share_prompt:
        return work.prompts * work.prompt + body_rows(work) * behind
    return body_rows(work) * (work.prompt + behind)


def body_rows(work: Work) -> int:
    """Rows that go through the body together: their logits but for an ending's few tokens are those of the rows."""
    return work.rows_together * (2 if work.side_rows and not work.packed else 1)


def layer_activations(model: ModelSizes, work: Work) -> float:
    """Bytes that autograd keeps of one layer."""
    attention = 2 * model.query + 2 * model.key + model.heads + 2
    if work.lora_rank is None:
        layer = 6 * model.hidden + 4 * model.intermediate + attention
    else:
        layer = 4 * model.hidden + 4 * model.intermediate + attention + 7 * work.lora_rank
    kept = float(layer * body_tokens(work))
    if work.share_prompt and work.packed:
        # A row's keys and values stand behind its prompt's, repeated for all heads, and nowhere else.
        columns = body_rows(work) * (work.prompt + work.rationale + work.answer) + work.prompts * work.prompt
        kept += 2 * model.query * columns - 2 * model.key * body_tokens(work)
    elif work.share_prompt:
        # Every row has its prompt's keys and values, in the cache and once more repeated for all heads, as a mask
        # wants them; and it has that mask.
        behind, whole = work.rationale + work.answer, work.prompt + work.rationale + work.answer
        kept += body_rows(work) * (
            (2 * model.query + 2 * model.key + behind) * whole - 2 * model.key * behind
        )
    return kept * work.weight_bytes


def activations(model: ModelSizes, work: Work) -> float:
    """Bytes that autograd keeps of all layers; with checkpointing only of their inputs."""
    ends = 2 * model.hidden * body_tokens(work) * work.weight_bytes
    if work.checkpointing:
        return model.layers * model.hidden * body_tokens(work) * work.weight_bytes + ends
    return model.layers * layer_activations(model, work) + ends


def head_gradient(model: ModelSizes, work: Work) -> float:
    """Bytes of the head weight's gradient, in float32 at least."""
    return 0.0 if work.lora_rank is not None else float(model.matrix * max(4, work.weight_bytes))


def head_bytes(model: ModelSizes, work: Work) -> float:
    """Bytes of logits, of their gradient where none are kept, and of the head's own, as the backward pass starts."""
    scored = work.rows_together * (work.rationale + work.answer)
    logits = scored * model.vocabulary * work.weight_bytes
    states = 2 * scored * model.hidden * work.weight_bytes
    if not work.fused_head:
        chunk = 2 * min(PLAIN_CHUNK, scored) * model.vocabulary * 4
        return 2 * logits + chunk + states + head_gradient(model, work)
    kept = 0.0 if work.lora_rank is not None else min(logits, work.head_memory * 2**30)
    buffer = min(max(work.head_chunk or HEAD_CHUNK, model.vocabulary * work.weight_bytes), logits - kept)
    return kept + buffer + states + head_gradient(model, work)


def sampling_bytes(model: ModelSizes, work: Work) -> float:
    """Bytes of keys and values of the rows that are decoded together, and of their logits in the sampler."""
    rows = min(work.batch_rows, work.prompts * work.micro_batches * work.K)
    prompts = math.ceil(rows / work.K) if work.prompt_kept_once else rows
    columns = rows * work.rationale + prompts * work.prompt
    cache = 2 * model.layers * model.key * columns * work.drawing_bytes
    return cache + rows * LOGIT_BYTES * model.vocabulary


def flop_parts(model: ModelSizes, work: Work) -> dict[str, float]:
    """FLOP of one step by purpose: `reference`, `update`, `prefill` and `decode`. Attention's own are left out."""
    rows = work.prompts * work.micro_batches * work.K
    behind, prompt = work.rationale + work.answer, float(work.prompt)
    body, head = 2.0 * model.layer * model.layers, 2.0 * model.matrix
    if work.share_prompt:
        prompt /= work.K
    backward = 2 if work.lora_rank is None else 1
    passes = 1 + backward + (1 if work.sliced or work.checkpointing else 0)
    again = 0.0
    if work.lora_rank is None and work.fused_head:
        scored = work.prompts * work.K * behind * model.vocabulary * work.weight_bytes
        again = 1 - min(1.0, work.head_memory * 2**30 / scored)
    if work.sliced:  # once more for the slice's second pass; what it keeps is not needed a third time
        again = 1.0 + (again if work.lora_rank is None else 1.0)
    return {
        "reference": rows * (body * (prompt + work.rationale) + head * work.rationale),
        "update": rows * (body * passes * (prompt + behind) + head * (1 + backward + again) * behind),
        "prefill": rows * body * work.prompt / (work.K if work.prefilled_once else 1),
        "decode": rows * (body + head) * work.rationale,
    }


def decode_bytes(model: ModelSizes, work: Work) -> float:
    """Bytes read while a step's rationales are drawn: all weights once a token, and every row's keys and values."""
    rows = work.prompts * work.micro_batches * work.K
    rounds = -(-rows // work.batch_rows)
    weights = (model.layers * model.layer + model.matrix) * work.drawing_bytes
    cache = 2 * model.layers * model.key * (work.prompt + work.rationale / 2) * work.drawing_bytes
    return work.rationale * (rounds * weights + rows * cache)


def time_parts(model: ModelSizes, work: Work, hardware: Hardware) -> dict[str, float]:
    """Seconds of one step: `sampling`, `update`, and their sum `step`. Every product at the rate of its precision."""
    flop = flop_parts(model, work)
    policy, reference, drawing = (
        hardware.rate(size, work.half) for size in (*work.scoring_sizes, work.drawing_size)
    )
    update = (flop["reference"] / reference + flop["update"] / policy) / UPDATE_SHARE
    narrow = hardware.narrow_flops or drawing
    decode = max(flop["decode"] / narrow, decode_bytes(model, work) / hardware.bandwidth) / DECODE_SHARE
    sampling = decode + flop["prefill"] / (UPDATE_SHARE * drawing)
    return {"sampling": sampling, "update": update, "step": sampling + update}

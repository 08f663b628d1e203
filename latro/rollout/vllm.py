"""vLLM draws the rationales: beside the training on its GPU (`colocate`), or on GPUs of its own (`server`).

trl starts or reaches vLLM and hands it the policy's weights, once a step. What is asked of it is ours: every row keeps
its own seed, nothing of the model's generation settings is left, and each token comes back with the log-probability
with which it was drawn. vLLM's kernels round differently from those that score, so the draws are nearly on-policy:
`latro/sampler_kl` tells how nearly, and `objective.importance_cap` weighs by it.
"""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from latro.encoding import Encoder
from latro.errors import InputError
from latro.rollout.base import NOT_FINITE, Continuation, Done, Request, ignore
from latro.rollout.ending import Ending

MODES = ("colocate", "server")
TEMPERATURES = (0.01, 2.0)
"""vLLM raises a smaller one to the first, and would no longer draw from the policy; it refuses one above the second."""
REQUESTS = 64
"""Rows asked of a server at once by one process; trl's client keeps as many connections."""
SERVE = (
    "VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --logprobs-mode processed_logprobs "
    """--weight-transfer-config '{"backend": "nccl"}'"""
)
"""How a server is started that takes weights."""


@dataclass(frozen=True, kw_only=True)
class VllmConfig:
    """Where vLLM runs. The names are those of trl's arguments, less their `vllm_`."""

    mode: str = "colocate"
    """`colocate`: in every training process, on its GPU. `server`: one server, which all processes ask."""
    gpu_memory_utilization: float = 0.3
    """Share of the GPU's memory that a colocated vLLM takes for its weights and cache."""
    max_model_length: int | None = None
    """Tokens of prompt and continuation that a colocated vLLM makes room for; None: those of the longest row."""
    enable_sleep_mode: bool = False
    """A colocated vLLM gives its memory back while the policy is updated."""
    max_num_seqs: int = 256
    """Rows that a colocated vLLM has in flight at most."""
    model_impl: str = "auto"
    """`auto`, `vllm` or `transformers`: whose code runs the colocated model."""
    server_base_url: str | None = None
    """Where the server is, as http://HOST:8000."""
    server_timeout: float = 240.0
    """Seconds to wait for the server to be up."""
    group_port: int = 51216
    """Port over which the weights go to the server."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        if self.mode not in MODES:
            raise InputError(f"vllm.mode={self.mode!r}: choose {' or '.join(MODES)}")
        if self.mode == "server" and not self.server_base_url:
            raise InputError(
                f"vllm.mode=server: vllm.server_base_url is missing, as http://HOST:8000; start it by: {SERVE}"
            )
        if not 0 < self.gpu_memory_utilization <= 1:
            raise InputError(
                f"vllm.gpu_memory_utilization={self.gpu_memory_utilization} must be above 0 and at most 1"
            )
        for name, least in (("max_model_length", 2), ("max_num_seqs", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"vllm.{name}={value} must be at least {least}")


class VllmEngine:
    """An engine with weights of its own. See `Rollout`."""

    def __init__(
        self, config: VllmConfig, model: Any, accelerator: Any, tokenizer: Any, *, longest: int
    ) -> None:
        """Start or reach vLLM; `longest` is the number of tokens of the longest row there will be.

        Raises InputError where its server cannot be reached or takes no weights, and for an adapter that cannot be
        handed over.
        """
        self.config = config
        self.accelerator = accelerator
        if config.max_model_length is not None and config.max_model_length < longest:
            raise InputError(
                f"vllm.max_model_length={config.max_model_length}: the longest row takes {longest} tokens and would "
                "be cut off; raise it, or leave it out"
            )
        from latro.rollout.adapted import check_adapters

        check_adapters(model, sharded=accelerator.distributed_type in ("DEEPSPEED", "FSDP"))
        if accelerator.distributed_type == "FSDP" and not accelerator.is_fsdp2:
            raise InputError(
                "engine=vllm: FSDP's first version hides weights from the transfer; launch with fsdp_version: 2"
            )
        try:  # what vLLM and trl raise, of which requests' ConnectionError is an OSError
            from latro.rollout.vllm_weights import client_of, process_kept, transfer_of

            with process_kept():
                self.transfer = transfer_of(config, model, accelerator, tokenizer, longest)
            self.client: Any = client_of(config, self.transfer) if config.mode == "server" else None
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            raise InputError(f"engine=vllm, vllm.mode={config.mode}: {error}") from error

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Within the block vLLM has the policy's present weights. Every process enters it, and waits for the last one.

        Behind it a vLLM that may sleep gives its memory back.
        """
        sleeps = self.config.mode == "colocate" and self.config.enable_sleep_mode
        with torch.no_grad():
            self.transfer.sync_weights()
        self.accelerator.wait_for_everyone()
        if sleeps:
            self.transfer.llm.wake_up(tags=["kv_cache"])
        try:
            yield
        finally:
            if sleeps:
                self.transfer.llm.sleep(level=2)

    def continuations(
        self, model: Any, encoder: Encoder, request: Request, done: Done = ignore
    ) -> list[Continuation]:
        """See `Rollout`; the model is vLLM's own, as `renewed` left it."""
        least, most = TEMPERATURES
        if request.seeds is not None and not least <= request.temperature <= most:
            raise InputError(
                f"vLLM draws at temperatures of {least} to {most}, not {request.temperature}; use engine=continuous"
            )
        asked = [sampling_parameters(request, encoder, row) for row in range(len(request.prompts))]
        ask = self.ask_beside if self.client is None else self.ask_server
        ending = Ending(encoder, request.markers)
        answers = []
        for answer in ask([list(prompt) for prompt in request.prompts], asked):
            refuse_broken(answer)
            answers.append(ended(answer, ending))
            done(len(answers))
        return answers

    def ask_beside(self, prompts: list[list[int]], asked: list[dict[str, Any]]) -> Iterator[Continuation]:
        """The rows' continuations, from the vLLM of this process."""
        from vllm import SamplingParams

        with torch.autocast(self.accelerator.device.type, enabled=False):  # vLLM has its own precision
            outputs = self.transfer.llm.generate(
                [{"prompt_token_ids": prompt} for prompt in prompts],
                sampling_params=[SamplingParams(**parameters) for parameters in asked],
                use_tqdm=False,
            )
        for output in outputs:
            tokens, table = output.outputs[0].token_ids, output.outputs[0].logprobs
            drawn = [entry[token].logprob for token, entry in zip(tokens, table or [], strict=bool(table))]
            yield Continuation(tokens=tuple(tokens), logprobs=tuple(drawn))

    def ask_server(self, prompts: list[list[int]], asked: list[dict[str, Any]]) -> Iterator[Continuation]:
        """The rows' continuations, from the server: one request a row, as each has its own seed."""

        def ask(prompt: list[int], parameters: dict[str, Any]) -> Continuation:
            try:
                found = self.client.generate([prompt], generation_kwargs=parameters)
            except Exception as error:  # trl raises the class itself where a server refuses
                if not str(error).startswith("Request failed"):
                    raise
                said = " ".join(str(error).split())[:300]
                raise InputError(f"the vLLM server at {self.config.server_base_url}: {said}") from error
            table = found["logprobs"][0] if found["logprobs"] else []
            return Continuation(
                tokens=tuple(found["completion_ids"][0]), logprobs=tuple(first for first, *_ in table)
            )

        with ThreadPoolExecutor(REQUESTS) as pool:
            yield from pool.map(ask, prompts, asked)


def sampling_parameters(request: Request, encoder: Encoder, row: int) -> dict[str, Any]:
    """What vLLM is told of one row: to draw from the policy as it is, and to end where we would.

    Every knob that a model's own generation settings could fill in is named. A marker ends a row whatever its case;
    vLLM compares letter by letter, so it is given the usual spellings, and the others are found behind it.
    """
    drawn = request.seeds is not None
    spellings = (spelling for marker in request.markers for spelling in (marker, *cases(marker)))
    return {
        "n": 1,
        "max_tokens": request.max_tokens,
        "min_tokens": 0,
        "temperature": request.temperature if drawn else 0.0,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "seed": request.seeds[row] if request.seeds is not None else None,
        "stop": list(dict.fromkeys(spellings)),
        "stop_token_ids": list(encoder.stop_token_ids),
        "ignore_eos": True,  # the model's own end is among the stop tokens, or is none
        "skip_special_tokens": True,
        "logprobs": 0 if drawn else None,  # of the drawn token alone
    }


def cases(text: str) -> tuple[str, ...]:
    """The usual spellings of a text with other capitals."""
    return text.lower(), text.upper(), text.capitalize(), text.title()


def ended(answer: Continuation, ending: Ending) -> Continuation:
    """The continuation up to and including the token that ended it by our rules."""
    tokens, window = answer.tokens, ending.window
    lengths = range(1, len(tokens) + 1)
    length = next((n for n in lengths if ending.ended(tokens[max(0, n - window) : n])), len(tokens))
    return Continuation(tokens=tokens[:length], logprobs=answer.logprobs[:length])


def refuse_broken(answer: Continuation) -> None:
    """Raise InputError where a token was drawn with a log-probability that is no number (trl reads NaN as None)."""
    if any(value is None or not math.isfinite(value) for value in answer.logprobs):
        raise InputError(f"vLLM's {NOT_FINITE}")

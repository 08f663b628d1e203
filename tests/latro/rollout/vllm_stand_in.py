"""A stand-in for vLLM, which needs a GPU: its public names, over a model that transformers runs.

It is as strict as vLLM in what matters here: it knows no other parameters, ends a row where it is told and nowhere
else, compares stop texts letter by letter, has the weights that it was given and none while it sleeps.
"""

import os
import sys
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

from latro.encoding import Encoder
from latro.rollout.base import Request
from latro.rollout.plain import GenerateEngine

DISTRIBUTED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(kw_only=True)
class SamplingParams:
    """The parameters that vLLM's own class has, by its names and with its defaults."""

    n: int = 1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: list[str] = field(default_factory=list)
    stop_token_ids: list[int] = field(default_factory=list)
    ignore_eos: bool = False
    max_tokens: int = 16
    min_tokens: int = 0
    logprobs: int | None = None
    detokenize: bool = True
    skip_special_tokens: bool = True
    include_stop_str_in_output: bool = False

    def __post_init__(self) -> None:
        """Only what leaves the distribution alone is drawn here."""
        neutral = (self.n, self.presence_penalty, self.frequency_penalty, self.repetition_penalty)
        assert neutral == (1, 0.0, 0.0, 1.0)
        assert (self.top_p, self.top_k, self.min_p, self.min_tokens, self.ignore_eos) == (
            1.0,
            0,
            0.0,
            0,
            True,
        )


class LLM:
    """vLLM's engine: loads a folder, takes weights, continues prompts."""

    started: ClassVar[list["LLM"]] = []

    def __init__(self, model: str, tokenizer: str, **knobs: Any) -> None:
        set_seed(knobs["seed"] + 1)  # vLLM seeds the generators of the process that it runs in
        torch.set_float32_matmul_precision("high")
        if knobs["gpu_memory_utilization"] > 0.9:
            raise ValueError("Free memory on device is less than desired GPU memory utilization")
        for name in DISTRIBUTED:  # read as it starts; a second trainer in the test would join such a group
            assert os.environ.pop(name)
        self.knobs = knobs
        self.tokenizer = AutoTokenizer.from_pretrained(tokenizer)
        self.model = AutoModelForCausalLM.from_pretrained(model).eval()
        self.awake = {"weights", "kv_cache"}
        worker = SimpleNamespace(model_runner=SimpleNamespace(model=SimpleNamespace(load_weights=self.load)))
        self.llm_engine = SimpleNamespace(model_executor=SimpleNamespace(driver_worker=worker))
        self.loads = self.asked = 0
        LLM.started.append(self)

    @torch.no_grad()
    def load(self, weights: list[tuple[str, torch.Tensor]]) -> None:
        """Take some weights by name; an unknown name is refused."""
        assert "weights" in self.awake, "the memory of the weights is not mapped"
        mine = dict(self.model.named_parameters())
        for name, weight in weights:
            mine[name].copy_(weight)
            self.loads += 1

    def reset_prefix_cache(self) -> None:
        """Keys and values of older weights are forgotten; there are none here."""

    @torch.no_grad()
    def sleep(self, level: int) -> None:
        """Level 2: weights and cache are thrown away."""
        assert level == 2
        self.awake = set()
        for parameter in self.model.parameters():
            parameter.fill_(torch.nan)

    def wake_up(self, tags: list[str]) -> None:
        """Have memory again, with nothing in it."""
        self.awake |= set(tags)

    def generate(
        self, prompts: list[dict[str, list[int]]], sampling_params: list[SamplingParams], use_tqdm: bool
    ) -> list[Any]:
        """One output a prompt, drawn with the row's own seed."""
        assert self.awake == {"weights", "kv_cache"}
        return [
            SimpleNamespace(outputs=[self.one(prompt["prompt_token_ids"], parameters)])
            for prompt, parameters in zip(prompts, sampling_params, strict=True)
        ]

    def one(self, prompt: list[int], asked: SamplingParams) -> Any:
        """The continuation of one prompt."""
        self.asked += 1
        encoder = Encoder(
            tokenizer=self.tokenizer,
            chat=False,
            stop_token_ids=tuple(asked.stop_token_ids),
            end_of_answer_id=asked.stop_token_ids[0],
            pad_token_id=asked.stop_token_ids[0],
        )
        request = Request(
            prompts=[prompt],
            seeds=None if asked.temperature == 0 else [asked.seed],
            max_tokens=asked.max_tokens,
            temperature=asked.temperature or 1.0,
        )
        [found] = GenerateEngine(1).continuations(self.model, encoder, request)
        length = len(found.tokens)
        texts = (encoder.text(found.tokens[: i + 1]) for i in range(length))
        end = next((i + 1 for i, text in enumerate(texts) if any(s in text for s in asked.stop)), length)
        table = [{t: SimpleNamespace(logprob=p)} for t, p in zip(found.tokens, found.logprobs, strict=False)]
        return SimpleNamespace(
            token_ids=list(found.tokens[:end]), logprobs=table[:end] if asked.logprobs == 0 else None
        )


def install(monkeypatch: pytest.MonkeyPatch) -> type[LLM]:
    """Put the stand-in where trl and latro look for vLLM; gives the engine's class."""
    from trl.generation import vllm_client, vllm_generation

    module = ModuleType("vllm")
    module.__spec__ = ModuleSpec("vllm", None)
    module.LLM, module.SamplingParams = LLM, SamplingParams
    monkeypatch.setitem(sys.modules, "vllm", module)
    for place in (vllm_generation, vllm_client):
        monkeypatch.setattr(place, "is_vllm_available", lambda *_: True)
    for name in DISTRIBUTED:  # trl sets them for vLLM; they must be gone again behind the test
        monkeypatch.setenv(name, "0")
        monkeypatch.delenv(name)
    monkeypatch.setattr(LLM, "started", [])
    return LLM

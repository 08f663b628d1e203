"""Starting or reaching vLLM, and handing it the policy's weights: trl's, but for what is said below."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy
import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from trl.generation.vllm_client import VLLMClient
from trl.generation.vllm_generation import VLLMGeneration
from trl.trainer.utils import ensure_master_addr_port

from latro.rollout.adapted import merged_parameters
from latro.rollout.vllm import SERVE, VllmConfig


class WeightTransfer(VLLMGeneration):
    """Starts or reaches vLLM, and hands it the policy's weights one at a time."""

    def __init__(self, *args: Any, dtype: str, **knobs: Any) -> None:
        self.dtype = dtype
        super().__init__(*args, **knobs)

    def _init_vllm(self) -> None:
        """As trl does it, but a colocated vLLM has the policy's precision and tokenizer.

        Left to itself it would take both from the folder: float32 as bfloat16, and another tokenizer than the one that
        wrote the prompts, whose text it would search for markers.
        """
        if self.mode != "colocate":
            super()._init_vllm()
            return
        from vllm import LLM

        here = self.accelerator
        for name, value in (
            ("RANK", here.process_index),
            ("LOCAL_RANK", here.local_process_index),
            ("WORLD_SIZE", here.num_processes),
        ):
            os.environ[name] = str(value)
        ensure_master_addr_port()
        self.llm = LLM(
            model=self.model.name_or_path,
            tokenizer=self.processing_class.name_or_path,
            dtype=self.dtype,
            gpu_memory_utilization=self.gpu_memory_utilization,
            max_model_len=self.max_model_length,
            max_num_seqs=self.max_num_seqs,
            max_num_batched_tokens=max(4096, self.max_num_seqs),
            enable_sleep_mode=self.enable_sleep_mode,
            model_impl=self.model_impl,
            distributed_executor_backend="external_launcher",
            seed=here.process_index,
            logprobs_mode="processed_logprobs",
            trust_remote_code=False,
        )
        if self.enable_sleep_mode:
            self.llm.sleep(level=2)
        here.wait_for_everyone()

    def _iter_named_params(self) -> Iterator[tuple[str, Tensor]]:
        """Name and weight of each parameter, as vLLM knows them."""
        if hasattr(self.model, "peft_config"):
            yield from merged_parameters(self.model)
            return
        for module in self.model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()  # a forward without a backward leaves some of them gathered, which trl cannot read
        yield from super()._iter_named_params()


def transfer_of(config: VllmConfig, model: Any, accelerator: Any, tokenizer: Any, longest: int) -> Any:
    """The connection to vLLM, which knows how weights get there. In the precision in which the policy is scored."""
    own = str(model.dtype).removeprefix("torch.")
    return WeightTransfer(
        model,
        accelerator,
        tokenizer,
        dtype={"bf16": "bfloat16", "fp16": "float16"}.get(accelerator.mixed_precision, own),
        mode=config.mode,
        server_base_url=config.server_base_url,
        server_timeout=config.server_timeout,
        group_port=config.group_port,
        gpu_memory_utilization=config.gpu_memory_utilization,
        max_model_length=config.max_model_length or longest,
        max_num_seqs=config.max_num_seqs,
        enable_sleep_mode=config.enable_sleep_mode,
        model_impl=config.model_impl,
    )


def client_of(config: VllmConfig, transfer: Any) -> Any:
    """The process's own way to ask the server; the main process has one already, over which weights go as well.

    Raises ValueError where the server tells log-probabilities of another distribution than it draws from.
    """
    client = getattr(transfer, "vllm_client", None) or VLLMClient(
        base_url=config.server_base_url, connection_timeout=config.server_timeout
    )
    told = client.get_server_info().get("model_config", {}).get("logprobs_mode")
    if told != "processed_logprobs":
        raise ValueError(f"the server has --logprobs-mode {told}; start it by: {SERVE}")
    return client


@contextmanager
def process_kept() -> Iterator[None]:
    """Whatever the block does to this process's random numbers and precision of products, they are as before it.

    vLLM seeds all generators, with another number in each process; the order of the training rows hangs on them.
    """
    python, numbers = random.getstate(), numpy.random.get_state()
    precision = torch.get_float32_matmul_precision()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        random.setstate(python)
        numpy.random.set_state(numbers)
        torch.set_float32_matmul_precision(precision)

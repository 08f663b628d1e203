"""vLLM's engine against the others, token for token, with a stand-in for vLLM itself.

Without these, vLLM could draw from old weights, from weights with a frozen base that has crept away, or from a
distribution that the model's own settings have narrowed.
"""

import json
import math
import multiprocessing
import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.queues import Queue
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest
import torch
from accelerate import Accelerator
from peft import IA3Config, LoraConfig
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from transformers import set_seed

from latro.adapters import LoraSettings, add_lora
from latro.encoding import Encoder
from latro.errors import InputError
from latro.models import LoadedModel, ModelConfig, load_policy
from latro.rollout.adapted import check_adapters, merged_parameters
from latro.rollout.base import Continuation, Request
from latro.rollout.choosing import check_engine, make_engine
from latro.rollout.continuous import ContinuousEngine
from latro.rollout.ending import Ending
from latro.rollout.plain import GenerateEngine
from latro.rollout.vllm import VllmConfig, VllmEngine, ended, refuse_broken, sampling_parameters
from latro.rollout.vllm_weights import WeightTransfer
from latro.sampling import SamplingConfig, row_seed
from tests.latro.rollout import vllm_stand_in
from tests.latro.test_architectures import Stepped, encoder_of, task  # noqa: F401 - a fixture
from tests.latro.tiny_models import tiny_folder

PROMPTS = ("Tom has 3 apples.", "60 / 2", "Let's think step by step.")
K = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_folder("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture
def loaded(folder) -> LoadedModel:
    return load_policy(ModelConfig(path=str(folder)))


@pytest.fixture
def llm(monkeypatch) -> type[vllm_stand_in.LLM]:
    return vllm_stand_in.install(monkeypatch)


def engine_for(loaded: LoadedModel, model: object = None, **knobs: object) -> VllmEngine:
    return VllmEngine(
        VllmConfig(**knobs), model or loaded.model, Accelerator(cpu=True), loaded.tokenizer, longest=64
    )


def request_of(encoder: Encoder, **changes: object) -> Request:
    rows = [encoder.prompt_ids(text) for text in PROMPTS for _ in range(K)]
    seeds = [row_seed(7, row) for row in range(len(rows))]
    return replace(Request(prompts=rows, seeds=seeds, max_tokens=10, markers=("s",)), **changes)


@torch.no_grad()
def moved(model: torch.nn.Module) -> None:
    """Change the weights as an update would, by much."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)) * 0.3)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_rows_are_those_of_the_other_engines_once_the_weights_are_there(loaded, llm, temperature: float):
    encoder = encoder_of(loaded)
    engine = engine_for(loaded)
    moved(loaded.model)
    request = request_of(encoder, temperature=temperature)
    old = engine.continuations(None, encoder, request)
    seen: list[int] = []
    with engine.renewed():
        ours = engine.continuations(None, encoder, request, seen.append)
    plain = ContinuousEngine(5).continuations(loaded.model, encoder, request)
    assert ours == plain
    assert ours != old
    for mine, theirs in zip(ours, plain, strict=True):
        assert mine.logprobs == pytest.approx(theirs.logprobs, abs=1e-5)
    assert seen == list(range(1, len(PROMPTS) * K + 1))
    assert len({row.tokens for row in ours}) > 8
    assert len({len(row.tokens) for row in ours}) > 3
    [started] = llm.started
    assert started.loads == len(list(loaded.model.parameters()))
    assert started.knobs == {
        "dtype": "float32", "gpu_memory_utilization": 0.3, "max_model_len": 64, "max_num_seqs": 256,
        "max_num_batched_tokens": 4096, "enable_sleep_mode": False, "model_impl": "auto",
        "distributed_executor_backend": "external_launcher", "seed": 0, "logprobs_mode": "processed_logprobs",
        "trust_remote_code": False,
    }  # fmt: skip


def test_greedy_rows_are_those_of_generate_and_tell_no_log_probabilities(loaded, llm):
    encoder, engine = encoder_of(loaded), engine_for(loaded)
    request = request_of(encoder, seeds=None)
    with engine.renewed():
        ours = engine.continuations(None, encoder, request)
    assert ours == GenerateEngine(4).continuations(loaded.model, encoder, request)
    assert {row.logprobs for row in ours} == {()}


def test_a_marker_ends_a_row_whatever_its_case(loaded, llm):
    """vLLM compares letter by letter; spellings that it is not given are found behind it."""
    encoder, engine = encoder_of(loaded), engine_for(loaded)
    marker = "tHe"
    request = request_of(encoder, markers=(marker,))
    asked = sampling_parameters(request, encoder, 0)
    assert asked["stop"] == ["tHe", "the", "THE", "The"]
    text = encoder.continuation_ids("so ThE answer")
    drawn = Continuation(tokens=tuple(text), logprobs=tuple(range(len(text))))
    cut = ended(drawn, Ending(encoder, (marker,)))
    assert encoder.text(cut.tokens).endswith("ThE")
    assert cut.logprobs == tuple(range(len(cut.tokens)))
    with engine.renewed():
        ours = engine.continuations(None, encoder, request_of(encoder, markers=("S ", "A")))
    assert ours == ContinuousEngine(9).continuations(
        loaded.model, encoder, request_of(encoder, markers=("S ", "A"))
    )


def test_vllm_is_told_everything_that_a_models_own_settings_could_fill_in(loaded):
    encoder = encoder_of(loaded)
    request = request_of(encoder, markers=(), temperature=0.7)
    assert sampling_parameters(request, encoder, 2) == {
        "n": 1, "max_tokens": 10, "min_tokens": 0, "temperature": 0.7, "top_p": 1.0, "top_k": 0, "min_p": 0.0,
        "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "seed": row_seed(7, 2),
        "stop": [], "stop_token_ids": list(encoder.stop_token_ids), "ignore_eos": True,
        "skip_special_tokens": True, "logprobs": 0,
    }  # fmt: skip
    greedy = sampling_parameters(replace(request, seeds=None), encoder, 2)
    assert (greedy["temperature"], greedy["seed"], greedy["logprobs"]) == (0.0, None, None)


def test_adapters_reach_vllm_merged_and_leave_the_base_as_it_was(loaded, llm):
    model = add_lora(loaded.model, LoraSettings(r=4), seed=1)
    engine = engine_for(loaded, model)
    moved(model)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    encoder, request = encoder_of(loaded), request_of(encoder_of(loaded))
    for _ in range(3):
        with engine.renewed():
            ours = engine.continuations(None, encoder, request)
    assert all(torch.equal(before[name], parameter) for name, parameter in model.named_parameters())
    plain = ContinuousEngine(5).continuations(model, encoder, request)
    assert ours == plain
    handed = dict(merged_parameters(model))
    whole = dict(model.merge_and_unload().named_parameters())
    assert handed.keys() == whole.keys()
    for name, weight in whole.items():
        assert torch.allclose(handed[name], weight, atol=1e-6), name


@pytest.mark.parametrize(
    ("knobs", "what"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"lora_bias": True}, "lora_bias"),
        (None, "peft_type=PeftType.IA3"),
    ],
)
def test_adapters_that_are_more_than_products_are_refused(knobs: dict | None, what: str):
    config = IA3Config() if knobs is None else LoraConfig(r=2, target_modules=["q_proj"], **knobs)
    model = SimpleNamespace(peft_config={"mine": config})
    with pytest.raises(InputError, match=rf"the adapter 'mine' \({what}\): only plain LoRA is handed over"):
        check_adapters(model, sharded=False)


def test_adapters_over_sharded_weights_are_refused(loaded):
    model = add_lora(loaded.model, LoraSettings(r=2))
    check_adapters(model, sharded=False)
    with pytest.raises(
        InputError, match=r"the adapter 'default' and sharded weights: launch it with torchrun"
    ):
        check_adapters(model, sharded=True)


def test_a_vllm_that_sleeps_has_its_weights_back_when_it_is_needed(loaded, llm):
    encoder, engine = encoder_of(loaded), engine_for(loaded, enable_sleep_mode=True)
    [started] = llm.started
    request = request_of(encoder)
    plain = ContinuousEngine(5).continuations(loaded.model, encoder, request)
    for _ in range(2):
        assert started.awake == set()
        with engine.renewed():
            assert engine.continuations(None, encoder, request) == plain
    with pytest.raises(AssertionError):
        engine.continuations(None, encoder, request)


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_training_by_vllm_takes_the_steps_of_training_without(lora: bool, folder, task, tmp_path, llm):  # noqa: F811
    def stepped(engine: str) -> Stepped:
        sampling = SamplingConfig(rationales_per_prompt=3, max_rationale_tokens=8, engine=engine)

        def make(model: object, accelerator: object) -> VllmEngine:
            tokenizer = SimpleNamespace(name_or_path=str(folder))
            return VllmEngine(VllmConfig(), model, accelerator, tokenizer, longest=64)

        vllm = make if engine == "vllm" else None
        return Stepped(folder, task, tmp_path, lora=lora, sampling=sampling, max_steps=3, vllm=vllm)

    ours, plain = stepped("vllm"), stepped("continuous")
    [started] = llm.started
    assert started.asked == len(ours.samples) == 3 * 2 * 3
    assert [s.rationale for s in ours.samples] == [s.rationale for s in plain.samples]
    assert len({s.rationale for s in ours.samples}) > 6
    assert max(map(abs, ours.metrics("latro/sampler_kl"))) < 1e-5
    theirs = dict(plain.trainer.model.named_parameters())
    for name, parameter in ours.trainer.model.named_parameters():
        assert torch.equal(parameter, theirs[name]), name


class Server(ThreadingHTTPServer):
    """A vLLM server: the stand-in behind vLLM's addresses."""

    daemon_threads = True

    def __init__(self, llm: vllm_stand_in.LLM) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.llm = llm
        self.bodies: list[dict] = []
        self.logprobs_mode = "processed_logprobs"
        self.refusal = ""
        self.lock = threading.Lock()  # transformers' generate is not to be called by two threads at once

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, body: dict) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        settings = {"vllm_config": {"model_config": {"logprobs_mode": self.server.logprobs_mode}}}
        known = {"/v1/models": {"data": [{"id": "tiny"}]}, "/server_info": settings}
        self.answer(known.get(self.path.partition("?")[0], {}))

    def do_POST(self) -> None:
        assert self.path == "/v1/completions"
        if self.server.refusal:
            self.send_error(400, self.server.refusal)
            return
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(dict(body))
        assert body.pop("model") == "tiny"
        assert body.pop("return_token_ids") is True
        assert body.pop("return_tokens_as_token_ids") is True
        [prompt] = body.pop("prompt")
        with self.server.lock:
            found = self.server.llm.one(prompt, vllm_stand_in.SamplingParams(**body))
        logprobs = None
        if found.logprobs is not None:
            values = [
                entry[token].logprob for token, entry in zip(found.token_ids, found.logprobs, strict=True)
            ]
            names = [f"token_id:{token}" for token in found.token_ids]
            logprobs = {"tokens": names, "token_logprobs": values, "top_logprobs": [None] * len(names)}
        self.answer(
            {"choices": [{"prompt_token_ids": prompt, "token_ids": found.token_ids, "logprobs": logprobs}]}
        )


@pytest.fixture
def server(folder, llm, monkeypatch) -> Iterator[Server]:
    from trl.generation.vllm_client import VLLMClient

    for name in vllm_stand_in.DISTRIBUTED:
        monkeypatch.setenv(name, "0")
    running = Server(vllm_stand_in.LLM(str(folder), str(folder), seed=0, gpu_memory_utilization=0.3))
    torch.set_float32_matmul_precision("highest")  # a real one is in another process
    # The way of the weights, over NCCL, needs GPUs on both sides.
    monkeypatch.setattr(VLLMClient, "init_communicator", lambda self, device: None)
    monkeypatch.setattr(
        VLLMClient, "update_named_params", lambda self, known, weights: running.llm.load(list(weights))
    )
    monkeypatch.setattr(VLLMClient, "reset_prefix_cache", lambda self: None)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def test_a_server_is_asked_row_by_row_and_answers_in_order(loaded, server):
    encoder = encoder_of(loaded)
    engine = engine_for(loaded, mode="server", server_base_url=server.url)
    moved(loaded.model)
    request = request_of(encoder)
    with engine.renewed():
        ours = engine.continuations(None, encoder, request)
        greedy = engine.continuations(None, encoder, replace(request, seeds=None))
    plain = ContinuousEngine(5).continuations(loaded.model, encoder, request)
    assert ours == plain
    for mine, theirs in zip(ours, plain, strict=True):
        assert mine.logprobs == pytest.approx(theirs.logprobs, abs=1e-5)
    assert greedy == GenerateEngine(4).continuations(loaded.model, encoder, replace(request, seeds=None))
    assert sorted(body["seed"] for body in server.bodies[: len(PROMPTS) * K]) == sorted(request.seeds)


def test_a_server_that_refuses_a_row_ends_the_run_in_one_line(loaded, server):
    engine = engine_for(loaded, mode="server", server_base_url=server.url)
    server.refusal = "this prompt is too long"
    with (
        engine.renewed(),
        pytest.raises(
            InputError, match=r"the vLLM server at http://.*: Request failed: 400, .*is too long"
        ) as told,
    ):
        engine.continuations(None, encoder_of(loaded), Request(prompts=[(1, 2)], max_tokens=2))
    assert "\n" not in str(told.value)


def test_a_server_that_tells_of_another_distribution_is_refused(loaded, server):
    server.logprobs_mode = "raw_logprobs"
    with pytest.raises(
        InputError, match=r"the server has --logprobs-mode raw_logprobs; start it by: .*vllm serve"
    ):
        engine_for(loaded, mode="server", server_base_url=server.url)


def test_starting_vllm_leaves_the_random_numbers_of_the_process_alone(loaded, llm):
    def draws() -> list[float]:
        return [random.random(), float(numpy.random.rand()), float(torch.rand(()))]

    set_seed(5)
    expected = draws()
    set_seed(5)
    engine_for(loaded)
    assert draws() == expected
    assert torch.initial_seed() == 5
    with pytest.raises(InputError):
        engine_for(loaded, gpu_memory_utilization=0.99)
    assert torch.initial_seed() == 5
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("broken", [math.nan, -math.inf, None])
def test_scores_that_are_no_numbers_stop_the_run(broken: float | None):
    refuse_broken(Continuation(tokens=(1, 2), logprobs=(-1.0, -2.0)))
    with pytest.raises(InputError, match=r"vLLM's scores are not finite numbers: the weights have run away"):
        refuse_broken(Continuation(tokens=(1, 2), logprobs=(-1.0, broken)))


def gathered_weights(folder: str, rendezvous: str, answers: Queue) -> None:
    """What is handed over of a model that FSDP's second version shards, behind a forward without a backward."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=0, world_size=1)
    model = load_policy(ModelConfig(path=folder)).model
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    mesh = init_device_mesh("cpu", (1,))
    for part in (*model.model.layers, model):
        fully_shard(part, mesh=mesh, reshard_after_forward=False)
    transfer = object.__new__(WeightTransfer)
    transfer.model, transfer.accelerator = model, SimpleNamespace(device=torch.device("cpu"))
    transfer._dist = SimpleNamespace(is_fsdp=True, fsdp_version=2)
    with torch.no_grad():
        model(torch.tensor([[1, 2, 3]]))
    assert not any(isinstance(parameter, DTensor) for parameter in model.parameters())
    handed = dict(transfer._iter_named_params())
    equal = [torch.equal(handed[name], weight) for name, weight in before.items()]
    answers.put((list(handed) == list(before), all(equal)))
    torch.distributed.destroy_process_group()


def test_weights_that_a_forward_left_gathered_are_handed_over(folder, tmp_path):
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=gathered_weights, args=(str(folder), str(tmp_path / "meet"), answers))
    process.start()
    assert answers.get(timeout=100) == (True, True)
    process.join()


def test_the_first_version_of_fsdp_is_refused(loaded, llm):
    accelerator = SimpleNamespace(distributed_type="FSDP", is_fsdp2=False)
    with pytest.raises(
        InputError, match=r"FSDP's first version hides weights from the transfer; launch with"
    ):
        VllmEngine(VllmConfig(), loaded.model, accelerator, loaded.tokenizer, longest=64)
    assert llm.started == []


def test_what_cannot_work_is_refused_in_one_line(loaded, llm, monkeypatch):
    with pytest.raises(InputError, match=r"vllm\.mode='none': choose colocate or server"):
        VllmConfig(mode="none")
    with pytest.raises(InputError, match=r"vllm\.server_base_url is missing, .*vllm serve MODEL"):
        VllmConfig(mode="server")
    for share in (0, 1.5):
        with pytest.raises(
            InputError, match=rf"vllm\.gpu_memory_utilization={share} must be above 0 and at most 1"
        ):
            VllmConfig(gpu_memory_utilization=share)
    with pytest.raises(InputError, match=r"vllm\.max_model_length=1 must be at least 2"):
        VllmConfig(max_model_length=1)
    with pytest.raises(
        InputError, match=r"vllm\.mode=server: The vLLM server can't be reached at http://127\.0\.0\.1:9"
    ):
        engine_for(loaded, mode="server", server_base_url="http://127.0.0.1:9", server_timeout=0)
    for temperature in (0.001, 2.5):
        with pytest.raises(
            InputError, match=rf"vLLM draws at temperatures of 0\.01 to 2\.0, not {temperature}; use"
        ):
            engine_for(loaded).continuations(
                None, encoder_of(loaded), request_of(encoder_of(loaded), temperature=temperature)
            )
    with pytest.raises(InputError, match=r"engine=vllm, vllm\.mode=colocate: Free memory on device is less"):
        engine_for(loaded, gpu_memory_utilization=0.99)
    with pytest.raises(InputError, match=r"sampling\.dtype=bfloat16 with sampling\.engine=vllm"):
        SamplingConfig(engine="vllm", dtype="bfloat16")
    with pytest.raises(InputError, match=r"engine=vllm: only train_latro and evaluate_latro have one"):
        make_engine("vllm", None)
    with pytest.raises(InputError, match=r"evaluation\.engine='fast': choose continuous, generate or vllm"):
        check_engine("evaluation", "fast", None)

"""A Hugging Face model in this process, such as a checkpoint that LaTRO trained. For GGUF files see `gguf`.

One call at a time, each from the prompt's first token: a reply depends on its own messages, settings and seed
alone, never on what was asked before. torch and transformers are imported when the first one is made.
"""

import asyncio
import copy
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pract.errors import InputError
from pract.llm.base import ChatError, ChatErrorKind
from pract.llm.wire import cut_at_stop, messages_json, tools_json, without_thinking
from pract.types import ActionSpec, Message, Reply


class LocalChat:
    """A causal language model with a chat template. Satisfies `Chat` and `HasCheck`."""

    concurrency = 1

    def __init__(
        self, path: str, *, dtype: str = "auto", device: str = "cpu", context_tokens: int = 4096
    ) -> None:
        """path: a folder, or a hub id. Raises InputError for what cannot be loaded or has no chat template."""
        if path.endswith(".gguf"):
            raise InputError(f"llm.path={path} is a GGUF file; use llm=gguf llm.server.path={path}")
        if path.startswith((".", "/", "~")) and not Path(path).expanduser().is_dir():
            raise InputError(f"llm.path={path}: no such folder")
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        source = str(Path(path).expanduser())
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(source)
            self._model: Any = AutoModelForCausalLM.from_pretrained(source, dtype=dtype).to(device).eval()
        except (OSError, ValueError) as error:
            raise InputError(
                f"llm.path={path} cannot be loaded: {' '.join(str(error).split())[:300]}"
            ) from None
        if not self._tokenizer.chat_template:
            raise InputError(f"llm.path={path} has no chat template; it is no chat model")
        self._torch: Any = torch
        self.folder = source
        self.model = Path(path).name
        longest = getattr(self._model.config, "max_position_embeddings", None) or context_tokens
        self.context_tokens = min(context_tokens, longest)
        self._turn = threading.Lock()

    async def reply(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        temperature: float,
        stop: Sequence[str] = (),
        tools: Sequence[ActionSpec] | None = None,
        choices: Sequence[str] | None = None,
        seed: int | None = None,
        tag: str,
    ) -> Reply:
        """The model's answer; see `Chat.reply`. Tools are shown by the template, calls stay in the text."""
        started = time.perf_counter()
        prompt = self.encode(messages, tools)
        room = self.context_tokens - len(prompt)
        needed = (
            max_tokens if choices is None else max((self.count_tokens(text) for text in choices), default=1)
        )
        if room < needed:
            raise ChatError(
                ChatErrorKind.CONTEXT_LENGTH,
                f"{len(prompt)} prompt tokens and {needed} more exceed llm.context_tokens={self.context_tokens}",
            )
        if choices is None:
            text, tokens, reason = await asyncio.to_thread(
                self._write, prompt, max_tokens, temperature, tuple(stop), seed
            )
        else:
            text, tokens, reason = await asyncio.to_thread(self._choose, prompt, tuple(choices))
        return Reply(
            text=text,
            prompt_tokens=len(prompt),
            completion_tokens=tokens,
            seconds=time.perf_counter() - started,
            model=self.model,
            finish_reason=reason,
        )

    def encode(self, messages: Sequence[Message], tools: Sequence[ActionSpec] | None = None) -> list[int]:
        """Token ids of the rendered conversation, up to where the assistant begins. Raises ChatError."""
        from jinja2 import TemplateError  # what a template raises, e.g. over two user turns in a row

        shown = tools_json(tools) if tools else None
        try:
            text = self._tokenizer.apply_chat_template(
                messages_json(messages), tools=shown, add_generation_prompt=True, tokenize=False
            )
        except (TemplateError, ValueError, TypeError, KeyError) as error:
            said = " ".join(str(error).split())[:200]
            raise ChatError(
                ChatErrorKind.BAD_RESPONSE, f"the chat template refuses the messages: {said}"
            ) from None
        return self.encode_text(text)

    def encode_text(self, text: str) -> list[int]:
        """Token ids of a bare text."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _write(
        self, prompt: list[int], max_tokens: int, temperature: float, stop: tuple[str, ...], seed: int | None
    ) -> tuple[str, int, str]:
        """Text, tokens written, and why it ended."""
        torch = self._torch
        ids = torch.tensor([prompt], device=self._model.device)
        # the model's own generation settings (top_p, penalties) would change what the caller asked for
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        greedy = {"do_sample": False, "temperature": None, "top_k": None, "top_p": None}
        forked = [ids.device] if ids.device.type == "cuda" else []
        with self._turn, torch.inference_mode(), torch.random.fork_rng(devices=forked):
            torch.manual_seed(0 if seed is None else seed)
            written = self._model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=max_tokens,
                repetition_penalty=1.0,
                stop_strings=list(stop) or None,
                tokenizer=self._tokenizer if stop else None,
                pad_token_id=self._tokenizer.pad_token_id or self._tokenizer.eos_token_id,
                **(sampling if temperature > 0 else greedy),
            )[0, len(prompt) :].tolist()
        text = without_thinking(self._tokenizer.decode(written, skip_special_tokens=True))
        cut = cut_at_stop(text, stop)
        full = len(written) >= max_tokens and cut == text and written[-1] not in self._ends()
        return cut, len(written), "length" if full else "stop"

    def _ends(self) -> set[int]:
        ends = self._model.generation_config.eos_token_id
        return {self._tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])}

    def _choose(self, prompt: list[int], choices: tuple[str, ...]) -> tuple[str, int, str]:
        """The choice with the highest mean log-probability, and the tokens of all of them."""
        encoded = [self.encode_text(text) for text in choices]
        if not encoded or not all(encoded):
            raise ChatError(ChatErrorKind.NO_CHOICES, "there is nothing to choose from, or an empty choice")
        means = self.mean_logprobs(prompt, encoded)
        return choices[max(range(len(means)), key=means.__getitem__)], sum(map(len, encoded)), "stop"

    def mean_logprobs(self, prompt: Sequence[int], texts: Sequence[Sequence[int]]) -> list[float]:
        """Mean log-probability (nats) of each text's tokens after the prompt; the prompt is read once."""
        torch = self._torch
        with self._turn, torch.inference_mode():
            read = self._model(torch.tensor([list(prompt)], device=self._model.device), use_cache=True)
            first = read.logits[0, -1:].float()
            means = []
            for text in texts:
                rows = first
                if len(text) > 1:
                    ids = torch.tensor([list(text[:-1])], device=self._model.device)
                    cache = copy.deepcopy(read.past_key_values)  # reading on would change it
                    rows = torch.cat(
                        [first, self._model(ids, past_key_values=cache, use_cache=True).logits[0].float()]
                    )
                chosen = torch.tensor(list(text), device=rows.device)
                means.append(rows.log_softmax(-1).gather(1, chosen[:, None]).mean().item())
        return means

    def count_tokens(self, text: str) -> int:
        """Exact, by the model's tokenizer."""
        return len(self.encode_text(text))

    async def check(self, *, tools: bool = False, choices: bool = False) -> None:
        """Native tools are refused: their calls come back as text that only the model's family could parse."""
        if tools:
            raise InputError(f"llm.path={self.model}: a local model takes no native tools; use text calls")

    async def close(self) -> None:
        """The memory goes with the object."""

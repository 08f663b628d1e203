"""The questions asked at the door: is there a server, does it take the key, has it the model, can it do this."""

from typing import Any

from pract.errors import InputError
from pract.llm import ranking, wire
from pract.llm.base import ChatError, ChatErrorKind
from pract.llm.session import Session
from pract.types import ActionSpec, Message

PING_TOKENS = 16
"""Written in answer to the question whether tools are taken; a model that likes to talk would go on for minutes."""
_HELLO = (Message(role="user", content="Call the tool `ping`."),)


async def check_model(session: Session, model: str, context_tokens: int) -> None:
    """Return if the server answers, takes the key and serves the model with that much context."""
    try:
        listed = await session.get("/models")
    except ChatError as error:
        if error.kind is ChatErrorKind.MODEL_NOT_FOUND:
            return  # no list of models here: the first call will tell
        raise InputError(_trouble(session, error)) from None
    entries = listed.get("data")
    served = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    for entry in served:
        aliases = entry.get("aliases")
        names = [entry.get("id"), *(aliases if isinstance(aliases, list) else ())]
        if model in names or f"{model}:latest" in names:  # Ollama adds the tag
            _check_context(session, entry, context_tokens)
            return
    if not served:
        return
    names = [str(entry.get("id")) for entry in served]
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    raise InputError(f"llm.model={model} is not served at {session.base_url}; served: {shown}")


def _check_context(session: Session, entry: dict[str, Any], context_tokens: int) -> None:
    meta = entry.get("meta")
    limit = entry.get("max_model_len") or (meta.get("n_ctx") if isinstance(meta, dict) else None)
    if isinstance(limit, int) and 0 < limit < context_tokens:
        raise InputError(
            f"llm.context_tokens={context_tokens} is more than the {limit} that {session.base_url} serves "
            f"for each call; set llm.context_tokens={limit} or start the server with more"
        )


def _trouble(session: Session, error: ChatError) -> str:
    if error.kind is ChatErrorKind.AUTH:
        return f"{session.base_url} refuses the key ({error.message}); set the variable that llm.api_key_env names"
    if error.kind in (ChatErrorKind.CONNECTION, ChatErrorKind.TIMEOUT):
        return (
            f"llm.base_url={session.base_url} does not answer ({error.message}); start a server "
            "(python -m scripts.serve_llm model.path=MODEL.gguf) or set llm.base_url"
        )
    if error.kind in (ChatErrorKind.SERVER, ChatErrorKind.RATE_LIMITED):
        return (
            f"llm.base_url={session.base_url} is not ready ({error.message}); it may be loading or busy: wait, and try "
            "again"
        )
    return f"llm.base_url={session.base_url} is not an OpenAI-compatible server: {error.message}"


async def check_tools(session: Session, model: str, max_tokens_key: str = "max_tokens") -> None:
    """Return if the model takes native tools; costs one call, made once, of no more than PING_TOKENS written."""
    ping = ActionSpec(name="ping", description="Answers with pong.")
    body: wire.Json = {
        "model": model,
        "messages": wire.messages_json(_HELLO),
        "tools": wire.tools_json([ping]),
    }
    body[max_tokens_key] = PING_TOKENS
    try:
        await session.post(
            "/chat/completions",
            body,
            lambda data: data,
            tag="check",
            tools_offered=True,
            once=True,
        )
    except ChatError as error:
        if error.kind in (ChatErrorKind.AUTH, ChatErrorKind.CONNECTION, ChatErrorKind.TIMEOUT):
            raise InputError(_trouble(session, error)) from None
        raise InputError(
            f"llm.model={model} at {session.base_url} takes no native tools ({error.message}); "
            "use text calls or another model"
        ) from None


async def check_choices(session: Session, rank_by: str | None, model: str) -> None:
    """Return if given texts can be ranked; costs one call of a few tokens."""
    try:
        await ranking.rank(session, rank_by, model, _HELLO, ("ping",), tag="check")
    except ChatError as error:
        raise InputError(f"choices cannot be ranked with llm.rank_by={rank_by}: {error.message}") from None

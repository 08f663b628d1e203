"""Whether principles leave the agent room: what an episode writes must fit into the context beside them."""

from collections.abc import Callable
from dataclasses import replace

from pract.agent import Agent
from pract.errors import InputError
from pract.optimizer import Rewrite
from pract.types import Principles

SHARE = 0.5
"""Of the context that the fixed part of the agent's prompt may take before a rewrite that adds to it is refused."""


def refuse_no_room(agent: Agent) -> None:
    """Raise InputError if no episode can begin: the fixed part of the prompt and a reply fill the context."""
    fixed, reply, context = agent.prefix_tokens, agent.config.max_tokens, agent.chat.context_tokens
    if fixed + reply >= context:
        raise InputError(
            f"llm.context_tokens={context} has no room for a task: the fixed part of the prompt takes {fixed} tokens, "
            f"a reply agent.max_tokens={reply}; raise llm.context_tokens or lower agent.max_tokens"
        )


def fitting(
    rewrite: Rewrite, before: Principles, *, prefix: Callable[[Principles], int], context: int
) -> Rewrite:
    """The rewrite without what leaves the agent too little room: the oldest notes, then the texts that grew most.

    prefix: tokens of the fixed part of the agent's prompt under principles. What was there before is never refused.
    """
    after = rewrite.principles
    limit = max(int(SHARE * context), prefix(before))
    size = prefix(after)
    if after is before or size <= limit:
        return rewrite
    while after.notes and prefix(after) > limit:
        after = replace(after, notes=after.notes[1:])
    grown = {name: len(text) - len(before.texts.get(name, "")) for name, text in after.texts.items()}
    refused: set[str] = set()
    for name in sorted((n for n in grown if grown[n] > 0), key=lambda n: -grown[n]):
        if prefix(after) <= limit:
            break
        after = replace(after, texts={**after.texts, name: before.texts.get(name, "")})
        refused.add(name)
    problem = f"no_room: the fixed part of the prompt would take {size} of {context} tokens"
    changes = tuple(
        replace(change, new=change.old, problem=problem)
        if _taken(change.action, change.problem, refused)
        else change
        for change in rewrite.changes
    )
    return Rewrite(principles=before if after.version == before.version else after, changes=changes)


def _taken(action: str, problem: str, refused: set[str]) -> bool:
    return action in refused and not problem

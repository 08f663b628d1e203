"""Calls that are made again and bring nothing new, and how an agent is told so.

A small model copies what stands above it: a refused call, and then the refusal, once they are in the prompt. What
breaks the copying is a text that differs from the earlier one and says why.
"""

from collections.abc import Sequence

from pract.types import Action, Step


def first_of_same(steps: Sequence[Step], action: Action | None, reply: str, answer: str) -> Step | None:
    """The first step, however long ago, that made this call (or wrote this reply, if none was read) and got this.

    It need not be a fault: whoever looks at two pages in turn comes back twice (see `pract.diagnosis`).
    """
    for step in steps:
        same = step.action == action and (action is not None or _flat(step.reply.text) == _flat(reply))
        if same and step.observation == answer:
            return step
    return None


def retold(answer: str, *, made: bool, refused: bool, just_seen: bool) -> str:
    """The answer to a repeated call, with the words that say so.

    made: a call was read. refused: it was not carried out. just_seen: its answer is the last thing in the prompt, and
    need not be read again.
    """
    if not made:
        return f"The same reply as before. {answer}"
    if refused:
        return f"The same call as before, refused for the same reason: {answer} Make a different call."
    if just_seen:
        return "The same call as before, and its answer stands above. Make a different call."
    return f"The same call as before, with the same answer: {answer}"


def _flat(text: str) -> str:
    return " ".join(text.split())

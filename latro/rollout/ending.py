"""Where a row ends: at a stop token, or as soon as an answer marker stands in its text."""

import re
from collections.abc import Sequence

from latro.encoding import Encoder


def find_marker(text: str, markers: Sequence[str]) -> int | None:
    """Index of the first answer marker in `text`, ignoring case; None if there is none."""
    found = (re.search(re.escape(marker), text, re.IGNORECASE) for marker in markers)
    return min((match.start() for match in found if match), default=None)


class Ending:
    """Tells whether a row's last token ended it.

    A marker can only be completed by a token that writes its last character, so most tokens need no look at the
    text before them.
    """

    def __init__(self, encoder: Encoder, markers: Sequence[str]) -> None:
        self.encoder = encoder
        self.markers = tuple(markers)
        # A marker spans at most this many tokens, as every token adds a byte or half of one.
        self.window = 2 * max((len(marker.encode()) for marker in markers), default=0) + 2
        self.completing: dict[int, bool] = {}

    def ended(self, tokens: Sequence[int]) -> bool:
        """Whether `tokens`, a row's continuation of which no shorter part had ended, has ended now."""
        if tokens[-1] in self.encoder.stop_token_ids:
            return True
        if not self.can_complete(tokens[-1]):
            return False
        return find_marker(self.encoder.text(tokens[-self.window :]), self.markers) is not None

    def can_complete(self, token: int) -> bool:
        """Whether a marker can end within this token's text; when in doubt, True."""
        if token not in self.completing:
            text = self.encoder.text([token])
            # Alone, a part of a character reads as a replacement, and a space may read as nothing.
            unsure = not text or "\ufffd" in text or any(marker[-1].isspace() for marker in self.markers)
            last = {marker[-1] for marker in self.markers}
            self.completing[token] = bool(self.markers) and (
                unsure or find_marker(text, sorted(last)) is not None
            )
        return self.completing[token]

"""What must not change between the sessions of a run, and between its processes."""

import pytest

from latro.errors import InputError
from scripts.sessions import refuse_mixed


def model(identity: str, adapter: str | None = None) -> dict[str, str | None]:
    return {"kind": "hub", "name": "owner/name", "identity": identity, "adapter": adapter}


def test_processes_with_unlike_weights_are_refused() -> None:
    refuse_mixed([model("a" * 40), model("a" * 40) | {"kind": "folder", "name": "/elsewhere"}])
    for other in (model("b" * 40), model("a" * 40, adapter="c" * 40)):
        with pytest.raises(
            InputError, match=r"^processes loaded different weights: hub owner/name, a{12}, and hub"
        ):
            refuse_mixed([model("a" * 40), other])

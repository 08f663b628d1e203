"""The papers' figures, from `published.yaml`: what a reproduction is held against."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_name("published.yaml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a paper says of one table."""

    paper: str
    source: str
    """Where in the paper."""
    items: int | None
    """Of the test split; None where the paper's number of items is not known."""
    note: str
    models: Mapping[str, str]
    """The paper's models by our names for them."""
    figures: Mapping[str, Mapping[str, Mapping[str, float]]]
    """Percent, by training, model and column."""
    figures_only: Mapping[str, str]
    """What the paper says without a number, by section or training."""
    missing: Mapping[str, str]
    """Why there is nothing, by section or training."""

    def figure(self, training: str, model: str, column: str) -> float | None:
        """Percent; None if the paper has no such cell."""
        return self.figures.get(training, {}).get(model, {}).get(column)

    def row(self, training: str, column: str) -> dict[str, float]:
        """Percent for each of the paper's models."""
        return {
            model: cells[column] for model, cells in self.figures.get(training, {}).items() if column in cells
        }

    def words(self, about: str) -> str:
        """What stands in place of a number."""
        return self.figures_only.get(about) or self.missing.get(about) or "not in the paper"

    @property
    def place(self) -> str:
        """`arXiv 2411.04282 v2, Table 2, GSM8K`."""
        return f"{self.paper}, {self.source}"


@cache
def _content() -> dict[str, Any]:
    content = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def tables() -> list[str]:
    """Names of the tables."""
    return list(_content()["tables"])


def published(table: str) -> Published:
    """What the paper says of a table."""
    return Published(models=_content()["models"], **_content()["tables"][table])

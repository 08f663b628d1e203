"""Who spent what, as a run's page tells it. No model, no network."""

import json
import re
from pathlib import Path

import pytest

from scripts.learning_page import learning_page, role_of


@pytest.mark.parametrize(
    ("key", "role"),
    [
        ("round-001/train-000/list-1/step-02", "agent"),
        ("round-001/validation/merge/0/step-00", "agent"),
        ("gepa/evaluate-0001/000/optimize/step-00", "agent"),
        ("round-001/train-000/list-1/reflect", "reflector"),
        ("round-001/optimize/finish", "optimizer"),
        ("round-001/optimize/reflect", "optimizer"),
        ("round-001/optimize-003/all", "optimizer"),
        ("round-001/merge/finish", "optimizer"),
        ("gepa/reflect-0001", "optimizer"),
    ],
)
def test_a_call_is_booked_to_whoever_made_it(key: str, role: str) -> None:
    assert role_of(key) == role


@pytest.mark.parametrize(
    ("replies", "shown"),
    [
        ([{"prompt_tokens": 9}, {"prompt_tokens": 9, "cached_tokens": None}], "not told"),
        ([{"prompt_tokens": 9, "cached_tokens": None}, {"prompt_tokens": 9, "cached_tokens": 0}], "0"),
        ([{"prompt_tokens": 9, "cached_tokens": None}, {"prompt_tokens": 9, "cached_tokens": 4}], "4"),
    ],
)
def test_cached_tokens_that_no_server_told_are_not_shown_as_none(
    replies: list[dict[str, object]], shown: str, tmp_path: Path
) -> None:
    lines = [
        {"key": f"round-001/merge/a-{n}", "kind": "chat", "at": 0.0, "data": {"reply": reply}}
        for n, reply in enumerate(replies)
    ]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "config.yaml").write_text("name: a\n")
    page = re.sub(r"<[^>]+>", " ", learning_page(tmp_path))
    assert re.search(rf"optimizer\s+2\s+18\s+{shown}\s+0\s", page), page[-900:]


def test_calls_that_failed_count_and_so_does_what_they_cost(tmp_path: Path) -> None:
    spent = {"prompt_tokens": 1000, "cached_tokens": 0, "completion_tokens": 10, "seconds": 1.0, "usd": 0.25}
    said = [{"reply": spent}, {"error": "server", "cost": spent}, {"error": "timeout", "message": "no"}]
    lines = [
        {"key": f"round-001/merge/a-{n}", "kind": "chat", "at": 0.0, "data": data}
        for n, data in enumerate(said)
    ]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "config.yaml").write_text("name: a\n")
    page = re.sub(r"<[^>]+>", " ", learning_page(tmp_path))
    assert re.search(r"optimizer\s+3\s+2\.0k\s+0\s+20\s+2 s\s+\$0\.50", page), page[-900:]

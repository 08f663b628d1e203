"""What the hub's cache is good for later; the hub is a server on this machine."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from latro.errors import InputError
from latro.models import ModelConfig, load_policy
from tests.latro.tiny_models import tiny_folder

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub that has nobody/toy at one commit, and an empty cache."""
    folder = tiny_folder("llama", tmp_path / "toy")
    names = [path.name for path in folder.iterdir()]

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, *, with_body: bool) -> None:
            path = urlsplit(self.path).path
            if path.startswith("/api/models/nobody/toy/tree/"):
                body = json.dumps([file_entry(folder / name) for name in names]).encode()
            elif path.startswith("/api/models/nobody/pickled"):
                siblings = [{"rfilename": name} for name in ("config.json", "pytorch_model.bin")]
                body = json.dumps({"id": "nobody/pickled", "sha": SHA, "siblings": siblings}).encode()
            elif path.startswith("/api/models/nobody/toy"):
                siblings = [{"rfilename": name} for name in names]
                body = json.dumps({"id": "nobody/toy", "sha": SHA, "siblings": siblings}).encode()
            elif "/resolve/" in path:
                body = (folder / path.rsplit("/", 1)[1]).read_bytes()
            else:
                body = b""
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Repo-Commit", SHA)
            self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        address + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    yield
    server.shutdown()
    server.server_close()
    thread.join()


def file_entry(path: Path) -> dict[str, object]:
    """A file as the hub lists it."""
    return {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": "1" * 40}


def test_a_repository_of_pickled_weights_alone_is_named_as_such(served) -> None:
    with pytest.raises(
        InputError, match=r"model.hub_id=nobody/pickled: it has no safetensors weights, and others"
    ):
        load_policy(ModelConfig(hub_id="nobody/pickled"))


def test_what_was_downloaded_is_found_without_a_connection(served, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_policy(ModelConfig(hub_id="nobody/toy")).source
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for revision in (None, "main", SHA):
        after = load_policy(ModelConfig(hub_id="nobody/toy", revision=revision)).source
        assert (after.kind, after.name, after.identity) == ("hub", "nobody/toy", SHA)
    assert before == after

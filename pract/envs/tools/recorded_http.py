"""JSON over HTTP, recorded once and replayed ever after. Keys never reach a record."""

import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pract.envs.tools.datafiles import digest, read_jsonl
from pract.errors import InputError

TIMEOUT = 20.0
"""Seconds for one request."""
ATTEMPTS = 3
NO_SUCH = (400, 404, 422)
"""What services answer to a request for what they do not have: an unknown film, a date beyond their archive."""
LARGEST_REPLY = 2_000_000
"""Bytes of a reply that are read; a longer one is an error."""


class NotRecorded(LookupError):
    """A replay was asked for something that was never recorded."""


class NotFound(LookupError):
    """The service says that there is no such thing (404)."""


class RecordedHttp:
    """GET requests that are looked up in a record first. May be shared by threads.

    In replay (`live=False`) an unrecorded request raises NotRecorded. Live, it goes out with the secret
    parameters added, and the answer is appended to the record file without them.
    """

    def __init__(
        self,
        records: Iterable[Mapping[str, Any]] = (),
        *,
        path: Path | None = None,
        live: bool = False,
        secret: Mapping[str, str] | None = None,
    ) -> None:
        if path is not None and path.is_file():
            records = [*records, *read_jsonl(path, {"url": str, "params": dict})]
        elif path is not None and not live:
            raise InputError(f"{path}: no such record; record one with env.live=true")
        self._answers = {_key(record["url"], record["params"]): record for record in records}
        self.fingerprint = "live" if live else digest(json.dumps(self._answers, sort_keys=True))
        """Digest of the record; a live one has none, since it grows."""
        self._path, self._live, self._secret = path, live, dict(secret or {})
        self._lock = threading.Lock()

    def get(self, url: str, params: Mapping[str, Any]) -> Any:
        """The JSON answer. Raises NotFound, NotRecorded, or ConnectionError for a service that does not answer."""
        key = _key(url, params)
        with self._lock:
            if key not in self._answers:
                if not self._live:
                    raise NotRecorded(f"{url} with {dict(params)} was never recorded")
                self._remember(key, url, params, self._fetch(url, params))
            answer = self._answers[key].get("response")
        if answer is None:
            raise NotFound(url)
        return answer

    def _remember(self, key: str, url: str, params: Mapping[str, Any], response: Any) -> None:
        record = {"url": url, "params": dict(params), "response": response}
        self._answers[key] = record
        if self._path is not None:
            line = (json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8", "replace")
            with self._path.open("ab") as file:
                file.write(line)  # in one call: other seats have objects of their own on the same file

    def _fetch(self, url: str, params: Mapping[str, Any]) -> Any:
        """The answer from the service; None where it knows no such thing."""
        query = urllib.parse.urlencode({**params, **self._secret})
        trouble = ""
        for attempt in range(ATTEMPTS):
            time.sleep(attempt * 2.0)
            try:
                with urllib.request.urlopen(f"{url}?{query}", timeout=TIMEOUT) as reply:
                    body = reply.read(LARGEST_REPLY + 1)
            except urllib.error.HTTPError as error:
                if error.code in NO_SUCH:
                    return None
                trouble = f"status {error.code}"
                if error.code not in (429, 500, 502, 503, 504):
                    break
                continue
            except OSError as error:
                trouble = type(error).__name__
                continue
            if len(body) > LARGEST_REPLY:
                raise ConnectionError(f"{url}: the reply is longer than {LARGEST_REPLY} bytes")
            try:
                return json.loads(body)
            except ValueError:
                trouble = "a reply that is not JSON"
        # The query holds the key, so the address alone is named.
        raise ConnectionError(f"{url}: {trouble}")


def _key(url: str, params: Mapping[str, Any]) -> str:
    return json.dumps([url, {name: str(value) for name, value in params.items()}], sort_keys=True)

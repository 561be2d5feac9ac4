"""A client of the embedded Hub that says exactly what it is told to."""

import base64
import hashlib
import http.client
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hf_listops.hub.server.serving import running

USERS = ["alice:alice-token", "bob:bob-token:alice=read", "carol:carol-token"]


@dataclass
class Answer:
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Caller:
    """Somebody with a token, or without one."""

    endpoint: str
    token: str | None = None

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """Sends the path as it stands; a body that is no bytes goes as JSON."""
        parts = urlsplit(self.endpoint)
        sent = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        try:
            connection.request(method, path.removeprefix(self.endpoint), content, {**sent, **(headers or {})})
            response = connection.getresponse()
            got = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, got, response.read())
        finally:
            connection.close()

    def create(self, repo: str, **fields: Any) -> None:
        assert self.ask("POST", "/api/repos/create", {"name": repo, **fields}).status == 200

    def commit(self, repo: str, *lines: tuple[str, dict[str, Any]], to: str = "main", **header: Any) -> Answer:
        every = [("header", {"summary": "a commit", **header}), *lines]
        body = b"".join(json.dumps({"key": key, "value": value}).encode() + b"\n" for key, value in every)
        return self.ask("POST", f"/api/models/{repo}/commit/{to}", body)

    def put(self, repo: str, content: bytes) -> str:
        """Uploads a large file; returns its sha256."""
        oid = hashlib.sha256(content).hexdigest()
        batch = self.ask("POST", f"/{repo}.git/info/lfs/objects/batch", batch_of(oid, len(content)))
        actions = batch.json["objects"][0].get("actions")
        if actions:
            assert self.ask("PUT", actions["upload"]["href"], content).status == 200
        return oid


def batch_of(oid: str, size: int) -> dict[str, Any]:
    return {"operation": "upload", "transfers": ["basic"], "objects": [{"oid": oid, "size": size}]}


def small(path: str, content: bytes = b"text") -> tuple[str, dict[str, Any]]:
    return "file", {"path": path, "content": base64.b64encode(content).decode(), "encoding": "base64"}


def large(path: str, oid: str) -> tuple[str, dict[str, Any]]:
    return "lfsFile", {"path": path, "algo": "sha256", "oid": oid, "size": 1}


@dataclass
class Callers:
    """Everybody who calls one server."""

    root: Path
    alice: Caller
    bob: Caller  # may read what is alice's
    carol: Caller
    anonymous: Caller
    failures: list[logging.LogRecord]  # what the server logged as its own mistakes


@contextmanager
def calling(root: Path) -> Iterator[Callers]:
    """A Hub with three users; at the end it must not have failed in a way it did not expect."""
    failures: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = failures.append  # type: ignore[method-assign]
    logger = logging.getLogger("hf_listops.hub.server")
    logger.addHandler(handler)
    try:
        with running(root, USERS) as server:
            tokens = (*(user.split(":")[1] for user in USERS), None)
            yield Callers(root, *(Caller(server.endpoint, token) for token in tokens), failures)
    finally:
        logger.removeHandler(handler)
    assert not failures, [record.getMessage() for record in failures]

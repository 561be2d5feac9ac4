"""One request, as the handlers of the embedded Hub see it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote, unquote, urlencode

from starlette.datastructures import QueryParams

from hf_listops.hub.server.access import UploadSigner, User
from hf_listops.hub.server.errors import HubError, repo_not_found
from hf_listops.hub.server.root import Hosted, HubRoot

T = TypeVar("T")
PREFIXES = {"model": "", "dataset": "datasets/", "space": "spaces/"}
_PAGE = 1000  # items of a list in one answer


@dataclass(frozen=True)
class Call:
    """`path` holds the segments still percent-encoded, as a revision with a slash is one segment."""

    root: HubRoot
    signer: UploadSigner
    user: User | None
    endpoint: str  # such as http://127.0.0.1:8090
    raw_path: str
    query: QueryParams
    headers: Mapping[str, str]
    path: Mapping[str, str]
    kind: str = "model"
    body: Path | None = None
    is_head: bool = False

    def segment(self, name: str) -> str:
        """A part of the path, decoded."""
        try:
            return unquote(self.path.get(name, ""), errors="strict")
        except UnicodeDecodeError:
            raise HubError(400, "the address is not UTF-8") from None

    @property
    def repo_id(self) -> str:
        return f"{self.segment('ns')}/{self.segment('name')}"

    def _bytes(self) -> bytes:
        return self.body.read_bytes() if self.body else b""

    def json(self) -> dict[str, Any]:
        """The body. Raises `HubError` 400 if it is no JSON object."""
        try:
            content = json.loads(self._bytes())
        except (ValueError, RecursionError):
            raise HubError(400, "the body is no JSON") from None
        if not isinstance(content, dict):
            raise HubError(400, "the body is no JSON object")
        return content

    def form(self) -> dict[str, list[str]]:
        """The fields of a form-encoded body."""
        try:
            return parse_qs(self._bytes().decode())
        except ValueError:
            raise HubError(400, "the body is no form") from None

    def signed_in(self) -> User:
        """The user. Raises `HubError` 401 for an anonymous caller."""
        if self.user is None:
            raise HubError(401, "Invalid username or password: a token is needed; set HF_TOKEN")
        return self.user

    def readable(self, repo: Hosted) -> bool:
        return not repo.is_private or (self.user is not None and self.user.may_read(repo.namespace))

    def repo(self) -> Hosted:
        """The repo of the address. Raises `HubError` 404 if there is none or the caller may not see it."""
        found = self.root.get(self.kind, self.repo_id)
        if not self.readable(found):
            raise repo_not_found()
        return found

    def writable_repo(self) -> Hosted:
        """The repo, to be written to. Raises `HubError` 401 or 403 for a caller who may only see it."""
        found = self.repo()
        self.check_write(found.namespace)
        return found

    def check_write(self, namespace: str) -> None:
        """Raises `HubError` 401 or 403 if the caller may not write to a namespace."""
        user = self.signed_in()
        if not user.may_write(namespace):
            raise HubError(403, f"the token of {user.name!r} has no right to write to the namespace {namespace!r}")

    def page(self, items: Sequence[T], commit: str | None = None) -> tuple[list[T], dict[str, str]]:
        """The part of a list that was asked for (`limit`, `cursor`), and the `Link` to the next one.

        The parts of what is in a `commit` (`/api/{kind}s/{ns}/{name}/tree/{rev}…`) belong together if the branch moves.
        """
        start = whole_number(self.query.get("cursor"), 0)
        limit = max(1, min(_PAGE, whole_number(self.query.get("limit"), _PAGE)))
        rest = len(items) - (start + limit)
        if rest <= 0:
            return list(items[start:]), {}
        query = [(key, value) for key, value in self.query.multi_items() if key != "cursor"]
        segments = self.raw_path.split("/")
        if commit is not None:
            segments[6] = commit
        address = f"{self.endpoint}{'/'.join(segments)}?{urlencode([*query, ('cursor', str(start + limit))])}"
        return list(items[start : start + limit]), {"Link": f'<{address}>; rel="next"'}

    def address(self, kind: str, repo_id: str) -> str:
        """The web address of a repo."""
        return f"{self.endpoint}/{PREFIXES[kind]}{quote(repo_id)}"


def whole_number(text: str | None, default: int) -> int:
    """A number of the query, the default without one. Raises `HubError` 400 if it is none."""
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise HubError(400, f"{text!r} is not a whole number")
    return int(text)


def text_of(body: Mapping[str, Any], field: str, default: str | None = None) -> str:
    """A text of a JSON body. Raises `HubError` 400 if it is missing or no text."""
    value = body.get(field)
    value = default if value is None else value
    if not isinstance(value, str) or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise HubError(400, f"{field}: {value!r:.200} is not a text")
    return value


def objects_of(body: Mapping[str, Any], field: str) -> list[dict[str, Any]]:
    """A list of objects of a JSON body. Raises `HubError` 400 if it is missing or none."""
    value = body.get(field)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise HubError(400, f"{field}: not a list of objects")
    return value


def bytes_of(body: Mapping[str, Any], most: int) -> int:
    """The `size` of a JSON body, in bytes. Raises `HubError` 400 if it is missing or none."""
    value = body.get("size")
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise HubError(400, f"size: {value!r:.200} is not a number of bytes up to {most}")
    return value

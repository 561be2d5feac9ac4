"""Collections: lists of repos with a title, one JSON file each."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.responses import JSONResponse, Response

from hf_listops.data.files import sync_folder, write_atomically
from hf_listops.hub.server.call import Call, text_of
from hf_listops.hub.server.errors import HubError, repo_not_found
from hf_listops.hub.server.grammar import checked_kind, is_name
from hf_listops.hub.server.root import HubRoot, now

_SLUG = re.compile(r"[a-z0-9-]{1,80}-[0-9a-f]{24}")


def _path(root: HubRoot, namespace: str, slug: str) -> Path:
    if not is_name(namespace) or not _SLUG.fullmatch(slug):
        raise HubError(404, "Collection not found")
    return root.folder / "collections" / namespace / f"{slug}.json"


def _load(path: Path) -> dict[str, Any]:
    try:
        collection: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise HubError(404, "Collection not found") from None
    return collection


def _read(call: Call, write: bool) -> tuple[Path, dict[str, Any]]:
    """The collection of the address, if the caller may see it, or write to it."""
    namespace = call.segment("ns")
    path = _path(call.root, namespace, call.segment("slug"))
    collection = _load(path)
    if collection["private"] and not (call.user and call.user.may_read(namespace)):
        raise HubError(404, "Collection not found")
    if write:
        call.check_write(namespace)
    return path, collection


def _shown(call: Call, collection: dict[str, Any]) -> dict[str, Any]:
    """The collection without the repos that the caller may not see, or that are gone."""

    def is_shown(item: dict[str, Any]) -> bool:
        try:
            return call.readable(call.root.get(item["type"], item["id"]))
        except HubError:
            return False

    return {**collection, "items": [item for item in collection["items"] if is_shown(item)]}


@contextmanager
def _changing(call: Call) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The collection of the address, nobody else changing one meanwhile."""
    with call.root.lock:
        yield _read(call, write=True)


def _save(call: Call, path: Path, collection: dict[str, Any]) -> Response:
    for position, item in enumerate(collection["items"]):
        item["position"] = position
    collection["lastUpdated"] = now()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(collection))
    return JSONResponse(_shown(call, collection))


def create(call: Call) -> Response:
    """Makes an empty collection."""
    body, user = call.json(), call.signed_in()
    title, namespace = text_of(body, "title"), text_of(body, "namespace", user.name)
    call.check_write(namespace)
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60] or "collection"
    with call.root.lock:
        for known in (call.root.folder / "collections" / namespace).glob(f"{words}-*.json"):
            collection = _load(known)
            if collection["title"] == title:
                raise HubError(409, "a collection of this title exists", body={"slug": collection["slug"]})
        slug = f"{words}-{secrets.token_hex(12)}"
        return _save(
            call,
            _path(call.root, namespace, slug),
            {
                "slug": f"{namespace}/{slug}",
                "title": title,
                "description": text_of(body, "description", ""),
                "owner": {"name": namespace, "type": "user"},
                "items": [],
                "private": body.get("private") is True,
                "theme": "blue",
                "upvotes": 0,
                "gating": False,
                "position": 0,
            },
        )


def show(call: Call) -> Response:
    return JSONResponse(_shown(call, _read(call, write=False)[1]))


def listing(call: Call) -> Response:
    """Collections of an `owner`, or of all."""
    found = []
    for path in sorted((call.root.folder / "collections").glob("*/*.json")):
        namespace = path.parent.name
        if call.query.get("owner") not in (None, namespace):
            continue
        try:
            collection = _load(path)
        except HubError:  # deleted in the meantime
            continue
        if not collection["private"] or (call.user and call.user.may_read(namespace)):
            found.append({key: value for key, value in _shown(call, collection).items() if key != "position"})
    page, headers = call.page(found)
    return JSONResponse(page, headers=headers)


def update(call: Call) -> Response:
    body = call.json()
    with _changing(call) as (path, collection):
        for field in ("title", "description", "theme"):
            if field in body:
                collection[field] = text_of(body, field)
        if isinstance(body.get("private"), bool):
            collection["private"] = body["private"]
        _save(call, path, collection)
    return JSONResponse({"data": _shown(call, collection)})


def delete(call: Call) -> Response:
    with _changing(call) as (path, _):
        path.unlink()
        sync_folder(path.parent)
    return Response()


def add_item(call: Call) -> Response:
    body = call.json()
    with _changing(call) as (path, collection):
        asked = body.get("item")
        if not isinstance(asked, dict):
            raise HubError(400, "item: not an object")
        kind, repo_id = checked_kind(text_of(asked, "type")), text_of(asked, "id")
        if not call.readable(call.root.get(kind, repo_id)):
            raise repo_not_found()
        if any((item["type"], item["id"]) == (kind, repo_id) for item in collection["items"]):
            raise HubError(409, f"{repo_id} is in the collection already")
        item: dict[str, Any] = {"_id": secrets.token_hex(12), "type": kind, "id": repo_id, "repoType": kind}
        if "note" in body:
            item["note"] = {"text": text_of(body, "note", ""), "html": ""}
        collection["items"].append(item)
        return _save(call, path, collection)


def _item(call: Call, collection: dict[str, Any]) -> dict[str, Any]:
    for item in _shown(call, collection)["items"]:
        if item["_id"] == call.segment("item"):
            found: dict[str, Any] = item
            return found
    raise HubError(404, "no such item in the collection")


def update_item(call: Call) -> Response:
    body = call.json()
    with _changing(call) as (path, collection):
        item = _item(call, collection)
        if "note" in body:
            item["note"] = {"text": text_of(body, "note", ""), "html": ""}
        position = body.get("position")
        if isinstance(position, int) and not isinstance(position, bool):
            collection["items"].remove(item)
            collection["items"].insert(max(0, position), item)
        return _save(call, path, collection)


def remove_item(call: Call) -> Response:
    with _changing(call) as (path, collection):
        collection["items"].remove(_item(call, collection))
        return _save(call, path, collection)

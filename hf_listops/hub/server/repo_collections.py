"""Collections: lists of repos with a title, one JSON file each."""

from __future__ import annotations

import json
import re
import secrets
from pathlib import Path
from typing import Any

from starlette.responses import JSONResponse, Response

from hf_listops.data.files import write_atomically
from hf_listops.hub.server.call import Call, text_of
from hf_listops.hub.server.errors import HubError
from hf_listops.hub.server.grammar import REPO_TYPES, is_name
from hf_listops.hub.server.root import HubRoot, now

_SLUG = re.compile(r"[a-z0-9-]{1,80}-[0-9a-f]{24}")


def _path(root: HubRoot, namespace: str, slug: str) -> Path:
    if not is_name(namespace) or not _SLUG.fullmatch(slug):
        raise HubError(404, "Collection not found")
    return root.folder / "collections" / namespace / f"{slug}.json"


def _read(call: Call, write: bool) -> tuple[Path, dict[str, Any]]:
    """The collection of the address, if the caller may see it, or write to it."""
    namespace = call.segment("ns")
    path = _path(call.root, namespace, call.segment("slug"))
    if not path.is_file():
        raise HubError(404, "Collection not found")
    collection: dict[str, Any] = json.loads(path.read_text())
    if collection["private"] and not (call.user and call.user.may_read(namespace)):
        raise HubError(404, "Collection not found")
    if write:
        call.check_write(namespace)
    return path, collection


def _save(path: Path, collection: dict[str, Any]) -> Response:
    for position, item in enumerate(collection["items"]):
        item["position"] = position
    collection["lastUpdated"] = now()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(collection))
    return JSONResponse(collection)


def create(call: Call) -> Response:
    body, user = call.json(), call.signed_in()
    title, namespace = text_of(body, "title"), text_of(body, "namespace", user.name)
    call.check_write(namespace)
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60] or "collection"
    for known in (call.root.folder / "collections" / namespace).glob(f"{words}-*.json"):
        collection = json.loads(known.read_text())
        if collection["title"] == title:
            raise HubError(409, "a collection of this title exists", body={"slug": collection["slug"]})
    slug = f"{words}-{secrets.token_hex(12)}"
    return _save(
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
    return JSONResponse(_read(call, write=False)[1])


def listing(call: Call) -> Response:
    """Collections of an `owner`, or of all."""
    found = []
    for path in sorted((call.root.folder / "collections").glob("*/*.json")):
        collection = json.loads(path.read_text())
        if call.query.get("owner") in (None, path.parent.name) and (
            not collection["private"] or (call.user and call.user.may_read(path.parent.name))
        ):
            found.append(collection)
    page, headers = call.page([{k: v for k, v in of.items() if k != "position"} for of in found])
    return JSONResponse(page, headers=headers)


def update(call: Call) -> Response:
    path, collection = _read(call, write=True)
    body = call.json()
    for field in ("title", "description", "theme"):
        if field in body:
            collection[field] = text_of(body, field)
    if isinstance(body.get("private"), bool):
        collection["private"] = body["private"]
    _save(path, collection)
    return JSONResponse({"data": collection})


def delete(call: Call) -> Response:
    _read(call, write=True)[0].unlink()
    return Response()


def add_item(call: Call) -> Response:
    path, collection = _read(call, write=True)
    body = call.json()
    asked = body.get("item")
    if not isinstance(asked, dict):
        raise HubError(400, "item: not an object")
    kind, repo_id = text_of(asked, "type"), text_of(asked, "id")
    if kind not in REPO_TYPES:
        raise HubError(400, f"type: {kind!r} is none of {', '.join(REPO_TYPES)}")
    if not call.readable(call.root.get(kind, repo_id)):
        raise HubError(404, "Repository not found", "RepoNotFound")
    if any((item["type"], item["id"]) == (kind, repo_id) for item in collection["items"]):
        raise HubError(409, f"{repo_id} is in the collection already")
    item: dict[str, Any] = {"_id": secrets.token_hex(12), "type": kind, "id": repo_id, "repoType": kind}
    if isinstance(body.get("note"), str):
        item["note"] = {"text": body["note"], "html": ""}
    collection["items"].append(item)
    return _save(path, collection)


def _item(call: Call) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    path, collection = _read(call, write=True)
    for item in collection["items"]:
        if item["_id"] == call.segment("item"):
            return path, collection, item
    raise HubError(404, "no such item in the collection")


def update_item(call: Call) -> Response:
    path, collection, item = _item(call)
    body = call.json()
    if isinstance(body.get("note"), str):
        item["note"] = {"text": body["note"], "html": ""}
    if isinstance(body.get("position"), int):
        collection["items"].remove(item)
        collection["items"].insert(body["position"], item)
    return _save(path, collection)


def remove_item(call: Call) -> Response:
    path, collection, item = _item(call)
    collection["items"].remove(item)
    return _save(path, collection)

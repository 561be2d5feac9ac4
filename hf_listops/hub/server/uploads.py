"""Files on their way in: what goes where, large files, and the commit that makes all of them visible."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dulwich.ignore import IgnoreFilter
from starlette.responses import JSONResponse, Response

from hf_listops.hub.server.call import PREFIXES, Call, bytes_of, objects_of, text_of
from hf_listops.hub.server.errors import HubError
from hf_listops.hub.server.grammar import SHA256, checked_path
from hf_listops.hub.server.lfs import MOST_BYTES, Pointer
from hf_listops.hub.server.repository import Change

_XET = "this Hub takes no Xet uploads: set HF_HUB_DISABLE_XET=1 before Python starts, as hf-listops hub exec does"


def xet_token(call: Call) -> Response:
    """Refuses Xet. Of an answer its client shows nothing but the address, so that this has to say what to do."""
    call.repo()
    raise HubError(307, _XET, headers={"Location": f"{call.endpoint}/api/no-xet-uploads/set/HF_HUB_DISABLE_XET=1"})


def preupload(call: Call) -> Response:
    """For each file whether it goes into the commit itself (`regular`) or ahead of it (`lfs`), and what is there now."""
    body = call.json()
    git = call.writable_repo().repository
    commit = git.resolve(call.segment("rev"))
    rules = body.get("gitIgnore")
    rules = git.read(commit, ".gitignore") if rules is None else text_of(body, "gitIgnore").encode()
    ignored = IgnoreFilter((rules or b"").splitlines())
    answers = []
    for file in objects_of(body, "files"):
        path, size = checked_path(text_of(file, "path")), bytes_of(file, MOST_BYTES)
        try:
            entry = git.entry(commit, path)
            oid = entry.lfs.sha256 if entry.lfs else entry.oid
        except HubError:
            oid = None
        answers.append(
            {
                "path": path,
                "uploadMode": "lfs" if git.is_large(commit, path, size) else "regular",
                "shouldIgnore": bool(ignored.is_ignored(path)),
                "oid": oid,
            }
        )
    return JSONResponse({"files": answers, "commitOid": commit})


def lfs_batch(call: Call) -> Response:
    """Where to put large files. One that this repo has already needs no upload."""
    body = call.json()
    if body.get("operation") != "upload":
        raise HubError(
            400, f"operation: {body.get('operation')!r:.200} is not 'upload'; files are read from /resolve/"
        )
    repo = call.writable_repo()
    answers = []
    for asked in objects_of(body, "objects"):
        oid, size = text_of(asked, "oid"), bytes_of(asked, MOST_BYTES)
        if not SHA256.fullmatch(oid):
            raise HubError(400, f"oid: {oid!r} is no sha256")
        answer: dict[str, Any] = {"oid": oid, "size": size}
        if repo.repository.lfs.size(oid) is None:
            git_address = f"/{PREFIXES[call.kind]}{quote(repo.repo_id)}.git/info/lfs"
            path = f"{git_address}/objects/{oid}"
            answer["actions"] = {
                "upload": {"href": f"{call.endpoint}{path}?{call.signer.sign(path, size)}"},
                "verify": {"href": f"{call.endpoint}{git_address}/verify"},
            }
        answers.append(answer)
    return JSONResponse({"transfer": "basic", "objects": answers}, media_type="application/vnd.git-lfs+json")


def lfs_verify(call: Call) -> Response:
    """Says whether a large file has arrived whole."""
    body = call.json()
    oid = text_of(body, "oid")
    size = call.writable_repo().repository.lfs.size(oid) if SHA256.fullmatch(oid) else None
    if size is None or size != body.get("size"):
        raise HubError(404, f"no object {oid} of that size was uploaded")
    return Response()


def commit(call: Call) -> Response:
    """Makes one commit of the lines of the body."""
    user = call.signed_in()
    repo = call.writable_repo()
    branch = call.segment("rev")
    as_pull_request = call.query.get("create_pr") == "1"
    assert call.body is not None
    lines = _lines(call.body)
    header = next(lines, None)
    if header is None or header[0] != "header":
        raise HubError(400, "the first line of a commit must be its header")
    summary = text_of(header[1], "summary", "commit").strip() or "commit"
    oid, number = repo.repository.commit(
        branch,
        (_change(key, value) for key, value in lines),
        " ".join(summary.splitlines()),
        text_of(header[1], "description", ""),
        user.name,
        parent=text_of(header[1], "parentCommit", "") or None,
        pull_request=as_pull_request,
    )
    page = call.address(repo.kind, repo.repo_id)
    about: dict[str, Any] = {"success": True, "commitOid": oid, "commitUrl": f"{page}/commit/{oid}", "hookOutput": ""}
    if number is not None:
        about["pullRequestUrl"] = f"{page}/discussions/{number}"
    return JSONResponse(about)


def _lines(body: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The lines of a commit, one JSON object each."""
    with open(body, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                parsed = json.loads(line)
                key, value = parsed["key"], parsed["value"]
            except (ValueError, TypeError, KeyError, RecursionError):
                key, value = None, None
            if not isinstance(key, str) or not isinstance(value, dict):
                raise HubError(400, f"line {number} of the commit is no object with a key and a value")
            yield key, value


def _change(key: str, value: dict[str, Any]) -> Change:
    path = text_of(value, "path")
    if key == "file":
        encoding, content = text_of(value, "encoding", "base64"), text_of(value, "content")
        if encoding != "base64":
            raise HubError(400, f"encoding: {encoding!r} of {path!r} is not 'base64'")
        try:
            return Change(path, base64.b64decode(content, validate=True))
        except (binascii.Error, ValueError):
            raise HubError(400, f"content: that of {path!r} is not base64") from None
    if key == "lfsFile":
        oid = text_of(value, "oid")
        if text_of(value, "algo", "sha256") != "sha256" or not SHA256.fullmatch(oid):
            raise HubError(400, f"oid: {oid!r} of {path!r} is no sha256")
        return Change(path, lfs=Pointer(oid, 0))  # its size is the blob's, whatever the client says
    if key == "deletedFile":
        return Change(path.rstrip("/"), remove=True)
    if key == "deletedFolder":
        return Change(f"{path.rstrip('/')}/", remove=True)
    raise HubError(400, f"a commit knows no {key!r}")

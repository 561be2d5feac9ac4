"""What is inside a repo: refs, trees, history, and the files themselves."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from dulwich.objects import Commit
from starlette.responses import JSONResponse, Response, StreamingResponse

from hf_listops.hub.server.call import Call, text_of, whole_number
from hf_listops.hub.server.errors import HubError, entry_not_found
from hf_listops.hub.server.lfs import read_range
from hf_listops.hub.server.reading import Entry, Reader
from hf_listops.hub.server.repos import date_of
from hf_listops.hub.server.repository import MAIN

_RANGE = re.compile(r"bytes=\s*(?P<first>[0-9]{0,18})-(?P<last>[0-9]{0,18})\s*")


def refs(call: Call) -> Response:
    """Branches, tags and, if asked for, pull requests."""
    git = call.repo().repository
    about = {
        "branches": [_ref(name, f"refs/heads/{name}", oid) for name, oid in git.branches().items()],
        "tags": [_ref(name, f"refs/tags/{name}", oid) for name, oid in git.tags().items()],
        "converts": [],
    }
    if call.query.get("include_prs"):
        about["pullRequests"] = [_ref(name, f"refs/pr/{name}", oid) for name, oid in git.pull_requests().items()]
    return JSONResponse(about)


def _ref(name: str, ref: str, oid: str) -> dict[str, str]:
    return {"name": name, "ref": ref, "targetCommit": oid}


def add_branch(call: Call) -> Response:
    start = text_of(call.json(), "startingPoint", MAIN)
    call.writable_repo().repository.add_branch(call.segment("ref"), start)
    return Response(status_code=201)


def remove_branch(call: Call) -> Response:
    call.writable_repo().repository.remove_ref("heads", call.segment("ref"))
    return Response()


def add_tag(call: Call) -> Response:
    """Makes a tag at a revision."""
    body, user = call.json(), call.signed_in()
    message = text_of(body, "message", "")
    call.writable_repo().repository.add_tag(text_of(body, "tag"), call.segment("ref"), message, user.name)
    return Response(status_code=201)


def remove_tag(call: Call) -> Response:
    call.writable_repo().repository.remove_ref("tags", call.segment("ref"))
    return Response()


def squash(call: Call) -> Response:
    title = text_of(call.json(), "message", f"Super-squash branch {call.segment('ref')!r}")
    call.writable_repo().repository.squash(call.segment("ref"), title, call.signed_in().name)
    return Response()


def merge(call: Call) -> Response:
    """Accepts a pull request, if `main` has not moved since it was opened."""
    merged = call.writable_repo().repository.merge(whole_number(call.segment("number"), 0))
    return JSONResponse({"commitOid": merged})


def history(call: Call) -> Response:
    """The commits of a revision, newest first, in pages."""
    git = call.repo().repository
    at = git.resolve(call.segment("rev"))
    commits = [
        {**_commit_info(oid, commit), "message": _description(commit), "authors": [{"user": _author(commit)}]}
        for oid, commit in git.history(at)
    ]
    page, headers = call.page(commits, at)
    return JSONResponse(page, headers=headers)


def _commit_info(oid: str, commit: Commit) -> dict[str, Any]:
    title = commit.message.decode(errors="replace").partition("\n")[0]
    return {"id": oid, "title": title, "date": date_of(commit)}


def _description(commit: Commit) -> str:
    return commit.message.decode(errors="replace").partition("\n\n")[2]


def _author(commit: Commit) -> str:
    return commit.author.decode(errors="replace").partition(" <")[0]


def tree(call: Call) -> Response:
    """What lies in a folder of a revision, in pages."""
    git = call.repo().repository
    revision = call.segment("rev")
    commit = git.resolve(revision)
    folder = call.segment("path").strip("/")
    recursive = call.query.get("recursive", "").lower() == "true"
    page, headers = call.page(list(git.entries(commit, folder, recursive)), commit)
    return JSONResponse(_shown(git, commit, page, call.query.get("expand", "")), headers=headers)


def paths_info(call: Call) -> Response:
    """The files and folders of some paths."""
    git, form = call.repo().repository, call.form()
    commit = git.resolve(call.segment("rev"))
    found: list[Entry] = []
    for path in form.get("paths", []):
        try:
            found.append(git.entry(commit, path.strip("/")))
        except HubError:  # missing paths are left out
            continue
    return JSONResponse(_shown(git, commit, found, form.get("expand", [""])[0]))


def _shown(git: Reader, commit: str, entries: list[Entry], expand: str) -> list[dict[str, Any]]:
    """Entries of a tree, with their last commits if asked for."""
    last = git.last_commits(commit, [entry.path for entry in entries]) if expand.lower() == "true" else {}
    shown = []
    for entry in entries:
        kind = "directory" if entry.is_folder else "file"
        about: dict[str, Any] = {"type": kind, "oid": entry.oid, "size": entry.size, "path": entry.path}
        if entry.lfs is not None:
            about["lfs"] = {"oid": entry.lfs.sha256, "size": entry.lfs.size, "pointerSize": entry.pointer_size}
        if entry.path in last:
            about["lastCommit"] = _commit_info(*last[entry.path])
        shown.append(about)
    return shown


def resolve(call: Call) -> Response:
    """A file of a revision, or a part of it. Always as an attachment that no browser runs."""
    git = call.repo().repository
    path = call.segment("path")
    commit = git.resolve(call.segment("rev"))
    entry = git.entry(commit, path)
    if entry.is_folder:
        raise entry_not_found(path, commit)
    headers = {
        "X-Repo-Commit": commit,
        "ETag": f'"{entry.lfs.sha256 if entry.lfs else entry.oid}"',
        "Accept-Ranges": "bytes",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(path.split('/')[-1])}",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cache-Control": "no-cache",
    }
    if entry.lfs is not None:
        headers |= {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": str(entry.size)}
    same = call.headers.get("if-range", headers["ETag"]) == headers["ETag"]  # or the client has parts of another file
    part = _range(call.headers.get("range", ""), entry.size) if same else None
    status, (start, stop) = (200, (0, entry.size)) if part is None else (206, part)
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{entry.size}"
    headers["Content-Length"] = str(stop - start)
    media_type = "application/octet-stream"
    if call.is_head:
        return Response(None, status, headers, media_type)
    if entry.lfs is not None:
        pieces = read_range(git.lfs.path(entry.lfs.sha256), start, stop)
        return StreamingResponse(pieces, status, headers, media_type)
    return Response(git.blob(entry.oid)[start:stop], status, headers, media_type)


def _range(header: str, size: int) -> tuple[int, int] | None:
    """The bytes asked for, from the first to before the last; None if not one plain range is asked for.

    Raises:
        HubError: 416 if there are none of them.
    """
    asked = _RANGE.fullmatch(header)
    if asked is None or asked["first"] == asked["last"] == "":
        return None
    if asked["first"]:
        start, stop = int(asked["first"]), min(size, int(asked["last"]) + 1) if asked["last"] else size
        if asked["last"] and int(asked["last"]) < start:
            return None
    else:
        start, stop = max(0, size - int(asked["last"])), size
    if start >= stop:
        raise HubError(416, f"the file has {size} bytes", headers={"Content-Range": f"bytes */{size}"})
    return start, stop

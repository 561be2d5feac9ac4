"""Repos as a whole: made, found, described, moved and deleted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from dulwich.objects import Commit
from starlette.responses import JSONResponse, Response

from hf_listops.hub.server.call import Call, text_of
from hf_listops.hub.server.errors import HubError, repo_not_found
from hf_listops.hub.server.front_matter import errors_of, metadata_of
from hf_listops.hub.server.grammar import checked_kind
from hf_listops.hub.server.reading import Entry
from hf_listops.hub.server.repository import MAIN
from hf_listops.hub.server.root import Hosted

_README = "README.md"
_TAG_FIELDS = {"library_name": "", "pipeline_tag": "", "license": "license:", "language": "", "datasets": "dataset:"}


def date_of(commit: Commit) -> str:
    """When a commit was made, as the Hub writes it."""
    return datetime.fromtimestamp(commit.commit_time, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def whoami(call: Call) -> Response:
    """Whose token it is, and to which namespaces it reaches."""
    user = call.signed_in()
    others = [
        {"type": "org", "name": name, "fullname": name, "email": None, "isEnterprise": False, "roleInOrg": role}
        for name, role in sorted(user.roles.items())
        if name != user.name
    ]
    token = {"displayName": user.name, "role": user.roles[user.name], "createdAt": "1970-01-01T00:00:00.000Z"}
    about: dict[str, Any] = {
        "type": "user",
        "id": user.name,
        "name": user.name,
        "fullname": user.name,
        "email": f"{user.name}@localhost",
    }
    about |= {"emailVerified": True, "canPay": False, "isPro": False, "orgs": others}
    return JSONResponse({**about, "auth": {"type": "access_token", "accessToken": token}})


def _addressed(call: Call, body: dict[str, Any]) -> tuple[str, str]:
    """Kind and id of the repo that a body of `create` or `delete` names."""
    kind, name = checked_kind(text_of(body, "type", "model")), text_of(body, "name")
    owner = text_of(body, "organization", call.signed_in().name)
    return kind, name if "/" in name else f"{owner}/{name}"


def _visibility(body: dict[str, Any]) -> str:
    private = body.get("private")
    visibility = text_of(body, "visibility", "private" if private is True else "public")
    if visibility not in ("public", "private"):
        raise HubError(400, f"visibility: {visibility!r} is neither 'public' nor 'private'")
    return visibility


def create(call: Call) -> Response:
    """Makes a repo."""
    body = call.json()
    kind, repo_id = _addressed(call, body)
    call.check_write(repo_id.split("/")[0])
    settings: dict[str, Any] = {"visibility": _visibility(body)}
    if kind == "space":
        settings["sdk"] = text_of(body, "sdk", "static")
    address = {"url": call.address(kind, repo_id), "id": repo_id, "name": repo_id}
    try:
        call.root.create(kind, repo_id, settings, call.signed_in().name)
    except HubError as error:
        if error.status == 409:
            error.body = dict(address)
        raise
    return JSONResponse(address)


def delete(call: Call) -> Response:
    """Deletes a repo with all its history."""
    kind, repo_id = _addressed(call, call.json())
    repo = _visible(call, kind, repo_id)
    call.check_write(repo.namespace)
    call.root.delete(repo)
    return Response()


def move(call: Call) -> Response:
    """Gives a repo another name or owner."""
    body = call.json()
    kind = checked_kind(text_of(body, "type", "model"))
    repo, target = _visible(call, kind, text_of(body, "fromRepo")), text_of(body, "toRepo")
    for namespace in (repo.namespace, target.split("/")[0]):
        call.check_write(namespace)
    call.root.move(repo, target)
    return Response()


def _visible(call: Call, kind: str, repo_id: str) -> Hosted:
    repo = call.root.get(kind, repo_id)
    if not call.readable(repo):
        raise repo_not_found()
    return repo


def settings(call: Call) -> Response:
    repo, body = call.writable_repo(), call.json()
    changed = {"visibility": _visibility(body)} if {"visibility", "private"} & set(body) else {}
    return JSONResponse({"private": call.root.set(repo, changed)["visibility"] == "private"})


def auth_check(call: Call) -> Response:
    if call.path.get("right") == "write":
        call.writable_repo()
    call.repo()
    return Response()


def listing(call: Call) -> Response:
    """Repos of a kind by `author`, `search` (in the id) and `filter` (tags), newest first or by `sort`."""
    wanted = {tag for tag in call.query.get("filter", "").split(",") if tag}
    author, search = call.query.get("author"), call.query.get("search", "").lower()
    found = []
    for repo in call.root.all(call.kind):
        if not call.readable(repo) or (author and repo.namespace != author) or search not in repo.repo_id.lower():
            continue
        about = describe(call, repo, MAIN)
        if wanted <= set(about["tags"]):
            found.append(about)
    key = {"createdAt": "createdAt", "created_at": "createdAt"}.get(call.query.get("sort", ""), "lastModified")
    found.sort(key=lambda about: about[key], reverse=True)
    page, headers = call.page(found)
    return JSONResponse(page, headers=headers)


def info(call: Call) -> Response:
    """What a repo is and holds at a revision."""
    repo = call.repo()
    about = describe(call, repo, call.segment("rev") or MAIN, blobs=call.query.get("blobs", "").lower() == "true")
    asked = [value for key, value in call.query.multi_items() if key in ("expand", "expand[]")]
    if asked:
        about = {key: value for key, value in about.items() if key in ("_id", "id", *asked)}
    return JSONResponse(about)


def describe(call: Call, repo: Hosted, revision: str, blobs: bool = False) -> dict[str, Any]:
    """Everything that `model_info` and its like want to know of a repo at a revision."""
    git = repo.repository
    commit = git.resolve(revision)
    files = git.files(commit)
    siblings: list[dict[str, Any]] = [{"rfilename": path} for path in sorted(files)]
    if blobs:
        siblings = [blob_info(git.entry(commit, file["rfilename"])) for file in siblings]
    card = metadata_of((git.blob(files[_README].decode()) if _README in files else b"").decode(errors="replace"))
    about: dict[str, Any] = {
        "_id": repo.repo_id,
        "id": repo.repo_id,
        "author": repo.namespace,
        "sha": commit,
        "lastModified": date_of(next(git.history(commit))[1]),
        "createdAt": repo.settings["createdAt"],
        "private": repo.is_private,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "downloadsAllTime": 0,
        "likes": 0,
        "cardData": card,
        "tags": list(_tags(repo.kind, card)),
        "siblings": siblings,
        "usedStorage": git.lfs.total(),
    }
    for key in ("library_name", "pipeline_tag", "model-index"):
        if repo.kind == "model" and key in card:
            about[key] = card[key]
    if repo.kind == "space":
        about |= {"sdk": repo.settings.get("sdk"), "runtime": {"stage": "NO_APP_FILE", "hardware": {}}}
    results = [path for path in files if path.startswith(".eval_results/") and path.endswith((".yaml", ".yml"))]
    if results and "evalResults" in [value for _, value in call.query.multi_items()]:
        about["evalResults"] = _evaluation_results(git.blob(files[path].decode()) for path in results)
    return about


def _evaluation_results(contents: Iterable[bytes]) -> list[dict[str, Any]]:
    """The entries of `.eval_results/*.yaml`, those that can be read."""
    found: list[dict[str, Any]] = []
    for content in contents:
        listed = metadata_of(f"---\nentries:\n{content.decode(errors='replace')}\n---\n").get("entries")
        found += [{"data": entry} for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    return found


def _tags(kind: str, card: Mapping[str, Any]) -> Iterable[str]:
    """The tags of a repo, as the Hub makes them from its card."""
    own = card.get("tags")
    seen = [tag for tag in own if isinstance(tag, str)] if isinstance(own, list) else []
    for field, prefix in _TAG_FIELDS.items():
        value = card.get(field)
        values = value if isinstance(value, list) else [value]
        seen += [f"{prefix}{of}" for of in values if isinstance(of, str)]
    base = card.get("base_model")
    seen += [f"base_model:{of}" for of in (base if isinstance(base, list) else [base]) if isinstance(of, str)]
    return dict.fromkeys(seen)


def blob_info(entry: Entry) -> dict[str, Any]:
    """A file as `siblings` show it with `blobs=true`."""
    about: dict[str, Any] = {"rfilename": entry.path, "blobId": entry.oid, "size": entry.size}
    if entry.lfs is not None:
        about["lfs"] = {"sha256": entry.lfs.sha256, "size": entry.lfs.size, "pointerSize": entry.pointer_size}
    return about


def validate_yaml(call: Call) -> Response:
    """What is wrong with the YAML at the head of a card."""
    errors, warnings = errors_of(text_of(call.json(), "content"))
    about = {"errors": [{"message": text} for text in errors], "warnings": [{"message": text} for text in warnings]}
    return JSONResponse(about, status_code=400 if errors else 200)

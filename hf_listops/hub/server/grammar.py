"""Which names of repos, refs and files the embedded Hub takes."""

from __future__ import annotations

import re

from dulwich.refs import Ref, check_ref_format

from hf_listops.hub.server.errors import HubError, repo_not_found

REPO_TYPES = ("model", "dataset", "space")
_NAME = re.compile(r"(?!.*(?:\.\.|--))[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_RESERVED = ("api", "datasets", "models", "spaces")
_INVISIBLE = dict.fromkeys([*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF])  # to HFS+
_COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")


def is_name(name: str) -> bool:
    """Whether a namespace, user or repo may be called so."""
    return _NAME.fullmatch(name) is not None and not name.endswith((".git", ".lock")) and name not in _RESERVED


def checked_kind(kind: str) -> str:
    """The type of a repo. Raises `HubError` 400 if it is none."""
    if kind not in REPO_TYPES:
        raise HubError(400, f"type: {kind!r} is none of {', '.join(REPO_TYPES)}")
    return kind


def checked_repo_id(repo_id: str) -> str:
    """`namespace/name`. Raises `HubError` 404 for anything that can name no repo."""
    parts = repo_id.split("/")
    if len(parts) != 2 or not all(map(is_name, parts)):
        raise repo_not_found()
    return repo_id


def checked_path(path: str) -> str:
    """The path of a file in a repo. Raises `HubError` 400 if it could leave the repo or trouble a file system."""
    if (
        len(path.encode("utf-8", "surrogatepass")) > 1024
        or any(not _is_segment(segment) for segment in path.split("/"))
        or any(ord(letter) < 32 or ord(letter) == 127 or 0xD800 <= ord(letter) < 0xE000 for letter in path)
        or "\\" in path
    ):
        raise HubError(400, f"Invalid path: {path!r}")
    return path


def _is_segment(segment: str) -> bool:
    """Whether a file or folder may be called so: not what some file system takes for `.git` or git for its modules."""
    plain = segment.translate(_INVISIBLE).lower().partition(":")[0].rstrip(". ")
    return (
        plain not in ("", ".git", "git~1", ".gitmodules")
        and not plain.startswith(("gitmod~", "gi7eba~", "gitatt~", "gi7d29~"))
        and (plain != ".gitattributes" or segment == plain)
        and len(segment.encode("utf-8", "surrogatepass")) <= 255
    )


def is_commit(revision: str) -> bool:
    """Whether a revision is the id of a commit and not the name of a branch or tag."""
    return _COMMIT.fullmatch(revision) is not None


def checked_ref(kind: str, name: str) -> Ref:
    """`refs/heads/…` or `refs/tags/…` for a new branch or tag. Raises `HubError` 400 for a name git would not take."""
    ref = Ref(f"refs/{kind}/{name}".encode())
    if len(name) > 200 or is_commit(name) or name.startswith(("refs/", "-")) or not check_ref_format(ref):
        raise HubError(400, f"Invalid name of a {'branch' if kind == 'heads' else 'tag'}: {name!r}")
    return ref

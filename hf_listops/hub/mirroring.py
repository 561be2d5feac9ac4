"""Copying repos from one Hub to another with all their revisions: how a user goes from the embedded Hub to huggingface.co.

Commits are made anew, so their ids differ; each says in its description which one it copies, which is how an interrupted
copy goes on. A history that was squashed stands in the copy on the first commit that every new repo has. At the end every
branch and tag is compared, file by file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.hf_api import RepoFile
from tqdm import tqdm

from hf_listops.data.files import sha256_of
from hf_listops.data.remote import explained, no_hub_bars
from hf_listops.errors import ListOpsError
from hf_listops.hub.api import check_online, persistently
from hf_listops.hub.publishing import GITATTRIBUTES, MAIN

_TRAILER = re.compile(r"^Mirrored-from: ([0-9a-f]{40})\s*\Z", re.MULTILINE)  # the last: a copy may be copied


@dataclass(frozen=True)
class Mirrored:
    """How many branches and tags a repo has, and how many commits had to be copied."""

    repo_id: str
    revisions: int
    added: int


def mirror(
    source: str,
    destination: str,
    repo_id: str,
    kind: str = "model",
    *,
    namespace: str | None = None,
    source_token: str | bool | None = None,
    destination_token: str | None = None,
    private: bool = False,
) -> Mirrored:
    """Copies a repo with every branch, tag and commit.

    Args:
        source (`str`), destination (`str`): endpoints, such as `http://127.0.0.1:8090` and `https://huggingface.co`.
        repo_id (`str`): of the source; the destination's has the same name.
        kind (`str`): `model`, `dataset` or `space`.
        namespace (`str`, *optional*): of the destination, the source's by default.
        private (`bool`): of a repo that is made now; that of a private source is private in any case.

    Raises:
        ListOpsError: the destination holds something else, or a Hub refuses or cannot be reached.
    """
    check_online()
    target = repo_id if namespace is None else f"{namespace}/{repo_id.split('/')[-1]}"
    ours, theirs = HfApi(endpoint=source, token=source_token), HfApi(endpoint=destination, token=destination_token)
    return _Mirror(ours, theirs, repo_id, target, kind).run(private)


class _Mirror:
    """One copy. `copies` maps commits of the source to what they are in the destination."""

    def __init__(self, source: HfApi, destination: HfApi, repo_id: str, target: str, kind: str) -> None:
        self.source, self.destination = source, destination
        self.repo_id, self.target, self.kind = repo_id, target, kind
        self.copies: dict[str, str] = {}
        self._listed: dict[tuple[str, str], dict[str, Any]] = {}

    def run(self, private: bool) -> Mirrored:
        with explained(self.repo_id, self.kind, endpoint=self.source.endpoint):
            refs = persistently(lambda: self.source.list_repo_refs(self.repo_id, repo_type=self.kind))
            histories = {ref.name: self._history(self.source, ref.name) for ref in refs.branches}
            info = persistently(lambda: self.source.repo_info(self.repo_id, repo_type=self.kind))
        with explained(self.target, self.kind, endpoint=self.destination.endpoint), no_hub_bars():
            persistently(
                lambda: self.destination.create_repo(
                    self.target,
                    repo_type=self.kind,
                    private=private or info.private or None,
                    exist_ok=True,
                    space_sdk=getattr(info, "sdk", None),
                )
            )
            self._find_copies(histories[MAIN][0].commit_id)
            in_order = sorted(histories, key=lambda name: (name != MAIN, len(histories[name])))
            added = 0
            for name in tqdm(in_order, desc=f"mirroring {self.target}", unit="branch"):
                added += self._copy_branch(name, histories[name])
            for tag in refs.tags:
                added += self._copy_tag(tag)
            self._compare({ref.name: ref.target_commit for ref in [*refs.branches, *refs.tags]})
        return Mirrored(self.target, len(refs.branches) + len(refs.tags), added)

    def _history(self, api: HfApi, revision: str) -> list[Any]:
        """The commits of a branch from the first on."""
        commits = persistently(lambda: api.list_repo_commits(self._id(api), repo_type=self.kind, revision=revision))
        return list(reversed(commits))

    def _refs(self) -> Any:
        return persistently(lambda: self.destination.list_repo_refs(self.target, repo_type=self.kind))

    def _find_copies(self, root: str) -> None:
        """What an earlier call has copied; and the first commit, which every Hub makes with a new repo."""
        for ref in self._refs().branches:
            commits = self._history(self.destination, ref.name)
            if ref.name == MAIN:
                self.first = str(commits[0].commit_id)
            for commit in commits:
                copied = self._source_of(commit)
                if copied is not None:
                    self.copies[copied] = commit.commit_id
        if not self._operations(root, self.first):
            self.copies[root] = self.first

    def _copy_tag(self, tag: Any) -> int:
        """Makes a tag if it is not there. Returns how many commits it made.

        A tag may stand on commits that no branch has any more: a branch of ours holds their copies until the tag does.
        """
        refs, holder, added = self._refs(), f"mirroring-{tag.name}", 0
        holds = holder in {ref.name for ref in refs.branches}
        if tag.name not in {ref.name for ref in refs.tags}:
            if tag.target_commit not in self.copies:
                added, holds = self._copy_branch(holder, self._history(self.source, tag.name)), True
            persistently(
                lambda: self.destination.create_tag(
                    self.target,
                    repo_type=self.kind,
                    tag=tag.name,
                    revision=self.copies[tag.target_commit],
                    exist_ok=True,
                )
            )
        if holds:
            persistently(lambda: self.destination.delete_branch(self.target, repo_type=self.kind, branch=holder))
        return added

    def _copy_branch(self, name: str, commits: list[Any]) -> int:
        """Brings one branch up to date, commit by commit from the first. Returns how many it made."""
        heads = {ref.name: ref.target_commit for ref in self._refs().branches}
        added, copy = 0, self.first
        for commit in commits:
            if commit.commit_id in self.copies:
                copy = self.copies[commit.commit_id]
                continue
            operations = self._operations(commit.commit_id, copy)
            if operations:
                self._check_head(name, self._add_branch(name, copy, heads), copy)
                copy = heads[name] = self._commit(name, commit, operations, copy)
                added += 1
            self.copies[commit.commit_id] = copy
        self._check_head(name, self._add_branch(name, copy, heads), copy)
        return added

    def _add_branch(self, name: str, start: str, heads: dict[str, str]) -> str:
        """Makes a branch if it is not there. Returns where it is."""
        if name not in heads:
            persistently(
                lambda: self.destination.create_branch(
                    self.target, repo_type=self.kind, branch=name, revision=start, exist_ok=True
                )
            )
        return heads.get(name, start)

    def _check_head(self, name: str, head: str, copy: str) -> None:
        if head != copy:
            raise ListOpsError(
                f"repo: the branch {name!r} of {self.target!r} at {self.destination.endpoint} holds commits that "
                f"{self.source.endpoint} does not have; mirror to another namespace"
            )

    def _operations(self, commit: str, copy: str) -> list[Any]:
        """What makes the files of a copy those of a commit of the source."""
        wanted, there = self._files(self.source, commit), self._files(self.destination, copy)
        changed = [
            path
            for path, file in wanted.items()
            if path not in there or not self._same(commit, file, copy, there[path])
        ]
        return [
            *(CommitOperationAdd(path, self._download(self.source, commit, path)) for path in changed),
            *(CommitOperationDelete(path) for path in there if path not in wanted),
        ]

    def _commit(self, branch: str, commit: Any, operations: list[Any], head: str) -> str:
        def add() -> str:
            newest = self._history(self.destination, branch)[-1]
            if self._source_of(newest) == commit.commit_id:  # made, but the answer was lost
                return str(newest.commit_id)
            made = self.destination.create_commit(
                self.target,
                operations,
                commit_message=commit.title,
                commit_description=f"{commit.message}\n\nMirrored-from: {commit.commit_id}".strip(),
                repo_type=self.kind,
                revision=branch,
                parent_commit=head,
            )
            return str(made.oid)

        return persistently(add)

    @staticmethod
    def _source_of(commit: Any) -> str | None:
        """The commit of the source that one of the destination copies."""
        match = _TRAILER.search(commit.message)
        return None if match is None else match[1]

    def _files(self, api: Any, commit: str) -> dict[str, Any]:
        """The files of a commit by path, but for `.gitattributes`, in which each Hub notes its own large files."""
        key = (api.endpoint, commit)
        if key not in self._listed:
            entries = persistently(
                lambda: list(api.list_repo_tree(self._id(api), repo_type=self.kind, revision=commit, recursive=True))
            )
            files = [entry for entry in entries if isinstance(entry, RepoFile) and entry.path != GITATTRIBUTES]
            self._listed[key] = {file.path: file for file in files}
        return self._listed[key]

    def _same(self, commit: str, ours: Any, copy: str, theirs: Any) -> bool:
        """Whether a file is the same on both Hubs, though one may keep it in git and the other outside."""
        if ours.lfs is None and theirs.lfs is None:
            return bool(ours.blob_id == theirs.blob_id)
        hashes = [
            file.lfs.sha256 if file.lfs else sha256_of(self._download(api, at, file.path))
            for api, at, file in ((self.source, commit, ours), (self.destination, copy, theirs))
        ]
        return bool(ours.size == theirs.size and hashes[0] == hashes[1])

    def _download(self, api: Any, commit: str, path: str) -> Path:
        return Path(
            persistently(lambda: api.hf_hub_download(self._id(api), path, repo_type=self.kind, revision=commit))
        )

    def _id(self, api: Any) -> str:
        return self.repo_id if api is self.source else self.target

    def _compare(self, revisions: dict[str, str]) -> None:
        """Raises `ListOpsError` if a branch or tag differs between the two."""
        refs = self._refs()
        there = {ref.name: ref.target_commit for ref in [*refs.branches, *refs.tags]}
        for name, commit in revisions.items():
            if self._operations(commit, there[name]):
                raise ListOpsError(
                    f"repo: {name!r} of {self.target!r} at {self.destination.endpoint} differs from its source; delete it "
                    "and mirror anew"
                )

"""Reading one repo of the embedded Hub: a bare git repository whose large files lie beside it under their sha256.

No lock is needed: objects never change, and a ref is replaced in one rename.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dulwich.errors import NotTreeError
from dulwich.object_store import iter_tree_contents, tree_lookup_path
from dulwich.objects import Blob, Commit, ObjectID, Tag
from dulwich.refs import Ref
from dulwich.repo import Repo

from hf_listops.hub.server.errors import entry_not_found, revision_not_found
from hf_listops.hub.server.grammar import is_commit
from hf_listops.hub.server.lfs import LfsStore, Pointer

_FOLDER_MODE = 0o040000
Files = dict[str, ObjectID]  # path of every file of a commit, and its blob


@dataclass(frozen=True)
class Entry:
    """A file or folder of a commit. `size` is in bytes, the large file's own where there is one; a folder's is 0."""

    path: str
    oid: str
    size: int = 0
    is_folder: bool = False
    lfs: Pointer | None = None
    pointer_size: int = 0


class Reader:
    """Reads one repo. Made anew for each request."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lfs = LfsStore(folder / "lfs" / "objects")

    @cached_property
    def git(self) -> Repo:
        opened = Repo(str(self.folder), bare=True)
        weakref.finalize(self, opened.close)  # files of packs, where `git gc` has made some
        return opened

    # Refs

    def branches(self) -> dict[str, str]:
        return self._refs("refs/heads")

    def tags(self) -> dict[str, str]:
        """Each tag and the commit it points at."""
        return {name: self._peel(oid) for name, oid in self._refs("refs/tags").items()}

    def pull_requests(self) -> dict[str, str]:
        """Each number and the commit of `refs/pr/{number}`."""
        return self._refs("refs/pr")

    def _refs(self, base: str) -> dict[str, str]:
        found = self.git.refs.as_dict(Ref(base.encode()))
        return {name.decode(): oid.decode() for name, oid in sorted(found.items())}

    def _peel(self, oid: str) -> str:
        pointed = self.git[oid.encode()]
        return pointed.object[1].decode() if isinstance(pointed, Tag) else oid

    def resolve(self, revision: str) -> str:
        """The commit of a branch, tag, pull request or commit id. Raises `HubError` 404 if there is none."""
        for kind in ("heads", "tags"):
            oid = self._ref(f"refs/{kind}/{revision}")
            if oid is not None:
                return self._peel(oid)
        if revision.startswith(("refs/pr/", "refs/heads/", "refs/tags/", "refs/convert/")):
            oid = self._ref(revision)
            if oid is not None:
                return self._peel(oid)
        if is_commit(revision) and ObjectID(revision.encode()) in self.git.object_store:
            found = self.git[revision.encode()]
            if isinstance(found, Commit):
                return revision
        raise revision_not_found(revision)

    def _ref(self, name: str) -> str | None:
        try:
            return self.git.refs[Ref(name.encode())].decode()
        except (KeyError, ValueError):  # missing, or no name of a ref at all
            return None

    # Reading

    def files(self, commit: str) -> Files:
        """Every file of a commit."""
        tree = self._commit(commit).tree
        return {entry.path.decode(): entry.sha for entry in iter_tree_contents(self.git.object_store, tree)}

    def entry(self, commit: str, path: str) -> Entry:
        """A file or folder. Raises `HubError` 404 if the commit has none of that path."""
        found = self._lookup(commit, path)
        if found is None:
            raise entry_not_found(path, commit)
        mode, oid = found
        return self._entry(path, oid, mode == _FOLDER_MODE)

    def _lookup(self, commit: str, path: str) -> tuple[int, ObjectID] | None:
        """Mode and id of a file or folder, None if the commit has none of that path."""
        if "" in path.split("/"):  # which git would read as another path
            return None
        try:
            return tree_lookup_path(
                self.git.object_store.__getitem__, self._commit(commit).tree, path.encode("utf-8", "surrogatepass")
            )
        except (KeyError, NotTreeError):
            return None

    def entries(self, commit: str, folder: str, recursive: bool) -> Iterator[Entry]:
        """What lies in a folder (`""` for the root), in order of path. Raises `HubError` 404 if there is no such folder."""
        files = self.files(commit)
        prefix = f"{folder}/" if folder else ""
        inside = sorted(path for path in files if path.startswith(prefix))
        if folder and not inside:
            raise entry_not_found(folder, commit)
        shown: set[str] = set()
        for path in inside:
            parts = path.removeprefix(prefix).split("/")
            for depth in range(1, len(parts) if recursive else min(2, len(parts))):
                below = prefix + "/".join(parts[:depth])
                if below not in shown:
                    shown.add(below)
                    yield self.entry(commit, below)
            if recursive or len(parts) == 1:
                yield self._entry(path, files[path], False)

    def _entry(self, path: str, oid: ObjectID, is_folder: bool) -> Entry:
        if is_folder:
            return Entry(path, oid.decode(), is_folder=True)
        content = self.blob(oid.decode())
        pointer = Pointer.from_bytes(content)
        if pointer is None or self.lfs.size(pointer.sha256) != pointer.size:  # text that only looks like one
            return Entry(path, oid.decode(), len(content))
        return Entry(path, oid.decode(), pointer.size, lfs=pointer, pointer_size=len(content))

    def blob(self, oid: str) -> bytes:
        """The content of a file that lies in git."""
        found = self.git[oid.encode()]
        assert isinstance(found, Blob)
        return found.data

    def read(self, commit: str, path: str) -> bytes | None:
        """The content of a small file, None if there is none."""
        oid = self.files(commit).get(path)
        return None if oid is None else self.blob(oid.decode())

    def history(self, commit: str) -> Iterator[tuple[str, Commit]]:
        """The commits from this one back to the first."""
        oid: str | None = commit
        while oid is not None:
            found = self._commit(oid)
            yield oid, found
            oid = found.parents[0].decode() if found.parents else None

    def last_commits(self, commit: str, paths: Iterable[str]) -> dict[str, tuple[str, Commit]]:
        """For each file or folder the commit that last changed it."""
        wanted, found = set(paths), {}
        newer: tuple[str, Commit] | None = None
        newer_ids: dict[str, tuple[int, ObjectID] | None] = {}
        for at in self.history(commit):
            ids = {path: self._lookup(at[0], path) for path in wanted}
            for path in list(wanted):
                if newer is not None and ids[path] != newer_ids[path]:
                    found[path] = newer
                    wanted.discard(path)
            newer, newer_ids = at, ids
            if not wanted:
                return found
        return {**found, **{path: newer for path in wanted if newer is not None}}

    def _commit(self, oid: str) -> Commit:
        found = self.git[oid.encode()]
        assert isinstance(found, Commit)
        return found

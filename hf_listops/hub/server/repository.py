"""One repo of the embedded Hub: a bare git repository whose large files lie beside it under their sha256.

Readers need no lock, since objects never change and a ref is replaced in one rename. Writers hold `lock`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dulwich.errors import NotTreeError
from dulwich.index import commit_tree
from dulwich.object_store import MemoryObjectStore, iter_tree_contents, tree_lookup_path
from dulwich.objects import Blob, Commit, ObjectID, ShaFile, Tag
from dulwich.refs import Ref
from dulwich.repo import Repo

from hf_listops.data.files import sync_folder
from hf_listops.hub.server.errors import HubError, entry_not_found, revision_not_found
from hf_listops.hub.server.grammar import checked_path, checked_ref, is_commit
from hf_listops.hub.server.lfs import ATTRIBUTES, LARGE, LfsStore, Pointer, attribute_line, tracks

MAIN = "main"
GITATTRIBUTES = ".gitattributes"
_FILE_MODE, _FOLDER_MODE = 0o100644, 0o040000
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


@dataclass(frozen=True)
class Change:
    """One line of a commit: a file with its content, a large file, or (`remove`) a file or folder that goes."""

    path: str
    content: bytes | None = None
    lfs: Pointer | None = None
    remove: bool = False


class Repository:
    """Reads and writes one repo. Made anew for each request; what is shared is the lock."""

    def __init__(self, folder: Path, lock: threading.RLock) -> None:
        self.folder, self.lock = folder, lock
        self.lfs = LfsStore(folder / "lfs" / "objects")

    @cached_property
    def git(self) -> Repo:
        return Repo(str(self.folder), bare=True)

    @classmethod
    def create(cls, folder: Path, author: str) -> Repository:
        """A new repo in a folder that does not exist yet, with one commit that holds `.gitattributes`."""
        git = Repo.init_bare(str(folder), mkdir=True, default_branch=MAIN.encode())
        config = git.get_config()
        config.set((b"core",), b"fsyncObjectFiles", True)
        config.write_to_path()
        git.close()
        repository = cls(folder, threading.RLock())
        repository.commit(MAIN, [Change(GITATTRIBUTES, ATTRIBUTES.encode())], "initial commit", "", author)
        return repository

    def recover(self) -> None:
        """Clears away what a killed server left half done: locks, and uploads that never became a blob."""
        for leftover in [*self.folder.rglob("*.lock"), *self.lfs.folder.glob("incoming/*")]:
            leftover.unlink()

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

    def add_branch(self, name: str, start: str) -> None:
        """A branch at a revision. Raises `HubError` 409 if it exists, or if another one's name stands in its way."""
        self._add_ref(checked_ref("heads", name), self.resolve(start), f"branch {name!r}")

    def add_tag(self, name: str, revision: str, message: str | None, author: str) -> None:
        """A tag, with a message if there is one. Raises `HubError` 409 if it exists."""
        ref, target = checked_ref("tags", name), self.resolve(revision)
        if message:
            tag = Tag()
            tag.name, tag.message, tag.tagger = name.encode(), message.encode(), _identity(author)
            tag.object = (Commit, ObjectID(target.encode()))
            tag.tag_time, tag.tag_timezone = int(time.time()), 0
            self._write([tag])
            target = tag.id.decode()
        self._add_ref(ref, target, f"tag {name!r}")

    def _add_ref(self, ref: Ref, oid: str, what: str) -> None:
        with self.lock:
            try:
                added = self.git.refs.add_if_new(ref, ObjectID(oid.encode()))
            except (NotADirectoryError, FileExistsError, IsADirectoryError):
                raise HubError(409, f"{what} and an existing name cannot stand side by side in git") from None
            if not added:
                raise HubError(409, f"{what} exists already")
            self._sync_ref(ref)

    def remove_ref(self, kind: str, name: str) -> None:
        """Deletes a branch (`heads`) or tag (`tags`). Raises `HubError` 404 if it is not there, 403 for `main`."""
        if kind == "heads" and name == MAIN:
            raise HubError(403, "the branch 'main' cannot be deleted")
        ref = checked_ref(kind, name)
        with self.lock:
            if self._ref(ref.decode()) is None:
                raise revision_not_found(name)
            self.git.refs.remove_if_equals(ref, None)

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

    # Writing

    def is_large(self, commit: str, path: str, size: int) -> bool:
        """Whether a file of `size` bytes belongs outside git."""
        return (
            size >= LARGE or tracks(ATTRIBUTES.encode(), path) or tracks(self.read(commit, GITATTRIBUTES) or b"", path)
        )

    def commit(
        self,
        branch: str,
        changes: Iterable[Change],
        title: str,
        description: str,
        author: str,
        parent: str | None = None,
        pull_request: bool = False,
    ) -> tuple[str, int | None]:
        """Makes one commit on a branch; nothing of it is seen before all of it is on disk.

        Args:
            branch (`str`): a branch, or `refs/pr/{n}`.
            changes (`Iterable[Change]`): in order; a large file's blob must be there.
            parent (`str`, *optional*): the commit that the branch must be at.
            pull_request (`bool`): leave the branch alone and open `refs/pr/{n}` on top of it.

        Returns:
            `tuple[str, int | None]`: the commit (the branch's own if nothing changed), and the pull request's number.

        Raises:
            HubError: 412 if the branch is elsewhere, 404 if it does not exist, 400 for a wrong change.
        """
        with self.lock:
            ref = Ref((branch if branch.startswith("refs/pr/") else f"refs/heads/{branch}").encode())
            head = self._ref(ref.decode())
            is_first = head is None and not self.branches()
            if head is None and not is_first:
                raise revision_not_found(branch)
            if parent is not None and parent != head:
                raise HubError(
                    412, f"{branch!r} is not at {parent} any more but at {head}; load it anew and try again"
                )
            staged = MemoryObjectStore()
            files = self._changed(self.files(head) if head else {}, changes, staged)
            tree = commit_tree(staged, [(path.encode(), oid, _FILE_MODE) for path, oid in files.items()])
            if head is not None and self._commit(head).tree == tree and not pull_request:
                return head, None
            made = _make_commit(tree, [head] if head else [], title, description, author)
            self._write([*(staged[oid] for oid in staged), made])
            if pull_request:
                number = max((int(known) for known in self.pull_requests()), default=0) + 1
                self._add_ref(Ref(f"refs/pr/{number}".encode()), made.id.decode(), f"pull request {number}")
                return made.id.decode(), number
            self._move_ref(ref, head, made.id)
        return made.id.decode(), None

    def _changed(self, files: Files, changes: Iterable[Change], staged: MemoryObjectStore) -> Files:
        """The files after some changes; the new blobs are added to `staged`."""

        def put(path: str, content: bytes) -> None:
            blob = Blob.from_string(content)
            staged.add_object(blob)
            files[path] = blob.id

        large: list[str] = []
        for change in changes:
            path = checked_path(change.path.rstrip("/") if change.remove else change.path)
            if change.remove:
                gone = [known for known in files if known == path or known.startswith(f"{path}/")]
                if not gone:
                    raise HubError(400, f"{path!r} is to be deleted but does not exist")
                for known in gone:
                    del files[known]
            elif change.lfs is not None:
                size = self.lfs.size(change.lfs.sha256)
                if size is None:
                    raise HubError(400, f"{path!r}: no file of sha256 {change.lfs.sha256} was uploaded to this repo")
                put(path, Pointer(change.lfs.sha256, size).to_bytes())
                large.append(path)
            else:
                put(path, change.content or b"")
        paths = set(files)
        for path in files:
            parts = path.split("/")
            for depth in range(1, len(parts)):
                if "/".join(parts[:depth]) in paths:
                    raise HubError(400, f"{'/'.join(parts[:depth])!r} cannot be a file and a folder")
        oid = files.get(GITATTRIBUTES)
        attributes = b"" if oid is None else (staged[oid] if oid in staged else self.git[oid]).as_raw_string()
        lines = b"".join(attribute_line(path) for path in large if path in files and not tracks(attributes, path))
        if lines:  # so that git-lfs in a clone knows the file as one of its own
            put(GITATTRIBUTES, attributes + (b"" if attributes.endswith(b"\n") or not attributes else b"\n") + lines)
        return files

    def squash(self, branch: str, title: str, author: str) -> str:
        """Makes the branch one commit without a past. Returns it."""
        with self.lock:
            ref = checked_ref("heads", branch)
            head = self._ref(ref.decode())
            if head is None:
                raise revision_not_found(branch)
            made = _make_commit(self._commit(head).tree, [], title, "", author)
            self._write([made])
            self._move_ref(ref, head, made.id)
        return made.id.decode()

    def merge(self, number: int) -> str:
        """Moves `main` on to a pull request that was made on top of it. Raises `HubError` 409 if `main` has moved since."""
        with self.lock:
            ref = Ref(f"refs/heads/{MAIN}".encode())
            head, proposed = self.resolve(MAIN), self.resolve(f"refs/pr/{number}")
            if head not in (oid for oid, _ in self.history(proposed)):
                raise HubError(409, f"'main' has moved since pull request {number} was opened; open it anew")
            self._move_ref(ref, head, ObjectID(proposed.encode()))
        return proposed

    def _write(self, objects: Iterable[ShaFile]) -> None:
        """Adds objects, each synced with the folder it lies in."""
        store = self.git.object_store
        folders: set[Path] = set()
        for item in objects:
            if item.id not in store:
                store.add_object(item)
                folders.add(self.folder / "objects" / item.id[:2].decode())
        for folder in folders:
            sync_folder(folder)
        if folders:
            sync_folder(self.folder / "objects")

    def _move_ref(self, ref: Ref, old: str | None, new: ObjectID) -> None:
        refs = self.git.refs
        moved = refs.set_if_equals(ref, ObjectID(old.encode()), new) if old else refs.add_if_new(ref, new)
        if not moved:
            raise HubError(412, f"{ref.decode()!r} was moved by someone else; load it anew and try again")
        self._sync_ref(ref)

    def _sync_ref(self, ref: Ref) -> None:
        sync_folder((self.folder / ref.decode()).parent)


def _identity(author: str) -> bytes:
    return f"{author} <{author}@localhost>".encode()


def _make_commit(tree: ObjectID, parents: list[str], title: str, description: str, author: str) -> Commit:
    made = Commit()
    made.tree, made.parents = tree, [ObjectID(parent.encode()) for parent in parents]
    made.author = made.committer = _identity(author)
    made.author_time = made.commit_time = int(time.time())
    made.author_timezone = made.commit_timezone = 0
    made.encoding = b"UTF-8"
    made.message = (f"{title}\n\n{description}" if description else title).encode("utf-8", "replace")
    return made

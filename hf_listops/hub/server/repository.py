"""Writing one repo of the embedded Hub: commits, branches and tags.

Writers hold `lock`. Whatever a commit needs is on disk before its ref moves, so that a kill at any moment leaves the old
state or the new one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dulwich.index import commit_tree
from dulwich.object_store import MemoryObjectStore
from dulwich.objects import Blob, Commit, ObjectID, Tag
from dulwich.refs import Ref

from hf_listops.hub.server.durable import create_git, remove_ref, set_ref, write_objects
from hf_listops.hub.server.errors import HubError, entry_not_found, repo_not_found, revision_not_found
from hf_listops.hub.server.grammar import checked_path, checked_ref
from hf_listops.hub.server.lfs import (
    ATTRIBUTES,
    GITATTRIBUTES,
    LARGE,
    Pointer,
    attribute_line,
    check_attributes,
    tracks,
)
from hf_listops.hub.server.reading import Files, Reader

MAIN = "main"
_FILE_MODE = 0o100644


@dataclass(frozen=True)
class Change:
    """One line of a commit: a file with its content, a large file, or (`remove`) a file that goes, or a `folder/`."""

    path: str
    content: bytes | None = None
    lfs: Pointer | None = None
    remove: bool = False


class Repository(Reader):
    """Reads and writes one repo. Made anew for each request; what is shared is the lock."""

    def __init__(self, folder: Path, lock: threading.RLock) -> None:
        super().__init__(folder)
        self.lock = lock

    @classmethod
    def create(cls, folder: Path, author: str) -> Repository:
        """A new repo in a folder that does not exist yet, with one commit that holds `.gitattributes`."""
        create_git(folder, MAIN)
        repository = cls(folder, threading.RLock())
        repository.lfs.create()
        repository.commit(MAIN, [Change(GITATTRIBUTES, ATTRIBUTES.encode())], "initial commit", "", author)
        return repository

    def recover(self) -> None:
        """Clears away what a killed server left half done: locks, and files that were still being written."""
        leftovers = ("refs/**/*.lock", "*.lock", ".*.tmp", "objects/tmp_obj_*", "lfs/objects/incoming/*")
        for pattern in leftovers:
            for leftover in self.folder.glob(pattern):
                leftover.unlink()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """The lock. Raises `HubError` 404 if the repo was deleted or moved while we waited for it."""
        with self.lock:
            if not (self.folder / "HEAD").is_file():
                raise repo_not_found()
            yield

    # Refs

    def add_branch(self, name: str, start: str) -> None:
        """A branch at a revision. Raises `HubError` 409 if it exists, or if another one's name stands in its way."""
        ref = checked_ref("heads", name)
        with self.writing():
            self._add_ref(ref, ObjectID(self.resolve(start).encode()), f"branch {name!r}")

    def add_tag(self, name: str, revision: str, message: str | None, author: str) -> None:
        """A tag, with a message if there is one. Raises `HubError` 409 if it exists."""
        ref = checked_ref("tags", name)
        with self.writing():
            target = ObjectID(self.resolve(revision).encode())
            if message:
                tag = Tag()
                tag.name, tag.message, tag.tagger = name.encode(), _text(message), _identity(author)
                tag.object = (Commit, target)
                tag.tag_time, tag.tag_timezone = int(time.time()), 0
                write_objects(self.git, [tag])
                target = tag.id
            self._add_ref(ref, target, f"tag {name!r}")

    def _add_ref(self, ref: Ref, oid: ObjectID, what: str) -> None:
        try:
            added = set_ref(self.git, ref, None, oid)
        except (NotADirectoryError, FileExistsError, IsADirectoryError):
            raise HubError(409, f"{what} and an existing name cannot stand side by side in git") from None
        if not added:
            raise HubError(409, f"{what} exists already")

    def remove_ref(self, kind: str, name: str) -> None:
        """Deletes a branch (`heads`) or tag (`tags`). Raises `HubError` 404 if it is not there, 403 for `main`."""
        if kind == "heads" and name == MAIN:
            raise HubError(403, "the branch 'main' cannot be deleted")
        ref = checked_ref(kind, name)
        with self.writing():
            if self._ref(ref.decode()) is None:
                raise revision_not_found(name)
            remove_ref(self.git, ref)

    # Commits

    def is_large(self, commit: str, path: str, size: int) -> bool:
        """Whether a file of `size` bytes belongs outside git."""
        if path.split("/")[-1] in (GITATTRIBUTES, ".gitignore"):
            return False
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
            HubError: 412 if the branch is elsewhere, 404 if it does not exist or a file to delete does not, 400 for a
                wrong change.
        """
        with self.writing():
            ref = Ref((branch if branch.startswith("refs/pr/") else f"refs/heads/{branch}").encode())
            head = self._ref(ref.decode())
            is_first = head is None and not self.branches()
            if head is None and not is_first:
                raise revision_not_found(branch)
            if parent is not None and parent != head:
                raise HubError(
                    412, f"{branch!r} is not at {parent!r} any more but at {head}; load it anew and try again"
                )
            staged = MemoryObjectStore()
            files = self._changed(head, changes, staged)
            tree = commit_tree(staged, [(path.encode(), oid, _FILE_MODE) for path, oid in files.items()])
            if head is not None and self._commit(head).tree == tree and not pull_request:
                return head, None
            made = _make_commit(tree, [head] if head else [], title, description, author)
            write_objects(self.git, [*(staged[oid] for oid in staged), made])
            if pull_request:
                number = max((int(known) for known in self.pull_requests()), default=0) + 1
                self._add_ref(Ref(f"refs/pr/{number}".encode()), made.id, f"pull request {number}")
                return made.id.decode(), number
            self._move_ref(ref, head, made.id)
        return made.id.decode(), None

    def _changed(self, head: str | None, changes: Iterable[Change], staged: MemoryObjectStore) -> Files:
        """The files of a commit after some changes; the new blobs are added to `staged`."""
        files = self.files(head) if head else {}

        def put(path: str, content: bytes) -> None:
            blob = Blob.from_string(content)
            staged.add_object(blob)
            files[path] = blob.id

        large: list[str] = []
        for change in changes:
            path = checked_path(change.path.rstrip("/") if change.remove else change.path)
            if change.remove:
                is_folder = change.path.endswith("/")
                gone = [known for known in files if known.startswith(f"{path}/")] if is_folder else [path]
                if not gone or gone[0] not in files:
                    raise entry_not_found(path, head or "")
                for known in gone:
                    del files[known]
            elif change.lfs is not None:
                size = self.lfs.size(change.lfs.sha256)
                if size is None:
                    raise HubError(400, f"{path!r}: no file of sha256 {change.lfs.sha256} was uploaded to this repo")
                if path.split("/")[-1] == GITATTRIBUTES:
                    raise HubError(400, f"{path!r} must lie in git itself")
                put(path, Pointer(change.lfs.sha256, size).to_bytes())
                large.append(path)
            else:
                if path.split("/")[-1] == GITATTRIBUTES:
                    check_attributes(path, change.content or b"")
                put(path, change.content or b"")
        _check_folders(files)
        oid = files.get(GITATTRIBUTES)
        attributes = b"" if oid is None else (staged[oid] if oid in staged else self.git[oid]).as_raw_string()
        lines = b"".join(attribute_line(path) for path in large if path in files and not tracks(attributes, path))
        if lines:  # so that git-lfs in a clone knows the file as one of its own
            put(GITATTRIBUTES, attributes + (b"" if attributes.endswith(b"\n") or not attributes else b"\n") + lines)
        return files

    def squash(self, branch: str, title: str, author: str) -> str:
        """Makes the branch one commit without a past. Returns it."""
        ref = checked_ref("heads", branch)
        with self.writing():
            head = self._ref(ref.decode())
            if head is None:
                raise revision_not_found(branch)
            made = _make_commit(self._commit(head).tree, [], title, "", author)
            write_objects(self.git, [made])
            self._move_ref(ref, head, made.id)
        return made.id.decode()

    def merge(self, number: int) -> str:
        """Moves `main` on to a pull request that was made on top of it. Raises `HubError` 409 if `main` has moved since."""
        with self.writing():
            ref = Ref(f"refs/heads/{MAIN}".encode())
            head, proposed = self.resolve(f"refs/heads/{MAIN}"), self.resolve(f"refs/pr/{number}")
            if head not in (oid for oid, _ in self.history(proposed)):
                raise HubError(409, f"'main' has moved since pull request {number} was opened; open it anew")
            self._move_ref(ref, head, ObjectID(proposed.encode()))
        return proposed

    def _move_ref(self, ref: Ref, old: str | None, new: ObjectID) -> None:
        if not set_ref(self.git, ref, old, new):
            raise HubError(412, f"{ref.decode()!r} was moved by someone else; load it anew and try again")


def _check_folders(files: Files) -> None:
    """Raises `HubError` 400 if something is to be a file and a folder."""
    for path in files:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            above = "/".join(parts[:depth])
            if above in files:
                raise HubError(400, f"{above!r} cannot be a file and a folder")


def _identity(author: str) -> bytes:
    return f"{author} <{author}@localhost>".encode()


def _text(message: str) -> bytes:
    """A message as git takes it."""
    return message.replace("\0", " ").encode("utf-8", "replace")


def _make_commit(tree: ObjectID, parents: list[str], title: str, description: str, author: str) -> Commit:
    made = Commit()
    made.tree, made.parents = tree, [ObjectID(parent.encode()) for parent in parents]
    made.author = made.committer = _identity(author)
    made.author_time = made.commit_time = int(time.time())
    made.author_timezone = made.commit_timezone = 0
    made.encoding = b"UTF-8"
    made.message = _text(f"{title}\n\n{description}" if description else title)
    return made

"""The folder of an embedded Hub: its repos, their settings, and the lock that keeps a second server away."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hf_listops.data.files import sync_folder, write_atomically
from hf_listops.errors import ListOpsError
from hf_listops.hub.server.errors import HubError, repo_not_found
from hf_listops.hub.server.grammar import checked_kind, checked_repo_id, is_name
from hf_listops.hub.server.repository import Repository

_PROGRAM, _FORMAT = "hf_listops hub", 1
_MARKER, _SETTINGS, _TOKEN, _LOCK = "hub.json", "hub.json", "token", ".lock"


def _is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing but what a server killed at its very start leaves."""
    return folder.is_dir() and all(path.name == _LOCK or path.match(f".{_MARKER}.*.tmp") for path in folder.iterdir())


def now() -> str:
    """The time as the Hub writes it, with milliseconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


@dataclass(frozen=True)
class Hosted:
    """A repo with its address and settings."""

    kind: str  # model, dataset or space
    repo_id: str
    settings: dict[str, Any]
    repository: Repository

    @property
    def namespace(self) -> str:
        return self.repo_id.split("/")[0]

    @property
    def is_private(self) -> bool:
        return self.settings["visibility"] == "private"


class HubRoot:
    """All repos under one folder, held by one server at a time."""

    def __init__(self, folder: Path) -> None:
        """Opens the folder, or makes it.

        Raises:
            ListOpsError: it holds something else, was written by a newer version, or another server has it.
        """
        self.folder = folder
        marker = folder / _MARKER
        if folder.exists() and not marker.is_file() and not _is_empty(folder):
            raise ListOpsError(f"root: {str(folder)!r} is not empty and holds no Hub of ours; choose another folder")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # private repos lie there
        self._held = open(folder / _LOCK, "w")  # noqa: SIM115 (held as long as the server runs)
        try:
            self._open_held(marker)
        except BaseException:
            self._held.close()
            raise
        self.lock = threading.RLock()  # of what is not inside one repo
        self._repo_locks: dict[Path, threading.RLock] = {}

    def _open_held(self, marker: Path) -> None:
        folder = self.folder
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ListOpsError(
                f"root: another server has {str(folder)!r}; stop it first or choose another folder"
            ) from None
        if not marker.is_file():
            write_atomically(marker, json.dumps({"program": _PROGRAM, "format": _FORMAT}))
        try:
            facts = json.loads(marker.read_text())
            program, version = facts["program"], int(facts["format"])
        except (ValueError, TypeError, KeyError):
            program, version = "another program", _FORMAT
        if program != _PROGRAM:
            raise ListOpsError(f"root: {str(folder)!r} belongs to another program; choose another folder")
        if version > _FORMAT:
            raise ListOpsError(
                f"root: {str(folder)!r} was written in format {version} by a newer version of hf_listops, this one knows "
                f"{_FORMAT}; update hf_listops or choose another folder"
            )
        shutil.rmtree(folder / "tmp", ignore_errors=True)
        for part in ("tmp", "repos", "collections"):
            (folder / part).mkdir(exist_ok=True)
        for leftover in (*folder.glob(".*.tmp"), *folder.glob("collections/*/.*.tmp")):  # of a killed server
            leftover.unlink()

    def close(self) -> None:
        """Lets another server have the folder."""
        self._held.close()

    def token(self) -> str:
        """The random token of the one user of a server started without users, made at the first start."""
        path = self.folder / _TOKEN
        if not path.is_file():
            with tempfile.NamedTemporaryFile("w", dir=self.folder / "tmp", delete=False) as file:  # of mode 600
                file.write(f"hf_{secrets.token_hex(20)}")
                file.flush()
                os.fsync(file.fileno())
            os.replace(file.name, path)
            sync_folder(self.folder)
        return path.read_text()

    def _path(self, kind: str, repo_id: str) -> Path:
        return self.folder / "repos" / f"{checked_kind(kind)}s" / checked_repo_id(repo_id)

    def get(self, kind: str, repo_id: str) -> Hosted:
        """A repo, whoever may see it. Raises `HubError` 404 if there is none."""
        path = self._path(kind, repo_id)
        try:
            settings = json.loads((path / _SETTINGS).read_text())
        except (FileNotFoundError, NotADirectoryError):
            raise repo_not_found() from None
        return Hosted(kind, repo_id, settings, self._open(path))

    def _open(self, path: Path) -> Repository:
        with self.lock:
            known = path in self._repo_locks
            repository = Repository(path, self._repo_locks.setdefault(path, threading.RLock()))
            if not known:  # the first to open it since the server started
                repository.recover()
        return repository

    def all(self, kind: str) -> Iterator[Hosted]:
        """Every repo of a kind, in order of its id."""
        folder = self.folder / "repos" / f"{kind}s"
        for path in sorted(folder.glob("*/*")):
            try:
                yield self.get(kind, f"{path.parent.name}/{path.name}")
            except HubError:  # deleted in the meantime
                continue

    def create(self, kind: str, repo_id: str, settings: dict[str, Any], author: str) -> Hosted:
        """A new repo, there at once and whole. Raises `HubError` 409 if it exists, 400 for a name that is none."""
        if not all(map(is_name, repo_id.split("/"))) or repo_id.count("/") != 1:
            raise HubError(400, f"Invalid repo name: {repo_id!r}")
        path = self._path(kind, repo_id)
        with self._scratch() as scratch:
            Repository.create(scratch, author)
            write_atomically(scratch / _SETTINGS, json.dumps({"createdAt": now(), **settings}))
            with self.lock:
                self._place(scratch, path, f"You already created this {kind} repo: {repo_id}")
        return self.get(kind, repo_id)

    def _place(self, repo: Path, path: Path, taken: str) -> None:
        """Moves a repo to where nothing is yet. Raises `HubError` 409 with the message `taken` otherwise."""
        if path.exists():
            raise HubError(409, taken)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.rename(repo, path)
        for folder in (path.parent, path.parent.parent, self.folder / "repos", repo.parent):
            sync_folder(folder)

    def set(self, repo: Hosted, settings: dict[str, Any]) -> dict[str, Any]:
        """Replaces some settings of a repo. Returns all of them."""
        path = repo.repository.folder / _SETTINGS
        with repo.repository.writing():
            changed = {**json.loads(path.read_text()), **settings}
            write_atomically(path, json.dumps(changed))
        return changed

    def move(self, repo: Hosted, target: str) -> None:
        """Gives a repo another id. Raises `HubError` 409 if that is taken, 400 if it is none."""
        if not all(map(is_name, target.split("/"))) or target.count("/") != 1:
            raise HubError(400, f"Invalid repo name: {target!r}")
        path = self._path(repo.kind, target)
        with repo.repository.writing(), self.lock:
            self._place(repo.repository.folder, path, f"{target} exists already")

    def delete(self, repo: Hosted) -> None:
        """Deletes a repo, in one step for everyone who looks."""
        with self._scratch() as scratch, repo.repository.writing(), self.lock:
            os.rename(repo.repository.folder, scratch)
            sync_folder(repo.repository.folder.parent)

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """A path under `tmp/`; what is there afterwards is removed."""
        path = self.folder / "tmp" / secrets.token_hex(8)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

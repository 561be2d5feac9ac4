"""Objects and refs put on disk by git's own rules, synced."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from dulwich.objects import ObjectID, ShaFile
from dulwich.refs import Ref
from dulwich.repo import Repo

from hf_listops.data.files import sync_folder, write_atomically
from hf_listops.hub.server.errors import HubError


def create_git(folder: Path, branch: str) -> None:
    """An empty bare repository in a folder that does not exist yet."""
    for part in ("objects/info", "objects/pack", "refs/heads", "refs/tags"):
        (folder / part).mkdir(parents=True)
    write_atomically(folder / "config", "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n")
    write_atomically(folder / "HEAD", f"ref: refs/heads/{branch}\n")


def write_objects(git: Repo, objects: Iterable[ShaFile]) -> None:
    """Adds objects, each synced with the folder it lies in."""
    store = Path(git.path) / "objects"
    folders = set()
    for item in objects:
        folder = store / item.id[:2].decode()
        folders.add(folder)
        if item.id in git.object_store:
            continue
        folder.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=store, prefix="tmp_obj_", delete=False) as file:
            try:
                file.write(item.as_legacy_object())
                file.flush()
                os.fchmod(file.fileno(), 0o444)
                os.fsync(file.fileno())
                os.replace(file.name, folder / item.id[2:].decode())
            except BaseException:
                os.unlink(file.name)
                raise
    for folder in (*folders, store):
        if folder.is_dir():  # objects that came in a pack have none
            sync_folder(folder)


def set_ref(git: Repo, ref: Ref, old: str | None, new: ObjectID) -> bool:
    """Moves a ref from where it should be (None: nowhere). Returns whether it was there.

    Raises:
        HubError: 503 if another program has locked it.
        OSError: a folder stands where the file should, or the other way round.
    """
    path = Path(git.path) / ref.decode()
    lock = path.with_name(f"{path.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        raise HubError(503, f"{ref.decode()!r} is being changed by another program; try again") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            if git.refs.read_ref(ref) != (None if old is None else old.encode()):
                return False
            file.write(new + b"\n")
            file.flush()
            os.fsync(descriptor)
        os.replace(lock, path)
    finally:
        lock.unlink(missing_ok=True)
    sync_ref(git, ref)
    return True


def remove_ref(git: Repo, ref: Ref) -> None:
    """Deletes a ref."""
    git.refs.remove_if_equals(ref, None)
    sync_ref(git, ref)


def sync_ref(git: Repo, ref: Ref) -> None:
    """Makes a change of a ref survive a power cut."""
    for folder in (Path(git.path) / ref.decode()).parents:
        if folder == Path(git.path):
            break
        with contextlib.suppress(FileNotFoundError):  # that of a branch `a/b` goes with it
            sync_folder(folder)

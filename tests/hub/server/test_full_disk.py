"""A disk that fills up at any moment of a write: refused with 507, and nothing half done is seen or left."""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_callers import Callers, batch_of, calling, large, small

PAGE = 4096
API, REPO = "/api/models/alice/r", "alice/r"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def leave(disk: Path, pages: int) -> None:
    """Fills the disk but for some pages."""
    (disk / "filler").unlink(missing_ok=True)
    free = os.statvfs(disk).f_bavail * PAGE
    (disk / "filler").write_bytes(bytes(max(0, free - pages * PAGE)))


def state(hub: Callers) -> tuple[bytes, ...]:
    """All that a client sees, and that git finds no fault with it."""
    folder = hub.root / "repos/models" / REPO
    fsck = subprocess.run(["git", "-C", folder, "fsck", "--strict", "--no-dangling"], capture_output=True)
    assert (fsck.returncode, fsck.stdout, fsck.stderr) == (0, b"", b"")
    left = ("**/*.lock", "**/*.tmp", "objects/tmp_obj_*", "lfs/objects/incoming/*")
    assert not [path for pattern in left for path in folder.glob(pattern)]
    assert not list((hub.root / "tmp").iterdir())
    paths = (
        f"{API}/refs",
        f"{API}/commits/main",
        f"{API}/tree/main?recursive=true",
        "/api/models",
        "/api/collections",
    )
    return tuple(hub.alice.ask("GET", path).body for path in paths)


def test_a_full_disk(disk: Path) -> None:
    with calling(disk / "root") as hub:
        hub.alice.create(REPO)
        blob = b"large" * 10_000
        oid = hashlib.sha256(blob).hexdigest()
        batch = hub.alice.ask("POST", f"/{REPO}.git/info/lfs/objects/batch", batch_of(oid, len(blob)))
        href = batch.json["objects"][0]["actions"]["upload"]["href"]
        statuses: dict[str, list[int]] = {"create": [], "put": [], "commit": [], "branch": [], "collection": []}
        for pages in range(60):
            for what, done in statuses.items():
                if 200 in done or 201 in done:
                    continue
                leave(disk, pages)
                before = state(hub)
                if what == "create":
                    answer = hub.alice.ask("POST", "/api/repos/create", {"name": "alice/new"})
                elif what == "put":
                    answer = hub.anonymous.ask("PUT", href, blob)
                elif what == "commit":
                    files = [small(f"d{n}/f", f"{pages} {n}".encode()) for n in range(8)]
                    answer = hub.alice.commit(REPO, *files)
                elif what == "branch":
                    answer = hub.alice.ask("POST", f"{API}/branch/a%2Fb", {})
                else:
                    answer = hub.alice.ask("POST", "/api/collections", {"title": "new"})
                done.append(answer.status)
                assert answer.status in (200, 201, 507), (what, pages, answer.body)
                if answer.status == 507:
                    assert b"disk is full" in answer.body
                    assert state(hub) == before, (what, pages)
        for what, done in statuses.items():  # refused at first, and once there is room it works
            assert done[0] == 507, what
            assert done[-1] in (200, 201), what
        assert len(statuses["commit"]) > 15  # so that each of its files was once the one that did not fit
        (disk / "filler").unlink()
        assert hub.alice.commit(REPO, large("w.bin", oid)).status == 200
        assert hub.anonymous.ask("GET", f"/{REPO}/resolve/main/w.bin").body == blob
        state(hub)

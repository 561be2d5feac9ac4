"""The folder of a Hub: whose it is, and what a killed server leaves there."""

import json
import subprocess
import threading
from pathlib import Path

import pytest

from hf_listops.errors import ListOpsError
from hf_listops.hub.server.access import parse_user
from hf_listops.hub.server.errors import HubError
from hf_listops.hub.server.repository import Change, Repository
from hf_listops.hub.server.root import HubRoot
from hf_listops.hub.server.serving import running


def test_a_folder_of_somebody_else(tmp_path: Path) -> None:
    for name, content, message in (
        ("thesis.tex", "…", "not empty and holds no Hub"),
        ("hub.json", "{}", "belongs to another program"),
        ("hub.json", "\udcff", "belongs to another program"),
        ("hub.json", '{"program": "x", "format": 1}', "belongs to another program"),
        ("hub.json", '{"program": "hf_listops hub", "format": 2}', "format 2 by a newer version"),
    ):
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        root.mkdir()
        (root / name).write_bytes(content.encode("utf-8", "surrogateescape"))
        for _ in range(2):
            with pytest.raises(ListOpsError, match=message):
                HubRoot(root)
        assert (root / name).read_bytes() == content.encode("utf-8", "surrogateescape")
        assert not (root / "repos").exists()
    (tmp_path / "file").touch()
    with pytest.raises(ListOpsError, match="holds no Hub"):
        HubRoot(tmp_path / "file")


def test_one_server_a_root(tmp_path: Path) -> None:
    first = HubRoot(tmp_path / "root")
    with pytest.raises(ListOpsError, match="another server has"):
        HubRoot(tmp_path / "root")
    first.close()
    HubRoot(tmp_path / "root").close()
    assert (tmp_path / "root").stat().st_mode & 0o777 == 0o700


def test_the_token_is_kept_and_private(tmp_path: Path) -> None:
    root = HubRoot(tmp_path / "root")
    token = root.token()
    assert len(token) == 43
    assert (tmp_path / "root/token").stat().st_mode & 0o777 == 0o600
    root.close()
    again = HubRoot(tmp_path / "root")
    assert again.token() == token
    again.close()


def test_users() -> None:
    user, token = parse_user("alice:to-k_en:bob=read,team=write")
    assert (token, user.may_write("alice"), user.may_write("team"), user.may_write("bob")) == (
        "to-k_en",
        True,
        True,
        False,
    )
    assert (user.may_read("bob"), user.may_read("carol")) == (True, False)
    assert "to-k_en" not in repr(user)
    assert not parse_user("alice:t:alice=read")[0].may_write("alice")
    for text in (
        "alice",
        "alice:",
        ":t",
        "a b:t",
        "alice:t t",
        "alice:é",
        "alice:t:bob",
        "alice:t:bob=admin",
        "api:t",
    ):
        with pytest.raises(ListOpsError, match="a right one is 'alice:TOKEN'"):
            parse_user(text)


def test_what_a_kill_leaves_is_cleared_away(tmp_path: Path) -> None:
    """At the start and when a repo is first opened; a ref and an object that only look like leftovers stay."""
    root = HubRoot(tmp_path / "root")
    repository = root.create("model", "alice/r", {"visibility": "public"}, "alice").repository
    repository.add_branch("tmp/x", "main")
    root.close()
    folder = repository.folder
    leftovers = [
        folder / "refs/heads/main.lock", folder / "refs/heads/tmp/x.lock", folder / "packed-refs.lock",
        folder / "HEAD.lock", folder / ".hub.json.77.tmp", folder / "objects/tmp_obj_abc",
        folder / "lfs/objects/incoming/tmpx", root.folder / "tmp/scratch/HEAD", root.folder / ".hub.json.7.tmp",
        root.folder / "collections/alice/.x.json.7.tmp",
    ]  # fmt: skip
    for path in leftovers:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    again = HubRoot(tmp_path / "root")
    reopened = again.get("model", "alice/r").repository
    assert [path for path in leftovers if path.exists()] == []
    assert set(reopened.branches()) == {"main", "tmp/x"}
    reopened.commit("main", [Change("a", b"1")], "after", "", "alice")
    assert subprocess.check_output(["git", "-C", folder, "fsck", "--strict"]) == b""
    again.close()
    for name in (".hub.json.7.tmp", ".lock"):  # killed before it wrote what the folder is
        (tmp_path / "early" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "early" / name).touch()
    HubRoot(tmp_path / "early").close()


def test_waiting_for_a_repo_that_goes_away(tmp_path: Path) -> None:
    root = HubRoot(tmp_path / "root")
    hosted = root.create("model", "alice/r", {"visibility": "public"}, "alice")
    stale = root.get("model", "alice/r").repository
    assert stale.branches()
    root.delete(hosted)
    for attempt in (
        lambda: stale.commit("main", [Change("a", b"1")], "t", "", "alice"),
        lambda: stale.add_branch("b", "main"),
        lambda: stale.add_tag("t", "main", "", "alice"),
        lambda: stale.remove_ref("heads", "b"),
        lambda: stale.squash("main", "t", "alice"),
        lambda: root.set(hosted, {}),
        lambda: root.move(hosted, "alice/q"),
        lambda: root.delete(hosted),
    ):
        with pytest.raises(HubError) as caught:
            attempt()
        assert caught.value.code == "RepoNotFound"
    with pytest.raises(FileNotFoundError):
        stale.lfs.receive("0" * 64, 3)
    assert not stale.folder.exists()
    root.close()


def test_what_is_acknowledged_was_synced_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file of a commit is synced before it gets its name, and the ref's comes last."""
    repository = Repository.create(tmp_path / "r", "alice")
    order: list[str] = []
    synced: set[int] = set()
    import os

    fsync, replace = os.fsync, os.replace

    def noting_fsync(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def noting_replace(source: str, target: str) -> None:
        assert os.stat(source).st_ino in synced
        order.append(str(target))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(os, "replace", noting_replace)
    repository.commit("main", [Change("d/a", b"1"), Change("b", b"2")], "t", "", "alice")
    assert len(order) == 6  # two files, two folders, the commit, and the branch
    assert order[-1].endswith("refs/heads/main")
    assert all("/objects/" in name for name in order[:-1])
    for name in order:
        assert Path(name).parent.stat().st_ino in synced


def test_collections_lose_nothing_at_once(tmp_path: Path) -> None:
    from hub_callers import Caller

    with running(tmp_path / "root", ["alice:t"]) as server:
        alice = Caller(server.endpoint, "t")
        slug = alice.ask("POST", "/api/collections", {"title": "All"}).json["slug"]
        for n in range(12):
            alice.create(f"alice/r{n}")

        def add(n: int) -> None:
            alice.ask("POST", f"/api/collections/{slug}/items", {"item": {"type": "model", "id": f"alice/r{n}"}})

        threads = [threading.Thread(target=add, args=(n,)) for n in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        items = alice.ask("GET", f"/api/collections/{slug}").json["items"]
    assert sorted(item["id"] for item in items) == sorted(f"alice/r{n}" for n in range(12))
    assert json.dumps([item["position"] for item in items]) == json.dumps(list(range(12)))

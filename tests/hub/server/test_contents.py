"""Refs, pages, parts of files: what clients rely on, looked at byte by byte and checked by git."""

import hashlib
import json
import random
import subprocess
from pathlib import Path

import pytest
from hub_callers import Callers, batch_of, large, small

from hf_listops.hub.server import call

API, REPO = "/api/models/alice/r", "alice/r"
BIG = random.Random(0).randbytes(2048)


def git(hub: Callers, *arguments: str, repo: str = REPO) -> str:
    done = subprocess.run(
        ["git", "-C", hub.root / "repos/models" / repo, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture(scope="module", autouse=True)
def repo(hub: Callers) -> None:
    hub.alice.create(REPO)
    oid = hub.alice.put(REPO, BIG)
    files = [small(f"d {n % 2}/f{n}.txt", f"{n}".encode()) for n in range(7)]
    assert hub.alice.commit(REPO, large("big.bin", oid), *files, summary="files").status == 200


def test_pages_keep_the_encoding_and_the_commit(hub: Callers, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 3 a page, while the branch moves between two pages."""
    monkeypatch.setattr(call, "_PAGE", 3)
    assert hub.alice.ask("POST", f"{API}/branch/exp%2Fpaged", {}).status == 201
    for path in ("", "/d%200"):
        names = git(hub, "ls-tree", "-rz", "--name-only", "exp/paged").strip("\0").split("\0")
        expected = [name for name in names if "d 0/" in name] if path else sorted([*names, "d 0", "d 1"])
        address, seen, pages = f"{API}/tree/exp%2Fpaged{path}?recursive=true&expand=false", [], 0
        while address:
            answer = hub.alice.ask("GET", address)
            seen += [entry["path"] for entry in answer.json]
            link = answer.headers.get("link", "")
            address = link.removeprefix("<").partition(">")[0]
            assert address.startswith(f"{hub.alice.endpoint}{API}/tree/") or not link
            assert link == "" or (path in address and link.endswith('rel="next"'))
            pages += 1
            assert hub.alice.commit(REPO, small(f"d 0/{pages}{path[1:3]}"), to="exp%2Fpaged").status == 200
        assert sorted(seen) == sorted(expected)
        assert pages == -(-len(expected) // 3)
    for n in range(4):
        hub.alice.commit(
            REPO, small("n", f"{n}".encode()), to="exp%2Fpaged", summary=f"title {n}", description=f"text {n}"
        )
    expected = git(hub, "log", "--format=%H", "exp/paged").split()
    address, ids = f"{API}/commits/exp%2Fpaged", []
    while address:
        answer = hub.alice.ask("GET", address)
        ids += [commit["id"] for commit in answer.json]
        address = answer.headers.get("link", "").removeprefix("<").partition(">")[0]
        hub.alice.commit(REPO, small("n", b"moved"), to="exp%2Fpaged")
    assert ids == expected
    newest = hub.alice.ask("GET", f"{API}/commits/exp%2Fpaged").json[1]
    assert (newest["title"], newest["message"], newest["authors"]) == ("title 3", "text 3", [{"user": "alice"}])


def test_parts_of_a_file(hub: Callers) -> None:
    path = f"/{REPO}/resolve/main/big.bin"
    size, etag = len(BIG), f'"{hashlib.sha256(BIG).hexdigest()}"'
    for header, expected in (
        ("bytes=0-3", BIG[:4]), ("bytes=5-90", BIG[5:91]), ("bytes=2000-", BIG[2000:]), ("bytes=-7", BIG[-7:]),
        ("bytes=0-99999999", BIG), ("bytes=-99999999", BIG), ("bytes=0-", BIG),
    ):  # fmt: skip
        answer = hub.alice.ask("GET", path, headers={"Range": header})
        first = BIG.index(expected)
        assert (answer.status, answer.body) == (206, expected), header
        assert answer.headers["content-range"] == f"bytes {first}-{first + len(expected) - 1}/{size}"
        head = hub.alice.ask("HEAD", path, headers={"Range": header})
        assert (head.status, head.body, head.headers["content-length"]) == (206, b"", str(len(expected)))
    for header in ("bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=9-5", "items=0-1", "bytes=0-1,3-4", "bytes=\xb2-\xb3",
                   "bytes=" + "9" * 5000 + "-", ""):  # fmt: skip
        answer = hub.alice.ask("GET", path, headers={"Range": header})
        assert (answer.status, answer.body) == (200, BIG), header
    for header in (f"bytes={size}-", "bytes=-0", "bytes=9999999-99999999"):
        answer = hub.alice.ask("GET", path, headers={"Range": header})
        assert (answer.status, answer.headers["content-range"]) == (416, f"bytes */{size}")
    same = hub.alice.ask("GET", path, headers={"Range": "bytes=5-", "If-Range": etag})
    changed = hub.alice.ask("GET", path, headers={"Range": "bytes=5-", "If-Range": '"other"'})
    assert (same.status, changed.status, changed.body) == (206, 200, BIG)


def test_head_is_get_without_a_body(hub: Callers) -> None:
    sha = git(hub, "rev-parse", "main")
    for path in (f"/{REPO}/resolve/main/big.bin", f"/{REPO}/resolve/main/d%200/f0.txt", f"/{REPO}/resolve/main/no", API,
                 f"{API}/tree/main", f"{API}/refs", f"{API}/commits/main", "/api/models", "/api/whoami-v2",
                 "/gpt2/resolve/main/x"):  # fmt: skip
        get, head = (hub.alice.ask(method, path, headers={"Accept-Encoding": "gzip"}) for method in ("GET", "HEAD"))
        assert head.body == b""
        assert {**head.headers, "date": ""} == {**get.headers, "date": ""}
        assert "content-encoding" not in get.headers
        assert head.headers["content-length"] == str(len(get.body))
    large_file, small_file = (
        hub.alice.ask("HEAD", f"/{REPO}/resolve/main/{n}").headers for n in ("big.bin", "d%200/f0.txt")
    )
    assert large_file["x-repo-commit"] == small_file["x-repo-commit"] == sha
    assert large_file["etag"] == large_file["x-linked-etag"] == f'"{hashlib.sha256(BIG).hexdigest()}"'
    assert large_file["x-linked-size"] == str(len(BIG))
    assert small_file["etag"] == f'"{git(hub, "rev-parse", "main:d 0/f0.txt")}"'


def test_branches_and_tags(hub: Callers) -> None:
    head = git(hub, "rev-parse", "main")

    def status(method: str, path: str, **body: str) -> int:
        return hub.alice.ask(method, f"{API}/{path}", body).status

    assert status("POST", "branch/a%2Fb") == 201
    assert status("POST", "branch/a%2Fb") == 409
    assert status("POST", "branch/a") == 409
    assert status("POST", "branch/a%2Fb%2Fc") == 409
    assert status("POST", "branch/b", startingPoint="nosuch") == 404
    assert status("POST", "branch/b", startingPoint=head) == 201
    assert status("DELETE", "branch/a%2Fb") == 200
    assert status("DELETE", "branch/a%2Fb") == 404
    assert status("DELETE", "branch/a") == 404
    assert status("POST", "branch/a") == 201  # the folder is gone
    assert status("DELETE", "branch/main") == 403
    assert status("DELETE", "branch/..%2F..%2FHEAD") == 400
    assert status("POST", "branch/x..y") == 400
    assert status("POST", "tag/main", tag="v1", message="a message\0") == 201
    assert status("POST", "tag/main", tag="v1") == 409
    assert status("POST", "tag/main", tag="v1/x") == 409
    assert status("POST", "tag/a", tag="light") == 201
    refs = hub.alice.ask("GET", f"{API}/refs").json
    assert {(tag["name"], tag["targetCommit"]) for tag in refs["tags"]} == {("v1", head), ("light", head)}
    assert git(hub, "cat-file", "-t", "v1") == "tag"
    assert hub.alice.ask("GET", f"{API}/revision/v1").json["sha"] == head
    assert status("DELETE", "tag/v1") == 200
    assert status("DELETE", "tag/v1") == 404
    assert git(hub, "tag") == "light"
    assert git(hub, "fsck", "--strict", "--no-dangling") == ""


def test_pull_requests(hub: Callers) -> None:
    head = git(hub, "rev-parse", "main")
    lines = (
        b'{"key":"header","value":{"summary":"x"}}\n'
        + json.dumps({"key": "file", "value": {"path": "pr", "content": "eA=="}}).encode()
    )
    urls = [hub.alice.ask("POST", f"{API}/commit/main?create_pr=1", lines).json["pullRequestUrl"] for _ in range(2)]
    assert [url.rsplit("/", 1)[1] for url in urls] == ["1", "2"]
    assert git(hub, "rev-parse", "main") == head
    assert hub.alice.ask("GET", f"/{REPO}/resolve/refs%2Fpr%2F1/pr").body == b"x"
    assert hub.alice.commit(REPO, small("pr", b"y"), to="refs%2Fpr%2F2").status == 200
    assert hub.alice.commit(REPO, small("pr", b"y"), to="refs%2Fpr%2F9").status == 404
    assert hub.alice.ask("POST", f"{API}/discussions/2/merge", {}).status == 200
    assert hub.alice.ask("GET", f"/{REPO}/resolve/main/pr").body == b"y"
    assert hub.alice.ask("POST", f"{API}/discussions/1/merge", {}).status == 409
    assert hub.alice.ask("POST", f"{API}/discussions/x/merge", {}).status == 400
    assert hub.alice.ask("POST", f"{API}/discussions/7/merge", {}).status == 404


def test_last_commits_agree_with_git(hub: Callers) -> None:
    for n in range(3):
        hub.alice.commit(REPO, small(f"d 1/f{2 * n + 1}.txt", b"new"), summary=f"change {n}")
    shown = hub.alice.ask("GET", f"{API}/tree/main?recursive=true&expand=true").json
    assert len(shown) > 8
    for entry in shown:
        assert entry["lastCommit"]["id"] == git(hub, "log", "-1", "--format=%H", "main", "--", entry["path"])
    form = b"paths=d+1%2Ff1.txt&paths=nosuch&paths=d+1&expand=true"
    asked = hub.alice.ask("POST", f"{API}/paths-info/main", form).json
    assert {entry["path"]: entry["type"] for entry in asked} == {"d 1/f1.txt": "file", "d 1": "directory"}


def test_git_sees_the_same(hub: Callers, tmp_path: Path) -> None:
    """A clone shows the history, a packed repo is served as before, and another program's lock is respected."""
    tree = hub.alice.ask("GET", f"{API}/tree/main?recursive=true").json
    subprocess.run(["git", "clone", "-q", hub.root / "repos/models" / REPO, tmp_path / "c"], check=True)
    assert subprocess.check_output(["git", "-C", tmp_path / "c", "log", "--format=%H"], text=True).split() == [
        commit["id"] for commit in hub.alice.ask("GET", f"{API}/commits/main").json
    ]
    pointer = (tmp_path / "c/big.bin").read_text()
    assert hashlib.sha256(BIG).hexdigest() in pointer
    git(hub, "gc", "-q", "--prune=now")
    assert hub.alice.ask("GET", f"{API}/tree/main?recursive=true").json == tree
    assert hub.alice.ask("POST", f"{API}/branch/after-gc", {}).status == 201
    assert hub.alice.commit(REPO, small("after gc")).status == 200
    assert hub.alice.ask("DELETE", f"{API}/branch/after-gc").status == 200
    lock = hub.root / "repos/models" / REPO / "refs/heads/main.lock"
    lock.touch()
    assert hub.alice.commit(REPO, small("locked")).status == 503
    lock.unlink()
    assert hub.alice.commit(REPO, small("unlocked")).status == 200
    assert git(hub, "fsck", "--strict", "--no-dangling") == ""


def test_deleted_and_moved_while_in_use(hub: Callers) -> None:
    """Nothing comes back at the old address: not by an upload that was under way, nor by a commit that waited."""
    hub.alice.create("alice/old")
    content = b"late" * 500
    oid = hashlib.sha256(content).hexdigest()
    batch = hub.alice.ask("POST", "/alice/old.git/info/lfs/objects/batch", batch_of(oid, len(content)))
    href = batch.json["objects"][0]["actions"]["upload"]["href"]
    assert hub.alice.ask("POST", "/api/repos/move", {"fromRepo": "alice/old", "toRepo": "alice/new"}).status == 200
    assert hub.anonymous.ask("PUT", href, content).status == 401
    assert hub.alice.commit("alice/old", small("x")).status == 404
    assert not (hub.root / "repos/models/alice/old").exists()
    assert hub.alice.commit("alice/new", small("x")).status == 200
    hub.alice.create("alice/old")
    assert hub.alice.ask("POST", "/api/repos/move", {"fromRepo": "alice/old", "toRepo": "alice/new"}).status == 409
    assert hub.alice.ask("DELETE", "/api/repos/delete", {"name": "alice/old"}).status == 200
    assert hub.alice.ask("DELETE", "/api/repos/delete", {"name": "alice/old"}).status == 404

"""Whatever is sent, the answer is a refusal in words, never a failure of the server (the fixture looks at its log)."""

import hashlib
import logging
import socket
import subprocess
import time
import urllib.parse
from typing import Any

import pytest
from hub_callers import Callers, batch_of, large, small

from hf_listops.hub.server import app, repos
from hf_listops.hub.server.errors import HubError
from hf_listops.hub.server.grammar import checked_path, checked_ref, is_name

API, REPO = "/api/models/alice/r", "alice/r"


@pytest.fixture(scope="module", autouse=True)
def repo(hub: Callers) -> None:
    hub.alice.create(REPO)
    hub.alice.create("alice/taken")


ODD: list[Any] = [
    None,
    1,
    True,
    1e400,
    float("nan"),
    "",
    "x",
    "\ud800",
    "\0",
    [],
    [1],
    [None],
    [[]],
    {},
    {"a": 1},
    "a" * 5000,
]


def test_fields_of_any_type(hub: Callers) -> None:
    paths = {
        ("POST", "/api/repos/create"): ("name", "organization", "type", "visibility", "private", "sdk"),
        ("DELETE", "/api/repos/delete"): ("name", "organization", "type"),
        ("POST", "/api/repos/move"): ("fromRepo", "toRepo", "type"),
        ("POST", "/api/validate-yaml"): ("content", "repoType"),
        ("PUT", f"{API}/settings"): ("visibility", "private"),
        ("POST", f"{API}/branch/b"): ("startingPoint",),
        ("POST", f"{API}/tag/main"): ("tag", "message"),
        ("POST", f"{API}/super-squash/main"): ("message",),
        ("POST", f"{API}/preupload/main"): ("files", "gitIgnore"),
        ("POST", f"/{REPO}.git/info/lfs/objects/batch"): ("operation", "objects"),
        ("POST", f"/{REPO}.git/info/lfs/verify"): ("oid", "size"),
        ("POST", "/api/collections"): ("title", "namespace", "private", "description"),
        ("POST", "/api/collections/alice/x-000000000000000000000000/items"): ("item", "note"),
    }
    good = {"name": "alice/odd", "fromRepo": REPO, "toRepo": "alice/taken", "title": "t", "namespace": "alice"}
    good |= {"tag": "v1", "operation": "upload", "files": [], "objects": [], "item": {"type": "model", "id": REPO}}
    refused = 0
    for (method, path), fields in paths.items():
        for field in fields:
            for value in ODD:
                answer = hub.alice.ask(method, path, {**good, field: value})
                assert answer.status in (200, 201, 400, 403, 404, 409, 412), (path, field, value, answer.body)
                refused += answer.status == 400
                if answer.status >= 400:
                    assert isinstance(answer.json["error"], str)
    assert refused > 200
    for size in (*ODD, -1, 1.5, 2**70):
        files = {"files": [{"path": "a", "size": size}]}
        objects = {"operation": "upload", "objects": [{"oid": "0" * 64, "size": size}]}
        expected = 200 if size == 1 and size is not True else 400
        assert hub.alice.ask("POST", f"{API}/preupload/main", files).status == expected
        assert hub.alice.ask("POST", f"/{REPO}.git/info/lfs/objects/batch", objects).status == expected


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"{", b"\xff\xfe\x00", b"[" * 200_000, b'{"a":' * 200_000, b"9" * 5000, b'{"name": NaN}'],
    ids=["empty", "list", "null", "torn", "binary", "deep list", "deep object", "long number", "nan"],
)
def test_bodies_that_are_no_object(hub: Callers, body: bytes) -> None:
    for method, path in (("POST", "/api/repos/create"), ("POST", f"{API}/preupload/main"), ("POST", f"{API}/commit/main"),
                         ("POST", "/api/validate-yaml"), ("PUT", f"{API}/settings")):  # fmt: skip
        assert hub.alice.ask(method, path, body).status == (200 if b"NaN" in body and "settings" in path else 400)
    assert hub.alice.ask("POST", f"{API}/paths-info/main", b"paths=\xff").status == 400


def test_lines_of_a_commit(hub: Callers) -> None:
    head = hub.alice.ask("GET", API).json["sha"]
    for line in (("nosuch", {"path": "a"}), ("file", {}), ("file", {"path": 1, "content": ""}),
                 ("file", {"path": "a", "content": "!"}), ("file", {"path": "a", "content": "é"}),
                 ("file", {"path": "a", "content": "", "encoding": "utf-8"}),
                 ("file", {"path": "a\ud800", "content": ""}),
                 ("lfsFile", {"path": "a", "oid": "0" * 64}), ("lfsFile", {"path": "a", "oid": "x"}),
                 ("lfsFile", {"path": "a", "oid": "0" * 64, "algo": "md5"}), ("file", 5), (5, {}),
                 ("file", None)):  # fmt: skip
        assert hub.alice.commit(REPO, small("fine"), line).status == 400, line  # type: ignore[arg-type]
    assert hub.alice.commit(REPO, summary=3).status == 400
    assert hub.alice.commit(REPO, parentCommit="0" * 40).status == 412
    assert hub.alice.commit(REPO, ("deletedFile", {"path": "none"})).status == 404
    assert hub.alice.ask("POST", f"{API}/commit/main", b'{"key":"file","value":{"path":"a"}}\n').status == 400
    assert hub.alice.ask("GET", API).json["sha"] == head
    assert hub.alice.commit(REPO, small("gone"), ("deletedFile", {"path": "gone"})).json["commitOid"] == head
    twice = hub.alice.commit(REPO, small("t", b"1"), small("t", b"2"), summary="a\r\nX-Evil: 1\0", description="d\0")
    assert twice.status == 200
    assert hub.alice.ask("GET", f"/{REPO}/resolve/main/t").body == b"2"
    title = hub.alice.ask("GET", f"{API}/commits/main").json[0]["title"]
    assert title == "a X-Evil: 1 "
    checked = subprocess.run(
        ["git", "-C", hub.root / "repos/models" / REPO, "fsck", "--strict", "--no-dangling"], capture_output=True
    )
    assert (checked.returncode, checked.stdout) == (0, b"")


BAD_PATHS = ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a/.", "a\\b", "a\0b", "a\nb", "a\x7fb", ".git",
             ".git/config",
             "a/.GIT/x", ".git ", ".git.", "git~1", ".g\u200cit", ".git::$DATA", ".gitmodules", "a/.GitModules", "GITMOD~1",
             ".GITATTRIBUTES", "a" * 256, "é" * 128, "a/" * 600 + "b"]  # fmt: skip


def test_paths(hub: Callers) -> None:
    head = hub.alice.ask("GET", API).json["sha"]
    for path in BAD_PATHS:
        assert hub.alice.commit(REPO, small(path)).status == 400, path
        assert hub.alice.ask("POST", f"{API}/preupload/main", {"files": [{"path": path, "size": 1}]}).status == 400
        encoded = urllib.parse.quote(path, safe="")
        assert hub.alice.ask("GET", f"/{REPO}/resolve/main/{encoded}").status == 404, path
    assert hub.alice.ask("GET", API).json["sha"] == head
    good = ["a b/ü/日本.txt", "...a", ".gitignore", "git~10", "a:b", "-x", "%2e%2e", "x" * 255, "🙂"]
    assert hub.alice.commit(REPO, *(small(path, path.encode()) for path in good)).status == 200
    for path in good:
        answer = hub.alice.ask("GET", f"/{REPO}/resolve/main/{urllib.parse.quote(path)}")
        assert answer.body == path.encode()
        assert urllib.parse.unquote(answer.headers["content-disposition"]).endswith(path.split("/")[-1])
    assert hub.alice.commit(REPO, small("a b", b"now a file")).status == 400  # and a folder
    assert hub.alice.commit(REPO, ("deletedFolder", {"path": "a b/"}), small("a b", b"now a file")).status == 200


def test_addresses(hub: Callers) -> None:
    for path in ("/%2e%2e/%2e%2e/etc/passwd", "//", "/alice/r/resolve/main/..%2f..%2fHEAD", "/alice%2Fr/x/resolve/main/t",
                 "/alice/r/resolve/..%2f..%2fHEAD/t", "/alice/r/resolve/%00/t", "/alice/..%2f..%2fcollections/resolve/main/t",
                 f"{API}/tree/main/..", f"{API}/tree/main/%00", f"{API}/revision/refs%2Fheads%2F..%2F..%2FHEAD",
                 "/api/models/..%2f..%2f/x", "/api/models/gpt2", "/api/datasets/gpt2", "/gpt2/resolve/main/config.json",
                 "/alice/r/resolve/" + "x" * 5000 + "/t", "/alice/" + "r" * 5000 + "/resolve/main/t", "/api/none",
                 f"{API}/nosuch", f"{API}/commits/HEAD%0d%0aX:1"):  # fmt: skip
        for caller in (hub.alice, hub.anonymous):
            assert caller.ask("GET", path).status in (401, 404), path
            assert caller.ask("HEAD", path).status in (401, 404), path
    for path in ("/alice/r/resolve/main/%ff", "/alice/r/resolve/%ff/t", "/alice/r/resolve/main/%ed%a0%80"):
        assert hub.alice.ask("GET", path).status == 400, path
    for query in ("?cursor=x", "?limit=-1", "?cursor=" + "9" * 50, "?cursor=%C2%B2"):
        assert hub.alice.ask("GET", f"{API}/tree/main{query}").status == 400
    assert hub.alice.ask("GET", f"{API}/tree/main?cursor=999&limit=0").json == []
    place = urllib.parse.urlsplit(hub.alice.endpoint)
    with socket.create_connection((place.hostname, place.port)) as raw:
        raw.sendall(b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 400")


def test_errors_say_which_is_missing(hub: Callers) -> None:
    head = hub.alice.ask("GET", API).json["sha"]
    entry = hub.alice.ask("HEAD", f"/{REPO}/resolve/main/nosuch")
    assert (entry.status, entry.headers["x-error-code"], entry.headers["x-repo-commit"]) == (
        404,
        "EntryNotFound",
        head,
    )
    folder = hub.alice.ask("GET", f"{API}/tree/main/nosuch")
    assert (folder.headers["x-error-code"], folder.headers["x-repo-commit"]) == ("EntryNotFound", head)
    for path in (
        f"/{REPO}/resolve/nosuch/t",
        f"{API}/tree/nosuch",
        f"{API}/commits/nosuch",
        f"{API}/revision/{'0' * 40}",
    ):
        assert hub.alice.ask("GET", path).headers["x-error-code"] == "RevisionNotFound"
    assert hub.alice.commit(REPO, small("a"), to="nosuch").headers["x-error-code"] == "RevisionNotFound"
    assert hub.alice.commit(REPO, small("a"), to=head).headers["x-error-code"] == "RevisionNotFound"
    exists = hub.alice.ask("POST", "/api/repos/create", {"name": REPO})
    assert (exists.status, exists.json["url"]) == (409, f"{hub.alice.endpoint}/{REPO}")
    xet = hub.alice.ask("GET", f"{API}/xet-write-token/main")
    assert "HF_HUB_DISABLE_XET=1" in xet.headers["x-error-message"]


def test_a_type_is_no_way_out_of_the_root(hub: Callers) -> None:
    """`type` names a folder: of another one nothing can be moved or deleted, even if it looks like a repo."""
    outside = hub.root / "others" / "alice" / "x"
    outside.mkdir(parents=True)
    (outside / "hub.json").write_text('{"visibility": "public", "createdAt": ""}')
    for method, path in (("POST", "/api/repos/move"), ("DELETE", "/api/repos/delete"), ("POST", "/api/repos/create")):
        body = {"fromRepo": "alice/x", "toRepo": "alice/y", "name": "alice/x", "type": "../other"}
        assert hub.alice.ask(method, path, body).status == 400
    assert (outside / "hub.json").is_file()


def test_too_much(hub: Callers, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub.alice.ask("POST", "/api/repos/create", b" " * ((16 << 20) + 1)).status == 413
    assert not list((hub.root / "tmp").iterdir())
    oid = hashlib.sha256(b"").hexdigest()
    assert hub.alice.ask("POST", f"/{REPO}.git/info/lfs/objects/batch", batch_of(oid, (5 << 30) + 1)).status == 400
    assert hub.alice.put(REPO, b"") == oid  # and nothing at all is a file too
    assert hub.alice.commit(REPO, large("empty.bin", oid), small("empty", b"")).status == 200
    for name in ("empty", "empty.bin"):
        assert hub.alice.ask("GET", f"/{REPO}/resolve/main/{name}").body == b""
        assert hub.alice.ask("HEAD", f"/{REPO}/resolve/main/{name}").headers["content-length"] == "0"
        assert hub.alice.ask("GET", f"/{REPO}/resolve/main/{name}", headers={"Range": "bytes=0-"}).status == 416


def test_an_upload_cut_off_leaves_nothing(hub: Callers) -> None:
    content = b"0123456789" * 1000
    oid = hashlib.sha256(content).hexdigest()
    batch = hub.alice.ask("POST", f"/{REPO}.git/info/lfs/objects/batch", batch_of(oid, len(content)))
    href = batch.json["objects"][0]["actions"]["upload"]["href"].removeprefix(hub.alice.endpoint)
    place = urllib.parse.urlsplit(hub.alice.endpoint)
    for method, path, token in (
        ("PUT", href, ""),
        ("POST", f"{API}/commit/main", "Authorization: Bearer alice-token\r\n"),
    ):
        with socket.create_connection((place.hostname, place.port)) as raw:
            head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{token}Content-Length: {len(content)}\r\n\r\n"
            raw.sendall(head.encode() + content[:5000])
            raw.shutdown(socket.SHUT_WR)
            raw.recv(1000)
    deadline = time.monotonic() + 30
    while left := [*hub.root.glob("repos/*/*/*/lfs/objects/incoming/*"), *(hub.root / "tmp").iterdir()]:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)
    verify = hub.alice.ask("POST", f"/{REPO}.git/info/lfs/verify", {"oid": oid, "size": len(content)})
    assert verify.status == 404


def test_a_failure_of_the_server_is_logged_once_and_told_without_details(
    hub: Callers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("internal secret")

    monkeypatch.setattr(repos, "errors_of", broken)
    answer = hub.alice.ask("POST", "/api/validate-yaml", {"content": ""})
    assert answer.status == 500
    assert set(answer.json) == {"error"}
    assert b"secret" not in answer.body
    assert b"Traceback" not in answer.body
    (record,) = hub.failures
    hub.failures.clear()
    assert record.exc_info is not None
    assert "internal secret" in logging.Formatter().format(record)
    assert app.__name__ == record.name


def test_names() -> None:
    for name in ("a", "A-b_c.d", "x" * 96, "_x", "revision", "resolve", "tree"):
        assert is_name(name)
    for name in ("", ".", "..", "-a", "a-", ".a", "a..b", "a--b", "a.git", "a.lock", "a/b", "a b", "é", "x" * 97, "a\n",
                 "api", "models", "datasets", "spaces", "a\0"):  # fmt: skip
        assert not is_name(name)
    for ref in ("v1", "exp/seed-1", "ü", "a" * 200, "1.0"):
        assert checked_ref("heads", ref) == f"refs/heads/{ref}".encode()
    for ref in ("", "a..b", "a/", "/a", "a//b", "a b", "a~1", "a^", "a:b", "a?", "*", "[", "a.lock", "@{", ".a", "a/.b",
                "a\\b",
                "-a", "0" * 40, "refs/heads/x", "a" * 201, "a\x7f", "a.", "x\0"):  # fmt: skip
        with pytest.raises(HubError) as caught:
            checked_ref("heads", ref)
        assert caught.value.status == 400
    assert checked_path("a/b.txt") == "a/b.txt"


def test_repos_named_like_a_route(hub: Callers) -> None:
    for name in ("alice/resolve", "alice/revision", "alice/tree", "alice/collections"):
        hub.alice.create(name)
        assert hub.alice.commit(name, small("resolve/main/x", b"in")).status == 200
        assert hub.anonymous.ask("GET", f"/{name}/resolve/main/resolve/main/x").body == b"in"
        assert hub.anonymous.ask("GET", f"/api/models/{name}").json["id"] == name
    for name in ("alice/a/b", "a", "../x", "api/x", "alice/x.git", "alice/", "/x"):
        status = hub.alice.ask("POST", "/api/repos/create", {"name": name}).status
        assert status in ((200,) if name == "a" else (400, 403)), name


def test_cards(hub: Callers) -> None:
    def readme(text: str) -> Any:
        assert hub.alice.commit(REPO, small("README.md", text.encode())).status == 200
        return hub.alice.ask("GET", API).json["cardData"]

    def check(text: str) -> int:
        return hub.anonymous.ask("POST", "/api/validate-yaml", {"content": text}).status

    assert readme("---\ndate: 2026-01-02\nn: .nan\ni: -.inf\nb: !!binary aGk=\ntags: [a]\n---\nx") == {
        "date": "2026-01-02", "n": "nan", "i": "-inf", "b": "b'hi'", "tags": ["a"],
    }  # fmt: skip
    assert readme("---\n---\nx") == {}
    assert readme("---\ntitle: a---\n---\n") == {"title": "a---"}
    assert readme("no head") == {}
    laughs = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10) if n else 'x'}]\n" for n in range(30))
    merged = "".join(f"a{n}: &a{n} {{{', '.join([f'<<: *a{n - 1}'] * 10) if n else 'x: 1'}}}\n" for n in range(30))
    for hostile in (laughs, merged, "[" * 600, "a: &a [*a]", "? [a]\n: b", "x: !!python/object/apply:os.system [ls]",
                    "d: 2026-99-99", "\0", "a: " + "9" * 5000):  # fmt: skip
        text = f"---\n{hostile}\n---\n"
        assert readme(text) == {}, hostile[:50]
        assert check(text) in (200, 400)
    assert readme("---\na: &x [1]\nb: *x\n---\n") == {"a": [1], "b": [1]}
    assert check("---\ntags: a\n---\n") == 400
    assert check("---\ntags: [a]\nlicense: mit\n---\n") == 200
    assert check("---\n" + "a: b\n" * 300_000 + "---\n") == 400


def test_gitattributes_of_a_user(hub: Callers) -> None:
    hub.alice.create("alice/attributes")

    def modes(*names: str) -> list[str]:
        files = [{"path": name, "size": 10} for name in names]
        answer = hub.alice.ask("POST", "/api/models/alice/attributes/preupload/main", {"files": files})
        return [file["uploadMode"] for file in answer.json["files"]]

    assert modes("a.bin", "a.txt", "data/x.parquet", ".gitattributes") == ["lfs", "regular", "lfs", "regular"]
    own = b"*.txt filter=lfs\n[ broken\n\xff\xfe\0\n"
    assert hub.alice.commit("alice/attributes", small(".gitattributes", own)).status == 200
    assert modes("a.bin", "a.txt", "a.md") == ["lfs", "lfs", "regular"]
    oid = hub.alice.put("alice/attributes", b"large")
    assert hub.alice.commit("alice/attributes", large("a b[1].md", oid), large("c.txt", oid)).status == 200
    lines = hub.alice.ask("GET", "/alice/attributes/resolve/main/.gitattributes").body
    assert lines.startswith(own)
    assert lines[len(own) :].splitlines() == [b"/a?b?1?.md filter=lfs diff=lfs merge=lfs -text"]
    assert modes("a b[1].md", "other.md") == ["lfs", "regular"]
    assert hub.alice.ask("GET", "/alice/attributes/resolve/main/a%20b[1].md").headers["x-linked-size"] == "5"
    assert hub.alice.commit("alice/attributes", small("a b[1].md", b"small again")).status == 200
    answer = hub.alice.ask("GET", "/alice/attributes/resolve/main/a%20b[1].md")
    assert (answer.body, "x-linked-size" in answer.headers) == (b"small again", False)
    assert hub.alice.commit("alice/attributes", small(".gitattributes", b"x" * 2048)).status == 400
    assert hub.alice.commit("alice/attributes", large(".gitattributes", oid)).status == 400
    assert hub.alice.commit("alice/attributes", small("d/.gitattributes", b"x" * 2048)).status == 400
    many = [large("# !" + " é*" * 60 + str(n), oid) for n in range(3)]
    assert hub.alice.commit("alice/attributes", *many).status == 200
    folder = hub.root / "repos/models/alice/attributes"
    checked = subprocess.run(["git", "-C", folder, "fsck", "--strict", "--no-dangling"], capture_output=True)
    assert (checked.returncode, checked.stderr) == (0, b"")
    ignored = {"gitIgnore": "logs/\n[\n*.tmp", "files": [{"path": p, "size": 1} for p in ("logs/a", "b.tmp", "c")]}
    answer = hub.alice.ask("POST", "/api/models/alice/attributes/preupload/main", ignored)
    assert [file["shouldIgnore"] for file in answer.json["files"]] == [True, True, False]

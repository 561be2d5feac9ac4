"""Private means invisible, reading is not writing, and nothing leaks by a hash."""

import hashlib
import time
from typing import Any

import pytest
from hub_callers import Answer, Callers, batch_of, large, small

SECRET = b"the secret weights" * 10
OID = hashlib.sha256(SECRET).hexdigest()


@pytest.fixture(scope="module", autouse=True)
def repos(hub: Callers) -> None:
    hub.alice.create("alice/secret", visibility="private")
    hub.alice.create("alice/open")
    hub.carol.create("carol/own")
    assert hub.alice.put("alice/secret", SECRET) == OID
    assert hub.alice.commit("alice/secret", large("w.bin", OID), small("README.md", b"hidden")).status == 200


def requests_on(repo: str) -> list[tuple[str, str, Any]]:
    """Every address that names a repo."""
    api = f"/api/models/{repo}"
    return [
        *(
            (method, path, None)
            for method in ("GET", "HEAD")
            for path in (
                api, f"{api}/revision/main", f"{api}/revision/nosuch", f"{api}/refs", f"{api}/commits/main",
                f"{api}/tree/main", f"{api}/tree/main/x", f"{api}/auth-check", f"{api}/auth-check/write",
                f"{api}/xet-write-token/main", f"/{repo}/resolve/main/w.bin", f"/{repo}/resolve/main/nosuch",
                f"/{repo}/resolve/nosuch/w.bin",
            )
        ),
        ("POST", f"{api}/paths-info/main", b"paths=w.bin"),
        ("PUT", f"{api}/settings", {"visibility": "public"}),
        ("POST", f"{api}/branch/b", {}),
        ("DELETE", f"{api}/branch/main", None),
        ("POST", f"{api}/tag/main", {"tag": "t"}),
        ("DELETE", f"{api}/tag/t", None),
        ("POST", f"{api}/super-squash/main", {}),
        ("POST", f"{api}/discussions/1/merge", {}),
        ("POST", f"{api}/preupload/main", {"files": [{"path": "w.bin", "size": 3}]}),
        ("POST", f"{api}/commit/main", b'{"key":"header","value":{"summary":"x"}}\n'),
        ("POST", f"{api}/commit/main?create_pr=1", b'{"key":"header","value":{"summary":"x"}}\n'),
        ("POST", f"/{repo}.git/info/lfs/objects/batch", batch_of(OID, len(SECRET))),
        ("POST", f"/{repo}.git/info/lfs/verify", {"oid": OID, "size": len(SECRET)}),
        ("PUT", f"/{repo}.git/info/lfs/objects/{OID}?size=1&expires=9999999999&signature=0", b"x"),
        ("DELETE", "/api/repos/delete", {"name": repo}),
        ("POST", "/api/repos/move", {"fromRepo": repo, "toRepo": "carol/new"}),
        ("POST", "/api/collections/carol/none-000000000000000000000000/items", {"item": {"type": "model", "id": repo}}),
    ]  # fmt: skip


def seen(answer: Answer, repo: str) -> tuple[int, dict[str, str], bytes]:
    headers = {name: value.replace(repo, "REPO") for name, value in answer.headers.items() if name != "date"}
    return answer.status, headers, answer.body.replace(repo.encode(), b"REPO")


@pytest.mark.parametrize("who", ["anonymous", "carol"])
def test_a_private_repo_is_answered_as_a_missing_one(hub: Callers, who: str) -> None:
    caller = getattr(hub, who)
    asked = zip(requests_on("alice/secret"), requests_on("alice/nosuch"), requests_on("alice/open"), strict=True)
    told_apart = 0
    for private, missing, public in asked:
        answer = caller.ask(*private)
        assert seen(answer, "alice/secret") == seen(caller.ask(*missing), "alice/nosuch"), private
        assert 400 <= answer.status < 500
        if private[0] not in ("PUT", "DELETE") and "super-squash" not in private[1]:
            told_apart += seen(caller.ask(*public), "alice/open") != seen(answer, "alice/secret")
    assert told_apart >= 20  # so the comparison would show a difference
    assert hub.alice.ask("GET", "/api/models/alice/secret").json["private"] is True


def test_nothing_that_lists_shows_a_private_repo(hub: Callers) -> None:
    for caller, sees in ((hub.anonymous, False), (hub.carol, False), (hub.bob, True), (hub.alice, True)):
        for query in ("", "?author=alice", "?search=secret", "?limit=1000"):
            assert (b"secret" in caller.ask("GET", f"/api/models{query}").body) is sees


def test_a_reader_reads_and_does_not_write(hub: Callers) -> None:
    before = hub.alice.ask("GET", "/api/models/alice/secret/refs").json
    for method, path, body in requests_on("alice/secret"):
        answer = hub.bob.ask(method, path, body)
        if method in ("GET", "HEAD") and not any(x in path for x in ("nosuch", "/x", "write")):
            assert answer.status == 200, path
        elif "paths-info" in path:
            assert answer.status == 200
        elif "collections" not in path and "/objects/" + OID not in path and method not in ("GET", "HEAD"):
            assert answer.status == 403, path
    assert hub.alice.ask("GET", "/api/models/alice/secret/refs").json == before
    assert hub.bob.ask("GET", "/alice/secret/resolve/main/w.bin").body == SECRET
    assert hub.bob.ask("GET", "/api/models/alice/secret/auth-check/write").status == 403
    assert hub.bob.ask("POST", "/api/repos/create", {"name": "alice/more"}).status == 403
    orgs = hub.bob.ask("GET", "/api/whoami-v2").json["orgs"]
    assert [(org["name"], org["roleInOrg"]) for org in orgs] == [("alice", "read")]


def test_a_hash_gives_no_access(hub: Callers) -> None:
    """Neither as a large file nor as the text of a pointer to it, nor is it said to be there already."""
    batch = hub.carol.ask("POST", "/carol/own.git/info/lfs/objects/batch", batch_of(OID, len(SECRET)))
    assert "actions" in batch.json["objects"][0]
    assert hub.carol.commit("carol/own", large("w.bin", OID)).status == 400
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{OID}\nsize {len(SECRET)}\n".encode()
    assert hub.carol.commit("carol/own", small("w.bin", pointer)).status == 200
    assert hub.carol.ask("GET", "/carol/own/resolve/main/w.bin").body == pointer
    assert "lfs" not in hub.carol.ask("GET", "/api/models/carol/own/tree/main").json[1]


def test_a_move_tells_nothing_of_a_foreign_namespace(hub: Callers) -> None:
    for target in ("alice/secret", "alice/nosuch"):
        answer = hub.carol.ask("POST", "/api/repos/move", {"fromRepo": "carol/own", "toRepo": target})
        assert answer.status == 403
        assert target not in answer.body.decode()


def test_collections_hide_what_became_private(hub: Callers) -> None:
    made = hub.bob.ask("POST", "/api/collections", {"title": "Mine", "namespace": "bob"}).json
    items = f"/api/collections/{made['slug']}/items"
    hub.alice.create("alice/later")
    for repo in ("alice/later", "alice/open"):
        assert hub.bob.ask("POST", items, {"item": {"type": "model", "id": repo}}).status == 200
    hub.alice.ask("PUT", "/api/models/alice/later/settings", {"visibility": "private"})
    for caller, sees in ((hub.anonymous, False), (hub.carol, False), (hub.bob, True), (hub.alice, True)):
        for path in (f"/api/collections/{made['slug']}", "/api/collections"):
            body = caller.ask("GET", path).body
            assert (b"alice/later" in body) is sees
            assert b"alice/open" in body
    private = hub.bob.ask("POST", "/api/collections", {"title": "Hid", "namespace": "bob", "private": True}).json
    for caller in (hub.anonymous, hub.carol):
        assert caller.ask("GET", f"/api/collections/{private['slug']}").status == 404
        assert caller.ask("PATCH", f"/api/collections/{private['slug']}", {"title": "x"}).status == 404
        assert b"Hid" not in caller.ask("GET", "/api/collections").body
    assert hub.carol.ask("PATCH", f"/api/collections/{made['slug']}", {"title": "x"}).status == 403


def test_wrong_tokens(hub: Callers) -> None:
    for header in ("Bearer wrong", "Bearer ", "Basic YWxpY2U6YWxpY2UtdG9rZW4=", "alice-token", "Bearer \xe9"):
        answer = hub.anonymous.ask("GET", "/api/models/alice/open", headers={"Authorization": header})
        assert answer.status == 401
        assert answer.headers["x-error-message"] == "Invalid credentials in Authorization header"


def test_upload_addresses(hub: Callers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Good for one blob in one repo for an hour, as often as the client must try."""
    content = b"a large file" * 100
    oid = hashlib.sha256(content).hexdigest()

    def href() -> str:
        batch = hub.alice.ask("POST", "/alice/open.git/info/lfs/objects/batch", batch_of(oid, len(content)))
        return str(batch.json["objects"][0]["actions"]["upload"]["href"]).removeprefix(hub.alice.endpoint)

    def put(address: str, body: bytes = content) -> int:
        return hub.anonymous.ask("PUT", address, body).status

    good = href()
    other = hashlib.sha256(b"other").hexdigest()
    assert put(good.replace(oid, other), b"other") == 403
    assert put(good.replace("alice/open", "alice/secret")) == 403
    assert put(good.replace(f"size={len(content)}", "size=99999")) == 403
    assert put(good.replace("expires=", "expires=9")) == 403
    assert put(good.partition("?")[0]) == 403
    assert put(good, content[:-1]) == 400
    assert put(good, content[:-1] + b"X") == 400
    assert put(good, content + b"X") == 413
    with monkeypatch.context() as patch:
        now = time.time()
        patch.setattr("hf_listops.hub.server.access.time.time", lambda: now + 3601)
        assert put(good) == 403
    assert not list(hub.root.glob("repos/models/alice/open/lfs/objects/??"))
    assert put(good) == 200
    assert put(good) == 200
    assert not list(hub.root.glob("repos/models/*/*/lfs/objects/incoming/*"))
    assert hub.alice.ask("POST", "/alice/open.git/info/lfs/verify", {"oid": oid, "size": len(content)}).status == 200
    hub.alice.create("alice/gone")
    batch = hub.alice.ask("POST", "/alice/gone.git/info/lfs/objects/batch", batch_of(oid, len(content)))
    late = batch.json["objects"][0]["actions"]["upload"]["href"]
    assert hub.alice.ask("DELETE", "/api/repos/delete", {"name": "alice/gone"}).status == 200
    assert put(late) == 401
    assert not (hub.root / "repos/models/alice/gone").exists()
    hub.alice.create("alice/gone")


def test_only_names_of_this_machine_are_served(hub: Callers) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "evil.example:80", "127.0.0.1@evil.example", "", "a b",
                 "127.0.0.1/x", "localhost.", "[::1", "user@127.0.0.1"):  # fmt: skip
        assert hub.alice.ask("GET", "/api/models", headers={"Host": host}).status in (400, 421), host
    for host in ("localhost", "LOCALHOST:80", "127.0.0.1:1", "[::1]:80", "10.0.0.7"):
        assert hub.alice.ask("GET", "/api/models", headers={"Host": host}).status == 200, host
    forwarded = {"X-Forwarded-Proto": "javascript", "X-Forwarded-For": "1.2.3.4"}
    batch = hub.alice.ask("POST", "/alice/open.git/info/lfs/objects/batch", batch_of("0" * 64, 5), forwarded)
    assert batch.json["objects"][0]["actions"]["upload"]["href"].startswith("http://127.0.0.1:")


def test_nothing_is_shown_inline(hub: Callers) -> None:
    page = b"<script>alert(1)</script>"
    hub.alice.commit("alice/open", small("x.html", page), small('a"b\r.html'.replace("\r", ""), page))
    for name in ("x.html", "a%22b.html"):
        answer = hub.anonymous.ask(
            "GET", f"/alice/open/resolve/main/{name}", headers={"Origin": "http://evil.example"}
        )
        assert answer.body == page
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"].startswith("attachment;")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in answer.headers["content-security-policy"]
        assert not [name for name in answer.headers if name.startswith("access-control")]

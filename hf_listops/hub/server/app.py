"""The web application of the embedded Hub: addresses, and what holds for all of them.

Addresses are matched as they come, percent-encoded: a revision such as `exp%2Fseed1` is one segment.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import re
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from dulwich.errors import NotGitRepository
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from hf_listops.hub.server import content, repo_collections, repos, uploads
from hf_listops.hub.server.access import UploadSigner, User, Users
from hf_listops.hub.server.call import PREFIXES, Call
from hf_listops.hub.server.errors import HubError, repo_not_found
from hf_listops.hub.server.grammar import SHA256
from hf_listops.hub.server.root import HubRoot

_log = logging.getLogger(__name__)
_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
Handler = Callable[[Call], Response]
_SMALL_BODY, _COMMIT_BODY = 16 << 20, 512 << 20  # bytes at most


@dataclass(frozen=True)
class Hub:
    """What all requests share."""

    root: HubRoot
    users: Users
    signer: UploadSigner

    def call(self, request: Request, kind: str, user: User | None, body: Path | None = None) -> Call:
        return Call(
            root=self.root,
            signer=self.signer,
            user=user,
            endpoint=str(request.base_url).rstrip("/"),
            raw_path=request.scope["path"],
            query=request.query_params,
            headers=request.headers,
            path=request.path_params,
            kind=kind,
            body=body,
            is_head=request.method == "HEAD",
        )

    async def answer(self, request: Request, handler: Handler, kind: str, most_bytes: int) -> Response:
        """Reads the body into a file of limited size, and lets the handler work in a thread."""
        user = self.users.authenticate(request.headers.get("authorization"))
        if request.method in ("GET", "HEAD"):
            return await run_in_threadpool(handler, self.call(request, kind, user))
        size, most_bytes = 0, most_bytes if user else min(most_bytes, _SMALL_BODY)
        with tempfile.NamedTemporaryFile(dir=self.root.folder / "tmp") as file:
            async for chunk in request.stream():
                size += len(chunk)
                if size > most_bytes:
                    raise HubError(413, f"the body has more than {most_bytes} bytes")
                await run_in_threadpool(file.write, chunk)
            file.flush()
            return await run_in_threadpool(handler, self.call(request, kind, user, Path(file.name)))

    async def receive_blob(self, request: Request, kind: str) -> Response:
        """Takes a large file at a signed address; no token is sent there."""
        size = self.signer.check(request.scope["path"], request.query_params)
        call = self.call(request, kind, None)
        oid = call.segment("oid")
        if not SHA256.fullmatch(oid):
            raise HubError(400, f"{oid!r} is no sha256")
        repo = self.root.get(kind, call.repo_id)  # whether the caller may write was asked when the address was signed
        incoming = await run_in_threadpool(repo.repository.lfs.receive, oid, size)
        try:
            async for chunk in request.stream():
                await run_in_threadpool(incoming.write, chunk)
            await run_in_threadpool(incoming.finish)
        finally:
            await run_in_threadpool(incoming.discard)
        return Response()


async def guarded(request: Request, answer: Awaitable[Response]) -> Response:
    """The answer, or what went wrong in the form that the clients understand."""
    try:
        return await answer
    except HubError as error:
        failure = error
    except (NotGitRepository, FileNotFoundError):  # the repo was deleted or moved while we looked
        failure = repo_not_found()
    except ClientDisconnect:
        failure = HubError(400, "the client went away")  # nobody reads it
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            failure = HubError(507, "the Hub's disk is full; nothing was changed")
        else:
            _log.exception("%s %s failed", request.method, request.scope["path"])
            failure = HubError(500, "the Hub failed; why is in what it printed")
    return error_response(failure, anonymous="authorization" not in request.headers)


def error_response(error: HubError, anonymous: bool = False) -> Response:
    """The error as the clients read it: in headers, and once more in the body."""
    status = 401 if anonymous and error.code == "RepoNotFound" else error.status
    text = error.message.encode("utf-8", "backslashreplace").decode()
    shown = text[:1000].encode("ascii", "backslashreplace").decode()
    headers = {**error.headers, "X-Error-Message": "".join(c if c.isprintable() else " " for c in shown)}
    if error.code:
        headers["X-Error-Code"] = error.code
    return JSONResponse({"error": text, **error.body}, status, headers)


class Gate:
    """Lets in only requests that name this machine as their host, and leaves their paths as they came.

    A web page elsewhere can make a browser call 127.0.0.1 under a name of its own (DNS rebinding); a program that means
    this Hub names an address, `localhost`, or the host that the server was started with.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self.app, self.host = app, host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            names = [value.decode("latin-1") for key, value in scope["headers"] if key == b"host"]
            if len(names) != 1 or not self._is_ours(names[0]):
                refused = HubError(421, f"{', '.join(names)!r} is not the name of this Hub; call it by its address")
                return await error_response(refused)(scope, receive, send)
            if not scope["raw_path"].isascii():
                return await error_response(HubError(400, "the address is not percent-encoded"))(scope, receive, send)
            scope = {**scope, "path": scope["raw_path"].decode()}
        await self.app(scope, receive, send)

    def _is_ours(self, named: str) -> bool:
        parts = _HOST.fullmatch(named)
        if parts is None:
            return False
        name = parts["name"].lower()
        if name in ("localhost", self.host.lower()):
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True


def make_app(root: HubRoot, users: Users, host: str) -> ASGIApp:
    """The Hub over one folder, for these users, reached as `host`."""
    hub = Hub(root, users, UploadSigner())
    routes: list[Route] = []

    def add(method: str, path: str, handler: Handler, kind: str = "model", most_bytes: int = _SMALL_BODY) -> None:
        async def endpoint(request: Request) -> Response:
            return await guarded(request, hub.answer(request, handler, kind, most_bytes))

        routes.append(Route(path, endpoint, methods=[method]))

    def add_upload(path: str, kind: str) -> None:
        async def endpoint(request: Request) -> Response:
            return await guarded(request, hub.receive_blob(request, kind))

        routes.append(Route(path, endpoint, methods=["PUT"]))

    add("GET", "/api/whoami-v2", repos.whoami)
    add("POST", "/api/validate-yaml", repos.validate_yaml)
    add("POST", "/api/repos/create", repos.create)
    add("DELETE", "/api/repos/delete", repos.delete)
    add("POST", "/api/repos/move", repos.move)
    one = "/api/collections/{ns}/{slug}"
    add("GET", "/api/collections", repo_collections.listing)
    add("POST", "/api/collections", repo_collections.create)
    add("GET", one, repo_collections.show)
    add("PATCH", one, repo_collections.update)
    add("DELETE", one, repo_collections.delete)
    add("POST", f"{one}/items", repo_collections.add_item)
    add("PATCH", f"{one}/items/{{item}}", repo_collections.update_item)
    add("DELETE", f"{one}/items/{{item}}", repo_collections.remove_item)
    for kind, prefix in PREFIXES.items():
        one = f"/api/{kind}s/{{ns}}/{{name}}"
        add("GET", f"/api/{kind}s", repos.listing, kind)
        add("GET", one, repos.info, kind)
        add("GET", f"{one}/revision/{{rev}}", repos.info, kind)
        add("PUT", f"{one}/settings", repos.settings, kind)
        add("GET", f"{one}/auth-check", repos.auth_check, kind)
        add("GET", f"{one}/auth-check/{{right}}", repos.auth_check, kind)
        add("GET", f"{one}/refs", content.refs, kind)
        add("GET", f"{one}/commits/{{rev}}", content.history, kind)
        add("GET", f"{one}/tree/{{rev}}", content.tree, kind)
        add("GET", f"{one}/tree/{{rev}}/{{path:path}}", content.tree, kind)
        add("POST", f"{one}/paths-info/{{rev}}", content.paths_info, kind)
        add("POST", f"{one}/branch/{{ref}}", content.add_branch, kind)
        add("DELETE", f"{one}/branch/{{ref}}", content.remove_branch, kind)
        add("POST", f"{one}/tag/{{ref}}", content.add_tag, kind)
        add("DELETE", f"{one}/tag/{{ref}}", content.remove_tag, kind)
        add("POST", f"{one}/super-squash/{{ref}}", content.squash, kind)
        add("POST", f"{one}/discussions/{{number}}/merge", content.merge, kind)
        add("GET", f"{one}/xet-write-token/{{rev}}", uploads.xet_token, kind)
        add("POST", f"{one}/preupload/{{rev}}", uploads.preupload, kind)
        add("POST", f"{one}/commit/{{rev}}", uploads.commit, kind, _COMMIT_BODY)
        git = f"/{prefix}{{ns}}/{{name}}.git/info/lfs"
        add("POST", f"{git}/objects/batch", uploads.lfs_batch, kind)
        add("POST", f"{git}/verify", uploads.lfs_verify, kind)
        add_upload(f"{git}/objects/{{oid}}", kind)
        add("GET", f"/{prefix}{{ns}}/{{name}}/resolve/{{rev}}/{{path:path}}", content.resolve, kind)
    app = Starlette(routes=routes, exception_handlers={404: _no_such_address, 405: _no_such_address})
    app.router.redirect_slashes = False
    return Gate(app, host)


async def _no_such_address(request: Request, error: Exception) -> Response:
    """A repo of one segment (`gpt2`) does not exist here; anything else is nothing the clients should need."""
    path = request.scope["path"]
    if "/resolve/" in path or path.startswith(tuple(f"/api/{kind}s/" for kind in PREFIXES)):
        return error_response(repo_not_found(), anonymous="authorization" not in request.headers)
    return error_response(HubError(404, f"this Hub has no {request.method} {path}"))

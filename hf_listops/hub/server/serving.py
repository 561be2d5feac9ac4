"""Running the embedded Hub: for as long as one command runs, or until Ctrl-C."""

from __future__ import annotations

import logging
import shlex
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from hf_listops.errors import ListOpsError
from hf_listops.hub.server.access import Users, make_user, parse_user
from hf_listops.hub.server.app import make_app
from hf_listops.hub.server.root import HubRoot

DEFAULT_USER = "hf-listops"


@dataclass(frozen=True)
class Running:
    """A server that answers. `environment` is what a client needs, `token` that of the first user."""

    endpoint: str
    token: str
    root: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_TOKEN": self.token,
            "HF_HOME": str(self.root.absolute() / "hf_home"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
            "NO_PROXY": "127.0.0.1",
        }


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals to the command line."""
        yield


@contextmanager
def running(
    root: Path, users: Sequence[str] = (), host: str = "127.0.0.1", port: int = 0, publishes_as: str | None = None
) -> Iterator[Running]:
    """Serves `root` from a thread, until the end of the block.

    Args:
        root (`Path`): the Hub's folder, made if need be.
        users (`Sequence[str]`): `NAME:TOKEN[:NAMESPACE=ROLE,…]`; none for one user with a random token kept under root.
        port (`int`): 0 for a free one.
        publishes_as (`str`, *optional*): a token for the default namespace, for what the server itself publishes.

    Raises:
        ListOpsError: a user does not parse, the folder cannot be used, or the port is in use.
    """
    parsed = [parse_user(user) for user in users]
    hub = HubRoot(root)
    try:
        if not parsed:
            parsed = [(make_user(DEFAULT_USER, hub.token()), hub.token())]
        token = parsed[0][1]
        known = [user for user, _ in parsed]
        if publishes_as is not None:
            known.append(make_user(DEFAULT_USER, publishes_as))
        listener = _listen(host, port)
        try:
            shown = f"[{host}]" if ":" in host else host
            config = uvicorn.Config(
                make_app(hub, Users(known), host),
                log_level="error",
                access_log=False,
                lifespan="off",
                ws="none",
                proxy_headers=False,
                timeout_keep_alive=60,  # clients that compute between two requests keep their connection
                timeout_graceful_shutdown=5,
            )
            logging.getLogger("dulwich").setLevel(logging.ERROR)  # it warns of patterns in a user's .gitattributes
            server = _Server(config)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
            thread.start()
            try:
                yield Running(f"http://{shown}:{listener.getsockname()[1]}", token, root)
            finally:
                server.should_exit = True
                thread.join(timeout=10)
        finally:
            listener.close()
    finally:
        hub.close()


def _listen(host: str, port: int) -> socket.socket:
    """A socket that already takes connections, so that no client comes too early."""
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(address[0], socket.SOCK_STREAM)
    except OSError as error:
        raise ListOpsError(
            f"host: {host!r} is no address of this machine ({error}); a right one is 127.0.0.1"
        ) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address[4])
        listener.listen(512)
    except (OSError, OverflowError) as error:
        listener.close()
        raise ListOpsError(
            f"port: {port} of {host} cannot be used ({getattr(error, 'strerror', error)}); choose another, such as "
            f"--port {port + 1 if 0 < port < 65535 else 8090}"
        ) from None
    return listener


def execute(command: Sequence[str], hub: Running, environment: Mapping[str, str]) -> int:
    """Runs a command against a running Hub. Returns its exit code; a variable that is set stays as it is.

    Ctrl-C reaches the command through the terminal, SIGTERM is passed on; the Hub stops when the command has.
    """
    started: list[subprocess.Popen[bytes]] = []
    terminated = threading.Event()

    def pass_on(number: int, frame: object) -> None:
        if started:
            started[0].send_signal(number)
        else:  # told once, or a second signal would cut off the end that the first one began
            terminated.set()

    handlers = {signal.SIGINT: lambda number, frame: None, signal.SIGTERM: pass_on}  # a command does not inherit them
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        process = subprocess.Popen(list(command), env={**hub.environment, **environment})
        started.append(process)
        if terminated.is_set():  # before there was a process to tell
            process.terminate()
        code = process.wait()
    except OSError as error:
        raise ListOpsError(
            f"command: {command[0]!r} cannot be run ({error.strerror}); a right one is: "
            "hf-listops hub exec -- hf auth whoami"
        ) from None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 128 - code if code < 0 else code


def exports(hub: Running) -> str:
    """Lines to paste into a shell."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in hub.environment.items())


def wait_for_stop() -> None:
    """Returns at Ctrl-C or SIGTERM."""
    stop = threading.Event()
    previous = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        stop.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

"""Real clients of an embedded Hub: processes of their own, since huggingface_hub reads its settings at import."""

import asyncio
import contextlib
import hashlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conftest import ROOT
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hf_listops.hub.server import serving

BIN = Path(sys.executable).parent
REPO = "hf-listops/listops-sum-mod10-depth2-d8-l2-h1-s0"
STEPS = [0, 1, 2, 4, 60]  # that `tiny_run` keeps
USERS = ("hf-listops:hf_ours", "alice:hf_alice")


def environment(hub: serving.Running, home: Path, **changes: str) -> dict[str, str]:
    """That of a shell in which the exports of `hub serve` were pasted, with a home of its own for the cache."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_HUB", "HF_ENDPOINT"))}
    quiet = {"TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONPATH": str(ROOT)}
    return {**kept, **hub.environment, "HF_HOME": str(home), **quiet, **changes}


def run(command: list[str | Path], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=env, timeout=240)


class ClientError(Exception):
    """What a function raised in the client: its kind and its message."""


_LOOP = """
import json, sys, traceback
answers, sys.stdout = sys.stdout, sys.stderr
for line in sys.stdin:
    asked = json.loads(line)
    scope = {}
    try:
        exec(compile(asked["source"], asked["name"], "exec"), scope)
        answer = {"value": scope[asked["name"]](*asked["arguments"])}
    except BaseException as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
        if type(error).__name__ not in asked["expected"]:
            traceback.print_exc()
    answers.write(json.dumps(answer) + chr(10))
    answers.flush()
"""


class Client:
    """A process that calls functions of the tests, one after another. They import what they need; values are JSON."""

    def __init__(self, env: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LOOP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=env
        )

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        asked = {
            "source": "from __future__ import annotations\n" + textwrap.dedent(inspect.getsource(function)),
            "name": function.__name__,
            "arguments": [str(argument) if isinstance(argument, Path) else argument for argument in arguments],
            "expected": ["ListOpsError", "Cut"],
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise ClientError(answer["error"])
        return answer["value"]

    def close(self) -> None:
        self._process.communicate(timeout=30)


@contextlib.contextmanager
def client_of(hub: serving.Running, home: Path, **changes: str) -> Iterator[Client]:
    client = Client(environment(hub, home, **changes))
    try:
        yield client
    finally:
        client.close()


@dataclass
class Fault:
    """What a Hub answers to the first requests that match, instead of, or after, doing what they ask."""

    request: str  # a regular expression for METHOD PATH
    status: int
    times: int = 1
    after: bool = False  # the request is carried out, and only its answer is lost
    headers: dict[str, str] = field(default_factory=dict)


class Weather:
    """In front of a Hub: notes every request, and makes some of them fail."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.faults: list[Fault] = []
        self.dies_at: str | None = None  # from the first such request on, nothing is answered but 503

    def over(self, app: ASGIApp) -> ASGIApp:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                return await app(scope, receive, send)
            request = f"{scope['method']} {scope['path']}"
            self.requests.append(request)
            if self.dies_at and re.search(self.dies_at, request):
                self.faults, self.dies_at = [Fault("", 503, 10**9, headers={"Retry-After": "0"})], None
            fault = next((f for f in self.faults if f.times > 0 and re.search(f.request, request)), None)
            if fault is None:
                return await app(scope, receive, send)
            fault.times -= 1
            if fault.after:
                await app(scope, receive, _nowhere)
            else:
                while (await receive()).get("more_body"):
                    pass
            headers = [(name.encode(), value.encode()) for name, value in fault.headers.items()]
            await send({"type": "http.response.start", "status": fault.status, "headers": headers})
            await send({"type": "http.response.body", "body": b""})

        return answer


async def _nowhere(message: Message) -> None:
    await asyncio.sleep(0)


@contextlib.contextmanager
def hub_with_weather(
    root: Path, users: tuple[str, ...] = USERS, port: int = 0
) -> Iterator[tuple[serving.Running, Weather]]:
    """The embedded Hub behind `Weather`."""
    weather, make_app = Weather(), serving.make_app
    serving.make_app = lambda *arguments: weather.over(make_app(*arguments))
    try:
        with serving.running(root, users, port=port) as hub:
            yield hub, weather
    finally:
        serving.make_app = make_app


def git(repo: Path, *arguments: str) -> str:
    command = ["git", "-c", "safe.directory=*", "-C", str(repo), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def history(root: Path, repo_id: str, kind: str = "model") -> dict[str, list[tuple[str, str]]]:
    """By branch the commits as git itself shows them, from the first on: title, and the hash of all files."""
    (repo,) = [path for path in (root / "repos" / f"{kind}s" / repo_id, *(root / "repos" / f"{kind}s" / repo_id).glob("*"))
               if (path / "refs").is_dir() or (path / ".git").is_dir()]  # fmt: skip
    branches = git(repo, "for-each-ref", "--format=%(refname:short)", "refs/heads").split()
    return {
        branch: [
            (line.partition(" ")[2], line.partition(" ")[0])
            for line in git(repo, "log", "--reverse", "--format=%T %s", branch, "--").splitlines()
        ]
        for branch in branches
    }


def titles(of: dict[str, list[tuple[str, str]]]) -> dict[str, list[str]]:
    return {branch: [title for title, _ in commits] for branch, commits in of.items()}


def push(folder: str, namespace: str | None = None, cut: str | None = None, nth: int = 1) -> Any:
    """In a client: publishes a run; with `cut`, it ends before the n-th request that this matches, as if it were killed."""
    import re
    from pathlib import Path

    from huggingface_hub import set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    from hf_listops.hub.publishing import publish

    class Cut(BaseException):
        pass

    matched = []

    def watch(request: Any) -> None:
        if re.search(cut or "^$", f"{request.method} {request.url.path}"):
            matched.append(request)
            if len(matched) >= nth:
                raise Cut(request.url.path)

    def client() -> Any:
        made = default_client_factory()
        made.event_hooks = {"request": [*made.event_hooks["request"], watch]}
        return made

    set_client_factory(client)
    done = publish(Path(folder), namespace, progress=False)
    return done.repo_id, done.revisions, done.added


def delete_repo(repo_id: str, kind: str = "model") -> None:
    """In a client."""
    from huggingface_hub import HfApi, set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    set_client_factory(default_client_factory)
    HfApi().delete_repo(repo_id, repo_type=kind, missing_ok=True)


def command(*arguments: str) -> Any:
    """In a client: `[NAME=VALUE] hf-listops …`, or `… train.py …`; its exit code, standard output and standard error."""
    import contextlib
    import io
    import os
    import runpy
    import sys

    from hf_listops.cli import main

    out, error = io.StringIO(), io.StringIO()
    code, before = 0, dict(os.environ)
    if "=" in arguments[0]:
        name, _, value = arguments[0].partition("=")
        os.environ[name] = value
        arguments = arguments[1:]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            if arguments[0] == "train.py":
                sys.argv = list(arguments)
                runpy.run_path("train.py", run_name="__main__")
            else:
                main(arguments)
        except SystemExit as end:
            code = end.code or 0
        finally:
            os.environ.clear()
            os.environ.update(before)
    return code, out.getvalue(), error.getvalue()


def sentence(client: Client, *arguments: str | Path) -> str:
    """The one sentence with which a command ends in a client, and exit code 2."""
    code, _, error = client(command, *arguments)
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert (code, len(lines)) == (2, 1), error
    assert "Traceback" not in error
    return str(lines[0])


def part(of: Path, to: Path, steps: list[int]) -> Path:
    to.mkdir()
    shutil.copy(of / "run.yaml", to)
    for step in steps:
        shutil.copytree(of / "steps" / f"step-{step}", to / "steps" / f"step-{step}")
    return to


def edit_manifest(folder: Path, **changes: Any) -> None:
    """Changes facts of a manifest, and makes its hashes right for what lies in the folder."""
    path = folder / "manifest.json"
    manifest = {**json.loads(path.read_text()), **changes}
    files = [p for p in folder.rglob("*") if p.is_file() and p != path and p.relative_to(folder).parts[0] != "steps"]
    manifest["files"] = {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    path.write_text(json.dumps(manifest))


def flip_a_bit(path: Path) -> None:
    """Changes the last weight of a safetensors file a little."""
    content = bytearray(path.read_bytes())
    content[-4] ^= 1
    path.write_bytes(content)


def train_until(step: int, *arguments: str) -> Any:
    """In a client: `train.py …`, to which SIGTERM comes in the middle of a step; its exit code."""
    import os
    import runpy
    import signal
    import sys

    from hf_listops.training.run import Training

    update = Training.update

    def interrupted(self: Any) -> None:
        update(self)
        if self.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    Training.update = interrupted
    sys.argv = list(arguments)
    try:
        runpy.run_path("train.py", run_name="__main__")
    except SystemExit as end:
        return end.code
    finally:
        Training.update = update

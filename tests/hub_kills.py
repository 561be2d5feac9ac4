"""Kills the embedded Hub while huggingface_hub pushes to it, and checks that no acknowledged commit is lost.

`python tests/hub_kills.py 200 results/faults/hub_kills.json` does it 200 times and records where each kill fell. The
moments are drawn so that half of them aim at the commit request; where one really fell is read off the client's requests:
the last one that was sent, and whether it was answered.
"""

import os

os.environ.update(
    HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_PROGRESS_BARS="1", HF_HUB_DISABLE_TELEMETRY="1", NO_PROXY="127.0.0.1"
)
os.environ.pop("HF_HUB_OFFLINE", None)  # read at import, as is the endpoint

import hashlib
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi, get_session, hf_hub_url, set_client_factory
from huggingface_hub.utils._http import default_client_factory

from hf_listops.data.files import write_atomically
from hf_listops.hub.manifest import provenance

REPO, TOKEN = "alice/r", "a-token"
PHASES = {
    "preupload": "/preupload/",
    "lfs batch": "/objects/batch",
    "put": "/objects/",
    "verify": "/verify",
    "commit": "/commit/",
}
AIMS = ["preupload", "lfs batch", "put", "put", "verify", "commit", "commit", "commit", "commit", "commit"]


class Server:
    """`hf-listops hub serve` in a process of its own."""

    def __init__(self, root: Path) -> None:
        command = [sys.executable, "-m", "hf_listops.cli", "hub", "serve", "--port", "0", "--root", str(root)]
        self.process = subprocess.Popen(
            [*command, "--user", f"alice:{TOKEN}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        self.endpoint = self.process.stdout.readline().strip().removeprefix("export HF_ENDPOINT=")
        assert self.endpoint.startswith("http://127.0.0.1:")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


class Watch:
    """Hooks of the client: which requests were sent, and when they were answered."""

    def __init__(self) -> None:
        self.start("commit")
        set_client_factory(self.client)

    def start(self, aim: str) -> None:
        """Before a push: what to wait for."""
        self.aim, self.aimed, self.gone = aim, threading.Event(), False
        self.seen: list[tuple[str, float, float | None]] = []  # phase, when sent, when answered

    def client(self) -> Any:
        client = default_client_factory()
        hooks = client.event_hooks
        client.event_hooks = {
            "request": [*hooks["request"], self.sent],
            "response": [*hooks["response"], self.answered],
        }
        return client

    def sent(self, request: Any) -> None:
        if self.gone:
            raise RuntimeError("the server was killed")  # and the client need not try for minutes
        path = request.url.raw_path.decode()
        phase = next((phase for phase, part in PHASES.items() if part in path), "other")
        self.seen.append((phase, time.monotonic(), None))
        if phase == self.aim:
            self.aimed.set()

    def durations(self) -> dict[str, float]:
        """How long each request took, in seconds."""
        return {phase: answered - sent for phase, sent, answered in self.seen if answered}

    def answered(self, response: Any) -> None:
        phase, sent, _ = self.seen[-1]
        self.seen[-1] = (phase, sent, time.monotonic())


def push(endpoint: str, number: int, large: bytes) -> str:
    """One commit of a large file and some small ones. Returns its id."""
    files = [CommitOperationAdd("w.bin", large), CommitOperationAdd("n.txt", f"{number}".encode())]
    files += [CommitOperationAdd(f"d/{n}/{number % 7}.txt", f"{number} {n}".encode()) for n in range(6)]
    return str(HfApi(endpoint=endpoint, token=TOKEN).create_commit(REPO, files, commit_message=f"push {number}").oid)


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), (arguments, done.stdout, done.stderr)
    return done.stdout.strip()


def check(folder: Path, acknowledged: list[str]) -> list[str]:
    """The history as git sees it, which holds all acknowledged commits in their order and is whole."""
    assert git(folder, "fsck", "--strict", "--no-dangling") == ""
    history = git(folder, "log", "--reverse", "--format=%H", "main").split()
    assert [oid for oid in history if oid in set(acknowledged)] == acknowledged
    return history


def kill_server(root: Path, kills: int, seed: int) -> dict[str, Any]:
    """Pushes, kills the server meanwhile, looks with git, starts it anew, looks with the client, pushes; `kills` times."""
    rng, watch = random.Random(seed), Watch()
    server = Server(root)
    HfApi(endpoint=server.endpoint, token=TOKEN).create_repo(REPO)
    folder = root / "repos" / "models" / REPO
    acknowledged = []
    typical: dict[str, float] = {}
    for number in range(3):
        watch.start("none")
        acknowledged.append(push(server.endpoint, number, rng.randbytes(300_000)))
        typical |= watch.durations()
    fell = []
    for number in range(3, 3 + kills):
        large, aim = rng.randbytes(300_000), rng.choice(AIMS)
        watch.start(aim)
        oids: list[str] = []
        errors: list[Exception] = []

        def attempt(endpoint: str, number: int, large: bytes, oids: list[str], errors: list[Exception]) -> None:
            try:
                oids.append(push(endpoint, number, large))
            except Exception as error:  # whatever the client makes of a server that is gone
                errors.append(error)

        client = threading.Thread(target=attempt, args=(server.endpoint, number, large, oids, errors))
        client.start()
        assert watch.aimed.wait(60)
        time.sleep(rng.uniform(0, 1.2) * typical[aim])
        assert not errors, errors
        watch.gone = True
        server.kill()
        client.join()
        acknowledged += oids
        history = check(folder, acknowledged)
        phase, _, answered = watch.seen[-1]
        there = git(folder, "log", "-1", "--format=%s", "main") == f"push {number}"
        assert there or not oids
        fell.append(
            {"aimed_at": aim, "last_request": phase, "answered": answered is not None, "commit_is_there": there}
        )
        server = Server(root)
        api = HfApi(endpoint=server.endpoint, token=TOKEN)
        watch.start("none")
        assert [commit.commit_id for commit in api.list_repo_commits(REPO)][::-1] == history
        repeated = push(server.endpoint, number, large)
        typical |= watch.durations()
        assert (repeated == history[-1]) is there  # what is there already is not committed twice
        if repeated not in acknowledged:
            acknowledged.append(repeated)
        stored = get_session().get(hf_hub_url(REPO, "w.bin", endpoint=server.endpoint, revision=repeated)).content
        assert hashlib.sha256(stored).digest() == hashlib.sha256(large).digest()
        assert not [*folder.rglob("*.lock"), *folder.glob("objects/tmp_obj_*"), *folder.glob("lfs/objects/incoming/*")]
    server.kill()
    check(folder, acknowledged)
    unanswered = [one for one in fell if not one["answered"]]
    inside = [one for one in unanswered if one["last_request"] == "commit"]
    return {
        "kills": len(fell),
        "unanswered_request": Counter(str(one["last_request"]) for one in unanswered),
        "between_requests": len(fell) - len(unanswered),
        "inside_a_commit": len(inside),
        "inside_a_commit_and_it_is_there": sum(bool(one["commit_is_there"]) for one in inside),
        "acknowledged": len(acknowledged),
        "lost": 0,
        "fsck_errors": 0,
        "next_push_refused": 0,
        "fell": fell,
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        seen = kill_server(Path(scratch) / "root", int(sys.argv[1]), seed=0)
    assert seen["inside_a_commit"] * 4 >= seen["kills"], seen
    out = Path(sys.argv[2])
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, json.dumps({**seen, **provenance()}) + "\n")


if __name__ == "__main__":
    main()

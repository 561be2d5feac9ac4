"""The public libraries, unmodified and in processes of their own, against the embedded Hub."""

import os
import subprocess
import sys
from pathlib import Path

from hf_listops.hub.server.serving import Running, running

ROOT = Path(__file__).parent.parent.parent
CLIENTS = ROOT / "tests" / "hub" / "server"
USERS = ["alice:alice-token", "bob:bob-token:alice=read", "carol:carol-token"]


def run(hub: Running, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs Python with what the Hub says a client needs, and nothing that the tests set for themselves."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**outside, "HF_HUB_DISABLE_PROGRESS_BARS": "1", **hub.environment, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def check_repos(root: Path, scratch: Path, at_least: int) -> None:
    """Every repo is one that git finds no fault with and can clone."""
    repos = sorted(root.glob("repos/*/*/*"))
    assert len(repos) >= at_least
    for number, repo in enumerate(repos):
        fsck = subprocess.run(["git", "-C", repo, "fsck", "--strict", "--no-dangling"], capture_output=True, text=True)
        assert (fsck.returncode, fsck.stdout, fsck.stderr) == (0, "", ""), repo
        clone = scratch / f"clone-{number}"
        subprocess.run(["git", "clone", "-q", "--no-hardlinks", repo, clone], check=True)
        titles = subprocess.check_output(["git", "-C", clone, "log", "--format=%s"], text=True).split("\n")
        assert titles[0]
        assert not list(repo.rglob("*.lock"))
        assert not list(repo.glob("lfs/objects/incoming/*"))
    assert not list((root / "tmp").iterdir())


def test_huggingface_hub_and_its_command_line(tmp_path: Path) -> None:
    with running(tmp_path / "root", USERS) as hub:
        done = run(hub, CLIENTS / "clients_hub.py", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "command_line" in done.stdout.split()
    check_repos(tmp_path / "root", tmp_path, 9)
    history = subprocess.check_output(
        ["git", "-C", tmp_path / "root/repos/models/alice/files", "log", "--format=%an %s"], text=True
    ).splitlines()
    assert (history[-1], history[-2]) == ("alice initial commit", "alice folder")


def test_datasets_transformers_and_evaluate(tmp_path: Path) -> None:
    script = CLIENTS / "clients_libraries.py"
    with running(tmp_path / "root", USERS) as hub:
        done = run(hub, script, tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "metrics_from_spaces" in done.stdout.split()
        carol = run(hub, script, HF_TOKEN="carol-token", HF_HOME=str(tmp_path / "carol"))
        assert carol.returncode == 0, carol.stderr
    check_repos(tmp_path / "root", tmp_path, 6)
    offline = run(hub, script, HF_HUB_OFFLINE="1", HF_ENDPOINT="http://127.0.0.1:9")
    assert offline.returncode == 0, offline.stderr


def test_a_client_with_xet_is_told_which_switch_to_set(tmp_path: Path) -> None:
    code = (
        "from huggingface_hub import HfApi\n"
        "HfApi().create_repo('alice/x')\n"
        "HfApi().upload_file(path_or_fileobj=bytes(2_000_000), path_in_repo='w.bin', repo_id='alice/x')\n"
    )
    with running(tmp_path / "root", USERS) as hub:
        done = run(hub, "-c", code, HF_HUB_DISABLE_XET="0")
        assert done.returncode == 1
        assert "HF_HUB_DISABLE_XET=1" in done.stderr.strip().splitlines()[-1]
        assert (
            run(hub, "-c", code.replace("create_repo('alice/x'", "create_repo('alice/x', exist_ok=True")).returncode
            == 0
        )

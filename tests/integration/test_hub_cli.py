"""`hf-listops hub serve` and `hub exec`, as somebody in a shell meets them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

HUB = [sys.executable, "-m", "hf_listops.cli", "hub"]
SWITCHES = {
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    "NO_PROXY": "127.0.0.1",
}
SHOW = "import os, json; print(json.dumps(dict(os.environ)))"


def outside(**more: str) -> dict[str, str]:
    """The environment of a user who has set nothing."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("HF_") and name != "NO_PROXY"}
    return {**plain, **more}


def execute(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HUB, "exec", *map(str, arguments)], env=outside(**more), capture_output=True, text=True, timeout=60
    )


def test_exec_sets_what_is_not_set_and_says_nothing(tmp_path: Path) -> None:
    root = ["--root", tmp_path / "root", "--user", "alice:a-token", "--user", "bob:b-token"]
    done = execute(*root, "--", sys.executable, "-c", SHOW)
    assert (done.returncode, done.stderr) == (0, "")
    seen = json.loads(done.stdout)
    assert {name: seen[name] for name in SWITCHES} == SWITCHES
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", seen["HF_ENDPOINT"])
    assert seen["HF_TOKEN"] == "a-token"
    assert seen["HF_HOME"] == str(tmp_path / "root" / "hf_home")
    own = {"HF_ENDPOINT": "http://else", "HF_TOKEN": "", "HF_HOME": "/elsewhere", "HF_HUB_DISABLE_XET": "0"}
    done = execute(*root, "--", sys.executable, "-c", SHOW, **own)
    seen = json.loads(done.stdout)
    assert {name: seen[name] for name in own} == own


def test_exec_ends_as_its_command_ends(tmp_path: Path) -> None:
    for code, expected in (
        ("raise SystemExit(7)", 7),
        ("import os; os.kill(os.getpid(), 9)", 137),
        ("import signal, os; os.kill(os.getpid(), signal.SIGTERM)", 143),
    ):
        done = execute("--root", tmp_path / "root", "--", sys.executable, "-c", code)
        assert (done.returncode, done.stdout, done.stderr) == (expected, "", "")
    assert (tmp_path / "root/token").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, 5), (signal.SIGINT, 0)])
def test_signals_reach_the_command_and_not_the_hub(tmp_path: Path, number: int, expected: int) -> None:
    """SIGTERM is passed on, Ctrl-C the terminal sends itself; the Hub answers until the command has ended."""
    command = (
        "import os, signal, sys, urllib.request\n"
        "def end(*_):\n"
        "    urllib.request.urlopen(os.environ['HF_ENDPOINT'] + '/api/models').read()\n"
        "    sys.exit(5)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    process = subprocess.Popen(
        [*HUB, "exec", "--root", tmp_path / "root", "--", sys.executable, "-c", command],
        env=outside(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, errors = process.communicate("\n" if number == signal.SIGINT else None, timeout=60)
    assert (process.returncode, out, errors) == (expected, "", "")


def test_serve_prints_what_to_paste(tmp_path: Path) -> None:
    root = tmp_path / "it's a root"
    process = subprocess.Popen(
        [*HUB, "serve", "--root", root, "--port", "0"],
        env=outside(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    exports = "".join(process.stdout.readline() for _ in range(3 + len(SWITCHES)))
    try:
        code = "from huggingface_hub import HfApi; print(HfApi().whoami()['name'])"
        done = subprocess.run(
            ["sh", "-c", f'{exports}\nexec "$0" -c "$1"', sys.executable, code],
            env=outside(), capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (0, "hf-listops\n"), done.stderr
        second = execute("--root", root, "--", "true")
        assert_one_sentence(second, "another server has")
        port = re.search(r"HF_ENDPOINT=http://127.0.0.1:(\d+)", exports)
        assert port
        taken = subprocess.run(
            [*HUB, "serve", "--root", tmp_path / "other", "--port", port[1]],
            env=outside(), capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert_one_sentence(taken, f"port: {port[1]} of 127.0.0.1 cannot be used")
    finally:
        process.terminate()
    rest, errors = process.communicate(timeout=60)
    assert (process.returncode, rest) == (0, "")
    assert errors.startswith("serving ")
    with socket.socket() as free:  # and the port is given back
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", int(port[1])))


def assert_one_sentence(done: subprocess.CompletedProcess[str], message: str) -> None:
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_wrong_input(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/main.tex").touch()
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer/hub.json").write_text('{"program": "hf_listops hub", "format": 99}')
    root = ["--root", tmp_path / "root"]
    assert_one_sentence(execute("--root", tmp_path / "thesis", "--", "true"), "holds no Hub of ours")
    assert_one_sentence(execute("--root", tmp_path / "newer", "--", "true"), "newer version of hf_listops")
    assert_one_sentence(execute(*root, "--user", "alice", "--", "true"), "a right one is 'alice:TOKEN'")
    assert_one_sentence(execute(*root, "--user", "alice:t:bob=own", "--", "true"), "bob=own is no role")
    assert_one_sentence(execute(*root, "--", "no-such-command"), "'no-such-command' cannot be run")
    assert_one_sentence(execute(*root), "command: there is none")


def test_the_server_loads_no_library_of_the_clients() -> None:
    code = (
        "import sys, hf_listops.cli, hf_listops.hub.server.serving\n"
        "print(sorted({'torch', 'transformers', 'datasets', 'huggingface_hub', 'numpy', 'pyarrow', 'matplotlib', 'evaluate'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=outside(), capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

"""The README: every command in it runs, every number in it comes from a record."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import urllib.request
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from committed import committed
from conftest import ROOT

from hf_listops.analysis import (
    dynamics_verdict,
    embeddings_verdicts,
    emergence_verdicts,
    reliance_verdict,
    transfer_verdict,
)
from hf_listops.analysis.dynamics import Dynamics
from hf_listops.analysis.embeddings import Embeddings
from hf_listops.analysis.emergence import emergence_of
from hf_listops.analysis.outputs import read_numbers
from hf_listops.analysis.pages import Verdict
from hf_listops.analysis.reliance import Comparison
from hf_listops.analysis.transfer import Transfer
from hf_listops.training.config import RunConfig

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def between(name: str) -> list[str]:
    text = README.split(f"<!-- {name} -->")[1].split(f"<!-- /{name} -->")[0]
    return text.strip().splitlines()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's root with recipes of a few steps, so that every command can be run to its end."""
    here = tmp_path_factory.mktemp("readme") / "main"
    here.mkdir()
    for name in ("train.py", "recipes", "dataset_scripts", "Makefile", "pyproject.toml", "constraints.txt"):
        source = ROOT / name
        shutil.copytree(source, here / name) if source.is_dir() else shutil.copy(source, here / name)
    for name in ("hf_listops", "model_cards", "pretrained"):
        (here / name).symlink_to(ROOT / name)
    for recipe in (here / "recipes").glob("quickstart*.yaml"):
        fields = yaml.safe_load(recipe.read_text()) | {"max_steps": 20, "eval_rows": 20}
        recipe.write_text(yaml.safe_dump(fields))
    (here / ".venv").mkdir()
    (here / ".venv" / "installed").touch()
    (here / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    return here


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """A user's: no variable of Hugging Face is set but those that keep a test from waiting."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**kept, "PATH": path, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}


@pytest.fixture(scope="module")
def exports(place: Path, environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """The README's Hub, at a free port: what it says is to be pasted into the shell."""
    (command,) = [line for text in blocks("bash") for line in text.splitlines() if "hub serve" in line]
    call = [*shlex.split(command), "--port", "0"]
    with subprocess.Popen(call, cwd=place, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            lines = []
            for line in server.stdout:
                assert line.startswith("export "), line
                lines.append(line)
                if "NO_PROXY" in line:  # the last
                    break
            assert server.poll() is None, "the Hub did not start"
            yield dict(shlex.split(line)[1].split("=", 1) for line in lines)
        finally:
            server.send_signal(signal.SIGINT)
            assert server.wait(timeout=60) == 0


def run(call: list[str], place: Path, env: dict[str, str]) -> str:
    """Runs a command to its end, which must be a good one; what it prints."""
    result = subprocess.run(call, capture_output=True, text=True, cwd=place, env=env, timeout=400)
    assert result.returncode == 0, f"{call}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def test_the_quickstart_runs_and_can_be_repeated(place: Path, environment: dict[str, str]) -> None:
    first, again = (run(["make", "quickstart"], place, environment) for _ in range(2))
    picture = place / "outputs" / "quickstart" / "learning_curves.png"
    assert picture.read_bytes()[:4] == b"\x89PNG"
    for said in (first, again):
        assert "hf-listops/listops-max-med-sum-mod10-depth2-d32-l2-h1-s0@step-16\n" in said
        assert said.count("inside the mix") == 1
    repos = place / "outputs" / "quickstart" / "hub" / "repos"
    refs = repos / "models/hf-listops/listops-sum-mod10-depth2-d32-l2-h1-s0/refs/heads"
    assert {path.name for path in refs.iterdir()} == {"main", *(f"step-{n}" for n in (0, 1, 2, 4, 8, 16))}
    assert (repos / "datasets/hf-listops/listops").is_dir()


def test_every_command_runs_in_order(place: Path, environment: dict[str, str], exports: dict[str, str]) -> None:
    """As a user would, from top to bottom. `make test` is what runs this, `make quickstart` and the Hub have run above."""
    env = {**environment, **exports}
    ran = []
    for language, text in re.findall(r"```(bash|python)\n(.*?)```", README, flags=re.DOTALL):
        commands = text.splitlines() if language == "bash" else [text]
        for command in commands:
            if command.startswith(("make ", "hf-listops hub serve")):
                continue
            run(["bash", "-c", command] if language == "bash" else [sys.executable, "-c", command], place, env)
            ran.append(command.split()[0])
    assert ran.count("accelerate") == 1
    assert ran.count("from") == 3
    assert ran.count("import") == 1


GUARD = """
import os, socket
def check(address):
    host = address[0] if isinstance(address, tuple) else address
    if isinstance(host, bytes):
        host = host.decode()
    if isinstance(host, str) and host not in ("127.0.0.1", "::1", "localhost", "", "0.0.0.0") and not host.startswith("/"):
        with open(os.environ["GUARD_LOG"], "a") as log:
            log.write(host + "\\n")
        raise OSError("the guard lets nothing leave this machine: " + host)
def guarded(call):
    def wrapper(first, *rest, **options):
        check(rest[0] if isinstance(first, socket.socket) else first)
        return call(first, *rest, **options)
    return wrapper
socket.getaddrinfo = guarded(socket.getaddrinfo)
socket.gethostbyname = guarded(socket.gethostbyname)
socket.socket.connect = guarded(socket.socket.connect)
socket.socket.connect_ex = guarded(socket.socket.connect_ex)
"""
NOT_PUBLIC = re.compile(r"hf_listops|__editable__|^(dulwich|starlette|uvicorn)\b")


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the public libraries alone, in which no socket leaves this machine."""
    home = tmp_path_factory.mktemp("public") / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    (packages,) = (home / "lib").glob("python*/site-packages")
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not NOT_PUBLIC.search(path.name) and not (packages / path.name).exists():
            (packages / path.name).symlink_to(path)
    (packages / "sitecustomize.py").write_text(GUARD)
    launcher = home / "bin" / "accelerate"
    launcher.write_text(
        f"#!{home}/bin/python\nfrom accelerate.commands.accelerate_cli import main\nraise SystemExit(main())\n"
    )
    launcher.chmod(0o755)
    return home


def test_the_three_flows_need_only_public_libraries(
    place: Path, environment: dict[str, str], exports: dict[str, str], public: Path, tmp_path: Path
) -> None:
    """Loading data, training with a push, loading a step: from the README, with a cache of their own, behind a guard."""
    log = tmp_path / "guard.log"
    log.touch()
    path = f"{public / 'bin'}:/usr/bin:/bin"
    env = {**environment, **exports, "PATH": path, "HF_HOME": str(tmp_path / "hf"), "GUARD_LOG": str(log)}
    python = str(public / "bin" / "python")
    missing = subprocess.run(
        [python, "-c", "import hf_listops"], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert "No module named 'hf_listops'" in missing.stderr
    blocked = "import urllib.request as u; u.urlopen('http://example.invalid')"
    assert (
        "lets nothing leave" in subprocess.run([python, "-c", blocked], env=env, capture_output=True, text=True).stderr
    )
    assert log.read_text() == "example.invalid\n"
    log.write_text("")
    (data,) = [text for text in blocks("python") if "load_dataset" in text]
    (step,) = [text for text in blocks("python") if 'revision="step-' in text]
    assert "'depth': " in run([python, "-c", data], tmp_path, env)
    (launch,) = [line for text in blocks("bash") for line in text.splitlines() if "--push_to_hub" in line]
    assert launch.startswith("accelerate launch train.py ")
    run([*shlex.split(launch), "--seed", "7"], place, env)  # train.py finds hf_listops beside it
    pushed = f"{exports['HF_ENDPOINT']}/api/models/hf-listops/listops-max-med-sum-mod10-depth2-d48-l2-h1-s7/refs"
    with urllib.request.urlopen(pushed) as answer:
        branches = {ref["name"] for ref in json.load(answer)["branches"]}
    assert branches == {"main", *(f"step-{n}" for n in (0, 1, 2, 4, 8, 16))}
    assert "[MAX 7 4 9 ] = " in run([python, "-c", step], tmp_path, env)
    assert set(log.read_text().split()) <= {"datasets-server.127.0.0.1"}


def test_the_curriculum_shown_is_one(place: Path) -> None:
    (fields,) = [yaml.safe_load(text) for text in blocks("yaml")]
    config = RunConfig(**fields, dataset="outputs/data")
    assert config.schedule.steps == (0, 2400, 5600)


def quickstart_table(records: list[dict[str, object]]) -> list[str]:
    sums: dict[tuple[object, object], float] = {
        (record["task"], record["seed"]): record["final"]["sum-mod10-depth2"]["test"]["exact_match"]  # type: ignore[index]
        for record in records
    }
    seeds = sorted({seed for _, seed in sums})  # type: ignore[type-var]
    lines = [f"| trained on | {' | '.join(f'seed {seed}' for seed in seeds)} |", "|---" * (len(seeds) + 1) + "|"]
    for task in ("max-med-sum-mod10-depth2", "sum-mod10-depth2"):
        lines.append(f"| `{task}` | {' | '.join(f'{sums[task, seed]:.3f}' for seed in seeds)} |")
    return lines


def test_the_numbers_of_the_quickstart() -> None:
    records = [json.loads(line) for line in (ROOT / "results/quickstart/runs.jsonl").read_text().splitlines()]
    assert between("quickstart") == quickstart_table(records)
    assert {f"{record['params_total']:,}" for record in records} == {"27,072"}
    assert "27,072 parameters, 6,000 steps" in README
    assert {record["steps"] for record in records} == {6000}


JUDGES: dict[str, tuple[str, type[Any], Callable[[Any], Verdict]]] = {
    "C3": ("figure2/embeddings.json", Embeddings, lambda of: embeddings_verdicts.verdicts(of)[0]),
    "C4": ("figure3/embeddings.json", Embeddings, lambda of: embeddings_verdicts.verdicts(of)[1]),
    "C5": ("figure4/dynamics.json", Dynamics, dynamics_verdict.verdict),
    "C6": ("figure5/transfer.json", Transfer, transfer_verdict.verdict),
    "C7": ("reliance/reliance.json", Comparison, reliance_verdict.verdict),
}


def shown_verdict(claim: str) -> str:
    (row,) = [line for line in README.splitlines() if line.startswith(f"| {claim} ")]
    return row.split("|")[2].strip()


@pytest.mark.parametrize("claim", JUDGES)
def test_the_claims_stand_as_the_committed_numbers_say(claim: str, tmp_path: Path) -> None:
    name, kind, judge = JUDGES[claim]
    (tmp_path / "numbers.json").write_bytes(committed(f"results/{name}") or b"")
    verdict = judge(read_numbers(kind, tmp_path / "numbers.json"))
    assert verdict.claim == claim
    assert shown_verdict(claim) == verdict.verdict


def test_the_claims_stand_as_the_committed_records_say() -> None:
    lines = (committed("results/figure1/runs.jsonl") or b"").splitlines()
    verdicts = emergence_verdicts.verdicts(emergence_of([json.loads(line) for line in lines]))
    assert [of.claim for of in verdicts] == ["C1", "C2"]
    for verdict in verdicts:
        assert shown_verdict(verdict.claim) == verdict.verdict


def test_the_calibration_holds() -> None:
    """SCIENCE's gap, from the records: learned inside the mix, a plateau alone, seed by seed."""
    records = [json.loads(line) for line in (ROOT / "results/quickstart/runs.jsonl").read_text().splitlines()]
    exact = {(r["task"], r["seed"]): r["final"]["sum-mod10-depth2"]["test"]["exact_match"] for r in records}
    inside = [exact["max-med-sum-mod10-depth2", seed] for seed in (0, 1, 2)]
    alone = [exact["sum-mod10-depth2", seed] for seed in (0, 1, 2)]
    assert sum(inside) / 3 >= 0.3
    assert max(alone) <= 0.1
    assert all(a - b >= 0.1 for a, b in zip(inside, alone, strict=True))


def test_the_numbers_of_the_benchmarks() -> None:
    training = json.loads((ROOT / "results/benchmarks/training_speed.json").read_text())["n_embd"]
    generator = json.loads((ROOT / "results/benchmarks/generator_speed.json").read_text())["rows_per_second"]
    lines = ["| | ours is faster by |", "|---|---|"]
    lines += [f"| training, n_embd {n}, 2 layers, batch 64 | {of['ratio']:.1f}x |" for n, of in training.items()]
    lines.append(f"| generating the same rows | {generator['vectorised'] / generator['plain']:.0f}x |")
    without = generator["vectorised"] / generator["plain, no splits"]
    lines.append(f"| generating, against rows that look at no split | {without:.1f}x |")
    assert between("benchmarks") == lines
    assert all(of["loss_difference"] <= 1e-5 for of in training.values())

"""A sweep as users run it, in a small clone of the project."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from conftest import ROOT

from hf_listops.hub.records import read_records

HF_LISTOPS = Path(sys.executable).parent / "hf-listops"
RECIPE = """
base: {dataset: outputs/data, max_steps: STEPS, eval_steps: 20, eval_rows: 20, batch_size: 16, n_layer: 1}
grids:
  - {seed: [0, 1], n_embd: [8], task: [sum-mod10-depth2]}
  - {task: sum-mod10-depth2, n_embd: 8, n_positions: 20}
"""


@pytest.fixture
def clone(tmp_path: Path, dataset: Path) -> Path:
    """A git repository of the code as it is in the tree, with one recipe."""
    here = tmp_path / "main"
    here.mkdir()
    for name in ("hf_listops", "model_cards", "train.py"):
        source = ROOT / name
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, here / name, ignore=ignore) if source.is_dir() else shutil.copy(source, here)
    (here / "recipes").mkdir()
    shutil.copytree(dataset, here / "outputs" / "data")
    (here / "recipes" / "tiny.yaml").write_text(RECIPE.replace("STEPS", "40"))
    (here / ".gitignore").write_text("outputs/\n__pycache__/\n")
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        identity = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
        subprocess.run(["git", *identity, *command], cwd=here, check=True)
    return here


def start(clone: Path, *arguments: str) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(clone)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, HF_LISTOPS, *arguments], cwd=clone, env=env, text=True, **pipes)  # type: ignore[call-overload,no-any-return]


def sweep(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    process = start(clone, "sweep", *arguments)
    out, errors = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, errors)


def lines_of_metrics(clone: Path) -> list[int]:
    """How many lines each run of the sweep has written."""
    runs = clone / "outputs" / "sweeps" / "tiny" / "runs"
    return [len(path.read_text().splitlines()) for path in runs.glob("*/metrics.jsonl")]


def wait_for(condition: Callable[[], bool], runners: list[subprocess.Popen[str]]) -> None:
    """Until a condition holds; fails once no runner is left that could bring it about."""
    while not condition():
        assert any(runner.poll() is None for runner in runners), [runner.communicate() for runner in runners]
        time.sleep(0.1)


def test_from_plan_to_reproduction(clone: Path) -> None:
    planned = sweep(clone, "plan", "recipes/tiny.yaml")
    assert planned.returncode == 0, planned.stderr
    assert "3 runs to do" in planned.stdout
    assert not (clone / "results").exists()

    # Work on the tree beside the sweep changes nothing, not even a new field of runs: the code of its commit runs.
    newer = clone / "hf_listops" / "training" / "config.py"
    text = newer.read_text()
    assert text.count("    n_embd: int = ") == text.count("HASHED_IF_SET = (") == 1
    text = text.replace("    n_embd: int = ", '    newer: int | None = _help("", None)\n    n_embd: int = ')
    newer.write_text(text.replace("HASHED_IF_SET = (", 'HASHED_IF_SET = ("newer", '))
    (clone / "train.py").write_text("raise SystemExit('edited')\n")
    ran = sweep(clone, "run", "recipes/tiny.yaml", "--jobs", "2")
    assert ran.returncode == 0, ran.stderr
    records = read_records(clone / "results" / "tiny" / "runs.jsonl")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=clone, capture_output=True, text=True).stdout.strip()
    assert {record["commit"] for record in records if record["stopped"] != "error"} == {commit}
    good = {record["run"]: record for record in records if record["stopped"] == "budget"}
    assert set(good) == {f"sum-mod10-depth2-d8-l1-h1-s{s}" for s in (0, 1)}
    (bad,) = [record for record in records if record["stopped"] == "error"]
    assert "n_positions: 20 is too short" in bad["error"]
    for record in good.values():
        assert record["steps"] == 40
        assert [point["step"] for point in record["curve"]] == [0, 20, 40]
    finished = list((clone / "outputs" / "sweeps" / "tiny" / "runs").glob("*/model.safetensors"))
    assert len(finished) == 2

    before = (clone / "results" / "tiny" / "runs.jsonl").read_bytes()
    assert sweep(clone, "run", "recipes/tiny.yaml").returncode == 0  # nothing is run again
    assert (clone / "results" / "tiny" / "runs.jsonl").read_bytes() == before
    shown = sweep(clone, "status", "recipes/tiny.yaml")
    assert "2 of 3 runs done" in shown.stdout

    data = clone / "outputs" / "data"  # as in a fresh clone: the data are built anew
    manifest = json.loads((data / "listops.json").read_text())
    del manifest["configs"]["sum-mod10-depth2"]
    (data / "listops.json").write_text(json.dumps(manifest))
    shutil.rmtree(data / "sum-mod10-depth2")
    name = "sum-mod10-depth2-d8-l1-h1-s1"
    again = sweep(clone, "reproduce", name, "--records", "results/tiny/runs.jsonl")
    assert again.returncode == 0, again.stderr
    assert again.stdout == f"{name}: the same weights and accuracies\n"
    lines = (clone / "results" / "tiny" / "runs.jsonl").read_text().splitlines()
    forged = [json.loads(line) for line in lines]
    for record in forged:
        if record["run"] == name:
            record["weights_sha256"] = "0" * 64
    (clone / "results" / "tiny" / "runs.jsonl").write_text("".join(json.dumps(of) + "\n" for of in forged))
    differs = sweep(clone, "reproduce", name, "--records", "results/tiny/runs.jsonl")
    assert differs.returncode == 2
    assert "came out differently in weights_sha256" in differs.stderr

    (clone / "other").mkdir()
    shutil.copy(clone / "recipes" / "tiny.yaml", clone / "other" / "tiny.yaml")
    taken = sweep(clone, "run", "other/tiny.yaml")
    assert taken.returncode == 2
    assert "belongs to the recipe 'recipes/tiny.yaml'" in taken.stderr


def test_kills_and_sharing(clone: Path) -> None:
    """Two runners share a sweep; one is killed, with and without its runs; what is left is taken over and all is as whole."""
    recipe = clone / "recipes" / "tiny.yaml"
    recipe.write_text(RECIPE.replace("STEPS", "400").split("  - {task")[0])
    runners = [start(clone, "sweep", "run", "recipes/tiny.yaml") for _ in range(2)]
    wait_for(lambda: all(lines_of_metrics(clone)) and len(lines_of_metrics(clone)) == 2, runners)
    runners[0].send_signal(signal.SIGKILL)  # its training process goes on alone and keeps its claim
    runners[0].communicate()
    _, errors = runners[1].communicate(timeout=240)
    assert runners[1].returncode == 0, errors
    last = sweep(clone, "run", "recipes/tiny.yaml")
    assert last.returncode == 0, last.stderr
    records = read_records(clone / "results" / "tiny" / "runs.jsonl")
    assert len(records) == 2
    assert {record["stopped"] for record in records} == {"budget"}
    # Whatever happened to it, a run is what it is uninterrupted.
    again = sweep(clone, "reproduce", records[0]["run"], "--records", "results/tiny/runs.jsonl")
    assert again.returncode == 0, again.stderr


def test_ctrl_c_saves_and_goes_on(clone: Path) -> None:
    recipe = clone / "recipes" / "tiny.yaml"
    one = RECIPE.replace("STEPS", "4000").split("  - {task")[0]
    recipe.write_text(one.replace("[0, 1]", "[0]"))
    runner = start(clone, "sweep", "run", "recipes/tiny.yaml")
    wait_for(lambda: max(lines_of_metrics(clone), default=0) > 3, [runner])
    # A run that is killed on its own is no error: it goes on where it was.
    training = [child for child in psutil.Process(runner.pid).children() if "train.py" in " ".join(child.cmdline())]
    training[0].kill()
    lines = sum(lines_of_metrics(clone))
    wait_for(lambda: sum(lines_of_metrics(clone)) > lines + 1, [runner])
    runner.send_signal(signal.SIGINT)
    out, errors = runner.communicate(timeout=60)
    assert runner.returncode == 0, errors
    assert "stopped; go on with: hf-listops sweep run recipes/tiny.yaml" in out
    assert not (clone / "results" / "tiny" / "runs.jsonl").exists()
    assert sweep(clone, "run", "recipes/tiny.yaml").returncode == 0
    (record,) = read_records(clone / "results" / "tiny" / "runs.jsonl")
    assert record["steps"] == 4000

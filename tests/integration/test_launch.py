"""`train.py` as users start it: with python, accelerate and torchrun, with right and with wrong input."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT

from hf_listops.hub.run_folder import read_metrics
from hf_listops.training.config import RunConfig
from hf_listops.training.loop import train

BIN = Path(sys.executable).parent
FIELDS = ["--task", "max-med-sum-mod10-depth2", "--n_embd", "16", "--eval_rows", "20", "--batch_size", "32"]


def run(*command: str | Path, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    full = {**os.environ, "TQDM_DISABLE": "1", **env}
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=cwd, env=full, timeout=240
    )


def failed(result: subprocess.CompletedProcess[str], says: str) -> None:
    """Exit code 2 and one sentence on standard error, without a traceback."""
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.returncode == 2, result.stderr
    assert len(errors) == 1, result.stderr
    assert says in errors[0]
    assert "Traceback" not in result.stderr


def test_accelerate_launch_with_a_recipe_and_flags(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    flags = ["--seed", "1", "--n_embd", "48", "--dataset", dataset, "--max_steps", "6", "--output_dir", out]
    result = run(BIN / "accelerate", "launch", "train.py", "recipes/quickstart.yaml", *flags)
    assert result.returncode == 0, result.stderr
    assert "max-med-sum-mod10-depth2-d48-l2-h1-s1" in result.stdout
    assert re.search(r"\d+,\d+ parameters, \d+,\d+ outside the embeddings", result.stdout)
    assert json.loads((out / "config.json").read_text())["n_embd"] == 48


def test_more_processes_than_run_is_an_error(dataset: Path, tmp_path: Path) -> None:
    flags = [*FIELDS, "--dataset", dataset, "--max_steps", "2", "--output_dir", tmp_path / "run"]
    result = run(BIN / "accelerate", "launch", "--cpu", "--num_processes", "2", "train.py", *flags)
    assert result.returncode != 0
    assert "error: processes: several were asked for but 1 runs; on a CPU start two with: torchrun" in result.stderr
    assert not (tmp_path / "run").exists()


def test_two_processes_are_one(dataset: Path, tmp_path: Path) -> None:
    flags = [*FIELDS, "--dataset", str(dataset), "--max_steps", "20", "--logging_steps", "1", "--eval_steps", "20"]
    two = run(
        BIN / "torchrun", "--nproc_per_node", "2", "--master_port", str(_free_port()),
        ROOT / "tests/integration/two_processes_child.py", tmp_path, *flags, "--output_dir", tmp_path / "two",
    )  # fmt: skip
    assert two.returncode == 0, two.stderr
    config = RunConfig(
        task="max-med-sum-mod10-depth2", n_embd=16, eval_rows=20, batch_size=32, dataset=str(dataset), max_steps=20,
        logging_steps=1, eval_steps=20, output_dir=str(tmp_path / "one"),
    )  # fmt: skip
    train(config)
    from hf_listops.data.load import load_split
    from hf_listops.training.curriculum import CurriculumBatchSampler

    task = config.tasks[0]
    sampler = CurriculumBatchSampler(
        {task.name: load_split(str(dataset), task, "train").lengths}, config.schedule, 32, 0
    )
    logs = [dict(json.loads((tmp_path / f"rank{rank}.json").read_text())) for rank in (0, 1)]
    for step in range(20):
        assert logs[0][step] + logs[1][step] == sampler.batch(step).tolist()
        assert len(logs[0][step]) == len(logs[1][step]) == 16
    losses = [[line["loss"] for line in read_metrics(tmp_path / name) if "loss" in line] for name in ("one", "two")]
    assert len(losses[0]) == 20
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    tokens = [[line["tokens"] for line in read_metrics(tmp_path / name) if "loss" in line] for name in ("one", "two")]
    assert tokens[0] == tokens[1]


def _free_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_with_code_0_and_says_how_to_go_on(dataset: Path, tmp_path: Path, number: int) -> None:
    out = tmp_path / "run"
    flags = [
        *FIELDS,
        "--dataset",
        str(dataset),
        "--max_steps",
        "100000",
        "--output_dir",
        str(out),
        "--logging_steps",
        "5",
    ]
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen([sys.executable, "train.py", *flags], cwd=ROOT, stdout=log, stderr=log)
        deadline = time.monotonic() + 120
        while not any("loss" in line for line in read_metrics(out)):
            assert time.monotonic() < deadline
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.1)
        process.send_signal(number)
        assert process.wait(60) == 0
    text = (tmp_path / "log").read_text()
    match = re.search(r"stopped after step (\d+); go on with: python train.py (.*) --resume", text)
    assert match, text
    assert "Traceback" not in text
    assert str(out) in match[2]


def test_wrong_input_is_one_sentence(dataset: Path, tmp_path: Path) -> None:
    out = ["--output_dir", str(tmp_path / "run")]
    failed(run(sys.executable, "train.py", *FIELDS, "--n_layers", "3", *out), "did you mean 'n_layer'")
    failed(run(sys.executable, "train.py", *FIELDS, "--dataset", "nowhere", *out), "'nowhere' is no folder and not in")
    failed(run(sys.executable, "train.py", *FIELDS, "--resume", *out), "holds no run; leave --resume out")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_loses_nothing(dataset: Path, tmp_path: Path) -> None:
    """On a file system too small for the run: one sentence, and with room made the run goes on to the same end."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)], check=True)
    try:
        flags = [*FIELDS, "--dataset", str(dataset), "--max_steps", "60", "--eval_steps", "20", "--save_steps", "10"]
        result = run(sys.executable, "train.py", *flags, "--output_dir", disk / "run")
        failed(result, "No space left on device")
        assert not list(disk.glob("**/.*.tmp"))
        shutil.copytree(disk / "run", tmp_path / "room")
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    fields = {
        "task": "max-med-sum-mod10-depth2", "n_embd": 16, "eval_rows": 20, "batch_size": 32, "dataset": str(dataset),
        "max_steps": 60, "eval_steps": 20, "save_steps": [10],
    }  # fmt: skip
    train(RunConfig(**fields, output_dir=str(tmp_path / "room"), resume=True))  # type: ignore[arg-type]
    train(RunConfig(**fields, output_dir=str(tmp_path / "whole")))  # type: ignore[arg-type]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("room", "whole")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("tracker", ["tensorboard", "trackio"])
def test_trackers(dataset: Path, tmp_path: Path, tracker: str) -> None:
    pytest.importorskip(tracker, reason="an extra")
    out = tmp_path / "run"
    flags = [*FIELDS, "--dataset", str(dataset), "--max_steps", "4", "--output_dir", str(out), "--report_to", tracker]
    result = run(sys.executable, "train.py", *flags, TRACKIO_DIR=str(tmp_path / "trackio"))
    assert result.returncode == 0, result.stderr
    logged = (
        list(out.rglob("events.out.tfevents*"))
        if tracker == "tensorboard"
        else list((tmp_path / "trackio").rglob("*.db"))
    )
    assert logged

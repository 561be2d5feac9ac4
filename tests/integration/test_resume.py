"""Stopped anywhere, by a signal or a kill, and resumed: the same run, bit for bit."""

import itertools
import json
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hf_listops.data.files import sha256_of
from hf_listops.errors import ListOpsError
from hf_listops.hub.manifest import read_manifest
from hf_listops.training.checkpoints import STATE
from hf_listops.training.config import RunConfig
from hf_listops.training.loop import train
from hf_listops.training.run import Training

MIX, PAIR, SUM = "max-med-sum-mod10-depth2", "max-med-mod10-depth2", "sum-mod10-depth2"
RAMP = [{"step": 0, "mix": {PAIR: 1}}, {"step": 21, "mix": {PAIR: 1}}, {"step": 83, "mix": {SUM: 1}}]


def config_of(data: Path, out: Path, **fields: Any) -> RunConfig:
    usual: dict[str, Any] = {
        "curriculum": RAMP,
        "name": "ramp",
        "dataset": str(data),
        "n_embd": 8,
        "max_steps": 120,
        "batch_size": 16,
        "eval_steps": 40,
        "eval_rows": 20,
        "logging_steps": 7,
        "save_steps": [50],
        "output_dir": str(out),
    }
    return RunConfig(**{**usual, **fields})


def fingerprint(folder: Path) -> dict[str, Any]:
    """Everything that a run leaves behind, times and provenance aside."""

    def timeless(path: Path) -> list[Any]:
        return [
            {k: v for k, v in json.loads(line).items() if k != "seconds"} for line in path.read_text().splitlines()
        ]

    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name == "metrics.jsonl":
            found[name] = timeless(path)
        elif path.name == "manifest.json":
            manifest = read_manifest(path.parent)
            found[name] = {k: v for k, v in manifest.items() if k != "files"}
        elif name == str(STATE):
            found[name] = {key: tensor.numpy().tobytes() for key, tensor in load_file(path).items()}
        elif path.name == "run.yaml":
            found[name] = [
                line for line in path.read_text().splitlines() if not line.startswith(("resume", "output_dir"))
            ]
        elif path.is_file():
            found[name] = sha256_of(path)
    return found


@pytest.fixture(scope="module")
def uninterrupted(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("whole") / "run"
    outcome = train(config_of(dataset, out))
    assert (outcome.step, outcome.stopped) == (120, "budget")
    found = fingerprint(out)
    assert {f"steps/step-{n}/model.safetensors" for n in (0, 1, 2, 4, 8, 16, 32, 50, 64, 100)} <= set(found)
    assert not [name for name in found if "tmp" in name]
    return found


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int, number: int) -> None:
    """Sends this process a signal while the update that leads to `step` runs."""
    update = Training.update

    def signalling(self: Training) -> None:
        if self.step + 1 == step:
            os.kill(os.getpid(), number)
        update(self)

    monkeypatch.setattr(Training, "update", signalling)


@pytest.mark.parametrize(
    "stops",
    [[1], [40], [3, 4], [30, 50, 85], [119]],
    ids=["the first step", "an evaluation", "in a row", "a ramp, a checkpoint, a window", "the last but one"],
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_a_signal(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    uninterrupted: dict[str, Any],
    stops: list[int],
    number: int,
) -> None:
    handler = signal.getsignal(number)
    for place, step in enumerate(stops):
        with monkeypatch.context() as patch:
            stop_at(patch, step, number)
            outcome = train(config_of(dataset, tmp_path / "run", resume=place > 0))
            assert (outcome.step, outcome.stopped) == (step, "signal")
            assert not (tmp_path / "run" / "manifest.json").exists()
    assert signal.getsignal(number) is handler
    assert train(config_of(dataset, tmp_path / "run", resume=True)).stopped == "budget"
    assert fingerprint(tmp_path / "run") == uninterrupted


def test_accumulation_resumes_too_and_changes_nothing_but_rounding(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: dict[str, Any]
) -> None:
    fields = {"gradient_accumulation_steps": 3}
    train(config_of(dataset, tmp_path / "whole", **fields))
    with monkeypatch.context() as patch:
        stop_at(patch, 33, signal.SIGTERM)
        train(config_of(dataset, tmp_path / "cut", **fields))
    train(config_of(dataset, tmp_path / "cut", resume=True, **fields))
    whole = fingerprint(tmp_path / "whole")
    assert fingerprint(tmp_path / "cut") == whole
    losses = [
        [line["loss"] for line in found["metrics.jsonl"] if "loss" in line and line["step"] <= 20]
        for found in (whole, uninterrupted)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def in_a_child(config: RunConfig, die_at_sync: int | None) -> int:
    """Trains in a forked process, which may kill itself while it writes; returns the process."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        torch.set_num_threads(1)
        synced = 0
        real = os.fsync

        def dying(descriptor: int) -> None:
            nonlocal synced
            synced += 1
            if synced == die_at_sync:
                os.kill(os.getpid(), signal.SIGKILL)
            real(descriptor)

        os.fsync = dying
        train(config)
        code = 0
    finally:
        os._exit(code)


def test_ten_kills(dataset: Path, tmp_path: Path, uninterrupted: dict[str, Any]) -> None:
    """At random moments and at random moments of a write, by turns: nothing is lost but steps, which are done again.

    A run that ends before the tenth kill is compared and begun anew, so that no speed of a machine runs out of kills.
    """
    rng = random.Random(7)
    out = tmp_path / "run"
    last_step = -1
    killed = 0
    for attempt in itertools.count():
        inside_write = attempt % 2 == 1
        config = config_of(dataset, out, resume=(out / "run.yaml").is_file())
        child = in_a_child(config, rng.randint(1, 90) if inside_write else None)
        if not inside_write:
            time.sleep(rng.uniform(0.05, 0.5))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            killed += 1
        else:
            assert os.WEXITSTATUS(status) == 0
        for manifest in out.glob("**/manifest.json"):
            if ".tmp" not in str(manifest):
                read_manifest(manifest.parent)  # what is there is whole
        state = out / STATE
        if state.is_file():
            step = _saved_step(state)
            assert step >= last_step
            last_step = step
        if not os.WIFSIGNALED(status):
            assert fingerprint(out) == uninterrupted
            shutil.rmtree(out)
            last_step = -1
        if killed == 10:
            break
    train(config_of(dataset, out, resume=(out / "run.yaml").is_file()))
    assert fingerprint(out) == uninterrupted


def _saved_step(state: Path) -> int:
    from safetensors import safe_open

    with safe_open(state, framework="pt") as file:
        step: int = json.loads(file.metadata()["progress"])["step"]
    return step


def test_cut_off_before_the_first_state(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: dict[str, Any]
) -> None:
    """The first evaluation is in the metrics, but there is nothing yet to go on from: the run starts over."""

    def dying(self: Training) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Training, "save_state", dying)
        with pytest.raises(KeyboardInterrupt):
            train(config_of(dataset, tmp_path / "run"))
    assert (tmp_path / "run" / "metrics.jsonl").read_text().count("\n") == 1
    train(config_of(dataset, tmp_path / "run", resume=True))
    assert fingerprint(tmp_path / "run") == uninterrupted


def test_finished_runs_and_other_runs_are_left_alone(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(config_of(dataset, out, max_steps=5))
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert train(config_of(dataset, out, max_steps=5, resume=True)).step == 5
    with pytest.raises(ListOpsError, match="is finished"):
        train(config_of(dataset, out, max_steps=5))
    for resume in (False, True):
        with pytest.raises(ListOpsError, match=r"holds another run \(it differs in max_steps, seed\)"):
            train(config_of(dataset, out, max_steps=6, seed=2, resume=resume))
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "main.tex").write_text("…")
    with pytest.raises(ListOpsError, match="not empty and holds no run"):
        train(config_of(dataset, tmp_path / "thesis"))
    with pytest.raises(ListOpsError, match="holds no run; leave --resume out"):
        train(config_of(dataset, tmp_path / "nowhere", resume=True))
    assert not (tmp_path / "nowhere").exists()


def test_a_corrupt_state_is_named(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_at(patch, 9, signal.SIGTERM)
        train(config_of(dataset, out))
    with pytest.raises(ListOpsError, match="is not finished: add --resume"):
        train(config_of(dataset, out))
    good = (out / STATE).read_bytes()
    flipped = bytearray(good)
    flipped[-9] ^= 4
    for bad in (b"", good[: len(good) // 2], bytes(flipped), b"\0" * 100):
        (out / STATE).write_bytes(bad)
        with pytest.raises(ListOpsError, match=r"resume: .*state.safetensors' is corrupt"):
            train(config_of(dataset, out, resume=True))
    (out / STATE).unlink()
    with pytest.raises(ListOpsError, match="there is no state"):
        train(config_of(dataset, out, resume=True))
    (out / STATE).write_bytes(good)
    assert train(config_of(dataset, out, resume=True)).step == 120


def test_rows_too_long_are_counted_before_the_first_step(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ListOpsError, match=r"n_positions: 20 is too short for \d+ of the 3000 rows .* set it to 26"):
        train(config_of(dataset, tmp_path / "run", n_positions=20))
    with pytest.raises(ListOpsError, match=r"n_positions: 20 is too short for the generated rows .* up to 26"):
        train(config_of(dataset, tmp_path / "other", n_positions=20, dataset="generated"))
    with pytest.raises(ListOpsError, match="batch_size: 2 is below"):
        train(config_of(dataset, tmp_path / "third", batch_size=2, gradient_accumulation_steps=3))
    assert not list(tmp_path.iterdir())


def test_a_solved_run_stops_early(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hf_listops.training.evaluations import Evaluations

    perfect = dict.fromkeys((SUM, PAIR, "max-mod10-depth2", "med-mod10-depth2"), 0.995)
    answers = iter([0.994, 1.0, 0.99, 1.0, 1.0, 1.0, 1.0])
    monkeypatch.setattr(
        Evaluations,
        "scheduled",
        lambda self, lean: {"exact_match": {**perfect, SUM: next(answers)}, "answer_accuracy": perfect},
    )
    outcome = train(config_of(dataset, tmp_path / "run", eval_steps=10, stop_when_solved=True))
    assert (outcome.step, outcome.stopped) == (50, "solved")

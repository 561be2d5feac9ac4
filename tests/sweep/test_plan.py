"""The tables before and during a sweep, against counts made by hand."""

from pathlib import Path
from typing import Any

import pytest

from hf_listops.hub.records import RESULTS_VERSION, add_records
from hf_listops.sweep.grid import Sweep, read_sweep
from hf_listops.sweep.plan import eta_hours, plan, status
from hf_listops.training.config import RunConfig
from hf_listops.training.records import error_record

RECIPE = """
base: {task: sum-mod10-depth2, n_embd: 8, n_layer: 1, max_steps: 100}
grids:
  - {seed: [0, 1]}
  - {seed: [0, 1], learning_rate: 1.0e-3, variant: lr1e-3}
  - {seed: 0, n_embd: 16, max_steps: 200}
"""


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    return read_sweep(Path("tiny.yaml"))


def done(config: RunConfig, exact_match: float, seconds: float) -> dict[str, Any]:
    return {
        "hash": config.hash,
        "config": {"n_embd": config.n_embd},
        "stopped": "budget",
        "steps": config.max_steps,
        "seconds": seconds,
        "final": {"sum-mod10-depth2": {"test": {"exact_match": exact_match}}},
        "results_version": RESULTS_VERSION,
    }


def test_variants_are_told_apart(sweep: Sweep) -> None:
    usual, second, slower, _, wide = sweep.runs
    assert [(of["variant"], of["n_embd"], of["max_steps"], of["runs"]) for of in plan(sweep)] == [
        ("", 8, 100, 2),
        ("lr1e-3", 8, 100, 2),
        ("", 16, 200, 1),
    ]
    assert eta_hours(sweep) is None
    add_records(
        [done(usual, 0.6, 360), done(slower, 0.5, 720), error_record(second, "exit code 1"), done(wide, 0.9, 36)],
        sweep.records,
    )
    assert [(of["variant"], of["n_embd"], of["max_steps"], of["runs"]) for of in plan(sweep)] == [
        ("lr1e-3", 8, 100, 1)
    ]
    counts = [{key: of[key] for key in ("runs", "done", "errors", "solved", "hours")} for of in status(sweep)]
    assert counts == [
        {"runs": 2, "done": 1, "errors": 1, "solved": 1, "hours": 0.1},
        {"runs": 2, "done": 1, "errors": 0, "solved": 0, "hours": 0.2},
        {"runs": 1, "done": 1, "errors": 0, "solved": 1, "hours": 0.01},
    ]
    assert eta_hours(sweep) == pytest.approx(0.15)  # one run left, at the mean of the two of its size

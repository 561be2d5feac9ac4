import json
from pathlib import Path
from typing import Any

import pytest
from sweep_kills import kill_writers

from hf_listops.errors import ListOpsError
from hf_listops.hub.records import RESULTS_VERSION, add_records, read_records
from hf_listops.training.config import RunConfig
from hf_listops.training.records import error_record


def record(number: int, stopped: str = "budget") -> dict[str, Any]:
    return {"hash": f"{number}", "stopped": stopped, "results_version": RESULTS_VERSION, "filler": "x" * 500}


def test_a_run_is_recorded_once_and_an_error_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "runs.jsonl"
    assert read_records(path) == []
    assert add_records([record(1, "error"), record(2)], path) == 2
    assert add_records([record(2), record(1), record(3)], path) == 2
    assert [(r["hash"], r["stopped"]) for r in read_records(path)] == [
        ("2", "budget"),
        ("1", "budget"),
        ("3", "budget"),
    ]


def test_an_error_record() -> None:
    of = error_record(RunConfig(task="sum-mod10-depth2"), "exit code 2: error: why")
    assert (of["run"], of["stopped"], of["error"]) == (
        "sum-mod10-depth2-d32-l2-h1-s0",
        "error",
        "exit code 2: error: why",
    )


def test_torn_lines_and_other_versions_are_named(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    add_records([record(1), record(2)], path)
    good = path.read_text()
    for bad, says in (
        (good[:-50], "line 2 .* is torn"),
        (good + "[]\n", "line 3 .* is torn or no record"),
        (good + '{"a": 1}\n', "line 3"),
        (good + json.dumps({**record(3), "results_version": RESULTS_VERSION + 1}) + "\n", "another results version"),
    ):
        path.write_text(bad)
        with pytest.raises(ListOpsError, match=says):
            read_records(path)
        with pytest.raises(ListOpsError, match=says):
            add_records([record(4)], path)
        assert path.read_text() == bad  # never made worse


def test_ten_kills(tmp_path: Path) -> None:
    assert kill_writers(tmp_path / "runs.jsonl", 10, seed=3)["lines"] >= 10 * 2 * 25

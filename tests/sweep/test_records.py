import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from hf_listops.errors import ListOpsError
from hf_listops.training.config import RunConfig
from hf_listops.training.records import RESULTS_VERSION, add_records, error_record, read_records


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


def _add_many(path: Path, first: int, count: int) -> None:
    for number in range(first, first + count):
        add_records([record(number)], path)


def test_many_processes_and_ten_kills(tmp_path: Path) -> None:
    """Writers that are killed at any moment tear nothing and lose no line that was acknowledged before."""
    path = tmp_path / "runs.jsonl"
    context = multiprocessing.get_context("fork")
    rng = random.Random(3)
    kept: set[str] = set()
    for attempt in range(10):
        writers = [context.Process(target=_add_many, args=(path, 1000 * attempt + 100 * w, 25)) for w in range(3)]
        for writer in writers:
            writer.start()
        time.sleep(rng.uniform(0.01, 0.15))
        os.kill(writers[0].pid or 0, signal.SIGKILL)
        for writer in writers:
            writer.join()
        hashes = [r["hash"] for r in read_records(path)]
        assert len(set(hashes)) == len(hashes)
        assert kept <= set(hashes)
        survivors = {str(1000 * attempt + 100 * w + i) for w in (1, 2) for i in range(25)}
        assert survivors <= set(hashes)
        kept = set(hashes)

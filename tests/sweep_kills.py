"""Kills writers of a results file at random moments and checks that nothing is torn and no acknowledged line is lost.

`python tests/sweep_kills.py 100 results/faults/records.json` does it 100 times and records what it saw.
"""

import contextlib
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hf_listops.data.files import write_atomically
from hf_listops.hub.manifest import provenance
from hf_listops.hub.records import RESULTS_VERSION, add_records, read_records

WRITERS, LINES = 3, 25


def _write(path: Path, first: int) -> None:
    for number in range(first, first + LINES):
        line = {"hash": f"{number}", "stopped": "budget", "results_version": RESULTS_VERSION, "filler": "x" * 500}
        add_records([line], path)


def kill_writers(path: Path, kills: int, seed: int) -> dict[str, Any]:
    """Starts three writers at once, kills one of them after a moment, waits for the others, and looks; `kills` times."""
    context = multiprocessing.get_context("fork")
    rng = random.Random(seed)
    known: set[str] = set()
    killed_at: list[int] = []
    for attempt in range(kills):
        first = [100_000 * attempt + 1000 * place for place in range(WRITERS)]
        writers = [context.Process(target=_write, args=(path, number)) for number in first]
        for writer in writers:
            writer.start()
        time.sleep(rng.uniform(0.005, 0.12))
        with contextlib.suppress(ProcessLookupError):  # it was done before the others had started
            os.kill(writers[0].pid or 0, signal.SIGKILL)
        for writer in writers:
            writer.join()
        hashes = [record["hash"] for record in read_records(path)]
        assert len(set(hashes)) == len(hashes)
        assert known <= set(hashes)
        for number in first[1:]:  # those that were not killed lost nothing
            assert {str(number + i) for i in range(LINES)} <= set(hashes)
        killed_at.append(sum(str(first[0] + i) in set(hashes) for i in range(LINES)))
        known = set(hashes)
    return {"kills": kills, "lines": len(known), "lines_of_the_killed": killed_at, "torn": 0, "lost": 0}


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        seen = kill_writers(Path(scratch) / "runs.jsonl", int(sys.argv[1]), seed=0)
    out = Path(sys.argv[2])
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, json.dumps({**seen, **provenance()}) + "\n")


if __name__ == "__main__":
    main()

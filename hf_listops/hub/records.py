"""Results files: one JSON line a run, from which every figure and table is made."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_listops.data.files import write_atomically
from hf_listops.errors import ListOpsError

RESULTS_VERSION = 1
"""Raised only when a change alters results; records of different versions never mix in one figure."""


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records of a results file, in order; none if there is no file.

    Raises:
        ListOpsError: a line is torn or no record, or records of different results versions stand together.
    """
    records: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_text().splitlines() if path.is_file() else [], start=1):
        try:
            record = json.loads(line)
            versions = {record["results_version"], *(other["results_version"] for other in records[:1])}
        except (json.JSONDecodeError, TypeError, KeyError):
            raise ListOpsError(
                f"records: line {number} of {str(path)!r} is torn or no record; the other lines are good: remove it"
            ) from None
        if len(versions) > 1:
            raise ListOpsError(
                f"records: line {number} of {str(path)!r} has another results version than the first line"
            )
        records.append(record)
    return records


def add_records(fresh: Sequence[dict[str, Any]], path: Path) -> int:
    """Adds the records whose run the file does not hold yet, in the place of an error of the same run; returns how many.

    Any number of processes may add at once: each rewrites the file whole, under a lock, in one rename.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.parent / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        records = read_records(path)
        done = {record["hash"] for record in records if record["stopped"] != "error"}
        added = {record["hash"]: record for record in fresh if record["hash"] not in done}
        kept = [record for record in records if record["hash"] not in added]
        if added:
            write_atomically(path, "".join(f"{json.dumps(record)}\n" for record in [*kept, *added.values()]))
    return len(added)

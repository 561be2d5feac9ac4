"""Making a record again: the same run, by the code of its commit, compared with what was recorded."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hf_listops.data.build import MANIFEST, build_like
from hf_listops.data.files import DATA
from hf_listops.errors import ListOpsError
from hf_listops.hub.records import read_records
from hf_listops.hub.run_folder import knots_of
from hf_listops.language import Task
from hf_listops.training.records import make_record


@dataclass(frozen=True)
class Reproduction:
    """Whether a run came out the same; `differences` names the fields that did not."""

    run: str
    same_weights: bool
    differences: tuple[str, ...]


def reproduce(records: Path, run: str) -> Reproduction:
    """Trains the run of one record anew, in a scratch folder, with the code of the record's commit.

    What its dataset's folder lacks is built, as a sweep or the quickstart has built it.

    Args:
        records (`Path`): a `runs.jsonl`.
        run (`str`): a run's name, or its hash where a name occurs twice.

    Raises:
        ListOpsError: there is no such record, it is an error's, or its commit is not to be had.
    """
    found = [record for record in read_records(records) if run in (record["run"], record["hash"])]
    if len(found) != 1:
        what = "no record" if not found else f"{len(found)} records ({', '.join(record['hash'] for record in found)})"
        raise ListOpsError(f"run: {str(records)!r} has {what} of {run!r}; give a run's name, or one hash")
    (record,) = found
    commit = record["commit"]
    if record["stopped"] == "error" or not commit or "+" in commit:
        why = "with an error" if record["stopped"] == "error" else "by code that is no commit"
        raise ListOpsError(f"run: {run!r} was recorded {why}, so it cannot be made again")
    _build_data(record["config"])
    with tempfile.TemporaryDirectory() as scratch:
        code, folder, recipe = Path(scratch, "code"), Path(scratch, "run"), Path(scratch, "run.yaml")
        private = {"resume": False, "push_to_hub": False, "report_to": "none"}
        config = {field: private.get(field, value) for field, value in record["config"].items()}
        recipe.write_text(yaml.safe_dump(config))
        added = subprocess.run(
            ["git", "worktree", "add", "--detach", str(code), commit], capture_output=True, text=True
        )
        if added.returncode:
            raise ListOpsError(f"commit: git has no {commit!r}; reproduce it in a full clone of the project")
        try:
            command = [sys.executable, str(code / "train.py"), str(recipe), "--output_dir", str(folder)]
            result = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
            if result.returncode:
                raise ListOpsError(f"run: {run!r} ended with exit code {result.returncode} at {commit}")
            again = make_record(folder)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(code)], capture_output=True)
    return compare(record, again)


def _build_data(config: dict[str, Any]) -> None:
    """Builds the tasks of a run into its dataset's folder; a name on the Hub, or data of another kind, is left alone."""
    folder = Path(config["dataset"])
    if (folder / MANIFEST).is_file() or folder == DATA:
        tasks = [Task.from_name(name) for knot in knots_of(config) for name in knot["mix"]]
        alone = [task.alone(operation) for task in tasks for operation in task.operations]
        build_like([*tasks, *alone], folder)


def compare(record: dict[str, Any], again: dict[str, Any]) -> Reproduction:
    """What differs between two records of a run, times and versions aside."""
    fields = ("hash", "params_total", "curve", "final", "stopped", "steps", "tokens", "weights_sha256")
    differences = tuple(field for field in fields if record.get(field) != again.get(field))
    return Reproduction(record["run"], record["weights_sha256"] == again["weights_sha256"], differences)

"""The pretrained models of a clone, offered by name on an embedded Hub, with the datasets of their tasks."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from hf_listops.data.files import write_atomically
from hf_listops.errors import ListOpsError
from hf_listops.hub.manifest import MANIFEST
from hf_listops.hub.names import DEFAULT_NAMESPACE, dataset_repo
from hf_listops.hub.run_folder import knots_of, read_config
from hf_listops.language import Task

FOLDER = Path(__file__).parents[2] / "pretrained"
_METRIC = Path(__file__).parents[1] / "evaluation" / "listops_exact_match"
_DONE = "pretrained.sha256"


def offer_pretrained(root: Path, environment: dict[str, str], *, quiet: bool) -> None:
    """Publishes what lies in `pretrained/` on a running Hub, under `hf-listops/`, unless that has been done before.

    Args:
        root (`Path`): the Hub's folder; datasets are built there.
        environment (`dict`): of a client who may write to `hf-listops/`.
        quiet (`bool`): show no progress.

    Raises:
        ListOpsError: there is no such folder, or publishing failed.
    """
    runs = sorted(path.parent for path in FOLDER.glob(f"*/{MANIFEST}"))
    if not runs:
        raise ListOpsError(f"with_pretrained: {str(FOLDER)!r} holds no run; use a clone of the project")
    state = hashlib.sha256(b"".join((run / MANIFEST).read_bytes() for run in runs)).hexdigest()
    done = root / _DONE
    if done.is_file() and done.read_text() == state:
        return
    ours = [sys.executable, "-m", "hf_listops.cli"]
    tasks = sorted({task for run in runs for task in _tasks(read_config(run))})
    data = ["data", "push", *tasks, "--with_single_operations", "--out", str(root / "data")]
    upload = [sys.executable, "-m", "huggingface_hub.cli.hf", "upload"]
    metric = f"{DEFAULT_NAMESPACE}/{_METRIC.name}"
    for command in (
        [*ours, *data, "--repo", dataset_repo(DEFAULT_NAMESPACE)],
        [*ours, "hub", "publish", *map(str, runs), "--hub_namespace", DEFAULT_NAMESPACE],
        [*upload, metric, str(_METRIC), "--repo-type", "space", "--exclude", "__pycache__/*"],
    ):
        _run(command, environment, quiet)
    write_atomically(done, state)


def _tasks(config: dict[str, Any]) -> set[str]:
    """The names of the tasks that a run was trained on."""
    return {Task.from_name(name).name for knot in knots_of(config) for name in knot["mix"]}


def _run(command: list[str], environment: dict[str, str], quiet: bool) -> None:
    env = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    result = subprocess.run(
        command,
        env={**env, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE if quiet else None,
        text=True,
    )
    if result.returncode:
        last = (result.stderr or "see above").strip().splitlines()[-1]
        raise ListOpsError(f"with_pretrained: {' '.join(command[3:6])} … failed: {last}")

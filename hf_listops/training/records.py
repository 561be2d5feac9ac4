"""Records of finished runs: one JSON line each, from which every figure and table is made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_listops.data.files import write_atomically
from hf_listops.errors import ListOpsError
from hf_listops.hub.manifest import read_manifest
from hf_listops.hub.run_folder import RUN, finished_line, read_metrics
from hf_listops.training.config import RunConfig, read_recipe

RESULTS_VERSION = 1
"""Raised only when a change alters results; records of different versions never mix in one figure."""


def make_record(folder: Path) -> dict[str, Any]:
    """The record of a finished run.

    Raises:
        ListOpsError: the run is not finished, or its checkpoint differs from its manifest.
    """
    last = finished_line(folder)
    if last is None:
        raise ListOpsError(
            f"run: {str(folder)!r} is not finished; go on with: python train.py {folder / RUN} --resume"
        )
    manifest = read_manifest(folder)
    config = RunConfig(**read_recipe(folder / RUN))
    losses: dict[int, float] = {}
    curve = []
    for line in read_metrics(folder):
        if "loss" in line:
            losses[line["step"]] = line["loss"]
        if "exact_match" in line:
            measures = {key: line[key] for key in ("exact_match", "answer_accuracy")}
            curve.append({"step": line["step"], "loss": losses.get(line["step"]), **measures})
    return {
        "run": str(config.run_name),
        "hash": config.hash,
        "config": config.to_dict(),
        "task": config.task,
        "params_total": manifest["params_total"],
        "params_non_embedding": manifest["params_non_embedding"],
        "seed": config.seed,
        "curve": curve,
        "final": last["final"],
        "stopped": last["stopped"],
        "steps": last["step"],
        "seconds": last["seconds"],
        "tokens": manifest["tokens"],
        "weights_sha256": manifest["files"]["model.safetensors"],
        "results_version": RESULTS_VERSION,
        "commit": manifest["commit"],
        "versions": manifest["versions"],
    }


def append_records(folders: Sequence[Path], path: Path) -> int:
    """Adds the records of finished runs that the file does not hold yet; returns how many."""
    lines = path.read_text().splitlines() if path.is_file() else []
    known = {json.loads(line)["hash"] for line in lines}
    fresh = [record for record in map(make_record, folders) if record["hash"] not in known]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, "".join(f"{line}\n" for line in [*lines, *map(json.dumps, fresh)]))
    return len(fresh)

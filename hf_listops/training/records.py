"""The record of a run: what its folder comes down to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hf_listops.errors import ListOpsError
from hf_listops.hub.manifest import provenance, read_manifest
from hf_listops.hub.records import RESULTS_VERSION
from hf_listops.hub.run_folder import RUN, finished_line, read_config, read_metrics
from hf_listops.training.config import RunConfig, read_recipe


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
        "config": read_config(folder),  # in the fields of the code that ran
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


def error_record(config: RunConfig, error: str) -> dict[str, Any]:
    """The record of a run that failed: its config and why."""
    return {
        "run": str(config.run_name),
        "hash": config.hash,
        "config": config.to_dict(),
        "task": config.task,
        "seed": config.seed,
        "stopped": "error",
        "error": error,
        "results_version": RESULTS_VERSION,
        **provenance(),
    }

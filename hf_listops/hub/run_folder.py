"""What lies in a run's folder, as files: its config, its metrics, whether it is finished."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import yaml

from hf_listops.errors import ListOpsError
from hf_listops.hub.manifest import MANIFEST

RUN, METRICS = "run.yaml", "metrics.jsonl"


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The whole lines of a run's metrics, in order; a line that a kill left torn is left out."""
    path = folder / METRICS
    lines = []
    for text in path.read_text().splitlines() if path.is_file() else []:
        with contextlib.suppress(json.JSONDecodeError):
            lines.append(json.loads(text))
    return lines


def read_config(folder: Path) -> dict[str, Any]:
    """The fields of a run's config. Raises `ListOpsError` if the folder holds no run."""
    path = folder / RUN
    if not path.is_file():
        raise ListOpsError(f"run: {str(folder)!r} holds no {RUN}; a right one is a folder that train.py wrote")
    fields: dict[str, Any] = yaml.safe_load(path.read_text())
    return fields


def knots_of(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The knots of a run's curriculum; one where it trains one task."""
    knots: list[dict[str, Any]] = config["curriculum"] or [{"step": 0, "mix": {config["task"]: 1}}]
    return knots


def finished_line(folder: Path) -> dict[str, Any] | None:
    """The last line of a finished run's metrics, with its final evaluation; None if the run is not finished."""
    if not (folder / MANIFEST).is_file():
        return None
    return next((line for line in read_metrics(folder) if "final" in line), None)

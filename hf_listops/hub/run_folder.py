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


def read_config(folder: Path, name: str | None = None) -> dict[str, Any]:
    """The fields of a run's config. `name` is what errors call a folder of the cache: its repo.

    Raises:
        ListOpsError: the folder holds no run, or a broken one.
    """
    path, called = folder / RUN, str(folder) if name is None else name
    if not path.is_file():
        raise ListOpsError(f"run: {called!r} holds no {RUN}; a right one is a finished run that train.py wrote")
    try:
        fields = yaml.safe_load(path.read_text())
    except (UnicodeDecodeError, yaml.YAMLError):
        fields = None
    if not isinstance(fields, dict):
        raise ListOpsError(f"run: the {RUN} of {called!r} holds no fields; train.py writes a right one")
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

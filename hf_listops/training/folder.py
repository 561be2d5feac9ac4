"""A run's folder while it trains: whose it is, and the lines of its metrics."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from hf_listops.data.files import write_atomically
from hf_listops.errors import ListOpsError
from hf_listops.hub.manifest import MANIFEST
from hf_listops.hub.run_folder import METRICS, RUN, read_metrics
from hf_listops.training.config import RunConfig, read_recipe


def check_folder(config: RunConfig) -> None:
    """Raises `ListOpsError` if the run's folder holds anything but this very run, to be resumed. Writes nothing."""
    folder = config.folder
    saved = folder / RUN
    if saved.is_file():
        other = RunConfig(**read_recipe(saved))
        if other.hash != config.hash:
            differing = [
                n for n, v in config.to_dict().items() if other.to_dict()[n] != v and n not in ("output_dir", "resume")
            ]
            raise ListOpsError(
                f"output_dir: {str(folder)!r} holds another run (it differs in {', '.join(differing)}); choose another folder"
            )
        if not config.resume:
            done = "is finished" if (folder / MANIFEST).is_file() else "is not finished: add --resume to go on"
            raise ListOpsError(f"output_dir: the run in {str(folder)!r} {done}; remove the folder to start it anew")
        return
    if config.resume:
        raise ListOpsError(f"resume: {str(folder)!r} holds no run; leave --resume out to start one")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ListOpsError(f"output_dir: {str(folder)!r} is not empty and holds no run; choose another folder")


def open_folder(config: RunConfig) -> None:
    """Makes the run's folder if need be, and clears away what a kill left half written."""
    folder = config.folder
    folder.mkdir(parents=True, exist_ok=True)
    for scratch in [*folder.glob(".*.tmp"), *folder.glob("*/.*.tmp")]:
        shutil.rmtree(scratch) if scratch.is_dir() else scratch.unlink()
    if not (folder / RUN).is_file():
        write_atomically(folder / RUN, config.to_yaml())


class Metrics:
    """The lines of `metrics.jsonl`: in memory and, on the main process, in the file."""

    def __init__(self, folder: Path, writes: bool) -> None:
        self.path, self.writes = folder / METRICS, writes
        self.lines = read_metrics(folder)

    def rewind(self, step: int) -> None:
        """Drops what was written after a step, and a line that a kill left torn."""
        self.lines = [line for line in self.lines if line["step"] <= step and "final" not in line]
        if self.writes:
            write_atomically(self.path, self.text(step))

    def append(self, line: dict[str, Any]) -> None:
        self.lines.append(line)
        if self.writes:
            with open(self.path, "a") as file:
                file.write(json.dumps(line) + "\n")

    def text(self, step: int) -> str:
        return "".join(json.dumps(line) + "\n" for line in self.lines if line["step"] <= step)

    def last_evaluation(self) -> dict[str, Any] | None:
        return next((line for line in reversed(self.lines) if "exact_match" in line), None)

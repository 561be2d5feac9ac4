"""Learning curves: accuracy per operation against the step, run beside run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_listops.data.files import write_atomically
from hf_listops.data.remote import local_folder
from hf_listops.errors import ListOpsError
from hf_listops.hub.pictures import LEGEND, accuracy_panel, curves_of
from hf_listops.hub.run_folder import METRICS, RUN, read_config, read_metrics


def learning_curves(runs: Sequence[str], out: Path) -> list[Path]:
    """Draws `learning_curves.png` and `.svg`, one panel a run, and writes their numbers to `learning_curves.json`.

    Solid lines are exact match on the task of one operation alone, dashed lines answer accuracy, and dotted lines the
    answer accuracy of the best constant answer. Returns the paths written.

    Args:
        runs (`Sequence[str]`): folders of runs, finished or not, or `NAMESPACE/REPO[@REVISION]`.
        out (`Path`): where to.

    Raises:
        ListOpsError: there is no such run, a folder holds no run, or a run that has not been evaluated.
    """
    from matplotlib.figure import Figure

    curves = [_curves_of(run) for run in runs]
    out.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(5.2 * len(curves), 4.2), layout="constrained")
    panels = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
    for panel, curve in zip(panels, curves, strict=True):
        accuracy_panel(panel, curve)
    panels[0].set_ylabel("accuracy")
    figure.supxlabel(LEGEND, fontsize=9)
    paths = [out / f"learning_curves.{kind}" for kind in ("png", "svg", "json")]
    figure.savefig(paths[0], dpi=130)
    figure.savefig(paths[1], metadata={"Date": None})
    write_atomically(paths[2], json.dumps(curves, indent=1))
    return paths


def _curves_of(run: str) -> dict[str, Any]:
    folder = local_folder(run, patterns=[RUN, METRICS])
    config, metrics = read_config(folder, run), read_metrics(folder)
    if not any("exact_match" in line for line in metrics):
        raise ListOpsError(f"run: {run!r} has not been evaluated yet; wait for its first evaluation")
    return {"run": Path(run).name, **curves_of(config, metrics)}

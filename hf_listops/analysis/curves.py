"""Learning curves: accuracy per operation against the step, run beside run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_listops.data.files import write_atomically
from hf_listops.errors import ListOpsError
from hf_listops.hub.run_folder import read_config, read_metrics

# One colour an operation, the same in every picture, told apart with colour blindness too (Okabe and Ito).
COLORS = {"MAX": "#0072B2", "MIN": "#56B4E9", "MED": "#009E73", "SUM": "#D55E00"}
_OTHER = "#7F7F7F"


def learning_curves(runs: Sequence[Path], out: Path) -> list[Path]:
    """Draws `learning_curves.png` and `.svg`, one panel a run, and writes their numbers to `learning_curves.json`.

    Solid lines are exact match on the task of one operation alone, dashed lines answer accuracy, and dotted lines the
    answer accuracy of the best constant answer. Returns the paths written.

    Raises:
        ListOpsError: a folder holds no run, or a run that has not been evaluated.
    """
    from matplotlib.figure import Figure

    curves = [_curves_of(run) for run in runs]
    out.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(5.2 * len(curves), 4.2), layout="constrained")
    panels = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
    for panel, curve in zip(panels, curves, strict=True):
        for name, values in curve["tasks"].items():
            operation = name.split("-mod")[0].upper()
            if "-" in operation:  # a mix: its members are drawn
                continue
            color = COLORS.get(operation, _OTHER)
            panel.plot(curve["steps"], values["exact_match"], color=color, label=operation, linewidth=2)
            panel.plot(curve["steps"], values["answer_accuracy"], color=color, linestyle="--", linewidth=1)
            if values["chance"] is not None:
                panel.axhline(values["chance"], color=color, linestyle=":", linewidth=1)
        panel.set(title=curve["title"], xlabel="step", ylim=(-0.02, 1.02))
        panel.grid(alpha=0.25)
        panel.legend(loc="upper left", title="exact match")
    panels[0].set_ylabel("accuracy")
    figure.supxlabel(
        "dashed: answer right, whatever the lines between; dotted: chance, the best constant answer", fontsize=9
    )
    paths = [out / f"learning_curves.{kind}" for kind in ("png", "svg", "json")]
    figure.savefig(paths[0], dpi=130)
    figure.savefig(paths[1], metadata={"Date": None})
    write_atomically(paths[2], json.dumps(curves, indent=1))
    return paths


def _curves_of(run: Path) -> dict[str, Any]:
    config = read_config(run)
    lines = read_metrics(run)
    evaluations = [line for line in lines if "exact_match" in line]
    if not evaluations:
        raise ListOpsError(f"run: {str(run)!r} has not been evaluated yet; wait for its first evaluation")
    final: dict[str, Any] = next((line["final"] for line in lines if "final" in line), {})
    tasks = {
        name: {
            "exact_match": [line["exact_match"][name] for line in evaluations],
            "answer_accuracy": [line["answer_accuracy"][name] for line in evaluations],
            "chance": final.get(name, {}).get("test", {}).get("chance"),
            "final_exact_match": final.get(name, {}).get("test", {}).get("exact_match"),
        }
        for name in evaluations[0]["exact_match"]
    }
    subject = config["task"] or config["name"]
    title = f"trained on {subject}\nn_embd {config['n_embd']}, {config['n_layer']} layers, seed {config['seed']}"
    return {"run": run.name, "title": title, "steps": [line["step"] for line in evaluations], "tasks": tasks}

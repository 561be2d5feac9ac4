"""Pictures of one run, drawn from its config and its metrics alone: the same input gives the same bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from hf_listops.errors import ListOpsError
from hf_listops.language import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# One colour an operation, the same in every picture; the first four and shuffled SUM told apart with colour blindness
# too (Okabe and Ito).
COLORS = {
    "MAX": "#0072B2",
    "MIN": "#56B4E9",
    "MED": "#009E73",
    "SUM": "#D55E00",
    "FIRST": "#999933",
    "LAST": "#7F7F7F",
    "PROD": "#CC79A7",
    "NADD": "#882255",
    "SHUF": "#E69F00",
    "SYMSHUF": "#000000",
}
_MIXES = ("#332288", "#CC6677", "#44AA99", "#DDCC77", "#88CCEE")  # of tasks of several operations
LEGEND = "dashed: answer right, whatever the lines between; dotted: chance, the best constant answer"


def curves_of(config: dict[str, Any], metrics: list[dict[str, Any]]) -> dict[str, Any]:
    """Every number of a run's accuracy panel: `title`, `steps`, and per task its accuracies at these steps.

    Raises:
        ListOpsError: the run has not been evaluated.
    """
    evaluations = [line for line in metrics if "exact_match" in line]
    if not evaluations:
        raise ListOpsError("metrics: no line holds an evaluation; a right file is that of a run after its step 0")
    final: dict[str, Any] = next((line["final"] for line in metrics if "final" in line), {})
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
    return {"title": title, "steps": [line["step"] for line in evaluations], "tasks": tasks}


def accuracy_panel(panel: Axes, curves: dict[str, Any]) -> None:
    """Draws the accuracies of `curves_of` against the step, on the task of each operation alone.

    Solid lines are exact match, dashed lines answer accuracy, and dotted lines the answer accuracy of the best constant
    answer.
    """
    drawn: dict[str, int] = {}
    mixes = {name: Task.from_name(name).mix for name in curves["tasks"]}
    alone = sorted((name for name in mixes if mixes[name] in COLORS), key=lambda name: list(COLORS).index(mixes[name]))
    for name in alone:
        operation = mixes[name]
        values = curves["tasks"][name]
        color = COLORS[operation]
        alpha = 0.6 ** drawn.get(operation, 0)  # the same operation at another depth is paler
        drawn[operation] = drawn.get(operation, 0) + 1
        label = operation if list(mixes.values()).count(operation) == 1 else name
        panel.plot(curves["steps"], values["exact_match"], color=color, alpha=alpha, label=label, linewidth=2)
        panel.plot(curves["steps"], values["answer_accuracy"], color=color, alpha=alpha, linestyle="--", linewidth=1)
        if values["chance"] is not None:
            panel.axhline(values["chance"], color=color, alpha=alpha, linestyle=":", linewidth=1)
    panel.set(title=curves["title"], xlabel="step", ylim=(-0.02, 1.02))
    panel.grid(alpha=0.25)
    panel.legend(loc="best", title="exact match", framealpha=0.5)


def learning_curve(config: dict[str, Any], metrics: list[dict[str, Any]]) -> bytes:
    """A PNG of accuracy per operation and of the training loss, both against the step.

    Raises:
        ListOpsError: the run has not been evaluated.
    """
    import matplotlib.style
    from matplotlib.figure import Figure

    curves = curves_of(config, metrics)
    logged = [line for line in metrics if "loss" in line]
    with matplotlib.style.context("default"):  # whatever the user's own settings
        figure = Figure(figsize=(10, 4.2), layout="constrained")
        accuracy, loss = figure.subplots(1, 2)
        accuracy_panel(accuracy, curves)
        accuracy.set(title="accuracy per operation", ylabel="accuracy")
        loss.plot([line["step"] for line in logged], [line["loss"] for line in logged], color="#333333", linewidth=1)
        loss.set(title="training loss", xlabel="step", ylabel="nats per target token", ylim=(0, None))
        loss.grid(alpha=0.25)
        figure.supxlabel(LEGEND, fontsize=9)
        return _png(figure)


def curriculum_picture(config: dict[str, Any], last_step: int) -> bytes:
    """A PNG of the weight of each task of a recipe's knots against the step, up to the last step trained."""
    import matplotlib.style
    from matplotlib.figure import Figure

    knots = config["curriculum"]
    names = list(dict.fromkeys(name for knot in knots for name in knot["mix"]))
    steps = [knot["step"] for knot in knots]
    weights = [[knot["mix"].get(name, 0) / sum(knot["mix"].values()) for knot in knots] for name in names]
    spare = iter(_MIXES * len(names))
    tasks = [Task.from_name(name) for name in names]
    mixes = [task.mix for task in tasks]
    colors = [
        COLORS[mix] if mix in COLORS and mix not in mixes[:place] else next(spare) for place, mix in enumerate(mixes)
    ]
    with matplotlib.style.context("default"):
        figure = Figure(figsize=(10, 2.8), layout="constrained")
        panel = figure.subplots()
        until = [*steps, max(last_step, steps[-1])]  # constant after the last knot
        shares = [[*row, row[-1]] for row in weights]
        panel.stackplot(until, shares, labels=[task.name for task in tasks], colors=colors, alpha=0.85, linewidth=0)
        panel.set(
            title="curriculum", xlabel="step", ylabel="share of the rows", xlim=(0, max(last_step, 1)), ylim=(0, 1)
        )
        figure.legend(loc="outside right upper")
        return _png(figure)


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=130, metadata={"Software": None})
    return file.getvalue()

"""The picture of a `Dynamics`: curves above, below them a strip of snapshots for each group."""

from __future__ import annotations

from itertools import cycle, islice
from typing import Any

import numpy as np

from hf_listops.analysis.dynamics import Accuracies, Curve, Dynamics, Group
from hf_listops.analysis.dynamics_snapshots import Snapshot
from hf_listops.analysis.embeddings_measures import Family, Measure, Quantity
from hf_listops.analysis.embeddings_parity import EVEN, ODD
from hf_listops.hub.pictures import COLORS

_GROUPS = ("#000000", "#AA4499", "#88CCEE", "#117733", "#DDCC77")  # none of an operation
_SHOWN = 6  # snapshots of a strip
_MOST_LABELS = 30


def labels(dynamics: Dynamics) -> list[str]:
    """What each group is called: its mix where that is enough to tell it from the others, else its whole name."""
    mixes = ["+".join(group.operations) for group in dynamics.groups]
    if len(set(mixes)) < len(mixes) or any(group.task is None or group.variant for group in dynamics.groups):
        return [group.name for group in dynamics.groups]
    return [f"{mix} alone" if "+" not in mix else mix for mix in mixes]


def draw(dynamics: Dynamics) -> Any:
    """A Matplotlib figure."""
    from matplotlib.figure import Figure

    groups, called = dynamics.groups, labels(dynamics)
    mixed = [(group, label) for group, label in zip(groups, called, strict=True) if len(group.operations) > 1]
    width = max(13.5, 4.5 * (2 + len(mixed)))
    figure = Figure(figsize=(width, 4.9 + 4.7 * len(groups)), layout="constrained")
    figure.suptitle(_title(dynamics), fontsize=10, parse_math=False)  # names are no formulas, here and below
    parts: Any = figure.subfigures(1 + len(groups), 1, height_ratios=[4.2, *[4.7] * len(groups)])
    panels = parts[0].subplots(1, 2 + len(mixed), squeeze=False)[0]
    colors = list(islice(cycle(_GROUPS), len(groups)))
    _draw_losses(panels[0], groups, called, colors)
    for group, label, color in zip(groups, called, colors, strict=True):
        _draw_curve(panels[1], group.alone(dynamics.operation).exact_match, color, label)
    _finish(panels[1], f"exact match on {dynamics.operation} alone", "mean ± one standard deviation; thin: each seed")
    panels[1].set_ylim(-0.02, 1.02)
    _name_lines(panels[1], "upper left")
    for panel, (group, label) in zip(panels[2:], mixed, strict=True):
        _draw_operations(panel, group, label)
    for part, group, label in zip(parts[1:], groups, called, strict=True):
        _draw_strips(part, group, label)
    return figure


def _title(dynamics: Dynamics) -> str:
    seeds = "; ".join(f"{group.name}: {_count(group)}" for group in dynamics.groups)
    return f"{seeds}; {dynamics.max_steps:,} steps"


def _count(group: Group) -> str:
    return f"{len(group.seeds)} seed{'s' if len(group.seeds) > 1 else ''}"


def _draw_curve(panel: Any, curve: Curve, color: str, label: str) -> None:
    """The mean with a band of ± one standard deviation, and each seed as a thin line."""
    steps = np.array(curve.steps)
    panel.plot(steps, curve.mean, color=color, linewidth=2, label=label)
    if curve.sd is None:
        return
    mean, sd = np.array(curve.mean), np.array(curve.sd)
    panel.fill_between(steps, mean - sd, mean + sd, color=color, alpha=0.18, linewidth=0)
    for run in curve.runs:
        panel.plot(steps, run, color=color, linewidth=0.6, alpha=0.7)


def _draw_losses(panel: Any, groups: tuple[Group, ...], called: list[str], colors: list[str]) -> None:
    top = max(max(group.loss.mean) for group in groups)
    name = "plateau of a seed"
    for group, label, color in zip(groups, called, colors, strict=True):
        _draw_curve(panel, group.loss, color, label)
        for place, of_seed in enumerate(group.plateaus):
            level = -0.03 * (1 + place) * top  # one below another, not over the curves
            for plateau in of_seed:
                end = "|" if plateau.left else ">"
                panel.plot([plateau.start, plateau.end], [level] * 2, color=color, linewidth=3, solid_capstyle="butt")
                panel.plot([plateau.end], [level], color=color, marker=end, markersize=7, clip_on=False)
                name = ""
    _finish(panel, "training loss", "nats per target token; bars: plateaus of each seed")
    panel.set_ylim(-0.03 * (1.5 + max(len(group.seeds) for group in groups)) * top, None)
    panel.axhline(0, color="0.6", linewidth=0.6)
    if not name:
        panel.plot([], [], color="0.4", linewidth=3, label="plateau of a seed (|: left, >: not left)")
    _name_lines(panel, "upper right")


def _name_lines(panel: Any, place: str) -> None:
    for text in panel.legend(fontsize=8, framealpha=0.6, loc=place).get_texts():
        text.set_parse_math(False)


def _draw_operations(panel: Any, group: Group, label: str) -> None:
    """A mix on each of its operations alone, and their answer accuracy."""
    for operation in group.operations:
        of: Accuracies = group.alone(operation)
        color = COLORS[operation]
        _draw_curve(panel, of.exact_match, color, operation)
        panel.plot(of.answer_accuracy.steps, of.answer_accuracy.mean, color=color, linewidth=1, linestyle="--")
    _finish(panel, f"{label} on each operation alone", "exact match; dashed: answer right, whatever the lines between")
    panel.set_ylim(-0.02, 1.02)
    panel.legend(fontsize=8, framealpha=0.6, loc="lower right")


def _finish(panel: Any, title: str, note: str) -> None:
    panel.set_title(title, fontsize=10, parse_math=False)
    panel.set_xlabel(f"step\n{note}", fontsize=8)
    panel.tick_params(labelsize=8)
    panel.locator_params(axis="x", nbins=6)
    panel.xaxis.set_major_formatter("{x:,.0f}")
    panel.grid(alpha=0.25)


def shown(snapshots: tuple[Snapshot, ...], count: int = _SHOWN) -> list[Snapshot]:
    """The first snapshot, and those nearest to log-spaced steps over the last two decades of the run."""
    if len(snapshots) <= count:
        return list(snapshots)
    last = snapshots[-1].step
    wanted = np.geomspace(last / 64, last, count - 1)
    logs = np.log([max(snapshot.step, 0.5) for snapshot in snapshots])
    nearest = {int(np.abs(logs - np.log(step)).argmin()) for step in wanted}
    return [snapshots[place] for place in sorted({0, *nearest})]


def found(snapshot: Snapshot, quantity: Quantity, family: Family) -> Measure | None:
    """A measure of a snapshot, None where it has too few components for it."""
    return next((m for m in snapshot.measures if (m.quantity, m.family) == (quantity, family)), None)


def _draw_strips(part: Any, group: Group, label: str) -> None:
    """Above the first two axes coloured by value, below those of the last snapshot's best pair coloured by parity."""
    chosen = shown(group.snapshots)
    best = found(group.snapshots[-1], "parity accuracy", "pair")
    pair = (0, 1) if best is None else (best.components[0] - 1, best.components[1] - 1)
    panels = part.subplots(2, len(chosen), squeeze=False)
    part.suptitle(
        f"{label}: number embeddings, correlation averaged over {_count(group)}, each snapshot rotated onto the next",
        fontsize=10,
        parse_math=False,
    )
    for column, snapshot in enumerate(chosen):
        scores = np.array(snapshot.scores)
        numbers = np.arange(len(scores))
        x, y = _axes(scores, (0, 1))
        above, below = panels[0, column], panels[1, column]
        above.plot(x, y, color="0.85", linewidth=0.8, zorder=0)
        above.scatter(x, y, c=numbers, cmap="viridis", s=110, linewidth=0)
        _annotate(above, x, y, by_value=True)
        texts = (
            f"step {snapshot.step:,}",
            _text("order, best PC", found(snapshot, "rank correlation", "component")),
            _text("Fourier, best pair", found(snapshot, "Fourier power", "pair")),
        )
        above.set_title("\n".join(texts), fontsize=8)
        x, y = _axes(scores, pair)
        below.scatter(x[::2], y[::2], c=EVEN, s=110, linewidth=0, label="even")
        below.scatter(x[1::2], y[1::2], c=ODD, marker="s", s=95, linewidth=0, label="odd")
        _annotate(below, x, y, by_value=False)
        below.set_title(_text("parity, best pair of PCs", found(snapshot, "parity accuracy", "pair")), fontsize=8)
    _finish_strip(panels[0], "axes 1 and 2\nby value, joined in order")
    _finish_strip(panels[1], f"axes {pair[0] + 1} and {pair[1] + 1}\nby parity")
    panels[1, -1].legend(fontsize=7, framealpha=0.6, markerscale=0.6)


def _axes(scores: np.ndarray, pair: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    x, y = pair
    return scores[:, x], scores[:, y] if y < scores.shape[1] else np.zeros(len(scores))


def _annotate(panel: Any, x: np.ndarray, y: np.ndarray, by_value: bool) -> None:
    """Numbers on their points; dark ones on the bright end of the colour map."""
    if len(x) <= _MOST_LABELS:
        for number in range(len(x)):
            panel.annotate(str(number), (x[number], y[number]), ha="center", va="center", fontsize=6,
                           color="black" if by_value and number > 0.75 * len(x) else "white")  # fmt: skip


def _text(name: str, measure: Measure | None) -> str:
    if measure is None:
        return ""
    at = "" if measure.frequency is None else f" at {measure.frequency}"
    return f"{name} {measure.value:.2f}{at} (p {measure.p_shuffled:.2g})"


def _finish_strip(panels: Any, label: str) -> None:
    """One scale for all snapshots, so that growth is seen."""
    limit = 1.12 * max(np.abs([*panel.get_xlim(), *panel.get_ylim()]).max() for panel in panels)
    for panel in panels:
        panel.set(xlim=(-limit, limit), ylim=(-limit, limit), xticks=[0], yticks=[0], aspect="equal")
        panel.set_xticklabels([])
        panel.set_yticklabels([])
        panel.grid(alpha=0.3)
    panels[0].set_ylabel(label, fontsize=8)

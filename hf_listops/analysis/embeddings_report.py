"""Pictures and tables of `Embeddings`: PNG, SVG, JSON and Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hf_listops.analysis.embeddings import Embeddings, Geometry
from hf_listops.analysis.embeddings_measures import Measure
from hf_listops.analysis.embeddings_parity import color_by_parity, draw_parity, label_numbers, parity_text
from hf_listops.analysis.embeddings_verdicts import verdicts
from hf_listops.analysis.outputs import as_written, models_table
from hf_listops.analysis.pages import Sections, verdict_table, write_result

_PLANES = ((0, 1), (2, 3), (4, 5))
_HEAD = (
    "| measure | of | best | value | shuffled | p | random init | p |",
    "|---|---|---|---|---|---|---|---|",
)


def write_report(embeddings: Embeddings, out: Path, *, parity_alone: bool = False) -> list[Path]:
    """Writes a picture of each group (`embeddings-{group}`, or `parity-{group}` of parity alone), PNG and SVG,
    `embeddings.json` with every number in them, `embeddings.md` with the tables, and refreshes the README there. Returns
    the paths."""
    embeddings = as_written(embeddings)
    picture = draw_parity if parity_alone else draw
    pictures = {picture_name(group, parity_alone): picture(group) for group in embeddings.groups}
    table = "\n".join([*measure_table(embeddings, parity_alone=parity_alone), ""])
    return write_result(
        out, "embeddings", embeddings, pictures, table, sections(embeddings, parity_alone=parity_alone)
    )


def picture_name(group: Geometry, parity_alone: bool) -> str:
    """The picture of a group without its ending, as in `parity-mixed-sum-mod-10`."""
    words = group.group.lower().replace(",", "").replace(" ", "-")
    return f"{'parity' if parity_alone else 'embeddings'}-{words}"


def measure_table(embeddings: Embeddings, *, parity_alone: bool = False) -> list[str]:
    """A table for each group: the best component, the best pair and all components together, against chance."""
    lines = [
        f"p: over {embeddings.permutations} shuffles of the residues (for parity over all labelings where these are fewer) "
        f"and {embeddings.draws} random initialisations; the best is chosen anew in each.",
    ]
    for group in embeddings.groups:
        rows = [_line(of) for of in group.measures if of.quantity == "parity accuracy" or not parity_alone]
        lines += ["", title(group), "", *_HEAD, *rows]
    return lines


def title(group: Geometry) -> str:
    """The group and how many models it averages."""
    return f"{group.group}, {len(group.models)} model{'s' if len(group.models) > 1 else ''}"


def sections(embeddings: Embeddings, *, parity_alone: bool = False) -> Sections:
    """The sections that the pages of figures 2 and 3 may show."""
    return {
        "verdicts": lambda: verdict_table(*verdicts(embeddings)),
        "figures": lambda: [
            line
            for group in embeddings.groups
            for line in (f"**{title(group)}**", "", f"![{title(group)}]({picture_name(group, parity_alone)}.png)", "")
        ],
        "models": lambda: models_table(
            embeddings.above, {of.group: of.exact_match for of in embeddings.groups}, embeddings.left_out
        ),
        "measures": lambda: measure_table(embeddings, parity_alone=parity_alone),
    }


def _line(measure: Measure) -> str:
    """One row of a table."""
    best = "+".join(f"PC{j}" for j in measure.components)
    if measure.family == "all":
        best = f"PC1 … PC{measure.components[-1]}"
    if measure.frequency is not None:
        best += f", frequency {measure.frequency}"
    family = {"component": "one component", "pair": "a pair", "all": "all"}[measure.family]
    return (
        f"| {measure.quantity} | {family} | {best} | {measure.value:.2f} | {measure.shuffled:.2f} "
        f"| {measure.p_shuffled:.2g} | {measure.random:.2f} | {measure.p_random:.2g} |"
    )


def draw(group: Geometry) -> Any:
    """Above the correlations and the components coloured by value, below the frequencies and the same by parity."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.5, 6.8), layout="constrained")
    panels = figure.subplots(2, 4)
    figure.suptitle(f"Number embeddings of {title(group)}: average correlation and its components", fontsize=11)
    _draw_correlation(figure, panels[0, 0], group)
    _draw_power(figure, panels[1, 0], group)
    scores = np.array(group.scores)
    numbers = np.arange(len(scores))
    for column, (x, y) in enumerate(_PLANES, start=1):
        for row in (0, 1):
            panel = panels[row, column]
            if x >= scores.shape[1]:
                panel.set_axis_off()
                continue
            vertical = scores[:, y] if y < scores.shape[1] else np.zeros(len(scores))
            if row == 0:
                panel.plot(scores[:, x], vertical, color="0.85", linewidth=0.8, zorder=0)
                panel.scatter(scores[:, x], vertical, c=numbers, cmap="viridis", s=150)
            else:
                color_by_parity(panel, scores[:, x], vertical)
            label_numbers(panel, scores[:, x], vertical)
            panel.set_xlabel(f"PC{x + 1} ({group.variance[x]:.0%})", fontsize=8)
            if y < scores.shape[1]:
                panel.set_ylabel(f"PC{y + 1} ({group.variance[y]:.0%})", fontsize=8)
            panel.set_title("by value, joined in order" if row == 0 else parity_text(group, (x, y)), fontsize=8)
            panel.margins(0.12)
            panel.tick_params(labelsize=7)
    panels[1, 1].legend(fontsize=7, framealpha=0.6, markerscale=0.6)
    return figure


def _draw_correlation(figure: Any, panel: Any, group: Geometry) -> None:
    correlation = np.array(group.correlation)
    off_diagonal = correlation[~np.eye(len(correlation), dtype=bool)]
    limit = float(np.abs(off_diagonal).max())
    image = panel.imshow(correlation, cmap="RdBu_r", vmin=-limit, vmax=limit)
    figure.colorbar(image, ax=panel, shrink=0.8).ax.tick_params(labelsize=7)
    step = -(-len(correlation) // 13)
    panel.set_xticks(range(0, len(correlation), step))
    panel.set_yticks(range(0, len(correlation), step))
    panel.tick_params(labelsize=7)
    panel.set_title("correlation, mean over models", fontsize=8)


def _draw_power(figure: Any, panel: Any, group: Geometry) -> None:
    power = np.array(group.power)
    image = panel.imshow(power, cmap="Greys", vmin=0, vmax=1, aspect="auto")
    figure.colorbar(image, ax=panel, shrink=0.8).ax.tick_params(labelsize=7)
    step = -(-power.shape[1] // 13)
    panel.set_xticks(range(0, power.shape[1], step), [str(f + 1) for f in range(0, power.shape[1], step)])
    panel.set_yticks(range(len(power)), [f"PC{j + 1}" for j in range(len(power))])
    panel.tick_params(labelsize=7)
    panel.set_xlabel("frequency, turns over all residues", fontsize=8)
    panel.set_title("Fourier power, share of each component", fontsize=8)

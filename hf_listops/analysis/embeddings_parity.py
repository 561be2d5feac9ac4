"""Odd against even in the planes of a group's components: the picture of Figure 3 (claim C4)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hf_listops.analysis.embeddings import Geometry

Floats = NDArray[np.float64]

EVEN, ODD = "#0072B2", "#D55E00"  # told apart with colour blindness too
_PAPER = (4, 5)  # the components that the paper shows, counted from 0


def draw_parity(group: Geometry) -> Any:
    """The plane that the paper shows, PC5 and PC6, and the one that tells odd from even best, where there are such."""
    from matplotlib.figure import Figure

    scores = np.array(group.scores)
    best = next(
        (of for of in group.measures if (of.quantity, of.family) == ("parity accuracy", "pair")),
        None,
    )
    planes = [_PAPER] if scores.shape[1] > max(_PAPER) else []
    if best is not None:
        planes.append((best.components[0] - 1, best.components[1] - 1))
    figure = Figure(figsize=(5.2 * max(1, len(planes)), 4.8), layout="constrained")
    models = f"{len(group.models)} model{'s' if len(group.models) > 1 else ''}"
    figure.suptitle(f"Parity in the number embeddings of {group.group}, {models}", fontsize=11)
    if not planes:
        figure.text(0.5, 0.5, "the embeddings span one dimension", ha="center")
    for place, (x, y) in enumerate(planes):
        panel = figure.add_subplot(1, len(planes), place + 1)
        color_by_parity(panel, scores[:, x], scores[:, y])
        label_numbers(panel, scores[:, x], scores[:, y])
        panel.set_xlabel(f"PC{x + 1} ({group.variance[x]:.0%})", fontsize=9)
        panel.set_ylabel(f"PC{y + 1} ({group.variance[y]:.0%})", fontsize=9)
        chosen = "as the paper shows" if (x, y) == _PAPER and place == 0 else "the best of all pairs"
        title = f"{chosen}: {parity_text(group, (x, y))}"
        if place and best is not None:
            title = f"{chosen}: held out {best.value:.2f} (p {best.p_shuffled:.2g}, chosen anew in each shuffle)"
        panel.set_title(title, fontsize=8)
        panel.margins(0.12)
        panel.tick_params(labelsize=8)
        panel.legend(fontsize=8, framealpha=0.6, markerscale=0.6)
    return figure


def color_by_parity(panel: Any, x: Floats, y: Floats) -> None:
    """Points of the numbers 0 … n-1, both coordinates of shape `(n,)`."""
    for parity, color, label in ((0, EVEN, "even"), (1, ODD, "odd")):
        panel.scatter(x[parity::2], y[parity::2], c=color, s=150, label=label)


def label_numbers(panel: Any, x: Floats, y: Floats) -> None:
    """Writes 0 … n-1 into their points."""
    for number, place in enumerate(zip(x, y, strict=True)):
        panel.annotate(str(number), place, ha="center", va="center", fontsize=7, color="white")


def parity_text(group: Geometry, plane: tuple[int, int]) -> str:
    """The held-out parity accuracy of a plane, with its p value before any correction."""
    pair = (plane[0] + 1, plane[1] + 1)
    of = next((m for m in group.measures if m.quantity == "parity accuracy" and pair in m.sets), None)
    if of is None:
        return "by parity"
    place = of.sets.index(pair)
    return f"by parity: held out {of.values[place]:.2f} (p {of.p_each[place]:.2g} of this pair alone)"

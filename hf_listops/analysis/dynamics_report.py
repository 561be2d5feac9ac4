"""Tables and page of a `Dynamics`, written with its picture: PNG, SVG, JSON and Markdown."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hf_listops.analysis.dynamics import Curve, Dynamics, Group
from hf_listops.analysis.dynamics_picture import draw, found, labels
from hf_listops.analysis.dynamics_snapshots import MEASURED, Snapshot
from hf_listops.analysis.dynamics_verdict import verdict
from hf_listops.analysis.outputs import as_written
from hf_listops.analysis.pages import Sections, verdict_table, write_result

_ROWS = 9  # of the table of curves: both ends and about every eighth of the run


def write_report(dynamics: Dynamics, out: Path) -> list[Path]:
    """Writes `dynamics.png/.svg`, `dynamics.json` with every number in them, and `dynamics.md`; refreshes a page there.

    Returns the paths written.

    Raises:
        ListOpsError: the page asks for an unknown section.
    """
    dynamics = as_written(dynamics)
    return write_result(
        out, "dynamics", dynamics, {"dynamics": draw(dynamics)}, markdown(dynamics), sections(dynamics)
    )


def sections(dynamics: Dynamics) -> Sections:
    """The sections that a page of dynamics may show."""
    return {
        "progress": lambda: _progress(dynamics),
        "figure": lambda: [f"![Loss, exact match and embeddings over {dynamics.max_steps:,} steps](dynamics.png)"],
        "verdicts": lambda: verdict_table(verdict(dynamics)),
        "curves": lambda: curves_table(dynamics),
        "plateaus": lambda: plateaus_table(dynamics),
        "snapshots": lambda: snapshots_table(dynamics),
    }


def markdown(dynamics: Dynamics) -> str:
    """All tables."""
    lines = [
        *curves_table(dynamics),
        "",
        "Plateaus of the training loss, a seed at a time:",
        "",
        *plateaus_table(dynamics),
        "",
        *snapshots_table(dynamics),
        "",
        *verdict_table(verdict(dynamics)),
    ]
    return "\n".join([*lines, ""])


def _progress(dynamics: Dynamics) -> list[str]:
    runs = sum(len(group.seeds) for group in dynamics.groups)
    each = ", ".join(f"{len(group.seeds)} of {label}"
                     for group, label in zip(dynamics.groups, labels(dynamics), strict=True))  # fmt: skip
    state = "Under way" if verdict(dynamics).verdict == "not yet run" else "Complete"
    return [f"**{state}: {runs} run{'s' if runs > 1 else ''} done**, {each}."]


def curves_table(dynamics: Dynamics) -> list[str]:
    """A line a step, about eight: exact match of each operation alone, and the training loss up to there."""
    columns: list[tuple[str, Curve]] = []
    for group, label in zip(dynamics.groups, labels(dynamics), strict=True):
        columns += [(f"{label}: {of}", group.alone(of).exact_match) for of in _operations(group, dynamics.operation)]
        columns.append((f"{label}: loss", group.loss))
    common = sorted(set.intersection(*(set(group.accuracies[0].exact_match.steps) for group in dynamics.groups)))
    places = np.linspace(0, len(common) - 1, min(_ROWS, len(common))).round().astype(int)
    lines = [
        "Exact match on one operation alone, and training loss: mean ± one standard deviation over the seeds.",
        "",
        f"| step | {' | '.join(name for name, _ in columns)} |",
        "|---" * (1 + len(columns)) + "|",
    ]
    lines += [
        f"| {step:,} | {' | '.join(_at(curve, step) for _, curve in columns)} |"
        for step in (common[p] for p in places)
    ]
    return lines


def _operations(group: Group, first: str) -> list[str]:
    return [first, *(operation for operation in group.operations if operation != first)]


def _at(curve: Curve, step: int) -> str:
    """`0.53 ± 0.04`, the mean alone of one seed, or a dash where nothing was measured."""
    if step not in curve.steps:
        return "–"
    place = curve.steps.index(step)
    return f"{curve.mean[place]:.2f}" + ("" if curve.sd is None else f" ± {curve.sd[place]:.2f}")


def plateaus_table(dynamics: Dynamics) -> list[str]:
    """A line for each plateau of each seed, or one that says that there is none."""
    lines = ["| trained on | seed | from step | to step | steps | loss | left |", "|" + "---|" * 7]
    for group, label in zip(dynamics.groups, labels(dynamics), strict=True):
        for seed, of_seed in zip(group.seeds, group.plateaus, strict=True):
            lines += [
                f"| {label} | {seed} | {of.start:,} | {of.end:,} | {of.length:,} | {of.loss:.2f} "
                f"| {'yes' if of.left else 'not within the budget'} |"
                for of in of_seed
            ] or [f"| {label} | {seed} | none | | | | |"]
    return lines


def snapshots_table(dynamics: Dynamics) -> list[str]:
    """A line for each snapshot: its measures, with the p values of shuffles and of random initialisations."""
    lines = [
        f"Value (p over {dynamics.permutations} shuffles of the residues, p over {dynamics.draws} random "
        "initialisations); the best is chosen anew in each.",
        "",
        "| trained on | step | parity, best pair | parity, all | order, best component | Fourier power, best pair |",
        "|" + "---|" * (2 + len(MEASURED)),
    ]
    for group, label in zip(dynamics.groups, labels(dynamics), strict=True):
        lines += [
            f"| {label} | {snapshot.step:,} | {' | '.join(_measures(snapshot))} |" for snapshot in group.snapshots
        ]
    return lines


def _measures(snapshot: Snapshot) -> list[str]:
    texts = []
    for quantity, family in MEASURED:
        of = found(snapshot, quantity, family)
        if of is None:
            texts.append("–")
            continue
        best = "" if family == "all" else f", {'+'.join(f'PC{j}' for j in of.components)}"
        frequency = "" if of.frequency is None else f" at frequency {of.frequency}"
        texts.append(f"{of.value:.2f}{best}{frequency} ({of.p_shuffled:.2g}, {of.p_random:.2g})")
    return texts

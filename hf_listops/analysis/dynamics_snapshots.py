"""The number embeddings of a group of runs at every revision that all of them keep, in axes that do not flip.

Each snapshot is the geometry of `embeddings`: the correlation matrix averaged over the seeds, and its components. Principal
components have no sign and change places from step to step, so each snapshot is rotated (orthogonal Procrustes, reflections
allowed) onto the next later one, from the last on, whose axes are its own components. The rotation is chosen to make
snapshots alike: structure in a picture counts only where the measures, which a rotation of the axes does not enter, find it.

Shapes: n residues, D `n_embd`, k components.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hf_listops.analysis.embeddings import geometry, number_embeddings
from hf_listops.analysis.embeddings_measures import Family, Measure, Quantity
from hf_listops.analysis.history import History
from hf_listops.errors import ListOpsError
from hf_listops.evaluation.checkpoint import load_checkpoint

Floats = NDArray[np.float64]

MEASURED: tuple[tuple[Quantity, Family], ...] = (
    ("parity accuracy", "pair"),
    ("parity accuracy", "all"),
    ("rank correlation", "component"),
    ("Fourier power", "pair"),
)


@dataclass(frozen=True)
class Snapshot:
    """The number embeddings of a group at one step."""

    step: int
    scores: tuple[tuple[float, ...], ...]  # aligned, (n, k): k is the largest of all snapshots, the rest is 0
    variance: tuple[float, ...]  # share of each of its own components, before the rotation
    measures: tuple[Measure, ...]  # `MEASURED`, of its own components; fewer where there are fewer than three


def snapshots(histories: Sequence[History], permutations: int, draws: int) -> tuple[Snapshot, ...]:
    """The snapshots of runs of one set-up, in order of their steps.

    Args:
        histories (`Sequence[History]`): the seeds of one set-up.
        permutations (`int`), draws (`int`): behind each p value, as in `embeddings.analyze`.

    Raises:
        ListOpsError: fewer than two revisions are kept by all; as `load_checkpoint` and `embeddings.geometry`.
    """
    names = [history.name for history in histories]
    found = {
        step: geometry(
            f"step {step}",
            names,
            [number_embeddings(load_checkpoint(history.revisions[step])) for history in histories],
            permutations,
            draws,
        )
        for step in common_steps(histories)
    }
    scores = aligned([np.array(of.scores) for of in found.values()])
    return tuple(
        Snapshot(
            step,
            tuple(tuple(row) for row in rotated.tolist()),
            of.variance,
            tuple(m for m in of.measures if (m.quantity, m.family) in MEASURED),
        )
        for (step, of), rotated in zip(found.items(), scores, strict=True)
    )


def common_steps(histories: Sequence[History]) -> list[int]:
    """The steps at which every run keeps a revision. Raises `ListOpsError` if these are fewer than two."""
    alone = next((history for history in histories if len(history.revisions) < 2), None)
    if alone is not None:
        from huggingface_hub import constants

        if constants.is_offline_mode() and not Path(alone.name).is_dir():
            raise ListOpsError(
                f"model: the cache holds no step of {alone.name!r} but the last, and HF_HUB_OFFLINE is set; load the others "
                "once while online"
            )
        raise ListOpsError(
            f"model: {alone.name!r} has a single revision, its final state, so nothing to follow; keep some along the way "
            "by training with --save_steps 1000"
        )
    steps = sorted(set.intersection(*(set(history.revisions) for history in histories)))
    if len(steps) < 2:
        raise ListOpsError(
            f"model: {' and '.join(repr(history.name) for history in histories)} share no revision but their last; train "
            "them with the same --save_steps, as in --save_steps 1000"
        )
    return steps


def aligned(scores: Sequence[Floats]) -> list[Floats]:
    """Each but the last rotated onto the next, which is rotated already.

    Args:
        scores (`Sequence[ndarray]`): centred, each of shape `(n, k)`; k may differ and is padded with zeros.

    Returns:
        `list`: of the shape `(n, k)` with the largest k.
    """
    from scipy.linalg import orthogonal_procrustes

    width = max(of.shape[1] for of in scores)
    padded = [np.pad(of, ((0, 0), (0, width - of.shape[1]))) for of in scores]
    turned = padded[-1:]
    for of in reversed(padded[:-1]):
        rotation, _ = orthogonal_procrustes(of, turned[0])
        turned.insert(0, of @ rotation)
    return turned

"""Is there structure of the numbers in some components? Parity, order and circles, each against chance.

Three measures of a set of components (one, a pair, or all): how well a linear classifier tells odd from even, how well
the components' ranks give the number, and how much of their variance is one frequency over the residues. Each is held
against the same measure with the residues shuffled and with embeddings as a model is initialised. Where the best of
several components, pairs or frequencies is shown, the best is chosen anew in every shuffle and in every random draw
(the maximum statistic), so a p value needs no further correction within its line.

Shapes: n residues, k components, S sets of components, P shuffles of which the first is the true order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Sets = Sequence[tuple[int, ...]]
Quantity = Literal["parity accuracy", "rank correlation", "Fourier power"]
Family = Literal["component", "pair", "all"]

RIDGE = 0.1
"""Penalty of the parity classifier, for components of norm 1."""


@dataclass(frozen=True)
class Measure:
    """One quantity of a family of sets of components, and its best set against chance.

    `parity accuracy`: share of residues whose parity a ridge classifier gets right that was fitted to all others.
    `rank correlation`: multiple correlation of the number with the components' ranks; of one component, Spearman's
    without its sign. `Fourier power`: share of the components' variance at the best frequency, at
    most 2 / k of all k components, since a frequency has two dimensions.
    """

    quantity: Quantity
    family: Family
    components: tuple[int, ...]  # the best set, counted from 1
    frequency: int | None  # the best, in turns over all residues; Fourier power only
    value: float  # of the best set
    shuffled: float  # mean over shuffles, of the best set of each
    p_shuffled: float
    random: float  # mean over random initialisations, of the best set of each
    p_random: float
    sets: tuple[tuple[int, ...], ...]
    values: tuple[float, ...]  # of each set
    p_each: tuple[float, ...]  # of each set by shuffling, not corrected for there being several


def measure(scores: Floats, random: Sequence[Floats], permutations: int, rng: np.random.Generator) -> list[Measure]:
    """All quantities of all families.

    Args:
        scores (`ndarray`): components of the residues, shape `(n, k)`, none of them constant.
        random (`Sequence[ndarray]`): the same of random initialisations.
        permutations (`int`): shuffles; parity takes all its labelings instead where these are no more.
    """
    n, k = scores.shape
    families: dict[Family, Sets] = {"component": [(j,) for j in range(k)]}
    if k > 1:
        families["pair"] = list(combinations(range(k), 2))
    if k > 2:
        families["all"] = [tuple(range(k))]
    true_order = np.arange(n)[None]
    orders = np.concatenate([true_order, rng.permuted(np.tile(true_order, (permutations, 1)), axis=1)])
    labels = _parities(n, permutations)
    shuffles = {"parity accuracy": orders % 2 if labels is None else labels}
    found = []
    for quantity, statistic in STATISTICS.items():
        of = shuffles.get(quantity, orders)
        for family, sets in families.items():
            observed = statistic(scores, sets, of)
            baseline = np.array([statistic(draw, sets, of[:1]).max() for draw in random])
            found.append(_against_chance(quantity, family, sets, observed, baseline, n))
            if quantity == "Fourier power":
                power = spectrum(scores)[list(sets[int(observed[:, 0].argmax())])].mean(axis=0)
                found[-1] = _with_frequency(found[-1], int(power.argmax()) + 1)
    return found


def _against_chance(
    quantity: Quantity, family: Family, sets: Sets, observed: Floats, baseline: Floats, n: int
) -> Measure:
    def shown(statistic: Floats) -> Floats:
        return (
            np.abs(np.round(statistic * n)) / n if quantity == "parity accuracy" else statistic
        )  # without the tie-break

    best = int(observed[:, 0].argmax())
    value = observed[best, 0]
    largest = observed.max(axis=0)
    counted = tuple(tuple(j + 1 for j in one) for one in sets)
    return Measure(
        quantity, family, counted[best], None,
        value=float(shown(value)),
        shuffled=float(shown(largest).mean()),
        p_shuffled=float((largest >= value - 1e-9).mean()),
        random=float(shown(baseline).mean()),
        p_random=float((1 + (baseline >= value - 1e-9).sum()) / (1 + len(baseline))),
        sets=counted,
        values=tuple(shown(observed[:, 0]).tolist()),
        p_each=tuple((observed >= observed[:, :1] - 1e-9).mean(axis=1).tolist()),
    )  # fmt: skip


def _with_frequency(measure: Measure, frequency: int) -> Measure:
    return Measure(**{**measure.__dict__, "frequency": frequency})


def _parities(n: int, most: int) -> Ints | None:
    """All ways to call as many residues odd as there are odd ones, the true one first; None if more than `most`."""
    if math.comb(n, n // 2) > most:
        return None
    odd = np.arange(n) % 2
    others = [np.isin(np.arange(n), chosen).astype(np.int64) for chosen in combinations(range(n), n // 2)]
    return np.stack([odd, *(labels for labels in others if (labels != odd).any())])


def parity_accuracy(scores: Floats, sets: Sets, labels: Ints) -> Floats:
    """Leave-one-out accuracy of a ridge classifier (least squares on labels -1 and 1 with an intercept).

    Closed form: with the hat matrix H, the prediction for residue i fitted to all others is
    `(H y - h_ii y)_i / (1 - h_ii)`. Ties are broken by the mean margin of the held-out residues, which moves a value by
    less than half a residue; round to whole residues for the accuracy itself. Where the label says nothing the accuracy
    lies below 1/2, since whoever is left out leaves the others in the majority: the baselines do so too.

    Args:
        labels (`ndarray`): 0 and 1, shape `(P, n)`.

    Returns:
        `ndarray`: shape `(S, P)`.
    """
    n = len(scores)
    u, y = _unit(scores), 2.0 * labels.T - 1
    found = []
    for one in sets:
        x = u[:, list(one)]
        hat = 1 / n + x @ np.linalg.solve(x.T @ x + RIDGE * np.eye(len(one)), x.T)
        own = np.diag(hat)[:, None]
        margins = y * (hat @ y - own * y) / (1 - own)
        found.append((margins > 1e-9).mean(axis=0) + 0.49 / n * np.tanh(margins.mean(axis=0)))
    return np.array(found)


def rank_correlation(scores: Floats, sets: Sets, orders: Ints) -> Floats:
    """Multiple correlation of the number with the ranks of the components, in [0, 1]: shape `(S, P)`."""
    ranks, numbers = _unit(rankdata(scores, axis=0)), _unit(orders.T.astype(np.float64))
    return np.array([np.linalg.norm(_projection(ranks[:, list(one)]) @ numbers, axis=0) for one in sets])


def fourier_power(scores: Floats, sets: Sets, orders: Ints) -> Floats:
    """The largest share of variance that one frequency has, mean over the components of a set: shape `(S, P)`."""
    n = len(scores)
    waves = _waves(n)  # (n, n - 1)
    # Shuffle p gives the number orders[p, r] to residue r, so the wave at that number is what r is multiplied with.
    u = _unit(scores)
    power = np.empty((scores.shape[1], n // 2, len(orders)))
    for f in range(n // 2):
        of = waves[:, 2 * f : 2 * f + 2][orders]  # (P, n, 2 or 1)
        power[:, f] = ((u.T @ of) ** 2).sum(axis=2).T
    return np.array([power[list(one)].mean(axis=0).max(axis=0) for one in sets])


def spectrum(scores: Floats) -> Floats:
    """Share of each component's variance at the frequencies 1 … n // 2, in turns over all residues: shape `(k, n // 2)`.

    A circle of frequency f has all its power there, in both its components; for even n, frequency n / 2 is parity. A bent
    line, whose ends do not meet, has most of its power at frequency 1 too: look at the picture for the gap.
    """
    squares = (_unit(scores).T @ _waves(len(scores))) ** 2
    return np.add.reduceat(squares, np.arange(0, squares.shape[1], 2), axis=1)


def _waves(n: int) -> Floats:
    """Orthonormal cosines and sines of the frequencies 1 … n // 2, shape `(n, n - 1)`; of n / 2 the cosine alone."""
    turns = 2 * np.pi * np.outer(np.arange(n), np.arange(1, n // 2 + 1)) / n
    both = np.stack([np.cos(turns), np.sin(turns)], axis=2).reshape(n, -1)[:, : n - 1]
    return both / np.linalg.norm(both, axis=0)


def _unit(columns: Floats) -> Floats:
    """Columns centred and of norm 1."""
    centred = columns - columns.mean(axis=0)
    return centred / np.linalg.norm(centred, axis=0)


def _projection(columns: Floats) -> Floats:
    return columns @ np.linalg.pinv(columns)


STATISTICS: dict[Quantity, Callable[[Floats, Sets, Ints], Floats]] = {
    "parity accuracy": parity_accuracy,
    "rank correlation": rank_correlation,
    "Fourier power": fourier_power,
}

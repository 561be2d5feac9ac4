"""A transition point: the size at which half of the runs are solved, with its interval, and the ratio of two of them.

Each run is one draw: whether a seed learns is all but binary near the transition, and the 2,000 test rows of one run are
nothing like independent. So the likelihood is that of a logistic curve over log10(total parameters) with one observation
a run, its share of solved test rows; its maximum is that of the binomial GLM over rows. The 50 % point and slope are found
on a grid, which knows no failure to converge: perfect separation is a likelihood like any other. The 95 % interval is the
profile likelihood's (the points that a likelihood-ratio test at 5 % does not reject), and is given only with 5 seeds a
size or more; `tests/analysis/test_transition.py` checks its coverage, and that of the ratio, by simulation.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log2, sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SOLVED = 0.5
_QUANTILE = 3.841458820694124  # of chi-square with one degree of freedom, at 95 %
_MARGIN = 0.5  # decades beyond the sizes tried within which a 50 % point is looked for
_SLOPES = np.geomspace(0.2, 200, 50)  # logits a decade


@dataclass(frozen=True)
class Fit:
    """A transition point in total parameters.

    `where` is `within` (`size` is the point), `above` (not reached: larger than `size`, the largest tried), `below`
    (smaller than `size`, the smallest tried) or `falling` (accuracy does not rise with size). `low` and `high` are the
    95 % interval, None where there are too few seeds or accuracy falls; an open end is 0 or infinite. Where the point was
    not reached, `low` is at most the largest size tried and `high` is open, so that the interval claims no more than the
    runs show: runs that all but reach 50 % at the largest size leave `low` below it. `slope` is in logits a decade, None
    of a single size; its sign is that of the correlation of size and share, as the likelihood's is, and `p_value` is that
    of `slope_p_value`.
    """

    where: str
    size: float
    slope: float | None
    p_value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Ratio:
    """log2 of a ratio of transitions; `bound` is `=`, or `>` or `<` where one of the two was not reached.

    `low` and `high` are the 95 % interval, infinite where open and None with too few seeds.
    """

    bound: str
    log2: float
    low: float | None = None
    high: float | None = None


def fit_transition(sizes: Floats, shares: Floats, interval: bool) -> Fit:
    """Fits the logistic curve to runs.

    Args:
        sizes (`ndarray`): total parameters of each run, shape `(runs,)`.
        shares (`ndarray`): its share of solved test rows, in [0, 1], shape `(runs,)`.
        interval (`bool`): whether to give the 95 % interval.
    """
    smallest, largest = float(sizes.min()), float(sizes.max())
    distinct, place, runs = np.unique(sizes, return_inverse=True, return_counts=True)
    x, solved = np.log10(distinct), np.bincount(place, weights=shares)  # runs of one size add up
    points = np.linspace(x.min() - _MARGIN, x.max() + _MARGIN, 481)

    def likelihood(slopes: Floats) -> Floats:
        """Shape `(slopes, points)`."""
        logits = slopes[:, None, None] * (x - points[:, None])
        return np.asarray((solved * logits - runs * np.logaddexp(0, logits)).sum(axis=2))

    rising = likelihood(_SLOPES)
    p_value = slope_p_value(np.log10(sizes), shares)
    sign = _sign_of_slope(np.log10(sizes), shares)
    of_sign = rising if sign > 0 else likelihood(-_SLOPES)
    steepness = float(_SLOPES[np.argmax(of_sign.max(axis=1))])
    slope = None if smallest == largest else sign * steepness
    profile = rising.max(axis=0)
    low = high = None
    if interval:
        inside = points[2 * (profile.max() - profile) <= _QUANTILE]
        low = 0.0 if inside[0] <= points[0] else float(10 ** inside[0])
        high = inf if inside[-1] >= points[-1] else float(10 ** inside[-1])
    above = Fit(
        "above", largest, slope, p_value, None if low is None else min(low, largest), None if low is None else inf
    )
    below = Fit(
        "below", smallest, slope, p_value, None if low is None else 0.0, None if high is None else max(high, smallest)
    )
    if (shares <= SOLVED).all():
        return above
    if (shares > SOLVED).all():
        return below
    if slope is None or slope <= 0:
        return Fit("falling", largest, slope, p_value)
    near = points[profile >= profile.max() - 1e-9]
    point = float((near[0] + near[-1]) / 2)  # under perfect separation the middle of the gap
    if len(near) == 1:
        point, slope = _polish(np.log10(sizes), shares, point, slope)
    if point > x.max():
        return above
    if point < x.min():
        return below
    return Fit("within", 10**point, slope, p_value, low, high)


def _polish(x: Floats, shares: Floats, point: float, slope: float) -> tuple[float, float]:
    """The maximum of the likelihood near a point of the grid: the 50 % point in decades, and the slope."""
    from scipy.optimize import minimize

    def loss(at: Floats) -> float:
        logits = np.exp(at[1]) * (x - at[0])
        return float((np.logaddexp(0, logits) - shares * logits).sum())

    found = minimize(
        loss, np.array([point, np.log(slope)]), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}
    )
    return float(found.x[0]), float(np.exp(found.x[1]))


def _sign_of_slope(x: Floats, shares: Floats) -> float:
    """-1, 0 or 1. The likelihood is concave, so that its maximum lies on the side to which it rises from a flat line."""
    return 0.0 if np.ptp(x) == 0 or np.ptp(shares) == 0 else float(np.sign(np.corrcoef(x, shares)[0, 1]))


def slope_p_value(x: Floats, shares: Floats) -> float:
    """The two-sided p value of a slope: the score test against a flat line.

    The score at slope 0 is the sum of `x * share`, and its permutation distribution over runs is that of a correlation
    (Pitman 1937). So the spread of the runs is measured, not taken to be that of all-or-nothing draws: shares that rise
    smoothly are strong evidence of a slope with two seeds already.

    Args:
        x (`ndarray`): log10 of the sizes, shape `(runs,)`.
        shares (`ndarray`): share of solved rows, shape `(runs,)`.
    """
    from scipy.special import stdtr

    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(shares) == 0:
        return 1.0
    r = float(np.corrcoef(x, shares)[0, 1])
    freedom = len(x) - 2
    return float(2 * stdtr(freedom, -abs(r) * sqrt(freedom / max(1 - r * r, 1e-15))))


def log2_ratio(of: Fit, to: Fit) -> Ratio | None:
    """log2(transition of `of` / transition of `to`); None where the two leave it open.

    A transition that was not reached counts with the size it is known to exceed. The interval is made of the two intervals
    (method of variance estimates recovery, Zou and Donner 2008), each side from the ends that it depends on.
    """
    order = {"below": 0, "within": 1, "above": 2}
    if "falling" in (of.where, to.where) or (of.where == to.where != "within"):
        return None
    value = log2(of.size / to.size)
    bound = "=" if of.where == to.where else ">" if order[of.where] > order[to.where] else "<"
    if of.low is None or of.high is None or to.low is None or to.high is None:
        return Ratio(bound, value)
    low = value - float(np.hypot(_octaves(of.low, of.size), _octaves(to.size, to.high)))
    high = value + float(np.hypot(_octaves(of.size, of.high), _octaves(to.low, to.size)))
    return Ratio(bound, value, low, high)


def _octaves(small: float, large: float) -> float:
    """log2(large / small); infinite for an open end."""
    return inf if small == 0 or large == inf else log2(large / small)

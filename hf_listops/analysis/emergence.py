"""Emergence (Figure 1, claims C1 and C2): at which size is a mix learned, and at which size an operation inside it?

Each run is one draw: whether a seed learns is all but binary near the transition, and the 2,000 test rows of one run are
nothing like independent. So the likelihood is that of a logistic curve over log10(total parameters) with one observation
a run, its share of solved test rows; its maximum is that of the binomial GLM over rows. The 50 % point and slope are found
on a grid, which knows no failure to converge: perfect separation is a likelihood like any other. The 95 % interval is the
profile likelihood's (the points that a likelihood-ratio test at 5 % does not reject), and is given only with 5 seeds a
size or more; `tests/analysis/test_emergence.py` checks its coverage by simulation.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hf_listops.errors import ListOpsError
from hf_listops.hub.records import read_records
from hf_listops.language import Task

Floats = NDArray[np.float64]

SOLVED = 0.5
SEEDS_FOR_AN_INTERVAL = 5
_QUANTILE = 3.841458820694124  # of chi-square with one degree of freedom, at 95 %
_MARGIN = 0.5  # decades beyond the sizes tried within which a 50 % point is looked for
_SLOPES = np.concatenate([-np.geomspace(0.2, 200, 10)[::-1], np.geomspace(0.2, 200, 50)])  # logits a decade


@dataclass(frozen=True)
class Fit:
    """A transition point in total parameters.

    `where` is `within` (`size` is the point), `above` (not reached: larger than `size`, the largest tried), `below`
    (smaller than `size`, the smallest tried) or `falling` (accuracy does not rise with size). `low` and `high` are the
    95 % interval, None where there are too few seeds; an end outside of the sizes tried is 0 or infinite. `p_value` is
    that of the likelihood-ratio test against a flat line.
    """

    where: str
    size: float
    slope: float
    p_value: float
    low: float | None = None
    high: float | None = None


def fit_transition(sizes: Floats, shares: Floats, interval: bool) -> Fit:
    """Fits the logistic curve to runs.

    Args:
        sizes (`ndarray`): total parameters of each run, shape `(runs,)`.
        shares (`ndarray`): its share of solved test rows, in [0, 1], shape `(runs,)`.
        interval (`bool`): whether to give the 95 % interval.
    """
    x = np.log10(sizes)
    smallest, largest = float(sizes.min()), float(sizes.max())
    points = np.linspace(x.min() - _MARGIN, x.max() + _MARGIN, 481)
    logits = _SLOPES[:, None, None] * (x - points[:, None])
    likelihood = (shares * logits - np.logaddexp(0, logits)).sum(axis=2)  # (slopes, points)
    slope_at, point_at = np.unravel_index(np.argmax(likelihood), likelihood.shape)
    best, slope = float(likelihood[slope_at, point_at]), float(_SLOPES[slope_at])
    mean = float(shares.mean())
    flat = 0.0 if mean in (0.0, 1.0) else len(x) * (mean * np.log(mean) + (1 - mean) * np.log(1 - mean))
    p_value = _chi2_sf(2 * max(0.0, best - float(flat)))
    if (shares <= SOLVED).all():
        return Fit("above", largest, slope, p_value)
    if (shares > SOLVED).all():
        return Fit("below", smallest, slope, p_value)
    if slope < 0 or smallest == largest:
        return Fit("falling", largest, slope, p_value)
    profile = likelihood[_SLOPES > 0].max(axis=0)
    near = points[profile >= profile.max() - 1e-9]
    point = float((near[0] + near[-1]) / 2)  # under perfect separation the middle of the gap
    if len(near) == 1:
        point, slope = _polish(x, shares, point, slope)
    low = high = None
    if interval:
        inside = points[2 * (profile.max() - profile) <= _QUANTILE]
        low = 0.0 if inside[0] <= points[0] else float(10 ** inside[0])
        high = np.inf if inside[-1] >= points[-1] else float(10 ** inside[-1])
    if point > x.max():
        return Fit("above", largest, slope, p_value, low, high)
    if point < x.min():
        return Fit("below", smallest, slope, p_value, low, high)
    return Fit("within", 10**point, slope, p_value, low, high)


def _polish(x: Floats, shares: Floats, point: float, slope: float) -> tuple[float, float]:
    """The maximum of the likelihood near a point of the grid: the 50 % point in decades, and the slope."""
    from scipy.optimize import minimize

    def loss(at: Floats) -> float:
        logits = np.exp(at[1]) * (x - at[0])
        return float((np.logaddexp(0, logits) - shares * logits).sum())

    found = minimize(
        loss, np.array([point, np.log(slope)]), method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-9}
    )
    return float(found.x[0]), float(np.exp(found.x[1]))


def _chi2_sf(statistic: float) -> float:
    """The upper tail of chi-square with one degree of freedom."""
    from math import erfc, sqrt

    return erfc(sqrt(statistic / 2))


@dataclass(frozen=True)
class Curve:
    """The runs of one mix at one budget, measured on one task: the mix itself, or an operation of it alone."""

    mix: str
    operation: str | None  # None for the mix's own test split
    budget: int
    variant: str | None
    sizes: tuple[float, ...]
    shares: tuple[float, ...]
    seeds: int  # the least at any size
    fit: Fit


@dataclass(frozen=True)
class Synergy:
    """log2 of the transition of an operation alone over that inside a mix: above 0 where the mix needs fewer parameters.

    `bound` is `=`, or `>` or `<` where one of the two was not reached in the sizes tried.
    """

    mix: str
    operation: str
    budget: int
    variant: str | None
    bound: str
    log2_ratio: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Emergence:
    """All curves and the synergy table of a results file."""

    runs: int
    errors: int
    curves: tuple[Curve, ...]
    synergies: tuple[Synergy, ...]


def analyze(path: Path) -> Emergence:
    """Fits every mix and operation of a results file.

    Raises:
        ListOpsError: there are no records, or a line is torn or of another version.
    """
    records = read_records(path)
    good = [record for record in records if record["stopped"] != "error" and record["task"] is not None]
    if not good:
        raise ListOpsError(
            f"records: {str(path)!r} holds no finished run; make some with: hf-listops sweep run RECIPE"
        )
    return emergence_of(good, errors=sum(record["stopped"] == "error" for record in records))


def emergence_of(records: list[dict[str, Any]], errors: int = 0) -> Emergence:
    """As `analyze`, of records in memory."""
    groups: dict[tuple[str, int, str | None], list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        config = record["config"]
        groups[Task.from_name(record["task"]).name, config["max_steps"], config["variant"]].append(record)
    curves = []
    for (name, budget, variant), runs in groups.items():
        task = Task.from_name(name)
        members: list[str | None] = [None, *task.operations]
        for operation in members if len(task.operations) > 1 else [None]:
            measured = name if operation is None else task.alone(operation).name
            curves.append(_curve(runs, task.mix, operation, budget, variant, measured))
    ordered = tuple(sorted(curves, key=lambda c: (c.budget, c.variant or "", c.operation or "", _rank(c.fit), c.mix)))
    return Emergence(len(records), errors, ordered, tuple(_synergies(ordered)))


def _curve(
    runs: list[dict[str, Any]], mix: str, operation: str | None, budget: int, variant: str | None, measured: str
) -> Curve:
    runs = sorted(runs, key=lambda run: (run["params_total"], run["seed"]))
    sizes = np.array([run["params_total"] for run in runs], dtype=np.float64)
    shares = np.array([run["final"][measured]["test"]["exact_match"] for run in runs])
    seeds = int(np.unique(sizes, return_counts=True)[1].min())
    fit = fit_transition(sizes, shares, seeds >= SEEDS_FOR_AN_INTERVAL)
    return Curve(mix, operation, budget, variant, tuple(sizes.tolist()), tuple(shares.tolist()), seeds, fit)


def _rank(fit: Fit) -> float:
    """The order of the panels: by transition point, what was not reached last."""
    return {"above": np.inf, "falling": np.inf, "below": 0.0}.get(fit.where, fit.size)


def _synergies(curves: tuple[Curve, ...]) -> list[Synergy]:
    alone = {(c.mix, c.budget, c.variant): c.fit for c in curves if c.operation is None and "+" not in c.mix}
    found = []
    for curve in curves:
        single = alone.get((curve.operation or "", curve.budget, curve.variant))
        if curve.operation is None or single is None:
            continue
        ratio = _log2_ratio(single, curve.fit)
        if ratio is not None:
            found.append(Synergy(curve.mix, curve.operation, curve.budget, curve.variant, *ratio))
    return found


def _log2_ratio(alone: Fit, inside: Fit) -> tuple[str, float, float | None, float | None] | None:
    """The ratio with its bound and interval; None where the two leave it open."""
    order = {"below": 0, "within": 1, "above": 2}
    if "falling" in (alone.where, inside.where) or (alone.where == inside.where != "within"):
        return None
    difference = order[alone.where] - order[inside.where]
    bound = "=" if difference == 0 else ">" if difference > 0 else "<"
    value = float(np.log2(alone.size / inside.size))
    if inside.where != "within" or inside.low is None or inside.high is None:
        return bound, value, None, None
    if bound == ">":  # a transition that was not reached counts with the largest size tried
        return bound, value, float(np.log2(alone.size / inside.high)), None
    if bound == "<" or alone.low is None or alone.high is None:
        return bound, value, None, None
    # The interval of a difference from two intervals (method of variance estimates recovery, Zou and Donner 2008).
    down_alone, up_alone = np.log2(alone.size / max(alone.low, 1e-9)), np.log2(alone.high / alone.size)
    down_inside, up_inside = np.log2(inside.size / max(inside.low, 1e-9)), np.log2(inside.high / inside.size)
    return bound, value, value - float(np.hypot(down_alone, up_inside)), value + float(np.hypot(up_alone, down_inside))


def separated(curves: tuple[Curve, ...]) -> list[Curve]:
    """The curves of whole mixes whose slope is positive with p < 0.01, or whose transition is censored (claim C1)."""
    whole = [curve for curve in curves if curve.operation is None]
    return [c for c in whole if c.fit.where in ("above", "below") or (c.fit.slope > 0 and c.fit.p_value < 0.01)]

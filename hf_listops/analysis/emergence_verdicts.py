"""Are claims C1 and C2 reproduced? The rules were fixed before the runs, in the project's science page:

* C1: for at least 12 of the 15 mixes the fit's slope is positive with p < 0.01, and the transition lies in the range of
  sizes or is censored at its end. (A mix that no run learns has no step to show: it counts only if its slope does.)
* C2: the 95 % interval of log2(transition of SUM alone / of SUM inside the mix) lies above 0 for MAX+SUM, MED+SUM and
  MAX+MED+SUM, where a SUM alone that was not reached counts with its lower bound; and alone SUM has the largest
  transition of the four operations. The three must hold together, so that no correction for their number is due.

Both at the budget of the paper recipe, and only when every mix that the rule names is measured with two seeds or more
at seven sizes or more: a verdict on part of the runs would be a choice of when to stop.
"""

from __future__ import annotations

from itertools import combinations

from hf_listops.analysis.emergence import SEEDS_FOR_AN_INTERVAL, Curve, Emergence
from hf_listops.analysis.emergence_report import point_text, ratio_interval_text, ratio_text
from hf_listops.analysis.pages import Verdict
from hf_listops.analysis.transition import Fit

BUDGET = 10_000
OPERATIONS = ("MAX", "MIN", "MED", "SUM")
MIXES = tuple("+".join(of) for count in range(1, 5) for of in combinations(OPERATIONS, count))
HELPED = ("MAX+SUM", "MED+SUM", "MAX+MED+SUM")
_ENOUGH_MIXES = 12
_SIZES = 7  # of a mix, for its fit
_SEEDS = 2  # with one a size, even a plain step hardly reaches p < 0.01
_P_VALUE = 0.01


def verdicts(emergence: Emergence) -> tuple[Verdict, Verdict]:
    """The verdicts on C1 and C2 from the runs of 10,000 steps without a variant."""
    return _steps(emergence), _sum_is_helped(emergence)


def _steps(emergence: Emergence) -> Verdict:
    found = [of for mix in MIXES if (of := emergence.curve(mix, None, BUDGET, None))]
    curves = [of for of in found if of.seeds >= _SEEDS and len(set(of.sizes)) >= _SIZES]
    if len(curves) < len(MIXES):
        return Verdict(
            "C1",
            "not yet run",
            f"{len(curves)} of {len(MIXES)} mixes measured with {_SEEDS} seeds or more at {_SIZES} sizes or more",
        )
    others = [curve for curve in curves if not _is_step(curve.fit)]
    count = len(curves) - len(others)
    because = f"accuracy steps up with size (positive slope, p < {_P_VALUE}) for {count} of {len(MIXES)} mixes"
    if others:
        because += f", not for {', '.join(f'{c.mix} (p = {c.fit.p_value:.2g})' for c in others)}"
    return Verdict("C1", "reproduced" if count >= _ENOUGH_MIXES else "not reproduced", because)


def _is_step(fit: Fit) -> bool:
    return fit.where != "falling" and (fit.slope or 0) > 0 and fit.p_value < _P_VALUE


def _sum_is_helped(emergence: Emergence) -> Verdict:
    needed = dict.fromkeys(("SUM", *HELPED), SEEDS_FOR_AN_INTERVAL) | dict.fromkeys(OPERATIONS[:3], _SEEDS)
    curves = {mix: emergence.curve(mix, "SUM" if mix in HELPED else None, BUDGET, None) for mix in needed}
    missing = [
        f"{mix} has {curve.seeds if curve else 0} of {seeds} seeds"
        for mix, seeds in needed.items()
        if (curve := curves[mix]) is None or curve.seeds < seeds
    ]
    missing += [
        f"{mix} has {len(set(curve.sizes))} of {_SIZES} sizes"
        for mix, curve in curves.items()
        if curve is not None and len(set(curve.sizes)) < _SIZES
    ]
    measured = {mix: curve for mix, curve in curves.items() if curve is not None}
    if not missing:
        missing = [
            f"{mix} and SUM were run at different sizes"
            for mix in HELPED
            if set(measured[mix].sizes) != set(measured["SUM"].sizes)
        ]
    if missing:
        return Verdict("C2", "not yet run", ", ".join(missing))
    ratios = {
        s.mix: s.ratio for s in emergence.synergies if (s.operation, s.budget, s.variant) == ("SUM", BUDGET, None)
    }
    helped = [mix for mix in HELPED if mix in ratios and (ratios[mix].low or 0) > 0]
    largest = all(_is_larger(measured["SUM"], measured[mix]) for mix in OPERATIONS[:3])
    gains = ", ".join(
        f"{mix} {ratio_text(ratios[mix])} ({ratio_interval_text(ratios[mix])})" if mix in ratios else f"{mix} open"
        for mix in HELPED
    )
    points = ", ".join(f"{mix} {point_text(measured[mix].fit)}" for mix in ("SUM", *OPERATIONS[:3]))
    because = (
        f"log2(transition of SUM alone / inside), with 95 % intervals: {gains}; transitions alone: {points} parameters"
    )
    good = len(helped) == len(HELPED) and largest
    return Verdict("C2", "reproduced" if good else "not reproduced", because)


def _is_larger(one: Curve, other: Curve) -> bool:
    """Whether the transition is larger for certain, where either may be known by a bound only."""
    known = one.fit.where in ("within", "above") and other.fit.where in ("within", "below")
    return known and one.fit.size > other.fit.size

"""Plateaus of a training loss, found and measured in steps.

The loss is smoothed by a running mean over a twentieth of the run; its total fall is its largest value less the smallest
smoothed one. A window of a tenth of the run is flat if the smoothed loss at its end is less than `FLAT` of the total fall
below that at its start: it falls at less than a fifth of the run's mean rate. Flat windows that overlap make one stretch,
which is thus a tenth of the run or longer. It is a plateau if

* the loss falls by at least `FURTHER` of the total fall after it: the plateau was left at its end; or
* it does not, and the run ends unsolved: the plateau was not left within the budget, which is then its end.

So neither the flat end of a solved run nor that of an exponential decay before it counts. Flatness is relative to the total
fall: of a loss that never falls, nothing can be said and nothing is found, nor in fewer than 30 logged values. Smoothing
moves an end by up to a fortieth of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FLAT = 0.02
FURTHER = 0.1
_SHORTEST = 0.1  # of the run
_SMOOTHED_OVER = 0.05  # of the run
_ROUNDING = 1e-9  # nats
_FEWEST_VALUES = 30  # three in each window of a tenth of the run


@dataclass(frozen=True)
class Plateau:
    """A flat stretch of a training loss, in steps. `left` says whether the loss fell on before the budget ended."""

    start: int
    end: int
    loss: float  # mean over the stretch, nats per target token
    left: bool

    @property
    def length(self) -> int:
        """In steps."""
        return self.end - self.start


def plateaus(losses: Mapping[int, float], solved: bool) -> tuple[Plateau, ...]:
    """The plateaus of one run, in order.

    Args:
        losses (`Mapping[int, float]`): training loss by step, in order of the steps up to the end of the budget.
        solved (`bool`): whether the run had learned what it was trained on by its end.
    """
    if len(losses) < _FEWEST_VALUES:
        return ()
    steps = np.array(list(losses))
    values = np.array(list(losses.values()), dtype=np.float64)
    smooth = smoothed(steps, values)
    total = float(values.max() - smooth.min())
    if total < _ROUNDING:
        return ()
    found = []
    for first, last in _flat_stretches(steps, smooth, FLAT * total):
        left = bool(smooth[last] - smooth[last:].min() >= FURTHER * total)
        if not left and solved:
            break
        end = last if left else len(steps) - 1
        level = float(values[first : end + 1].mean())
        found.append(Plateau(int(steps[first]), int(steps[end]), level, left))
        if not left:
            break
    return tuple(found)


def smoothed(steps: NDArray[np.int64], values: Floats) -> Floats:
    """Running mean over the steps within a fortieth of the run on either side; of fewer at the ends."""
    half = _SMOOTHED_OVER / 2 * steps[-1]
    low = np.searchsorted(steps, steps - half)
    high = np.searchsorted(steps, steps + half, side="right")
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return np.asarray((sums[high] - sums[low]) / (high - low))


def _flat_stretches(steps: NDArray[np.int64], smooth: Floats, band: float) -> list[tuple[int, int]]:
    """First and last place of each union of overlapping flat windows."""
    ends = np.searchsorted(steps, steps + _SHORTEST * steps[-1])
    stretches: list[tuple[int, int]] = []
    for first, last in enumerate(ends):
        if last == len(steps):
            break
        if smooth[first] - smooth[last] >= band:
            continue
        if stretches and first <= stretches[-1][1]:
            stretches[-1] = (stretches[-1][0], int(last))
        else:
            stretches.append((first, int(last)))
    return stretches

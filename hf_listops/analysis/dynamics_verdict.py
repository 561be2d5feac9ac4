"""Is claim C5 reproduced? The rule was fixed before the runs, in the project's science page:

    over 3 seeds, SUM inside MAX+MED+SUM is ahead of SUM alone at every evaluation after both start to learn, by more than
    one standard deviation at half of them.

What it leaves open was settled before any run of SUM alone was seen:

* A group starts to learn at the first evaluation at which the mean over its seeds of exact match on SUM alone is above
  0.05. Evaluations count from the later of the two starts on, that one included. If SUM alone never starts within the
  budget, they count from the start of the joint group, and the sentence says so.
* "By more than one standard deviation" is by more than the larger of the two groups' sample standard deviations over seeds.
* "At half of them" is at half of these evaluations or more.

Judged are a group of `sum-…` and one of `max-med-sum-…` of one modulus and otherwise the same task, of one size and budget,
alike in every other field of the recipe, evaluated at the same steps, with three seeds each or more, and no variant.
"""

from __future__ import annotations

import numpy as np

from hf_listops.analysis.dynamics import Curve, Dynamics, Group
from hf_listops.analysis.pages import Verdict
from hf_listops.language import Task

STARTED = 0.05
_SEEDS = 3
_CLAIM = "C5"
_MORE = 1e-6  # less is a tie, whatever the rounding of a mean


def verdict(dynamics: Dynamics) -> Verdict:
    """The verdict on C5."""
    tasks = [(Task.from_name(group.task), group) for group in dynamics.groups if group.task and not group.variant]
    pure = [(task, group) for task, group in tasks if task.operations == ("SUM",)]
    joint = [(task, group) for task, group in tasks if task.operations == ("MAX", "MED", "SUM")]
    pairs = [
        (alone, inside)
        for task, alone in pure
        for mix, inside in joint
        if mix.alone("SUM") == task and (alone.n_embd, alone.n_layer) == (inside.n_embd, inside.n_layer)
    ]
    if not pairs:
        return _open("it needs runs of SUM alone and of MAX+MED+SUM of one modulus, depth and size")
    if len(pairs) > 1:
        return _open(f"{len(pairs)} pairs of set-ups to judge; analyze them one at a time")
    return _compare(*pairs[0])


def start(curve: Curve) -> int | None:
    """The first step at which the mean over the seeds is above 0.05, None if it never is."""
    return next((step for step, mean in zip(curve.steps, curve.mean, strict=True) if mean > STARTED + _MORE), None)


def _compare(alone: Group, inside: Group) -> Verdict:
    few = [f"{name} has {len(group.seeds)} of {_SEEDS} seeds"
           for name, group in (("SUM alone", alone), ("MAX+MED+SUM", inside)) if len(group.seeds) < _SEEDS]  # fmt: skip
    if few:
        return _open(", ".join(few))
    fields = sorted({*alone.settings, *inside.settings})
    differs = [field for field in fields if alone.settings.get(field) != inside.settings.get(field)]
    if differs:
        return _open(f"the two groups differ in {', '.join(differs)}")
    first, second = (group.alone("SUM").exact_match for group in (alone, inside))
    if first.steps != second.steps:
        return _open("the two groups were evaluated at different steps")
    starts = start(first), start(second)
    if starts[1] is None:
        return Verdict(_CLAIM, "not reproduced", f"SUM inside MAX+MED+SUM never started to learn (above {STARTED})")
    since = max(starts[1], starts[0] or 0)
    counted = [place for place, step in enumerate(first.steps) if step >= since]
    ahead = np.array(second.mean)[counted] - np.array(first.mean)[counted]
    margin = np.maximum(_sd(first), _sd(second))[counted]
    leads, clear = int((ahead > _MORE).sum()), int((ahead > margin + _MORE).sum())
    because = (
        f"{_started(starts[0], starts[1])}; of {len(counted)} evaluations from step {since:,} on, SUM inside is ahead at "
        f"{leads}, by more than one standard deviation at {clear}; at the end exact match is "
        f"{_at_end(second)} inside and {_at_end(first)} alone (± one standard deviation of {_seeds(inside, alone)})"
    )
    good = leads == len(counted) and 2 * clear >= len(counted)
    return Verdict(_CLAIM, "reproduced" if good else "not reproduced", because)


def _open(why: str) -> Verdict:
    return Verdict(_CLAIM, "not yet run", why)


def _sd(curve: Curve) -> np.ndarray:
    return np.array(curve.sd if curve.sd is not None else np.zeros(len(curve.steps)))


def _started(alone: int | None, inside: int) -> str:
    if alone is None:
        return f"SUM inside started to learn at step {inside:,}, SUM alone never started within the budget"
    return f"SUM inside started to learn at step {inside:,}, SUM alone at step {alone:,}"


def _at_end(curve: Curve) -> str:
    return f"{curve.mean[-1]:.2f} ± {_sd(curve)[-1]:.2f}"


def _seeds(*groups: Group) -> str:
    counts = sorted({len(group.seeds) for group in groups})
    return f"{' and '.join(map(str, counts))} seeds"

"""What does a curriculum change (claim C6)? Each curriculum beside the run that trains its last task alone, seed by seed.

The *target* of a curriculum is the task of its last knot. The *pure* run trains the target from the first step on, with
the same size, budget and seed and every other setting the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from hf_listops.analysis.groups import FREE_OF_A_PURE_RUN, check_pair, differences
from hf_listops.analysis.history import History, load_histories
from hf_listops.errors import ListOpsError
from hf_listops.language import Task
from hf_listops.language.task import ordered_operations

REACHED = 0.5
"""The exact match above which a run has learned its target: that of Figure 1's red points."""


@dataclass(frozen=True)
class Curve:
    """Exact match at each step of a group: a line a seed, and their mean."""

    seeds: tuple[tuple[float, ...], ...]
    mean: tuple[float, ...]


@dataclass(frozen=True)
class Values:
    """One number of each seed, and their mean."""

    seeds: tuple[float, ...]
    mean: float


@dataclass(frozen=True)
class Schedule:
    """The shares of the operations in the calls drawn, at the knots and the last step; linear between these.

    A task's share of the rows is split evenly over its operations: each call draws one of them with equal chances.
    """

    steps: tuple[int, ...]
    shares: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Forgetting:
    """An operation that the last knot leaves out: its highest exact match, the last one, and the first less the other.

    All from the scheduled evaluations, whose rows are the same at every step. The highest of many is a little above the
    accuracy that it estimates.
    """

    peak: Values
    end: Values
    lost: Values


@dataclass(frozen=True)
class Gain:
    """Final exact match on the target less that of the pure run of the same seed."""

    pure: str  # the label of the pure runs' group
    seeds: tuple[int, ...]  # that both were run with
    gain: Values


@dataclass(frozen=True)
class Group:
    """The runs of one curriculum or task at one size, in the order of their seeds."""

    name: str
    variant: str | None
    n_embd: int
    n_layer: int
    n_head: int
    max_steps: int
    tasks: tuple[str, ...]  # trained on, in the order in which they occur
    target: str
    schedule: Schedule
    models: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: tuple[int, ...]  # of the scheduled evaluations
    operations: dict[str, Curve]  # each on the test rows of it alone
    target_curve: Curve  # on the target's own test rows: with one operation, that operation's curve
    final: Values  # exact match on the target's whole test split
    reached: tuple[int | None, ...]  # the first evaluation with the target above 0.5, by seed
    forgetting: dict[str, Forgetting]
    gain: Gain | None  # None of a pure run, and of a curriculum without one

    @property
    def is_pure(self) -> bool:
        return self.tasks == (self.target,)

    @property
    def size(self) -> str:
        parts = ((self.n_layer, "layer"), (self.n_head, "head"))
        return ", ".join([f"n_embd {self.n_embd}", *(f"{n} {of}{'s' if n > 1 else ''}" for n, of in parts)])

    @property
    def label(self) -> str:
        return f"{self.name}, {self.size}"


@dataclass(frozen=True)
class Transfer:
    """Curricula first, then pure runs; each by name and size. At least one group is a curriculum."""

    groups: tuple[Group, ...]

    def pure(self, group: Group) -> Group | None:
        """The pure runs that a group is compared with."""
        return next((of for of in self.groups if group.gain and of.label == group.gain.pure), None)


def analyze(names: Sequence[str]) -> Transfer:
    """Compares finished runs.

    Args:
        names (`Sequence[str]`): folders or `NAMESPACE/REPO`.

    Raises:
        ListOpsError: as `load_histories` and `transfer`.
    """
    return transfer(load_histories(names))


def transfer(histories: Sequence[History]) -> Transfer:
    """Groups runs by what was trained and by size, and compares each curriculum with the pure runs among them.

    Raises:
        ListOpsError: no run has a curriculum; one ends in several tasks; runs of one group share a seed, or differ in more
            than the seed.
    """
    members: dict[tuple[Any, ...], list[History]] = defaultdict(list)
    for history in histories:
        config = history.config
        members[history.subject, config["n_embd"], config["n_layer"], config["n_head"]].append(history)
    found = [(_group(of), of[0].config) for of in members.values()]
    if all(group.is_pure for group, _ in found):
        raise ListOpsError(
            f"model: none of the {len(histories)} runs has a curriculum; give some, such as "
            "max-med-to-sum-d48-l2-h1-s0, and for the comparison runs of its last task alone"
        )
    found.sort(key=lambda of: (of[0].is_pure, of[0].name, of[0].n_embd, of[0].n_layer, of[0].n_head))
    pure = [of for of in found if of[0].is_pure]
    return Transfer(tuple(replace(group, gain=_gain(group, config, pure)) for group, config in found))


def _group(histories: list[History]) -> Group:
    histories = sorted(histories, key=lambda history: history.config["seed"])
    first, config = histories[0], histories[0].config
    for one, other in combinations(histories, 2):
        check_pair(one, other)
    tasks = [[name for name, weight in knot["mix"].items() if weight] for knot in first.knots]
    if len(tasks[-1]) > 1:
        raise ListOpsError(
            f"model: the curriculum of {first.name!r} ends in {' and '.join(tasks[-1])}; one that transfers to a task ends "
            "in that task alone"
        )
    occurring = [Task.from_name(name) for name in dict.fromkeys(name for names in tasks for name in names)]
    target = Task.from_name(tasks[-1][0])
    # An operation of several tasks is measured as in the last of them.
    alone = {operation: task.alone(operation).name for task in (*occurring, target) for operation in task.operations}
    curves = {operation: _curve(histories, alone[operation]) for operation in ordered_operations(list(alone))}
    steps = tuple(line["step"] for line in first.evaluations)
    target_curve = _curve(histories, target.name)
    return Group(
        name=first.subject,
        variant=config["variant"],
        n_embd=config["n_embd"],
        n_layer=config["n_layer"],
        n_head=config["n_head"],
        max_steps=config["max_steps"],
        tasks=tuple(dict.fromkeys(task.name for task in occurring)),
        target=target.name,
        schedule=schedule(first.knots, config["max_steps"]),
        models=tuple(history.name for history in histories),
        seeds=tuple(history.config["seed"] for history in histories),
        steps=steps,
        operations=curves,
        target_curve=target_curve,
        final=_values([history.final[target.name]["test"]["exact_match"] for history in histories]),
        reached=tuple(
            next((step for step, value in zip(steps, line, strict=True) if value > REACHED), None)
            for line in target_curve.seeds
        ),
        forgetting={name: _forgetting(of) for name, of in curves.items() if name not in target.operations},
        gain=None,
    )


def schedule(knots: Sequence[dict[str, Any]], last_step: int) -> Schedule:
    """The shares of the operations from step 0 to the last one, of knots `{step, mix: {task: weight}}`."""
    shares: list[dict[str, float]] = []
    for knot in knots:
        of_knot: dict[str, float] = defaultdict(float)
        for name, weight in knot["mix"].items():
            operations = Task.from_name(name).operations
            for operation in operations:
                of_knot[operation] += weight / sum(knot["mix"].values()) / len(operations)
        shares.append(of_knot)
    steps = [knot["step"] for knot in knots]
    shown = [step for step in steps if step < last_step]
    lines = {}
    for operation in ordered_operations(list({name: None for of in shares for name in of if of[name]})):
        values = [of.get(operation, 0.0) for of in shares]
        # At one step with two knots a switch is drawn by both, so only the end is interpolated.
        lines[operation] = (*values[: len(shown)], float(np.interp(last_step, steps, values)))
    return Schedule((*shown, last_step), lines)


def _curve(histories: Sequence[History], task: str) -> Curve:
    lines = [tuple(line["exact_match"][task] for line in history.evaluations) for history in histories]
    return Curve(tuple(lines), tuple(np.mean(lines, axis=0).tolist()))


def _values(seeds: Sequence[float]) -> Values:
    return Values(tuple(seeds), float(np.mean(seeds)))


def _forgetting(curve: Curve) -> Forgetting:
    peaks, ends = [max(line) for line in curve.seeds], [line[-1] for line in curve.seeds]
    return Forgetting(_values(peaks), _values(ends), _values(list(map(_difference, peaks, ends))))


def _difference(one: float, other: float) -> float:
    """With the digits that files keep, so that 0.9 less 0.6 is no more than 0.3, there and here."""
    return round(one - other, 7)


def _gain(group: Group, config: dict[str, Any], pure: Sequence[tuple[Group, dict[str, Any]]]) -> Gain | None:
    """Compares with the first pure runs on the target that share every other setting and a seed."""
    if group.is_pure:
        return None
    for of, settings in pure:
        common = [seed for seed in group.seeds if seed in of.seeds]
        if of.target == group.target and common and not differences(config, settings, FREE_OF_A_PURE_RUN):
            mine, its = (dict(zip(which.seeds, which.final.seeds, strict=True)) for which in (group, of))
            return Gain(of.label, tuple(common), _values([_difference(mine[seed], its[seed]) for seed in common]))
    return None

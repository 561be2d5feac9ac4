"""Emergence (Figure 1, claims C1 and C2): at which size is a mix learned, and at which size an operation inside it?

Runs stand in one curve only if they share everything but size and seed. Budgets (`max_steps`) and variants have curves of
their own; runs that differ in anything else and have neither budget nor variant to tell them apart are an error. Mixes are
compared over the same sizes: where several mixes were run, a size that only one of them was run at is left out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hf_listops.analysis.groups import FREE_IN_A_GROUP
from hf_listops.analysis.transition import Fit, Ratio, fit_transition, log2_ratio
from hf_listops.errors import ListOpsError
from hf_listops.hub.records import read_records
from hf_listops.language import Task

Record = dict[str, Any]

SEEDS_FOR_AN_INTERVAL = 5
# What may differ between the runs of one curve, or keeps curves apart.
_TOLD_APART = FREE_IN_A_GROUP | {"task", "n_embd", "max_steps", "variant"}


@dataclass(frozen=True)
class Curve:
    """The runs of one mix at one budget, measured on one task: the mix itself, or an operation of it alone."""

    mix: str
    operation: str | None  # None for the mix's own test split
    budget: int
    variant: str | None
    sizes: tuple[float, ...]
    shares: tuple[float, ...]
    seeds: int  # the least at any size; no run stands twice
    fit: Fit


@dataclass(frozen=True)
class Synergy:
    """The transition of an operation alone over that inside a mix: above 0 where the mix needs fewer parameters."""

    mix: str
    operation: str
    budget: int
    variant: str | None
    ratio: Ratio


@dataclass(frozen=True)
class Emergence:
    """All curves and the synergy table of a results file."""

    runs: int
    errors: int
    curves: tuple[Curve, ...]
    synergies: tuple[Synergy, ...]

    def curve(self, mix: str, operation: str | None, budget: int, variant: str | None) -> Curve | None:
        """The curve of a mix, or of an operation inside it; None if it was not run. Alone, an operation is the mix."""
        wanted = (mix, None if operation == mix else operation, budget, variant)
        return next((c for c in self.curves if (c.mix, c.operation, c.budget, c.variant) == wanted), None)


def analyze(path: Path) -> Emergence:
    """Fits every mix and operation of a results file.

    Raises:
        ListOpsError: there are no records, a line is torn or of another version, or runs of one curve differ in more
            than size and seed, or in neither.
    """
    return emergence_of(read_finished(path))


def read_finished(path: Path, field: str = "records") -> list[Record]:
    """All records of a results file. Raises `ListOpsError`, naming `field`, if none is of a finished run of a mix."""
    records = read_records(path)
    if not finished(records):
        raise ListOpsError(
            f"{field}: {str(path)!r} holds no finished run; make some with: hf-listops sweep run RECIPE"
        )
    return records


def finished(records: Sequence[Record]) -> list[Record]:
    """The records of runs of a mix that ended without an error."""
    return [record for record in records if record["stopped"] != "error" and record["task"] is not None]


def emergence_of(records: Sequence[Record]) -> Emergence:
    """As `analyze`, of records in memory; there may be none."""
    good = finished(records)
    groups: dict[tuple[int, str | None], dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in good:
        config = record["config"]
        groups[config["max_steps"], config["variant"]][Task.from_name(record["task"]).name].append(record)
    curves = []
    for (budget, variant), of in groups.items():
        _check_one_setup([run for runs in of.values() for run in runs])
        for name, runs in _at_shared_sizes(of).items():
            task = Task.from_name(name)
            members: list[str | None] = [None, *task.operations]
            for operation in members if len(task.operations) > 1 else [None]:
                measured = name if operation is None else task.alone(operation).name
                curves.append(_curve(runs, task.mix, operation, budget, variant, measured))
    ordered = tuple(sorted(curves, key=lambda c: (c.budget, c.variant or "", c.operation or "", _rank(c.fit), c.mix)))
    errors = sum(record["stopped"] == "error" for record in records)
    return Emergence(len(good), errors, ordered, tuple(_synergies(ordered)))


def _check_one_setup(runs: list[Record]) -> None:
    seen: dict[str, tuple[Any, str]] = {}
    fields = {field for run in runs for field in run["config"]} - _TOLD_APART
    for run in runs:
        task = Task.from_name(run["task"])
        setup = {field: run["config"].get(field) for field in sorted(fields)}  # older code did not know all of them
        setup |= {field: getattr(task, field) for field in ("modulus", "max_depth", "max_args", "trace")}
        if {"SHUF", "SYMSHUF"} & set(task.operations):
            setup["table_seed"] = task.table_seed
        for field, value in setup.items():
            first, name = seen.setdefault(field, (value, run["run"]))
            if value != first:
                raise ListOpsError(
                    f"records: {name!r} and {run['run']!r} have the same budget and variant, but {field} {first!r} and "
                    f"{value!r}; runs of one curve differ in size and seed only: keep them in files of their own"
                )
    counts = Counter((Task.from_name(run["task"]).name, run["params_total"], run["seed"]) for run in runs)
    (task_name, size, seed), count = counts.most_common(1)[0]
    if count > 1:
        raise ListOpsError(
            f"records: {task_name} with {size:,} parameters and seed {seed} is there {count} times with the same budget and "
            "variant; a right file has each run once"
        )


def _at_shared_sizes(of: dict[str, list[Record]]) -> dict[str, list[Record]]:
    """Runs at sizes that two or more mixes were run at; all of them where there is only one mix or no such size."""
    mixes = defaultdict(set)
    for name, runs in of.items():
        for run in runs:
            mixes[run["params_total"]].add(name)
    shared = {size for size, names in mixes.items() if len(names) > 1}
    kept = {name: [run for run in runs if run["params_total"] in shared] for name, runs in of.items()}
    return {name: runs for name, runs in kept.items() if runs} or of


def _curve(
    runs: list[Record], mix: str, operation: str | None, budget: int, variant: str | None, measured: str
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
        ratio = None if curve.operation is None or single is None else log2_ratio(single, curve.fit)
        if curve.operation is not None and ratio is not None:
            found.append(Synergy(curve.mix, curve.operation, curve.budget, curve.variant, ratio))
    return found

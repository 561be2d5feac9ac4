"""How is a task learned over the steps (Figure 4, claim C5)? Curves, plateaus and number embeddings of groups of runs.

A group is one set-up with one or more seeds. Of each group (arXiv 2505.18369, Figure 4, shows mean and ± one standard
deviation of three runs): training loss, exact match and answer accuracy of every task at every evaluation, the plateaus of
each run's loss, and the number embeddings along the way.

Shapes: R runs, T steps.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from hf_listops.analysis.dynamics_plateaus import Plateau, plateaus
from hf_listops.analysis.dynamics_snapshots import Snapshot, common_steps, snapshots
from hf_listops.analysis.groups import FREE_IN_A_GROUP, check_pair
from hf_listops.analysis.history import History, load_histories
from hf_listops.errors import ListOpsError
from hf_listops.language import Task

Setting = bool | int | float | str | None

SOLVED = 0.5
"""Exact match above which a run has learned its task."""
_OF_THE_GROUP = ("task", "curriculum", "name", "variant", "n_embd", "n_layer", "max_steps")


@dataclass(frozen=True)
class Curve:
    """One quantity over the steps of the runs of a group."""

    steps: tuple[int, ...]  # (T,)
    runs: tuple[tuple[float, ...], ...]  # (R, T)
    mean: tuple[float, ...]
    sd: tuple[float, ...] | None  # sample standard deviation over the runs; None of one run


@dataclass(frozen=True)
class Accuracies:
    """Of the test rows of one task."""

    task: str
    exact_match: Curve
    answer_accuracy: Curve


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed only."""

    name: str  # subject and size
    task: str | None  # None of a curriculum
    variant: str | None
    operations: tuple[str, ...]
    n_embd: int
    n_layer: int
    settings: dict[str, Setting]  # the other fields of the recipe
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    loss: Curve  # training loss, nats per target token
    accuracies: tuple[Accuracies, ...]
    plateaus: tuple[tuple[Plateau, ...], ...]  # of each run
    snapshots: tuple[Snapshot, ...]

    def alone(self, operation: str) -> Accuracies:
        """The accuracies on an operation alone: at its largest depth, where a curriculum trained several."""
        of = [(Task.from_name(a.task), a) for a in self.accuracies]
        return max(((t.max_depth, a) for t, a in of if t.operations == (operation,)), key=lambda pair: pair[0])[1]


@dataclass(frozen=True)
class Dynamics:
    """Groups at one budget. `operation` is the one that they are compared on."""

    operation: str
    max_steps: int
    permutations: int
    draws: int
    groups: tuple[Group, ...]


def analyze(names: Sequence[str], operation: str = "SUM", permutations: int = 499, draws: int = 99) -> Dynamics:
    """Follows runs over their steps, grouped by what was trained and by size.

    Args:
        names (`Sequence[str]`): runs by `FOLDER` or `NAMESPACE/REPO`.
        operation (`str`): one that all of them were trained on.
        permutations (`int`): shuffles of the residues behind each p value of a snapshot.
        draws (`int`): random initialisations behind each p value of a snapshot.

    Raises:
        ListOpsError: as `load_histories`, `load_checkpoint` and `embeddings.geometry`; a run never saw the operation or keeps
            no revision; budgets differ; runs of one group differ in more than their seed, or were measured at
            different steps.
    """
    members: dict[str, list[History]] = defaultdict(list)
    histories = load_histories(names)
    for history in histories:
        if operation not in history.operations:
            raise ListOpsError(
                f"operation: {history.name!r} never saw {operation!r}; it was trained on {', '.join(history.operations)}"
            )
        if history.config["max_steps"] != histories[0].config["max_steps"]:
            raise ListOpsError(
                f"max_steps: {histories[0].name!r} was trained for {histories[0].config['max_steps']} steps and "
                f"{history.name!r} for {history.config['max_steps']}; runs are compared at one budget"
            )
        members[_group_name(history)].append(history)
    for of in members.values():
        _check_group(of)
    groups = tuple(_group(name, of, permutations, draws) for name, of in members.items())
    return Dynamics(operation, histories[0].config["max_steps"], permutations, draws, groups)


def _group_name(history: History) -> str:
    return f"{history.subject}, n_embd {history.config['n_embd']}, n_layer {history.config['n_layer']}"


def _check_group(histories: Sequence[History]) -> None:
    for history in histories:
        diverged = next((step for step, loss in history.losses.items() if not math.isfinite(loss)), None)
        if diverged is not None:
            raise ListOpsError(
                f"metrics: the loss of {history.name!r} at step {diverged} is {history.losses[diverged]}; a diverged run has "
                "no curves to compare"
            )
    for one, other in combinations(histories, 2):
        check_pair(one, other)
        if list(one.losses) != list(other.losses):
            raise ListOpsError(
                f"metrics: the loss of {one.name!r} and {other.name!r} was not logged at the same steps; runs of one group "
                "share their logging_steps"
            )
    common_steps(histories)  # an error before any model is loaded


def _group(name: str, histories: Sequence[History], permutations: int, draws: int) -> Group:
    config = histories[0].config
    left_out = {*FREE_IN_A_GROUP, *_OF_THE_GROUP}
    return Group(
        name,
        config["task"],
        config["variant"],
        histories[0].operations,
        config["n_embd"],
        config["n_layer"],
        {field: value for field, value in config.items() if field not in left_out},
        tuple(history.name for history in histories),
        tuple(history.config["seed"] for history in histories),
        curve([history.losses for history in histories]),
        tuple(
            Accuracies(
                task,
                *(
                    curve([{line["step"]: line[kind][task] for line in history.evaluations} for history in histories])
                    for kind in ("exact_match", "answer_accuracy")
                ),
            )
            for task in histories[0].evaluations[0]["exact_match"]
        ),
        tuple(plateaus(history.losses, _is_solved(history)) for history in histories),
        snapshots(histories, permutations, draws),
    )


def _is_solved(history: History) -> bool:
    """Whether the final exact match on every task trained at the end is above `SOLVED`."""
    final: dict[str, Any] = history.final
    trained = [task for task, weight in history.knots[-1]["mix"].items() if weight]
    return all(final[task]["test"]["exact_match"] > SOLVED for task in trained)


def curve(runs: Sequence[Mapping[int, float]]) -> Curve:
    """The curve of runs, each a value by step, at the same steps."""
    values = np.array([list(run.values()) for run in runs], dtype=np.float64)
    sd = tuple(values.std(axis=0, ddof=1).tolist()) if len(runs) > 1 else None
    return Curve(tuple(runs[0]), tuple(tuple(run) for run in values.tolist()), tuple(values.mean(axis=0).tolist()), sd)

"""What `hf-listops report` shows of one model: sizes, curves, curriculum, and its number embeddings at every kept step.

Shapes: n numbers, k components.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hf_listops.analysis.dynamics import Dynamics
from hf_listops.analysis.dynamics_snapshots import snapshots
from hf_listops.analysis.embeddings import Embeddings, geometry, number_embeddings
from hf_listops.analysis.embeddings_measures import Measure
from hf_listops.analysis.history import History
from hf_listops.analysis.inside import Subject
from hf_listops.language import Task


@dataclass(frozen=True)
class Curve:
    """Accuracy on a task: on the evaluation rows over the steps, and at the end on its whole test split."""

    task: str
    mix: str
    steps: tuple[int, ...]
    exact_match: tuple[float, ...]
    final_exact_match: float
    final_answer_accuracy: float
    chance: float  # answer accuracy of the best constant answer
    rows: int  # of the test split


@dataclass(frozen=True)
class Knot:
    """The weights of the tasks at one step of a curriculum; linear between knots."""

    step: int
    mix: dict[str, float]


@dataclass(frozen=True)
class Snapshot:
    """The components of the number embeddings at one training step; `step` is None where it is not known.

    `scores` are turned onto those of the step after, so that axes neither flip nor swap places; those of the last step are
    its own. `parity` is measured in all components together, before they are turned; None of a single component.
    """

    step: int | None
    scores: tuple[tuple[float, ...], ...]  # (n, k)
    parity: Measure | None


@dataclass(frozen=True)
class Model:
    """One model. What only a finished run's history tells has a default: there may be none."""

    name: str
    label: str  # as the page calls it
    trained_on: str
    modulus: int
    n_embd: int
    n_layer: int
    n_head: int
    parameters: int
    variance: tuple[float, ...]  # share of each component at the last step, (k,)
    snapshots: tuple[Snapshot, ...]
    steps: int | None = None
    seed: int | None = None
    curriculum: tuple[Knot, ...] = ()  # none of a run that trains one task
    curves: tuple[Curve, ...] = ()
    loss_steps: tuple[int, ...] = ()
    losses: tuple[float, ...] = ()  # nats per target token


def describe(
    subject: Subject,
    label: str,
    history: History | None,
    embeddings: Embeddings,
    dynamics: Dynamics | None,
    permutations: int,
    draws: int,
) -> Model:
    """A model with all that its history tells.

    Args:
        subject (`Subject`), label (`str`): the model, and what the page calls it.
        history (`History`, *optional*): of a finished run.
        embeddings (`Embeddings`), dynamics (`Dynamics`, *optional*): measured already; what they hold of the model alone is
            taken from them.
        permutations (`int`), draws (`int`): behind each p value of a step that is measured here.

    Raises:
        ListOpsError: as `embeddings.geometry`.
    """
    if history is not None and len(history.revisions) > 1:
        variance, shown = _steps(history, dynamics, permutations, draws)
    else:
        variance, shown = _state(subject, embeddings, permutations, draws)
    of, modulus = subject.checkpoint.model, subject.checkpoint.task.modulus
    model = Model(
        name=subject.name,
        label=label,
        trained_on=f"{'+'.join(subject.operations) or 'unknown'} mod {modulus}",
        modulus=modulus,
        n_embd=of.config.n_embd,
        n_layer=of.config.n_layer,
        n_head=of.config.n_head,
        parameters=of.num_parameters(),
        variance=variance,
        snapshots=shown,
    )
    if history is None:
        return model
    return replace(
        model,
        trained_on=history.subject,
        steps=max(history.revisions),
        seed=history.config["seed"],
        curriculum=tuple(
            Knot(knot["step"], {task: float(weight) for task, weight in knot["mix"].items()})
            for knot in history.config["curriculum"] or ()
        ),
        curves=_curves(history),
        loss_steps=tuple(history.losses),
        losses=tuple(history.losses.values()),
    )


def _curves(history: History) -> tuple[Curve, ...]:
    curves = []
    for task, splits in history.final.items():
        lines = [line for line in history.evaluations if task in line["exact_match"]]
        curves.append(
            Curve(
                task,
                Task.from_name(task).mix,
                tuple(line["step"] for line in lines),
                tuple(line["exact_match"][task] for line in lines),
                splits["test"]["exact_match"],
                splits["test"]["answer_accuracy"],
                splits["test"]["chance"],
                splits["test"]["rows"],
            )
        )
    return tuple(curves)


def _steps(
    history: History, dynamics: Dynamics | None, permutations: int, draws: int
) -> tuple[tuple[float, ...], tuple[Snapshot, ...]]:
    """The variance of each component at the last step, and all steps."""
    groups = () if dynamics is None else dynamics.groups
    alone = next((group.snapshots for group in groups if group.runs == (history.name,)), None)
    found = snapshots([history], permutations, draws) if alone is None else alone
    return found[-1].variance, tuple(Snapshot(of.step, of.scores, _parity(of.measures)) for of in found)


def _state(
    subject: Subject, embeddings: Embeddings, permutations: int, draws: int
) -> tuple[tuple[float, ...], tuple[Snapshot, ...]]:
    """The same of a model that is there in one state."""
    alone = next((group for group in embeddings.groups if group.models == (subject.name,)), None)
    found = alone or geometry(
        subject.name, [subject.name], [number_embeddings(subject.checkpoint)], permutations, draws
    )
    return found.variance, (Snapshot(subject.step, found.scores, _parity(found.measures)),)


def _parity(measures: Sequence[Measure]) -> Measure | None:
    """In all components together: of two these are the only pair."""
    most = max(len(of.components) for of in measures)
    return next((of for of in measures if of.quantity == "parity accuracy" and len(of.components) == most > 1), None)

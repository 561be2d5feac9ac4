"""Everything about a set of models in one place: what `hf-listops report` shows.

Shapes: n numbers, k components.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hf_listops.analysis import embeddings, reliance
from hf_listops.analysis.dynamics_snapshots import aligned
from hf_listops.analysis.embeddings import Embeddings, Geometry, geometry, number_embeddings
from hf_listops.analysis.embeddings_measures import Measure
from hf_listops.analysis.history import History, load_histories
from hf_listops.analysis.inside import Subject, load_subjects
from hf_listops.analysis.reliance import Comparison
from hf_listops.data.remote import local_folder, split_revision
from hf_listops.errors import ListOpsError
from hf_listops.evaluation.checkpoint import load_checkpoint
from hf_listops.hub.manifest import MANIFEST
from hf_listops.hub.run_folder import METRICS, RUN, finished_line
from hf_listops.language import OPERATIONS, Task

# Behind each p value of a single step; for ten numbers parity takes all its labelings, which are fewer.
_PERMUTATIONS, _DRAWS = 499, 99


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
class Snapshot:
    """The components of the number embeddings at one training step; `step` is None where it is not known.

    `scores` are turned onto those of the step after, so that axes neither flip nor swap places; those of the last step are
    its own. `parity` is measured in all components together, before they are turned.
    """

    step: int | None
    scores: tuple[tuple[float, ...], ...]  # (n, k)
    parity: Measure


@dataclass(frozen=True)
class Model:
    """One model. What only a finished run's history tells has a default: there may be none."""

    name: str
    label: str  # as the page calls it
    trained_on: str
    operations: tuple[str, ...]
    modulus: int
    n_embd: int
    n_layer: int
    n_head: int
    parameters: int
    variance: tuple[float, ...]  # share of each component at the last step, (k,)
    snapshots: tuple[Snapshot, ...]
    steps: int | None = None
    seed: int | None = None
    curves: tuple[Curve, ...] = ()
    loss_steps: tuple[int, ...] = ()
    losses: tuple[float, ...] = ()  # nats per target token


@dataclass(frozen=True)
class Report:
    """All models, and their groups side by side. `why_no_reliance` says what keeps them from being compared."""

    models: tuple[Model, ...]
    embeddings: Embeddings
    operation: str | None  # whose test rows `reliance` is about
    reliance: Comparison | None
    why_no_reliance: str | None


def analyze(names: Sequence[str], rows: int = 1000, permutations: int = 1999, draws: int = 199) -> Report:
    """All that can be said of some models.

    Args:
        names (`Sequence[str]`): folders or `NAMESPACE/REPO[@REVISION]`. Of a finished run that is named whole, the curves
            and the kept training steps are shown too.
        rows (`int`): test rows of an operation. `reliance` is about SUM where all models know it, else about the first
            operation that they share.
        permutations (`int`), draws (`int`): as in `embeddings.analyze`.

    Raises:
        ListOpsError: as `load_subjects`; there is no model; a model has fewer than 5 numbers.
    """
    if not names:
        raise ListOpsError("model: there is none to report on; a right one is a run's folder or its name on the Hub")
    subjects = load_subjects(names)
    labels = _labels(names)
    models = tuple(_model(subject, labels[subject.name], finished_run(subject.name)) for subject in subjects)
    shared = [name for name in OPERATIONS if all(name in subject.operations for subject in subjects)]
    operation = "SUM" if "SUM" in shared else next(iter(shared), None)
    comparison, why = None, None
    if operation is None:
        why = "the models share no operation"
    else:
        try:
            comparison = reliance.analyze(names, operation, rows)
        except ListOpsError as error:  # the rest of the page does not need it
            why = str(error)
    found = embeddings.analyze(names, permutations=permutations, draws=draws, rows=rows)
    return Report(models, replace(found, groups=_without_twins(found.groups)), operation, comparison, why)


def finished_run(name: str) -> History | None:
    """The history of a finished run that is named whole; None of any other model."""
    if split_revision(name)[1] is not None:
        return None
    folder = local_folder(name, patterns=(RUN, METRICS, MANIFEST))
    return load_histories([name])[0] if (folder / RUN).is_file() and finished_line(folder) else None


def _labels(names: Sequence[str]) -> dict[str, str]:
    """A folder is called by its own name, unless two are alike; that of a training step also by its run's."""
    short = {name: _short(Path(name).resolve()) if Path(name).is_dir() else name for name in names}
    return {name: label if list(short.values()).count(label) == 1 else name for name, label in short.items()}


def _short(folder: Path) -> str:
    return f"{folder.parent.parent.name}@{folder.name}" if folder.parent.name == "steps" else folder.name


def _model(subject: Subject, label: str, history: History | None) -> Model:
    revisions = {None: subject.name} if history is None else history.revisions
    variance, snapshots = _snapshots([*revisions], [*revisions.values()])
    operations, modulus = subject.operations, subject.checkpoint.task.modulus
    of = subject.checkpoint.model
    model = Model(
        name=subject.name,
        label=label,
        trained_on=f"{'+'.join(operations)} mod {modulus}",
        operations=operations,
        modulus=modulus,
        n_embd=of.config.n_embd,
        n_layer=of.config.n_layer,
        n_head=of.config.n_head,
        parameters=of.num_parameters(),
        variance=variance,
        snapshots=snapshots,
    )
    if history is None:
        return model
    return replace(
        model,
        trained_on=history.subject,
        steps=max(history.revisions),
        seed=history.config["seed"],
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


def _snapshots(steps: Sequence[int | None], names: Sequence[str]) -> tuple[tuple[float, ...], tuple[Snapshot, ...]]:
    """The variance of each component at the last step, and all steps."""
    found = [
        geometry(name, [name], [number_embeddings(load_checkpoint(name))], _PERMUTATIONS, _DRAWS) for name in names
    ]
    turned = aligned([np.array(of.scores) for of in found])
    snapshots = tuple(
        Snapshot(step, tuple(tuple(row) for row in scores.tolist()), _parity(of))
        for step, scores, of in zip(steps, turned, found, strict=True)
    )
    return found[-1].variance, snapshots


def _parity(of: Geometry) -> Measure:
    """In the largest set of components: the last of the families measured."""
    return [measure for measure in of.measures if measure.quantity == "parity accuracy"][-1]


def _without_twins(groups: Sequence[Geometry]) -> tuple[Geometry, ...]:
    """Groups of the same models have the same geometry: one of them, by all their names, without what sets them apart."""
    twins: dict[tuple[str, ...], list[Geometry]] = {}
    for group in groups:
        twins.setdefault(group.models, []).append(group)
    return tuple(
        alike[0] if len(alike) == 1 else replace(alike[0], group=", ".join(of.group for of in alike), exact_match=())
        for alike in twins.values()
    )

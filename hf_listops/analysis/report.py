"""Everything about a set of models in one place: what `hf-listops report` shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hf_listops.analysis import dynamics, reliance, transfer
from hf_listops.analysis.dynamics import Dynamics
from hf_listops.analysis.embeddings import Embeddings, geometry, number_embeddings
from hf_listops.analysis.history import load_histories
from hf_listops.analysis.inside import Subject, group_name, load_subjects
from hf_listops.analysis.reliance import Comparison
from hf_listops.analysis.report_models import Model, describe
from hf_listops.analysis.transfer import Transfer
from hf_listops.data.build import EVALUATION_ROWS
from hf_listops.data.remote import local_folder, split_revision
from hf_listops.errors import ListOpsError
from hf_listops.hub.manifest import MANIFEST
from hf_listops.hub.run_folder import METRICS, RUN, finished_line
from hf_listops.language import OPERATIONS

Result = TypeVar("Result")


@dataclass(frozen=True)
class Report:
    """All models, and their groups side by side."""

    models: tuple[Model, ...]
    embeddings: Embeddings  # a group for each set of models; they are not judged here, so there is no exact match
    dynamics: Dynamics | None  # of the finished runs, as `transfer`
    transfer: Transfer | None
    reliance: Comparison | None
    missing: dict[str, str]  # why one of these three is None, by its name


def analyze(names: Sequence[str], rows: int = EVALUATION_ROWS, permutations: int = 1999, draws: int = 199) -> Report:
    """All that can be said of some models.

    `dynamics` and `reliance` are about SUM where all models know it, else about the first operation that they share.

    Args:
        names (`Sequence[str]`): folders or `NAMESPACE/REPO[@REVISION]`. Of a finished run that is named whole, the curves
            and the kept training steps are shown too.
        rows (`int`): test rows of the operation that `reliance` is about.
        permutations (`int`), draws (`int`): as in `embeddings.analyze`; a step of many has a quarter of the shuffles and half
            of the draws.

    Raises:
        ListOpsError: as `load_subjects` and `load_histories`; a model has fewer than 5 numbers.
    """
    subjects = load_subjects(names)
    runs = [name for name in names if _is_finished_run(name)]
    histories = load_histories(runs) if runs else []
    of_a_step = (permutations // 4, draws // 2)
    missing: dict[str, str] = {}

    def tried(name: str, analysis: Callable[[], Result]) -> Result | None:
        """The rest of the page does not need it."""
        try:
            return analysis()
        except ListOpsError as error:
            missing[name] = str(error)
            return None

    found = _embeddings(subjects, permutations, draws)
    followed = tried(
        "dynamics",
        lambda: dynamics.analyze(runs, _shared(of.operations for of in histories), *of_a_step),
    )
    compared = tried("transfer", lambda: transfer.transfer(histories))
    leaning = tried(
        "reliance", lambda: reliance.compare_subjects(subjects, _shared(of.operations for of in subjects), rows)
    )
    by_name = {history.name: history for history in histories}
    labels = _labels(names)
    models = tuple(describe(of, labels[of.name], by_name.get(of.name), found, followed, *of_a_step) for of in subjects)
    return Report(models, found, followed, compared, leaning, missing)


def _is_finished_run(name: str) -> bool:
    """Whether a model is one that is named whole."""
    if split_revision(name)[1] is not None:
        return False
    folder = local_folder(name, patterns=(RUN, METRICS, MANIFEST))
    return (folder / RUN).is_file() and finished_line(folder) is not None


def _shared(operations: Iterable[Sequence[str]]) -> str:
    """SUM where all have it, else the first that all have."""
    sets = [set(of) for of in operations]
    shared = [name for name in OPERATIONS if all(name in of for of in sets)]
    if not shared:
        raise ListOpsError(
            "operation: the models share none; right ones were trained on one operation at least in common"
        )
    return "SUM" if "SUM" in shared else shared[0]


def _embeddings(subjects: Sequence[Subject], permutations: int, draws: int) -> Embeddings:
    """As `embeddings.analyze`, but the groups of the same models are one, by all their operations."""
    members: dict[tuple[str, str], list[Subject]] = defaultdict(list)
    for subject in subjects:
        groups = {operation: group_name(subject, operation) for operation in subject.operations}
        for operation, group in (groups or {"": f"unknown mod {subject.checkpoint.task.modulus}"}).items():
            members[group, operation].append(subject)
    of_models: dict[tuple[str, ...], list[tuple[str, str]]] = defaultdict(list)
    for key, of in members.items():
        of_models[tuple(subject.name for subject in of)].append(key)
    found = []
    for models, keys in of_models.items():
        of = members[keys[0]]
        group = keys[0][0] if len(keys) == 1 else group_name(of[0], ", ".join(operation for _, operation in keys))
        numbers = [number_embeddings(subject.checkpoint) for subject in of]
        found.append(geometry(group, models, numbers, permutations, draws))
    return Embeddings(permutations, draws, 0.0, tuple(found), {})


def _labels(names: Sequence[str]) -> dict[str, str]:
    """A folder is called by its own name, unless two are alike; that of a training step also by its run's."""
    short = {name: _short(Path(name).resolve()) if Path(name).is_dir() else name for name in names}
    return {name: label if list(short.values()).count(label) == 1 else name for name, label in short.items()}


def _short(folder: Path) -> str:
    return f"{folder.parent.parent.name}@{folder.name}" if folder.parent.name == "steps" else folder.name

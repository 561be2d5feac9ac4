"""Models taken by name for a look inside: what each was trained on, the groups compared, and the rows they are tested on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tqdm import tqdm

from hf_listops.analysis.history import check_config, check_named_once, operations_of
from hf_listops.data.build import EVALUATION_ROWS, at_most
from hf_listops.data.files import sha256_of
from hf_listops.data.remote import commit_of, local_folder
from hf_listops.data.token_matrix import TokenMatrix
from hf_listops.errors import ListOpsError
from hf_listops.evaluation.checkpoint import FILES, Checkpoint, load_checkpoint
from hf_listops.hub.run_folder import METRICS, RUN, read_config, read_metrics
from hf_listops.hub.verification import WEIGHTS
from hf_listops.language import Task
from hf_listops.language.splits import TEST


@dataclass(frozen=True)
class Subject:
    """A model and how it was trained, as far as its folder says."""

    checkpoint: Checkpoint
    operations: tuple[str, ...]  # in the order of the operation table; none if nothing says what it was trained on
    variant: str | None = None  # of the recipe
    step: int | None = None  # None of the final state
    max_steps: int | None = None

    @property
    def name(self) -> str:
        return self.checkpoint.name

    @property
    def size(self) -> str:
        """Width and budget, as in `n_embd 64, 10,000 steps`."""
        budget = "" if self.max_steps is None else f", {self.max_steps:,} steps"
        return f"n_embd {self.checkpoint.model.config.n_embd}{budget}"


def load_subjects(names: Sequence[str]) -> list[Subject]:
    """Loads models by `FOLDER` or `NAMESPACE/REPO[@REVISION]`.

    A model trained on a curriculum was trained on the operations of all its knots, as its `run.yaml` names them; its
    config names the last task alone.

    Raises:
        ListOpsError: as `load_checkpoint`; there is no model; one is named twice, or by two names.
    """
    if not names:
        raise ListOpsError("model: there is none to look into; a right one is a run's folder or its name on the Hub")
    check_named_once(names)
    weights: dict[str, str] = {}
    subjects = []
    for name in tqdm(names, desc="loading", unit="model", disable=None):  # shown on a terminal only
        folder = local_folder(name, patterns=(*FILES, RUN, METRICS))
        subjects.append(_load(name, folder))
        if (folder / WEIGHTS).is_file():
            first = weights.setdefault(sha256_of(folder / WEIGHTS), name)
            if first != name:
                raise ListOpsError(f"model: {first!r} and {name!r} have the same weights; give each model once")
    return subjects


def _load(name: str, folder: Path) -> Subject:
    checkpoint = load_checkpoint(name)
    config, metrics = checkpoint.model.config, read_metrics(folder)
    if not (folder / RUN).is_file():
        from huggingface_hub import constants

        if commit_of(folder) is not None and constants.is_offline_mode():
            raise ListOpsError(
                f"model: the cache does not hold the {RUN} of {name!r}, which says what it was trained on, and "
                "HF_HUB_OFFLINE is set; load it once while online"
            )
        known = getattr(config, "listops_task", None) is not None
        return Subject(checkpoint, checkpoint.task.operations if known else ())
    run = read_config(folder, name)
    check_config(name, run)
    is_final = any("final" in line for line in metrics)
    step = None if is_final or not metrics else metrics[-1]["step"]
    return Subject(checkpoint, operations_of(run), run["variant"], step, run["max_steps"])


def group_name(subject: Subject, operation: str) -> str:
    """`pure SUM mod 10` for a model trained on nothing else, `mixed SUM mod 10` for every other that saw it.

    A variant of the recipe, or a step before the end, makes groups of its own: `pure SUM mod 10, init0.1, step 2,000`.
    """
    kind = "pure" if subject.operations == (operation,) else "mixed"
    variant = "" if subject.variant is None else f", {subject.variant}"
    step = "" if subject.step is None else f", step {subject.step:,}"
    return f"{kind} {operation} mod {subject.checkpoint.task.modulus}{variant}{step}"


def counterpart(group: str) -> str:
    """The mixed group that a pure one is compared with, and the other way round: all else is the same."""
    kind, _, rest = group.partition(" ")
    return f"{'mixed' if kind == 'pure' else 'pure'} {rest}"


def task_alone(subject: Subject, operation: str) -> Task:
    """The model's task with one operation alone. A curriculum's last task may lack an operation of an earlier one."""
    task = subject.checkpoint.task
    operations = (*task.operations, *({operation} - set(task.operations)))
    return Task(operations, task.modulus, task.max_depth, task.max_args, task.trace, task.table_seed).alone(operation)


def alone_rows(subject: Subject, operation: str, rows: int = EVALUATION_ROWS) -> TokenMatrix:
    """The test split of one operation alone, as it is published with seed 0, or `rows` of it at even distances.

    Raises:
        ListOpsError: there are no such rows, or they are longer than the model's positions.
    """
    task = task_alone(subject, operation)
    matrix = _test_split(task).spread(rows)
    n_positions = subject.checkpoint.model.config.n_positions
    if matrix.lengths.max() > n_positions:
        raise ListOpsError(
            f"n_positions: {n_positions} of {subject.name!r} is too short for the test rows of {task.name!r}, the longest "
            f"of which needs {matrix.lengths.max()}"
        )
    return matrix


@lru_cache(maxsize=16)
def _test_split(task: Task) -> TokenMatrix:
    """2,000 distinct rows, or as many as there are of a small task."""
    rows = at_most(task, TEST, 0, EVALUATION_ROWS)
    if not len(rows):
        raise ListOpsError(
            f"operation: {task.name!r} has no test rows, since it has so few expressions; a larger task has"
        )
    return TokenMatrix.from_rows(rows)


def check_share(field: str, value: float) -> None:
    """Raises `ListOpsError` for what is no share of the rows."""
    if not 0 <= value <= 1:
        raise ListOpsError(f"{field}: {value:g} is no share of the rows; a right one is 0.9")

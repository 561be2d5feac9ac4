"""Models taken by name for a look inside: what each was trained on, the groups compared, and how results are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hf_listops.analysis.history import check_named_once
from hf_listops.data.remote import local_folder
from hf_listops.data.token_matrix import TokenMatrix
from hf_listops.errors import ListOpsError
from hf_listops.evaluation.checkpoint import Checkpoint, load_checkpoint
from hf_listops.hub.run_folder import RUN, read_config
from hf_listops.language import Task, generate
from hf_listops.language.task import ordered_operations


@dataclass(frozen=True)
class Subject:
    """A model, every operation that it was trained on, in the order of the operation table, and its recipe's variant."""

    checkpoint: Checkpoint
    operations: tuple[str, ...]
    variant: str | None = None

    @property
    def name(self) -> str:
        return self.checkpoint.name


def load_subjects(names: Sequence[str]) -> list[Subject]:
    """Loads models by `FOLDER` or `NAMESPACE/REPO[@REVISION]`.

    A model trained on a curriculum was trained on the operations of all its knots, as its `run.yaml` names them; its
    config names the last task alone.

    Raises:
        ListOpsError: as `load_checkpoint`; a model is named twice, or does not say what it was trained on.
    """
    check_named_once(names)
    return [_load(name) for name in names]


def _load(name: str) -> Subject:
    checkpoint = load_checkpoint(name)
    folder = local_folder(name, patterns=(RUN,))
    config = read_config(folder) if (folder / RUN).is_file() else {}
    knots = config.get("curriculum") or ()
    tasks = [Task.from_name(task) for knot in knots for task, weight in knot["mix"].items() if weight]
    if not tasks:
        if getattr(checkpoint.model.config, "listops_task", None) is None:
            raise ListOpsError(
                f"model: {name!r} does not say what it was trained on; a right config.json has "
                '"listops_task": "max-med-sum-mod10-depth2"'
            )
        tasks = [checkpoint.task]
    operations = {operation for task in tasks for operation in task.operations}
    return Subject(checkpoint, ordered_operations(tuple(operations)), config.get("variant"))


def group_name(subject: Subject, operation: str) -> str:
    """`pure SUM mod 10` for a model trained on nothing else, `mixed SUM mod 10` for every other that saw it.

    A variant of the recipe makes groups of its own (`pure SUM mod 10, init0.1`), so that groups differ in one thing only.
    """
    kind = "pure" if subject.operations == (operation,) else "mixed"
    variant = "" if subject.variant is None else f", {subject.variant}"
    return f"{kind} {operation} mod {subject.checkpoint.task.modulus}{variant}"


def counterpart(group: str) -> str:
    """The mixed group that a pure one is compared with, and the other way round: all else is the same."""
    kind, _, rest = group.partition(" ")
    return f"{'mixed' if kind == 'pure' else 'pure'} {rest}"


def task_alone(subject: Subject, operation: str) -> Task:
    """The model's task with one operation alone. A curriculum's last task may lack an operation of an earlier one."""
    task = subject.checkpoint.task
    operations = (*task.operations, *({operation} - set(task.operations)))
    return Task(operations, task.modulus, task.max_depth, task.max_args, task.trace, task.table_seed).alone(operation)


def alone_rows(subject: Subject, operation: str, rows: int) -> TokenMatrix:
    """Test rows of one operation alone, generated with seed 0.

    Raises:
        ListOpsError: they are longer than the model's positions.
    """
    task = task_alone(subject, operation)
    matrix = TokenMatrix.from_rows(generate(task, "test", 0, 0, rows))
    n_positions = subject.checkpoint.model.config.n_positions
    if matrix.lengths.max() > n_positions:
        raise ListOpsError(
            f"n_positions: {n_positions} of {subject.name!r} is too short for the test rows of {task.name!r}, the longest "
            f"of which needs {matrix.lengths.max()}"
        )
    return matrix


def check_share(field: str, value: float) -> None:
    """Raises `ListOpsError` for what is no share of the rows."""
    if not 0 <= value <= 1:
        raise ListOpsError(f"{field}: {value:g} is no share of the rows; a right one is 0.9")

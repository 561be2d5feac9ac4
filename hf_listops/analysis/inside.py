"""Models taken by name for a look inside: what each was trained on, the groups compared, and how results are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hf_listops.data.remote import local_folder
from hf_listops.errors import ListOpsError
from hf_listops.evaluation.checkpoint import Checkpoint, load_checkpoint
from hf_listops.hub.run_folder import RUN, read_config
from hf_listops.language import Task
from hf_listops.language.task import ordered_operations


@dataclass(frozen=True)
class Subject:
    """A model and every operation that it was trained on, in the order of the operation table."""

    checkpoint: Checkpoint
    operations: tuple[str, ...]

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
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise ListOpsError(
            f"model: {twice!r} is named twice; two of a group are to be two seeds, such as …-s0 and …-s1"
        )
    return [_load(name) for name in names]


def _load(name: str) -> Subject:
    checkpoint = load_checkpoint(name)
    folder = local_folder(name, patterns=(RUN,))
    knots = (read_config(folder).get("curriculum") or ()) if (folder / RUN).is_file() else ()
    tasks = [Task.from_name(task) for knot in knots for task, weight in knot["mix"].items() if weight]
    if not tasks:
        if getattr(checkpoint.model.config, "listops_task", None) is None:
            raise ListOpsError(
                f"model: {name!r} does not say what it was trained on; a right config.json has "
                '"listops_task": "max-med-sum-mod10-depth2"'
            )
        tasks = [checkpoint.task]
    operations = {operation for task in tasks for operation in task.operations}
    return Subject(checkpoint, ordered_operations(tuple(operations)))


def group_name(subject: Subject, operation: str) -> str:
    """`pure SUM` for a model trained on nothing else, `mixed SUM` for every other that saw it; with the modulus."""
    kind = "pure" if subject.operations == (operation,) else "mixed"
    return f"{kind} {operation} mod {subject.checkpoint.task.modulus}"

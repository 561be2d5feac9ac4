"""A run by name: its config, its metrics, and its model at every revision that was kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hf_listops.data.remote import cached_revisions, local_folder, split_revision
from hf_listops.errors import ListOpsError
from hf_listops.hub.manifest import MANIFEST
from hf_listops.hub.names import RunName, parse_step_revision
from hf_listops.hub.publishing import revisions_of
from hf_listops.hub.run_folder import METRICS, RUN, finished_line, knots_of, read_config, read_metrics
from hf_listops.hub.verification import branches_of, is_step
from hf_listops.language import Task
from hf_listops.language.task import ordered_operations

_LONGEST_NAME = 96  # a repo's, on huggingface.co


@dataclass(frozen=True)
class History:
    """A finished run. `revisions` maps each kept training step, and the last one, to a name that `load_checkpoint` takes."""

    name: str
    config: dict[str, Any]
    metrics: list[dict[str, Any]]
    revisions: dict[int, str]

    @cached_property
    def evaluations(self) -> list[dict[str, Any]]:
        """The lines with `exact_match` and `answer_accuracy` by task, in order of `step`."""
        return [line for line in self.metrics if "exact_match" in line]

    @cached_property
    def losses(self) -> dict[int, float]:
        """Training loss by step, nats per target token, each the mean over the steps since the one before."""
        return {line["step"]: line["loss"] for line in self.metrics if "loss" in line}

    @property
    def final(self) -> dict[str, Any]:
        """The final evaluation: task, then split, then `exact_match`, `answer_accuracy`, `chance`, `rows`."""
        final: dict[str, Any] = next(line["final"] for line in self.metrics if "final" in line)
        return final

    @property
    def stopped(self) -> str:
        """Why the run ended: `budget`, or `solved` before it."""
        return next(str(line["stopped"]) for line in self.metrics if "final" in line)

    @property
    def knots(self) -> list[dict[str, Any]]:
        """Of the curriculum; one where one task was trained."""
        return knots_of(self.config)

    @property
    def operations(self) -> tuple[str, ...]:
        """All that the run was trained on, in the order of the operation table."""
        return operations_of(self.config)

    @property
    def subject(self) -> str:
        """What was trained, sizes and seed aside: the task or the curriculum's name, and the variant."""
        subject: str = self.config["task"] or self.config["name"] or "curriculum"
        return subject if self.config["variant"] is None else f"{subject} ({self.config['variant']})"


def operations_of(config: dict[str, Any]) -> tuple[str, ...]:
    """All that a run with this config was trained on, in the order of the operation table."""
    tasks = [Task.from_name(task) for knot in knots_of(config) for task, weight in knot["mix"].items() if weight]
    return ordered_operations(tuple({operation for task in tasks for operation in task.operations}))


def load_histories(names: Sequence[str]) -> list[History]:
    """Loads runs by `FOLDER` or `NAMESPACE/REPO` (whose `main` is the final state).

    Where HF_HUB_OFFLINE is set, the kept steps of a repo are those that the cache knows.

    Raises:
        ListOpsError: no run is named; there is no such run, it is not finished, one revision of it is asked for, or it is
            named twice.
    """
    if not names:
        raise ListOpsError("model: no run is named; a right one is a finished run's folder or its name on the Hub")
    check_named_once(names)
    return [_load(name) for name in names]


def check_config(name: str, config: dict[str, Any]) -> None:
    """Raises `ListOpsError` unless a config, which may be a stranger's, has what the analyses read, and names for titles."""
    try:
        subject = Task.from_name(config["task"]).name if config["task"] else config["name"] or "curriculum"
        n_embd, n_layer, n_head, seed = (int(config[field]) for field in ("n_embd", "n_layer", "n_head", "seed"))
        run = RunName(subject, n_embd, n_layer, n_head, seed, config["variant"])
        operations_of(config)
        int(config["max_steps"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ListOpsError(
            f"model: the {RUN} of {name!r} is no run's config ({error!r}); train.py writes a right one"
        ) from None
    if len(str(run)) > _LONGEST_NAME:
        raise ListOpsError(
            f"model: the run in {name!r} has a name of {len(str(run))} characters; {_LONGEST_NAME} are the most"
        )


def check_named_once(names: Sequence[str]) -> None:
    """Raises `ListOpsError` for a name that stands twice."""
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise ListOpsError(
            f"model: {twice!r} is named twice; two of a group are to be two seeds, such as …-s0 and …-s1"
        )


def _load(name: str) -> History:
    repo_id, revision = split_revision(name)
    if revision is not None:
        raise ListOpsError(f"model: {name!r} is one revision; give the run whole, as in {repo_id!r}")
    folder = local_folder(name, patterns=(RUN, METRICS, MANIFEST))
    config, last = read_config(folder, name), finished_line(folder)
    check_config(name, config)
    if last is None:
        raise ListOpsError(f"model: the run of {name!r} is not finished; its curves end where its training does")
    if Path(name).is_dir():
        steps = {revision: str(path) for revision, path in revisions_of(folder).items() if is_step(revision)}
    else:
        steps = _steps_of_repo(repo_id)
    revisions = {parse_step_revision(revision): of for revision, of in steps.items()}
    return History(name, config, read_metrics(folder), {**dict(sorted(revisions.items())), last["step"]: name})


def _steps_of_repo(repo_id: str) -> dict[str, str]:
    from huggingface_hub import constants

    branches = cached_revisions(repo_id) if constants.is_offline_mode() else branches_of(repo_id)
    return {branch: f"{repo_id}@{branch}" for branch in branches if is_step(branch)}

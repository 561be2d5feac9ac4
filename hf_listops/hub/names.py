"""Names of runs, repos and revisions, made and parsed here and nowhere else."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hf_listops.errors import ListOpsError

_RUN = re.compile(
    r"(?P<subject>[a-z0-9_.]+(?:-[a-z0-9_.]+)*?)-d(?P<n_embd>\d+)-l(?P<n_layer>\d+)-h(?P<n_head>\d+)-s(?P<seed>\d+)"
    r"(?:-(?P<variant>[a-z0-9_.-]+))?"
)
_WORD = re.compile(r"[a-z0-9_.]+(-[a-z0-9_.]+)*")
_NAMESPACE = re.compile(r"[A-Za-z0-9]+([._-][A-Za-z0-9]+)*")
EXAMPLE = "sum-mod10-depth2-d32-l2-h1-s0"
DEFAULT_NAMESPACE = "hf-listops"
"""The owner of all repos on the embedded Hub."""


@dataclass(frozen=True)
class RunName:
    """`{subject}-d{n_embd}-l{n_layer}-h{n_head}-s{seed}[-{variant}]`.

    The subject is the task's name, or the recipe's where a curriculum mixes tasks.
    """

    subject: str
    n_embd: int
    n_layer: int
    n_head: int
    seed: int
    variant: str | None = None

    def __post_init__(self) -> None:
        for field in ("subject", "variant"):
            value = getattr(self, field)
            if value is not None and not _WORD.fullmatch(value):
                raise ListOpsError(
                    f"{field}: {value!r} cannot stand in a run's name; use lower case, digits, '.', '_' and '-', "
                    "as in 'init0.1'"
                )

    def __str__(self) -> str:
        name = f"{self.subject}-d{self.n_embd}-l{self.n_layer}-h{self.n_head}-s{self.seed}"
        return name if self.variant is None else f"{name}-{self.variant}"

    @classmethod
    def parse(cls, name: str) -> RunName:
        """The parts of a run's name. Raises `ListOpsError` if it does not parse."""
        match = _RUN.fullmatch(name)
        if match is None:
            raise ListOpsError(f"run: {name!r} is no run's name; a right one is {EXAMPLE!r}")
        parts = match.groupdict()
        return cls(
            parts["subject"],
            int(parts["n_embd"]),
            int(parts["n_layer"]),
            int(parts["n_head"]),
            int(parts["seed"]),
            parts["variant"],
        )


def dataset_repo(namespace: str) -> str:
    """The repo of an owner's datasets, as in `hf-listops/listops`. Raises `ListOpsError` for what is no owner's name."""
    if not _NAMESPACE.fullmatch(namespace):
        raise ListOpsError(f"hub_namespace: {namespace!r} is no owner of repos; a right one is {DEFAULT_NAMESPACE!r}")
    return f"{namespace}/listops"


def model_repo(namespace: str, run: RunName | str) -> str:
    """The repo of a run, as in `hf-listops/listops-sum-mod10-depth2-d32-l2-h1-s0`.

    Raises:
        ListOpsError: the namespace or the run's name does not parse.
    """
    return f"{dataset_repo(namespace)}-{RunName.parse(str(run))}"


def parse_model_repo(repo_id: str) -> tuple[str, RunName]:
    """The namespace and the run of a model repo. Raises `ListOpsError` if it does not parse."""
    namespace, _, run = repo_id.partition("/listops-")
    if not _NAMESPACE.fullmatch(namespace) or not _RUN.fullmatch(run):
        right = model_repo(DEFAULT_NAMESPACE, EXAMPLE)
        raise ListOpsError(f"repo: {repo_id!r} is no run's model repo; a right one is {right!r}")
    return namespace, RunName.parse(run)


def step_revision(step: int) -> str:
    """The branch that holds a training step, as in `step-2000`."""
    return f"step-{step}"


def parse_step_revision(revision: str) -> int:
    """The training step of a branch or folder name. Raises `ListOpsError` if it does not parse."""
    match = re.fullmatch(r"step-(0|[1-9]\d*)", revision)
    if match is None:
        raise ListOpsError(f"revision: {revision!r} is no training step; a right one is 'step-2000'")
    return int(match[1])

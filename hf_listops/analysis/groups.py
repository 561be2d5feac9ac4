"""Which runs belong together: those of a group differ in their seeds alone, a pure run in what is trained alone."""

from __future__ import annotations

from typing import Any

from hf_listops.analysis.history import History
from hf_listops.errors import ListOpsError

# What the runs of a group may differ in: the seed, and what does not change a run.
FREE_IN_A_GROUP = frozenset(
    {"seed", "save_steps", "save_state", "logging_steps", "report_to"}
    | {"output_dir", "resume", "push_to_hub", "hub_namespace"}
)
# What a pure run may differ in from a curriculum too; the final evaluation takes all rows, however many the others took.
FREE_OF_A_PURE_RUN = FREE_IN_A_GROUP | {"task", "curriculum", "name", "variant", "eval_steps", "eval_rows"}


def check_pair(one: History, other: History) -> None:
    """Raises `ListOpsError` unless two runs of a group are the same but for their seeds, which differ."""
    differ = differences(one.config, other.config, FREE_IN_A_GROUP)
    if differ:
        name = differ[0]
        raise ListOpsError(
            f"{name}: {one.name!r} has {one.config.get(name)!r} and {other.name!r} {other.config.get(name)!r}, but both are "
            f"called {one.subject}; runs of one name and size differ in their seeds alone, others have a variant"
        )
    if one.config["seed"] == other.config["seed"]:
        raise ListOpsError(
            f"model: {one.name!r} and {other.name!r} are both {one.subject} with seed {one.config['seed']}; give each run "
            "once"
        )
    _check_steps(one, other)


def _check_steps(one: History, other: History) -> None:
    steps = {of.name: {line["step"] for line in of.evaluations} for of in (one, other)}
    apart = steps[one.name] ^ steps[other.name]
    if not apart:
        return
    early, late = sorted((one, other), key=lambda of: max(steps[of.name]))
    end = max(steps[early.name])
    if early.stopped == "solved" and min(apart) > end:
        raise ListOpsError(
            f"model: {early.name!r} stopped when it was solved, at step {end}, and {late.name!r} went on; the runs of "
            f"{one.subject} are to share their steps: train them with --stop_when_solved false, or give one seed alone"
        )
    raise ListOpsError(
        f"model: only one of {one.name!r} and {other.name!r} was evaluated at step {min(apart)}; the runs of {one.subject} "
        "are to share their steps"
    )


def differences(one: dict[str, Any], other: dict[str, Any], free: frozenset[str]) -> list[str]:
    """The fields that two configs differ in; one that older code did not know is not set."""
    return [name for name in {**one, **other} if name not in free and one.get(name) != other.get(name)]

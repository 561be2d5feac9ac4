"""The mixes of the paper and the tasks that are published."""

from __future__ import annotations

from itertools import combinations

from hf_listops.language import Task

PAPER_OPERATIONS = ("MAX", "MIN", "MED", "SUM")

MIXES: tuple[tuple[str, ...], ...] = tuple(
    mix for size in range(1, len(PAPER_OPERATIONS) + 1) for mix in combinations(PAPER_OPERATIONS, size)
)
"""The 15 non-empty subsets of the paper's four operations."""


def published_tasks() -> list[Task]:
    """Every config of the published dataset: 15 mixes modulo 10 at depth 2 and 3, and three modulo 26 at depth 2."""
    tasks = [Task(mix, 10, depth) for depth in (2, 3) for mix in MIXES]
    return tasks + [Task(mix, 26, 2) for mix in (("SUM",), ("MAX", "MED"), ("MAX", "MED", "SUM"))]

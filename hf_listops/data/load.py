"""Reading a split of a dataset (a folder, a Hub name, or the generator itself) into memory."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from hf_listops.data.token_matrix import TokenMatrix
from hf_listops.errors import ListOpsError
from hf_listops.language import Task

GENERATED = "generated"
COLUMNS = ("prompt", "completion", "answer", "operations", "depth", "num_tokens")


def load_split(source: str, task: Task, split: str, *, rows: int | None = None) -> TokenMatrix:
    """One split of a task's config, or its first `rows` rows.

    Args:
        source (`str`): a folder or Hub name that `datasets.load_dataset` takes, with `@revision` for a Hub revision.
        task (`Task`): its name is the config.
        split (`str`): such as `test`.
        rows (`int`, *optional*): read only so many rows.

    Raises:
        ListOpsError: there is no such dataset, config, split or column, or a symbol is not in the task's vocabulary.
    """
    import datasets

    name, _, revision = source.partition("@") if not os.path.exists(source) else (source, "", "")
    try:
        wanted = split if rows is None else f"{split}[:{rows}]"
        dataset = datasets.load_dataset(name, task.name, split=wanted, revision=revision or None)
    except (ValueError, FileNotFoundError, ConnectionError, datasets.exceptions.DatasetNotFoundError) as error:
        hint = "" if Path(name).exists() else " (neither a folder nor a dataset on the Hub that can be reached)"
        raise ListOpsError(
            f"dataset: {source!r}{hint} gives no split {split!r} of the config {task.name!r}: "
            f"{' '.join(str(error).split())[:200]}; build it with: hf-listops data build {task.name} --out DIR"
        ) from error
    missing = [column for column in COLUMNS if column not in dataset.column_names]
    if missing:
        raise ListOpsError(
            f"dataset: {source!r} has no column {missing[0]!r}, only {', '.join(dataset.column_names)}; "
            f"a dataset made by 'hf-listops data build' has {', '.join(COLUMNS)}"
        )
    columns = dataset.with_format("arrow")[:]
    try:
        return TokenMatrix.from_texts(
            task,
            columns["prompt"].to_pylist(),
            columns["completion"].to_pylist(),
            columns["answer"].to_numpy().astype(np.int64),
            columns["depth"].to_numpy().astype(np.int64),
        )
    except ListOpsError as error:
        raise ListOpsError(f"dataset: {source!r}, split {split!r}, {error}") from None

"""Reading a split of a dataset (a folder, a Hub name, or the generator itself) into memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hf_listops.data.remote import commit_of, local_folder
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
    dataset = read_splits(source, task.name, [split])[split]
    if rows is not None:
        dataset = dataset.select(range(min(rows, len(dataset))))
    return _matrix(source, task, split, dataset)


def load_splits(source: str, task: Task, splits: Sequence[str]) -> dict[str, TokenMatrix]:
    """Those of some splits of a task's config that are there, as `load_split`."""
    folder = _config_folder(source, task.name)
    try:
        there = set(_streams(folder, task.name))
    except _unreadable() as error:
        raise _no_dataset(source, error, task.name) from error
    found = read_splits(source, task.name, [split for split in splits if split in there])
    return {split: _matrix(source, task, split, dataset) for split, dataset in found.items()}


def _matrix(source: str, task: Task, split: str, dataset: Any) -> TokenMatrix:
    check_columns(source, dataset)
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


def check_columns(source: str, dataset: Any) -> None:
    """Raises `ListOpsError` if a split lacks one of our columns."""
    missing = [column for column in COLUMNS if column not in dataset.column_names]
    if missing:
        raise ListOpsError(
            f"dataset: {source!r} has no column {missing[0]!r}, only {', '.join(dataset.column_names)}; "
            f"a dataset made by 'hf-listops data build' has {', '.join(COLUMNS)}"
        )


def config_names(source: str) -> list[str]:
    """The configs of a dataset. Raises `ListOpsError` if there is no such dataset."""
    import datasets

    folder = local_folder(source, "dataset")
    try:
        names: list[str] = datasets.get_dataset_config_names(str(folder))
    except _unreadable() as error:
        raise _no_dataset(source, error) from error
    return names


def read_splits(source: str, config: str, splits: Sequence[str] | None = None) -> dict[str, Any]:
    """Some or all splits of a config as `datasets.Dataset`s.

    A folder, or a snapshot of a Hub repo, is read as it stands: `load_dataset` caches a local dataset under its folder's
    last name and its README, so that files changed since, or another folder of that name, would go unseen.

    Raises:
        ListOpsError: there is no such dataset, config or split.
    """
    import datasets

    folder = _config_folder(source, config)
    try:
        streams = _streams(folder, config)
        wanted = list(streams) if splits is None else splits
        return {
            split: datasets.Dataset(pa.concat_tables(streams[split].with_format("arrow").iter(batch_size=10_000)))
            for split in wanted
        }
    except _unreadable() as error:
        raise _no_dataset(source, error, config, *(splits or ())) from error


def _config_folder(source: str, config: str) -> Path:
    return local_folder(source, "dataset", ["README.md", f"{config}/*", "data/*"])


def _streams(folder: Path, config: str) -> Any:
    """The splits of a config. In a snapshot the other configs that its README names may be missing, so it is not asked."""
    import datasets

    files: dict[str, list[str]] = defaultdict(list)
    for path in sorted((folder / config).glob("*-?????-of-?????.parquet")) if commit_of(folder) else ():
        files[path.name.rsplit("-", 3)[0]].append(str(path))
    if files:
        return datasets.load_dataset("parquet", data_files=dict(files), streaming=True)
    return datasets.load_dataset(str(folder), config, streaming=True)


def _unreadable() -> tuple[type[Exception], ...]:
    """What `datasets` raises for what is not there."""
    import datasets

    return (ValueError, KeyError, FileNotFoundError, ConnectionError, datasets.exceptions.DatasetNotFoundError)


def _no_dataset(source: str, error: Exception, config: str = "", split: str = "") -> ListOpsError:
    what = f" with the config {config!r}" if config else ""
    what += f" and the split {split!r}" if split else ""
    hint = f"; build it with: hf-listops data build {config} --out DIR" if config else ""
    return ListOpsError(f"dataset: {source!r} cannot be read{what} ({' '.join(str(error).split())[:160]}){hint}")

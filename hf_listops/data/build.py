"""Building datasets: Parquet files, one config a task, and their card. The same request gives the same bytes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from hf_listops.data.card import dataset_card
from hf_listops.data.files import sha256_of, sync_folder, write_atomically
from hf_listops.errors import ListOpsError
from hf_listops.language import GENERATOR_VERSION, SPLITS, Rows, Task, generate, is_held_out, parse
from hf_listops.language.expression import reduced_calls
from hf_listops.language.generator import EmptySplitError
from hf_listops.language.splits import (
    SPLIT,
    TEST_DEEPER,
    TEST_UNSEEN_CALLS,
    TRAIN,
    VALIDATION,
    fractions_of,
    in_test,
    in_validation,
)

MANIFEST = "listops.json"
TRAIN_ROWS, EVALUATION_ROWS = 100_000, 2_000
SIZES = ("seed", "train_rows", "evaluation_rows")  # what a folder is built with, beside its tasks
_ENUMERABLE = 1_000_000  # up to so many expressions are counted one by one

SCHEMA = pa.schema(
    [
        ("prompt", pa.string()),
        ("completion", pa.string()),
        ("answer", pa.int64()),
        ("operations", pa.list_(pa.string())),
        ("depth", pa.int64()),
        ("num_tokens", pa.int64()),
    ]
)


def build(
    tasks: Iterable[Task],
    out: Path,
    *,
    seed: int = 0,
    train_rows: int = TRAIN_ROWS,
    evaluation_rows: int = EVALUATION_ROWS,
    progress: bool = True,
) -> None:
    """Builds the configs of these tasks under `out`, beside those that are there; what is there is not made again.

    Args:
        tasks (`Iterable[Task]`): one config each.
        out (`Path`): an empty or new folder, or one built before with the same seed and sizes.
        seed (`int`): of the rows' streams.
        train_rows (`int`), evaluation_rows (`int`): rows of the train split and of each other one.

    Raises:
        ListOpsError: the folder holds something else, or a split has too few expressions.
    """
    request = {
        "generator_version": GENERATOR_VERSION,
        "seed": seed,
        "train_rows": train_rows,
        "evaluation_rows": evaluation_rows,
    }
    for field in ("train_rows", "evaluation_rows"):
        if not isinstance(request[field], int) or request[field] < 1:
            raise ListOpsError(f"{field}: {request[field]!r} is not a number of rows; a right one is 2000")
    with open_dataset_folder(out, request) as manifest:
        _add_tasks(tasks, out, manifest, progress)


def build_like(tasks: Iterable[Task], out: Path) -> None:
    """As `build`, with the seed and sizes of what is there; with the published ones in a new folder."""
    there = json.loads((out / MANIFEST).read_text()) if (out / MANIFEST).is_file() else {}
    build(tasks, out, **{field: there[field] for field in SIZES if field in there})


def _add_tasks(tasks: Iterable[Task], out: Path, manifest: dict[str, Any], progress: bool) -> None:
    seed, train_rows, evaluation_rows = (manifest[field] for field in SIZES)
    wanted = [task for task in dict.fromkeys(tasks) if task.name not in manifest["configs"]]
    bar = tqdm(total=len(wanted) * len(SPLITS), desc="building", unit="split", disable=not progress or not wanted)
    with bar:
        for task in wanted:
            config: dict[str, Any] = {}
            folder = out / f".{task.name}.tmp"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            try:
                for split in SPLITS:
                    bar.set_postfix_str(f"{task.name} {split}")
                    count = train_rows if split == TRAIN else evaluation_rows
                    rows = (
                        generate(task, split, seed, 0, count) if split == TRAIN else distinct(task, split, seed, count)
                    )
                    config[split] = write_split(folder / file_name(split), to_table(rows))
                    bar.update()
                add_config(out, manifest, task.name, config, folder)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    write_card(out, manifest)


def file_name(split: str) -> str:
    """The Parquet file of a split inside its config's folder, as `datasets` names it."""
    return f"{split}-00000-of-00001.parquet"


@contextlib.contextmanager
def open_dataset_folder(out: Path, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The manifest of a dataset folder, made if the folder is new; meanwhile other processes that ask for it wait.

    Raises:
        ListOpsError: the folder holds anything else than `request`.
    """
    if out.exists() and not out.is_dir():
        raise ListOpsError(f"out: {str(out)!r} is no folder; choose another one")
    out.mkdir(parents=True, exist_ok=True)
    lock = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield _manifest_of(out, request)
    finally:
        os.close(lock)


def _manifest_of(out: Path, request: dict[str, Any]) -> dict[str, Any]:
    path = out / MANIFEST
    if path.exists():
        manifest: dict[str, Any] = json.loads(path.read_text())
        for field, value in request.items():
            if manifest.get(field) != value:
                raise ListOpsError(
                    f"out: {str(out)!r} holds a dataset with {field} {manifest.get(field)!r}, not {value!r}; "
                    "choose another folder"
                )
        return manifest
    if any(out.iterdir()):
        raise ListOpsError(f"out: {str(out)!r} is not empty and holds no dataset of ours; choose another folder")
    manifest = {**request, "configs": {}}
    write_atomically(path, json.dumps(manifest, indent=1))
    return manifest


def add_config(out: Path, manifest: dict[str, Any], name: str, config: dict[str, Any], folder: Path) -> None:
    """Moves a finished folder of Parquet files to its place and enters it into the manifest."""
    shutil.rmtree(out / name, ignore_errors=True)  # one that a kill left without an entry
    os.rename(folder, out / name)
    sync_folder(out)
    manifest["configs"] = dict(sorted({**manifest["configs"], name: config}.items()))
    write_atomically(out / MANIFEST, json.dumps(manifest, indent=1))


def write_card(out: Path, manifest: dict[str, Any]) -> None:
    card = dataset_card(manifest)
    path = out / "README.md"
    if not path.exists() or path.read_text() != card:
        write_atomically(path, card)


def to_table(rows: Rows) -> pa.Table:
    """The dataset's columns of some rows."""
    prompts, completions = rows.texts()
    columns = (prompts, completions, rows.answers, rows.operation_names(), rows.depths, rows.lengths)
    return pa.table([pa.array(column) for column in columns], schema=SCHEMA)


def write_split(path: Path, table: pa.Table) -> dict[str, Any]:
    """Writes one Parquet file. Returns what the manifest and the card say of it."""
    pq.write_table(table, path, compression="zstd")
    depths, lengths = table["depth"].to_numpy(), table["num_tokens"].to_numpy()
    answers = Counter(table["answer"].to_pylist())
    return {
        "rows": len(table),
        "bytes": path.stat().st_size,
        "sha256": sha256_of(path),
        "distinct_prompts": len(table["prompt"].unique()),
        "longest": int(lengths.max()),
        "chance": round(max(answers.values()) / len(table), 4),
        "depths": {
            str(depth): {
                "rows": int((depths == depth).sum()),
                "mean_tokens": round(float(lengths[depths == depth].mean()), 2),
            }
            for depth in np.unique(depths)
        },
    }


def distinct(task: Task, split: str, seed: int, count: int) -> Rows:
    """The first `count` rows of a split's stream whose prompts differ. Raises `ListOpsError` if the split has fewer."""
    rows = at_most(task, split, seed, count)
    if len(rows) < count:
        exist = count_expressions(task, split)
        known = f"only {exist:,} exist" if exist is not None and exist < count else f"only {len(rows):,} were found"
        raise ListOpsError(
            f"evaluation_rows: {count:,} distinct rows were asked of {task.name!r}, split {split!r}, but {known}; "
            f"ask for fewer, or for a larger modulus, depth or mix"
        )
    return rows


def at_most(task: Task, split: str, seed: int, count: int) -> Rows:
    """As `distinct`, or all that are found of a split that has fewer; a small task may have none."""
    pieces: list[Rows] = []
    seen: set[str] = set()
    start = 0
    while len(seen) < count and start <= 20 * len(seen) + 2 * count + 2000:  # then it has run dry, or all but
        try:
            rows = generate(task, split, seed, start, count)
        except EmptySplitError:
            break
        start += count
        fresh = []
        for place, prompt in enumerate(rows.texts()[0]):
            if prompt not in seen and len(seen) < count:
                seen.add(prompt)
                fresh.append(place)
        pieces.append(rows.take(np.array(fresh, dtype=np.int64)))
    return Rows.concatenate(pieces) if pieces else Rows.empty(task)


def count_expressions(task: Task, split: str) -> int | None:
    """How many expressions an evaluation split has, counted one by one; None if that would take too long."""
    deepest = task.max_depth + (split == TEST_DEEPER)
    total, shallower = task.modulus, 0  # expressions of depth 0 … d, and of depth 0 … d - 1
    for _ in range(deepest):
        calls = sum(total**args - shallower**args for args in range(2, task.max_args + 1)) * len(task.operations)
        total, shallower = total + calls, total
    if total > _ENUMERABLE:
        return None
    texts = [text for depth, text in _expressions(task, deepest) if split != TEST_DEEPER or depth == deepest]
    belong = (in_validation if split == VALIDATION else in_test)(fractions_of(SPLIT, texts))
    unseen = [
        any(map(is_held_out, reduced_calls(parse(texts[place]), task))) for place in np.flatnonzero(belong).tolist()
    ]
    return unseen.count(split == TEST_UNSEEN_CALLS)


def _expressions(task: Task, deepest: int) -> Iterator[tuple[int, str]]:
    """Every call up to a depth, with its depth."""
    known = [(0, str(number)) for number in range(task.modulus)]
    for depth in range(1, deepest + 1):
        level = [
            (depth, f"[{operation} {' '.join(text for _, text in args)} ]")
            for count in range(2, task.max_args + 1)
            for args in product(known, repeat=count)
            if max(below for below, _ in args) == depth - 1
            for operation in task.operations
        ]
        yield from level
        known += level

"""Checking a built or downloaded dataset row by row against the language's definition."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tqdm import tqdm

from hf_listops.data.load import check_columns, config_names, read_splits
from hf_listops.errors import ListOpsError
from hf_listops.language import SPLITS, Task, evaluate, is_held_out, parse, trace
from hf_listops.language.expression import reduced_calls
from hf_listops.language.splits import (
    SPLIT,
    TEST,
    TEST_DEEPER,
    TEST_UNSEEN_CALLS,
    TRAIN,
    VALIDATION,
    fractions_of,
    in_test,
    in_train,
    in_validation,
)
from hf_listops.language.task import EQUALS

_CHUNK = 5_000


def check(source: str, configs: Iterable[str] | None = None, *, progress: bool = True) -> dict[str, int]:
    """Recomputes every column and line of a dataset, the split of every row, and the overlaps of its splits.

    A config whose name is no task (an imported foreign dataset) is read as modulo 10, and has no split rule.

    Args:
        source (`str`): a folder or Hub name, as `load_dataset` takes it.
        configs (`Iterable[str]`, *optional*): only these configs.

    Returns:
        `dict[str, int]`: rows checked in each config.

    Raises:
        ListOpsError: the first row that is wrong, with its config, split and number.
    """
    names = list(configs) if configs is not None else config_names(source)
    loaded = {name: read_splits(source, name) for name in names}
    for splits in loaded.values():
        for rows in splits.values():
            check_columns(source, rows)
    evaluated: dict[str, str] = {}
    for name in filter(_is_task, names):
        for split in SPLITS[1:]:
            if split in loaded[name]:
                for row, prompt in enumerate(loaded[name][split]["prompt"]):
                    evaluated.setdefault(prompt.removesuffix(f" {EQUALS}"), f"{name} {split} row {row}")
    total = sum(len(rows) for splits in loaded.values() for rows in splits.values())
    checked: dict[str, int] = {}
    with tqdm(total=total, desc="checking", unit="row", unit_scale=True, disable=not progress) as bar:
        for name, splits in loaded.items():
            checked[name] = 0
            for split, rows in sorted(splits.items(), key=lambda item: item[0] == TRAIN):
                bar.set_postfix_str(f"{name} {split}")
                seen: set[str] = set()
                for start in range(0, len(rows), _CHUNK):
                    chunk = rows[start : start + _CHUNK]
                    try:
                        for _ in _check_chunk(name, split, chunk, seen, evaluated):
                            bar.update()
                    except _WrongRow as wrong:
                        where = f"config {name!r}, split {split!r}, row {start + wrong.place}"
                        raise ListOpsError(f"dataset: {source!r}, {where}: {wrong}") from None
                    checked[name] += len(chunk["prompt"])
    return checked


class _WrongRow(Exception):
    def __init__(self, place: int, message: str) -> None:
        super().__init__(message)
        self.place = place


def _is_task(name: str) -> bool:
    try:
        return Task.from_name(name).name == name
    except ListOpsError:
        return False


def _check_chunk(
    name: str, split: str, chunk: dict[str, list[Any]], seen: set[str], evaluated: dict[str, str]
) -> Iterator[int]:
    ours = _is_task(name)
    task = Task.from_name(name) if ours else Task(("MAX",), modulus=10)
    lines: list[str] = []
    owners: list[int] = []
    for place in range(len(chunk["prompt"])):
        row = {column: values[place] for column, values in chunk.items()}
        try:
            rewritten = _check_row(task, row)
        except ListOpsError as error:
            raise _WrongRow(place, str(error)) from None
        if ours:
            _check_membership(task, split, row, rewritten, place)
            if split != TRAIN and row["prompt"] in seen:
                raise _WrongRow(place, f"prompt {row['prompt']!r} occurs twice in the split")
            seen.add(row["prompt"] if split != TRAIN else "")
            judged = rewritten[:-1] if split == TRAIN else rewritten[:1]
            if split == TRAIN and (clash := next((line for line in judged if line in evaluated), None)):
                raise _WrongRow(place, f"its line {clash!r} is evaluated as {evaluated[clash]}")
            lines += judged
            owners += [place] * len(judged)
        yield place
    if ours:
        belongs = {TRAIN: in_train, VALIDATION: in_validation}.get(split, in_test)(fractions_of(SPLIT, lines))
        if not belongs.all():
            first = int(belongs.argmin())
            kind = TRAIN if split == TRAIN else VALIDATION if split == VALIDATION else TEST
            raise _WrongRow(owners[first], f"its line {lines[first]!r} does not hash to {kind}")


def _check_row(task: Task, row: dict[str, Any]) -> list[str]:
    """Every column against the expression. Returns the lines of the trace."""
    expression = parse(row["prompt"].removesuffix(f" {EQUALS}"), task.modulus)
    lines = [str(line) for line in trace(expression, task)]
    prompt, completion = (
        f"{lines[0]} {EQUALS}",
        "".join(f"{' ' if i == 0 else f' {EQUALS} '}{line}" for i, line in enumerate(lines[1:])),
    )
    expected = {
        "prompt": prompt,
        "completion": completion,
        "answer": evaluate(expression, task),
        "operations": list(expression.operations),
        "depth": expression.depth,
        "num_tokens": len(prompt.split()) + len(completion.split()) + 1,
    }
    for column, value in expected.items():
        if row[column] != value:
            raise ListOpsError(f"{column} is {row[column]!r}, but {prompt!r} gives {value!r}")
    return lines


def _check_membership(task: Task, split: str, row: dict[str, Any], lines: list[str], place: int) -> None:
    """What a split's rule says of one row, except for the hashes, which are taken many at a time."""
    if split not in SPLITS:
        raise _WrongRow(place, f"the split {split!r} is none of {', '.join(SPLITS)}")
    foreign = [name for name in row["operations"] if name not in task.operations]
    if foreign:
        raise _WrongRow(place, f"operation {foreign[0]!r} is not in the mix {task.mix}")
    expression = parse(lines[0])
    calls = reduced_calls(expression, task)
    deepest = task.max_depth + (split == TEST_DEEPER)
    shallowest = deepest if split == TEST_DEEPER else 1
    if not shallowest <= row["depth"] <= deepest:
        raise _WrongRow(place, f"depth {row['depth']} is not in {shallowest} … {deepest}")
    if any(len(call.split()) - 2 > task.max_args for call in calls):
        raise _WrongRow(place, f"{lines[0]!r} has a call of more than {task.max_args} arguments")
    unseen = [call for call in calls if is_held_out(call)]
    if split == TEST_UNSEEN_CALLS and not unseen:
        raise _WrongRow(place, f"{lines[0]!r} reduces no held-out call")
    if split != TEST_UNSEEN_CALLS and unseen:
        raise _WrongRow(place, f"{lines[0]!r} reduces the held-out call {unseen[0]!r}")

"""The original ListOps files (Nangia and Bowman 2018, MIT) as a dataset with our columns."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pyarrow as pa

from hf_listops.data.build import SCHEMA, add_config, file_name, open_dataset_folder, write_card, write_split
from hf_listops.data.files import sha256_of
from hf_listops.errors import ListOpsError
from hf_listops.language import Task, evaluate, parse, prompt_and_completion

TASK = Task(("MAX", "MIN", "MED", "SUM"), modulus=10)
"""What the original files are: modulo 10. Its depth and number of arguments do not bound theirs."""


def import_original(file: Path, out: Path, *, split: str = "test") -> int:
    """Writes one original TSV file (value, tab, expression) as a split of a config named after it. Returns its rows.

    Raises:
        ListOpsError: a line is malformed, or its value is not what its expression gives; `split` is no split's name.
    """
    if not re.fullmatch(r"[a-z_]+", split):
        raise ListOpsError(f"split: {split!r} is no split's name; a right one is 'test'")
    if not file.is_file():
        raise ListOpsError(f"file: {str(file)!r} does not exist; an original ListOps file is called 'test_d20s.tsv'")
    columns: dict[str, list[object]] = {name: [] for name in SCHEMA.names}
    for number, line in enumerate(file.read_text().splitlines(), start=1):
        value, tab, text = line.partition("\t")
        try:
            expression = parse(text, TASK.modulus)
            answer = evaluate(expression, TASK)
            if not tab or value != str(answer):
                raise ListOpsError(f"expression: its value is given as {value!r}, but it is {answer}")
        except ListOpsError as error:
            raise ListOpsError(f"file: {file.name!r}, line {number}: {error}") from None
        prompt, completion = prompt_and_completion(expression, TASK)
        tokens = len(prompt.split()) + len(completion.split()) + 1
        row = (prompt, completion, answer, list(expression.operations), expression.depth, tokens)
        for name, cell in zip(SCHEMA.names, row, strict=True):
            columns[name].append(cell)
    if not columns["prompt"]:
        raise ListOpsError(f"file: {file.name!r} is empty; a line is '9<tab>[MAX 2 9 ]'")
    with open_dataset_folder(out, {"imported": True}) as manifest:
        folder = out / f".{file.stem}.tmp"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            description = write_split(folder / file_name(split), pa.table(columns, schema=SCHEMA))
            splits = manifest["configs"].get(file.stem, {})
            for other in splits.keys() - {split}:
                shutil.copy2(out / file.stem / file_name(other), folder)
            description["source_sha256"] = sha256_of(file)
            add_config(out, manifest, file.stem, {**splits, split: description}, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        write_card(out, manifest)
    return len(columns["prompt"])

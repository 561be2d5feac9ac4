import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hf_listops.data.build import SCHEMA, build
from hf_listops.data.check import check
from hf_listops.data.load import read_splits
from hf_listops.data.original import import_original
from hf_listops.errors import ListOpsError
from hf_listops.language import Task, generate, is_held_out, parse, prompt_and_completion, split_of

TASK = Task(("MAX", "SUM"), 10, 2)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("check") / "data"
    build(
        [TASK, Task(("SUM",)), Task(("MAX",), trace="direct")], out, train_rows=60, evaluation_rows=20, progress=False
    )
    return out


def test_a_right_dataset_passes(small: Path) -> None:
    assert check(str(small), progress=False) == dict.fromkeys(
        ["max-mod10-depth2-direct", "max-sum-mod10-depth2", "sum-mod10-depth2"], 140
    )


def row_of(text: str, task: Task = TASK) -> dict[str, Any]:
    """A row that is right in every column."""
    expression = parse(text)
    prompt, completion = prompt_and_completion(expression, task)
    return {
        "prompt": prompt,
        "completion": completion,
        "answer": int(completion.split()[-1]),
        "operations": list(expression.operations),
        "depth": expression.depth,
        "num_tokens": len(f"{prompt}{completion}".split()) + 1,
    }


def change(column: str, value: Any) -> Callable[[list[dict[str, Any]]], None]:
    def apply(rows: list[dict[str, Any]]) -> None:
        rows[7][column] = value

    return apply


def put(text: str) -> Callable[[list[dict[str, Any]]], None]:
    def apply(rows: list[dict[str, Any]]) -> None:
        rows[7] = row_of(text)

    return apply


def repeat(rows: list[dict[str, Any]]) -> None:
    rows[7] = rows[3]


def first(test: Callable[[str], bool]) -> str:
    calls = (
        f"[{name} {a} {b} {c} ]" for name in ("SUM", "MAX") for a in range(10) for b in range(10) for c in range(10)
    )
    return next(call for call in calls if test(call))


TEST_CALL = first(lambda call: split_of(call) == "test" and not is_held_out(call))
TRAIN_CALL = first(lambda call: split_of(call) == "train" and not is_held_out(call))
HELD_OUT_TRAIN = first(lambda call: split_of(call) == "train" and is_held_out(call))
HELD_OUT_TEST = first(lambda call: split_of(call) == "test" and is_held_out(call))

DEFECTS = [
    ("train", change("answer", 11), "answer is 11"),
    ("test", change("completion", " 3"), "completion is ' 3'"),
    ("train", change("prompt", "[SUM 3 ="), "the end of the text"),
    ("train", change("prompt", "[SUM 3 12 ] ="), "a number in 0"),
    ("validation", change("depth", 9), "depth is 9"),
    ("train", change("num_tokens", 1), "num_tokens is 1"),
    ("test", change("operations", ["MAX", "MIN"]), "operations is ['MAX', 'MIN']"),
    ("train", put(TEST_CALL), "does not hash to train"),
    ("test", put(TRAIN_CALL), "does not hash to test"),
    ("train", put(HELD_OUT_TRAIN), "held-out call"),
    ("test", put(HELD_OUT_TEST), "held-out call"),
    ("test_unseen_calls", put(TEST_CALL), "reduces no held-out call"),
    ("test_deeper", put(TEST_CALL), "depth 1 is not in 3 … 3"),
    ("train", put("[SUM 1 2 3 4 ]"), "more than 3 arguments"),
    ("train", put("[MIN 1 2 ]"), "operation 'MIN' is not in the mix"),
    ("train", put("[SUM 1 [SUM 1 [SUM 1 2 ] ] ]"), "depth 3 is not in 1 … 2"),
    ("test", repeat, "occurs twice"),
]  # fmt: skip


@pytest.mark.parametrize(("split", "defect", "says"), DEFECTS, ids=[says for _, _, says in DEFECTS])
def test_every_planted_defect_is_found(
    small: Path, tmp_path: Path, split: str, defect: Callable[[list[dict[str, Any]]], None], says: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(small, copy)
    path = copy / TASK.name / f"{split}-00000-of-00001.parquet"
    rows = pq.read_table(path).to_pylist()
    defect(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)
    with pytest.raises(ListOpsError) as error:
        check(str(copy), progress=False)
    message = str(error.value)
    assert f"config {TASK.name!r}, split {split!r}, row 7: " in message
    assert says in message


@pytest.mark.parametrize("column", ["prompt", "depth"])
def test_a_missing_column_is_named(small: Path, tmp_path: Path, column: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(small, copy)
    for path in (copy / TASK.name).iterdir():
        pq.write_table(pq.read_table(path).drop_columns([column]), path)
    with pytest.raises(ListOpsError, match=f"has no column '{column}', only "):
        check(str(copy), progress=False)


def test_a_train_line_that_another_config_evaluates(small: Path, tmp_path: Path) -> None:
    """The overlap is looked for in the texts themselves too, over all configs."""
    copy = tmp_path / "copy"
    shutil.copytree(small, copy)
    line = generate(TASK, "train", 0, 0, 1).texts()[0][0].removesuffix(" =")
    path = copy / "sum-mod10-depth2" / "test-00000-of-00001.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[0] = {**row_of("[SUM 1 2 ]"), "prompt": f"{line} ="}
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)
    with pytest.raises(ListOpsError, match="is evaluated as sum-mod10-depth2 test row 0"):
        check(str(copy), progress=False)


def test_no_such_dataset() -> None:
    with pytest.raises(ListOpsError, match="'no/such' is no folder and not in the cache"):
        check("no/such", progress=False)


def test_original_files(shared: Path, tmp_path: Path) -> None:
    assert import_original(shared, tmp_path / "out") == 2000
    assert check(str(tmp_path / "out"), progress=False) == {shared.stem: 2000}
    path = tmp_path / "out" / shared.stem / "test-00000-of-00001.parquet"
    table = pq.read_table(path)
    assert table.schema.names == SCHEMA.names
    assert [str(answer) for answer in table["answer"].to_pylist()] == [
        row.split("\t")[0] for row in shared.read_text().splitlines()
    ]
    rows = table.to_pylist()
    rows[1999]["answer"] = (rows[1999]["answer"] + 1) % 10
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)
    with pytest.raises(ListOpsError, match="row 1999: answer is"):
        check(str(tmp_path / "out"), progress=False)


def test_the_splits_of_an_original_config(tmp_path: Path) -> None:
    (tmp_path / "d20s.tsv").write_text("2\t[SM 1 1 ]\n")
    import_original(tmp_path / "d20s.tsv", tmp_path / "out", split="train")
    (tmp_path / "d20s.tsv").write_text("3\t[SM 1 2 ]\n4\t[SM 2 2 ]\n")
    import_original(tmp_path / "d20s.tsv", tmp_path / "out")
    assert check(str(tmp_path / "out"), progress=False) == {"d20s": 3}
    (tmp_path / "d20s.tsv").write_text("5\t[SM 1 4 ]\n")
    import_original(tmp_path / "d20s.tsv", tmp_path / "out", split="train")
    loaded = read_splits(str(tmp_path / "out"), "d20s")
    assert {split: rows["answer"][:] for split, rows in loaded.items()} == {"train": [5], "test": [3, 4]}
    with pytest.raises(ListOpsError, match="split: 'a/b' is no split's name"):
        import_original(tmp_path / "d20s.tsv", tmp_path / "out", split="a/b")


def test_original_errors(tmp_path: Path) -> None:
    file = tmp_path / "bad.tsv"
    for text, says in (
        ("3\t( ( ( [SM 1 ) 1 ) ] )", "line 1: .*given as '3', but it is 2"),
        ("2\t( ( ( [SM 1 ) 1 ) ] )\n2\t[SM 1", "line 2: .*the end of the text"),
        ("[SM 1 1 ]", "line 1"),
        ("", "is empty"),
    ):
        file.write_text(text)
        with pytest.raises(ListOpsError, match=says):
            import_original(file, tmp_path / "out")
    with pytest.raises(ListOpsError, match="does not exist"):
        import_original(tmp_path / "none.tsv", tmp_path / "out")
    assert not (tmp_path / "out").exists()

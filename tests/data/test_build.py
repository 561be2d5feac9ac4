import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets
import pytest

from hf_listops.data.build import build, count_expressions, distinct
from hf_listops.data.check import check
from hf_listops.data.files import sha256_of
from hf_listops.data.load import load_split
from hf_listops.errors import ListOpsError
from hf_listops.language import SPLITS, Task, generate

MIX = Task.from_name("max-med-sum-mod10-depth2")


def hashes(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_of(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def test_plain_datasets_loads_it(dataset: Path) -> None:
    loaded = datasets.load_dataset(str(dataset), MIX.name)
    assert list(loaded) == list(SPLITS)
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 3000, **dict.fromkeys(SPLITS[1:], 120)}
    row = loaded["train"][0]
    assert row == {
        "prompt": "[MAX [SUM 3 9 6 ] [MAX 2 8 ] 7 ] =",
        "completion": " [MAX 8 8 7 ] = 8",
        "answer": 8,
        "operations": ["MAX", "SUM"],
        "depth": 2,
        "num_tokens": 21,
    }
    piece = datasets.load_dataset(str(dataset), MIX.name, split="test[:10%]")
    assert piece["prompt"] == loaded["test"]["prompt"][:12]
    stream = datasets.load_dataset(str(dataset), MIX.name, split="test", streaming=True)
    assert [row["prompt"] for row in stream] == loaded["test"]["prompt"][:]


def test_evaluation_rows_are_distinct(dataset: Path) -> None:
    for split in SPLITS[1:]:
        prompts = datasets.load_dataset(str(dataset), MIX.name, split=split)["prompt"][:]
        assert len(set(prompts)) == 120


def test_building_twice_gives_the_same_bytes(dataset: Path, tmp_path: Path) -> None:
    """In another order, one after the other: the same files and the same card."""
    names = ["sum-mod10-depth2", "med-mod10-depth2", "max-mod10-depth2", "max-med-mod10-depth2", MIX.name]
    for name in names:
        build([Task.from_name(name)], tmp_path, train_rows=3000, evaluation_rows=120, progress=False)
    assert hashes(tmp_path) == hashes(dataset)


def test_folders_of_one_name_do_not_share_a_cache(tmp_path: Path) -> None:
    """`load_dataset` caches a local dataset under its folder's last name; the card keeps ours apart."""
    for seed in (0, 1):
        build([MIX], tmp_path / str(seed) / "data", seed=seed, train_rows=50, evaluation_rows=5, progress=False)
    for seed in (0, 1):
        loaded = datasets.load_dataset(str(tmp_path / str(seed) / "data"), MIX.name, split="train")
        assert loaded["prompt"][:] == generate(MIX, "train", seed, 0, 50).texts()[0]


def test_a_built_folder_is_not_built_again(tmp_path: Path) -> None:
    build([MIX], tmp_path, train_rows=50, evaluation_rows=5, progress=False)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    build([MIX], tmp_path, train_rows=50, evaluation_rows=5, progress=False)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_another_dataset_is_never_written_to(tmp_path: Path) -> None:
    build([MIX], tmp_path / "a", train_rows=50, evaluation_rows=5, progress=False)
    with pytest.raises(ListOpsError, match="seed 0, not 1"):
        build([MIX], tmp_path / "a", seed=1, train_rows=50, evaluation_rows=5, progress=False)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").write_text("…")
    with pytest.raises(ListOpsError, match="not empty"):
        build([MIX], tmp_path / "b", progress=False)
    with pytest.raises(ListOpsError, match=r"thesis\.tex' is no folder"):
        build([MIX], tmp_path / "b" / "thesis.tex", progress=False)
    with pytest.raises(ListOpsError, match="train_rows: 0"):
        build([MIX], tmp_path / "c", train_rows=0, progress=False)
    assert not (tmp_path / "c").exists()


def test_several_builders_of_one_folder(tmp_path: Path) -> None:
    """One waits for the other: nothing is lost, nothing is built over, from the first moment of a new folder on."""
    tasks = [Task((name,)) for name in ("MAX", "MIN", "MED", "SUM", "FIRST", "LAST")]
    out = tmp_path / "new"

    def some(first: int) -> None:
        build([*tasks[first:], *tasks[:first]], out, train_rows=200, evaluation_rows=20, progress=False)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(some, range(6)))
    assert check(str(out), progress=False) == {task.name: 280 for task in sorted(tasks, key=lambda of: of.name)}
    assert not list(out.glob(".*"))


def test_a_build_cut_off_is_made_good(tmp_path: Path) -> None:
    """What a kill leaves behind: a scratch folder, and a config that did not get into the manifest."""
    build([Task(("SUM",))], tmp_path, train_rows=50, evaluation_rows=5, progress=False)
    (tmp_path / f".{MIX.name}.tmp").mkdir()
    (tmp_path / MIX.name).mkdir()
    (tmp_path / MIX.name / "train-00000-of-00001.parquet").write_bytes(b"half")
    build([MIX], tmp_path, train_rows=50, evaluation_rows=5, progress=False)
    assert check(str(tmp_path), progress=False) == {MIX.name: 70, "sum-mod10-depth2": 70}
    assert not list(tmp_path.glob(".*"))


def test_the_card_says_what_the_files_hold(dataset: Path) -> None:
    card = (dataset / "README.md").read_text()
    manifest = json.loads((dataset / "listops.json").read_text())
    for name, config in manifest["configs"].items():
        loaded = datasets.load_dataset(str(dataset), name)
        assert f"- config_name: {name}" in card
        for split, facts in config.items():
            rows = loaded[split]
            answers = rows["answer"][:]
            chance = max(map(answers.count, set(answers))) / len(rows)
            depths = ", ".join(
                f"{depth}: {len(tokens):,} ({round(sum(tokens) / len(tokens), 2)})"
                for depth in sorted(set(rows["depth"]))
                if (tokens := [n for d, n in zip(rows["depth"], rows["num_tokens"], strict=True) if d == depth])
            )
            line = f"| `{name}` | {split} | {len(rows):,} | {len(set(rows['prompt'])):,} | {max(rows['num_tokens'])} "
            assert f"{line}| {chance:.3f} | {depths} |" in card
            assert facts["sha256"] == sha256_of(dataset / name / f"{split}-00000-of-00001.parquet")


def test_a_split_too_small_says_how_many_exist(tmp_path: Path) -> None:
    task = Task(("SUM",), 10, 1)
    exist = count_expressions(task, "test")
    assert exist is not None
    assert 10 < exist < 1100
    assert len(distinct(task, "test", 0, exist)) == exist
    with pytest.raises(ListOpsError, match=f"only {exist} exist"):
        distinct(task, "test", 0, exist + 1)
    with pytest.raises(ListOpsError, match=r"only \d+ exist"):
        build([task], tmp_path / "x", train_rows=10, evaluation_rows=exist + 1, progress=False)
    assert not (tmp_path / "x" / task.name).exists()
    with pytest.raises(ListOpsError, match=r"'med-mod3-depth3', split 'test_unseen_calls', but only 0"):
        build([Task(("MED",), 3, 3)], tmp_path / "y", train_rows=10, evaluation_rows=10, progress=False)


@pytest.mark.parametrize("split", SPLITS[1:])
def test_counting_expressions(split: str) -> None:
    """Against all that a long stream of draws ever shows."""
    task = Task(("MAX", "SUM"), 3, 1, 2)
    exist = count_expressions(task, split)
    if exist == 0:
        with pytest.raises(ListOpsError, match="none of"):
            generate(task, split, 0, 0, 1)
    else:
        assert exist == len(set(generate(task, split, 0, 0, 5000).texts()[0]))
    assert count_expressions(Task(("MAX", "SUM"), 10, 3), split) is None


def test_load_split(dataset: Path) -> None:
    rows = load_split(str(dataset), MIX, "train", rows=20)
    generated = generate(MIX, "train", 0, 0, 20)
    assert len(rows) == 20
    for i in range(20):
        start, end = generated.offsets[i : i + 2]
        assert rows.ids[i, : rows.lengths[i]].tolist() == generated.ids[start:end].tolist()
        assert not rows.ids[i, rows.lengths[i] :].any()
    assert rows.prompt_lengths.tolist() == generated.prompt_lengths.tolist()
    assert rows.answers.tolist() == generated.answers.tolist()


def test_load_split_errors(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ListOpsError, match=r"dataset: .*min-mod10-depth2.*build it with"):
        load_split(str(dataset), Task(("MIN",)), "train")
    with pytest.raises(ListOpsError, match="dataset: 'no/such'"):
        load_split("no/such", MIX, "train")
    datasets.Dataset.from_dict({"text": ["a"]}).to_parquet(tmp_path / MIX.name / "train-00000-of-00001.parquet")
    with pytest.raises(ListOpsError, match="dataset: "):
        load_split(str(tmp_path), MIX, "train")
    foreign = tmp_path / "foreign"
    rows = {"prompt": ["[SUM 3 4 ] ="], "answer": [7]}
    (foreign / "x").mkdir(parents=True)
    datasets.Dataset.from_dict(rows).to_parquet(foreign / "x" / "train.parquet")
    (foreign / "README.md").write_text(
        f"---\nconfigs:\n- config_name: {MIX.name}\n  data_files:\n  - split: train\n    path: x/train.parquet\n---\n"
    )
    with pytest.raises(ListOpsError, match="no column 'completion'"):
        load_split(str(foreign), MIX, "train")
    rows |= {"completion": [" [ADD 7 ]"], "operations": [["SUM"]], "depth": [1], "num_tokens": [7]}
    datasets.Dataset.from_dict(rows).to_parquet(foreign / "x" / "train.parquet")
    with pytest.raises(ListOpsError, match=r"row 0: the symbol '\[ADD' is not in the vocabulary"):
        load_split(str(foreign), MIX, "train")

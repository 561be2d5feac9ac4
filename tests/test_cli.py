import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from hf_listops.cli import main
from hf_listops.data.build import SCHEMA


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from hf_listops.cli import make_parser; make_parser().format_help();"
        "print([m for m in ('torch', 'transformers', 'datasets', 'numpy', 'huggingface_hub') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert out.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["data", "build", "summ-mod10-depth2", "--out", "x"], "did you mean 'SUM'"),
        (["data", "build", "sum-mod1-depth2", "--out", "x"], "modulus: 1"),
        (["data", "build", "sum-mod10-depth1", "--out", "x"], "only 46 exist"),
        (["data", "build", "sum-mod10-depth2", "--out", "x", "--train_rows", "0"], "train_rows: 0"),
        (["data", "check", "nowhere"], "dataset: 'nowhere' is no folder and not in the cache, or"),
        (["solve", "nowhere", "[SUM 1 2 ]"], "model: 'nowhere' is no folder and not in the cache, or"),
        (["analyze", "curves", "nowhere", "--out", "x"], "model: 'nowhere' is no folder and not in the cache"),
        (["record", "nowhere", "--to", "x"], "run: 'nowhere' is not finished"),
        (["data", "build", "sum-mod10-depth2", "--out", "a_file/x"], "a_file/x: Not a directory; nothing was lost"),
        (["quickstart"], "quickstart: 'train.py' is not here"),
        (["solv"], "invalid choice: 'solv'"),
    ],
)
def test_wrong_input(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").touch()
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert exit_.value.code == 2
    assert len(errors) == 1
    assert says in errors[0]


def test_solve(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["solve", str(trained), "[MAX 3 9 4 ]"])
    assert capsys.readouterr().out == "[MAX 3 9 4 ]\n  = 9   right\n"
    with pytest.raises(SystemExit) as exit_:
        main(["solve", str(trained), "[MAX 3 9"])
    assert exit_.value.code == 2


def test_curves_and_records(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["analyze", "curves", str(trained), str(trained), "--out", str(tmp_path / "plots")])
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {
        f"learning_curves.{k}" for k in ("png", "svg", "json")
    }
    curves = json.loads((tmp_path / "plots" / "learning_curves.json").read_text())
    assert curves[0]["steps"] == [0, 450, 900]
    assert len(curves[0]["tasks"]["sum-mod10-depth2"]["exact_match"]) == 3
    results = tmp_path / "results" / "runs.jsonl"
    for expected in (1, 0):  # a run's record is added once
        main(["record", str(trained), "--to", str(results)])
        assert f"{expected} records added" in capsys.readouterr().out
    record = json.loads(results.read_text())
    assert record["run"] == "max-med-sum-mod10-depth2-d32-l2-h1-s0"
    assert record["params_total"] == 27_072
    assert record["stopped"] == "budget"
    assert [point["step"] for point in record["curve"]] == [0, 450, 900]
    assert record["curve"][0]["loss"] is None
    assert record["curve"][2]["exact_match"] == {
        name: curve["exact_match"][2] for name, curve in curves[0]["tasks"].items()
    }
    assert set(record["final"]["sum-mod10-depth2"]) == {"test", "test_unseen_calls"}


def test_dataset_scripts(shared: Path, tmp_path: Path) -> None:
    scripts = ROOT / "dataset_scripts"
    build = [sys.executable, scripts / "build_listops.py", "max-sum-mod10-depth2", "--with_single_operations"]
    sizes = ["--train_rows", "30", "--evaluation_rows", "10"]
    subprocess.run([*build, "--out", tmp_path / "a", *sizes], check=True, capture_output=True)
    main(["data", "build", "max-sum-mod10-depth2", "--with_single_operations", "--out", str(tmp_path / "b"), *sizes])
    files = [
        {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        for out in (tmp_path / "a", tmp_path / "b")
    ]
    assert files[0] == files[1]
    assert len(files[0]) == 3 * 5 + 2
    original = [sys.executable, scripts / "import_original_listops.py", shared, "--out", tmp_path / "c"]
    subprocess.run(original, check=True, capture_output=True)
    import datasets

    rows = datasets.load_dataset(str(tmp_path / "c"), shared.stem, split="test")
    assert (len(rows), rows.column_names) == (2000, SCHEMA.names)
    failed = subprocess.run([*original[:2], "none.tsv", "--out", tmp_path / "d"], capture_output=True, text=True)
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: file: 'none.tsv' does not exist")


def test_every_public_name_is_documented() -> None:
    """Modules, and classes and functions of more than a few lines that do not start with an underscore."""
    import ast

    missing = []
    for path in sorted((ROOT / "hf_listops").rglob("*.py")):
        tree = ast.parse(path.read_text())
        if path.stat().st_size and not ast.get_docstring(tree):
            missing.append(str(path))
        for node in tree.body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name[0] == "_" or ast.get_docstring(node):
                continue
            if len(node.body) > 3:
                missing.append(f"{path.name}: {node.name}")
    assert not missing

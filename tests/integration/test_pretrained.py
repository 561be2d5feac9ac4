"""The pretrained suite as committed: whole, what its cards and its table say, and small enough to clone."""

import importlib.util
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from conftest import ROOT
from hub_client import edit_manifest, flip_a_bit

from hf_listops.analysis.pages import refreshed
from hf_listops.hub.manifest import MANIFEST, read_manifest
from hf_listops.hub.run_folder import read_config
from hf_listops.hub.verification import all_revisions, family_problems, file_problems
from hf_listops.training.verification import verify

RUN_NAME = "sum-mod10-depth2-d8-l2-h1-s0"
MODELS = sorted(path.parent for path in (ROOT / "pretrained").glob(f"*/{MANIFEST}"))


@pytest.fixture(scope="module")
def collect() -> ModuleType:
    spec = importlib.util.spec_from_file_location("collect", ROOT / "pretrained" / "collect.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_suite() -> None:
    revisions = Counter(path.parts[-4] for path in (ROOT / "pretrained").glob("*/steps/*/model.safetensors"))
    assert len(MODELS) >= 12
    assert len(revisions) >= 2
    assert min(revisions.values()) > 5
    configs = [read_config(folder) for folder in MODELS]
    tasks = {config["task"] for config in configs}
    assert {"sum-mod26-depth2", "max-med-sum-mod26-depth2", "max-min-med-sum-mod10-depth3", None} <= tasks
    assert {0.02, 0.1} == {config["initializer_range"] for config in configs}
    tracked = subprocess.run(["git", "ls-files", "-z", "pretrained"], cwd=ROOT, capture_output=True, text=True).stdout
    assert sum((ROOT / path).stat().st_size for path in tracked.split("\0") if path) < 25e6


@pytest.mark.parametrize("folder", MODELS, ids=lambda path: path.name)
def test_every_byte_and_card_is_what_it_says(folder: Path) -> None:
    revisions = all_revisions(str(folder))
    for revision, of in revisions.items():
        assert file_problems(str(folder), revision, of) == []
    assert not family_problems(str(folder), revisions)
    assert (ROOT / "model_cards" / f"{folder.name}.md").read_text() == (folder / "README.md").read_text()


def test_the_table_is_made_from_the_models(collect: ModuleType) -> None:
    text = (ROOT / "pretrained" / "README.md").read_text()
    table = collect.table(collect.makers())
    assert text == refreshed(text, {"models": lambda: table})
    assert not any("no recipe" in line for line in table)
    assert {path.stem for path in (ROOT / "model_cards").glob("*.md")} == {"template", *(of.name for of in MODELS)}


@pytest.fixture
def suite(collect: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty suite, with its cards beside it."""
    made, cards = tmp_path / "pretrained", tmp_path / "model_cards"
    made.mkdir()
    cards.mkdir()
    monkeypatch.setattr(collect, "SUITE", made)
    monkeypatch.setattr(collect, "CARDS", cards)
    (made / "README.md").write_text("<!-- models -->\n<!-- /models -->\n")
    return made


def refused(collect: ModuleType, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """What the command says when it takes a run not."""
    with pytest.raises(SystemExit) as ended:
        collect.main([str(argument) for argument in arguments])
    assert ended.value.code == 2
    return capsys.readouterr().err


def copy_of(run: Path, to: Path, *left_out: str) -> Path:
    shutil.copytree(run, to, ignore=shutil.ignore_patterns("state", *left_out))
    return to


def test_a_run_is_collected(
    collect: ModuleType, suite: Path, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copy_of(tiny_run, tmp_path / "run")
    (run / "steps" / "step-1" / "notes.txt").write_text("in no manifest")
    assert collect.main([str(run), "--with_steps"]) == 0
    (folder,) = (path.parent for path in suite.glob(f"*/{MANIFEST}"))
    assert folder.name == RUN_NAME
    revisions = all_revisions(str(folder))
    assert list(revisions) == list(all_revisions(str(tiny_run)))
    assert [file_problems(str(folder), revision, of) for revision, of in revisions.items()] == [[]] * 6
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {"steps", ".eval_results"}
    assert (suite.parent / "model_cards" / f"{RUN_NAME}.md").read_text() == (folder / "README.md").read_text()
    assert f"| `{RUN_NAME}` | 2,160 |" in (suite / "README.md").read_text()
    assert sorted(path.name for path in suite.iterdir()) == ["README.md", RUN_NAME]
    assert "is in the suite already" in refused(collect, capsys, tiny_run)


def test_a_run_that_kept_no_steps_is_collected(
    collect: ModuleType, suite: Path, tiny_run: Path, tmp_path: Path
) -> None:
    run = copy_of(tiny_run, tmp_path / "run", "steps")
    (run / "run.yaml").write_text(yaml.safe_dump(read_config(run) | {"save_steps": [0]}))
    edit_manifest(run)
    assert collect.main([str(run)]) == 0
    assert list(all_revisions(str(suite / RUN_NAME))) == ["main"]


def test_a_run_is_collected_without_its_steps(collect: ModuleType, suite: Path, tiny_run: Path) -> None:
    assert collect.main([str(tiny_run)]) == 0
    (found,) = verify(str(suite / RUN_NAME), progress=False)
    assert (found.revision, found.problems) == ("main", ())
    before, after = read_config(tiny_run), read_config(suite / RUN_NAME)
    assert {field for field in before if before[field] != after[field]} == {"save_steps"}
    kept, original = (read_manifest(folder) for folder in (suite / RUN_NAME, tiny_run))
    assert kept["hash"] == original["hash"]
    assert kept["files"]["model.safetensors"] == original["files"]["model.safetensors"]


def test_the_runs_before_a_wrong_one_are_collected(
    collect: ModuleType, suite: Path, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unfinished = copy_of(tiny_run, tmp_path / "unfinished", MANIFEST)
    assert "is not finished" in refused(collect, capsys, tiny_run, unfinished, "--with_steps")
    assert f"| `{RUN_NAME}` | 2,160 |" in (suite / "README.md").read_text()


def test_a_run_whose_parts_are_not_right_is_not_collected(
    collect: ModuleType, suite: Path, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor is a part of it: nothing in the suite changes."""
    changed = copy_of(tiny_run, tmp_path / "changed")
    flip_a_bit(changed / "steps" / "step-60" / "model.safetensors")
    bare = copy_of(tiny_run, tmp_path / "bare")
    (bare / "steps" / "step-4" / MANIFEST).unlink()
    for run, says in (
        (changed, "step-60/model.safetensors' is missing or differs from manifest.json"),
        (bare, "kept step-4, which is missing or holds no manifest.json"),
        (copy_of(tiny_run, tmp_path / "gone", "step-2"), "kept step-2, which is missing"),
    ):
        assert says in refused(collect, capsys, run, "--with_steps")
        assert [path.name for path in suite.iterdir()] == ["README.md"]
    assert [path.name for path in suite.iterdir()] == ["README.md"]
    assert not any((suite.parent / "model_cards").iterdir())

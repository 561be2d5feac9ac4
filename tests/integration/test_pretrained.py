"""The pretrained suite as committed: whole, what its cards and its table say, and small enough to clone."""

import importlib.util
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from conftest import ROOT

from hf_listops.analysis.pages import refreshed
from hf_listops.hub.manifest import MANIFEST
from hf_listops.hub.run_folder import read_config
from hf_listops.hub.verification import all_revisions, family_problems, file_problems

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


def test_a_run_is_collected(
    collect: ModuleType,
    tiny_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    suite, cards = tmp_path / "pretrained", tmp_path / "model_cards"
    suite.mkdir()
    cards.mkdir()
    monkeypatch.setattr(collect, "SUITE", suite)
    monkeypatch.setattr(collect, "CARDS", cards)
    (suite / "README.md").write_text("<!-- models -->\n<!-- /models -->\n")
    assert collect.main([str(tiny_run), "--with_steps"]) == 0
    (folder,) = (path.parent for path in suite.glob(f"*/{MANIFEST}"))
    assert folder.name == "sum-mod10-depth2-d8-l2-h1-s0"
    assert {path.name for path in (folder / "steps").iterdir()} == {
        path.name for path in (tiny_run / "steps").iterdir()
    }
    assert not (folder / "state").exists()
    assert (cards / f"{folder.name}.md").is_file()
    assert f"| `{folder.name}` | 2,160 |" in (suite / "README.md").read_text()
    with pytest.raises(SystemExit) as again:
        collect.main([str(tiny_run)])
    assert again.value.code == 2
    assert "is in the suite already" in capsys.readouterr().err
    shutil.rmtree(folder)
    unfinished = shutil.copytree(tiny_run, tmp_path / "unfinished", ignore=shutil.ignore_patterns(MANIFEST))
    with pytest.raises(SystemExit):
        collect.main([str(unfinished)])
    assert "is not finished" in capsys.readouterr().err
    assert not folder.exists()

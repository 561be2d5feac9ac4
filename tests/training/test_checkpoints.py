"""A checkpoint's folder: exactly its files stand in the manifest, nested ones too, and a second one replaces the first."""

import json
from pathlib import Path

import pytest

from hf_listops.errors import ListOpsError
from hf_listops.evaluation.checkpoint import load_checkpoint
from hf_listops.hub.manifest import read_manifest
from hf_listops.training.checkpoints import write_checkpoint


def test_nested_files_of_a_checkpoint(trained: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(str(trained))
    target = tmp_path / "run"
    for content in (b"first", b"second"):
        files = {"README.md": content, ".eval_results/deep/x.yaml": content}
        write_checkpoint(target, checkpoint.model, checkpoint.tokenizer, files, {"step": 3})
        for other in ("state/state.safetensors", "steps/step-0/manifest.json", ".scratch.tmp"):  # of the run's folder
            (target / other).parent.mkdir(parents=True, exist_ok=True)
            (target / other).write_text("not the checkpoint's")
        manifest = read_manifest(target)
        assert manifest["step"] == 3
        assert set(manifest["files"]) == {
            "README.md", ".eval_results/deep/x.yaml", "config.json", "generation_config.json", "model.safetensors",
            "tokenizer.json", "tokenizer_config.json",
        }  # fmt: skip
        assert {(target / name).read_bytes() for name in files} == {content}
        assert not [path for path in target.rglob("*.tmp") if path.name != ".scratch.tmp"]
    (target / ".eval_results" / "deep" / "x.yaml").write_bytes(b"third")
    with pytest.raises(ListOpsError, match=r"x\.yaml' is missing or differs from manifest\.json"):
        read_manifest(target)
    assert json.loads((target / "manifest.json").read_text()) == manifest

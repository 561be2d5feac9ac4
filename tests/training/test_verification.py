"""A sound run is verified as sound where its data, its base model or what was asked of it is no longer as it was."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from hf_listops.data.build import build
from hf_listops.language import Task
from hf_listops.training.config import RunConfig
from hf_listops.training.loop import train
from hf_listops.training.run import Training
from hf_listops.training.verification import replay, verify

FIELDS: dict[str, Any] = {
    "task": "sum-mod10-depth2", "n_embd": 8, "max_steps": 12, "batch_size": 8, "eval_steps": 6, "logging_steps": 3,
}  # fmt: skip


def problems(run: Path) -> dict[str, tuple[str, ...]]:
    return {of.revision: of.problems for of in verify(str(run), progress=False) if of.problems}


def test_another_config_in_the_folder_and_a_folder_that_is_gone(tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    sizes = {"seed": 1, "train_rows": 200, "evaluation_rows": 20}
    build([Task(("SUM",))], data, **sizes, progress=False)
    train(RunConfig(**FIELDS, dataset=str(data), save_steps=[0, 6], output_dir=str(run)))
    for change in (lambda: None, lambda: build([Task(("MAX",))], data, **sizes, progress=False)):
        change()
        assert problems(run) == {}
        assert replay(str(run), "step-0", "step-6", progress=False).apart == 0
    shutil.rmtree(data)
    assert problems(run) == {}
    assert replay(str(run), "step-0", "step-6", progress=False).apart == 0
    other = {**sizes, "seed": 2}
    build([Task(("SUM",))], data, **other, progress=False)  # of the same name, with other rows: it is not read
    assert problems(run) == {}
    assert replay(str(run), "step-0", "step-6", progress=False).apart == 0


def test_other_steps_asked_for_on_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopping(self: Training) -> None:
        update(self)
        if self.step == 5:
            raise KeyboardInterrupt

    update = Training.update
    with monkeypatch.context() as patch:
        patch.setattr(Training, "update", stopping)
        with pytest.raises(KeyboardInterrupt):
            train(RunConfig(**{**FIELDS, "eval_steps": 2}, save_steps=[0, 2, 4, 9], output_dir=str(tmp_path / "run")))
    train(
        RunConfig(**{**FIELDS, "eval_steps": 2}, save_steps=[3, 7, 11], output_dir=str(tmp_path / "run"), resume=True)
    )
    assert {path.name for path in (tmp_path / "run" / "steps").iterdir()} == {
        f"step-{step}" for step in (0, 2, 4, 7, 11)
    }
    assert problems(tmp_path / "run") == {}
    shutil.rmtree(tmp_path / "run" / "steps" / "step-7")
    assert problems(tmp_path / "run") == {"main": ("the run kept step-7, which is missing",)}


def test_a_base_model_in_a_folder(tmp_path: Path) -> None:
    base, run = tmp_path / "base", tmp_path / "run"
    train(RunConfig(**FIELDS, save_steps=[0], output_dir=str(base)))
    child = RunConfig(**FIELDS, save_steps=[0, 6], base_model=str(base), variant="child", output_dir=str(run))
    train(child)
    card = ModelCard.load(run / "README.md")
    assert card.data.base_model is None  # the Hub refuses a path
    assert problems(run) == {}
    shutil.rmtree(base)
    (found,) = problems(run)["step-0"]
    assert found.startswith("its first weights cannot be made anew (model: '")
    assert set(problems(run)) == {"step-0"}

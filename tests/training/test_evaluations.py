"""Which rows a run is judged on where a task or a dataset has fewer than usual: known before the first step."""

import shutil
from pathlib import Path

import pytest
from datasets import Dataset

from hf_listops.data.build import count_expressions
from hf_listops.errors import ListOpsError
from hf_listops.hub.run_folder import read_metrics
from hf_listops.language import Task
from hf_listops.training import evaluations
from hf_listops.training.config import RunConfig
from hf_listops.training.evaluations import Evaluations
from hf_listops.training.loop import train
from hf_listops.training.verification import verify

SUM = "sum-mod10-depth2"


def test_a_task_without_unseen_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of MED's flat calls modulo 4 is held out; the run ends, says so on its card, and is verified."""
    monkeypatch.setattr(evaluations, "EVALUATION_ROWS", 100)  # for speed
    task, out = "med-sum-mod4-depth1", tmp_path / "run"
    config = RunConfig(task=task, n_embd=8, max_steps=3, batch_size=8, eval_steps=3, eval_rows=20, output_dir=str(out))
    train(config)
    (final,) = [line["final"] for line in read_metrics(out) if "final" in line]
    assert {name: set(splits) - {"test_deeper"} for name, splits in final.items()} == {
        task: {"test", "test_unseen_calls"},
        "sum-mod4-depth1": {"test", "test_unseen_calls"},
        "med-mod4-depth1": {"test"},
    }
    for name in final:  # as many as there are
        exist = count_expressions(Task.from_name(name), "test")
        assert exist is not None
        assert final[name]["test"]["rows"] == exist
    assert "no such rows, or ones longer than the model's" in (out / "README.md").read_text()
    assert [of.problems for of in verify(str(out), progress=False)] == [()]


def test_a_task_without_any_test_row() -> None:
    with pytest.raises(ListOpsError, match="task: 'max-mod2-depth1-args2' has no test row to be judged on"):
        Evaluations(RunConfig(task="max-mod2-depth1-args2"))


def test_a_dataset_with_other_splits(dataset: Path, tmp_path: Path) -> None:
    def copied(*splits: str) -> RunConfig:
        folder = tmp_path / "-".join(splits)
        (folder / SUM).mkdir(parents=True)
        for split in splits:
            shutil.copy(dataset / SUM / f"{split}-00000-of-00001.parquet", folder / SUM)
        files = "".join(f"  - {{split: {of}, path: {SUM}/{of}-*.parquet}}\n" for of in splits)
        (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: {SUM}\n  data_files:\n{files}---\n")
        return RunConfig(task=SUM, dataset=str(folder))

    assert set(Evaluations(copied("train", "test")).rows[SUM]) == {"test"}
    with pytest.raises(ListOpsError, match=f"task: '{SUM}' has no test row"):
        Evaluations(copied("train", "test_unseen_calls"))
    with pytest.raises(ListOpsError, match="cannot be read with the config 'max-mod10-depth2'"):
        Evaluations(RunConfig(task="max-mod10-depth2", dataset=copied("test").dataset))
    full = Evaluations(RunConfig(task=SUM, dataset=str(dataset))).rows[SUM]
    assert set(full) == {"test", "test_unseen_calls"}  # the deeper ones are longer than the model
    assert len(full["test"]) == len(Dataset.from_parquet(str(dataset / SUM / "test-00000-of-00001.parquet")))

"""Set before any Hugging Face import: nothing leaves this machine, nothing is written to the user's home."""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from hub_callers import Callers

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(Path(__file__).parent))  # the oracle and the helpers

_home = tempfile.mkdtemp(prefix="hf_listops-tests-")
atexit.register(shutil.rmtree, _home, ignore_errors=True)
os.environ.update(
    HF_HOME=_home,
    HF_ENDPOINT="http://127.0.0.1:9",
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_XET="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_UPDATE_CHECK="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    HF_UPDATE_DOWNLOAD_COUNTS="0",
    HF_DATASETS_DISABLE_PROGRESS_BARS="1",
    TOKENIZERS_PARALLELISM="false",
    OMP_NUM_THREADS="1",
    MPLBACKEND="agg",
)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The original ListOps rows, which lie beside the project."""
    path = ROOT.parent / "shared" / "data" / "listops_original_d20s_2000.tsv"
    assert path.is_file(), "the original ListOps rows are expected beside the project, in ../shared/data"
    return path


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small built dataset: a mix, its operations alone, and another mix for curricula."""
    from hf_listops.data.build import build
    from hf_listops.language import Task

    names = [
        "max-med-sum-mod10-depth2",
        "max-med-mod10-depth2",
        "max-mod10-depth2",
        "med-mod10-depth2",
        "sum-mod10-depth2",
    ]
    out = tmp_path_factory.mktemp("data") / "listops"
    build(map(Task.from_name, names), out, train_rows=3000, evaluation_rows=120, progress=False)
    return out


@pytest.fixture(scope="session")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished small run, half trained: some rows right, some wrong."""
    from hf_listops.training.config import RunConfig
    from hf_listops.training.loop import train

    out = tmp_path_factory.mktemp("runs") / "half"
    config = RunConfig(
        task="max-med-sum-mod10-depth2",
        dataset=str(dataset),
        n_embd=32,
        max_steps=900,
        eval_steps=450,
        eval_rows=60,
        save_steps=[100],
        output_dir=str(out),
    )
    assert train(config).stopped == "budget"
    return out


@pytest.fixture(scope="session")
def tiny_run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of a second, with kept steps 0, 1, 2, 4 and 60, their states, and the final one, 120."""
    from hf_listops.training.config import RunConfig
    from hf_listops.training.loop import train

    out = tmp_path_factory.mktemp("runs") / "tiny"
    config = RunConfig(
        task="sum-mod10-depth2",
        dataset=str(dataset),
        n_embd=8,
        max_steps=120,
        learning_rate=1e-2,
        warmup_steps=10,
        batch_size=32,
        eval_steps=60,
        eval_rows=120,
        save_steps=[0, 1, 2, 4, 60],
        save_state=True,
        output_dir=str(out),
    )
    assert train(config).stopped == "budget"
    return out


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Callers]":
    """An embedded Hub in a thread, and who calls it."""
    from hub_callers import calling

    with calling(tmp_path_factory.mktemp("hub") / "root") as callers:
        yield callers


SLOWEST = ("test_readme.py", "test_sweep.py", "test_launch.py", "test_hub_clients.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that no worker is left with them while the others have nothing to do."""
    items.sort(key=lambda item: item.path.name not in SLOWEST)

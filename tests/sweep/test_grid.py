from pathlib import Path

import pytest

from hf_listops.errors import ListOpsError
from hf_listops.sweep.grid import read_sweep


def write(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_the_order_of_priority(tmp_path: Path) -> None:
    sweep = read_sweep(
        write(
            tmp_path,
            """
base: {max_steps: 10, learning_rate: 1e-3}
grids:
  - {seed: [0, 1], n_embd: [8, 4], task: [sum-mod10-depth2, max-mod10-depth2]}
  - {task: sum-mod10-depth2, n_embd: [8, 16], max_steps: [10, 20]}
""",
        )
    )
    assert sweep.name == "mine"
    names = [(str(run.run_name), run.max_steps) for run in sweep.runs]
    assert names == [
        *((f"{task}-mod10-depth2-d{d}-l2-h1-s{s}", 10) for s in (0, 1) for d in (8, 4) for task in ("sum", "max")),
        ("sum-mod10-depth2-d8-l2-h1-s0", 20),  # with 10 steps it is in the first grid
        ("sum-mod10-depth2-d16-l2-h1-s0", 10),
        ("sum-mod10-depth2-d16-l2-h1-s0", 20),
    ]
    assert all(run.learning_rate == 1e-3 for run in sweep.runs)
    assert len({sweep.folder(run) for run in sweep.runs}) == len(sweep.runs)


def test_a_grid_over_curricula(tmp_path: Path) -> None:
    knots = "[{step: 0, mix: {max-mod10-depth2: 1}}, {step: 5, mix: {sum-mod10-depth2: 1}}]"
    sweep = read_sweep(write(tmp_path, f"grids: [{{curriculum: [{knots}], seed: [0, 1]}}]", "ramp.yaml"))
    assert [str(run.run_name) for run in sweep.runs] == ["ramp-d32-l2-h1-s0", "ramp-d32-l2-h1-s1"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("grids: []", "asks for no run"),
        ("base: {}", "has no grids"),
        ("- 1", "is not a mapping of fields"),
        ("grids: [{task: []}]", "task: grid 1"),
        ("grids: [{task: sum-mod10-depth2, n_embdd: [1]}]", "did you mean 'n_embd'"),
        ("base: {sed: 1}\ngrids: [{task: sum-mod10-depth2}]", "did you mean 'seed'"),
        ("grid: 1\ngrids: [{task: sum-mod10-depth2}]", "did you mean 'grids'"),
        ("grids: [3]", "is not a mapping of fields"),
        ("grids: [{task: sum-mod10-depth2, n_embd: [wide]}]", "n_embd: 'wide'"),
        ("grids: [{task: summ-mod10-depth2}]", "did you mean 'SUM'"),
        ("grids: [", "is not YAML"),
        ("grids: [{task: sum-mod10-depth2, save_steps: [0, 100]}]", "with [0] and with [100], which is the same run"),
        ("build_data: true\ngrids: [{task: sum-mod10-depth2}]", "build_data: "),
    ],
)
def test_bad_recipes(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ListOpsError) as error:
        read_sweep(write(tmp_path, text))
    assert says in str(error.value)


def test_a_missing_recipe() -> None:
    with pytest.raises(ListOpsError, match="does not exist"):
        read_sweep(Path("nowhere.yaml"))

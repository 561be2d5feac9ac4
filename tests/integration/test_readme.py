"""The README: every command in it runs, every number in it comes from a record."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from hf_listops.training.config import RunConfig

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def between(name: str) -> list[str]:
    text = README.split(f"<!-- {name} -->")[1].split(f"<!-- /{name} -->")[0]
    return text.strip().splitlines()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's root with recipes of a few steps, so that every command can be run to its end."""
    here = tmp_path_factory.mktemp("readme") / "main"
    here.mkdir()
    for name in ("train.py", "recipes", "dataset_scripts", "Makefile", "pyproject.toml", "constraints.txt"):
        source = ROOT / name
        shutil.copytree(source, here / name) if source.is_dir() else shutil.copy(source, here / name)
    for recipe in (here / "recipes").glob("quickstart*.yaml"):
        fields = yaml.safe_load(recipe.read_text()) | {"max_steps": 20, "eval_rows": 20}
        recipe.write_text(yaml.safe_dump(fields))
    return here


def test_every_command_runs_in_order(place: Path) -> None:
    """As a user would, from top to bottom. `make test` is what runs this; `make quickstart` runs with its set-up done."""
    (place / ".venv").mkdir()
    (place / ".venv" / "installed").touch()
    (place / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    env = {**os.environ, "TQDM_DISABLE": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    ran = []
    for language, text in re.findall(r"```(bash|python)\n(.*?)```", README, flags=re.DOTALL):
        commands = text.splitlines() if language == "bash" else [text]
        for command in commands:
            if command.startswith("make test"):
                continue
            call = ["bash", "-c", command] if language == "bash" else [sys.executable, "-c", command]
            result = subprocess.run(call, capture_output=True, text=True, cwd=place, env=env, timeout=400)
            assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
            ran.append(command.split()[0])
    assert ran.count("make") == 1
    assert ran.count("accelerate") == 2
    picture = place / "outputs" / "quickstart" / "learning_curves.png"
    assert picture.read_bytes()[:4] == b"\x89PNG"
    again = subprocess.run(["make", "quickstart"], capture_output=True, text=True, cwd=place, env=env, timeout=400)
    assert again.returncode == 0, again.stderr  # safe to repeat


def test_the_curriculum_shown_is_one(place: Path) -> None:
    (fields,) = [yaml.safe_load(text) for text in blocks("yaml")]
    config = RunConfig(**fields, dataset="outputs/data")
    assert config.schedule.steps == (0, 2400, 5600)


def quickstart_table(records: list[dict[str, object]]) -> list[str]:
    sums: dict[tuple[object, object], float] = {
        (record["task"], record["seed"]): record["final"]["sum-mod10-depth2"]["test"]["exact_match"]  # type: ignore[index]
        for record in records
    }
    seeds = sorted({seed for _, seed in sums})  # type: ignore[type-var]
    lines = [f"| trained on | {' | '.join(f'seed {seed}' for seed in seeds)} |", "|---" * (len(seeds) + 1) + "|"]
    for task in ("max-med-sum-mod10-depth2", "sum-mod10-depth2"):
        lines.append(f"| `{task}` | {' | '.join(f'{sums[task, seed]:.3f}' for seed in seeds)} |")
    return lines


def test_the_numbers_of_the_quickstart() -> None:
    records = [json.loads(line) for line in (ROOT / "results/quickstart/runs.jsonl").read_text().splitlines()]
    assert between("quickstart") == quickstart_table(records)
    assert {f"{record['params_total']:,}" for record in records} == {"27,072"}
    assert "27,072 parameters, 6,000 steps" in README
    assert {record["steps"] for record in records} == {6000}


def test_the_calibration_holds() -> None:
    """SCIENCE's gap, from the records: learned inside the mix, a plateau alone, seed by seed."""
    records = [json.loads(line) for line in (ROOT / "results/quickstart/runs.jsonl").read_text().splitlines()]
    exact = {(r["task"], r["seed"]): r["final"]["sum-mod10-depth2"]["test"]["exact_match"] for r in records}
    inside = [exact["max-med-sum-mod10-depth2", seed] for seed in (0, 1, 2)]
    alone = [exact["sum-mod10-depth2", seed] for seed in (0, 1, 2)]
    assert sum(inside) / 3 >= 0.3
    assert max(alone) <= 0.1
    assert all(a - b >= 0.1 for a, b in zip(inside, alone, strict=True))


def test_the_numbers_of_the_benchmarks() -> None:
    training = json.loads((ROOT / "results/benchmarks/training_speed.json").read_text())["n_embd"]
    generator = json.loads((ROOT / "results/benchmarks/generator_speed.json").read_text())["rows_per_second"]
    lines = ["| | ours is faster by |", "|---|---|"]
    lines += [f"| training, n_embd {n}, 2 layers, batch 64 | {of['ratio']:.1f}x |" for n, of in training.items()]
    lines.append(f"| generating the same rows | {generator['vectorised'] / generator['plain']:.0f}x |")
    without = generator["vectorised"] / generator["plain, no splits"]
    lines.append(f"| generating, against rows that look at no split | {without:.1f}x |")
    assert between("benchmarks") == lines
    assert all(of["loss_difference"] <= 1e-5 for of in training.values())

"""A sweep's recipe: which runs it asks for, in order of priority."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from hf_listops.data.files import DATA
from hf_listops.data.load import GENERATED
from hf_listops.errors import ListOpsError, did_you_mean
from hf_listops.training.config import RunConfig, check_fields, read_mapping

EXAMPLE = "grids: [{task: [sum-mod10-depth2], n_embd: [16, 32], seed: [0, 1]}]"
_KEYS = ("base", "grids", "build_data")


@dataclass(frozen=True)
class Sweep:
    """A recipe read: `name` is its file's, and names `results/{name}` and `outputs/sweeps/{name}`."""

    name: str
    recipe: Path
    runs: tuple[RunConfig, ...]
    build_data: bool  # whether the dataset is a folder that `sweep run` completes before the runs

    @property
    def results(self) -> Path:
        return Path("results") / self.name

    @property
    def records(self) -> Path:
        return self.results / "runs.jsonl"

    @property
    def work(self) -> Path:
        return Path("outputs") / "sweeps" / self.name

    def folder(self, config: RunConfig) -> Path:
        """Where a run lives: its name, and its hash, since grids may differ in fields that the name does not show."""
        return self.work / "runs" / f"{config.run_name}-{config.hash}"


def read_sweep(path: Path) -> Sweep:
    """Reads `base` (fields of every run), `grids` (each a mapping of fields to values or lists, all combinations of which
    are run, the last field fastest; earlier grids first) and `build_data`.

    Raises:
        ListOpsError: the file is missing, a key or field is unknown, a grid is empty, or a run's config is wrong.
    """
    recipe = read_mapping(path, "sweep", "recipes/figure1.yaml", EXAMPLE)
    if "grids" not in recipe:
        raise ListOpsError(f"sweep: {str(path)!r} has no grids; a right one has {EXAMPLE}")
    for key in recipe:
        if key not in _KEYS:
            hint = did_you_mean(str(key), _KEYS) or f"; the keys are {', '.join(_KEYS)}"
            raise ListOpsError(f"{key}: sweep {str(path)!r} has an unknown key{hint}")
    base = recipe.get("base") or {}
    grids = recipe["grids"]
    if not isinstance(grids, list) or not isinstance(base, dict):
        raise ListOpsError(f"grids: {str(path)!r} needs a mapping 'base' and a list 'grids', as in {EXAMPLE}")
    check_fields(base, f"base of {str(path)!r}")
    runs: dict[str, RunConfig] = {}
    for place, grid in enumerate(grids):
        for config in _grid_runs(grid, base, f"grid {place + 1} of {str(path)!r}", path.stem):
            first = runs.setdefault(config.hash, config)
            if first != config:
                one, other = first.to_dict(), config.to_dict()
                field = next(name for name in one if one[name] != other[name])
                raise ListOpsError(
                    f"{field}: {str(path)!r} asks for {config.run_name} with {one[field]!r} and with {other[field]!r}, "
                    "which is the same run; give one value"
                )
    if not runs:
        raise ListOpsError(f"grids: {str(path)!r} asks for no run; a right one has {EXAMPLE}")
    build_data = bool(recipe.get("build_data", False))
    if build_data and any(config.dataset == GENERATED for config in runs.values()):
        raise ListOpsError(
            f"build_data: {str(path)!r} has runs on 'generated' rows; give a folder, as in dataset: {DATA}"
        )
    return Sweep(path.stem, path, tuple(runs.values()), build_data)


def _grid_runs(grid: Any, base: dict[str, Any], where: str, name: str) -> list[RunConfig]:
    if not isinstance(grid, dict):
        raise ListOpsError(f"grids: {where} is not a mapping of fields; a right one is in {EXAMPLE}")
    check_fields(grid, where)
    # A list is a list of values, also of fields that are lists themselves: [[…], […]].
    values = {field: value if isinstance(value, list) else [value] for field, value in grid.items()}
    for field, choices in values.items():
        if not choices:
            raise ListOpsError(f"{field}: {where} gives it no value; a right grid is in {EXAMPLE}")
    configs = []
    for choice in product(*values.values()):
        fields = {**base, **dict(zip(values, choice, strict=True))}
        if fields.get("curriculum") is not None:
            fields.setdefault("name", name)
        configs.append(RunConfig(**fields))
    return configs

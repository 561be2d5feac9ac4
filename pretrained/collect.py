"""Takes finished runs into the pretrained suite: `python pretrained/collect.py RUN_FOLDER… [--with_steps]`.

Copies each run's folder without the state to resume from, makes its card as today's code does, keeps that in `model_cards/`
too, and makes the table in `pretrained/README.md` anew from all that is there. Without `--with_steps` a run is taken as one
that kept its final state only: the config says so, and nothing else of it changes.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hf_listops.analysis.pages import refresh
from hf_listops.data.files import sha256_of, write_atomically
from hf_listops.errors import ListOpsError
from hf_listops.hub.card import card_files
from hf_listops.hub.manifest import MANIFEST, manifest_text, read_manifest
from hf_listops.hub.names import DEFAULT_NAMESPACE, model_repo
from hf_listops.hub.publishing import MAIN, revisions_of
from hf_listops.hub.run_folder import RUN, finished_line, read_config, read_metrics
from hf_listops.language import Task
from hf_listops.reporting import reporting_errors
from hf_listops.sweep.grid import read_sweep
from hf_listops.training.config import RunConfig, read_recipe
from hf_listops.training.verification import kept_revisions

SUITE = Path(__file__).parent
CARDS = SUITE.parent / "model_cards"
RECIPES = SUITE.parent / "recipes"
HEAD = (
    "| run | parameters | exact match on each operation alone | steps | core minutes | revisions | made by |",
    "|---|---|---|---|---|---|---|",
)


def collect(run: Path, with_steps: bool) -> Path:
    """Copies one finished run into the suite, whole or not at all; returns its folder there.

    Raises:
        ListOpsError: the run is not finished or in the suite already, a checkpoint differs from its manifest, or a step that
            the run kept is not there.
    """
    if finished_line(run) is None:
        raise ListOpsError(f"run: {str(run)!r} is not finished; a right one is a folder that train.py has finished")
    config = RunConfig(**read_recipe(run / RUN))
    target = SUITE / str(config.run_name)
    if target.exists():
        raise ListOpsError(f"run: {target.name!r} is in the suite already; remove {str(target)!r} to take another")
    revisions = revisions_of(run) if with_steps else {MAIN: run}
    missing = [revision for revision in kept_revisions(run) if revision not in revisions]
    if missing and with_steps:
        raise ListOpsError(f"run: {str(run)!r} kept {', '.join(missing)}, which is missing or holds no {MANIFEST}")
    with TemporaryDirectory(dir=SUITE, prefix=".collecting-") as scratch:
        copy = Path(scratch) / target.name
        for checkpoint in revisions.values():
            to = copy / checkpoint.relative_to(run)
            for name in (*read_manifest(checkpoint)["files"], MANIFEST):
                (to / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(checkpoint / name, to / name)
        _issue(copy, config, whole=not missing)
        write_atomically(CARDS / f"{target.name}.md", (copy / "README.md").read_bytes())
        copy.rename(target)
    return target


def _issue(folder: Path, config: RunConfig, whole: bool) -> None:
    """Writes the config, the card as today's code makes it, and the manifest of both; older code made other cards."""
    manifest = read_manifest(folder)
    if not whole:  # a run that has kept no step
        config = RunConfig(**config.to_dict() | {"save_steps": [0]})
        manifest["kept_steps"] = []
    (folder / RUN).write_text(config.to_yaml())
    facts = {name: value for name, value in manifest.items() if name != "files"}
    card = card_files(read_config(folder), read_metrics(folder), facts, model_repo(DEFAULT_NAMESPACE, config.run_name))
    for name, content in card.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    manifest["files"] |= {name: sha256_of(folder / name) for name in (RUN, *card)}
    manifest["files"] = dict(sorted(manifest["files"].items()))
    (folder / MANIFEST).write_text(manifest_text(manifest))


def table(recipes: dict[str, str]) -> list[str]:
    """A line for each model of the suite; `recipes` maps a run's hash to the command that makes it."""
    lines = list(HEAD)
    for folder in sorted(path.parent for path in SUITE.glob(f"*/{MANIFEST}")):
        manifest, config = read_manifest(folder), RunConfig(**read_recipe(folder / RUN))
        last: dict[str, Any] = finished_line(folder) or {}
        alone = {
            Task.from_name(name).mix: of["test"]["exact_match"]
            for name, of in last["final"].items()
            if len(Task.from_name(name).operations) == 1
        }
        accuracies = ", ".join(f"{operation} {value:.3f}" for operation, value in alone.items())
        minutes = max(line.get("seconds", 0) for line in read_metrics(folder)) / 60
        steps = len(list((folder / "steps").glob("step-*")))
        lines.append(
            f"| `{folder.name}` | {manifest['params_total']:,} | {accuracies} | {manifest['step']:,} | {minutes:.1f} "
            f"| {1 + steps} | {recipes.get(config.hash, 'no recipe')} |"
        )
    return lines


def makers() -> dict[str, str]:
    """The command that makes each run of the recipes, by the run's hash."""
    found = {}
    for path in sorted(RECIPES.glob("*.yaml")):
        name = f"recipes/{path.name}"
        if "\ngrids:" in path.read_text():
            found |= {config.hash: f"`hf-listops sweep run {name}`" for config in read_sweep(path).runs}
        else:
            found[RunConfig(**read_recipe(path)).hash] = f"`python train.py {name}`"
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="*", type=Path, help="folder of a finished run; none to make the table anew")
    parser.add_argument("--with_steps", action="store_true", help="take the training steps that the runs kept")
    args = parser.parse_args(arguments)
    with reporting_errors():
        try:
            for run in args.run:
                collect(run, args.with_steps)
        finally:  # the runs before one that is refused are in the suite
            refresh(SUITE, {"models": lambda: table(makers())})
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The quickstart: SUM inside MAX+MED+SUM beside SUM alone, at the same size, from the data to the Hub and the picture."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tqdm import tqdm

from hf_listops.data.build import MANIFEST
from hf_listops.errors import ListOpsError
from hf_listops.hub.run_folder import finished_line
from hf_listops.reporting import reporting_errors
from hf_listops.sweep.runner import show_progress
from hf_listops.training.config import RunConfig, read_recipe
from hf_listops.training.evaluations import single_operation_tasks

RECIPES = (Path("recipes/quickstart.yaml"), Path("recipes/quickstart_sum.yaml"))
HUB = "hub"
EARLY = "step-16"  # a revision to compare the final state with
EXPRESSIONS = ("[SUM 3 9 ]", "[MAX 4 [SUM 7 8 2 ] [MED 1 9 5 ] ]", "[SUM [MED 6 2 8 ] [SUM 4 7 ] 5 ]")


def quickstart(out: Path) -> int:
    """Runs the quickstart against an embedded Hub in `out/hub`. Returns its exit code.

    Safe to repeat: what is there is used, an unfinished run goes on. Run from the project's root, where `train.py` is.

    Raises:
        ListOpsError: it is not run from there, or the Hub cannot be started.
    """
    try:
        from hf_listops.hub.server.serving import execute, running
    except ModuleNotFoundError as error:
        raise ListOpsError(
            f"quickstart: its Hub needs {error.name}; install the extra with: pip install 'hf_listops[hub]'"
        ) from None

    for needed in (Path("train.py"), *RECIPES):
        if not needed.is_file():
            raise ListOpsError(f"quickstart: {str(needed)!r} is not here; run it from the root of a clone")
    with running(out / HUB) as hub:
        # Clients read their settings once, at import: so the rest is a process of its own, kept to this Hub.
        environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
        return execute([sys.executable, "-m", __name__, str(out)], hub, {**environment, **hub.environment})


def publish_and_compare(out: Path) -> None:
    """Builds and publishes the data, trains and publishes both runs, loads them by name and lets them solve aloud."""
    from huggingface_hub import constants

    from hf_listops.analysis.curves import learning_curves
    from hf_listops.evaluation.checkpoint import load_checkpoint
    from hf_listops.evaluation.solve import solve
    from hf_listops.hub.publishing import publish
    from hf_listops.hub.pushing_data import push_data

    say = sys.stdout.write
    configs = [RunConfig(**{**read_recipe(recipe), "output_dir": None}) for recipe in RECIPES]
    folders = [out / str(config.run_name) for config in configs]
    data = Path(configs[0].dataset)
    say(f"A Hub of your own at {constants.ENDPOINT}; later: hf-listops hub serve --root {out / HUB}\n\n")
    say(f"1. Data in {data}, then on the Hub\n")
    tasks = [task for config in configs for task in (*config.tasks, *single_operation_tasks(config))]
    pushed = push_data(list(dict.fromkeys(tasks)), data)
    rows = json.loads((data / MANIFEST).read_text())["train_rows"]
    say(f"   {rows:,} rows a task to train on, datasets/{pushed.repo_id}\n")
    say("2. Two runs of the same size, side by side, published as they train\n")
    train_side_by_side(RECIPES, configs, folders)
    names = [publish(folder, progress=False).repo_id for folder in folders]
    say("3. Three expressions, solved aloud by both, loaded by name\n")
    for name in (f"{names[0]}@{EARLY}", *names):
        say(f"\n{name}\n")
        checkpoint = load_checkpoint(name)
        for expression in EXPRESSIONS:
            say(f"  {expression}\n")
            for line in solve(checkpoint, expression):
                say(f"    = {line.text:<28} {'right' if line.is_right else 'wrong'}\n")
    picture = learning_curves(names, out)[0]
    say("\n4. SUM on its own test rows, exact match\n")
    for folder, where in zip(folders, ("inside the mix", "alone"), strict=True):
        last = finished_line(folder) or {}
        say(f"  {where:<15} {last['final']['sum-mod10-depth2']['test']['exact_match']:.3f}   {folder}\n")
    say(f"\nThe picture: {picture}\n")
    say(f"Next: hf-listops hub exec --root {out / HUB} -- hf-listops solve {names[0]} '[SUM 1 [MAX 2 3 ] ]'\n")
    say("      accelerate launch train.py recipes/quickstart.yaml --seed 1 --n_embd 48\n")


def train_side_by_side(recipes: tuple[Path, ...], configs: list[RunConfig], folders: list[Path]) -> None:
    """One single-threaded process a run, each with a bar of its own. Raises `ListOpsError` if one fails."""
    running: list[tuple[subprocess.Popen[bytes], Path, tqdm]] = []
    try:
        for place, (recipe, config, folder) in enumerate(zip(recipes, configs, folders, strict=True)):
            if finished_line(folder) is not None:
                continue
            log = folder.with_suffix(".log")
            log.parent.mkdir(parents=True, exist_ok=True)
            command = [sys.executable, "train.py", str(recipe), "--output_dir", str(folder)]
            command += ["--save_steps", "1000", "--push_to_hub"]
            command += ["--resume"] if (folder / "run.yaml").is_file() else []
            with open(log, "wb") as file:
                process = subprocess.Popen(
                    command, stdout=file, stderr=file, env={**os.environ, "OMP_NUM_THREADS": "1"}
                )
            bar = tqdm(total=config.max_steps, desc=folder.name, unit="step", position=place, dynamic_ncols=True)
            running.append((process, folder, bar))
        while any(process.poll() is None for process, _, _ in running):
            time.sleep(0.5)
            for _, folder, bar in running:
                show_progress(folder, bar)
    finally:
        for process, _, bar in running:
            if process.poll() is None:
                process.terminate()  # it finishes its step and saves
                process.wait()
            bar.close()
    for process, folder, _ in running:
        if process.returncode:
            log = folder.with_suffix(".log")
            last = (log.read_text().strip().splitlines() or ["no output"])[-1]
            raise ListOpsError(f"quickstart: the run in {str(folder)!r} failed: {last} (all of it: {log})")


if __name__ == "__main__":
    with reporting_errors():
        publish_and_compare(Path(sys.argv[1]))

"""Running a sweep: single-threaded processes at low priority, shared by any number of `sweep run`, resumable at any time.

A run is claimed by a lock on a file of its own. The process that trains it holds the same lock, so that a claim lasts as
long as anyone works on the run, and not a moment longer, however either of them dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from hf_listops.data.build import build
from hf_listops.data.files import write_atomically
from hf_listops.errors import ListOpsError
from hf_listops.hub.records import RESULTS_VERSION, add_records, read_records
from hf_listops.hub.run_folder import RUN, finished_line, read_metrics
from hf_listops.sweep.grid import Sweep
from hf_listops.training.config import RunConfig
from hf_listops.training.evaluations import single_operation_tasks
from hf_listops.training.loop import stop_signals
from hf_listops.training.records import error_record, make_record

POLL = 0.5  # seconds between looks at the running processes
STARTS = 3  # of a run by one runner, if a signal from elsewhere ends it each time


@dataclass
class Job:
    """A run at work in a process of its own."""

    config: RunConfig
    folder: Path
    process: subprocess.Popen[bytes]
    lock: int
    place: int  # of its bar
    bar: tqdm


class _Done:
    """The hashes of the runs that are done, read again when the records have changed."""

    def __init__(self, sweep: Sweep, retry: bool) -> None:
        self.path, self.retry = sweep.records, retry
        self.hashes: set[str] = set()
        self.seen = 0

    def look(self) -> set[str]:
        changed = self.path.stat().st_mtime_ns if self.path.is_file() else 0
        if changed != self.seen:
            self.seen = changed
            records = read_records(self.path)
            self.hashes |= {of["hash"] for of in records if not (self.retry and of["stopped"] == "error")}
        return self.hashes


def run_sweep(sweep: Sweep, *, jobs: int = 1, commit: str | None = None, retry: bool = False) -> str:
    """Runs what is not done yet, `jobs` runs at a time, in the recipe's order; returns `done` or `signal`.

    Args:
        sweep (`Sweep`): the recipe.
        jobs (`int`): processes at a time; one a core is the fastest.
        commit (`str`, *optional*): the revision whose code runs; by default that of the sweep's first start, which is HEAD.
        retry (`bool`): run again what ended in an error.

    Raises:
        ListOpsError: the results folder belongs to another recipe or results version, or git cannot provide the code.
    """
    if jobs < 1:
        raise ListOpsError(f"jobs: {jobs} is below 1; one a core is the fastest")
    code = prepare(sweep, commit)
    if sweep.build_data:
        _build_data(sweep)
    done = _Done(sweep, retry)
    waiting = [config for config in sweep.runs if config.hash not in done.look()]
    total = tqdm(
        total=len(sweep.runs), initial=len(sweep.runs) - len(waiting), desc=sweep.name, unit="run", position=0
    )
    running: list[Job] = []
    starts: Counter[str] = Counter()
    with total, stop_signals() as signals:
        try:
            while (waiting or running) and not signals:
                while waiting and len(running) < jobs:
                    place = min(set(range(1, jobs + 1)) - {job.place for job in running})
                    job = _claim(sweep, waiting, code, place, done)
                    if job is None:
                        break
                    running.append(job)
                    starts[job.config.hash] += 1
                time.sleep(POLL)
                for job in running:
                    show_progress(job.folder, job.bar)
                for job in [job for job in running if job.process.poll() is not None]:
                    running.remove(job)
                    if _was_interrupted(job) and starts[job.config.hash] < STARTS:
                        _close(job)
                        waiting.insert(0, job.config)  # it goes on where it was
                    else:
                        _finish(sweep, job)
                        done.hashes.add(job.config.hash)
                if waiting and not running:  # others have the rest: look again for what they leave
                    time.sleep(4 * POLL)
                waiting = [config for config in waiting if config.hash not in done.look()]
                total.update(len(sweep.runs) - len(waiting) - len(running) - total.n)
        finally:
            for job in running:
                job.process.terminate()  # it finishes its step and saves
            for job in running:
                job.process.wait()
                if finished_line(job.folder) is not None:
                    _finish(sweep, job)
                else:
                    _close(job)
    return "signal" if signals else "done"


def prepare(sweep: Sweep, commit: str | None) -> Path:
    """Makes the results folder the sweep's own and lays out the code of its commit; returns the code's folder."""
    path = sweep.results / "sweep.json"
    fresh = {"recipe": str(sweep.recipe), "results_version": RESULTS_VERSION}
    known: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    if known and known["recipe"] != fresh["recipe"]:
        raise ListOpsError(
            f"results: {str(sweep.results)!r} belongs to the recipe {known['recipe']!r}, not {fresh['recipe']!r}; rename one"
        )
    if known and known["results_version"] != RESULTS_VERSION:
        raise ListOpsError(
            f"results: {str(sweep.records)!r} was made with results version {known['results_version']}, this code is "
            f"{RESULTS_VERSION}; move the folder away and start the sweep anew"
        )
    wanted = _git("rev-parse", "--verify", f"{commit or known.get('commit') or 'HEAD'}^{{commit}}")
    code = Path("outputs") / "sweeps" / "code" / wanted[:12]
    if not (code / "train.py").is_file():
        _git("worktree", "prune")
        _git("worktree", "add", "--detach", "--force", str(code), wanted)
    if known.get("commit") != wanted:
        sweep.results.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps({**fresh, "commit": wanted}, indent=1) + "\n")
    return code


def _git(*arguments: str) -> str:
    result = subprocess.run(["git", *arguments], capture_output=True, text=True)
    if result.returncode:
        last = (result.stderr.strip().splitlines() or ["no output"])[-1]
        raise ListOpsError(
            f"commit: git {arguments[0]} failed ({last}); run the sweep in a clone, with a commit that exists"
        )
    return result.stdout.strip()


def _build_data(sweep: Sweep) -> None:
    for dataset in dict.fromkeys(config.dataset for config in sweep.runs):
        tasks = [
            task
            for config in sweep.runs
            if config.dataset == dataset
            for task in (*config.tasks, *single_operation_tasks(config))
        ]
        build(tasks, Path(dataset))  # of several sweeps one builds, and the others wait


def _claim(sweep: Sweep, waiting: list[RunConfig], code: Path, place: int, done: _Done) -> Job | None:
    """Starts the first waiting run that nobody else works on; None if there is none."""
    claims = sweep.work / "claims"
    claims.mkdir(parents=True, exist_ok=True)
    for config in list(waiting):
        lock = os.open(claims / config.hash, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        waiting.remove(config)
        if config.hash in done.look():
            os.close(lock)  # done by another since we last looked
            continue
        return _start(sweep, config, code, lock, place)
    return None


def _start(sweep: Sweep, config: RunConfig, code: Path, lock: int, place: int) -> Job:
    folder = sweep.folder(config)
    folder.parent.mkdir(parents=True, exist_ok=True)
    recipe = folder.with_name(f"{folder.name}.yaml")
    write_atomically(recipe, yaml.safe_dump(config.set_fields()))
    command = [sys.executable, str(code / "train.py"), str(recipe), "--output_dir", str(folder)]
    command += ["--resume"] if (folder / RUN).is_file() else []
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    with open(folder.with_name(f"{folder.name}.log"), "ab") as log:
        process = subprocess.Popen(
            ["nice", "-n", "10", *command], stdout=log, stderr=log, env=env, pass_fds=[lock], start_new_session=True
        )
    bar = tqdm(total=config.max_steps, desc=f"  {config.run_name}", unit="step", position=place, leave=False)
    return Job(config, folder, process, lock, place, bar)


def _was_interrupted(job: Job) -> bool:
    """Whether a signal from elsewhere ended a run: it saved and left, or it was killed."""
    return finished_line(job.folder) is None and (job.process.returncode or 0) <= 0


def _finish(sweep: Sweep, job: Job) -> None:
    """Records a run that has ended, well or not."""
    try:
        record = make_record(job.folder)
    except ListOpsError as error:
        log = job.folder.with_name(f"{job.folder.name}.log")
        lines = [line for line in log.read_text().splitlines() if line.strip()] if log.is_file() else []
        why = next(
            (line for line in reversed(lines) if line.startswith("error: ")), lines[-1] if lines else str(error)
        )
        record = error_record(job.config, f"exit code {job.process.returncode}: {why}")
    add_records([record], sweep.records)
    _close(job)


def _close(job: Job) -> None:
    job.bar.close()
    with contextlib.suppress(OSError):
        os.close(job.lock)


def show_progress(folder: Path, bar: tqdm) -> None:
    """Moves a run's bar to its latest step and accuracies, as its metrics have them."""
    lines = read_metrics(folder)
    if lines:
        bar.update(lines[-1]["step"] - bar.n)
        latest: dict[str, float] = next((of["exact_match"] for of in reversed(lines) if "exact_match" in of), {})
        bar.set_postfix_str(" ".join(f"{name.split('-mod')[0]} {value:.2f}" for name, value in latest.items()))

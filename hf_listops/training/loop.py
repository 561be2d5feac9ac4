"""The training loop: from a config to a run's folder, stopped and resumed at any step without a trace.

A run's folder holds `run.yaml` and `metrics.jsonl` from the start, `state/`, `steps/step-{n}/`, and in the end the final
checkpoint at its root.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from tqdm import tqdm

from hf_listops.errors import ListOpsError
from hf_listops.hub.publishing import BackgroundPublisher, Publisher
from hf_listops.hub.run_folder import finished_line
from hf_listops.training.checkpoints import STATE
from hf_listops.training.config import RunConfig
from hf_listops.training.evaluations import is_solved
from hf_listops.training.folder import check_folder, open_folder
from hf_listops.training.run import Training
from hf_listops.training.schedule import keeps_checkpoint


@dataclass(frozen=True)
class Outcome:
    """How a call of `train` ended: `stopped` is `budget` or `solved`, or `signal` if the run is to be resumed."""

    folder: Path
    step: int
    stopped: str
    params_total: int
    params_non_embedding: int


def make_accelerator(config: RunConfig) -> Accelerator:
    """The Accelerator of a run. Raises `ListOpsError` if more processes were asked for than run.

    `accelerate launch --num_processes 2` on a CPU starts one process and says nothing; it leaves a master port behind.
    """
    accelerator = Accelerator(
        cpu=not torch.accelerator.is_available(),
        mixed_precision="bf16" if config.bf16 else "no",
        log_with=None if config.report_to == "none" else config.report_to,
        project_dir=str(config.folder),
    )
    asked = int(os.environ.get("WORLD_SIZE", 0))
    if asked > accelerator.num_processes or (not asked and "MASTER_PORT" in os.environ):
        raise ListOpsError(
            f"processes: {asked or 'several'} were asked for but {accelerator.num_processes} runs; on a CPU start two with: "
            "torchrun --nproc_per_node 2 train.py RECIPE.yaml"
        )
    if accelerator.device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)  # the fastest for tiny models, and the same on every machine
    return accelerator


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM instead of dying of them."""
    received: list[int] = []
    previous = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, lambda number, frame: received.append(number))
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def train(config: RunConfig, accelerator: Accelerator | None = None) -> Outcome:
    """Trains a run to its end, or until SIGINT or SIGTERM, after which `resume` goes on exactly where it stopped.

    Raises:
        ListOpsError: the config, the data or the folder does not fit; nothing of another run is touched.
    """
    accelerator = accelerator or make_accelerator(config)
    folder = config.folder
    check_folder(config)
    with stop_signals() as signals:
        run = Training(config, accelerator)
        if config.push_to_hub and accelerator.is_main_process:
            publisher = Publisher(folder, str(config.run_name), config.hash, config.hub_namespace)
            run.publisher = BackgroundPublisher(publisher)
        accelerator.wait_for_everyone()  # no process makes the folder before all have seen what is there
        if accelerator.is_main_process:
            open_folder(config)
        if config.report_to != "none":
            tracked = {
                k: str(v) if isinstance(v, (list, dict)) else v for k, v in config.to_dict().items() if v is not None
            }
            accelerator.init_trackers("hf_listops", tracked)
        finished = finished_line(folder)
        if finished is not None:
            _finish_publishing(run)
            return Outcome(folder, finished["step"], finished["stopped"], *run.params)
        begun = any(line["step"] > 0 for line in run.metrics.lines)
        if config.resume and (begun or (folder / STATE).is_file()):
            run.load_state()
        else:
            run.metrics.rewind(-1)  # of a run killed before its first state
            run.evaluate()
            if keeps_checkpoint(config.save_steps, 0):
                run.save_step()
            run.save_state()
        stopped = _run_steps(run, signals)
        if stopped != "signal":
            final = run.evaluations.final(run.lean)
            line = {"step": run.step, "final": final, "stopped": stopped, "seconds": round(run.seconds, 1)}
            run.metrics.append(line)
            run.save_checkpoint(folder)
            _finish_publishing(run)
        elif run.publisher is not None:
            run.publisher.abandon()
        accelerator.wait_for_everyone()
        accelerator.end_training()
    return Outcome(folder, run.step, stopped, *run.params)


def _finish_publishing(run: Training) -> None:
    """Waits until all of a finished run is on the Hub."""
    if run.publisher is None:
        return
    try:
        run.publisher.finish()
    except ListOpsError as error:
        folder = run.config.folder
        raise ListOpsError(
            f"push_to_hub: the run is finished in {str(folder)!r}, but not all of it is published ({error}); go on with: "
            f"hf-listops hub publish {folder}"
        ) from None


def _run_steps(run: Training, signals: list[int]) -> str:
    """Updates until the budget, a solved run or a signal, whichever comes first; says which."""
    config, accelerator = run.config, run.accelerator
    bar = tqdm(
        total=config.max_steps,
        initial=run.step,
        desc=str(config.run_name),
        unit="step",
        disable=not accelerator.is_main_process,
        mininterval=0.5 if sys.stderr.isatty() else 30,  # a log needs no more than a line now and then
        dynamic_ncols=True,
    )
    with bar:
        while True:
            evaluated = run.metrics.last_evaluation() or {}
            solved = (
                config.stop_when_solved and evaluated.get("step") == run.step and is_solved(run.metrics.lines, config)
            )
            if solved or run.step >= config.max_steps:
                return "solved" if solved else "budget"
            run.update()
            bar.update()
            evaluates = run.step % config.eval_steps == 0 or run.step == config.max_steps
            if evaluates or run.step % config.logging_steps == 0:
                run.log()
            if evaluates:
                run.evaluate()
                bar.set_postfix_str(_accuracies(run))
            keeps = keeps_checkpoint(config.save_steps, run.step)
            if keeps:
                run.save_step()
            signalled = bool(signals)
            if accelerator.num_processes > 1:  # all processes stop at the same step
                flag = torch.tensor(int(signalled), device=accelerator.device)
                signalled = bool(accelerator.reduce(flag, "sum").item())
            if evaluates or keeps or signalled:
                run.save_state()
            if signalled:
                return "signal"


def _accuracies(run: Training) -> str:
    latest = (run.metrics.last_evaluation() or {}).get("exact_match", {})
    return " ".join(f"{name.split('-mod')[0]} {value:.2f}" for name, value in latest.items())

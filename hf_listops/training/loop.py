"""The training loop: from a config to a run's folder, stopped and resumed at any step without a trace.

A run's folder holds `run.yaml` and `metrics.jsonl` from the start, `state/`, `steps/step-{n}/`, and in the end the final
checkpoint at its root.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from tqdm import tqdm

from hf_listops.data.build import MANIFEST as DATASET_MANIFEST
from hf_listops.data.files import sha256_of
from hf_listops.data.token_matrix import TokenMatrix
from hf_listops.data.tokenizer import make_tokenizer
from hf_listops.errors import ListOpsError
from hf_listops.evaluation.forward import LeanGPT2
from hf_listops.hub.card import card_files
from hf_listops.hub.manifest import provenance
from hf_listops.hub.names import DEFAULT_NAMESPACE, model_repo, step_revision
from hf_listops.hub.run_folder import METRICS, RUN, finished_line
from hf_listops.language import GENERATOR_VERSION
from hf_listops.training.checkpoints import STATE, Progress, load_state, save_state, write_checkpoint
from hf_listops.training.config import RunConfig
from hf_listops.training.curriculum import CurriculumBatchSampler, rank_slice
from hf_listops.training.evaluations import Evaluations, is_solved
from hf_listops.training.folder import Metrics, check_folder, open_folder
from hf_listops.training.model import FlatParameters, count_parameters, make_model
from hf_listops.training.schedule import keeps_checkpoint, learning_rate_at
from hf_listops.training.sources import RowSource, training_sources
from hf_listops.training.step import LossAndGradient, count_targets


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


def data_revision(dataset: str) -> str | None:
    """What identifies the training data: the hash of a built dataset's manifest; None for what has none."""
    path = Path(dataset) / DATASET_MANIFEST
    return f"sha256:{sha256_of(path)}" if path.is_file() else None


class Training:
    """A run in memory: data, model, optimizer and where it stands."""

    def __init__(self, config: RunConfig, accelerator: Accelerator) -> None:
        self.config, self.accelerator = config, accelerator
        ranks = accelerator.num_processes * config.gradient_accumulation_steps
        if config.batch_size < ranks:
            raise ListOpsError(f"batch_size: {config.batch_size} is below processes x accumulation steps, {ranks}")
        self.sources: dict[str, RowSource] = training_sources(
            config.dataset, config.tasks, config.seed, config.positions
        )
        self.evaluations = Evaluations(config)
        lengths = {name: source.lengths for name, source in self.sources.items()}
        self.sampler = CurriculumBatchSampler(lengths, config.schedule, config.batch_size, config.seed)
        self.model = make_model(config).to(accelerator.device)
        self.parameters = FlatParameters(self.model)
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [self.parameters.matrices], "weight_decay": config.weight_decay},
                {"params": [self.parameters.vectors], "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
            betas=(config.adam_beta1, config.adam_beta2),
            fused=True,
        )
        self.tokenizer = make_tokenizer(config.tasks[-1], config.positions)
        self.loss_and_gradient = LossAndGradient(self.model, config, accelerator)
        self.lean = LeanGPT2(self.model)
        self.params = count_parameters(self.model)
        self.metrics = Metrics(config.folder, accelerator.is_main_process)
        self.step = self.tokens = self.loss_steps = 0
        self.loss_sum = self.seconds_before = 0.0
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.started

    def rows(self, indices: np.ndarray[Any, np.dtype[np.int64]]) -> TokenMatrix:
        """The rows of a part of a batch, cut to the longest of them."""
        source, row = self.sampler.locate(indices)
        names = [task.name for task in self.config.tasks]
        first = int(source[0])
        if (source == first).all():
            return self.sources[names[first]].take(row)
        return TokenMatrix.stack(
            [self.sources[names[place]].take(row[source == place]) for place in np.unique(source)]
        )

    def update(self) -> None:
        """One optimiser update: `step` becomes `step + 1`."""
        config, accelerator = self.config, self.accelerator
        batch = self.sampler.batch(self.step)
        parts = config.gradient_accumulation_steps
        mine = [
            self.rows(rank_slice(batch, accelerator.process_index, accelerator.num_processes, part, parts))
            for part in range(parts)
        ]
        # The loss is divided by the targets of the whole step, so that no split of it over processes changes the gradient.
        targets = sum(count_targets(rows, config.loss_on) for rows in mine)
        tokens = sum(int(rows.lengths.sum()) for rows in mine)
        if accelerator.num_processes > 1:
            counts = torch.tensor([targets, tokens], device=accelerator.device)
            targets, tokens = accelerator.reduce(counts, "sum").tolist()
        loss = sum(
            (self.loss_and_gradient(rows, targets) for rows in mine), torch.zeros((), device=accelerator.device)
        )
        if accelerator.num_processes > 1:
            loss = accelerator.reduce(loss, "sum")
            for gradient in self.parameters.gradients:
                gradient.copy_(accelerator.reduce(gradient, "sum"))
        torch.nn.utils.clip_grad_norm_(self.parameters.both, config.max_grad_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(config, self.step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=False)
        self.step += 1
        self.tokens += tokens
        self.loss_sum += loss.item()
        self.loss_steps += 1

    def log(self) -> None:
        """A line on the steps since the last one."""
        line: dict[str, Any] = {
            "step": self.step,
            "loss": self.loss_sum / self.loss_steps,
            "learning_rate": learning_rate_at(self.config, self.step - 1),
            "tokens": self.tokens,
        }
        if len(self.config.tasks) > 1:
            weights = self.config.schedule.weights_at(np.array([self.step - 1]))[0]
            line["weights"] = {
                task.name: float(weight) for task, weight in zip(self.config.tasks, weights, strict=True)
            }
        self.metrics.append({**line, "seconds": round(self.seconds, 1)})
        self.accelerator.log({key: line[key] for key in ("loss", "learning_rate", "tokens")}, step=self.step)
        self.loss_sum, self.loss_steps = 0.0, 0

    def evaluate(self) -> None:
        """A line on how the run stands. Every process computes it, so that all know whether the run is solved."""
        measures = self.evaluations.scheduled(self.lean)
        self.metrics.append({"step": self.step, **measures, "seconds": round(self.seconds, 1)})
        flat = {f"{measure}/{name}": value for measure, of in measures.items() for name, value in of.items()}
        self.accelerator.log(flat, step=self.step)

    def save_state(self) -> None:
        if self.accelerator.is_main_process:
            progress = Progress(self.step, self.tokens, self.seconds, self.loss_sum, self.loss_steps)
            save_state(self.config.folder, self.config, self.parameters, self.optimizer, progress)

    def load_state(self) -> None:
        progress = load_state(self.config.folder, self.config, self.parameters, self.optimizer)
        self.step, self.tokens = progress.step, progress.tokens
        self.loss_sum, self.loss_steps, self.seconds_before = progress.loss_sum, progress.loss_steps, progress.seconds
        self.metrics.rewind(self.step)

    def save_checkpoint(self, target: Path) -> None:
        """A complete model folder of the current weights."""
        if not self.accelerator.is_main_process:
            return
        config = self.config
        facts = {
            "run": str(config.run_name),
            "hash": config.hash,
            "step": self.step,
            "tokens": self.tokens,
            "dataset": config.dataset,
            "data_revision": data_revision(config.dataset),
            "generator_version": GENERATOR_VERSION,
            "params_total": self.params[0],
            "params_non_embedding": self.params[1],
        }
        lines = [line for line in self.metrics.lines if line["step"] <= self.step]
        repo_id = model_repo(DEFAULT_NAMESPACE, config.run_name)
        files = {
            RUN: config.to_yaml().encode(),
            METRICS: self.metrics.text(self.step).encode(),
            **card_files(config.to_dict(), lines, {**facts, **provenance()}, repo_id),
        }
        write_checkpoint(target, self.model, self.tokenizer, files, facts)


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
            return Outcome(folder, finished["step"], finished["stopped"], *run.params)
        begun = any(line["step"] > 0 for line in run.metrics.lines)
        if config.resume and (begun or (folder / STATE).is_file()):
            run.load_state()
        else:
            run.metrics.rewind(-1)  # of a run killed before its first state
            run.evaluate()
            if keeps_checkpoint(config.save_steps, 0):
                run.save_checkpoint(folder / "steps" / step_revision(0))
            run.save_state()
        stopped = _run_steps(run, signals)
        if stopped != "signal":
            final = run.evaluations.final(run.lean)
            line = {"step": run.step, "final": final, "stopped": stopped, "seconds": round(run.seconds, 1)}
            run.metrics.append(line)
            run.save_checkpoint(folder)
        accelerator.wait_for_everyone()
        accelerator.end_training()
    return Outcome(folder, run.step, stopped, *run.params)


def _run_steps(run: Training, signals: list[int]) -> str:
    """Updates until the budget, a solved run or a signal, whichever comes first; says which."""
    config, accelerator = run.config, run.accelerator
    steps_folder = config.folder / "steps"
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
                run.save_checkpoint(steps_folder / step_revision(run.step))
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

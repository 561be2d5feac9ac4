"""A run in memory: its data, its model, its optimizer, and what one step of it does."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from hf_listops.data.build import MANIFEST as DATASET_MANIFEST
from hf_listops.data.build import SIZES
from hf_listops.data.load import GENERATED
from hf_listops.data.remote import commit_of, local_folder, split_revision
from hf_listops.data.token_matrix import TokenMatrix
from hf_listops.data.tokenizer import make_tokenizer
from hf_listops.errors import ListOpsError
from hf_listops.evaluation.forward import LeanGPT2
from hf_listops.hub.card import card_files
from hf_listops.hub.manifest import provenance
from hf_listops.hub.names import DEFAULT_NAMESPACE, model_repo, parse_step_revision, step_revision
from hf_listops.hub.publishing import MAIN, BackgroundPublisher, revisions_of
from hf_listops.hub.run_folder import METRICS, RUN
from hf_listops.hub.verification import WEIGHTS
from hf_listops.language import GENERATOR_VERSION
from hf_listops.training.checkpoints import (
    STATE,
    STEP_STATE,
    Progress,
    load_state,
    save_state,
    state_bytes,
    write_checkpoint,
)
from hf_listops.training.config import RunConfig
from hf_listops.training.curriculum import CurriculumBatchSampler, rank_slice
from hf_listops.training.evaluations import Evaluations, single_operation_tasks
from hf_listops.training.folder import Metrics
from hf_listops.training.model import FlatParameters, count_parameters, make_model
from hf_listops.training.schedule import learning_rate_at
from hf_listops.training.sources import RowSource, rows_sha256, training_sources
from hf_listops.training.step import LossAndGradient, count_targets


@dataclass(frozen=True)
class DataOrigin:
    """What identifies the rows of a run: a Hub repo's commit, or the hash of its tasks in a built folder.

    `built` says how to build them anew: `seed`, `train_rows`, `evaluation_rows`. Both are None where nothing says it.
    """

    revision: str | None = None
    built: dict[str, int] | None = None


def data_origin(config: RunConfig) -> DataOrigin:
    """The origin of a run's data. Other tasks in the same folder, and where it lies, do not enter."""
    if config.dataset == GENERATED:
        return DataOrigin()
    if not Path(config.dataset).is_dir():
        return DataOrigin(commit_of(local_folder(config.dataset, "dataset", ["README.md"])))
    path = Path(config.dataset) / DATASET_MANIFEST
    if not path.is_file():
        return DataOrigin()
    manifest = json.loads(path.read_text())
    tasks = sorted(task.name for task in (*config.tasks, *single_operation_tasks(config)))
    files = {
        f"{task} {split}": about["sha256"]
        for task in tasks
        for split, about in manifest["configs"].get(task, {}).items()
    }
    built = {field: manifest[field] for field in SIZES} if all(field in manifest for field in SIZES) else None
    return DataOrigin(f"sha256:{hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()}", built)


class Training:
    """A run in memory: data, model, optimizer and where it stands."""

    def __init__(self, config: RunConfig, accelerator: Accelerator) -> None:
        self.config, self.accelerator = config, accelerator
        ranks = accelerator.num_processes * config.gradient_accumulation_steps
        if config.batch_size < ranks:
            raise ListOpsError(f"batch_size: {config.batch_size} is below processes x accumulation steps, {ranks}")
        self.origin = data_origin(config)
        dataset = config.dataset
        if (
            dataset != GENERATED and not Path(dataset).is_dir()
        ):  # all splits of one commit, whatever is pushed meanwhile
            dataset = f"{split_revision(dataset)[0]}@{self.origin.revision}"
        self.sources: dict[str, RowSource] = training_sources(dataset, config.tasks, config.seed, config.positions)
        self.rows_sha256 = rows_sha256(self.sources)
        self.evaluations = Evaluations(dataclasses.replace(config, dataset=dataset))
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
        base = config.base_model
        self.base_model_commit = None if base is None else commit_of(local_folder(base, patterns=[WEIGHTS]))
        self.tokenizer = make_tokenizer(config.tasks[-1], config.positions)
        self.loss_and_gradient = LossAndGradient(self.model, config, accelerator)
        self.lean = LeanGPT2(self.model)
        self.params = count_parameters(self.model)
        self.metrics = Metrics(config.folder, accelerator.is_main_process)
        self.publisher: BackgroundPublisher | None = None
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
            save_state(self.config.folder, self.config, self.parameters, self.optimizer, self.progress)

    @property
    def progress(self) -> Progress:
        return Progress(self.step, self.tokens, self.seconds, self.loss_sum, self.loss_steps, self.rows_sha256)

    def load_state(self) -> None:
        config = self.config
        self.restore(load_state(config.folder / STATE, config.hash, self.parameters, self.optimizer))
        self.metrics.rewind(self.step)

    def restore(self, progress: Progress) -> None:
        """Takes up the count of steps where a state left it. Raises `ListOpsError` if the rows are no longer the same."""
        if progress.rows_sha256 not in (None, self.rows_sha256):
            raise ListOpsError(
                f"dataset: the rows of {self.config.dataset!r} are not those that the run began with; name the revision, as "
                "in hf-listops/listops@COMMIT, or build the dataset anew"
            )
        self.step, self.tokens = progress.step, progress.tokens
        self.loss_sum, self.loss_steps, self.seconds_before = progress.loss_sum, progress.loss_steps, progress.seconds

    def save_step(self) -> None:
        """Keeps the current step under `steps/`, with the state if the run keeps that."""
        extra = {}
        if self.config.save_state:
            extra[STEP_STATE] = state_bytes(self.config, self.parameters, self.optimizer, self.progress)
        self.save_checkpoint(self.config.folder / "steps" / step_revision(self.step), extra)

    def _kept_steps(self, target: Path) -> list[int]:
        """The steps kept up to this checkpoint, in order: a resumed run may be asked for others from then on."""
        there = {parse_step_revision(revision) for revision in revisions_of(self.config.folder).keys() - {MAIN}}
        own = set() if target == self.config.folder else {self.step}
        return sorted(step for step in there | own if step <= self.step)

    def save_checkpoint(self, target: Path, extra: dict[str, bytes] | None = None) -> None:
        """A complete model folder of the current weights, with some files more."""
        if not self.accelerator.is_main_process:
            return
        config = self.config
        facts = {
            "run": str(config.run_name),
            "hash": config.hash,
            "step": self.step,
            "tokens": self.tokens,
            "dataset": config.dataset,
            "data_revision": self.origin.revision,
            "data_built": self.origin.built,
            "base_model_commit": self.base_model_commit,
            "kept_steps": self._kept_steps(target),
            "generator_version": GENERATOR_VERSION,
            "params_total": self.params[0],
            "params_non_embedding": self.params[1],
        }
        lines = [line for line in self.metrics.lines if line["step"] <= self.step]
        repo_id = model_repo(config.hub_namespace or DEFAULT_NAMESPACE, config.run_name)
        files = {
            RUN: config.to_yaml().encode(),
            METRICS: self.metrics.text(self.step).encode(),
            **card_files(config.to_dict(), lines, {**facts, **provenance()}, repo_id),
            **(extra or {}),
        }
        write_checkpoint(target, self.model, self.tokenizer, files, facts)
        if self.publisher is not None:
            self.publisher.push()

"""Whether a published run is what it says: its files, its first weights, its accuracies, and its training replayed."""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from tqdm import tqdm

from hf_listops.data.build import build
from hf_listops.data.load import GENERATED
from hf_listops.data.remote import split_revision
from hf_listops.errors import ListOpsError
from hf_listops.evaluation.checkpoint import load_checkpoint
from hf_listops.hub.manifest import MANIFEST, provenance
from hf_listops.hub.names import step_revision
from hf_listops.hub.run_folder import RUN, read_metrics
from hf_listops.hub.verification import WEIGHTS, all_revisions, family_problems, file_problems
from hf_listops.language.splits import TEST
from hf_listops.training.checkpoints import STEP_STATE, load_state, weights_of
from hf_listops.training.config import RunConfig, read_recipe
from hf_listops.training.evaluations import Evaluations, single_operation_tasks
from hf_listops.training.loop import make_accelerator
from hf_listops.training.model import make_model
from hf_listops.training.run import Training, data_origin
from hf_listops.training.schedule import keeps_checkpoint

TOLERANCE = 0.001
"""By how much a recomputed accuracy may differ, or by one row of few: another machine rounds otherwise, and may turn one."""

ROUNDING = 0.001
"""By how much of the way a replayed stretch may end elsewhere: less than any other row or hyperparameter makes."""


@dataclass(frozen=True)
class Verified:
    """One revision: its step, its problems, and how many accuracies were computed anew."""

    revision: str
    step: int | None
    accuracies: int
    problems: tuple[str, ...]


def verify(name: str, *, progress: bool = True) -> list[Verified]:
    """Checks every revision of a repo or of a run's folder.

    Bytes against manifests, manifests against their branches, cards against the metrics, the kept steps against the
    config, `step-0` against the seeded initialisation, and every accuracy measured at a revision, computed anew.

    Raises:
        ListOpsError: there is no such repo or folder, or it holds no checkpoint.
    """
    revisions = all_revisions(name)
    problems = {revision: file_problems(name, revision, folder) for revision, folder in revisions.items()}
    sound = {revision: folder for revision, folder in revisions.items() if not problems[revision]}
    for revision, found in (family_problems(name, sound) if sound else {}).items():
        problems[revision] += found
    accuracies = dict.fromkeys(revisions, 0)
    evaluations: Evaluations | None = None
    for revision, folder in tqdm(sound.items(), desc=f"verifying {name}", unit="revision", disable=not progress):
        config = RunConfig(**read_recipe(folder / RUN))
        manifest = _manifest(folder)
        if config.hash != manifest["hash"]:
            problems[revision].append(f"{RUN} has the hash {config.hash}, the manifest says {manifest['hash']}")
        if manifest["step"] == 0:
            problems[revision] += _start_problems(folder, config, manifest)
        try:
            evaluations = evaluations or _evaluations(config, manifest)
        except ListOpsError as error:
            problems[revision].append(f"its accuracies cannot be computed anew ({error})")
            continue
        count, found = _accuracy_problems(folder, manifest["step"], evaluations)
        accuracies[revision] = count
        problems[revision] += found
    if sound:
        newest = list(sound)[-1]
        problems[newest] += _missing_steps(sound[newest], revisions)
    return [
        Verified(revision, _step(folder), accuracies[revision], tuple(problems[revision]))
        for revision, folder in revisions.items()
    ]


def _manifest(folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    return manifest


def _step(folder: Path) -> int | None:
    try:
        return int(_manifest(folder)["step"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _same_weights(folder: Path, weights: dict[str, torch.Tensor]) -> bool:
    """Whether a checkpoint's weights are these, bit for bit."""
    saved = load_file(folder / WEIGHTS)
    return all(torch.equal(tensor, weights[name]) for name, tensor in saved.items())


def _start_problems(folder: Path, config: RunConfig, manifest: dict[str, Any]) -> list[str]:
    """Whether the first weights are those of the seed, or of the base model at the commit that the run took it from."""
    commit = manifest.get("base_model_commit")
    if commit is not None:
        config = dataclasses.replace(config, base_model=f"{split_revision(config.base_model or '')[0]}@{commit}")
    try:
        first = weights_of(make_model(config))
    except ListOpsError as error:
        return [f"its first weights cannot be made anew ({error})"]
    return (
        [] if _same_weights(folder, first) else ["its weights are not those that its seed, or its base model, gives"]
    )


def kept_revisions(folder: Path) -> list[str]:
    """The steps that a run kept up to one of its checkpoints: as its manifest says, or an older one's config."""
    config, manifest = RunConfig(**read_recipe(folder / RUN)), _manifest(folder)
    asked = [step for step in range(manifest["step"] + 1) if keeps_checkpoint(config.save_steps, step)]
    return [step_revision(step) for step in manifest.get("kept_steps", asked)]


def _missing_steps(newest: Path, revisions: dict[str, Path]) -> list[str]:
    missing = [revision for revision in kept_revisions(newest) if revision not in revisions]
    return [f"the run kept {', '.join(missing)}, which is missing"] if missing else []


def _accuracy_problems(folder: Path, step: int, evaluations: Evaluations) -> tuple[int, list[str]]:
    """How many accuracies were computed anew, and those that differ from what the metrics, and so the card, say."""
    lean = load_checkpoint(str(folder)).lean
    said: dict[str, float] = {}
    found: dict[str, float] = {}
    for line in read_metrics(folder):
        if line["step"] == step and "exact_match" in line:
            said |= _flat({measure: line[measure] for measure in ("exact_match", "answer_accuracy")})
            found |= _flat(evaluations.scheduled(lean))
        if line["step"] == step and "final" in line:
            said |= _flat(line["final"])
            found |= _flat(evaluations.final(lean))
    rows = _rows_behind(evaluations)
    wrong = [
        key
        for key in said
        if key not in found or abs(said[key] - found[key]) > max(TOLERANCE, 1.5 / rows[key] if key in rows else 0)
    ]
    return len(said), [f"{key} is {found.get(key)}, the card says {said[key]}" for key in wrong]


def _flat(numbers: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Nested numbers by their path."""
    flat: dict[str, float] = {}
    for key, value in numbers.items():
        flat |= _flat(value, f"{prefix}{key} ") if isinstance(value, dict) else {f"{prefix}{key}": float(value)}
    return flat


def _evaluations(config: RunConfig, manifest: dict[str, Any]) -> Evaluations:
    with tempfile.TemporaryDirectory() as scratch:
        dataset = _dataset_of(config, manifest, Path(scratch) / "data", train_rows=1)
        return Evaluations(dataclasses.replace(config, dataset=dataset))


def _rows_behind(evaluations: Evaluations) -> dict[str, int]:
    """How many rows each accuracy is measured on, by the path of `_flat`."""
    counts: dict[str, int] = {}
    for task, splits in evaluations.rows.items():
        for measure in ("exact_match", "answer_accuracy"):
            counts[f"{measure} {task}"] = min(evaluations.config.eval_rows, len(splits[TEST]))
            counts |= {f"{task} {split} {measure}": len(rows) for split, rows in splits.items()}
        for split, rows in splits.items():
            for depth, count in zip(*np.unique(rows.depths, return_counts=True), strict=True):
                counts[f"{task} {split} exact_match_per_depth {depth}"] = int(count)
    return counts


def _dataset_of(config: RunConfig, manifest: dict[str, Any], scratch: Path, train_rows: int | None = None) -> str:
    """The dataset of a run: as it lies here, at its commit on the Hub, or built anew, with `train_rows` only.

    Raises:
        ListOpsError: it is not here, and the manifest does not say how to build it.
    """
    if config.dataset == GENERATED:
        return GENERATED
    revision = manifest["data_revision"] or ""
    if re.fullmatch(r"[0-9a-f]{40}", revision):  # of a Hub repo
        return f"{config.dataset.partition('@')[0]}@{revision}"
    if Path(config.dataset).is_dir() and data_origin(config).revision == manifest["data_revision"]:
        return config.dataset
    built = manifest.get("data_built", {})  # older manifests do not tell: they are of the published sizes
    if not revision or built is None:
        raise ListOpsError(f"dataset: {config.dataset!r} is not here as it was, and nothing says how to build it")
    tasks = [*config.tasks, *single_operation_tasks(config)]
    build(tasks, scratch, **(built | ({} if train_rows is None else {"train_rows": train_rows})), progress=False)
    return str(scratch)


@dataclass(frozen=True)
class Replayed:
    """A stretch of training done again: how far it ended from the weights that are there.

    `apart` is the distance of the two ends over the distance that training covered, all weights taken as one vector. It is 0
    where they are the same bit for bit, as on one kind of machine. Another kind of processor rounds otherwise, which is
    about 1e-6 of the way after 16 steps and 1e-4 after 128 (measured), and grows to chaos within some hundred steps.
    """

    start: str
    end: str
    steps: int
    apart: float
    same_processor: bool  # as the end was made on, as far as its manifest says

    @property
    def is_right(self) -> bool:
        """Whether the ends are the same: bit for bit, or on another processor but for rounding."""
        return self.apart == 0 or (not self.same_processor and self.apart <= ROUNDING)


def replay(name: str, start: str, end: str, *, progress: bool = True) -> Replayed:
    """Trains from one revision to a later one and compares the weights.

    `step-0` can always be the start; another revision if the run kept its state (`save_state`). A dataset that is not here
    is built anew, with the seed and sizes that the manifest names.

    Raises:
        ListOpsError: there is no such revision, the start keeps no state or another one's, the end is not behind it, or the
            dataset cannot be had.
    """
    revisions = all_revisions(name)
    for revision in (start, end):
        if revision not in revisions:
            raise ListOpsError(f"replay: {name!r} has no {revision!r}; it has {', '.join(revisions)}")
    first, last = (_manifest(revisions[revision])["step"] for revision in (start, end))
    if last <= first:
        raise ListOpsError(f"replay: {end!r} is not behind {start!r}; a right one is: --replay step-0 step-16")
    state = revisions[start] / STEP_STATE
    if first and not state.is_file():
        raise ListOpsError(f"replay: {start!r} keeps no state; start at step-0, or train with --save_state")
    config = RunConfig(**read_recipe(revisions[start] / RUN))
    with tempfile.TemporaryDirectory() as scratch:
        dataset = _dataset_of(config, _manifest(revisions[start]), Path(scratch) / "data")
        here = dataclasses.replace(
            config, dataset=dataset, output_dir=f"{scratch}/run", report_to="none", resume=False, push_to_hub=False
        )
        run = Training(here, make_accelerator(here))
        if first:
            run.restore(load_state(state, config.hash, run.parameters, run.optimizer))
        if run.step != first or not _same_weights(revisions[start], weights_of(run.model)):
            raise ListOpsError(f"replay: the weights of {start!r} are not those that its state, or its seed, gives")
        for _ in tqdm(range(last - first), desc=f"replaying {start} to {end}", unit="step", disable=not progress):
            run.update()
        ends = [load_file(revisions[start] / WEIGHTS), load_file(revisions[end] / WEIGHTS), weights_of(run.model)]
        before, there, again = (torch.cat([of[name].flatten().double() for name in sorted(ends[1])]) for of in ends)
    made_on = _manifest(revisions[end])["versions"].get("processor")
    apart = float((again - there).norm() / (there - before).norm())
    return Replayed(start, end, last - first, apart, made_on == provenance()["versions"]["processor"])

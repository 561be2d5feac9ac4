"""What a run keeps: checkpoints that are Hub model repos, and the state from which it goes on exactly."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from transformers import GPT2LMHeadModel, PreTrainedTokenizerBase

from hf_listops.data.files import sync_folder, write_atomically
from hf_listops.errors import ListOpsError
from hf_listops.evaluation.checkpoint import no_bars
from hf_listops.hub.manifest import MANIFEST, write_manifest
from hf_listops.training.config import RunConfig
from hf_listops.training.model import FlatParameters

STATE = Path("state") / "state.safetensors"
STEP_STATE = "state.safetensors"  # in a kept step, of a run with `save_state`


@dataclass(frozen=True)
class Progress:
    """Where a run stands besides its tensors."""

    step: int
    tokens: int  # of prompts, completions and `<eos>` seen
    seconds: float
    loss_sum: float  # of the steps since the last line of metrics
    loss_steps: int
    rows_sha256: str | None = None  # of the rows trained on; None of endless ones


def save_state(
    folder: Path, config: RunConfig, parameters: FlatParameters, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Replaces the resumable state of a run's folder in one rename."""
    (folder / STATE).parent.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / STATE, state_bytes(config, parameters, optimizer, progress))


def state_bytes(
    config: RunConfig, parameters: FlatParameters, optimizer: torch.optim.Optimizer, progress: Progress
) -> bytes:
    """The resumable state as a safetensors file."""
    tensors = {name: tensor.contiguous() for name, tensor in _state_tensors(parameters, optimizer).items()}
    facts = {**progress.__dict__, "hash": config.hash, "sha256": _digest(tensors)}
    return save(tensors, {"progress": json.dumps(facts)})


def load_state(path: Path, config_hash: str, parameters: FlatParameters, optimizer: torch.optim.Optimizer) -> Progress:
    """Puts a saved state into the parameters and the optimizer.

    Raises:
        ListOpsError: there is none, it is corrupt, or it belongs to a run with another config.
    """
    if not path.is_file():
        raise ListOpsError(
            f"resume: there is no state {str(path)!r} to go on from; leave --resume out to start the run"
        )
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["progress"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, TypeError, KeyError, json.JSONDecodeError) as error:
        raise ListOpsError(
            f"resume: {str(path)!r} is corrupt ({str(error)[:80]}); remove the run's folder to start anew"
        ) from None
    if facts.pop("sha256") != _digest(tensors):
        raise ListOpsError(f"resume: {str(path)!r} is corrupt (checksum); remove the run's folder to start anew")
    if facts.pop("hash") != config_hash:
        raise ListOpsError(f"resume: {str(path)!r} is the state of a run with another config")
    for name, tensor in _state_tensors(parameters, optimizer).items():
        tensor.copy_(tensors[name])
    return Progress(**facts)


def _state_tensors(parameters: FlatParameters, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Every tensor of the state by name, as it is used (so that copying into it restores it)."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in (("matrices", parameters.matrices), ("vectors", parameters.vectors)):
        tensors[name] = parameter.detach()
        state = optimizer.state[parameter]
        if not state:  # AdamW makes it in its first step; made here, it can be restored before
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter.detach())
            state["exp_avg_sq"] = torch.zeros_like(parameter.detach())
        tensors |= {f"{name}.{key}": state[key] for key in ("step", "exp_avg", "exp_avg_sq")}
    return tensors


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def weights_of(model: GPT2LMHeadModel) -> dict[str, Tensor]:
    """A copy of the weights: tied ones stay tied, views of the flat tensors become tensors of their own."""
    copies: dict[int, Tensor] = {}
    return {
        name: copies.setdefault(tensor.data_ptr(), tensor.detach().cpu().clone())
        for name, tensor in model.state_dict().items()
    }


def write_checkpoint(
    target: Path,
    model: GPT2LMHeadModel,
    tokenizer: PreTrainedTokenizerBase,
    files: dict[str, bytes],
    facts: dict[str, Any],
) -> None:
    """Writes a complete model folder; a training step's in one rename, a run's own file by file, its manifest last.

    Args:
        target (`Path`): the folder; if it exists, it is the run's own.
        files (`dict[str, bytes]`): further files by path inside the folder: the card, the config, the metrics.
        facts (`dict`): what the manifest says beside hashes and provenance.
    """
    scratch = (target if target.exists() else target.parent) / f".{target.name}.{os.getpid()}.tmp"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        with no_bars():
            model.save_pretrained(scratch, state_dict=weights_of(model))
        tokenizer.save_pretrained(scratch)
        for name, content in files.items():
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            (scratch / name).write_bytes(content)
        paths = list(scratch.rglob("*"))
        for path in paths:
            if path.is_dir():
                sync_folder(path)
            else:
                with open(path, "rb") as file:
                    os.fsync(file.fileno())
        write_manifest(scratch, facts)
        if target.exists():
            for path in [*(path for path in paths if path.is_file()), scratch / MANIFEST]:
                place = target / path.relative_to(scratch)
                place.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, place)
                sync_folder(place.parent)
        else:
            os.rename(scratch, target)
            sync_folder(target.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)

"""Loading a model by folder or Hub name, with its tokenizer and the language it speaks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from hf_listops.data.remote import local_folder
from hf_listops.errors import ListOpsError
from hf_listops.evaluation.forward import LeanGPT2
from hf_listops.language import OPERATIONS, Task
from hf_listops.language.task import EOS

FILES = ("*.json", "*.safetensors")  # of a Hub repo, what a model is loaded from


@contextlib.contextmanager
def no_bars() -> Iterator[None]:
    """Without the progress bars that transformers shows for files of a few kilobytes."""
    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


@dataclass(frozen=True)
class Checkpoint:
    """A model that speaks ListOps. `task` says how it was trained: its modulus, trace and shuffled table."""

    name: str
    model: GPT2LMHeadModel
    tokenizer: PreTrainedTokenizerBase
    task: Task

    @property
    def lean(self) -> LeanGPT2:
        return LeanGPT2(self.model)


def load_checkpoint(name: str) -> Checkpoint:
    """Loads `FOLDER` or `NAMESPACE/REPO[@REVISION]`.

    Raises:
        ListOpsError: there is no such model, it is no GPT-2, or its tokenizer is not ours.
    """
    folder = local_folder(name, patterns=FILES)
    try:
        config = AutoConfig.from_pretrained(folder)
        if not isinstance(config, GPT2Config):
            raise ListOpsError(f"model: {name!r} is a {config.model_type!r}; only GPT-2 models can be looked into")
        with no_bars():
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except ListOpsError:
        raise
    except Exception as error:  # the library raises every kind of exception for what is missing or broken
        raise ListOpsError(
            f"model: {name!r} gives no checkpoint: {' '.join(str(error).split())[:160]}; a right one is a run's folder, "
            "such as 'outputs/quickstart/max-med-sum-mod10-depth2-d32-l2-h1-s0'"
        ) from error
    task_name = getattr(config, "listops_task", None)
    vocabulary = tokenizer.get_vocab()
    numbers = sum(symbol.isdigit() for symbol in vocabulary)
    task = Task.from_name(task_name) if task_name else Task(tuple(OPERATIONS)[:4], modulus=max(2, numbers))
    if any(vocabulary.get(symbol) != place for place, symbol in enumerate(task.vocabulary)) or EOS not in vocabulary:
        raise ListOpsError(f"model: the tokenizer of {name!r} is not that of ListOps modulo {task.modulus}")
    model.eval()
    return Checkpoint(name, model, tokenizer, task)

"""One update's loss and gradient, whatever the number of processes and micro-batches."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor
from transformers import GPT2LMHeadModel

from hf_listops.data.token_matrix import TokenMatrix
from hf_listops.evaluation.forward import LeanGPT2
from hf_listops.training.config import RunConfig
from hf_listops.training.gradient import HandwrittenGradient


def count_targets(rows: TokenMatrix, loss_on: str) -> int:
    """How many tokens of these rows the loss is taken on."""
    first = rows.prompt_lengths if loss_on == "completion" else 1
    return int((rows.lengths - first).sum())


def as_tensors(rows: TokenMatrix, loss_on: str, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids `(B, T)`, the flat places whose next token is a target `(N,)`, and those targets `(N,)`."""
    ids = rows.ids.astype(np.int64)
    places = np.arange(ids.shape[1])
    inside = places < rows.lengths[:, None] - 1
    if loss_on == "completion":
        inside &= places >= rows.prompt_lengths[:, None] - 1
    asked = np.flatnonzero(inside)
    return tuple(torch.from_numpy(array).to(device) for array in (ids, asked, ids.ravel()[asked + 1]))  # type: ignore[return-value]


class LossAndGradient:
    """Adds the gradient of some rows' loss to the parameters' `.grad`, by hand where that holds, else by autograd."""

    def __init__(self, model: GPT2LMHeadModel, config: RunConfig, accelerator: Accelerator) -> None:
        self.accelerator, self.loss_on = accelerator, config.loss_on
        self.by_hand: HandwrittenGradient | None = None
        if config.activation_function == "gelu" and not config.bf16 and not config.torch_compile:
            self.by_hand = HandwrittenGradient(model)
        lean = LeanGPT2(model)
        self.forward = torch.compile(lean, dynamic=True) if config.torch_compile else lean

    def __call__(self, rows: TokenMatrix, divisor: int) -> Tensor:
        """The summed cross-entropy of the rows' targets divided by `divisor`, a scalar; its gradient is added."""
        ids, asked, targets = as_tensors(rows, self.loss_on, self.accelerator.device)
        if self.by_hand is not None:
            return self.by_hand(ids, asked, targets, divisor)
        with self.accelerator.autocast():
            logits = self.forward(ids, asked)
        loss = F.cross_entropy(logits.float(), targets, reduction="sum") / divisor
        self.accelerator.backward(loss * self.accelerator.gradient_accumulation_steps)
        return loss.detach()

"""Forward passes of a standard `GPT2LMHeadModel` that reads the reference, hooks included, rows padded on the right.

Shapes: B rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import GPT2LMHeadModel

from hf_listops.data.token_matrix import TokenMatrix

BATCH = 500  # rows


@dataclass(frozen=True)
class Accuracy:
    """Teacher-forced: exact match and answer accuracy in [0, 1], loss in nats per token of the completion."""

    exact_match: float
    answer_accuracy: float
    loss: float


def accuracy(model: GPT2LMHeadModel, rows: TokenMatrix) -> Accuracy:
    """Teacher-forced accuracy and loss of a model as it stands, hooks included."""
    exact, answered, losses, tokens = [], [], 0.0, 0
    for ids, asked, _ in batches(rows):
        logits = forward(model, ids).logits[:, :-1]
        targets, of = ids[:, 1:], asked[:, :-1]
        right = (logits.argmax(dim=-1) == targets) | ~of
        exact.append(right.all(dim=1))
        last = (
            of.long().cumsum(dim=1).argmax(dim=1)
        )  # the last asked position predicts `<eos>`, the one before the answer
        answered.append(right.gather(1, last[:, None] - 1)[:, 0])
        losses += float(F.cross_entropy(logits[of].double(), targets[of], reduction="sum"))
        tokens += int(of.sum())
    return Accuracy(
        float(torch.cat(exact).double().mean()), float(torch.cat(answered).double().mean()), losses / tokens
    )


@torch.no_grad()
def forward(model: GPT2LMHeadModel, ids: Tensor, **options: Any) -> Any:
    """The model's output for ids of shape `(B, T)`."""
    # Padding stands on the right, where no token of a row looks; the mask only says that this is meant.
    return model(ids, attention_mask=torch.ones_like(ids), use_cache=False, **options)


def batches(rows: TokenMatrix) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Ids, the positions that predict a token of the completion, and those that are no padding: `(B, T)` each."""
    for start in range(0, len(rows), BATCH):
        part = rows.take(np.arange(start, min(start + BATCH, len(rows))))
        places = np.arange(part.ids.shape[1])
        asked = (places >= part.prompt_lengths[:, None] - 1) & (places < part.lengths[:, None] - 1)
        inside = places < part.lengths[:, None]
        yield torch.from_numpy(part.ids.astype(np.int64)), torch.from_numpy(asked), torch.from_numpy(inside)

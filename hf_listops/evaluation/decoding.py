"""Greedy decoding of many rows at once, each from a prefix of its own length, with a cache of keys and values.

Shapes: B rows, T `n_positions`, L layers, H heads.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from hf_listops.evaluation.forward import LeanGPT2


@torch.no_grad()
def complete(
    lean: LeanGPT2, ids: Tensor, lengths: Tensor, eos: int, *, most: int | None = None
) -> tuple[Tensor, Tensor]:
    """Goes on from each row's prefix until `<eos>` or the last position.

    Args:
        lean (`LeanGPT2`): the model.
        ids (`Tensor`): prefixes, shape `(B, longest)`, padded on the right.
        lengths (`Tensor`): tokens of each prefix, at least 1, shape `(B,)`.
        eos (`int`): id of `<eos>`.
        most (`int`, *optional*): the longest a row may become; `n_positions` by default.

    Returns:
        `tuple[Tensor, Tensor]`: ids of prefix and completion, shape `(B, most)`, 0 after the end; and their lengths.
    """
    most = lean.model.config.n_positions if most is None else most
    out = torch.zeros(len(ids), most, dtype=torch.long, device=ids.device)
    longest = min(ids.shape[1], most)
    inside = torch.arange(longest, device=ids.device) < lengths[:, None]
    out[:, :longest] = torch.where(inside, ids[:, :longest], 0)
    ends = lengths.clone()
    for rows, token in _steps(lean, out, lengths, eos, most):
        out[rows, ends[rows]] = token
        ends[rows] += 1
    return out, ends


def _steps(lean: LeanGPT2, ids: Tensor, lengths: Tensor, eos: int, most: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields the rows that still go on with the token that each takes next."""
    rows = torch.arange(len(ids), device=ids.device)
    positions = lengths - 1
    cache, hidden = _prefill(lean, ids, positions, most)
    while True:
        token = lean.logits(hidden).argmax(dim=-1)
        going = positions + 1 < most
        if not going.all():
            rows, token, positions = rows[going], token[going], positions[going]
            cache = [(keys[going], values[going]) for keys, values in cache]
        if not len(rows):
            return
        yield rows, token
        positions = positions + 1
        going = token != eos
        if not going.all():
            rows, token, positions = rows[going], token[going], positions[going]
            cache = [(keys[going], values[going]) for keys, values in cache]
        if not len(rows):
            return
        hidden = _step(lean, token, positions, cache)


def _prefill(lean: LeanGPT2, ids: Tensor, positions: Tensor, most: int) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
    """Keys and values of every position, each of shape `(B, H, T, D / H)` a layer; and the hidden state at `positions`."""
    batch, longest = len(ids), int(positions.max()) + 1
    x = lean.embed(ids[:, :longest])
    cache: list[tuple[Tensor, Tensor]] = []
    for block in lean.blocks:
        q, k, v = lean.project(block, x, batch)
        keys, values = (F.pad(part, (0, 0, 0, most - longest)) for part in (k, v))
        cache.append((keys, values))
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = lean.finish(block, x, heads.transpose(1, 2).reshape(batch * longest, -1))
    return cache, x.view(batch, longest, -1)[torch.arange(batch, device=ids.device), positions]


def _step(lean: LeanGPT2, token: Tensor, positions: Tensor, cache: list[tuple[Tensor, Tensor]]) -> Tensor:
    """The hidden state after one more token a row, whose keys and values join the cache."""
    batch = len(token)
    rows = torch.arange(batch, device=token.device)
    x = lean.embed(token[:, None], positions[:, None])
    seen = int(positions.max()) + 1
    visible = (torch.arange(seen, device=token.device) <= positions[:, None])[:, None, None, :]
    for block, (keys, values) in zip(lean.blocks, cache, strict=True):
        q, k, v = lean.project(block, x, batch)
        keys[rows, :, positions] = k[:, :, 0]
        values[rows, :, positions] = v[:, :, 0]
        heads = F.scaled_dot_product_attention(q, keys[:, :, :seen], values[:, :, :seen], attn_mask=visible)
        x = lean.finish(block, x, heads.transpose(1, 2).reshape(batch, -1))
    return x

"""Forward passes of a standard `GPT2LMHeadModel` with its sublayers watched or replaced by hooks.

Shapes: B rows, T tokens, D `n_embd`, H heads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import GPT2LMHeadModel

from hf_listops.analysis.teacher_forced import BATCH, batches, forward
from hf_listops.data.token_matrix import TokenMatrix
from hf_listops.language.task import CLOSE, EQUALS

Kind = Literal["attention", "feed-forward"]
KINDS: tuple[Kind, ...] = ("attention", "feed-forward")
Place = tuple[int, Kind]  # a sublayer, its layer counted from 0


def sublayer_statistics(model: GPT2LMHeadModel, rows: TokenMatrix) -> tuple[dict[Place, Tensor], dict[Place, float]]:
    """Of every sublayer its mean output, shape `(D,)`, over all tokens of the rows (padding left out), and the mean of
    norm of output / norm of the stream before it is added, over the positions that predict the completion."""
    places = [(layer, kind) for layer in range(model.config.n_layer) for kind in KINDS]
    sums = {place: torch.zeros(model.config.n_embd, dtype=torch.float64) for place in places}
    ratios = dict.fromkeys(places, 0.0)
    tokens = positions = 0
    for ids, asked, inside in batches(rows):
        with _recording(model) as seen:
            forward(model, ids)
        for place, (stream, output) in seen.items():
            sums[place] += output[inside].double().sum(dim=0)
            ratios[place] += float((output[asked].norm(dim=-1) / stream[asked].norm(dim=-1)).double().sum())
        tokens += int(inside.sum())
        positions += int(asked.sum())
    means = {place: (of / tokens).float() for place, of in sums.items()}
    return means, {place: of / positions for place, of in ratios.items()}


@contextlib.contextmanager
def _recording(model: GPT2LMHeadModel) -> Iterator[dict[Place, tuple[Tensor, Tensor]]]:
    """Fills a dictionary, in a forward pass, with each sublayer's stream before it and its output, `(B, T, D)` both."""
    seen: dict[Place, tuple[Tensor, Tensor]] = {}
    streams: dict[Place, Tensor] = {}

    def keep_stream(place: Place) -> Callable[..., None]:
        def hook(module: Any, inputs: tuple[Tensor, ...]) -> None:
            streams[place] = inputs[0]

        return hook

    def keep_output(place: Place) -> Callable[..., None]:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            seen[place] = (streams[place], output[0] if isinstance(output, tuple) else output)

        return hook

    with contextlib.ExitStack() as stack:
        for layer in range(model.config.n_layer):
            block: Any = model.transformer.h[layer]
            norms = {
                "attention": block.ln_1,
                "feed-forward": block.ln_2,
            }  # what each reads is the stream it is added to
            for kind in KINDS:
                stack.callback(norms[kind].register_forward_pre_hook(keep_stream((layer, kind))).remove)
                stack.callback(_module(model, (layer, kind)).register_forward_hook(keep_output((layer, kind))).remove)
        yield seen


@contextlib.contextmanager
def mean_ablation(model: GPT2LMHeadModel, means: dict[Place, Tensor]) -> Iterator[None]:
    """Within it, each sublayer named `(layer from 0, kind)` puts out its mean, shape `(D,)`, at every position."""

    def replace(mean: Tensor) -> Callable[..., Any]:
        def hook(module: Any, inputs: Any, output: Any) -> Any:
            if isinstance(output, tuple):
                return (mean.expand_as(output[0]), *output[1:])
            return mean.expand_as(output)

        return hook

    with contextlib.ExitStack() as stack:
        for place, mean in means.items():
            stack.callback(_module(model, place).register_forward_hook(replace(mean)).remove)
        yield


def attention_by_role(model: GPT2LMHeadModel, rows: TokenMatrix) -> tuple[dict[str, float], ...]:
    """Where the position that predicts the answer looks: of each layer the attention by role, which adds up to 1.

    Roles within the line before the answer: `operation` (opening brackets), `argument 1`, `argument 2` … (numbers, in
    order; 0 in a row that has fewer), `bracket` (closing); then `last =`, the position itself, and `earlier lines`.
    Mean over heads and rows.
    """
    before = model.config._attn_implementation
    roles, names = _roles(rows)
    totals = np.zeros((model.config.n_layer, len(names)))
    model.set_attn_implementation("eager")  # the others give no weights
    try:
        for start in range(0, len(rows), BATCH):
            part = slice(start, start + BATCH)
            ids = torch.from_numpy(rows.ids[part].astype(np.int64))
            own = torch.from_numpy(rows.lengths[part] - 3)
            for layer, of in enumerate(forward(model, ids, output_attentions=True).attentions):  # (B, H, T, T) each
                weights = of.mean(dim=1)[torch.arange(len(ids)), own].double().numpy()  # (B, T)
                totals[layer] += [weights[roles[part] == place].sum() for place in range(len(names))]
    finally:
        model.set_attn_implementation(before)
    return tuple(dict(zip(names, (of / len(rows)).tolist(), strict=True)) for of in totals)


def _roles(rows: TokenMatrix) -> tuple[NDArray[np.int64], list[str]]:
    """The role of every token, shape `(B, T)`, as a place in the names; -1 after the last `=`."""
    vocabulary = rows.task.vocabulary
    ids = rows.ids.astype(np.int64)
    zero, equals, close = (vocabulary.index(symbol) for symbol in ("0", EQUALS, CLOSE))
    places, own = np.arange(ids.shape[1]), (rows.lengths - 3)[:, None]
    ends = (ids == equals) & (places < own)
    start = np.where(ends.any(axis=1), ids.shape[1] - ends[:, ::-1].argmax(axis=1), 0)[:, None]  # of the last line
    in_line = (places >= start) & (places < own)
    is_number = in_line & (ids >= zero) & (ids < zero + rows.task.modulus)
    most = int(is_number.sum(axis=1).max())
    names = ["operation", *(f"argument {j + 1}" for j in range(most)), "bracket", "last =", "earlier lines"]
    roles = np.full(ids.shape, -1)
    roles[in_line] = 0
    roles[is_number] = is_number.cumsum(axis=1)[is_number]
    roles[in_line & (ids == close)] = most + 1
    roles[places == own] = most + 2
    roles[places < start] = most + 3
    return roles, names


def _module(model: GPT2LMHeadModel, place: Place) -> Any:
    block: Any = model.transformer.h[place[0]]
    return block.attn if place[1] == "attention" else block.mlp
